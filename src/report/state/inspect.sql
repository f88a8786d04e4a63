-- The existing parts of the state: one row, even if the schema does not exist.
-- $1: the staging schema's name.
select current_database()::text as database,
       current_user::text as role,
       n.oid is not null as schema_exists,
       has_database_privilege(current_database(), 'CREATE') as may_create,
       pg_get_userbyid(n.nspowner)::text as owner,
       -- State tables that belong to another role or are not plain tables: their triggers would run with our privileges.
       array(select c.relname::text
             from pg_class c
             where c.relnamespace = n.oid
               and c.relname in ('sync_state', 'runs')
               and (c.relkind <> 'r' or pg_get_userbyid(c.relowner) <> current_user)) as foreign_tables,
       array(select case when a.grantee = 0 then 'public'
                         else quote_ident(pg_get_userbyid(a.grantee)) end
             from aclexplode(n.nspacl) a
             where a.grantee <> n.nspowner
             group by 1) as grantees,
       exists (select from pg_class c where c.relnamespace = n.oid)
           or exists (select from pg_proc p where p.pronamespace = n.oid)
           or exists (select from pg_type t where t.typnamespace = n.oid) as occupied,
       array(select c.relname || '.' || a.attname
             from pg_class c
             join pg_attribute a on a.attrelid = c.oid
             where c.relnamespace = n.oid
               and c.relname in ('sync_state', 'runs')
               and a.attnum > 0
               and not a.attisdropped) as columns
from (values (1)) as always
left join pg_namespace n on n.nspname = $1
