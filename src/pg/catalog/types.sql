-- Types and everything that they are made of. $1: oids.
-- `parts`: base of a domain, element of an array, subtype of a range, range of a multirange, columns of a composite, in order.
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
        select p.oid from (
            select t.typbasetype as oid, 0 as ordinal where t.typtype = 'd'
            union all
            select t.typelem, 0 where t.typelem <> 0 and t.typlen = -1 and t.typcategory = 'A'
            union all
            select r.rngsubtype, 0 from pg_catalog.pg_range r where r.rngtypid = t.oid
            union all
            select r.rngtypid, 0 from pg_catalog.pg_range r
            where t.typtype = 'm' and (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::oid = t.oid
            union all
            select a.atttypid, a.attnum from pg_catalog.pg_attribute a
            where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
        ) as p
        order by p.ordinal
    ) as parts
from needed
join pg_catalog.pg_type t on t.oid = needed.oid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
