-- Tables. $1: the tables of which the fingerprint is taken; $2: those with which they change places; $3: options that are left
-- out, as "kind name".
select
    pg_catalog.format('table %I.%I', n.nspname, c.relname) as object,
    pg_catalog.jsonb_build_object(
        'persistence', c.relpersistence::text,
        'owner', pg_catalog.pg_get_userbyid(c.relowner),
        'options', array(
            select o from pg_catalog.unnest(c.reloptions) as o
            where 'table ' || pg_catalog.split_part(o, '=', 1) <> all ($3::text[]) order by 1
        ),
        'toast options', array(
            select o
            from pg_catalog.pg_class t, pg_catalog.unnest(t.reloptions) as o
            where t.oid = c.reltoastrelid and 'toast ' || pg_catalog.split_part(o, '=', 1) <> all ($3::text[]) order by 1
        ),
        'tablespace', (select s.spcname from pg_catalog.pg_tablespace s where s.oid = c.reltablespace),
        'access method', (select m.amname from pg_catalog.pg_am m where m.oid = c.relam),
        'row level security', c.relrowsecurity,
        'forced row level security', c.relforcerowsecurity,
        'replica identity', c.relreplident::text,
        'grants', array(
            select a::text
            from pg_catalog.unnest(coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner))) as a order by 1
        ),
        'comment', pg_catalog.obj_description(c.oid, 'pg_class'),
        'comment on the type', pg_catalog.obj_description(c.reltype, 'pg_type'),
        'security labels', array(
            select pg_catalog.format('%s %s %s', l.objsubid, l.provider, l.label)
            from pg_catalog.pg_seclabel l
            where l.objoid = c.oid and l.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass order by 1
        )
    ) as definition
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid = any ($1::oid[])
