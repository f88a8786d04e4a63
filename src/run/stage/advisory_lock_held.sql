-- Whether backend $2 holds the advisory lock named $1.
select exists (
    select
    from pg_catalog.pg_locks l
    where l.locktype = 'advisory' and l.objsubid = 1 and l.granted and l.pid = $2
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
        and (l.classid::bigint << 32) | l.objid::bigint = pg_catalog.hashtextextended($1, 0)
)
