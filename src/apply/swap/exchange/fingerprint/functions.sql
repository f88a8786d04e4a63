-- The functions and procedures whose parsed body names them.
select
    pg_catalog.format('function %s', p.oid::pg_catalog.regprocedure),
    pg_catalog.jsonb_build_object(
        'definition', pg_catalog.pg_get_functiondef(p.oid),
        'owner', pg_catalog.pg_get_userbyid(p.proowner),
        'grants', array(
            select a::text
            from pg_catalog.unnest(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) as a order by 1
        ),
        'comment', pg_catalog.obj_description(p.oid, 'pg_proc')
    )
from pg_catalog.pg_proc p
where p.prokind in ('f', 'p') and p.oid in (
    select d.objid from pg_catalog.pg_depend d
    where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = any ($1::oid[])
        and d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
)
