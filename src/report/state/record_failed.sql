-- $1 table, $2 source, $3 scope, $4 error. Watermark, times and rows of the last success are kept.
insert into {schema}.sync_state (table_name, source, scope, error_message, updated_at)
values ($1::text, $2::text, $3::text, $4::text, clock_timestamp())
on conflict (table_name, source, scope) do update
set error_message = excluded.error_message,
    updated_at = excluded.updated_at
