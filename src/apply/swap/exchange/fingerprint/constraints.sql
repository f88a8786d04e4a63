-- Their constraints, and foreign keys of other tables to them. Whether a key is validated is what the exchange changes for a
-- moment, and what it sees to by itself. A key to a partitioned table has a copy for each of its partitions, which the server
-- names: these are no constraints of their own.
select
    pg_catalog.format('constraint %I of %I.%I', k.conname, n.nspname, c.relname),
    pg_catalog.jsonb_build_object(
        'definition', case k.contype
            when 'f' then pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID$', '')
            else pg_catalog.pg_get_constraintdef(k.oid)
        end,
        'index', (select i.relname from pg_catalog.pg_class i where i.oid = k.conindid and k.contype <> 'f'),
        'comment', pg_catalog.obj_description(k.oid, 'pg_constraint'),
        -- Only a superuser can make them anything else than enabled.
        'enforcement', array(
            select pg_catalog.format('%s %s', g.tgfoid::pg_catalog.regproc, g.tgenabled)
            from pg_catalog.pg_trigger g
            where g.tgconstraint = k.oid and g.tgisinternal and g.tgenabled <> 'O' order by 1
        )
    )
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where k.conrelid = any ($1::oid[]) and (k.contype <> 'f' or k.conparentid = 0)
    or k.contype = 'f' and k.confrelid = any ($1::oid[]) and k.conrelid <> all ($2::oid[])
