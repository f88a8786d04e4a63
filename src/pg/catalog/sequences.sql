-- Sequences owned by columns of relations (serial and identity). $1: oids.
-- Only of columns that hold numbers: what a text column makes of its sequence cannot be known.
select
    c.oid,
    d.refobjid as table_oid,
    a.attname::text as column_name,
    n.nspname::text as schema,
    c.relname::text as name,
    s.seqincrement as increment,
    s.seqstart as start,
    s.seqmin as minimum,
    s.seqmax as maximum,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') as is_owner,
    pg_catalog.has_sequence_privilege(c.oid, 'SELECT') as may_select,
    pg_catalog.has_sequence_privilege(c.oid, 'UPDATE') as may_update
from pg_catalog.pg_depend d
join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_sequence s on s.seqrelid = c.oid
join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
join pg_catalog.pg_type t on t.oid = a.atttypid
where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refobjsubid > 0 and d.deptype in ('a', 'i')
    and d.refobjid = any ($1::oid[])
    and t.typcategory = 'N' and t.typname <> all (array['oid', 'money']) and t.typname not like 'reg%'
order by d.refobjid, d.refobjsubid, n.nspname, c.relname
