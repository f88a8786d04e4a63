-- Foreign keys from or to relations, to or from their partitions at every level, or the partitioned tables above them. Each key
-- comes as it was declared, once for each side of each asked relation that it concerns: the copies that partitions inherit, on
-- either side (conparentid <> 0), are no keys of their own. $1: oids.
with recursive below (asked, oid) as (
    select asked.oid, asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union
    select b.asked, i.inhrelid
    from below b
    join pg_catalog.pg_inherits i on i.inhparent = b.oid
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where c.relispartition
),
above (asked, oid) as (
    select asked.oid, asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union
    select a.asked, i.inhparent
    from above a
    join pg_catalog.pg_class c on c.oid = a.oid and c.relispartition
    join pg_catalog.pg_inherits i on i.inhrelid = a.oid
),
kin as (
    select asked, oid from below
    union
    select asked, oid from above
),
sides (asked, key, is_outgoing) as (
    select n.asked, k.oid, true
    from kin n
    join pg_catalog.pg_constraint k on k.conrelid = n.oid
    where k.contype = 'f' and k.conparentid = 0
    union all
    select n.asked, k.oid, false
    from kin n
    join pg_catalog.pg_constraint k on k.confrelid = n.oid
    where k.contype = 'f' and k.conparentid = 0
),
-- From what an asked partition inherits to what was declared.
inherited (asked, name, parent) as (
    select k.conrelid, k.conname, k.conparentid
    from pg_catalog.pg_constraint k
    where k.conrelid = any ($1::oid[]) and k.contype = 'f' and k.conparentid <> 0
    union
    select i.asked, i.name, k.conparentid
    from inherited i
    join pg_catalog.pg_constraint k on k.oid = i.parent
    where k.conparentid <> 0 and k.conrelid <> i.asked
)
select
    s.asked,
    s.is_outgoing,
    -- A partition that was attached keeps its own name for the key.
    coalesce(
        (
            select i.name
            from inherited i
            where s.is_outgoing and k.conrelid <> s.asked and i.asked = s.asked and i.parent = k.oid
            order by i.name
            limit 1
        ),
        k.conname
    )::text as name,
    fn.nspname::text as from_schema,
    f.relname::text as from_name,
    tn.nspname::text as to_schema,
    t.relname::text as to_name,
    k.confmatchtype::text as match_type,
    k.confdeltype::text as on_delete,
    k.confupdtype::text as on_update,
    k.condeferrable as is_deferrable,
    -- Both since 18.
    coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true) as is_enforced,
    coalesce((pg_catalog.to_jsonb(k) ->> 'conperiod')::bool, false) as is_temporal,
    array(
        select pg_catalog.format('operator(%I.%s)', n.nspname, o.oprname)
        from pg_catalog.unnest(k.conpfeqop) with ordinality as x (operator, ordinal)
        join pg_catalog.pg_operator o on o.oid = x.operator
        join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
        order by x.ordinal
    ) as operators,
    exists (
        select
        from pg_catalog.pg_index i
        where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null
            and (i.indkey::int2[])[0:pg_catalog.cardinality(k.conkey) - 1] @> k.conkey
    ) as is_indexed,
    -- Statistics lag behind: the size tells of rows that were never counted, at some 100 bytes each.
    greatest(f.reltuples, case when f.relkind = 'r' then pg_catalog.pg_relation_size(f.oid) / 100.0 else 0 end)::float8 as from_rows,
    array(
        select a.attname::text
        from pg_catalog.unnest(k.conkey) with ordinality as x (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.attnum
        order by x.ordinal
    ) as from_columns,
    array(
        select a.attname::text
        from pg_catalog.unnest(k.confkey) with ordinality as x (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.attnum
        order by x.ordinal
    ) as to_columns
from sides s
join pg_catalog.pg_constraint k on k.oid = s.key
join pg_catalog.pg_class f on f.oid = k.conrelid
join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace
join pg_catalog.pg_class t on t.oid = k.confrelid
join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
order by fn.nspname, f.relname, k.conname
