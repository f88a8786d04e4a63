//! The findings as text with ANSI styles: two tables, the limit, and the recommendation.

use std::fmt::Write as _;

use anstyle::Style;

use super::findings::Findings;
use super::words::{self, Grid};
use crate::figures;
use crate::report::wrap::wrap;

const HEADER: Style = Style::new().bold();
const GAP: &str = "  ";

impl Findings {
    /// Returns all findings, ending with the recommended lines. Sentences are wrapped at `width` columns; tables are split
    /// between columns.
    #[must_use]
    pub fn render(&self, width: usize) -> String {
        let mut text = String::new();
        paragraph(&mut text, &format!("{}; {}.", words::subject(self), words::place(self)), width);
        if let Some(base) = self.base() {
            let rounds = figures::counted(base.whole_s.n as u64, "round");
            paragraph(&mut text, &format!("base: {}; medians of {rounds}.", words::base(base)), width);
        }
        for grid in [words::staging(self), words::whole(self)] {
            text.push('\n');
            write_grid(&mut text, &grid, width);
        }
        text.push('\n');
        paragraph(&mut text, &words::legend(self), width);
        text.push('\n');
        let limit = format!("What limits: {}. {}", self.limit.what.name(), self.limit.because);
        let further = [words::disturbed(self), words::together(self)];
        for line in [limit].into_iter().chain(further.into_iter().flatten()).chain(words::left_out(self)) {
            paragraph(&mut text, &line, width);
        }
        text.push('\n');
        text + &self.recommendation.to_toml()
    }
}

fn paragraph(out: &mut String, text: &str, width: usize) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    out.push_str(first);
    wrap(out, rest, console::measure_text_width(first), 2, width);
    out.push('\n');
}

/// Writes a table. One wider than `width` is split into parts that each repeat the first column.
fn write_grid(out: &mut String, grid: &Grid, width: usize) {
    let width_of = |column: usize| {
        let cells = grid.rows.iter().map(|row| row[column].as_str()).chain([grid.header[column]]);
        cells.map(console::measure_text_width).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..grid.header.len()).map(width_of).collect();
    for (number, part) in parts(&widths, width).iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        write_line(out, &grid.header, (part, &widths), HEADER);
        for row in &grid.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            write_line(out, &cells, (part, &widths), Style::new());
        }
    }
}

/// Returns the columns of each part: the first one, and as many others as fit, at least one.
fn parts(widths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for (column, taken) in widths.iter().enumerate().skip(1) {
        let needed = GAP.len() + taken;
        match parts.last_mut() {
            Some(part) if needed <= room => part.push(column),
            _ => {
                parts.push(vec![0, column]);
                room = width.saturating_sub(widths[0]);
            }
        }
        room = room.saturating_sub(needed);
    }
    parts
}

fn write_line(out: &mut String, cells: &[&str], (part, widths): (&[usize], &[usize]), style: Style) {
    let mut text = String::new();
    for &column in part {
        let cell = cells[column];
        let padding = " ".repeat(widths[column] - console::measure_text_width(cell));
        // Writing to a String cannot fail.
        let _ = match column {
            0 => write!(text, "{cell}{padding}"),
            _ => write!(text, "{GAP}{padding}{cell}"),
        };
    }
    let _ = writeln!(out, "{style}{}{style:#}", text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_text_has_every_setting_and_ends_with_lines_for_the_config() {
        let findings = sample::findings();
        let text = anstream::adapter::strip_str(&findings.render(80)).to_string();
        for setting in &findings.settings {
            assert!(text.lines().any(|line| line.starts_with(&setting.label)), "{}\n{text}", setting.label);
        }
        let (before, lines) = text.split_once("\n[run]\n").unwrap();
        let run: toml::Table = format!("[run]\n{lines}").parse().unwrap();
        assert!(run["run"].as_table().unwrap().contains_key("jobs"), "{text}");
        assert!(before.contains("What limits: target. "), "{text}");
        assert!(before.contains("Disturbed: other processes took 50 % of the cores'"), "{text}");
        assert!(before.contains("Left out: psql | psql, 2 streams: "), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_down_to_sixty_columns() {
        for width in [60, 80, 120] {
            let text = anstream::adapter::strip_str(&sample::findings().render(width)).to_string();
            let (before, _) = text.split_once("\n[run]\n").unwrap();
            let widest = before.lines().map(console::measure_text_width).max().unwrap();
            assert!(widest <= width, "{widest} of {width}\n{before}");
            // In however many parts, each figure appears once per row.
            assert_eq!(before.matches("rows/s").count(), 1, "{before}");
            assert!(before.matches("apply truncate").count() >= 1, "{before}");
        }
    }

    #[test]
    fn a_table_is_broken_between_columns_and_each_part_has_the_first() {
        assert_eq!(parts(&[10, 4, 4, 4], 28), [vec![0, 1, 2, 3]]);
        assert_eq!(parts(&[10, 4, 4, 4], 27), [vec![0, 1, 2], vec![0, 3]]);
        assert_eq!(parts(&[10, 40, 4], 20), [vec![0, 1], vec![0, 2]]);
    }
}
