-- Their policies, and those of other tables that name them.
select
    pg_catalog.format('policy %I of %I.%I', p.polname, n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'command', p.polcmd::text,
        'permissive', p.polpermissive,
        'roles', array(
            select case r when 0 then 'public' else pg_catalog.pg_get_userbyid(r)::text end
            from pg_catalog.unnest(p.polroles) as r order by 1
        ),
        'using', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
        'check', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid),
        'comment', pg_catalog.obj_description(p.oid, 'pg_policy')
    )
from pg_catalog.pg_policy p
join pg_catalog.pg_class c on c.oid = p.polrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where p.polrelid <> all ($2::oid[])
    and (
        p.polrelid = any ($1::oid[])
        or p.oid in (
            select d.objid from pg_catalog.pg_depend d
            where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = any ($1::oid[])
                and d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
        )
    )
