-- The properties of a table in CREATE TABLE other than its columns. $1: its oid.
select
    pg_catalog.format('%I.%I', n.nspname, c.relname) as live,
    pg_catalog.quote_ident(am.amname) as access_method,
    pg_catalog.quote_ident(ts.spcname) as tablespace,
    coalesce(c.reloptions, '{}') as options,
    coalesce(toast.reloptions, '{}') as toast_options,
    c.reltoastrelid <> 0 as has_toast,
    case when c.relowner <> (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user)
        then pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner))
    end as other_owner,
    c.relrowsecurity as has_row_security,
    c.relforcerowsecurity as forces_row_security,
    c.relreplident::text as replica_identity,
    array(
        select ic.relname::text
        from pg_catalog.pg_index i
        join pg_catalog.pg_class ic on ic.oid = i.indexrelid
        where i.indrelid = c.oid and not i.indisvalid
        order by ic.relname
    ) as invalid_indexes
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_class toast on toast.oid = c.reltoastrelid
left join pg_catalog.pg_am am on am.oid = c.relam
left join pg_catalog.pg_tablespace ts on ts.oid = c.reltablespace
where c.oid = $1::oid and c.relkind = 'r'
