-- The columns of relations, dropped ones apart, in their order. $1: oids.
select
    a.attrelid,
    a.attname::text as name,
    a.atttypid as type_oid,
    a.atttypmod as type_modifier,
    pg_catalog.format_type(a.atttypid, a.atttypmod) as type_name,
    a.attnotnull as not_null,
    a.atthasdef as has_default,
    a.attidentity::text as identity,
    a.attgenerated <> '' as generated,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) as expression,
    case when a.attcollation <> t.typcollation and a.attcollation <> 0
        then pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname)
    end as collation,
    pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') as may_select,
    case when c.relkind in ('r', 'p', 'f', 'v')
        then pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'INSERT') else false end as may_insert,
    -- In the key of a unique index that a foreign key could refer to, of the table or of one that inherits from it.
    exists (
        with recursive tree (oid) as (
            select a.attrelid
            union
            select h.inhrelid from tree join pg_catalog.pg_inherits h on h.inhparent = tree.oid
        )
        select
        from tree
        join pg_catalog.pg_index i on i.indrelid = tree.oid
        join pg_catalog.pg_attribute k on k.attrelid = i.indrelid and k.attname = a.attname
            and k.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        where i.indisunique and i.indpred is null and i.indexprs is null
    ) as identifies
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_catalog.pg_collation co on co.oid = a.attcollation
left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace
where a.attrelid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
