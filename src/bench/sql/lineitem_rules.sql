-- The tables that the rules need on the target: another lineitem, and the tables that its rows reference.
alter table {table}
    drop column l_comment,
    add column l_source text not null,
    add column l_batch int not null,
    add column l_brand int;
