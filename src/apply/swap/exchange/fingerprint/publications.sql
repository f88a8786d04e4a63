-- The publications they are listed in.
select
    pg_catalog.format('publication %I of %I.%I', p.pubname, n.nspname, c.relname),
    pg_catalog.jsonb_build_object('columns', {publication_columns}, 'filter', {publication_filter})
from pg_catalog.pg_publication_rel r
join pg_catalog.pg_publication p on p.oid = r.prpubid
join pg_catalog.pg_class c on c.oid = r.prrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where r.prrelid = any ($1::oid[])
