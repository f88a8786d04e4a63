-- Foreign keys of tables to others than these. $1: the tables' names, quoted.
with mine as (
    select t.name, t.name::pg_catalog.regclass::oid as oid
    from pg_catalog.unnest($1::text[]) as t (name)
)
select m.name as table_name, k.conname::text as name
from pg_catalog.pg_constraint k
join mine m on m.oid = k.conrelid
where k.contype = 'f' and k.conparentid = 0 and k.confrelid not in (select oid from mine)
order by 1, 2
