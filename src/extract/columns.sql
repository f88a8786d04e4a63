(
    -- The types of columns, "relation column oid" in a line each, names quoted. Asked for: quoted names with schema, and for
    -- each the bare name of a column.
    select pg_catalog.string_agg(line, e'\n' order by line collate "C")
    from (
        select asked.relation || ' "' || pg_catalog.replace(a.attname, '"', '""') || '" ' || a.atttypid as line
        from rows from (pg_catalog.unnest(/* relations */), pg_catalog.unnest(/* columns */)) as asked (relation, name)
        join pg_catalog.pg_attribute a on a.attrelid = asked.relation::pg_catalog.regclass and a.attname = asked.name
        where a.attnum > 0 and not a.attisdropped
    ) as columns
)
