-- The status of tables: one row per table and source, in the order of $1.
-- $1 tables, $2 their scopes, $3 their sources, NULL for all sources. Ages are computed here, by the same clock that wrote the
-- times. Columns that tables created by an older version lack are read through JSON.
with wanted as (
    select w.name, w.scope, w.source, w.entry
    from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (name, scope, source, entry)
),
known as (
    select w.entry, r.table_name as name, w.scope, to_jsonb(r) ->> 'source' as source, r.run_id, r.started_at, r.finished_at,
           r.phase, r.ok, r.error, r.mode, r.staged, r.duration_ms, r.lock_ms,
           exists (
               select
               from pg_locks l
               where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
                 and l.database = (select d.oid from pg_database d where d.datname = current_database())
                 and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('bulkload run ' || r.run_id, 0)
           ) as alive
    from wanted w
    join {schema}.runs r on r.table_name = w.name and coalesce(to_jsonb(r) ->> 'scope', '') = w.scope
    where w.source is null or coalesce(to_jsonb(r) ->> 'source', w.source) = w.source
),
places as (
    select w.entry, w.name, w.scope, s.source
    from wanted w
    left join lateral (
        select source from {schema}.sync_state
        where table_name = w.name and scope = w.scope and (w.source is null or sync_state.source = w.source)
        union
        select source from known where entry = w.entry and source is not null
    ) s on true
)
select p.name,
       p.scope,
       p.source,
       s.watermark,
       s.last_sync_at,
       extract(epoch from clock_timestamp() - s.last_sync_at)::float8 as age_s,
       s.last_full_at,
       last.run_id,
       last.ok,
       coalesce(last.error, s.error_message) as error,
       applied.mode,
       coalesce(applied.staged, s.records_synced) as rows,
       coalesce(applied.duration_ms, s.duration_ms) as duration_ms,
       applied.lock_ms,
       open.run_id as open_run,
       open.phase as open_phase,
       open.alive as open_alive,
       extract(epoch from clock_timestamp() - open.started_at)::float8 as open_s
from places p
left join {schema}.sync_state s on s.table_name = p.name and s.scope = p.scope and s.source = p.source
left join lateral (
    select * from known k
    where k.entry = p.entry and coalesce(k.source, p.source) is not distinct from p.source and k.finished_at is not null
    order by k.finished_at desc, k.run_id desc limit 1
) last on true
left join lateral (
    select * from known k
    where k.entry = p.entry and coalesce(k.source, p.source) is not distinct from p.source and k.finished_at is not null
      and k.ok
    order by k.finished_at desc, k.run_id desc limit 1
) applied on true
left join lateral (
    select * from known k
    where k.entry = p.entry and coalesce(k.source, p.source) is not distinct from p.source and k.finished_at is null
    order by k.alive desc, k.started_at desc limit 1
) open on true
order by p.entry, p.source
