-- The valid unique indexes of relations, the primary key first, then by name, and those that partitions of them add. $1: oids.
-- `excludes` marks exclusion constraints and temporal keys (WITHOUT OVERLAPS, since 18): they refuse what their own operators say,
-- and not only what is equal.
with recursive below (asked, oid) as (
    select asked.oid, asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union all
    select b.asked, i.inhrelid
    from below b
    join pg_catalog.pg_inherits i on i.inhparent = b.oid
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where c.relispartition
)
select
    b.asked,
    rn.nspname::text as schema,
    r.relname::text as table_name,
    c.relname::text as name,
    i.indisexclusion as excludes,
    i.indisprimary as is_primary,
    i.indimmediate as is_immediate,
    i.indpred is not null as is_partial,
    i.indexprs is not null as has_expressions,
    array(
        select a.attname::text
        from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where k.ordinal <= i.indnkeyatts
        order by k.ordinal
    ) as columns,
    array(
        select pg_catalog.pg_get_indexdef(i.indexrelid, n, false)
        from pg_catalog.generate_series(1, i.indnkeyatts) as n
        order by n
    ) as expressions,
    -- The constraint's operator, or the equality of the operator class, which need not be the type's own.
    array(
        select pg_catalog.format('operator(%I.%s)', pn.nspname, o.oprname)
        from pg_catalog.generate_series(1, i.indnkeyatts) as n
        join pg_catalog.pg_operator o on o.oid = coalesce(
            x.conexclop[n],
            (
                select m.amopopr
                from pg_catalog.pg_opclass p
                join pg_catalog.pg_amop m on m.amopfamily = p.opcfamily and m.amopstrategy = 3
                    and m.amoplefttype = p.opcintype and m.amoprighttype = p.opcintype
                where p.oid = (i.indclass::oid[])[n - 1]
            ))
        join pg_catalog.pg_namespace pn on pn.oid = o.oprnamespace
        order by n
    ) as operators,
    array(
        select case when l.oid is null then '' else
            pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname) end
        from pg_catalog.generate_series(1, i.indnkeyatts) as n
        left join pg_catalog.pg_collation l on l.oid = (i.indcollation::oid[])[n - 1]
        left join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
        order by n
    ) as collations,
    pg_catalog.pg_get_expr(i.indpred, i.indrelid) as predicate,
    array(
        select a.attname::text
        from pg_catalog.pg_attribute a
        where a.attrelid = i.indrelid and a.attnum > 0
            and (
                a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                or exists (
                    select
                    from pg_catalog.pg_depend d
                    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = i.indexrelid
                        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = i.indrelid
                        and d.refobjsubid = a.attnum
                )
            )
    ) as uses,
    -- A column of version 15.
    coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) as nulls_equal,
    not exists (
        select
        from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where k.ordinal <= i.indnkeyatts
            and (
                not a.attnotnull
                -- Since 18 a NOT NULL may be NOT VALID.
                or exists (
                    select
                    from pg_catalog.pg_constraint n
                    where n.conrelid = a.attrelid and n.contype = 'n' and n.conkey = array[a.attnum]
                        and not n.convalidated
                )
            )
    ) as all_not_null
from below b
join pg_catalog.pg_class r on r.oid = b.oid
join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
join pg_catalog.pg_index i on i.indrelid = b.oid
join pg_catalog.pg_class c on c.oid = i.indexrelid
left join pg_catalog.pg_constraint x on x.conindid = i.indexrelid and x.conrelid = i.indrelid and x.conexclop is not null
where (i.indisunique or i.indisexclusion) and i.indisvalid and i.indislive
    -- Inherited indexes belong to the parent.
    and (
        b.oid = b.asked
        or not exists (
            select
            from pg_catalog.pg_inherits h
            join pg_catalog.pg_index p on p.indexrelid = h.inhparent
            where h.inhrelid = i.indexrelid and p.indisvalid
        )
    )
order by b.asked, i.indisprimary desc, rn.nspname, r.relname, c.relname
