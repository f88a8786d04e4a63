-- Their triggers.
select
    pg_catalog.format('trigger %I of %I.%I', g.tgname, n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'definition', pg_catalog.pg_get_triggerdef(g.oid),
        'enabled', g.tgenabled::text,
        'comment', pg_catalog.obj_description(g.oid, 'pg_trigger')
    )
from pg_catalog.pg_trigger g
join pg_catalog.pg_class c on c.oid = g.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where g.tgrelid = any ($1::oid[]) and not g.tgisinternal
