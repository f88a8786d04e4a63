-- The triggers of a table but for those of constraints, and whether they fire. $1: its oid, $2: the new one as SQL.
select
    pg_catalog.pg_get_triggerdef(t.oid) as definition,
    case when t.tgenabled <> 'O' then
        pg_catalog.format(
            'alter table %s %s trigger %I', $2::text,
            case t.tgenabled when 'D' then 'disable' when 'R' then 'enable replica' else 'enable always' end, t.tgname
        )
    end as state
from pg_catalog.pg_trigger t
where t.tgrelid = $1::oid and not t.tgisinternal
order by t.tgname
