-- Staging tables by the shape of their names: <table>__<run id>_<number of the entry>. $1: the staging schema.
select
    c.relname::text as name,
    pg_catalog.substring(c.relname, '__([0-9a-z]{12})_[0-9]+$') as run_id,
    pg_catalog.pg_total_relation_size(c.oid) as bytes
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relkind = 'r' and c.relpersistence = 'u'
    and c.relname ~ '__[0-9a-z]{12}_[0-9]+$'
order by c.relname
