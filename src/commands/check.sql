-- What `check` tells about a server.
select
    pg_catalog.current_setting('server_version') as version,
    array(
        select case e.extname when 'citus' then 'Citus ' else 'TimescaleDB ' end || e.extversion
        from pg_catalog.pg_extension e
        where e.extname in ('citus', 'timescaledb')
        order by e.extname
    ) as extensions,
    current_user::text as role,
    (select s.version from pg_catalog.pg_stat_ssl s where s.pid = pg_catalog.pg_backend_pid() and s.ssl) as tls,
    pg_catalog.current_setting('max_connections')::int as max_connections,
    (
        pg_catalog.current_setting('max_connections')::int
        - pg_catalog.current_setting('superuser_reserved_connections')::int
        -- Since 16.
        - coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0)
        - (select pg_catalog.count(*) from pg_catalog.pg_stat_activity where usesysid is not null)
    )::int as free_connections,
    pg_catalog.has_function_privilege('pg_catalog.pg_export_snapshot()', 'EXECUTE') as may_export,
    array(
        select s.setting
        from pg_catalog.pg_db_role_setting r
        cross join lateral pg_catalog.unnest(r.setconfig) as s (setting)
        where r.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))
            and r.setrole in (0, (select o.oid from pg_catalog.pg_roles o where o.rolname = current_user))
            and (s.setting like '%timeout%' or s.setting like 'default_transaction%' or s.setting like 'row_security%')
        order by s.setting
    ) as role_settings
