-- Every relation that holds rows of the asked ones: itself, its inheritors, its leaf partitions.
-- Sizes in bytes, with TOAST and without indexes. $1: oids.
with recursive tree (root, oid) as (
    select asked.oid, asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union
    select tree.root, i.inhrelid from tree join pg_catalog.pg_inherits i on i.inhparent = tree.oid
)
select
    tree.root,
    c.oid,
    n.nspname::text as schema,
    c.relname::text as name,
    c.relkind::text as kind,
    (select am.amname::text from pg_catalog.pg_am am where am.oid = c.relam) as access_method,
    case when c.relkind in ('r', 'm') then pg_catalog.pg_relation_size(c.oid) else 0 end as heap_bytes,
    case when c.relkind in ('r', 'm') then pg_catalog.pg_table_size(c.oid) else 0 end as table_bytes,
    pg_catalog.has_table_privilege(c.oid, 'SELECT') or pg_catalog.has_any_column_privilege(c.oid, 'SELECT') as may_select
from tree
join pg_catalog.pg_class c on c.oid = tree.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'f', 'v')
order by tree.root, n.nspname, c.relname
