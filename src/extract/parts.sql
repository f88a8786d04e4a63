(
    -- The heaps of relations, "relation heap" in a line each, names quoted. Asked for: quoted names with schema.
    with recursive tree (root, oid) as (
        select asked.name, asked.name::pg_catalog.regclass::pg_catalog.oid from pg_catalog.unnest(/* relations */) as asked (name)
        union
        select tree.root, i.inhrelid from tree join pg_catalog.pg_inherits i on i.inhparent = tree.oid
    )
    select pg_catalog.string_agg(line, e'\n' order by line collate "C")
    from (
        select tree.root || ' "' || pg_catalog.replace(n.nspname, '"', '""') || '"."' || pg_catalog.replace(c.relname, '"', '""') || '"' as line
        from tree
        join pg_catalog.pg_class c on c.oid = tree.oid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'm', 'f')
    ) as heaps
)
