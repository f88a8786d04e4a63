-- Whether a session that this role opened now would be read-only: the settings of ALTER ROLE and ALTER DATABASE, the most specific
-- first, else the server's current configuration. A SET in the session that asks does not count.
select pg_catalog.pg_is_in_recovery() or coalesce(
    (
        select pg_catalog.split_part(c.setting, '=', 2)::pg_catalog.bool
        from pg_catalog.pg_db_role_setting s
        cross join lateral pg_catalog.unnest(s.setconfig) as c (setting)
        where s.setdatabase in (0, (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()))
          and s.setrole in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = session_user))
          and pg_catalog.split_part(c.setting, '=', 1) = 'default_transaction_read_only'
        order by s.setrole = 0, s.setdatabase = 0
        limit 1
    ),
    (select s.reset_val = 'on' from pg_catalog.pg_settings s where s.name = 'default_transaction_read_only')
)
