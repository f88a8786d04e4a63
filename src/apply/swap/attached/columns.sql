-- The columns of a table, dropped ones apart, in their order. $1: its oid.
select
    a.attname::text as name,
    pg_catalog.format_type(a.atttypid, a.atttypmod) as type_name,
    case when a.attcollation <> t.typcollation and a.attcollation <> 0
        then pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname)
    end as collation,
    a.attnotnull as not_null,
    a.attidentity::text as identity,
    a.attgenerated::text as generated,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid) as expression,
    case when a.attstorage <> t.typstorage
        then case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' else 'extended' end
    end as storage,
    -- A column of version 14.
    case pg_catalog.to_jsonb(a) ->> 'attcompression' when 'p' then 'pglz' when 'l' then 'lz4' end as compression
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_catalog.pg_collation co on co.oid = a.attcollation
left join pg_catalog.pg_namespace cn on cn.oid = co.collnamespace
where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
order by a.attnum
