-- Objects that depend on tables or on parts of them without being parts themselves. $1: oids.
-- pg_depend knows all of it but a subscription, which keeps the table's OID to itself.
with own (classid, objid) as materialized (
    select 'pg_catalog.pg_class'::pg_catalog.regclass::oid, t.oid from pg_catalog.unnest($1::oid[]) as t (oid)
    union all
    select 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
    from pg_catalog.pg_index i where i.indrelid = any ($1::oid[])
    union all
    select 'pg_catalog.pg_class'::pg_catalog.regclass, pg_catalog.unnest(array[c.reltoastrelid, i.indexrelid])
    from pg_catalog.pg_class c
    join pg_catalog.pg_index i on i.indrelid = c.reltoastrelid
    where c.oid = any ($1::oid[])
    union all
    select d.classid, d.objid
    from pg_catalog.pg_depend d
    join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and d.refobjid = any ($1::oid[]) and d.deptype in ('a', 'i')
    union all
    select 'pg_catalog.pg_type'::pg_catalog.regclass, y.oid
    from pg_catalog.pg_class c
    join pg_catalog.pg_type y on y.oid = c.reltype or y.typelem = c.reltype and y.typcategory = 'A'
    where c.oid = any ($1::oid[])
    union all
    select 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
    from pg_catalog.pg_constraint k where k.conrelid = any ($1::oid[])
    union all
    select 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid
    from pg_catalog.pg_attrdef a where a.adrelid = any ($1::oid[])
    union all
    select 'pg_catalog.pg_trigger'::pg_catalog.regclass, g.oid
    from pg_catalog.pg_trigger g where g.tgrelid = any ($1::oid[])
    union all
    -- A foreign key also has triggers on the referenced table.
    select 'pg_catalog.pg_trigger'::pg_catalog.regclass, g.oid
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_trigger g on g.tgconstraint = k.oid
    where k.conrelid = any ($1::oid[]) and k.contype = 'f'
    union all
    select 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid
    from pg_catalog.pg_rewrite r where r.ev_class = any ($1::oid[])
    union all
    select 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid
    from pg_catalog.pg_policy p where p.polrelid = any ($1::oid[])
    union all
    select 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid
    from pg_catalog.pg_statistic_ext s where s.stxrelid = any ($1::oid[])
),
found as (
    select distinct d.classid, d.objid
    from own o
    join pg_catalog.pg_depend d on d.refclassid = o.classid and d.refobjid = o.objid
    where not exists (select from own x where x.classid = d.classid and x.objid = d.objid)
        -- Until version 13 sequences and TOAST tables have row types.
        and not exists (
            select from pg_catalog.pg_type y
            join own x on x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and x.objid = y.typrelid
            where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and y.oid = d.objid
        )
)
select
    c.relname::text as catalog,
    f.objid as oid,
    -- What a rule makes of its relation, and whose key a constraint is, is what people look for.
    pg_catalog.pg_describe_object(f.classid, f.objid, 0) as description
from found f
join pg_catalog.pg_class c on c.oid = f.classid
union all
select 'pg_subscription', s.srsubid, 'a subscription that fills ' || s.srrelid::pg_catalog.regclass::text
from pg_catalog.pg_subscription_rel s
where s.srrelid = any ($1::oid[])
order by 1, 3
