-- Which history of which server the transactions belong to. The timeline is in the first eight digits of a WAL file's name.
select
    (select s.system_identifier::text from pg_catalog.pg_control_system() s) as system_identifier,
    pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) as timeline,
    pg_catalog.to_char(
        pg_catalog.timezone('UTC', pg_catalog.pg_postmaster_start_time()), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as started_at
