-- The relations that are asked for by name, and their sizes as they are now.
-- A name that does not exist yields no row; $1 and $2 are schemas and names of equal length.
select
    asked.ordinal::int as ordinal,
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    c.relkind::text as kind,
    c.relpersistence::text as persistence,
    c.relispartition as is_partition,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') as is_owner,
    pg_catalog.has_table_privilege(c.oid, 'SELECT') or pg_catalog.has_any_column_privilege(c.oid, 'SELECT') as may_select,
    pg_catalog.has_table_privilege(c.oid, 'INSERT') or pg_catalog.has_any_column_privilege(c.oid, 'INSERT') as may_insert,
    pg_catalog.has_table_privilege(c.oid, 'UPDATE') or pg_catalog.has_any_column_privilege(c.oid, 'UPDATE') as may_update,
    pg_catalog.has_table_privilege(c.oid, 'DELETE') as may_delete,
    pg_catalog.has_table_privilege(c.oid, 'TRUNCATE') as may_truncate,
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') as may_make_temporary,
    c.relrowsecurity
        and not (pg_catalog.pg_has_role(c.relowner, 'USAGE') and not c.relforcerowsecurity)
        and not (select r.rolsuper or r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = current_user) as rows_hidden,
    case when c.relkind in ('r', 'm', 'p') then coalesce(pg_catalog.pg_indexes_size(c.oid), 0) else 0 end as index_bytes,
    greatest(c.reltuples, 0)::float8 as row_estimate,
    exists (select from pg_catalog.pg_inherits i where i.inhparent = c.oid) as has_children
from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) with ordinality as asked (schema, name, ordinal)
join pg_catalog.pg_namespace n on n.nspname = asked.schema
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = asked.name
where c.relkind in ('r', 'p', 'v', 'm', 'f')
order by asked.ordinal
