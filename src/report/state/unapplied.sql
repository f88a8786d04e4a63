-- Rows of a table that runs rejected and skipped since its last full run, that run included.
-- $1 table, $2 source, $3 scope. Columns that tables created by an older version lack are read through JSON.
with applied as (
    select r.started_at, r.mode, r.extracted, r.rejected, r.skipped, r.rejects_file
    from {schema}.runs r
    where r.table_name = $1::text
      and coalesce(to_jsonb(r) ->> 'source', $2::text) = $2::text
      and coalesce(to_jsonb(r) ->> 'scope', '') = $3::text
      and r.ok and r.finished_at is not null
)
select sum(a.rejected)::bigint as rejected,
       sum(a.skipped)::bigint as skipped,
       array_agg(a.rejects_file) filter (where a.rejects_file is not null) as files
from applied a
-- A full run may have skipped a source without rows.
where a.started_at >= (select max(f.started_at) from applied f where f.mode = 'full' and f.extracted > 0)
