create table {schema}.orders as select i as o_orderkey from generate_series(1, ({rows}::bigint + 3) / 4) i;
alter table {schema}.orders add primary key (o_orderkey);
create table {schema}.supplier as
select i::int as s_suppkey from generate_series(1, greatest({rows}::bigint / 600, 1)) i;
alter table {schema}.supplier add primary key (s_suppkey);
create table {schema}.part as
select i::int as p_partkey, (i * 7 % 25 + 1)::int as p_brand
from generate_series(1, greatest({rows}::bigint / 30, 1)) i;
alter table {schema}.part add primary key (p_partkey);
