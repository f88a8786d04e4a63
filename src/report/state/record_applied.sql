-- Records tables as applied.
-- $1: JSON array, one object per table: a row of runs, the fingerprint, and the filled columns.
with clock as materialized (select clock_timestamp() as now)
insert into {schema}.sync_state as s
    (table_name, source, scope, watermark, last_sync_at, last_full_at,
     records_synced, duration_ms, error_message, updated_at, fingerprint, filled)
-- If two entries have the same table and scope, the last one counts: an upsert cannot update a row twice.
select distinct on (g.table_name, g.source, g.scope)
       g.table_name, g.source, g.scope, g.watermark, clock.now, case when g.mode = 'full' then clock.now end,
       g.staged, g.duration_ms, null, clock.now, g.fingerprint, g.filled
from clock,
     jsonb_to_recordset($1::text::jsonb)
         as g(entry integer, table_name text, source text, scope text, watermark text, mode text,
              staged bigint, duration_ms bigint, fingerprint text, filled text)
order by g.table_name, g.source, g.scope, g.entry desc
on conflict (table_name, source, scope) do update
set watermark = excluded.watermark,
    last_sync_at = excluded.last_sync_at,
    last_full_at = coalesce(excluded.last_full_at, s.last_full_at),
    records_synced = excluded.records_synced,
    duration_ms = excluded.duration_ms,
    error_message = null,
    updated_at = excluded.updated_at,
    fingerprint = excluded.fingerprint,
    -- A run without a value keeps the recorded one.
    filled = coalesce(excluded.filled, s.filled)
