-- The sequences that their columns own.
select
    pg_catalog.format('sequence %I.%I', n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'column', (
            select a.attname from pg_catalog.pg_attribute a where a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        ),
        'type', pg_catalog.format_type(s.seqtypid, null),
        'start', s.seqstart,
        'increment', s.seqincrement,
        'minimum', s.seqmin,
        'maximum', s.seqmax,
        'cache', s.seqcache,
        'cycle', s.seqcycle,
        'persistence', c.relpersistence::text,
        'owner', pg_catalog.pg_get_userbyid(c.relowner),
        'grants', array(
            select a::text
            from pg_catalog.unnest(coalesce(c.relacl, pg_catalog.acldefault('s', c.relowner))) as a order by 1
        ),
        'comment', pg_catalog.obj_description(c.oid, 'pg_class')
    )
from pg_catalog.pg_depend d
join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_sequence s on s.seqrelid = c.oid
where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refobjid = any ($1::oid[]) and d.deptype in ('a', 'i')
