-- Policies with the table they belong to. $1: oids of policies.
select
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    p.polname::text as policy,
    pg_catalog.pg_get_expr(p.polqual, p.polrelid) as visible,
    pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as checked
from pg_catalog.pg_policy p
join pg_catalog.pg_class c on c.oid = p.polrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where p.oid = any ($1::oid[])
order by n.nspname, c.relname, p.polname
