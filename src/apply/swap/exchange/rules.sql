-- Rules that are not the query of a view, with the relation they belong to. $1: oids of rules.
select
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    c.relkind = 'v' as is_view,
    pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
    pg_catalog.pg_get_ruledef(r.oid) as definition
from pg_catalog.pg_rewrite r
join pg_catalog.pg_class c on c.oid = r.ev_class
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where r.oid = any ($1::oid[]) and r.rulename <> '_RETURN'
order by n.nspname, c.relname, r.rulename
