-- $1 table, $2 source, $3 scope. Ages are taken here: the clock that wrote the times also judges them.
select watermark,
       last_sync_at,
       last_full_at,
       records_synced,
       error_message,
       -- A table of an older shape lacks it until a run completes it.
       to_jsonb(s) ->> 'fingerprint' as fingerprint,
       extract(epoch from clock_timestamp() - last_sync_at)::float8 as sync_age_s,
       extract(epoch from clock_timestamp() - last_full_at)::float8 as full_age_s
from {schema}.sync_state s
where table_name = $1::text
  and source = $2::text
  and scope = $3::text
