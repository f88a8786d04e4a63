-- The policies of a table. $1: its oid, $2: the new one as SQL.
select
    pg_catalog.format(
        'create policy %I on %s as %s for %s to %s%s%s',
        p.polname,
        $2::text,
        case when p.polpermissive then 'permissive' else 'restrictive' end,
        case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
        (
            select pg_catalog.string_agg(
                case when r.oid = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.oid)) end, ', '
                order by r.ordinal
            )
            from pg_catalog.unnest(p.polroles) with ordinality as r (oid, ordinal)
        ),
        ' using (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')',
        ' with check (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')'
    ) as definition,
    null::text as state
from pg_catalog.pg_policy p
where p.polrelid = $1::oid
order by p.polname
