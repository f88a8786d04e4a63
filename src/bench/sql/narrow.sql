-- Few short columns, to measure the cost per row.
create table {table} as
select
    i as id,
    (i * 7919 % 100000)::int as account,
    (i % 7)::smallint as kind,
    timestamptz '2024-01-01 00:00+00' + i * interval '1 second' as at,
    (i % 100003)::float8 / 100 as amount
from generate_series(1, {rows}::bigint) i;
alter table {table} add primary key (id);
