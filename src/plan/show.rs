//! Displays the plan, as text for people and as JSON for scripts.

use std::fmt;

use serde::Serialize;

use super::{Group, Judged, Lookup, Plan, Reference, Storage, TablePlan};
use crate::config::{ApplyMethod, Mode, OnOrphan};
use crate::figures;
use crate::pg::name::plain;

/// Disk space that a run needs on the target, in bytes, estimated from the sizes on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskNeed {
    /// Staging tables, until the run ends.
    pub staging_bytes: u64,
    /// New rows and their index entries next to the old ones, until VACUUM reclaims those.
    pub apply_bytes: u64,
    /// Write-ahead log, until the next checkpoint, or longer if a replication slot retains it.
    pub wal_bytes: u64,
}

impl Plan {
    /// Returns the run's need of disk space on the target.
    ///
    /// Staging is UNLOGGED and writes no WAL; with `swap` one table is both staging and new rows. Applied rows are
    /// written to the heap, the indexes and the WAL.
    #[must_use]
    pub fn disk_need(&self) -> DiskNeed {
        let rows: u64 = self.tables.iter().map(|table| table.bytes).sum();
        // Filling a column in staging rewrites its rows.
        let times = |table: &TablePlan| {
            1 + table.lookups.iter().filter(|lookup| matches!(lookup.judged, Judged::Staged(_))).count()
                as u64
        };
        let staged: u64 = self
            .tables
            .iter()
            .filter(|t| t.uses_staging && !t.fills_new_table())
            .map(|table| table.bytes * times(table))
            .sum();
        let indexes: u64 = self.tables.iter().map(|table| table.target_index_bytes).sum();
        DiskNeed { staging_bytes: staged, apply_bytes: rows + indexes, wal_bytes: rows + indexes }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from     {}", self.source_label)?;
        writeln!(f, "to       {}", self.target_label)?;
        writeln!(f, "streams  {} ({})", self.streams, self.streams_reason)?;
        let need = self.disk_need();
        writeln!(
            f,
            "disk     about {} on the target for staging, {} for new rows next to the old ones, {} of WAL",
            figures::bytes(need.staging_bytes),
            figures::bytes(need.apply_bytes),
            figures::bytes(need.wal_bytes)
        )?;
        let disk = self.disk.to_string();
        if !disk.is_empty() {
            writeln!(f, "         {disk}")?;
        }
        for (number, group) in self.groups.iter().enumerate() {
            writeln!(f)?;
            self.show_group(f, number + 1, group)?;
        }
        if !self.failed.is_empty() {
            writeln!(f, "\nnot loaded: {}", figures::counted(self.failed.len() as u64, "table"))?;
        }
        for table in &self.failed {
            writeln!(f, "  {}", table.name.plain())?;
            writeln!(f, "    fails    {}", table.error)?;
            if let Some(hint) = table.error.advice() {
                writeln!(f, "    hint     {hint}")?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {warning}")?;
        }
        let truncates =
            self.tables.iter().any(|t| matches!(t.apply, ApplyMethod::Truncate | ApplyMethod::Direct));
        let swaps = self.tables.iter().any(|t| t.apply == ApplyMethod::Swap);
        if truncates || swaps {
            let what = match (truncates, swaps) {
                (true, true) => "truncated or swapped",
                (true, false) => "truncated",
                _ => "swapped",
            };
            writeln!(
                f,
                "\nnote: a REPEATABLE READ transaction on the target that began before a table is {what}\n      sees it empty afterwards"
            )?;
        }
        Ok(())
    }
}

impl TablePlan {
    /// Describes the tables on either side that are not heaps, one per line.
    pub(crate) fn engines(&self) -> impl Iterator<Item = String> {
        let source = self.source_storage.as_ref();
        let source = source.filter(|storage| !storage.is_heap() && **storage != Storage::View);
        let source = source.map(|storage| format!("source   {storage}: read by name, in one stream"));
        let target = Some(&self.storage).filter(|storage| !storage.is_heap());
        let target = target.map(|storage| format!("target   {storage}: not written by ctid, not swapped"));
        source.into_iter().chain(target)
    }
}

impl Plan {
    fn show_group(&self, f: &mut fmt::Formatter<'_>, number: usize, group: &Group) -> fmt::Result {
        let count = group.tables().count();
        let together = if count == 1 { "1 table" } else { "applied together, referenced tables first" };
        writeln!(f, "transaction {number}: {together}")?;
        for circle in &group.order {
            for &table in circle {
                show_table(f, &self.tables[table])?;
            }
            if circle.len() > 1 {
                let names: Vec<String> = circle.iter().map(|&i| self.tables[i].name.plain()).collect();
                writeln!(f, "    {} reference each other: one statement fills them", names.join(", "))?;
            }
        }
        Ok(())
    }
}

fn show_table(f: &mut fmt::Formatter<'_>, table: &TablePlan) -> fmt::Result {
    writeln!(f, "  {}", table.name.plain())?;
    let size = size(table);
    let chunks = figures::counted(table.chunks.len() as u64, "chunk");
    writeln!(f, "    from     {}{size}, {chunks}", table.from)?;
    for engine in table.engines() {
        writeln!(f, "    {engine}")?;
    }
    if let Some(filter) = &table.filter {
        writeln!(f, "    where    {}", filter.trim())?;
    }
    if let Some(watermark) = table.watermark.as_ref().filter(|_| table.mode == Mode::Incremental) {
        let last = watermark.last.as_deref().unwrap_or_default();
        writeln!(f, "    reads    incrementally, rows written since {last}")?;
    }
    let by = table.replaces_by().map_or_else(String::new, |method| format!(" by {}", method.name()));
    writeln!(f, "    method   {}{by} ({})", table.strategy.name(), table.apply_reason)?;
    if let Some(scope) = &table.scope {
        writeln!(f, "    scope    {}", scope.trim())?;
    }
    writeln!(f, "    format   {} ({})", table.format, table.format_reason)?;
    match &table.key {
        Some(key) => {
            let key: Vec<String> = key.iter().map(plain).collect();
            writeln!(f, "    key      {}", key.join(", "))?;
        }
        None => writeln!(f, "    key      none: every row is loaded, including duplicates")?,
    }
    if table.key.is_some() && table.may_have_duplicates {
        let is_dated = table.watermark.as_ref().is_some_and(|watermark| !watermark.dated_by.is_empty());
        let which = if is_dated { "newest" } else { "greatest" };
        writeln!(
            f,
            "             the source may have duplicates: of rows with one key, the {which} is loaded"
        )?;
    }
    for lookup in &table.lookups {
        writeln!(f, "    lookup   {lookup}")?;
        writeln!(f, "             filled {}", lookup.judged)?;
    }
    for reference in &table.references {
        writeln!(f, "    refers   {reference} ({})", reference.name)?;
        if reference.on_orphan != OnOrphan::Keep {
            writeln!(f, "             judged {}", reference.judged)?;
        }
    }
    for note in &table.notes {
        writeln!(f, "    note     {note}")?;
    }
    for warning in &table.warnings {
        writeln!(f, "    warning  {warning}")?;
    }
    Ok(())
}

/// Returns the expected size of a table, as far as it is known: `, 1.28 GB, about 6,000,000 rows`.
fn size(table: &TablePlan) -> String {
    let mut size = String::new();
    if table.bytes > 0 {
        size = format!(", {}", figures::bytes(table.bytes));
    }
    if table.row_estimate > 0 {
        size += &format!(", about {}", figures::counted(table.row_estimate, "row"));
    }
    if table.csv.is_none() && !size.is_empty() && !table.has_own_heap() {
        size += " if it is as large as the table it replaces";
    }
    size
}

impl Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            source: &'a str,
            target: &'a str,
            streams: usize,
            streams_reason: &'a str,
            disk: Needed,
            transactions: Vec<Vec<String>>,
            tables: Vec<Table<'a>>,
            failed: Vec<Fails>,
            warnings: &'a [String],
        }
        #[derive(Serialize)]
        struct Needed {
            #[serde(flatten)]
            need: DiskNeed,
            database_bytes: Option<u64>,
            disk_bytes: Option<u64>,
        }
        #[derive(Serialize)]
        struct Table<'a> {
            name: String,
            from: &'a str,
            #[serde(rename = "where")]
            filter: Option<&'a str>,
            /// The source table's storage; `None` for a query or files.
            source_storage: Option<&'static str>,
            /// The target table's storage.
            target_storage: &'static str,
            mode: &'static str,
            /// The watermark from which an incremental run reads.
            since: Option<&'a str>,
            strategy: &'static str,
            apply: Option<&'static str>,
            apply_reason: &'a str,
            format: &'static str,
            format_reason: &'a str,
            scope: Option<&'a str>,
            key: Option<Vec<String>>,
            columns: Vec<&'a str>,
            lookups: Vec<LooksUp>,
            references: Vec<Refers>,
            chunks: usize,
            bytes: u64,
            rows_estimated: u64,
            notes: &'a [String],
            warnings: &'a [String],
        }
        #[derive(Serialize)]
        struct Fails {
            name: String,
            error: String,
            hint: Option<String>,
        }
        #[derive(Serialize)]
        struct LooksUp {
            column: String,
            from: String,
            #[serde(rename = "match")]
            pairs: std::collections::BTreeMap<String, String>,
            value: String,
            on_missing: &'static str,
            judged: String,
        }
        let looks_up = |lookup: &Lookup| LooksUp {
            column: plain(&lookup.column),
            from: lookup.from.plain(),
            pairs: lookup.pairs.iter().map(|pair| (plain(&pair.source), plain(&pair.theirs))).collect(),
            value: plain(&lookup.value),
            on_missing: if lookup.rejects_missing { "reject" } else { "null" },
            judged: lookup.judged.to_string(),
        };
        #[derive(Serialize)]
        struct Refers {
            name: String,
            to: String,
            judged: String,
        }
        let refers = |reference: &Reference| Refers {
            name: reference.name.clone(),
            to: reference.to.plain(),
            judged: reference.judged.to_string(),
        };
        let table = |table: &'_ TablePlan| table.name.plain();
        Shown {
            source: &self.source_label,
            target: &self.target_label,
            streams: self.streams,
            streams_reason: &self.streams_reason,
            disk: Needed {
                need: self.disk_need(),
                database_bytes: self.disk.database_bytes,
                disk_bytes: self.disk.disk_bytes,
            },
            transactions: self
                .groups
                .iter()
                .map(|group| group.tables().map(|i| table(&self.tables[i])).collect())
                .collect(),
            tables: self
                .tables
                .iter()
                .map(|t| Table {
                    name: table(t),
                    from: &t.from,
                    filter: t.filter.as_deref(),
                    source_storage: t.source_storage.as_ref().map(Storage::name),
                    target_storage: t.storage.name(),
                    mode: t.mode.name(),
                    since: t
                        .watermark
                        .as_ref()
                        .filter(|_| t.mode == Mode::Incremental)
                        .and_then(|watermark| watermark.last.as_deref()),
                    strategy: t.strategy.name(),
                    apply: t.replaces_by().map(ApplyMethod::name),
                    apply_reason: &t.apply_reason,
                    format: t.format.name(),
                    format_reason: &t.format_reason,
                    scope: t.scope.as_deref(),
                    key: t.key.as_ref().map(|key| key.iter().map(plain).collect()),
                    columns: t.columns.iter().map(|column| column.name.as_str()).collect(),
                    lookups: t.lookups.iter().map(looks_up).collect(),
                    references: t.references.iter().map(refers).collect(),
                    chunks: t.chunks.len(),
                    bytes: t.bytes,
                    rows_estimated: t.row_estimate,
                    notes: &t.notes,
                    warnings: &t.warnings,
                })
                .collect(),
            failed: self
                .failed
                .iter()
                .map(|t| Fails {
                    name: t.name.plain(),
                    error: t.error.to_string(),
                    hint: t.error.advice().map(str::to_owned),
                })
                .collect(),
            warnings: &self.warnings,
        }
        .serialize(serializer)
    }
}
