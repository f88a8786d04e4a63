-- The CHECK constraints of relations that all their rows satisfy, as far as they can be evaluated elsewhere: on whole columns
-- of the row, by functions that are not written in a language whose names a search_path resolves. $1: oids.
select
    c.conrelid,
    c.conname::text as name,
    pg_catalog.pg_get_expr(c.conbin, c.conrelid) as expression,
    array(
        select a.attname::text
        from pg_catalog.unnest(c.conkey) as k (number)
        join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number
        order by a.attnum) as columns
from pg_catalog.pg_constraint c
where c.conrelid = any ($1::oid[])
    and c.contype = 'c'
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
order by c.conrelid, c.conname
