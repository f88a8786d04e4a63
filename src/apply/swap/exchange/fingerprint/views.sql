-- The views that name them.
select
    pg_catalog.format('view %I.%I', n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'query', pg_catalog.pg_get_viewdef(c.oid),
        'options', array(
            select o from pg_catalog.unnest(c.reloptions) as o
            where 'view ' || pg_catalog.split_part(o, '=', 1) <> all ($3::text[]) order by 1
        ),
        'owner', pg_catalog.pg_get_userbyid(c.relowner),
        'grants', array(
            select a::text
            from pg_catalog.unnest(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) as a order by 1
        ),
        'comment', pg_catalog.obj_description(c.oid, 'pg_class'),
        'columns', array(
            select pg_catalog.jsonb_build_array(
                a.attname,
                pg_catalog.format_type(a.atttypid, a.atttypmod),
                pg_catalog.pg_get_expr(d.adbin, d.adrelid),
                array(select g::text from pg_catalog.unnest(a.attacl) as g order by 1),
                pg_catalog.col_description(a.attrelid, a.attnum)
            )
            from pg_catalog.pg_attribute a
            left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
            where a.attrelid = c.oid and a.attnum > 0
            order by a.attnum
        )
    )
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('v', 'm') and c.oid in (
    select r.ev_class
    from pg_catalog.pg_depend d
    join pg_catalog.pg_rewrite r on r.oid = d.objid and r.rulename = '_RETURN'
    where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = any ($1::oid[])
        and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
)
