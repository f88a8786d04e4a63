-- The types of columns. $1: quoted name of the table; $2: names of columns, in whose order the types are returned.
select a.atttypid
from pg_catalog.unnest($2::text[]) with ordinality as asked (name, ordinal)
join pg_catalog.pg_attribute a on a.attrelid = $1::text::pg_catalog.regclass and a.attname = asked.name
where a.attnum > 0 and not a.attisdropped
order by asked.ordinal
