//! The findings as one self-contained page, without scripts, fonts or other files. It is readable on a phone, in light and in
//! dark mode, and is well-formed XML, so any parser can check it.

use super::chart::{Bar, Chart, escaped};
use super::findings::{Findings, PlainFigures, SettingFigures};
use super::settings::size;
use super::words::{self, Grid};
use crate::figures;

impl Findings {
    /// Returns the page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let charts: String = self.charts().iter().map(Chart::to_html).collect();
        let base = self.base().map_or_else(String::new, |base| {
            let rounds = figures::counted(base.whole_s.n as u64, "round");
            format!("base: {}; medians of {rounds}, thin lines from minimum to maximum", words::base(base))
        });
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
             <title>bulkload bench: {table}</title>\n<style>\n{css}</style></head>\n<body>\n\
             <header><h1>bulkload bench: {table}</h1><p>{subject}; {place}.</p>\
             <p class=\"quiet\">{when}, bulkload {version}; {base}.</p></header>\n\
             <section id=\"recommended\"><h2>Recommended</h2><pre>{lines}</pre></section>\n\
             <section id=\"limit\"><h2>What limits: {limit}</h2><p>{because}</p>{further}</section>\n\
             <div class=\"charts\">\n{charts}</div>\n{staging}{whole}\
             <p id=\"legend\" class=\"quiet\">{legend}</p>\n{left_out}</body></html>\n",
            table = escaped(&self.scenario.table),
            css = include_str!("page.css"),
            subject = escaped(&words::subject(self)),
            place = escaped(&words::place(self)),
            when = humantime::format_rfc3339_seconds(self.started_at),
            version = self.version,
            base = escaped(&base),
            lines = escaped(&self.recommendation.to_toml()),
            limit = self.limit.what.name(),
            because = escaped(&self.limit.because),
            further = paragraphs([words::disturbed(self), words::together(self)].into_iter().flatten()),
            legend = escaped(&words::legend(self)),
            staging = table("staging", "Into staging", &words::staging(self)),
            whole = table("whole", "The whole job", &words::whole(self)),
            left_out = self.left_out_html(),
        )
    }

    /// Returns the charts that have bars.
    fn charts(&self) -> Vec<Chart> {
        let mut charts = vec![self.by_streams(), self.by_chunk(), self.by_phase(), self.by_method()];
        charts.retain(|chart| !chart.bars.is_empty());
        charts
    }

    fn by_streams(&self) -> Chart {
        let plain = self.plain.iter().filter(|plain| plain.what == "pipe");
        let ours = self.along("jobs", |setting| setting.jobs);
        let ours = ours.into_iter().filter_map(|setting| self.speed(words::streams(setting), setting));
        Chart {
            id: "streams",
            title: "Throughput by streams",
            note: "Rows per second into staging; grey: psql | psql.".to_owned(),
            legend: &[],
            bars: plain.filter_map(|plain| self.plain_speed(plain)).chain(ours).collect(),
        }
    }

    fn by_chunk(&self) -> Chart {
        let ours = self.along("chunk", |setting| setting.chunk_bytes);
        let name = |setting: &SettingFigures| {
            format!("{}, {}", size(setting.chunk_bytes), figures::counted(setting.chunks, "chunk"))
        };
        Chart {
            id: "chunks",
            title: "Throughput by chunk size",
            note: "Rows per second into staging.".to_owned(),
            legend: &[],
            bars: ours.into_iter().filter_map(|setting| self.speed(name(setting), setting)).collect(),
        }
    }

    fn by_phase(&self) -> Chart {
        let bar = |setting: &SettingFigures| {
            let load = setting.load_s.map_or(0.0, |load| load.median);
            let phases = [load, setting.index_s.median, setting.apply_s.median];
            let rest = (setting.whole_s.median - phases.iter().sum::<f64>()).max(0.0);
            Bar {
                label: words::label(self, setting),
                value: words::time(setting.whole_s.median),
                detail: Some(format!(
                    "load {}, index {}, apply {}, rest {}",
                    words::median(setting.load_s, words::time),
                    words::time(phases[1]),
                    words::time(phases[2]),
                    words::time(rest)
                )),
                parts: vec![("ours", phases[0]), ("index", phases[1]), ("apply", phases[2]), ("rest", rest)],
                range: None,
            }
        };
        Chart {
            id: "phases",
            title: "Time by phase",
            note: "From start to end of the program.".to_owned(),
            legend: &[
                ("ours", "load"),
                ("index", "index"),
                ("apply", "apply"),
                ("rest", "rest: connect, plan, judge, record"),
            ],
            bars: self.settings.iter().map(bar).collect(),
        }
    }

    fn by_method(&self) -> Chart {
        let bar = |setting: &SettingFigures| Bar {
            label: match setting.apply == setting.method {
                true => setting.method.clone(),
                false => format!("{} ({})", setting.apply, setting.method),
            },
            value: format!("{} ({})", words::time(setting.lock_s.median), words::range(setting.lock_s)),
            detail: None,
            parts: vec![("apply", setting.lock_s.median)],
            range: Some((setting.lock_s.min, setting.lock_s.max)),
        };
        Chart {
            id: "locks",
            title: "Lock time by method",
            note: "From acquiring the strongest lock to the commit.".to_owned(),
            legend: &[],
            bars: self.along("apply", |setting| setting.apply).into_iter().map(bar).collect(),
        }
    }

    fn speed(&self, label: String, setting: &SettingFigures) -> Option<Bar> {
        Some(self.speed_bar(label, ("ours", setting.effort.rows_per_s?), setting.load_s?))
    }

    fn plain_speed(&self, plain: &PlainFigures) -> Option<Bar> {
        Some(self.speed_bar(plain.label.clone(), ("other", plain.effort.rows_per_s?), plain.seconds))
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn speed_bar(&self, label: String, part: (&'static str, f64), time: super::Spread) -> Bar {
        Bar {
            label,
            value: format!("{} rows/s", words::rows_per_second(part.1)),
            detail: None,
            parts: vec![part],
            range: range(self.scenario.rows as f64, time),
        }
    }

    fn left_out_html(&self) -> String {
        if self.left_out.is_empty() {
            return String::new();
        }
        let items = paragraphs(words::left_out(self).into_iter());
        format!("<section id=\"left-out\"><h2>What is missing</h2>{items}</section>\n")
    }
}

fn paragraphs(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| format!("<p>{}</p>", escaped(&line))).collect()
}

/// Returns the lowest and highest speed for a range of times.
fn range(rows: f64, time: super::Spread) -> Option<(f64, f64)> {
    Some((super::statistics::ratio(rows, time.max)?, super::statistics::ratio(rows, time.min)?))
}

fn table(id: &str, title: &str, grid: &Grid) -> String {
    let header: String = grid.header.iter().map(|cell| format!("<th>{}</th>", escaped(cell))).collect();
    let row = |cells: &Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = grid.rows.iter().map(row).collect();
    format!(
        "<section id=\"{id}\"><h2>{title}</h2><div class=\"scroll\"><table><thead><tr>{header}</tr></thead>\n\
         <tbody>{rows}</tbody></table></div></section>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_is_well_formed_and_has_every_chart_and_every_value() {
        let findings = sample::findings();
        let page = findings.to_html();
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
        let document = roxmltree::Document::parse_with_options(&page, options).unwrap();
        let text_of = |node: roxmltree::Node<'_, '_>| -> Vec<String> {
            node.descendants().filter_map(|node| node.text()).map(str::to_owned).collect()
        };
        for chart in findings.charts() {
            let is_it = |node: &roxmltree::Node<'_, '_>| node.attribute("id") == Some(chart.id);
            let figure = document.descendants().find(is_it).unwrap();
            let texts = text_of(figure);
            let bars = figure.descendants().filter(|node| node.has_tag_name("rect")).count();
            assert_eq!(bars, chart.bars.iter().map(|bar| bar.parts.len()).sum::<usize>());
            assert!(chart.bars.len() > 1, "{}", chart.id);
            for bar in &chart.bars {
                let shown = [Some(&bar.label), Some(&bar.value), bar.detail.as_ref()];
                assert!(shown.into_iter().flatten().all(|text| texts.contains(text)), "{texts:?}");
            }
        }
        let title = document.descendants().find(|node| node.has_tag_name("h1")).unwrap();
        assert_eq!(title.text(), Some("bulkload bench: public.\"a <b> & c\""));
        for word in ["<script", "http:", "https:", "url(", "@import", "NaN"] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn a_bar_by_streams_says_how_many_had_work_and_one_without_a_speed_is_not_drawn() {
        let mut findings = sample::findings();
        findings.settings[0].streams = 1;
        let labels = |findings: &Findings| -> Vec<String> {
            findings.by_streams().bars.into_iter().map(|bar| bar.label).collect()
        };
        assert_eq!(labels(&findings), ["psql | psql", "1 stream", "1 stream (jobs 2)"]);
        (findings.settings[1].load_s, findings.settings[1].effort.rows_per_s) = (None, None);
        assert_eq!(labels(&findings), ["psql | psql", "1 stream (jobs 2)"]);
    }

    #[test]
    fn a_page_of_one_setting_without_psql_has_all_charts_too() {
        let mut findings = sample::findings();
        findings.settings.truncate(1);
        findings.plain.clear();
        findings.floor_s = None;
        let page = findings.to_html();
        assert_eq!(page.matches("<svg ").count(), 4);
        assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
    }
}
