-- The roles other than the owner with a privilege on a schema, as SQL. $1: its name.
select array(
    select distinct case when g.grantee = 0 then 'public' else pg_catalog.quote_ident(r.rolname) end
    from pg_catalog.pg_namespace n
    cross join lateral pg_catalog.aclexplode(n.nspacl) as g
    left join pg_catalog.pg_roles r on r.oid = g.grantee
    where n.nspname = $1 and g.grantee <> n.nspowner
) as grantees
