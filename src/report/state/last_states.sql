-- $1 tables, $2 sources, $3 scopes. Ages are computed here, by the same clock that wrote the times.
select w.entry,
       s.watermark,
       s.last_sync_at,
       s.last_full_at,
       s.records_synced,
       s.error_message,
       -- A table created by an older version lacks these until a run completes it.
       to_jsonb(s) ->> 'fingerprint' as fingerprint,
       to_jsonb(s) ->> 'filled' as filled,
       extract(epoch from clock_timestamp() - s.last_sync_at)::float8 as sync_age_s,
       extract(epoch from clock_timestamp() - s.last_full_at)::float8 as full_age_s
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (table_name, source, scope, entry)
join {schema}.sync_state s
    on s.table_name = w.table_name and s.source = w.source and s.scope = w.scope
