-- Documents: a jsonb of some 300 bytes, and an array.
create table {table} as
select
    i as id,
    jsonb_build_object(
        'number', i, 'state', (array['open', 'done', 'waiting'])[1 + i % 3], 'total', (i % 100000) / 100.0,
        'person', jsonb_build_object('name', 'name ' || i, 'mail', 'person' || i || '@example.com'),
        'items', jsonb_build_array(i % 17, i % 19, i % 23, 'item ' || i % 97), 'seen', i % 2 = 0) as doc,
    array['tag ' || i % 11, 'tag ' || i % 13] as tags
from generate_series(1, {rows}::bigint) i;
alter table {table} add primary key (id);
