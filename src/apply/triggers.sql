-- The statements that disable the users' triggers of tables and of what inherits from them, and those that restore each as it is.
-- A partition's copy of a trigger is altered by itself, for it may be set otherwise than the partitioned table's. What is a user's
-- trigger: src/pg/catalog/triggers.sql. $1: oids.
with recursive tree (oid) as (
    select asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union
    select i.inhrelid from tree join pg_catalog.pg_inherits i on i.inhparent = tree.oid
)
select
    pg_catalog.string_agg(
        pg_catalog.format('alter table only %I.%I disable trigger %I', n.nspname, c.relname, t.tgname), '; '
        order by n.nspname, c.relname, t.tgname
    ) as disable,
    pg_catalog.string_agg(
        pg_catalog.format(
            'alter table only %I.%I enable %s trigger %I', n.nspname, c.relname,
            case t.tgenabled when 'A' then 'always' when 'R' then 'replica' end, t.tgname
        ), '; '
        order by n.nspname, c.relname, t.tgname
    ) as restore
from tree
join pg_catalog.pg_trigger t on t.tgrelid = tree.oid
left join pg_catalog.pg_constraint k on k.oid = t.tgconstraint
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where coalesce(k.contype, 't') = 't' and t.tgenabled <> 'D'
