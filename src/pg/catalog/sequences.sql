-- Sequences from which columns of relations take their values: those that a column owns (serial and identity), and those that
-- are the whole of its default. $1: oids.
-- Only of columns that hold numbers: what a text column makes of its sequence cannot be known.
with used as (
    select d.objid as sequence, d.refobjid as table_oid, d.refobjsubid as number, true as is_owned
    from pg_catalog.pg_depend d
    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.refobjsubid > 0 and d.deptype in ('a', 'i')
        and d.refobjid = any ($1::oid[])
    union all
    select d.refobjid, e.adrelid, e.adnum, false
    from pg_catalog.pg_attrdef e
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = e.oid
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> e.adrelid
    where e.adrelid = any ($1::oid[])
        and pg_catalog.pg_get_expr(e.adbin, e.adrelid) ~ '^\(?nextval\(''([^'']|'''')*''::regclass\)\)?(::[a-z ]+)?$'
)
select
    c.oid,
    u.table_oid,
    a.attname::text as column_name,
    n.nspname::text as schema,
    c.relname::text as name,
    u.is_owned,
    s.seqincrement as increment,
    s.seqstart as start,
    s.seqmin as minimum,
    s.seqmax as maximum,
    pg_catalog.pg_has_role(c.relowner, 'USAGE') as is_owner,
    pg_catalog.has_sequence_privilege(c.oid, 'SELECT') as may_select,
    pg_catalog.has_sequence_privilege(c.oid, 'UPDATE') as may_update
from (
    select sequence, table_oid, number, pg_catalog.bool_or(is_owned) as is_owned from used group by 1, 2, 3
) u
join pg_catalog.pg_class c on c.oid = u.sequence and c.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_sequence s on s.seqrelid = c.oid
join pg_catalog.pg_attribute a on a.attrelid = u.table_oid and a.attnum = u.number
join pg_catalog.pg_type t on t.oid = a.atttypid
where t.typcategory = 'N' and t.typname <> all (array['oid', 'money']) and t.typname not like 'reg%'
order by u.table_oid, u.number, n.nspname, c.relname
