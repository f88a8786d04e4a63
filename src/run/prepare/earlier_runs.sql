-- The columns with which the indexes of relations begin that can serve a comparison with a time. $1: schemas, $2: names.
select n.nspname::text as schema, c.relname::text as name, a.attname::text as column
from unnest($1::text[], $2::text[]) as wanted (schema, name)
join pg_catalog.pg_namespace n on n.nspname = wanted.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisvalid and i.indislive and i.indpred is null
join pg_catalog.pg_class ic on ic.oid = i.indexrelid
join pg_catalog.pg_am am on am.oid = ic.relam and am.amname in ('btree', 'brin')
join pg_catalog.pg_attribute a on a.attrelid = c.oid
    -- BRIN serves every column of its own.
    and (a.attnum = i.indkey[0] or (am.amname = 'brin' and a.attnum = any (i.indkey::int2[])))
group by 1, 2, 3
