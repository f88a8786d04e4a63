-- The CHECK constraints of relations that all their rows satisfy, and those that partitions of them add, as far as they can be
-- evaluated elsewhere: on whole columns of the row, by functions that are not written in a language whose names a search_path
-- resolves. A NOT NULL that only a partition has is one of them. $1: oids.
with recursive below (asked, oid, parent) as (
    select asked.oid, asked.oid, null::oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union all
    select b.asked, i.inhrelid, i.inhparent
    from below b
    join pg_catalog.pg_inherits i on i.inhparent = b.oid
    join pg_catalog.pg_class c on c.oid = i.inhrelid
    where c.relispartition
)
select
    b.asked,
    n.nspname::text as schema,
    r.relname::text as table_name,
    c.conname::text as name,
    pg_catalog.pg_get_expr(c.conbin, c.conrelid) as expression,
    array(
        select a.attname::text
        from pg_catalog.unnest(c.conkey) as k (number)
        join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number
        order by a.attnum) as columns
from below b
join pg_catalog.pg_class r on r.oid = b.oid
join pg_catalog.pg_namespace n on n.oid = r.relnamespace
join pg_catalog.pg_constraint c on c.conrelid = b.oid
where c.contype = 'c'
    -- Inherited constraints belong to the parent.
    and (b.oid = b.asked or c.coninhcount = 0)
    and c.convalidated
    -- Since 18.
    and coalesce((pg_catalog.to_jsonb(c) ->> 'conenforced')::bool, true)
    and not exists (select from pg_catalog.unnest(c.conkey) as k (number) where k.number <= 0)
    and not exists (
        select
        from pg_catalog.pg_depend d
        left join pg_catalog.pg_operator o
            on d.refclassid = 'pg_catalog.pg_operator'::regclass and o.oid = d.refobjid
        join pg_catalog.pg_proc p
            on p.oid = case when d.refclassid = 'pg_catalog.pg_proc'::regclass then d.refobjid else o.oprcode end
        join pg_catalog.pg_language l on l.oid = p.prolang
        where d.classid = 'pg_catalog.pg_constraint'::regclass and d.objid = c.oid
            and l.lanname not in ('internal', 'c'))
union all
-- Named as version 18 names them, if there is room for it.
select
    b.asked,
    n.nspname::text,
    r.relname::text,
    case
        when pg_catalog.octet_length(r.relname || '_' || a.attname || '_not_null') <= 63
            then r.relname || '_' || a.attname || '_not_null'
        else 'not_null_' || pg_catalog.md5(r.relname || '_' || a.attname)
    end,
    pg_catalog.quote_ident(a.attname) || ' is not null',
    array[a.attname::text]
from below b
join pg_catalog.pg_class r on r.oid = b.oid
join pg_catalog.pg_namespace n on n.oid = r.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = b.oid and a.attnum > 0 and not a.attisdropped and a.attnotnull
join pg_catalog.pg_attribute p on p.attrelid = b.parent and p.attname = a.attname and not p.attnotnull
order by 1, 2, 3, 4
