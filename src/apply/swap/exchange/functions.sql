-- Functions and procedures with a parsed body. $1: oids of functions.
select pg_catalog.pg_get_functiondef(p.oid) as definition
from pg_catalog.pg_proc p
where p.oid = any ($1::oid[])
order by p.oid
