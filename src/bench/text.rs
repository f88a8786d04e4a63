//! The findings for people: two tables, what limits, what is recommended. It carries ANSI styles.

use std::fmt::Write as _;

use anstyle::Style;

use super::findings::Findings;
use super::words::{self, Grid};
use crate::report::figures;
use crate::report::wrap::wrap;

const HEADER: Style = Style::new().bold();
const GAP: &str = "  ";

impl Findings {
    /// All of it, ending with the lines that are recommended. Sentences are broken at `width` columns; tables are as wide as
    /// they are.
    #[must_use]
    pub fn render(&self, width: usize) -> String {
        let mut text = String::new();
        paragraph(&mut text, &format!("{}; {}.", words::subject(self), words::place(self)), width);
        if let Some(base) = self.base() {
            let rounds = figures::counted(base.load_s.n as u64, "round");
            paragraph(&mut text, &format!("base: {}; medians of {rounds}.", words::base(base)), width);
        }
        text.push('\n');
        grid(&mut text, &words::staging(self));
        text.push('\n');
        grid(&mut text, &words::whole(self));
        text.push('\n');
        for line in self.legend() {
            paragraph(&mut text, &line, width);
        }
        text.push('\n');
        let limit = format!("What limits: {}. {}", self.limit.what.name(), self.limit.because);
        paragraph(&mut text, &limit, width);
        if let Some(line) = words::disturbed(self) {
            paragraph(&mut text, &line, width);
        }
        for left in &self.left_out {
            paragraph(&mut text, &format!("Left out: {}: {}.", left.what, left.why), width);
        }
        if let Some(combined) = self.settings.iter().find(|setting| setting.list == "combined") {
            let took = combined.load_s.median;
            let base = self.base().map_or(took, |base| base.load_s.median);
            let line = format!(
                "The recommended values together ({}) took {}, the base {}.",
                combined.label,
                words::time(took),
                words::time(base)
            );
            paragraph(&mut text, &line, width);
        }
        text.push('\n');
        text + &self.recommendation.to_toml()
    }

    /// What the columns mean.
    fn legend(&self) -> Vec<String> {
        let floor = match self.floor_s {
            Some(floor) => format!(
                "floor: times {}, what the servers' CPU alone takes on all cores together",
                words::time(floor.median)
            ),
            None => "floor: not known, the servers' CPU time cannot be read from here".to_owned(),
        };
        vec![format!(
            "pipe: times that of one psql | psql; pipes: of as many as the best setting has streams; {floor}; pipe+index: times one pipe and an index on the key; CPU \
             s/GB and peak: of the client."
        )]
    }
}

fn paragraph(out: &mut String, text: &str, width: usize) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    out.push_str(first);
    wrap(out, rest, console::measure_text_width(first), 2, width);
    out.push('\n');
}

fn grid(out: &mut String, grid: &Grid) {
    let width = |column: usize| {
        let cells = grid.rows.iter().map(|row| row[column].as_str()).chain([grid.header[column]]);
        cells.map(console::measure_text_width).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..grid.header.len()).map(width).collect();
    let mut line = |cells: &[&str], style: Style| {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths[column] - console::measure_text_width(cell));
            // Writing to a String cannot fail.
            let _ = match column {
                0 => write!(text, "{cell}{padding}"),
                _ => write!(text, "{GAP}{padding}{cell}"),
            };
        }
        let _ = writeln!(out, "{style}{}{style:#}", text.trim_end());
    };
    line(&grid.header, HEADER);
    for row in &grid.rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>(), Style::new());
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;

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
        assert!(before.contains("Disturbed: something else took 50 % of the cores'"), "{text}");
        assert!(before.contains("Left out: psql | psql, 2 streams: "), "{text}");
        for line in before.lines().filter(|line| !line.contains("  ")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
