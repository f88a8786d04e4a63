-- Views by the oids of their rules, innermost first. $1: oids of rules; $2: options that are left out, as "kind name".
with recursive above (view, depth) as (
    select r.ev_class, 1 from pg_catalog.pg_rewrite r where r.oid = any ($1::oid[]) and r.rulename = '_RETURN'
    union
    select r.ev_class, a.depth + 1
    from above a
    join pg_catalog.pg_depend d on d.refobjid = a.view and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    join pg_catalog.pg_rewrite r on r.oid = d.objid and r.ev_class <> a.view and r.rulename = '_RETURN'
)
select
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    pg_catalog.pg_get_viewdef(c.oid) as definition,
    array(
        select pg_catalog.format('%s=%L', pg_catalog.split_part(o, '=', 1), pg_catalog.substr(o, pg_catalog.strpos(o, '=') + 1))
        from pg_catalog.unnest(c.reloptions) with ordinality as x (o, ordinal)
        where 'view ' || pg_catalog.split_part(o, '=', 1) <> all ($2::text[])
        order by x.ordinal
    ) as options,
    pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
    (select pg_catalog.max(a.depth) from above a where a.view = c.oid) as depth
from pg_catalog.pg_rewrite r
join pg_catalog.pg_class c on c.oid = r.ev_class and c.relkind = 'v'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where r.oid = any ($1::oid[]) and r.rulename = '_RETURN'
order by depth, n.nspname, c.relname
