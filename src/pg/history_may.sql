-- Whether the server is a standby, and which of the functions that tell its history and its WAL positions the role may not
-- execute.
select
    pg_catalog.pg_is_in_recovery() as is_standby,
    (
        select pg_catalog.string_agg(f.signature, ', ')
        from (values
            ('pg_control_system()'),
            ('pg_current_wal_lsn()'),
            ('pg_walfile_name(pg_lsn)'),
            ('pg_postmaster_start_time()'),
            ('pg_current_wal_insert_lsn()'),
            ('pg_current_wal_flush_lsn()')
        ) as f (signature)
        where not pg_catalog.has_function_privilege(('pg_catalog.' || f.signature)::pg_catalog.regprocedure, 'execute')
    ) as forbidden
