-- Objects that depend on tables, and those that cannot be rebound to another table. $1: oids. One row for each finding:
-- 'o' an obstacle to replacing the table, 'p' a publication that contains it, 'k' a foreign key to it, 'd' another dependent
-- object that can be rebound. A missing privilege is reported with the GRANT that adds it.
with live as (
    select c.*, n.nspname, pg_catalog.format('%I.%I', n.nspname, c.relname) as name
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = any ($1::oid[]) and c.relkind = 'r'
),
server as (
    select pg_catalog.current_setting('server_version_num')::int as version,
        case when pg_catalog.current_setting('server_version_num')::int >= 160000 then 'SET' else 'MEMBER' end as may_become
),
-- Objects that belong to a table and move with it.
own as (
    select l.oid as live, 'pg_catalog.pg_class'::pg_catalog.regclass as classid, l.oid as objid from live l
    union all
    select i.indrelid, 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid
    from pg_catalog.pg_index i join live l on l.oid = i.indrelid
    union all
    select d.refobjid, d.classid, d.objid
    from pg_catalog.pg_depend d
    join live l on l.oid = d.refobjid
    join pg_catalog.pg_class c on c.oid = d.objid and c.relkind = 'S'
    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype in ('a', 'i')
        and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    union all
    select k.conrelid, 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
    from pg_catalog.pg_constraint k join live l on l.oid = k.conrelid
    union all
    select t.tgrelid, 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid
    from pg_catalog.pg_trigger t join live l on l.oid = t.tgrelid
    union all
    select k.conrelid, 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_constraint k on k.oid = t.tgconstraint
    join live l on l.oid = k.conrelid and l.oid <> t.tgrelid
    union all
    select a.adrelid, 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid
    from pg_catalog.pg_attrdef a join live l on l.oid = a.adrelid
    union all
    select p.polrelid, 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid
    from pg_catalog.pg_policy p join live l on l.oid = p.polrelid
    union all
    select r.ev_class, 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid
    from pg_catalog.pg_rewrite r join live l on l.oid = r.ev_class
    union all
    select s.stxrelid, 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid
    from pg_catalog.pg_statistic_ext s join live l on l.oid = s.stxrelid
    union all
    select l.oid, 'pg_catalog.pg_type'::pg_catalog.regclass, l.reltype from live l
    union all
    select l.oid, 'pg_catalog.pg_type'::pg_catalog.regclass, t.typarray
    from live l join pg_catalog.pg_type t on t.oid = l.reltype
),
-- Grantors of privileges on any of these other than the owner.
grantors as (
    select o.live, x.grantor
    from own o
    join live l on l.oid = o.live
    join pg_catalog.pg_class c on c.oid = o.objid and o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    cross join lateral pg_catalog.aclexplode(c.relacl) as x
    where x.grantor <> l.relowner
    union
    select l.oid, x.grantor
    from live l
    join pg_catalog.pg_attribute a on a.attrelid = l.oid
    cross join lateral pg_catalog.aclexplode(a.attacl) as x
    where x.grantor <> l.relowner
),
-- Objects that depend on any of these without belonging to the table.
bound as (
    select distinct o.live, d.classid, d.objid, o.classid = 'pg_catalog.pg_type'::pg_catalog.regclass as is_by_type,
        case when o.classid = 'pg_catalog.pg_type'::pg_catalog.regclass then d.objsubid else 0 end as objsubid
    from own o
    join pg_catalog.pg_depend d on d.refclassid = o.classid and d.refobjid = o.objid
    where not exists (select from own x where x.live = o.live and x.classid = d.classid and x.objid = d.objid)
        -- Until version 13 sequences and TOAST tables have row types.
        and not exists (
            select from pg_catalog.pg_type y
            join own x on x.live = o.live and x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and x.objid = y.typrelid
            where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and y.oid = d.objid
        )
),
described as (
    select b.*, r.ev_class, c.relkind as rule_kind, c.relowner as rule_owner, c.relpersistence as rule_persistence,
        case when r.rulename = '_RETURN' then c.relnamespace end as view_schema,
        k.contype, k.conrelid, k.conkey, k.confkey, f.relkind as referrer_kind, f.relowner as referrer_owner, k.conparentid,
        (pg_catalog.to_jsonb(k) ->> 'conperiod')::bool as is_temporal,
        p.proowner, p.pronamespace, p.proleakproof, pg_catalog.to_jsonb(p) ->> 'prosqlbody' as body,
        y.polrelid, yc.relowner as policy_owner, u.prpubid, toast.relkind as relation_kind,
        -- A view is its rule.
        pg_catalog.pg_describe_object(
            case when r.rulename = '_RETURN' then 'pg_catalog.pg_class'::pg_catalog.regclass else b.classid end,
            case when r.rulename = '_RETURN' then r.ev_class else b.objid end, b.objsubid
        ) as words
    from bound b
    left join pg_catalog.pg_rewrite r on b.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = b.objid
    left join pg_catalog.pg_class c on c.oid = r.ev_class
    left join pg_catalog.pg_constraint k on b.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and k.oid = b.objid
    left join pg_catalog.pg_class f on f.oid = k.conrelid
    left join pg_catalog.pg_proc p on b.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and p.oid = b.objid
    left join pg_catalog.pg_policy y on b.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and y.oid = b.objid
    left join pg_catalog.pg_class yc on yc.oid = y.polrelid
    left join pg_catalog.pg_publication_rel u on b.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass and u.oid = b.objid
    left join pg_catalog.pg_class toast on b.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and toast.oid = b.objid
),
findings as (
    -- Dependent objects.
    select d.live, 20 as rank,
        case
            when d.relation_kind = 't' or d.prpubid is not null then null
            when d.is_by_type then 'o'
            when d.contype = 'f' then 'k'
            when d.rule_persistence = 't' then 'o'
            when d.rule_kind in ('v', 'r', 'p') or d.polrelid is not null or d.body is not null then 'd'
            else 'o'
        end as kind,
        case
            when d.is_by_type then d.words || ' uses its row type'
            when d.rule_persistence = 't' then pg_catalog.format(
                '%s depends on it, which is temporary and belongs to a session of %I: end that session', d.words,
                pg_catalog.pg_get_userbyid(d.rule_owner)
            )
            when d.rule_kind in ('v', 'r', 'p') or d.contype = 'f' or d.polrelid is not null or d.body is not null then d.words
            else d.words || ' depends on it'
        end as words
    from described d
    where d.contype is distinct from 'f' or d.conparentid = 0
    union all
    select d.live, 21, 'o', d.words || ' references it, and the key of a partitioned table cannot be recreated without a check under locks'
    from described d, server s
    where d.contype = 'f' and d.referrer_kind = 'p' and s.version < 180000
    union all
    select d.live, 21, 'o', d.words || ' references its periods'
    from described d
    where d.contype = 'f' and d.conparentid = 0 and d.is_temporal
    union all
    select d.live, 22, 'o', pg_catalog.format('the role is not a member of %I, which owns %s', pg_catalog.pg_get_userbyid(o.owner), d.words)
    from described d
    cross join lateral (
        select coalesce(
            case when d.rule_kind in ('v', 'r', 'p') then d.rule_owner end, case when d.contype = 'f' then d.referrer_owner end,
            d.policy_owner, case when d.body is not null then d.proowner end
        ) as owner
    ) as o
    where not d.is_by_type and o.owner is not null and not pg_catalog.pg_has_role(o.owner, 'USAGE')
    union all
    select d.live, 23, 'o', pg_catalog.format('the role may not create in schema %I, where %s is', n.nspname, d.words)
    from described d
    join pg_catalog.pg_namespace n
        on n.oid = coalesce(case when d.rule_kind = 'v' then d.view_schema end, case when d.body is not null then d.pronamespace end)
    where not pg_catalog.has_schema_privilege(n.oid, 'CREATE')
    union all
    select d.live, 24, 'o', pg_catalog.format('the role may not reference it, as %s does: grant references on %s to %I', d.words, l.name, current_user)
    from described d
    join live l on l.oid = d.live
    where d.contype = 'f' and exists (
        select from pg_catalog.unnest(d.confkey) as x (attnum)
        where not pg_catalog.has_column_privilege(d.live, x.attnum, 'REFERENCES')
    )
    union all
    -- Its rows are searched for such as would be left without a match.
    select d.live, 25, 'o', pg_catalog.format('the role may not read the table of %s: grant select on %s to %I', d.words, d.conrelid::pg_catalog.regclass, current_user)
    from described d
    where d.contype = 'f' and exists (
        select from pg_catalog.unnest(d.conkey) as x (attnum)
        where not pg_catalog.has_column_privilege(d.conrelid, x.attnum, 'SELECT')
    )
    union all
    select d.live, 26, 'o', pg_catalog.format('row-level security hides rows of the table of %s from the role', d.words)
    from described d
    where d.contype = 'f' and pg_catalog.row_security_active(d.conrelid)
    union all
    select d.live, 27, 'o', d.words || ' is LEAKPROOF, which only a superuser can declare again'
    from described d
    where d.body is not null and d.proleakproof
        and not (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = current_user)
    union all
    select d.live, 28, 'o', pg_catalog.format('triggers of %s are disabled', d.words)
    from described d
    join pg_catalog.pg_trigger t on t.tgconstraint = d.objid
    where d.contype = 'f' and t.tgenabled <> 'O'
    union all
    -- Publications.
    select u.prrelid, 10, 'p', pg_catalog.quote_ident(p.pubname)
    from pg_catalog.pg_publication_rel u
    join live l on l.oid = u.prrelid
    join pg_catalog.pg_publication p on p.oid = u.prpubid
    union all
    select l.oid, 11, 'o', pg_catalog.format('publication %I is FOR ALL TABLES, including those of bulkload', p.pubname)
    from live l, pg_catalog.pg_publication p
    where p.puballtables
    union all
    select u.prrelid, 12, 'o', pg_catalog.format('the role is not a member of %I, which owns publication %I', pg_catalog.pg_get_userbyid(p.pubowner), p.pubname)
    from pg_catalog.pg_publication_rel u
    join live l on l.oid = u.prrelid
    join pg_catalog.pg_publication p on p.oid = u.prpubid
    where not pg_catalog.pg_has_role(p.pubowner, 'USAGE')
    union all
    -- Published with its schema.
    select l.oid, 13, 'p', pg_catalog.quote_ident(t.pubname)
    from live l
    join pg_catalog.pg_publication_tables t on t.schemaname = l.nspname and t.tablename = l.relname
    join pg_catalog.pg_publication p on p.pubname = t.pubname and not p.puballtables
    where not exists (select from pg_catalog.pg_publication_rel u where u.prpubid = p.oid and u.prrelid = l.oid)
    union all
    -- The view, because not every version lets all roles read the catalog table itself.
    select u.srrelid, 14, 'o', pg_catalog.format('subscription %I replicates into it', s.subname)
    from pg_catalog.pg_subscription_rel u
    join live l on l.oid = u.srrelid
    join pg_catalog.pg_stat_subscription s on s.subid = u.srsubid
    union all
    -- The kind of table.
    select l.oid, 1, 'o', 'it is a table of a type' from live l where l.reloftype <> 0
    union all
    select i.inhrelid, 2, 'o', pg_catalog.format('it inherits from %s', i.inhparent::pg_catalog.regclass)
    from pg_catalog.pg_inherits i join live l on l.oid = i.inhrelid
    union all
    select distinct o.live, 3, 'o', pg_catalog.format('%s has a security label', pg_catalog.pg_describe_object(s.classoid, s.objoid, 0))
    from own o join pg_catalog.pg_seclabel s on s.classoid = o.classid and s.objoid = o.objid
    union all
    select distinct o.live, 4, 'o', pg_catalog.format('%s belongs to extension %I', pg_catalog.pg_describe_object(d.classid, d.objid, 0), e.extname)
    from own o
    join pg_catalog.pg_depend d on d.classid = o.classid and d.objid = o.objid and d.deptype in ('e', 'x')
    join pg_catalog.pg_extension e on e.oid = d.refobjid
    where d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
    union all
    select distinct l.oid, 5, 'o', 'triggers of its foreign keys are disabled'
    from live l join pg_catalog.pg_trigger t on t.tgrelid = l.oid
    where t.tgisinternal and t.tgenabled <> 'O'
    union all
    select l.oid, 6, 'o', pg_catalog.format('its %s names the table itself', x.what)
    from live l
    join lateral (
        select 'default or generated column' as what, pg_catalog.pg_get_expr(a.adbin, a.adrelid) as definition
        from pg_catalog.pg_attrdef a
        where a.adrelid = l.oid
        union all
        select pg_catalog.format('constraint %I', k.conname), pg_catalog.pg_get_constraintdef(k.oid)
        from pg_catalog.pg_constraint k
        where k.conrelid = l.oid and k.contype in ('c', 'x')
        union all
        select pg_catalog.format('index %I', c.relname), pg_catalog.pg_get_indexdef(i.indexrelid)
        from pg_catalog.pg_index i
        join pg_catalog.pg_class c on c.oid = i.indexrelid
        where i.indrelid = l.oid
    ) as x on pg_catalog.strpos(x.definition, pg_catalog.quote_literal(l.name) || '::regclass') > 0
    union all
    -- Those of the new tables are made in one schema, and those of the old ones go to another.
    select distinct l.oid, 6, 'o', pg_catalog.format(
        '%s and %s have the same name',
        pg_catalog.pg_describe_object('pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid, 0),
        pg_catalog.pg_describe_object('pg_catalog.pg_statistic_ext'::pg_catalog.regclass, x.oid, 0)
    )
    from live l
    join pg_catalog.pg_statistic_ext s on s.stxrelid = l.oid
    join pg_catalog.pg_statistic_ext x on x.stxname = s.stxname and x.oid <> s.oid and x.stxrelid in (select o.oid from live o)
    union all
    -- The role's privileges.
    select l.oid, 7, 'o', pg_catalog.format('the role may not create schemas in the database %I', pg_catalog.current_database())
    from live l
    where not pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
    union all
    select l.oid, 8, 'o', pg_catalog.format('the role may not create in schema %I', l.nspname)
    from live l
    where not pg_catalog.has_schema_privilege(l.relnamespace, 'CREATE')
    union all
    select l.oid, 9, 'o', pg_catalog.format('the role cannot become %I, its owner', pg_catalog.pg_get_userbyid(l.relowner))
    from live l, server s
    where not pg_catalog.pg_has_role(l.relowner, s.may_become)
    union all
    select l.oid, 15, 'o', pg_catalog.format(
        'the role may not reference %1$s (%2$I): grant references on %1$s to %3$I', k.confrelid::pg_catalog.regclass, k.conname, current_user
    )
    from live l
    join pg_catalog.pg_constraint k on k.conrelid = l.oid and k.contype = 'f' and k.confrelid <> l.oid and k.conparentid = 0
    where exists (
        select from pg_catalog.unnest(k.confkey) as x (attnum)
        where not pg_catalog.has_column_privilege(k.confrelid, x.attnum, 'REFERENCES')
    )
    union all
    -- The new sequence goes on where the old one is.
    select o.live, 18, 'o', pg_catalog.format(
        'the role may not %s sequence %s: grant select, update on sequence %2$s to %3$I',
        case when pg_catalog.has_sequence_privilege(c.oid, 'SELECT') then 'set' else 'read' end, c.oid::pg_catalog.regclass, current_user
    )
    from own o
    join pg_catalog.pg_class c on c.oid = o.objid and c.relkind = 'S'
    where o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        and not (pg_catalog.has_sequence_privilege(c.oid, 'SELECT') and pg_catalog.has_sequence_privilege(c.oid, 'UPDATE'))
    union all
    select l.oid, 19, 'o', pg_catalog.format(
        'the role may not execute %1$s, which trigger %2$I calls: grant execute on function %1$s to %3$I',
        t.tgfoid::pg_catalog.regprocedure, t.tgname, current_user
    )
    from live l
    join pg_catalog.pg_trigger t on t.tgrelid = l.oid
    where not t.tgisinternal and not pg_catalog.has_function_privilege(t.tgfoid, 'EXECUTE')
    union all
    -- The objects that it uses are schema-qualified.
    select distinct o.live, 29, 'o', pg_catalog.format(
        'the role may not use schema %1$I, where %2$s is: grant usage on schema %1$I to %3$I',
        n.nspname, pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0), current_user
    )
    from own o
    join pg_catalog.pg_depend d on d.classid = o.classid and d.objid = o.objid
    left join pg_catalog.pg_class c on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and c.oid = d.refobjid
    left join pg_catalog.pg_proc p on d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass and p.oid = d.refobjid
    left join pg_catalog.pg_type y on d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass and y.oid = d.refobjid
    join pg_catalog.pg_namespace n on n.oid = coalesce(c.relnamespace, p.pronamespace, y.typnamespace)
    where not pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    union all
    select distinct l.oid, 16, 'o', pg_catalog.format('the role may not create in tablespace %I', t.spcname)
    from live l
    join own o on o.live = l.oid and o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    join pg_catalog.pg_class c on c.oid = o.objid
    join pg_catalog.pg_tablespace t on t.oid = c.reltablespace
    where not pg_catalog.has_tablespace_privilege(t.oid, 'CREATE')
    union all
    select g.live, 17, 'o', pg_catalog.format('the role cannot become %I, which granted rights on it', pg_catalog.pg_get_userbyid(g.grantor))
    from grantors g, server s
    where not pg_catalog.pg_has_role(g.grantor, s.may_become)
    union all
    select g.live, 17, 'o', pg_catalog.format(
        '%1$I, which granted rights on it, may not use schema %2$I: grant usage on schema %2$I to %1$I',
        pg_catalog.pg_get_userbyid(g.grantor), l.nspname
    )
    from grantors g
    join live l on l.oid = g.live
    where not pg_catalog.has_schema_privilege(g.grantor, l.relnamespace, 'USAGE')
)
select f.live as table_oid, f.kind, f.words
from findings f
where f.kind is not null
group by f.live, f.kind, f.words
order by f.live, pg_catalog.min(f.rank), f.words
