-- The comments on a table and on what belongs to it, as statements. $1: the live table's oid, $2: the new one as SQL, $3: its
-- schema as SQL.
with said as (
    select d.classoid, d.objoid, d.objsubid, pg_catalog.quote_literal(d.description) as words
    from pg_catalog.pg_description d
)
select c.statement, c.is_of_code
from (
    select 1 as step, said.objsubid as place, false as is_of_code,
        case when said.objsubid = 0 then pg_catalog.format('comment on table %s is %s', $2::text, said.words)
            else pg_catalog.format('comment on column %s.%I is %s', $2::text, a.attname, said.words) end as statement
    from said
    left join pg_catalog.pg_attribute a on a.attrelid = said.objoid and a.attnum = said.objsubid and said.objsubid > 0
    where said.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and said.objoid = $1::oid
    union all
    select 2, 0, false, pg_catalog.format('comment on index %s.%I is %s', $3::text, c.relname, said.words)
    from said
    join pg_catalog.pg_index i on i.indexrelid = said.objoid
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    where said.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and i.indrelid = $1::oid and i.indisvalid
        and said.objsubid = 0
    union all
    select 3, 0, false, pg_catalog.format('comment on sequence %s.%I is %s', $3::text, c.relname, said.words)
    from said
    join pg_catalog.pg_class c on c.oid = said.objoid and c.relkind = 'S'
    join pg_catalog.pg_depend d on d.classid = said.classoid and d.objid = c.oid and d.deptype in ('a', 'i')
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = $1::oid
    where said.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass and said.objsubid = 0
    union all
    select 4, 0, k.contype = 't', pg_catalog.format('comment on constraint %I on %s is %s', k.conname, $2::text, said.words)
    from said
    join pg_catalog.pg_constraint k on k.oid = said.objoid
    where said.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and k.conrelid = $1::oid
    union all
    select 5, 0, false, pg_catalog.format('comment on statistics %s.%I is %s', $3::text, e.stxname, said.words)
    from said
    join pg_catalog.pg_statistic_ext e on e.oid = said.objoid
    where said.classoid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass and e.stxrelid = $1::oid
    union all
    select 6, 0, true, pg_catalog.format('comment on trigger %I on %s is %s', t.tgname, $2::text, said.words)
    from said
    join pg_catalog.pg_trigger t on t.oid = said.objoid
    where said.classoid = 'pg_catalog.pg_trigger'::pg_catalog.regclass and t.tgrelid = $1::oid and not t.tgisinternal
    union all
    select 7, 0, true, pg_catalog.format('comment on rule %I on %s is %s', r.rulename, $2::text, said.words)
    from said
    join pg_catalog.pg_rewrite r on r.oid = said.objoid
    where said.classoid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.ev_class = $1::oid
    union all
    select 8, 0, true, pg_catalog.format('comment on policy %I on %s is %s', p.polname, $2::text, said.words)
    from said
    join pg_catalog.pg_policy p on p.oid = said.objoid
    where said.classoid = 'pg_catalog.pg_policy'::pg_catalog.regclass and p.polrelid = $1::oid
    union all
    select 9, 0, false, pg_catalog.format('comment on type %s is %s', $2::text, said.words)
    from said
    join pg_catalog.pg_class c on c.reltype = said.objoid
    where said.classoid = 'pg_catalog.pg_type'::pg_catalog.regclass and c.oid = $1::oid
) as c
order by c.step, c.place, c.statement
