-- What of the source's transactions a watermark depends on, in two statements of one row each. They are read one after the
-- other in the transaction that holds the locks, before it exports its snapshot.

-- The oldest transaction that is open in this database. This one is open, too, and began before anything was looked at: who
-- began after it began, and is not seen here yet, began later than what is told here.
-- On a standby: the last transaction of the primary that was replayed, and nothing if there was none.
select
    pg_catalog.pg_is_in_recovery() as is_standby,
    case when pg_catalog.pg_is_in_recovery()
        then (pg_catalog.date_part('epoch', least(pg_catalog.pg_last_xact_replay_timestamp(), pg_catalog.min(a.xact_start)))
            * 1000000)::bigint
        else (pg_catalog.date_part('epoch', least(pg_catalog.now(), pg_catalog.min(a.xact_start))) * 1000000)::bigint
    end as oldest_us,
    -- Of other roles' sessions nothing is told but that they are there.
    pg_catalog.count(*) filter (
        where a.usesysid is not null
            and not pg_catalog.pg_has_role('pg_read_all_stats', 'usage')
            and not pg_catalog.pg_has_role(a.usesysid, 'usage')
    ) as unseen,
    pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot()) as xmin
from pg_catalog.pg_stat_activity a
where a.datname = pg_catalog.current_database()
    -- Autovacuum writes no rows.
    and a.backend_type is distinct from 'autovacuum worker';

-- A transaction that was prepared before the statement above is not among the open ones; one that was prepared since was.
select pg_catalog.count(*) as prepared, pg_catalog.min(p.gid) as first, null, null
from pg_catalog.pg_prepared_xacts p
where p.database = pg_catalog.current_database();
