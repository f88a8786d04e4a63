-- The holders of conflicting locks on tables: sessions, and prepared transactions, which have no session.
-- $1: oids, $2: the modes that conflict. LOCK TABLE locks the partitions of a table, too.
select distinct on (since, l.pid, x.gid)
    coalesce(a.xact_start, x.prepared) as since,
    l.pid,
    x.gid,
    coalesce(x.owner::text, nullif(a.application_name, ''), a.backend_type, 'unknown') as application,
    coalesce(a.state, '') as state,
    coalesce(extract(epoch from pg_catalog.clock_timestamp() - coalesce(a.xact_start, x.prepared)), 0)::float8 as transaction_s,
    l.relation::pg_catalog.regclass::text as relation,
    l.mode
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
left join (
    -- The holder of a transaction's own lock is that transaction.
    pg_catalog.pg_locks own
    join pg_catalog.pg_prepared_xacts x on x.transaction = own.transactionid
) on l.pid is null and own.pid is null and own.locktype = 'transactionid' and own.virtualtransaction = l.virtualtransaction
where l.locktype = 'relation' and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and (l.relation = any ($1::oid[]) or l.relation in (
        select part.relid from pg_catalog.unnest($1::oid[]) as wanted (oid), pg_catalog.pg_partition_tree(wanted.oid) as part
    ))
    and l.mode = any ($2::text[])
    and l.pid is distinct from pg_catalog.pg_backend_pid()
order by since nulls last, l.pid, x.gid
limit 5
