-- The constraints of a table but for those that an index makes (see indexes.sql), in the order of their names; those of
-- version 18 for NOT NULL first. $1: the table's oid.
select
    k.conname::text as name,
    k.contype::text as kind,
    pg_catalog.pg_get_constraintdef(k.oid) as definition,
    k.convalidated as is_valid,
    -- A column of version 18.
    coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true) as is_enforced,
    k.confrelid as referenced,
    case when k.confrelid <> 0 then pg_catalog.format('%I.%I', rn.nspname, r.relname) end as referenced_name,
    pg_catalog.quote_ident(ts.spcname) as tablespace,
    case when k.contype = 'n' then a.attname::text end as column_name,
    k.connoinherit as is_not_inherited
from pg_catalog.pg_constraint k
left join pg_catalog.pg_class r on r.oid = k.confrelid
left join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
left join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
left join pg_catalog.pg_class ic on ic.oid = k.conindid and k.contype in ('p', 'u', 'x')
left join pg_catalog.pg_am am on am.oid = ic.relam
left join pg_catalog.pg_tablespace ts on ts.oid = ic.reltablespace
where k.conrelid = $1::oid and k.conparentid = 0
    and (k.contype in ('c', 'f', 'x', 'n') or (k.contype in ('p', 'u') and am.amname <> 'btree'))
order by k.contype <> 'n', k.conname
