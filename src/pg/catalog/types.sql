-- Types and everything that they are made of. $1: oids.
-- `parts`: base of a domain, element of an array, subtype of a range, range of a multirange, columns of a composite, in order.
-- `part_names`, `part_modifiers`, `part_types`: the same parts' names (of columns only), type modifiers and SQL.
-- `labels`: of an enum, in their order.
-- The column `rngmultitypid` is read through JSON because servers before 14 do not have it.
with recursive needed (oid) as (
    select asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union
    select part.oid
    from needed
    join pg_catalog.pg_type t on t.oid = needed.oid
    cross join lateral (
        select t.typbasetype where t.typtype = 'd'
        union all
        select t.typelem where t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A'
        union all
        select r.rngsubtype from pg_catalog.pg_range r where r.rngtypid = t.oid
        union all
        select r.rngtypid from pg_catalog.pg_range r
        where t.typtype = 'm' and (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
        union all
        select a.atttypid from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) as part (oid)
)
select
    t.oid,
    n.nspname::text as schema,
    t.typname::text as name,
    -- With -1 and not NULL: "character" and "bit" would mean a length of 1, "bpchar" and ""bit"" mean any.
    pg_catalog.format_type(t.oid, -1) as sql_name,
    t.typtype::text as kind,
    t.typcategory::text as category,
    t.typlen = -1 and t.typelem <> 0 and t.typcategory = 'A' as is_array,
    t.typsend <> 0 and t.typreceive <> 0 as has_binary,
    -- A default B-tree operator class (access method 403) of its own, or of a type that has the same form.
    exists (
        select from pg_catalog.pg_opclass o
        where o.opcmethod = 403 and o.opcdefault and (
            o.opcintype = t.oid
            or o.opcintype in (
                select c.casttarget from pg_catalog.pg_cast c
                where c.castsource = t.oid and c.castmethod = 'b' and c.castcontext = 'i'))
    ) as is_ordered,
    (
        select e.extname || ' ' || e.extversion
        from pg_catalog.pg_depend d
        join pg_catalog.pg_extension e on e.oid = d.refobjid
        where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.objid = t.oid
            and d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and d.deptype = 'e'
        limit 1
    ) as extension,
    array(
        select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = t.oid order by e.enumsortorder
    ) as labels,
    parts.oids as parts,
    parts.names as part_names,
    parts.modifiers as part_modifiers,
    parts.types as part_types
from needed
join pg_catalog.pg_type t on t.oid = needed.oid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
cross join lateral (
    select
        coalesce(pg_catalog.array_agg(p.oid order by p.ordinal), '{}') as oids,
        coalesce(pg_catalog.array_agg(p.name order by p.ordinal), '{}') as names,
        coalesce(pg_catalog.array_agg(p.modifier order by p.ordinal), '{}') as modifiers,
        coalesce(pg_catalog.array_agg(pg_catalog.format_type(p.oid, p.modifier) order by p.ordinal), '{}') as types
    from (
        select t.typbasetype as oid, '' as name, t.typtypmod as modifier, 0 as ordinal where t.typtype = 'd'
        union all
        select t.typelem, '', -1, 0 where t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A'
        union all
        select r.rngsubtype, '', -1, 0 from pg_catalog.pg_range r where r.rngtypid = t.oid
        union all
        select r.rngtypid, '', -1, 0 from pg_catalog.pg_range r
        where t.typtype = 'm' and (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
        union all
        select a.atttypid, a.attname::text, a.atttypmod, a.attnum from pg_catalog.pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) as p
) as parts
