-- New tables that cannot keep the name of their array type where they go, because another type has it: the server chose it where
-- they were made. Of a name that is as long as names may be the last byte gives way to the underscore. $1: the live tables, $2:
-- the new ones, in the same order.
select pair.new
from rows from (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::oid[])) as pair (live, new)
join pg_catalog.pg_class l on l.oid = pair.live
join pg_catalog.pg_type y on y.typrelid = pair.new
join pg_catalog.pg_type a on a.oid = y.typarray
join pg_catalog.pg_type taken on taken.typnamespace = l.relnamespace and taken.typname = a.typname
where not exists (
    select from pg_catalog.pg_type gone where gone.typrelid = any ($1::oid[]) and taken.oid in (gone.oid, gone.typarray)
)
