-- Long text: between 0.4 and 1.9 kB a row, too short to be moved out of line.
create table {table} as
select
    i as id,
    'Report number ' || i as title,
    substr(words, 1 + (i * 31 % 100)::int, 400 + (i * 97 % 1500)::int) as body
from generate_series(1, {rows}::bigint) i,
    (select repeat('The crew met at the gate, looked at the pump, and wrote down what it read. ', 27) as words) w;
alter table {table} add primary key (id);
