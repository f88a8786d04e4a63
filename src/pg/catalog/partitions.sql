-- The partitions of relations at every level, with the rows that each of them takes, and the partitioned tables above them,
-- the nearest first. $1: oids.
with recursive below (asked, oid) as (
    select i.inhparent, i.inhrelid
    from pg_catalog.pg_inherits i
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = any ($1::oid[]) and c.relispartition
    union all
    select b.asked, i.inhrelid
    from below b
    join pg_catalog.pg_inherits i on i.inhparent = b.oid
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where c.relispartition
),
above (start, oid, height) as (
    select c.oid, c.oid, 0
    from pg_catalog.pg_class c
    where c.relispartition and (c.oid = any ($1::oid[]) or c.oid in (select oid from below))
    union all
    select a.start, i.inhparent, a.height + 1
    from above a
    join pg_catalog.pg_class c on c.oid = a.oid and c.relispartition
    join pg_catalog.pg_inherits i on i.inhrelid = a.oid
)
select
    b.asked,
    n.nspname::text as schema,
    c.relname::text as name,
    true as is_below,
    0 as height,
    -- Without other partitions a DEFAULT one takes every row.
    coalesce(pg_catalog.pg_get_partition_constraintdef(b.oid), 'true') as "constraint",
    -- A key is of columns (a zero is an expression), and expressions have theirs in them.
    array(
        select distinct a.attname::text
        from above up
        join pg_catalog.pg_partitioned_table p on p.partrelid = up.oid
        cross join lateral (
            select attnum::int from pg_catalog.unnest(p.partattrs::int2[]) as x (attnum) where attnum <> 0
            union
            select x.found[1]::int
            from pg_catalog.regexp_matches(p.partexprs::text, ':varattno ([0-9]+)', 'g') as x (found)
        ) as used (attnum)
        join pg_catalog.pg_attribute a on a.attrelid = p.partrelid and a.attnum = used.attnum
        where up.start = b.oid
        order by 1
    ) as columns
from below b
join pg_catalog.pg_class c on c.oid = b.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
union all
select a.start, n.nspname::text, c.relname::text, false, a.height, null, array[]::text[]
from above a
join pg_catalog.pg_class c on c.oid = a.oid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where a.start = any ($1::oid[]) and a.height > 0
order by 1, 4, 5, 2, 3
