-- The settings that ANALYZE uses, as statements: targets and options of columns and of indexes' expressions, extended statistics.
-- $1: the live table's oid, $2: the new one as SQL, $3: its schema as SQL, $4: options that are left out, as "column name".
select s.statement
from (
    select 1 as step, a.attnum::bigint as place,
        pg_catalog.format('alter table %s alter column %I set statistics %s', $2::text, a.attname, a.attstattarget) as statement
    from pg_catalog.pg_attribute a
    where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped and a.attstattarget >= 0
    union all
    select 2, a.attnum, pg_catalog.format('alter table %s alter column %I set (%I = %L)', $2::text, a.attname,
        pg_catalog.split_part(o, '=', 1), pg_catalog.substr(o, pg_catalog.strpos(o, '=') + 1))
    from pg_catalog.pg_attribute a
    cross join lateral pg_catalog.unnest(a.attoptions) as o
    where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
        and 'column ' || pg_catalog.split_part(o, '=', 1) <> all ($4::text[])
    union all
    select 3, a.attnum, pg_catalog.format('alter index %s.%I alter column %s set statistics %s', $3::text, c.relname, a.attnum, a.attstattarget)
    from pg_catalog.pg_index i
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    join pg_catalog.pg_attribute a on a.attrelid = i.indexrelid
    where i.indrelid = $1::oid and i.indisvalid and a.attnum > 0 and a.attstattarget >= 0
    union all
    select 4, e.oid::bigint,
        pg_catalog.format('create statistics %s.%I', $3::text, e.stxname)
            || pg_catalog.substr(
                pg_catalog.left(d.definition, pg_catalog.length(d.definition) - pg_catalog.length(d.table_name)),
                pg_catalog.length(d.head) + 1
            ) || $2::text
    from pg_catalog.pg_statistic_ext e
    join pg_catalog.pg_namespace n on n.oid = e.stxnamespace
    join pg_catalog.pg_class c on c.oid = e.stxrelid
    join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace
    cross join lateral (
        select pg_catalog.pg_get_statisticsobjdef(e.oid) as definition,
            pg_catalog.format('CREATE STATISTICS %I.%I', n.nspname, e.stxname) as head,
            pg_catalog.format('%I.%I', cn.nspname, c.relname) as table_name
    ) as d
    where e.stxrelid = $1::oid
    union all
    -- A column of version 13.
    select 5, e.oid::bigint,
        pg_catalog.format('alter statistics %s.%I set statistics %s', $3::text, e.stxname, pg_catalog.to_jsonb(e) ->> 'stxstattarget')
    from pg_catalog.pg_statistic_ext e
    where e.stxrelid = $1::oid and (pg_catalog.to_jsonb(e) ->> 'stxstattarget')::int >= 0
) as s
order by s.step, s.place
