-- The sequences that columns of a table own, for identity and otherwise. $1: its oid.
select
    c.relname::text as name,
    pg_catalog.format('%I.%I', n.nspname, c.relname) as live,
    a.attname::text as column_name,
    d.deptype = 'i' as is_identity,
    c.relpersistence = 'u' as is_unlogged,
    pg_catalog.format_type(s.seqtypid, null) as type_name,
    pg_catalog.format(
        'start with %s increment by %s minvalue %s maxvalue %s cache %s %s',
        s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, case when s.seqcycle then 'cycle' else 'no cycle' end
    ) as options,
    s.seqincrement as increment
from pg_catalog.pg_depend d
join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_sequence s on s.seqrelid = c.oid
join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.refobjid = $1::oid and d.refobjsubid > 0 and d.deptype in ('a', 'i')
order by a.attnum, c.relname
