-- Whom sessions of a run wait for, and at which table. $1: how their names begin.
select distinct on (h.pid, p.gid, w.relation)
    w.relation,
    h.pid,
    p.gid,
    coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown') as application,
    coalesce(a.state, '') as state,
    coalesce(
        extract(epoch from pg_catalog.clock_timestamp() - coalesce(p.prepared, a.xact_start)), 0)::float8 as transaction_s
from (
    select l.pid, l.relation as oid, l.relation::pg_catalog.regclass::text as relation
    from pg_catalog.pg_stat_activity s
    join pg_catalog.pg_locks l on l.pid = s.pid and not l.granted and l.locktype = 'relation'
    where s.datname = pg_catalog.current_database()
        and pg_catalog.left(s.application_name, pg_catalog.length($1)) = $1::text
) w
cross join lateral pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) as h (pid)
left join pg_catalog.pg_stat_activity a on a.pid = h.pid
-- A prepared transaction has no process: 0 stands for it. It is known by the lock on its own number.
left join (
    select t.gid, t.prepared, held.relation as oid
    from pg_catalog.pg_prepared_xacts t
    join pg_catalog.pg_locks own
        on own.locktype = 'transactionid' and own.transactionid = t.transaction and own.granted and own.pid is null
    join pg_catalog.pg_locks held
        on held.virtualtransaction = own.virtualtransaction and held.granted and held.pid is null
    where t.database = pg_catalog.current_database() and held.locktype = 'relation'
) p on h.pid = 0 and p.oid = w.oid
order by h.pid, p.gid, w.relation
