-- The options that the server keeps for itself: of columns, of tables and their TOAST tables, and of the views over the tables. Each
-- option that is there is given to an object made for it, which is gone afterwards: the server either stores the value, or it
-- refuses or ignores it. {tables}: oids; {schema}: where objects can be made, as a literal.
do $bulkload$
declare
    option record;
    object constant text := pg_catalog.format('%I.%I', {schema}, 'bulkload: options ' || pg_catalog.pg_backend_pid());
    stored text[];
    kept text[] := '{}';
begin
    for option in
        with tables as (
            select c.oid, c.reloptions, c.reltoastrelid, am.amname
            from pg_catalog.pg_class c
            left join pg_catalog.pg_am am on am.oid = c.relam
            where c.oid = any ({tables}::oid[])
        ),
        found (kind, access_method, options) as (
            select 'column', null, a.attoptions
            from tables t
            join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
            union all
            select 'table', t.amname, t.reloptions from tables t
            union all
            select 'toast', t.amname, c.reloptions from tables t join pg_catalog.pg_class c on c.oid = t.reltoastrelid
            union all
            select 'view', null, v.reloptions
            from tables t
            join pg_catalog.pg_depend d
                on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = t.oid
                and d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
            join pg_catalog.pg_rewrite r on r.oid = d.objid and r.rulename = '_RETURN'
            join pg_catalog.pg_class v on v.oid = r.ev_class and v.relkind = 'v'
        )
        select f.kind, f.access_method, pg_catalog.split_part(o, '=', 1) as name,
            pg_catalog.min(pg_catalog.substr(o, pg_catalog.strpos(o, '=') + 1)) as value
        from found f
        cross join lateral pg_catalog.unnest(f.options) as o
        group by 1, 2, 3
    loop
        begin
            case option.kind
            when 'column' then
                execute pg_catalog.format('create table %s (a text)', object);
                execute pg_catalog.format('alter table %s alter column a set (%I = %L)', object, option.name, option.value);
                select a.attoptions into stored
                from pg_catalog.pg_attribute a
                where a.attrelid = object::pg_catalog.regclass and a.attname = 'a';
            when 'table' then
                execute pg_catalog.format('create table %s (a text) using %I with (%I = %L)',
                    object, option.access_method, option.name, option.value);
                select c.reloptions into stored from pg_catalog.pg_class c where c.oid = object::pg_catalog.regclass;
            when 'toast' then
                execute pg_catalog.format('create table %s (a text) using %I with (toast.%I = %L)',
                    object, option.access_method, option.name, option.value);
                select t.reloptions into stored
                from pg_catalog.pg_class c
                join pg_catalog.pg_class t on t.oid = c.reltoastrelid
                where c.oid = object::pg_catalog.regclass;
            when 'view' then
                -- CHECK OPTION needs a view that can be written.
                execute pg_catalog.format('create table %s (a text)', object);
                execute pg_catalog.format('create view %s with (%I = %L) as select a from %s',
                    pg_catalog.rtrim(object, '"') || ' view"', option.name, option.value, object);
                select c.reloptions into stored
                from pg_catalog.pg_class c
                where c.oid = (pg_catalog.rtrim(object, '"') || ' view"')::pg_catalog.regclass;
            end case;
            raise exception using errcode = 'BLOPT',
                message = case when option.name || '=' || option.value = any (stored) then 'stored' else 'ignored' end;
        exception
            -- Undoes the changes.
            when sqlstate 'BLOPT' then
                if sqlerrm = 'ignored' then
                    kept := kept || (option.kind || ' ' || option.name);
                end if;
            when invalid_parameter_value then
                kept := kept || (option.kind || ' ' || option.name);
        end;
    end loop;
    perform pg_catalog.set_config('bulkload.kept_options', kept::text, true);
end
$bulkload$;
select pg_catalog.unnest(pg_catalog.current_setting('bulkload.kept_options')::text[]);
