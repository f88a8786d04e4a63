-- Foreign keys that the exchange has to see to: those of other tables to these, and those of the new tables that are
-- still to be validated. $1: the live tables; $2: the new ones, in the same order.
select
    k.oid,
    k.conname::text as name,
    k.conrelid = any ($2::oid[]) as is_own,
    k.conrelid as from_oid,
    n.nspname::text as from_schema,
    r.relname::text as from_name,
    r.relkind::text as from_kind,
    k.confrelid as to_oid,
    tn.nspname::text as to_schema,
    t.relname::text as to_name,
    pg_catalog.pg_get_constraintdef(k.oid) as definition,
    -- A column of version 18.
    coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true) as is_enforced,
    -- Of a new table's key the one that it takes the place of tells whether it is to be valid.
    k.convalidated or exists (
        select
        from rows from (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::oid[])) as pair (live, new)
        join pg_catalog.pg_constraint l on l.conrelid = pair.live and l.conname = k.conname
        where pair.new = k.conrelid and l.convalidated
    ) as is_to_be_valid,
    pg_catalog.obj_description(k.oid, 'pg_constraint') as comment,
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
    ) as to_columns,
    -- Keys are compared as the referenced column is collated.
    array(
        select case when l.oid is null then '' else pg_catalog.format(' collate %I.%I', ln.nspname, l.collname) end
        from pg_catalog.unnest(k.confkey) with ordinality as x (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.attnum
        left join pg_catalog.pg_collation l on l.oid = a.attcollation
        left join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
        order by x.ordinal
    ) as collations,
    array(
        select pg_catalog.format('operator(%I.%s)', on_.nspname, o.oprname)
        from pg_catalog.unnest(k.conpfeqop) with ordinality as x (operator, ordinal)
        join pg_catalog.pg_operator o on o.oid = x.operator
        join pg_catalog.pg_namespace on_ on on_.oid = o.oprnamespace
        order by x.ordinal
    ) as operators
from pg_catalog.pg_constraint k
join pg_catalog.pg_class r on r.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = r.relnamespace
join pg_catalog.pg_class t on t.oid = k.confrelid
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
where k.contype = 'f' and k.conparentid = 0
    and (
        k.confrelid = any ($1::oid[]) and k.conrelid <> all ($1::oid[]) and k.conrelid <> all ($2::oid[])
        or k.conrelid = any ($2::oid[]) and not k.convalidated
    )
order by n.nspname, r.relname, k.conname
