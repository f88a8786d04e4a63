-- Tables managed by TimescaleDB. Compressed rows are in tables that its catalog lists as hypertables and chunks, too:
-- these have a compression_state of 2 (_timescaledb_catalog.hypertable). $1: oids.
with asked as (
    select c.oid, n.nspname, c.relname
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = any ($1::oid[])
)
select
    asked.oid,
    case pg_catalog.to_jsonb(h) ->> 'compression_state'
        when '0' then 'hypertable'
        when '2' then 'chunk'
        else 'compressed'
    end as kind
from asked
join _timescaledb_catalog.hypertable h on h.schema_name = asked.nspname and h.table_name = asked.relname
union all
select asked.oid, 'chunk'
from asked
join _timescaledb_catalog.chunk k on k.schema_name = asked.nspname and k.table_name = asked.relname
