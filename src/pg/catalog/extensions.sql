-- Extensions with their own way of storing tables, and whether the role may read their catalogs.
-- Their catalogs are looked for by name in PostgreSQL's, which takes no right: to_regclass() demands USAGE on the schema.
select
    e.extname::text as name,
    e.extversion::text as version,
    (
        select pg_catalog.bool_and(
            n.oid is not null and c.oid is not null
            and pg_catalog.has_schema_privilege(n.oid, 'USAGE') and pg_catalog.has_table_privilege(c.oid, 'SELECT'))
        from (values
            ('citus', 'pg_catalog', 'pg_dist_partition'),
            ('timescaledb', '_timescaledb_catalog', 'hypertable'),
            ('timescaledb', '_timescaledb_catalog', 'chunk')
        ) as told (extension, schema, name)
        left join pg_catalog.pg_namespace n on n.nspname = told.schema
        left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = told.name
        where told.extension = e.extname
    ) as is_readable
from pg_catalog.pg_extension e
where e.extname in ('citus', 'timescaledb')
order by e.extname
