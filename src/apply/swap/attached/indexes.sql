-- The valid indexes of a table but for those that only their constraint's own statement can make, the largest first.
-- $1: its oid.
select
    c.relname::text as name,
    pg_catalog.pg_get_indexdef(i.indexrelid) as definition,
    pg_catalog.quote_ident(ts.spcname) as tablespace,
    case when k.contype = 'p' then 'primary key' when k.contype = 'u' then 'unique' end as made_constraint,
    case when k.condeferrable then case when k.condeferred then 'deferrable initially deferred' else 'deferrable' end
        else '' end as deferrability
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_am am on am.oid = c.relam
left join pg_catalog.pg_tablespace ts on ts.oid = c.reltablespace
left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x')
where i.indrelid = $1::oid and i.indisvalid
    and (k.oid is null or (k.contype in ('p', 'u') and am.amname = 'btree'))
order by pg_catalog.pg_relation_size(i.indexrelid) desc, c.relname
