-- The tables of publications. $1: oids of their entries.
select
    p.pubname::text as name,
    r.prrelid as table_oid,
    {columns} as columns,
    {filter} as filter
from pg_catalog.pg_publication_rel r
join pg_catalog.pg_publication p on p.oid = r.prpubid
where r.oid = any ($1::oid[])
order by p.pubname
