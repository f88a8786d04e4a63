-- Forty columns of the usual types, as a business program has them.
create table {table} as
select
    i as id,
    (i % 1000)::int as n01, (i * 3 % 1000)::int as n02, (i * 5 % 1000)::int as n03, (i * 7 % 1000)::int as n04,
    (i * 11 % 100000)::int as n05, (i * 13 % 100000)::int as n06, (i * 17 % 100000)::int as n07,
    i * 19 as b01, i * 23 as b02, i * 29 as b03, i * 31 as b04,
    (i % 100000)::numeric(12, 2) / 100 as m01, (i * 3 % 100000)::numeric(12, 2) / 100 as m02,
    (i * 7 % 100000)::numeric(12, 2) / 100 as m03,
    date '2015-01-01' + (i % 3650)::int as d01, date '2015-01-01' + (i * 3 % 3650)::int as d02,
    date '2015-01-01' + (i * 7 % 3650)::int as d03,
    timestamptz '2024-01-01 00:00+00' + i * interval '1 second' as t01,
    timestamptz '2024-01-01 00:00+00' + i * interval '7 seconds' as t02,
    i % 2 = 0 as f01, i % 3 = 0 as f02, i % 5 = 0 as f03, i % 7 = 0 as f04, i % 11 = 0 as f05,
    'open'::varchar(20) as s01, ('code ' || i % 97)::varchar(20) as s02, ('type ' || i % 13)::varchar(20) as s03,
    'name ' || i as s04, 'street ' || i % 9973 as s05, 'town ' || i % 499 as s06,
    'person' || i || '@example.com' as s07, '+49 170 ' || i as s08,
    case when i % 4 = 0 then 'a note about number ' || i end as s09,
    case when i % 10 = 0 then i % 1000 end as x01, case when i % 20 = 0 then 'rare' end as x02,
    (i % 1009)::float8 / 7 as r01, (i % 2003)::float8 / 7 as r02,
    md5(i::text)::uuid as u01, null::text as z01
from generate_series(1, {rows}::bigint) i;
alter table {table} add primary key (id);
