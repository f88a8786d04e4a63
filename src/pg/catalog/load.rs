//! Reads a [`Catalog`] from a server.

use std::collections::{BTreeSet, HashMap};

use futures::future::try_join_all;
use tokio_postgres::{Client, Row};

use super::{
    Action, Attachments, Catalog, CheckConstraint, Column, Event, ForeignKey, Identity, IndexPart, Leaf, Oid,
    Part, Partition, Relation, RelationKind, Rights, Sequence, Server, Trigger, Type, UniqueIndex,
    extensions,
};
use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName};

/// Loads the facts about `names` and about the result columns of `queries`.
///
/// The session must have an empty `search_path`. `queries` are described by a separate session: see [`describe_query`]. A
/// name without a relation is absent from the result; the planner judges that.
///
/// # Errors
/// Any server error. Privileges on the system catalogs are not needed.
pub async fn load(
    client: &Client,
    names: &BTreeSet<TableName>,
    queries: HashMap<String, Vec<Column>>,
) -> Result<Catalog> {
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Plan, "reading the catalog", &e);
    let schemas: Vec<&str> = names.iter().map(|n| n.schema.as_str()).collect();
    let bare: Vec<&str> = names.iter().map(|n| n.name.as_str()).collect();
    let rows = client.query(include_str!("relations.sql"), &[&schemas, &bare]).await.map_err(failed)?;
    let oids: Vec<Oid> = rows.iter().map(|row| row.get("oid")).collect();

    // Independent statements share the connection's pipeline, and so one round trip.
    let per_relation = [
        include_str!("columns.sql"),
        include_str!("leaves.sql"),
        include_str!("partitions.sql"),
        include_str!("unique_indexes.sql"),
        include_str!("foreign_keys.sql"),
        include_str!("sequences.sql"),
        include_str!("checks.sql"),
        include_str!("triggers.sql"),
    ]
    .map(|sql| {
        let oids = &oids;
        async move { client.query(sql, &[oids]).await }
    });
    let (parts, server, casts, extensions) = futures::try_join!(
        try_join_all(per_relation),
        client.query_one(include_str!("server.sql"), &[]),
        client.query(include_str!("casts.sql"), &[]),
        client.query(include_str!("extensions.sql"), &[]),
    )
    .map_err(failed)?;
    let [columns, leaves, partitions, indexes, foreign_keys, sequences, checks, triggers] = &parts[..] else {
        return Err(Error::new(Phase::Plan, crate::error::Kind::Internal, "a catalog query is missing"));
    };
    let mut server = server_facts(&server);

    let mut relations: HashMap<Oid, Relation> =
        rows.iter().map(|row| (row.get("oid"), relation(row))).collect();
    for row in columns {
        owner_of(&mut relations, row, "attrelid", |r| r.columns.push(column(row)));
    }
    for row in leaves {
        owner_of(&mut relations, row, "root", |r| r.leaves.push(leaf(row, server.block_size)));
    }
    // This must come before the properties of single partitions.
    for row in partitions {
        owner_of(&mut relations, row, "asked", |r| add_partition(r, row));
    }
    for row in indexes {
        owner_of(&mut relations, row, "asked", |r| add_index(r, row));
    }
    for row in foreign_keys {
        let is_outgoing: bool = row.get("is_outgoing");
        owner_of(&mut relations, row, "asked", |r| {
            let keys = if is_outgoing { &mut r.foreign_keys } else { &mut r.referenced_by };
            keys.push(foreign_key(row));
        });
    }
    for row in sequences {
        owner_of(&mut relations, row, "table_oid", |r| r.sequences.push(sequence(row)));
    }
    for row in checks {
        owner_of(&mut relations, row, "asked", |r| add_check(r, row));
    }
    for row in triggers {
        owner_of(&mut relations, row, "root", |r| r.triggers.push(trigger(row)));
    }

    server.table_extensions =
        extensions::complete(client, &extensions, &mut relations).await.map_err(failed)?;

    let used: BTreeSet<Oid> = relations
        .values()
        .flat_map(|r| &r.columns)
        .chain(queries.values().flatten())
        .map(|c| c.type_oid)
        .collect();
    let used: Vec<Oid> = used.into_iter().collect();
    let types = client.query(include_str!("types.sql"), &[&used]).await.map_err(failed)?;
    let queries = named_types(client, queries).await.map_err(failed)?;
    Ok(Catalog {
        server,
        relations: relations.into_values().map(|r| (r.name.clone(), r)).collect(),
        types: types.iter().map(|row| (row.get("oid"), kind_of_type(row))).collect(),
        casts: casts
            .iter()
            .map(|row| ((row.get("castsource"), row.get("casttarget")), row.get("is_implicit")))
            .collect(),
        queries,
    })
}

/// Gives the types of query result columns the names that they have as types of table columns.
async fn named_types(
    client: &Client,
    mut queries: HashMap<String, Vec<Column>>,
) -> std::result::Result<HashMap<String, Vec<Column>>, tokio_postgres::Error> {
    let mut columns: Vec<&mut Column> = queries.values_mut().flatten().collect();
    if columns.is_empty() {
        return Ok(queries);
    }
    let oids: Vec<Oid> = columns.iter().map(|column| column.type_oid).collect();
    let modifiers: Vec<i32> = columns.iter().map(|column| column.modifier).collect();
    let sql = "select pg_catalog.format_type(t.oid, t.modifier)
        from rows from (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int4[])) with ordinality as t (oid, modifier, n)
        order by t.n";
    let names = client.query(sql, &[&oids, &modifiers]).await?;
    for (column, row) in columns.iter_mut().zip(names) {
        column.type_name = row.get(0);
    }
    Ok(queries)
}

/// Returns the result columns of a query, by preparing it on a session with the role's own `search_path`.
///
/// # Errors
/// The query is not valid SQL, or the role may not run it.
pub async fn describe_query(client: &Client, query: &str) -> Result<Vec<Column>> {
    let statement =
        client.prepare(query).await.map_err(|e| Error::pg(Phase::Plan, "preparing the table's query", &e))?;
    Ok(statement
        .columns()
        .iter()
        .map(|column| {
            let kind = column.type_();
            let bare = Column::bare(Ident::new(column.name()), kind.oid(), kind.name().to_owned());
            Column { may_insert: false, modifier: column.type_modifier(), ..bare }
        })
        .collect())
}

fn owner_of(relations: &mut HashMap<Oid, Relation>, row: &Row, key: &str, add: impl FnOnce(&mut Relation)) {
    if let Some(relation) = relations.get_mut(&row.get::<_, Oid>(key)) {
        add(relation);
    }
}

fn ident(row: &Row, column: &str) -> Ident {
    Ident::new(row.get::<_, String>(column))
}

fn idents(row: &Row, column: &str) -> Vec<Ident> {
    row.get::<_, Vec<String>>(column).into_iter().map(Ident::new).collect()
}

fn name(row: &Row, schema: &str, name: &str) -> TableName {
    TableName { schema: ident(row, schema), name: ident(row, name) }
}

fn letter(row: &Row, column: &str) -> char {
    row.get::<_, &str>(column).chars().next().unwrap_or(' ')
}

fn bytes(row: &Row, column: &str) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(0)
}

fn relation_kind(row: &Row) -> RelationKind {
    match letter(row, "kind") {
        'p' => RelationKind::Partitioned,
        'v' => RelationKind::View,
        'm' => RelationKind::MaterializedView,
        'f' => RelationKind::Foreign,
        _ => RelationKind::Table,
    }
}

fn server_facts(row: &Row) -> Server {
    let free: i32 = row.get("free_connections");
    let of_role = row
        .get::<_, Option<i32>>("role_limit")
        .map_or(i32::MAX, |limit| limit - row.get::<_, i32>("role_connections"));
    Server {
        version: u32::try_from(row.get::<_, i32>("version")).unwrap_or(0),
        role: row.get("role"),
        is_superuser: row.get("is_superuser"),
        database: row.get("database"),
        is_standby: row.get("is_standby"),
        may_create: row.get("may_create"),
        block_size: u32::try_from(row.get::<_, i32>("block_size")).unwrap_or(8192),
        free_connections: u32::try_from(free.min(of_role)).unwrap_or(0),
        event_triggers: row.get("event_triggers"),
        table_extensions: Vec::new(),
    }
}

fn relation(row: &Row) -> Relation {
    Relation {
        oid: row.get("oid"),
        name: name(row, "schema", "name"),
        kind: relation_kind(row),
        is_permanent: letter(row, "persistence") == 'p',
        is_partition: row.get("is_partition"),
        has_children: row.get("has_children"),
        managed: None,
        is_empty: false,
        triggers: Vec::new(),
        rights: Rights {
            owner: row.get("is_owner"),
            select: row.get("may_select"),
            insert: row.get("may_insert"),
            update: row.get("may_update"),
            delete: row.get("may_delete"),
            truncate: row.get("may_truncate"),
            temporary: row.get("may_make_temporary"),
            rows_hidden: row.get("rows_hidden"),
        },
        columns: Vec::new(),
        leaves: Vec::new(),
        index_bytes: bytes(row, "index_bytes"),
        row_estimate: row.get("row_estimate"),
        partitions: Vec::new(),
        partition_of: Vec::new(),
        unique_indexes: Vec::new(),
        exclusions: Vec::new(),
        partition_indexes: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: Vec::new(),
        sequences: Vec::new(),
        attachments: Attachments::default(),
        checks: Vec::new(),
    }
}

fn add_partition(relation: &mut Relation, row: &Row) {
    let name = name(row, "schema", "name");
    if row.get("is_below") {
        let (constraint, columns) = (row.get("constraint"), idents(row, "columns"));
        relation.partitions.push(Partition { name, constraint, columns });
    } else {
        relation.partition_of.push(name);
    }
}

fn add_index(relation: &mut Relation, row: &Row) {
    let table = name(row, "schema", "table_name");
    let partition = relation.partition(&table).cloned();
    let list = match partition {
        _ if row.get("excludes") => &mut relation.exclusions,
        Some(_) => &mut relation.partition_indexes,
        None => &mut relation.unique_indexes,
    };
    list.push(UniqueIndex { partition, ..unique_index(row) });
}

/// Adds a CHECK. One that only partitions have is restricted to their rows. Several with the same name are combined into one.
fn add_check(relation: &mut Relation, row: &Row) {
    let table = name(row, "schema", "table_name");
    let mut check = CheckConstraint {
        name: ident(row, "name"),
        expression: row.get("expression"),
        columns: idents(row, "columns"),
    };
    if table != relation.name {
        let Some(partition) = relation.partition(&table) else { return };
        check.expression = format!("({}) is not true or ({})", partition.constraint, check.expression);
        check.columns.extend(partition.columns.iter().cloned());
        check.columns.sort();
        check.columns.dedup();
    }
    match relation.checks.iter_mut().find(|other| other.name == check.name) {
        Some(other) => {
            other.expression = format!("({}) and ({})", other.expression, check.expression);
            other.columns.extend(check.columns);
            other.columns.sort();
            other.columns.dedup();
        }
        None => relation.checks.push(check),
    }
}

fn trigger(row: &Row) -> Trigger {
    let events = [
        ("on_insert", Event::Insert),
        ("on_update", Event::Update),
        ("on_delete", Event::Delete),
        ("on_truncate", Event::Truncate),
    ];
    Trigger {
        name: ident(row, "trigger"),
        table: name(row, "schema", "name"),
        is_enabled: row.get("is_enabled"),
        is_copy: row.get("is_copy"),
        may_alter: row.get("may_alter"),
        for_each_row: row.get("for_each_row"),
        is_before: row.get("is_before"),
        events: events.into_iter().filter(|(column, _)| row.get(column)).map(|(_, event)| event).collect(),
        has_condition: row.get("has_condition"),
        update_of: idents(row, "update_of"),
        function: name(row, "function_schema", "function_name"),
        source: row.get("source"),
    }
}

fn column(row: &Row) -> Column {
    Column {
        name: ident(row, "name"),
        type_oid: row.get("type_oid"),
        type_name: row.get("type_name"),
        modifier: row.get("type_modifier"),
        not_null: row.get("not_null"),
        has_default: row.get("has_default"),
        expression: row.get("expression"),
        identity: match row.get::<_, &str>("identity") {
            "a" => Some(Identity::Always),
            "d" => Some(Identity::ByDefault),
            _ => None,
        },
        generated: row.get("generated"),
        collation: row.get("collation"),
        may_select: row.get("may_select"),
        may_insert: row.get("may_insert"),
        identifies: row.get("identifies"),
    }
}

fn leaf(row: &Row, block_size: u32) -> Leaf {
    let pages = bytes(row, "heap_bytes") / u64::from(block_size);
    Leaf {
        oid: row.get("oid"),
        name: name(row, "schema", "name"),
        kind: relation_kind(row),
        access_method: row.get("access_method"),
        managed: None,
        pages: u32::try_from(pages).unwrap_or(u32::MAX),
        bytes: bytes(row, "table_bytes"),
        may_select: row.get("may_select"),
    }
}

fn unique_index(row: &Row) -> UniqueIndex {
    UniqueIndex {
        name: ident(row, "name"),
        is_primary: row.get("is_primary"),
        is_immediate: row.get("is_immediate"),
        is_partial: row.get("is_partial"),
        partition: None,
        has_expressions: row.get("has_expressions"),
        columns: idents(row, "columns"),
        all_not_null: row.get("all_not_null"),
        parts: index_parts(row),
        predicate: row.get("predicate"),
        uses: idents(row, "uses"),
        nulls_equal: row.get("nulls_equal"),
    }
}

fn index_parts(row: &Row) -> Vec<IndexPart> {
    let texts = |column: &str| row.get::<_, Vec<String>>(column);
    texts("expressions")
        .into_iter()
        .zip(texts("operators"))
        .zip(texts("collations"))
        .map(|((expression, operator), collation)| IndexPart {
            expression,
            operator,
            collation: Some(collation).filter(|collation| !collation.is_empty()),
        })
        .collect()
}

fn action(row: &Row, column: &str) -> Action {
    match letter(row, column) {
        'a' => Action::None,
        'r' => Action::Restrict,
        'c' => Action::Cascade,
        _ => Action::Unset,
    }
}

fn foreign_key(row: &Row) -> ForeignKey {
    ForeignKey {
        name: ident(row, "name"),
        from: name(row, "from_schema", "from_name"),
        from_columns: idents(row, "from_columns"),
        to: name(row, "to_schema", "to_name"),
        to_columns: idents(row, "to_columns"),
        operators: row.get("operators"),
        match_full: letter(row, "match_type") == 'f',
        on_delete: action(row, "on_delete"),
        on_update: action(row, "on_update"),
        is_deferrable: row.get("is_deferrable"),
        is_enforced: row.get("is_enforced"),
        is_temporal: row.get("is_temporal"),
        is_indexed: row.get("is_indexed"),
        from_rows: row.get("from_rows"),
    }
}

fn sequence(row: &Row) -> Sequence {
    Sequence {
        oid: row.get("oid"),
        name: name(row, "schema", "name"),
        column: ident(row, "column_name"),
        is_owned: row.get("is_owned"),
        increment: row.get("increment"),
        start: row.get("start"),
        minimum: row.get("minimum"),
        maximum: row.get("maximum"),
        is_owner: row.get("is_owner"),
        may_select: row.get("may_select"),
        may_update: row.get("may_update"),
    }
}

fn kind_of_type(row: &Row) -> Type {
    Type {
        oid: row.get("oid"),
        name: name(row, "schema", "name"),
        sql_name: row.get("sql_name"),
        kind: letter(row, "kind"),
        category: letter(row, "category"),
        is_array: row.get("is_array"),
        has_binary: row.get("has_binary"),
        is_ordered: row.get("is_ordered"),
        extension: row.get("extension"),
        parts: row.get("parts"),
        details: details(row),
        labels: row.get("labels"),
    }
}

fn details(row: &Row) -> Vec<Part> {
    let (names, modifiers): (Vec<String>, Vec<i32>) = (row.get("part_names"), row.get("part_modifiers"));
    let types: Vec<String> = row.get("part_types");
    names
        .into_iter()
        .zip(modifiers)
        .zip(types)
        .map(|((name, modifier), type_name)| Part { name, modifier, type_name })
        .collect()
}
