-- The owners of extended statistics, copied from the live ones, as statements. $1: the live table's oid, $2: the new ones' schema as SQL.
select pg_catalog.format('alter statistics %s.%I owner to %I', $2::text, e.stxname, pg_catalog.pg_get_userbyid(e.stxowner)) as statement
from pg_catalog.pg_statistic_ext e
where e.stxrelid = $1::oid and pg_catalog.pg_get_userbyid(e.stxowner) <> current_user
order by e.stxname
