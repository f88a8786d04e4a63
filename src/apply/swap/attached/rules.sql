-- The rules of a table, and whether they fire. $1: its oid, $2: the new one as SQL.
select
    pg_catalog.pg_get_ruledef(r.oid) as definition,
    case when r.ev_enabled <> 'O' then
        pg_catalog.format(
            'alter table %s %s rule %I', $2::text,
            case r.ev_enabled when 'D' then 'disable' when 'R' then 'enable replica' else 'enable always' end, r.rulename
        )
    end as state
from pg_catalog.pg_rewrite r
where r.ev_class = $1::oid
order by r.rulename
