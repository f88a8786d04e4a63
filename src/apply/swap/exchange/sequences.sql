-- Sequences that columns of tables own. $1: oids.
select
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    pg_catalog.pg_get_userbyid(c.relowner)::text as owner
from pg_catalog.pg_depend d
join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refobjid = any ($1::oid[]) and d.deptype in ('a', 'i')
order by n.nspname, c.relname
