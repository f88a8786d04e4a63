-- Extended statistics of tables. $1: oids.
select s.stxrelid as table_oid, n.nspname::text as schema, s.stxname::text as name
from pg_catalog.pg_statistic_ext s
join pg_catalog.pg_namespace n on n.oid = s.stxnamespace
where s.stxrelid = any ($1::oid[])
order by s.stxname
