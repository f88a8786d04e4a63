-- Inserts or updates rows of runs.
-- $1: JSON array, one object per row; its keys are the table's columns.
-- $2: whether the tables are finished.
with clock as materialized (select clock_timestamp() as now)
insert into {schema}.runs as r
select n.*
from clock,
     jsonb_array_elements($1::text::jsonb) as given,
     jsonb_populate_record(
         null::{schema}.runs,
         given || jsonb_build_object('started_at', clock.now,
                                     'finished_at', case when $2::boolean then clock.now end)) as n
on conflict (run_id, entry) do update
set version = excluded.version,
    phase = excluded.phase,
    finished_at = excluded.finished_at,
    table_name = excluded.table_name,
    ok = excluded.ok,
    error = excluded.error,
    mode = excluded.mode,
    strategy = excluded.strategy,
    apply = excluded.apply,
    format = excluded.format,
    chunks = excluded.chunks,
    streams = excluded.streams,
    attempts = excluded.attempts,
    extracted = excluded.extracted,
    rejected = excluded.rejected,
    staged = excluded.staged,
    inserted = excluded.inserted,
    updated = excluded.updated,
    deleted = excluded.deleted,
    unchanged = excluded.unchanged,
    skipped = excluded.skipped,
    bytes_in = excluded.bytes_in,
    bytes_out = excluded.bytes_out,
    load_ms = excluded.load_ms,
    index_ms = excluded.index_ms,
    apply_ms = excluded.apply_ms,
    lock_ms = excluded.lock_ms,
    lock_attempts = excluded.lock_attempts,
    duration_ms = excluded.duration_ms,
    watermark = excluded.watermark,
    rejects_file = excluded.rejects_file,
    warnings = excluded.warnings,
    source = excluded.source,
    scope = excluded.scope
