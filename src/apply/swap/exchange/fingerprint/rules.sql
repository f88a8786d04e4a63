-- Their rules, and those of other relations that name them, views' queries apart.
select
    pg_catalog.format('rule %I of %I.%I', r.rulename, n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'definition', pg_catalog.pg_get_ruledef(r.oid),
        'enabled', r.ev_enabled::text,
        'comment', pg_catalog.obj_description(r.oid, 'pg_rewrite')
    )
from pg_catalog.pg_rewrite r
join pg_catalog.pg_class c on c.oid = r.ev_class
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where r.rulename <> '_RETURN' and r.ev_class <> all ($2::oid[])
    and (
        r.ev_class = any ($1::oid[])
        or r.oid in (
            select d.objid from pg_catalog.pg_depend d
            where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = any ($1::oid[])
                and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        )
    )
