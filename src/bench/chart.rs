//! Bar charts as inline SVG. Every bar shows its name and its value as text, so nothing has to be read off an axis.

use std::fmt::Write as _;

/// A chart.
pub(super) struct Chart {
    /// Its anchor on the page.
    pub(super) id: &'static str,
    /// The title.
    pub(super) title: &'static str,
    /// A note on how to read it.
    pub(super) note: String,
    /// The legend of stacked bars: CSS class and word.
    pub(super) legend: &'static [(&'static str, &'static str)],
    /// From top to bottom.
    pub(super) bars: Vec<Bar>,
}

/// A bar of one or more parts.
pub(super) struct Bar {
    /// The label.
    pub(super) label: String,
    /// The value as text.
    pub(super) value: String,
    /// The values of its parts as text, shown below the bar.
    pub(super) detail: Option<String>,
    /// CSS class and length of each part, none negative.
    pub(super) parts: Vec<(&'static str, f64)>,
    /// The least and the greatest measurement.
    pub(super) range: Option<(f64, f64)>,
}

/// The width of a phone in CSS pixels: text has its natural size there, and grows with the chart elsewhere.
const WIDTH: f64 = 360.0;
const ROW: f64 = 40.0;
const DETAIL: f64 = 16.0;
const BAR: f64 = 13.0;
const TEXT_BASE: f64 = 14.0;
const BAR_TOP: f64 = 20.0;

impl Chart {
    /// Returns the chart with its caption, as well-formed XML.
    pub(super) fn to_html(&self) -> String {
        let most = self.bars.iter().map(Bar::reach).fold(0.0, f64::max);
        let scale = if most > 0.0 { (WIDTH - 2.0) / most } else { 0.0 };
        let height: f64 = self.bars.iter().map(Bar::height).sum();
        let mut out = format!(
            "<figure id=\"{id}\"><figcaption><h2>{title}</h2><p>{note}</p>{legend}</figcaption>\
             <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">",
            id = self.id,
            title = escaped(self.title),
            note = escaped(&self.note),
            legend = self.legend_html(),
        );
        let mut top = 0.0;
        for bar in &self.bars {
            bar.draw(&mut out, top, scale);
            top += bar.height();
        }
        out + "</svg></figure>\n"
    }

    fn legend_html(&self) -> String {
        if self.legend.is_empty() {
            return String::new();
        }
        let items: Vec<String> = self
            .legend
            .iter()
            .map(|(class, word)| format!("<li><i class=\"{class}\"></i>{}</li>", escaped(word)))
            .collect();
        format!("<ul class=\"legend\">{}</ul>", items.concat())
    }
}

impl Bar {
    /// Returns the extent of the bar, including its whisker.
    fn reach(&self) -> f64 {
        let sum: f64 = self.parts.iter().map(|(_, length)| length).sum();
        self.range.map_or(sum, |(_, max)| sum.max(max))
    }

    fn height(&self) -> f64 {
        if self.detail.is_some() { ROW + DETAIL } else { ROW }
    }

    fn draw(&self, out: &mut String, top: f64, scale: f64) {
        let text = top + TEXT_BASE;
        let bar = top + BAR_TOP;
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{text}\">{}</text><text class=\"value\" x=\"{WIDTH}\" y=\"{text}\">{}</text>",
            escaped(&self.label),
            escaped(&self.value)
        );
        if let Some(detail) = &self.detail {
            let _ = write!(
                out,
                "<text class=\"detail\" x=\"0\" y=\"{}\">{}</text>",
                bar + BAR + TEXT_BASE,
                escaped(detail)
            );
        }
        let mut from = 0.0;
        for (class, length) in &self.parts {
            let _ = write!(
                out,
                "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{bar}\" width=\"{:.1}\" height=\"{BAR}\"/>",
                length * scale
            );
            from += length * scale;
        }
        if let Some((min, max)) = self.range.filter(|(min, max)| min < max) {
            let middle = bar + BAR / 2.0;
            let _ = write!(
                out,
                "<path class=\"range\" d=\"M{0:.1} {1}V{2}M{0:.1} {middle}H{3:.1}M{3:.1} {1}V{2}\"/>",
                min * scale,
                bar + 3.0,
                bar + BAR - 3.0,
                max * scale
            );
        }
    }
}

/// Escapes markup in a text.
pub(super) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML does not allow it, and it has no visible form.
            c if c.is_control() && !c.is_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}
