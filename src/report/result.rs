//! The result of a run as text: a table with one row per target table, then warnings, rejects, failures and a summary.
//!
//! Failed tables with their errors and hints come last, because the end of the output stays visible. The text is complete
//! without colors. It contains ANSI styles: print it through `anstream`, which strips them if necessary.

use std::fmt::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};

use super::wrap::wrap;
use super::{Reject, Rejects, Report, TableReport};
use crate::figures;

/// The line width without a terminal; it fits into a mail.
pub const WIDTH: usize = 80;

const GAP: &str = "  ";
const HEADER: Style = Style::new().bold();
const TOTALS: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const NOTABLE: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const PLAIN: Style = Style::new();

/// Returns the whole result, wrapped to `width` columns and ending with a newline.
#[must_use]
pub fn render(report: &Report, width: usize) -> String {
    let mut page = Page { text: String::new(), width };
    grid(&mut page, report);
    warnings(&mut page, report);
    rejects(&mut page, report);
    failures(&mut page, report);
    page.text.push('\n');
    summary(&mut page.text, report);
    page.text
}

/// The text written so far, and the line width.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn blank_line(&mut self) {
        self.text.push('\n');
    }

    /// Writes `lead text`, wrapped at word boundaries, with continuation lines indented by four columns.
    fn paragraph(&mut self, lead: (&str, Style), text: &str) {
        self.text.push_str(&styled(lead.0, lead.1));
        wrap(&mut self.text, &printable(text), console::measure_text_width(lead.0), 4, self.width);
        self.text.push('\n');
    }
}

/// Returns a table's name without the schema `public`. Replaces control characters, which a quoted name may contain.
pub(super) fn short_name(name: &str) -> String {
    printable(name.strip_prefix("public.").unwrap_or(name))
}

/// A cell of the grid: its text and its style.
type Cell = (String, Style);

/// The columns after the table's name, and whether they are right-aligned.
const COLUMNS: [(&str, bool); 7] = [
    ("rows", true),
    ("rejected", true),
    ("method", false),
    ("load", true),
    ("lock", true),
    ("total", true),
    ("status", false),
];

fn grid(page: &mut Page, report: &Report) {
    let header = COLUMNS.map(|(title, _)| (title.to_owned(), HEADER));
    let (done, failed): (Vec<&TableReport>, Vec<_>) = report.tables.iter().partition(|table| table.ok);
    let rows: Vec<(String, [Cell; 7])> =
        done.into_iter().chain(failed).map(|table| (short_name(&table.name), cells(table))).collect();
    let (totals_name, totals) = totals(report);

    let mut widths = [0; 7];
    for cells in rows.iter().map(|(_, cells)| cells).chain([&header, &totals]) {
        for (width, (text, _)) in widths.iter_mut().zip(cells) {
            *width = (*width).max(console::measure_text_width(text));
        }
    }
    let room = page.width.saturating_sub(widths.iter().map(|width| width + GAP.len()).sum());
    let name_width = rows
        .iter()
        .map(|(name, _)| console::measure_text_width(name))
        .filter(|&width| width <= room)
        .chain([console::measure_text_width(&totals_name)])
        .max()
        .unwrap_or(0);

    let out = &mut page.text;
    line(out, ("table", HEADER), &header, name_width, &widths);
    for (name, cells) in &rows {
        line(out, (name, PLAIN), cells, name_width, &widths);
    }
    line(out, (&totals_name, TOTALS), &totals, name_width, &widths);
}

fn cells(table: &TableReport) -> [Cell; 7] {
    let of_applied = |text: String| (if table.ok { text } else { "-".to_owned() }, PLAIN);
    let rejected_style = if table.rejected > 0 { NOTABLE } else { PLAIN };
    let method = table.apply.map_or_else(|| table.strategy.name(), |method| method.name());
    [
        of_applied(figures::count(table.staged)),
        (figures::count(table.rejected), rejected_style),
        (method.to_owned(), PLAIN),
        (figures::duration_ms(table.load_ms), PLAIN),
        of_applied(figures::duration_ms(table.lock_ms)),
        (figures::duration_ms(table.duration_ms), PLAIN),
        if table.ok { ("ok".to_owned(), GOOD) } else { ("FAILED".to_owned(), BAD) },
    ]
}

/// Returns the totals, for columns that can be summed. Loads overlap, so the total time is that of the run.
fn totals(report: &Report) -> (String, [Cell; 7]) {
    let rejected = report.tables.iter().map(|table| table.rejected).sum();
    let failed = failed(report);
    let blank = || (String::new(), PLAIN);
    let cells = [
        (figures::count(report.rows_applied()), TOTALS),
        (figures::count(rejected), TOTALS),
        blank(),
        blank(),
        blank(),
        (figures::duration(report.duration), TOTALS),
        if failed == 0 { ("ok".to_owned(), GOOD) } else { (format!("{failed} FAILED"), BAD) },
    ];
    (figures::counted(report.tables.len() as u64, "table"), cells)
}

/// Writes one line of the grid. A name that is too wide goes on a separate line, so that it is never cut.
fn line(out: &mut String, name: (&str, Style), cells: &[Cell; 7], name_width: usize, widths: &[usize; 7]) {
    let mut text = styled(name.0, name.1);
    let mut used = console::measure_text_width(name.0);
    if used > name_width {
        text.push('\n');
        used = 0;
    }
    text.extend(std::iter::repeat_n(' ', name_width - used));
    for (index, (cell, style)) in cells.iter().enumerate() {
        let padding = " ".repeat(widths[index] - console::measure_text_width(cell));
        let cell = styled(cell, *style);
        text.push_str(GAP);
        match (COLUMNS[index].1, index + 1 == cells.len()) {
            (true, _) => text.extend([padding, cell]),
            (false, false) => text.extend([cell, padding]),
            (false, true) => text.push_str(&cell),
        }
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

/// Writes failed tables with error and hint. Tables with the same error share a paragraph. Tables that failed because of
/// another one come before it.
fn failures(page: &mut Page, report: &Report) {
    let mut groups: Vec<(Vec<String>, &TableReport)> = Vec::new();
    let mut failed: Vec<&TableReport> = report.tables.iter().filter(|table| !table.ok).collect();
    failed.sort_by_key(|table| !table.failed_with_another);
    for table in failed {
        match groups.iter_mut().find(|(_, first)| (&first.error, &first.hint) == (&table.error, &table.hint))
        {
            Some((names, _)) => names.push(short_name(&table.name)),
            None => groups.push((vec![short_name(&table.name)], table)),
        }
    }
    for (names, table) in groups {
        let error = table.error.as_deref().unwrap_or("the run ended before the table was applied");
        // The error starts with the table's name, for logs and state, which show it alone.
        let own = error.strip_prefix(&table.name).filter(|_| names.len() == 1);
        let own = own.and_then(|rest| rest.strip_prefix(": ").or_else(|| rest.strip_prefix(", ")));
        let error = own.unwrap_or(error);
        page.blank_line();
        page.paragraph(("FAILED", BAD), &format!("{}: {error}", some_of(&names)));
        if let Some(hint) = &table.hint {
            page.paragraph(("  hint:", NOTABLE), hint);
        }
    }
}

/// Maximum number of names in a list; more would hide the error after it.
const NAMES_MAX: usize = 4;

/// Returns a list such as `a, b, c and 12 more`.
pub(crate) fn some_of(names: &[String]) -> String {
    if names.len() <= NAMES_MAX {
        return names.join(", ");
    }
    let (shown, rest) = names.split_at(NAMES_MAX - 1);
    format!("{} and {} more", shown.join(", "), rest.len())
}

fn warnings(page: &mut Page, report: &Report) {
    let mut first = true;
    for table in &report.tables {
        for warning in &table.warnings {
            if std::mem::take(&mut first) {
                page.blank_line();
            }
            page.paragraph(("warning", NOTABLE), &format!("{}: {warning}", short_name(&table.name)));
        }
    }
}

/// With rejects in more tables than this, each table gets only one line, so that the grid stays visible.
const REJECTS_IN_FULL_MAX: usize = 2;

fn rejects(page: &mut Page, report: &Report) {
    let tables: Vec<&TableReport> = report.tables.iter().filter(|table| table.rejected > 0).collect();
    if tables.len() > REJECTS_IN_FULL_MAX {
        rejects_in_short(page, &tables);
    } else {
        tables.into_iter().for_each(|table| rejects_of(page, table));
    }
}

/// Writes the rejects of all tables: the directory, and for each table the count and the first reject.
fn rejects_in_short(page: &mut Page, tables: &[&TableReport]) {
    let all = tables.iter().map(|table| table.rejected).sum();
    let directory =
        |table: &&TableReport| Some(Path::new(table.rejects_file.as_ref()?).parent()?.to_path_buf());
    let mut head = figures::counted(all, "row");
    if let Some(directory) = tables.first().and_then(directory) {
        let _ = write!(head, ", one file per table in {}", directory.display());
    }
    page.blank_line();
    page.paragraph(("rejected", NOTABLE), &head);
    let names: Vec<String> = tables.iter().map(|table| short_name(&table.name)).collect();
    let counts: Vec<String> = tables.iter().map(|table| figures::count(table.rejected)).collect();
    let width = |texts: &[String], max: usize| {
        texts.iter().map(|text| console::measure_text_width(text)).max().unwrap_or(0).min(max)
    };
    let (name_width, count_width) = (width(&names, page.width / 3), width(&counts, page.width));
    for ((table, name), count) in tables.iter().zip(&names).zip(&counts) {
        let name = console::pad_str(name, name_width, console::Alignment::Left, Some("…"));
        let what = table.rejects.first.first().map_or_else(
            || table.rejects.counts.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>().join(", "),
            |reject| reject.text.clone(),
        );
        let more = if table.rejected > 1 { ", …" } else { "" };
        let line = format!("  {name}  {count:>count_width$}  {}", printable(&what));
        let room = page.width.saturating_sub(console::measure_text_width(more));
        page.text.push_str(console::truncate_str(&line, room, "").trim_end());
        page.text.push_str(more);
        page.text.push('\n');
    }
}

/// Writes the rejects of one table: the file, the first rejects, and the number of others per reason.
fn rejects_of(page: &mut Page, table: &TableReport) {
    page.blank_line();
    let mut head = format!("{}: {}", short_name(&table.name), figures::counted(table.rejected, "row"));
    if let Some(file) = &table.rejects_file {
        let _ = write!(head, ", all in {file}");
    }
    page.paragraph(("rejected", NOTABLE), &head);
    let shown = &table.rejects.first[..table.rejects.first.len().min(Rejects::SHOWN)];
    for reject in shown {
        page.paragraph(("  -", PLAIN), &sample(reject));
    }
    let rest: Vec<String> = table
        .rejects
        .counts
        .iter()
        .map(|(reason, all)| {
            let seen = shown.iter().filter(|reject| reject.reason == *reason).count() as u64;
            (reason, all.saturating_sub(seen))
        })
        .filter(|&(_, left)| left > 0)
        .map(|(reason, left)| format!("{} {reason}", figures::count(left)))
        .collect();
    if !rest.is_empty() {
        let lead = if shown.is_empty() { "  -" } else { "  - and" };
        page.paragraph((lead, PLAIN), &rest.join(", "));
    }
}

/// Describes one reject by its constraint and text, or by the text alone if it repeats the reason. Omits the machine-readable
/// word that both parts of a server error contain: `v: not_null [23502]` and `not_null: …`.
fn sample(reject: &Reject) -> String {
    let words = reject.reason.split_once(' ').map(|(_, words)| words);
    let has_words = words.is_some_and(|words| reject.text.ends_with(words));
    if has_words || reject.text.starts_with(&reject.reason) {
        return reject.text.clone();
    }
    let (about, code) = reject.reason.rsplit_once(" [").unwrap_or((&reject.reason, ""));
    match reject.text.split_once(": ") {
        Some((word, said)) if !code.is_empty() => {
            let name = about.strip_suffix(&format!(": {word}")).unwrap_or(about);
            if name == word { format!("{said} [{code}") } else { format!("{name} [{code}: {said}") }
        }
        _ => format!("{}: {}", reject.reason, reject.text),
    }
}

/// Writes the summary on one line: id, tables or failures, rows, duration, speed.
fn summary(out: &mut String, report: &Report) {
    let (all, failed, rows) = (report.tables.len() as u64, failed(report), report.rows_applied());
    let style = if failed > 0 { BAD } else { GOOD };
    let _ = write!(out, "{style}Run{style:#} {}: ", printable(&report.run_id));
    let (tables, rows_text) = (figures::counted(all, "table"), figures::counted(rows, "row"));
    let _ = match failed {
        0 => write!(out, "{rows_text} in {tables}"),
        _ => write!(out, "{} of {tables} FAILED, {rows_text}", figures::count(failed)),
    };
    let _ = write!(out, " in {}", figures::duration(report.duration));
    if rows > 0
        && let Some(rate) = rows.saturating_mul(1000).checked_div(super::millis(report.duration))
    {
        let _ = write!(out, ", {} rows/s", figures::count(rate));
    }
    out.push_str(".\n");
}

fn failed(report: &Report) -> u64 {
    report.tables.iter().filter(|table| !table.ok).count() as u64
}

fn styled(text: &str, style: Style) -> String {
    if text.is_empty() { String::new() } else { format!("{style}{text}{style:#}") }
}

/// Replaces control characters: text from a server or a row must not control the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests;
