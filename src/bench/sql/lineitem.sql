-- The sixteen columns of TPC-H's lineitem, four lines to an order.
create table {table} as
select
    (i + 3) / 4 as l_orderkey,
    (i * 7919 % greatest({rows} / 30, 1) + 1)::int as l_partkey,
    (i * 7877 % greatest({rows} / 600, 1) + 1)::int as l_suppkey,
    ((i + 3) % 4 + 1)::int as l_linenumber,
    (i * 17 % 50 + 1)::numeric(15, 2) as l_quantity,
    ((i * 7919 % 9500000 + 90000)::numeric / 100)::numeric(15, 2) as l_extendedprice,
    ((i * 13 % 11)::numeric / 100)::numeric(15, 2) as l_discount,
    ((i * 11 % 9)::numeric / 100)::numeric(15, 2) as l_tax,
    (array['A', 'N', 'R'])[1 + i % 3]::char(1) as l_returnflag,
    (array['O', 'F'])[1 + i % 2]::char(1) as l_linestatus,
    date '1992-01-02' + (i * 37 % 2526)::int as l_shipdate,
    date '1992-01-31' + (i * 41 % 2466)::int as l_commitdate,
    date '1992-01-04' + (i * 37 % 2526 + i % 30)::int as l_receiptdate,
    (array['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])[1 + i * 3 % 4]::char(25)
        as l_shipinstruct,
    (array['TRUCK', 'MAIL', 'AIR', 'SHIP', 'RAIL', 'FOB', 'REG AIR'])[1 + i % 7]::char(10) as l_shipmode,
    substr(words, (i * 31 % 340)::int + 1, (i * 17 % 34)::int + 10)::varchar(44) as l_comment
from generate_series(1, {rows}::bigint) i,
    (select repeat('carefully final deposits wake quickly among the regular requests; ', 6) as words) w;
alter table {table} add primary key (l_orderkey, l_linenumber);
