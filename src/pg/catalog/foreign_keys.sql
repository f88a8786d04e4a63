-- Foreign keys from or to relations, without the copies that partitions of the referencing table inherit;
-- the copies that stand for partitions of the referenced table are kept, because TRUNCATE minds them. $1: oids.
select
    k.conname::text as name,
    k.conrelid as from_oid,
    fn.nspname::text as from_schema,
    f.relname::text as from_name,
    k.confrelid as to_oid,
    tn.nspname::text as to_schema,
    t.relname::text as to_name,
    k.confmatchtype::text as match_type,
    k.confdeltype::text as on_delete,
    k.confupdtype::text as on_update,
    k.condeferrable as is_deferrable,
    -- Both since 18.
    coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true) as is_enforced,
    coalesce((pg_catalog.to_jsonb(k) ->> 'conperiod')::bool, false) as is_temporal,
    array(
        select pg_catalog.format('operator(%I.%s)', n.nspname, o.oprname)
        from pg_catalog.unnest(k.conpfeqop) with ordinality as x (operator, ordinal)
        join pg_catalog.pg_operator o on o.oid = x.operator
        join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
        order by x.ordinal
    ) as operators,
    exists (
        select
        from pg_catalog.pg_index i
        where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null
            and (i.indkey::int2[])[0:pg_catalog.cardinality(k.conkey) - 1] @> k.conkey
    ) as is_indexed,
    -- Statistics lag behind: the size tells of rows that were never counted, at some 100 bytes each.
    greatest(f.reltuples, case when f.relkind = 'r' then pg_catalog.pg_relation_size(f.oid) / 100.0 else 0 end)::float8 as from_rows,
    array(
        select a.attname::text
        from pg_catalog.unnest(k.conkey) with ordinality as x (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.attnum
        order by x.ordinal
    ) as from_columns,
    array(
        select a.attname::text
        from pg_catalog.unnest(k.confkey) with ordinality as x (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.attnum
        order by x.ordinal
    ) as to_columns
from pg_catalog.pg_constraint k
join pg_catalog.pg_class f on f.oid = k.conrelid
join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace
join pg_catalog.pg_class t on t.oid = k.confrelid
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
left join pg_catalog.pg_constraint parent on parent.oid = k.conparentid
where k.contype = 'f' and (parent.oid is null or parent.conrelid = k.conrelid)
    and (k.conrelid = any ($1::oid[]) or k.confrelid = any ($1::oid[]))
order by fn.nspname, f.relname, k.conname
