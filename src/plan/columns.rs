//! Decides which columns are loaded, and from what.

use std::collections::HashSet;

use super::compared::{self, Filling};
use super::format::{Conversion, conversion};
use super::shape::{self, Difference};
use super::{ColumnPlan, Compared, Facts, Loss, Omission};
use crate::config::{From, Lossy, Said, TableConfig, Value};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, Column, Relation};
use crate::pg::name::{Ident, list, literal, plain};
use crate::pg::render::Renderer;

/// The outcome of matching columns by name.
pub(super) struct Matched<'a> {
    /// The loaded columns, in the target's column order.
    pub(super) columns: Vec<ColumnPlan>,
    /// Columns that can only be sent as text, with the reason.
    pub(super) text_only: Vec<(Ident, &'static str)>,
    /// Casts that can lose information, unless the config allows it.
    pub(super) losses: Vec<Loss>,
    /// Warnings for the operator.
    pub(super) warnings: Vec<String>,
    /// Notes for readers of the plan.
    pub(super) notes: Vec<String>,
    target: &'a Catalog,
}

/// Matches source and target columns by name, under the rules of `[table.columns]`.
pub(super) fn matching<'a>(
    table: &TableConfig,
    source: &[Column],
    target: &Relation,
    facts: &Facts<'a>,
) -> Result<Matched<'a>> {
    check_rules(table, source, target)?;
    let incoming = incoming(table, source);
    let mut matched = Matched {
        columns: Vec::new(),
        text_only: Vec::new(),
        losses: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        target: facts.target,
    };
    for column in target.columns.iter().filter(|column| !column.generated) {
        let rules = &table.columns;
        let from = incoming.iter().find(|(name, _)| *name == &column.name).map(|(_, from)| *from);
        let is_looked_up = table.lookups.iter().any(|lookup| lookup.column.value == column.name);
        let value = rules
            .set
            .get(&column.name)
            .or_else(|| from.is_none().then(|| rules.default.get(&column.name)).flatten());
        match (value, from) {
            _ if is_looked_up => {
                matched.push(column, (String::new(), Compared::Not(Omission::LookedUp)), None, false);
            }
            (Some(value), _) => matched.computed(column, &value.value, facts),
            (None, Some(from)) => {
                if !from.may_select {
                    return Err(forbidden(table, "SELECT", &from.name, "source"));
                }
                matched.taken(table, from, column, facts)?;
            }
            (None, None) => unfilled(column, table)?,
        }
        if matched.columns.last().is_some_and(|last| last.name == column.name) && !column.may_insert {
            return Err(forbidden(table, "INSERT", &column.name, "target"));
        }
    }
    matched.extra(table, &incoming, target)?;
    if matched.columns.is_empty() {
        return Err(Error::new(
            Phase::Plan,
            Kind::Schema,
            format!("{}: source and target have no column in common", table.name.value.plain()),
        )
        .at(table.name.at.clone())
        .hint(format!(
            "The source has {}; the target has {}. Use [table.columns] rename.",
            list(source.iter().map(|c| &c.name)),
            list(target.columns.iter().map(|c| &c.name)),
        )));
    }
    Ok(matched)
}

/// Returns whether anything fills a target column, judging by the config and the source's columns.
pub(super) fn is_filled(table: &TableConfig, source: &[Column], column: &Ident) -> bool {
    let rules = &table.columns;
    rules.set.contains_key(column)
        || rules.default.contains_key(column)
        || table.lookups.iter().any(|lookup| lookup.column.value == *column)
        || incoming(table, source).iter().any(|(name, _)| *name == column)
}

/// Returns a column that staging fills with the target's default.
pub(super) fn defaulted(column: &Column) -> ColumnPlan {
    ColumnPlan {
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_name: column.type_name.clone(),
        renderer: None,
        collation: column.collation.clone(),
        source: String::new(),
        compared: Compared::Not(Omission::Default),
        is_plain: false,
        is_kept: false,
        from: None,
        constant: None,
        is_defaulted: true,
        is_users_sql: false,
        way_out: None,
        identity: None,
    }
}

/// Returns the source columns that are read, under their names on the target.
fn incoming<'a>(table: &'a TableConfig, source: &'a [Column]) -> Vec<(&'a Ident, &'a Column)> {
    let rules = &table.columns;
    let skipped: HashSet<&Ident> = rules.skip.iter().map(|skip| &skip.value).collect();
    source
        .iter()
        .filter(|column| !skipped.contains(&column.name))
        .map(|column| (rules.rename.get(&column.name).map_or(&column.name, |to| &to.value), column))
        .collect()
}

impl Matched<'_> {
    fn push(
        &mut self,
        column: &Column,
        (source, compared): (String, Compared),
        from: Option<&Column>,
        is_plain: bool,
    ) {
        self.columns.push(ColumnPlan {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_name: column.type_name.clone(),
            renderer: Renderer::for_type(self.target, column.type_oid),
            collation: column.collation.clone(),
            source,
            compared,
            is_plain,
            is_kept: column.modifier == -1,
            from: from.map(|column| column.name.clone()),
            constant: None,
            is_defaulted: false,
            is_users_sql: false,
            way_out: None,
            identity: column.identity,
        });
    }

    fn taken(&mut self, table: &TableConfig, from: &Column, to: &Column, facts: &Facts<'_>) -> Result<()> {
        match shape::difference(facts.source, from.type_oid, facts.target, to.type_oid) {
            Some(Difference::Parts(what)) => return Err(differs(table, &to.name, &what)),
            Some(Difference::Order(what)) => {
                self.warnings.push(format!("column {}: {what}", plain(&to.name)));
            }
            None => {}
        }
        let name = from.name.to_string();
        let conversion = conversion(facts.source, facts.target, from, to);
        let filling = Filling::new(facts.source, facts.target, from, to);
        // A file's value has the type it is read as.
        let is_typed = !matches!(table.from, From::Csv(_));
        let loss = filling.loss().filter(|_| is_typed && table.columns.lossy != Lossy::Allow);
        self.tell_cast(table, (from, to), &conversion, loss);
        if loss.is_some() {
            let (column, cast) = (to.name.clone(), format!("{} to {}", from.type_name, to.type_name));
            let changes = filling.changes(&conversion);
            if changes.is_none() && table.columns.lossy == Lossy::Error {
                return Err(uncountable(table, &to.name, &cast));
            }
            self.losses.push(Loss { column, cast, changes });
        }
        let compared = filling.compared(&conversion, loss.is_some());
        let is_one_type = from.type_name == to.type_name
            || facts.source.base_type(from.type_oid) == facts.target.base_type(to.type_oid);
        let is_kept = filling.loss().is_none() && (is_one_type || !matches!(conversion, Conversion::Text(_)));
        match conversion {
            Conversion::Same => {
                self.push(to, (name, compared), Some(from), !from.generated);
            }
            Conversion::Cast { to: kind, way_out, .. } => {
                self.push(to, (format!("{name}::{kind}"), compared), Some(from), false);
                if let Some(column) = self.columns.last_mut() {
                    column.way_out = way_out;
                }
            }
            Conversion::Text(why) => {
                self.text_only.push((to.name.clone(), why));
                self.push(to, (name, compared), Some(from), !from.generated);
            }
        }
        if let Some(column) = self.columns.last_mut() {
            column.is_kept = is_kept;
        }
        Ok(())
    }

    /// Notes or warns which casts are made and which of them can lose information.
    fn tell_cast(
        &mut self,
        table: &TableConfig,
        (from, to): (&Column, &Column),
        conversion: &Conversion,
        loss: Option<&'static str>,
    ) {
        let name = plain(&to.name);
        let (told, kind) = match conversion {
            Conversion::Cast { to: kind, is_implicit, .. } => {
                ((!is_implicit).then_some("the source casts"), kind.as_str())
            }
            _ => (None, to.type_name.as_str()),
        };
        let what = |verb: &str, kind: &str| format!("column {name}: {verb} {} to {kind}", from.type_name);
        match (loss, told) {
            (None, None) => {}
            (None, Some(verb)) => self.warnings.push(what(verb, kind)),
            (Some(why), _) => {
                let kind = if kind == to.type_name {
                    kind.to_owned()
                } else {
                    format!("{kind} for {}", to.type_name)
                };
                let line = format!(
                    "{}, which can lose information: the cast {why}",
                    what(told.unwrap_or("its values are cast from"), &kind)
                );
                match table.columns.lossy {
                    Lossy::Error => {
                        self.notes.push(format!("{line}; a row whose value changes fails the table"));
                    }
                    _ => self.warnings.push(line),
                }
            }
        }
    }

    /// Adds a constant or an expression, computed by the source as the target's type if the source knows that type.
    fn computed(&mut self, to: &Column, value: &Value, facts: &Facts<'_>) {
        let expression = match value {
            Value::Constant(text) => literal(text),
            Value::Expr(sql) => format!("(\n{sql}\n)"),
        };
        match super::format::shared_type(facts.target, to.type_oid) {
            Some(kind) => {
                let cast = format!("{expression}::{kind}");
                let compared = match value {
                    Value::Constant(_) => compared::computed(&cast, to, facts.target),
                    Value::Expr(_) => Compared::Not(Omission::Expression),
                };
                self.push(to, (cast, compared), None, false);
            }
            None => {
                self.text_only.push((to.name.clone(), "its type exists only on the target"));
                let compared = match value {
                    Value::Constant(text) => compared::constant(&to.name, &to.type_name, text),
                    Value::Expr(_) => Compared::Not(Omission::Expression),
                };
                self.push(to, (format!("{expression}::text"), compared), None, false);
            }
        }
        if let Some(column) = self.columns.last_mut() {
            match value {
                Value::Expr(_) => column.is_users_sql = true,
                Value::Constant(text) => column.constant = Some(text.clone()),
            }
        }
    }

    fn extra(
        &mut self,
        table: &TableConfig,
        incoming: &[(&Ident, &Column)],
        target: &Relation,
    ) -> Result<()> {
        let extra: Vec<&Ident> = incoming
            .iter()
            .filter(|(name, _)| target.column(name).is_none())
            .map(|(_, column)| &column.name)
            .collect();
        if extra.is_empty() {
            return Ok(());
        }
        let names = some(&extra);
        if let (From::Csv(files), None) = (&table.from, table.columns.extra_is_error) {
            let has = list(target.columns.iter().map(|column| &column.name));
            let message =
                format!("{}: the target lacks columns of the files: {names}", table.name.value.plain());
            let way = match files.dialect.said {
                Said::Config => "To leave them behind, use skip or extra = \"warn\" under [table.columns].",
                Said::Flags => {
                    "Rename or remove them in the files, or run bulkload sync with a config, which can rename and skip columns."
                }
            };
            let hint = format!("It has {has}. {way}");
            return Err(Error::new(Phase::Plan, Kind::Schema, message).at(files.files.at.clone()).hint(hint));
        }
        if table.columns.extra_is_error == Some(true) {
            return Err(Error::new(
                Phase::Plan,
                Kind::Schema,
                format!("{}: the target lacks source columns {names}", table.name.value.plain()),
            )
            .at(table.name.at.clone())
            .hint("Add them to the target, list them under [table.columns] skip, or set extra = \"warn\"."));
        }
        self.warnings.push(format!("source columns left behind because the target lacks them: {names}"));
        Ok(())
    }
}

/// Refuses a column that needs a value and gets none. An identity column fills itself.
fn unfilled(column: &Column, table: &TableConfig) -> Result<()> {
    let name = plain(&column.name);
    if column.identity.is_some() || !column.not_null || column.has_default {
        return Ok(());
    }
    Err(Error::new(
        Phase::Plan,
        Kind::Schema,
        format!("{}: nothing fills column {name}, which is NOT NULL and has no default", table.name.value.plain()),
    )
    .at(table.name.at.clone())
    .hint(match super::table::said(table) {
        Said::Config => {
            format!("Give it a value: [table.columns] set = {{ {name} = \"…\" }}, or rename a source column to it.")
        }
        Said::Flags => format!("Add a column {name} to the files, or give the table's column a default."),
    }))
}

/// Maximum number of names listed in a message.
const NAMES_MAX: usize = 20;

/// Lists names as they are written in SQL; a long list is cut off.
pub(super) fn some(names: &[&Ident]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| plain(name)).collect();
    let more = names.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

/// Returns the error for two types whose parts differ in meaning.
fn differs(table: &TableConfig, column: &Ident, what: &str) -> Error {
    let message = format!("{}: column {}: {what}", table.name.value.plain(), plain(column));
    Error::new(Phase::Plan, Kind::Schema, message).at(table.name.at.clone()).hint(
        "Give both sides the same type; or convert the column yourself: query = \"select …\", or \
         [table.columns] set = { column = { expr = \"…\" } }; or leave it behind with skip.",
    )
}

/// Refuses `lossy = "error"` for a cast whose loss cannot be counted, and so cannot be ruled out.
fn uncountable(table: &TableConfig, column: &Ident, cast: &str) -> Error {
    let message = format!(
        "{}: lossy = \"error\" is not possible: the source cannot tell which rows of column {} change from {cast}",
        table.name.value.plain(),
        plain(column)
    );
    Error::new(Phase::Plan, Kind::Refused, message).at(table.name.at.clone()).hint(
        "Use lossy = \"warn\" or \"allow\", or convert the column yourself: [table.columns] set = { column = { expr = \"…\" } }.",
    )
}

/// Checks that every column named by a rule exists.
fn check_rules(table: &TableConfig, source: &[Column], target: &Relation) -> Result<()> {
    let rules = &table.columns;
    let in_source = |name: &Ident| source.iter().any(|column| column.name == *name);
    let missing = |side: &str, name: &Ident, at: &Location, known: &[Column]| {
        Error::new(
            Phase::Plan,
            Kind::Schema,
            format!("{}: the {side} has no column {}", table.name.value.plain(), plain(name)),
        )
        .at(at.clone())
        .hint(format!("It has {}.", list(known.iter().map(|column| &column.name))))
    };
    if let Some(skip) = rules.skip.iter().find(|skip| !in_source(&skip.value)) {
        return Err(missing("source", &skip.value, &skip.at, source));
    }
    for (from, to) in &rules.rename {
        if !in_source(from) {
            return Err(missing("source", from, &to.at, source));
        }
        if target.column(&to.value).is_none() {
            return Err(missing("target", &to.value, &to.at, &target.columns));
        }
        if incoming(table, source).iter().filter(|(name, _)| **name == to.value).count() > 1 {
            let message =
                format!("{}: two source columns map to {}", table.name.value.plain(), plain(&to.value));
            return Err(Error::new(Phase::Plan, Kind::Schema, message)
                .at(to.at.clone())
                .hint("Skip or rename one of them."));
        }
    }
    for (name, value) in rules.set.iter().chain(&rules.default) {
        match target.column(name) {
            None => return Err(missing("target", name, &value.at, &target.columns)),
            Some(column) if column.generated => {
                return Err(Error::new(
                    Phase::Plan,
                    Kind::Schema,
                    format!("column {} of the target is generated and cannot be given a value", plain(name)),
                )
                .at(value.at.clone()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn forbidden(table: &TableConfig, right: &str, column: &Ident, side: &str) -> Error {
    let table_name = table.name.value.plain();
    Error::new(
        Phase::Plan,
        Kind::Permission,
        format!("{table_name}: the role has no {right} on column {} of the {side}", plain(column)),
    )
    .at(table.name.at.clone())
    .hint(format!("Grant {right} to the role on the {side}."))
}
