-- User triggers of relations and of tables that inherit from them (including partitions), in firing order. $1: oids.
-- Bits of tgtype as in src/include/catalog/pg_trigger.h. The server's own triggers belong to constraints; a user's constraint trigger
-- is one of type t. A partition's copy of a row trigger has a tgparentid since 13, and is marked as internal until 14. Before 13 only
-- a superuser can alter it.
with recursive tree (root, oid) as (
    select asked.oid, asked.oid from pg_catalog.unnest($1::oid[]) as asked (oid)
    union
    select tree.root, i.inhrelid from tree join pg_catalog.pg_inherits i on i.inhparent = tree.oid
)
select
    tree.root,
    n.nspname::text as schema,
    c.relname::text as name,
    t.tgname::text as trigger,
    t.tgenabled in ('O', 'A') as is_enabled,
    t.tgisinternal or x.parent <> 0 as is_copy,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') and (
        not t.tgisinternal or x.parent <> 0
        or (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user)
    ) as may_alter,
    t.tgtype & 1 <> 0 as for_each_row,
    t.tgtype & 2 <> 0 as is_before,
    t.tgtype & 4 <> 0 as on_insert,
    t.tgtype & 8 <> 0 as on_delete,
    t.tgtype & 16 <> 0 as on_update,
    t.tgtype & 32 <> 0 as on_truncate,
    t.tgqual is not null as has_condition,
    array(
        select a.attname::text
        from pg_catalog.unnest(t.tgattr::int2[]) with ordinality as k (attnum, ordinal)
        join pg_catalog.pg_attribute a on a.attrelid = t.tgrelid and a.attnum = k.attnum
        order by k.ordinal
    ) as update_of,
    pn.nspname::text as function_schema,
    p.proname::text as function_name,
    p.prosrc as source
from tree
join pg_catalog.pg_trigger t on t.tgrelid = tree.oid
cross join lateral (
    select coalesce((pg_catalog.to_jsonb(t) ->> 'tgparentid')::oid, 0) as parent
) as x
left join pg_catalog.pg_constraint k on k.oid = t.tgconstraint
join pg_catalog.pg_class c on c.oid = t.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_proc p on p.oid = t.tgfoid
join pg_catalog.pg_namespace pn on pn.oid = p.pronamespace
where coalesce(k.contype, 't') = 't' and t.tgtype & 64 = 0
order by tree.root, t.tgname, n.nspname, c.relname
