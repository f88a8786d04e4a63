-- Creates the state tables, or completes tables created by an older version.
-- Add a new column at the end of its list, and to COLUMNS in state.rs.
create table if not exists {schema}.sync_state (
    table_name text not null,
    source text not null,
    scope text not null default '',
    primary key (table_name, source, scope)
);

alter table {schema}.sync_state
    add column if not exists watermark text,
    add column if not exists last_sync_at timestamptz,
    add column if not exists last_full_at timestamptz,
    add column if not exists records_synced bigint,
    add column if not exists duration_ms bigint,
    add column if not exists error_message text,
    add column if not exists updated_at timestamptz,
    add column if not exists fingerprint text,
    add column if not exists filled text;

create table if not exists {schema}.runs (
    run_id text not null,
    entry integer not null,
    primary key (run_id, entry)
);

alter table {schema}.runs
    add column if not exists version text,
    add column if not exists phase text,
    add column if not exists started_at timestamptz,
    add column if not exists finished_at timestamptz,
    add column if not exists table_name text,
    add column if not exists ok boolean,
    add column if not exists error text,
    add column if not exists mode text,
    add column if not exists strategy text,
    add column if not exists apply text,
    add column if not exists format text,
    add column if not exists chunks bigint,
    add column if not exists streams bigint,
    add column if not exists attempts bigint,
    add column if not exists extracted bigint,
    add column if not exists rejected bigint,
    add column if not exists staged bigint,
    add column if not exists inserted bigint,
    add column if not exists updated bigint,
    add column if not exists deleted bigint,
    add column if not exists unchanged bigint,
    add column if not exists skipped bigint,
    add column if not exists bytes_in bigint,
    add column if not exists bytes_out bigint,
    add column if not exists load_ms bigint,
    add column if not exists index_ms bigint,
    add column if not exists apply_ms bigint,
    add column if not exists lock_ms bigint,
    add column if not exists lock_attempts bigint,
    add column if not exists duration_ms bigint,
    add column if not exists watermark text,
    add column if not exists rejects_file text,
    add column if not exists warnings text[],
    add column if not exists source text,
    add column if not exists scope text;
