-- Who holds the advisory lock named $1.
select l.pid, coalesce(nullif(a.application_name, ''), 'unknown') as application
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
    and (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended($1, 0)
limit 1
