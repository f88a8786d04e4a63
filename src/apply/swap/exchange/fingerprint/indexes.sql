-- Their valid indexes.
select
    pg_catalog.format('index %I.%I', n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'definition', pg_catalog.pg_get_indexdef(c.oid),
        'clustered', i.indisclustered,
        'replica identity', i.indisreplident,
        'tablespace', (select s.spcname from pg_catalog.pg_tablespace s where s.oid = c.reltablespace),
        'statistics targets', array(
            select pg_catalog.format('%s %s', a.attnum, a.attstattarget)
            from pg_catalog.pg_attribute a
            where a.attrelid = c.oid and nullif(a.attstattarget, -1) is not null order by 1
        ),
        'comment', pg_catalog.obj_description(c.oid, 'pg_class')
    )
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where i.indrelid = any ($1::oid[]) and i.indisvalid
