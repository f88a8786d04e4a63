//! The findings as one page that needs nothing else: no script, no font, no other file; readable on a phone, in light and
//! in dark. It is well-formed XML too, so that any parser can check it.

use super::chart::{Bar, Chart, escaped};
use super::findings::{Findings, PlainFigures, SettingFigures};
use super::settings::size;
use super::words::{self, Grid};
use crate::report::figures;

impl Findings {
    /// The page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let charts: String = self.charts().iter().map(Chart::to_html).collect();
        let base = self.base().map_or_else(String::new, |base| {
            let rounds = figures::counted(base.load_s.n as u64, "round");
            format!(
                "base: {}; medians of {rounds}, thin lines from the least to the greatest",
                words::base(base)
            )
        });
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
             <title>bulkload bench: {table}</title>\n<style>\n{css}</style></head>\n<body>\n\
             <header><h1>bulkload bench: {table}</h1><p>{subject}; {place}.</p>\
             <p class=\"quiet\">{when}, bulkload {version}; {base}.</p></header>\n\
             <section id=\"recommended\"><h2>Recommended</h2><pre>{lines}</pre></section>\n\
             <section id=\"limit\"><h2>What limits: {limit}</h2><p>{because}</p>{disturbed}</section>\n\
             <div class=\"charts\">\n{charts}</div>\n{staging}{whole}{left_out}</body></html>\n",
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
            disturbed = words::disturbed(self).map_or_else(String::new, |line| format!("<p>{line}</p>")),
            staging = table("staging", "Into staging", &words::staging(self)),
            whole = table("whole", "The whole job", &words::whole(self)),
            left_out = self.left_out_html(),
        )
    }

    fn charts(&self) -> [Chart; 4] {
        [self.by_streams(), self.by_chunk(), self.by_phase(), self.by_method()]
    }

    fn by_streams(&self) -> Chart {
        let plain = self.plain.iter().filter(|plain| plain.what == "pipe");
        let ours = self.along("jobs", |setting| setting.jobs);
        let ours = ours
            .into_iter()
            .map(|setting| self.speed(figures::counted(setting.jobs as u64, "stream"), setting));
        Chart {
            id: "streams",
            title: "Throughput by streams",
            note: "Rows per second into staging; grey: psql | psql.".to_owned(),
            legend: &[],
            bars: plain.map(|plain| self.plain_speed(plain)).chain(ours).collect(),
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
            bars: ours.into_iter().map(|setting| self.speed(name(setting), setting)).collect(),
        }
    }

    fn by_phase(&self) -> Chart {
        let bar = |setting: &SettingFigures| {
            let phases = [setting.load_s, setting.index_s, setting.apply_s].map(|phase| phase.median);
            let rest = (setting.whole_s.median - phases.iter().sum::<f64>()).max(0.0);
            Bar {
                label: words::label(setting),
                value: words::time(setting.whole_s.median),
                detail: Some(format!(
                    "load {}, index {}, apply {}, rest {}",
                    words::time(phases[0]),
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
            note: "From the start of the program to its end.".to_owned(),
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
            note: "From the grant of the strongest lock to the commit.".to_owned(),
            legend: &[],
            bars: self.along("apply", |setting| setting.apply).into_iter().map(bar).collect(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn speed(&self, label: String, setting: &SettingFigures) -> Bar {
        let rows = self.scenario.rows as f64;
        Bar {
            label,
            value: format!("{} rows/s", words::rows_per_second(setting.effort.rows_per_s)),
            detail: None,
            parts: vec![("ours", setting.effort.rows_per_s)],
            range: range(rows, setting.load_s),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn plain_speed(&self, plain: &PlainFigures) -> Bar {
        let rows = self.scenario.rows as f64;
        Bar {
            label: plain.label.clone(),
            value: format!("{} rows/s", words::rows_per_second(plain.effort.rows_per_s)),
            detail: None,
            parts: vec![("other", plain.effort.rows_per_s)],
            range: range(rows, plain.seconds),
        }
    }

    fn left_out_html(&self) -> String {
        if self.left_out.is_empty() {
            return String::new();
        }
        let items: String = self
            .left_out
            .iter()
            .map(|left| format!("<p>{}: {}</p>", escaped(&left.what), escaped(&left.why)))
            .collect();
        format!("<section id=\"left-out\"><h2>Left out</h2>{items}</section>\n")
    }
}

/// The least and the greatest speed that belong to a range of times.
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
