-- Facts about the server and our role.
-- Without pg_monitor other roles' rows in pg_stat_activity keep pid, role and database only, which is enough to count.
select
    pg_catalog.current_setting('server_version_num')::int as version,
    current_user::text as role,
    (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user) as is_superuser,
    pg_catalog.current_database()::text as database,
    pg_catalog.pg_is_in_recovery() as is_standby,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') as may_create,
    pg_catalog.current_setting('block_size')::int as block_size,
    (
        pg_catalog.current_setting('max_connections')::int
        - pg_catalog.current_setting('superuser_reserved_connections')::int
        -- Since 16.
        - coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0)
        - (select pg_catalog.count(*) from pg_catalog.pg_stat_activity where usesysid is not null)
    )::int as free_connections,
    (select case when r.rolconnlimit < 0 then null else r.rolconnlimit end from pg_catalog.pg_roles r where r.rolname = current_user) as role_limit,
    (select pg_catalog.count(*) from pg_catalog.pg_stat_activity where usename = current_user)::int as role_connections,
    array(
        select pg_catalog.quote_ident(e.evtname) from pg_catalog.pg_event_trigger e
        -- Since 17 a login may fire some.
        where e.evtenabled in ('O', 'A') and e.evtevent <> 'login' order by e.evtname
    ) as event_triggers
