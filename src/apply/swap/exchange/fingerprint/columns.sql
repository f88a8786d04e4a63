-- Their columns.
select
    pg_catalog.format('column %I.%I.%I', n.nspname, c.relname, a.attname),
    pg_catalog.jsonb_build_object(
        'place', pg_catalog.row_number() over (partition by a.attrelid order by a.attnum),
        'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'not null', a.attnotnull,
        'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
        'identity', a.attidentity::text,
        'generated', a.attgenerated::text,
        'collation', (
            select pg_catalog.format('%I.%I', ln.nspname, l.collname)
            from pg_catalog.pg_collation l join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace
            where l.oid = a.attcollation
        ),
        'storage', a.attstorage::text,
        'compression', {compression},
        'statistics target', nullif(a.attstattarget, -1),
        'options', array(
            select o from pg_catalog.unnest(a.attoptions) as o
            where 'column ' || pg_catalog.split_part(o, '=', 1) <> all ($3::text[]) order by 1
        ),
        'grants', array(select g::text from pg_catalog.unnest(a.attacl) as g order by 1),
        'comment', pg_catalog.col_description(a.attrelid, a.attnum)
    )
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped
