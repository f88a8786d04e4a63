-- The privileges on a table, its columns and its sequences, as statements: first what new objects have got is taken away, then
-- what the live ones have is granted, in their order, object by object; the objects are numbered. Default privileges are not to
-- leak in.
-- $1: the live table's oid, $2: the new one as SQL, $3: its schema as SQL.
with objects as (
    select 1 as place, 'r'::"char" as kind, 'table' as word, $2::text as name, live.relowner as owner,
        live.relacl as acl, new.relacl as given
    from pg_catalog.pg_class live
    join pg_catalog.pg_class new on new.oid = $2::text::pg_catalog.regclass
    where live.oid = $1::oid
    union all
    select 2, 's'::"char", 'sequence', pg_catalog.format('%s.%I', $3::text, live.relname), live.relowner,
        live.relacl, new.relacl
    from pg_catalog.pg_depend d
    join pg_catalog.pg_class live on live.oid = d.objid and live.relkind = 'S'
    join pg_catalog.pg_class new on new.oid = pg_catalog.format('%s.%I', $3::text, live.relname)::pg_catalog.regclass
    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype in ('a', 'i')
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = $1::oid
),
wanted as (
    select o.*, coalesce(o.acl, pg_catalog.acldefault(o.kind, o.owner)) as rights
    from objects o
    where o.acl is not null or o.given is not null
),
statements as (
    select w.place, w.name, 1 as step, 0::bigint as ordinal, null::oid as grantor,
        pg_catalog.format('revoke all on %s %s from %s', w.word, w.name,
            case when g.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) end) as statement
    from wanted w
    cross join lateral (
        select distinct x.grantee
        from pg_catalog.aclexplode(coalesce(w.given, pg_catalog.acldefault(w.kind, w.owner))) as x
    ) as g
    union all
    select w.place, w.name, 2, pg_catalog.min(g.ordinal), nullif(g.grantor, w.owner),
        pg_catalog.format('grant %s on %s %s to %s%s', pg_catalog.string_agg(g.privilege, ', ' order by g.ordinal), w.word, w.name,
            case when g.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) end,
            case when g.is_grantable then ' with grant option' else '' end)
    from wanted w
    cross join lateral pg_catalog.aclexplode(w.rights) with ordinality as g (grantor, grantee, privilege, is_grantable, ordinal)
    group by w.place, w.name, w.word, w.owner, g.grantor, g.grantee, g.is_grantable
    union all
    select 3, a.attname, a.attnum, pg_catalog.min(g.ordinal), nullif(g.grantor, c.relowner),
        pg_catalog.format('grant %s on table %s to %s%s',
            pg_catalog.string_agg(pg_catalog.format('%s (%I)', g.privilege, a.attname), ', ' order by g.ordinal), $2::text,
            case when g.grantee = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) end,
            case when g.is_grantable then ' with grant option' else '' end)
    from pg_catalog.pg_attribute a
    join pg_catalog.pg_class c on c.oid = a.attrelid
    cross join lateral pg_catalog.aclexplode(a.attacl) with ordinality as g (grantor, grantee, privilege, is_grantable, ordinal)
    where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
    group by a.attname, a.attnum, c.relowner, g.grantor, g.grantee, g.is_grantable
)
select pg_catalog.dense_rank() over (order by s.place, s.name) as object, s.statement,
    case when s.grantor is not null then pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(s.grantor)) end as grantor
from statements s
order by s.place, s.name, s.step, s.ordinal
