-- Foreign keys of tables to others than these. $1: the tables' names, quoted.
with mine as (
    select t.name, t.name::pg_catalog.regclass::oid as oid
    from pg_catalog.unnest($1::text[]) as t (name)
)
select m.name as table_name, k.conname::text as name, pg_catalog.format('%I.%I', n.nspname, c.relname) as referenced
from pg_catalog.pg_constraint k
join mine m on m.oid = k.conrelid
join pg_catalog.pg_class c on c.oid = k.confrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where k.contype = 'f' and k.conparentid = 0 and k.confrelid not in (select oid from mine)
order by 1, 2
