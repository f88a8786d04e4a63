-- The valid unique indexes of relations, the primary key first, then by name. $1: oids.
select
    i.indrelid,
    c.relname::text as name,
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
    not exists (
        select
        from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where k.ordinal <= i.indnkeyatts and not a.attnotnull
    ) as all_not_null
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = any ($1::oid[]) and i.indisunique and i.indisvalid and i.indislive
order by i.indrelid, i.indisprimary desc, c.relname
