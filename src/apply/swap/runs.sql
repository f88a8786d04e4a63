-- The runs that have left schemas of new or old tables, by the shape of their names.
select distinct pg_catalog.substring(n.nspname, '^bulkload_(?:new|old)_([0-9a-z]{12})$') as run_id
from pg_catalog.pg_namespace n
where n.nspname ~ '^bulkload_(new|old)_[0-9a-z]{12}$' and pg_catalog.pg_has_role(n.nspowner, 'USAGE')
order by 1
