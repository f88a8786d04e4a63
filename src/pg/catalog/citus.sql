-- Tables managed by Citus (catalog pg_dist_partition). A distribution method of 'n' is none: a reference table is kept by
-- two-phase commits, a table with a colocation group is one shard on some node, any other one is local. $1: oids.
select
    d.logicalrelid::oid as oid,
    case
        when d.partmethod <> 'n' then 'distributed'
        when d.repmodel = 't' then 'reference'
        when d.colocationid <> 0 then 'distributed'
        else 'local'
    end as kind
from pg_catalog.pg_dist_partition d
where d.logicalrelid::oid = any ($1::oid[])
