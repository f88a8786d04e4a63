-- All of today's rows, parents first.

create function pg_temp.fill(of_table text) returns void language plpgsql as $$
declare
    names text;
begin
    select string_agg(quote_ident(attname), ', ' order by attnum) into names
    from pg_attribute where attrelid = of_table::regclass and attnum > 0;
    execute format('insert into %I (%s) select %2$s from pg_temp.d_%1$s where n <= pg_temp.total(%1$L)', of_table, names);
    execute format('analyze %I', of_table);
end $$;

select pg_temp.fill(name) from unnest(array[
    'orgmaster', 'locmaster', 'stafmaster', 'jobtypes', 'itemmaster', 'climaster', 'clicontacts', 'jobshead', 'jobtasks',
    'taskchecklists', 'checklistitems', 'jobmaterials', 'workdiary', 'reminders', 'jobdocs']) name;
