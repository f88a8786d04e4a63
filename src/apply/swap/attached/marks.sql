-- CLUSTER and replica identity, as statements. $1: the live table's oid, $2: the new one as SQL.
select pg_catalog.format('alter table %s cluster on %I', $2::text, c.relname) as statement
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = $1::oid and i.indisclustered
union all
select pg_catalog.format('alter table %s replica identity using index %I', $2::text, c.relname)
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = $1::oid and i.indisreplident
union all
select pg_catalog.format('alter table %s replica identity %s', $2::text, case c.relreplident when 'f' then 'full' else 'nothing' end)
from pg_catalog.pg_class c
where c.oid = $1::oid and c.relreplident in ('f', 'n')
