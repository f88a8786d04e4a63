-- Their extended statistics.
select
    pg_catalog.format('statistics %I.%I', n.nspname, s.stxname),
    pg_catalog.jsonb_build_object(
        'definition', pg_catalog.pg_get_statisticsobjdef(s.oid),
        'owner', pg_catalog.pg_get_userbyid(s.stxowner),
        'target', {statistics_target},
        'comment', pg_catalog.obj_description(s.oid, 'pg_statistic_ext')
    )
from pg_catalog.pg_statistic_ext s
join pg_catalog.pg_namespace n on n.oid = s.stxnamespace
where s.stxrelid = any ($1::oid[])
