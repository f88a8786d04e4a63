-- What restricts the values of a column besides its type. $1: the table's OID, $2: the column's name.
with recursive
this as (
    select a.attnum, a.atttypid
    from pg_catalog.pg_attribute a
    where a.attrelid = $1 and a.attname = $2 and not a.attisdropped
),
-- The column's type, and what it is a domain over.
types as (
    select t.oid, t.typtype, t.typbasetype from this join pg_catalog.pg_type t on t.oid = this.atttypid
    union all
    select t.oid, t.typtype, t.typbasetype from types join pg_catalog.pg_type t on t.oid = types.typbasetype
    where types.typtype = 'd'
)
select
    array(
        select e.enumlabel::text
        from pg_catalog.pg_enum e join types on types.oid = e.enumtypid
        order by e.enumsortorder
    ) as labels,
    array(
        select pg_catalog.pg_get_expr(c.conbin, c.conrelid)
        from pg_catalog.pg_constraint c cross join this
        where c.conrelid = $1 and c.contype = 'c' and c.conkey = array[this.attnum]
        order by c.conname
    ) as checks,
    exists (
        select from pg_catalog.pg_constraint c cross join this
        where c.conrelid = $1 and c.contype = 'c' and this.attnum = any (c.conkey) and c.conkey <> array[this.attnum]
    ) as has_shared_checks,
    array(
        select pg_catalog.pg_get_constraintdef(c.oid)
        from pg_catalog.pg_constraint c join types on types.oid = c.contypid
        where c.contype = 'c'
        order by c.conname
    ) as domain_checks
