-- Who holds a lock on tables that conflicts with ours. $1: oids, $2: the modes that conflict.
select distinct on (a.xact_start, l.pid)
    l.pid,
    coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown') as application,
    coalesce(a.usename::text, '') as role,
    coalesce(a.state, '') as state,
    coalesce(extract(epoch from pg_catalog.clock_timestamp() - a.xact_start), 0)::float8 as transaction_s,
    l.relation::pg_catalog.regclass::text as relation,
    l.mode
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and l.relation = any ($1::oid[]) and l.mode = any ($2::text[])
    and l.pid <> pg_catalog.pg_backend_pid()
order by a.xact_start nulls last, l.pid
limit 5
