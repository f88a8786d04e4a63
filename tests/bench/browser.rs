//! The page as a browser shows it, on a phone and on a desk.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{Small, small};

/// Set by whoever tests where no browser can be had, and tells so.
const WITHOUT: &str = "BULKLOAD_TEST_WITHOUT_BROWSER";

const BROWSERS: [&str; 5] =
    ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    if std::env::var_os(WITHOUT).is_some() {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found =
        BROWSERS.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))).find(|p| p.is_file());
    assert!(found.is_some(), "no Chromium in PATH: install chromium-headless-shell, or set {WITHOUT}=1");
    found
}

/// Puts the page into a frame of a phone's or a desk's width, and has the browser write down what it made of it.
const FRAME: &str = r#"<!DOCTYPE html><body><iframe width="{width}" height="4000" srcdoc="{page}"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const box = (element) => element.getBoundingClientRect();
  const charts = {};
  for (const figure of page.querySelectorAll("figure")) {
    const svg = figure.querySelector("svg");
    const texts = [...svg.querySelectorAll("text")].map((text) => ({
      text: text.textContent, left: box(text).left, right: box(text).right, top: box(text).top, height: box(text).height,
    }));
    const bars = [...svg.querySelectorAll("rect")].filter((bar) => box(bar).width > 0 && getComputedStyle(bar).fill !== "none");
    charts[figure.id] = { left: box(svg).left, right: box(svg).right, height: box(svg).height, bars: bars.length, texts };
  }
  const wide = root.scrollWidth - root.clientWidth;
  document.body.textContent = JSON.stringify({ wide, width: root.clientWidth, charts });
});
</script></body>"#;

/// What the browser wrote down.
#[track_caller]
fn rendered(browser: &PathBuf, width: u32) -> Value {
    let Small { program, .. } = small();
    let page = std::fs::read_to_string(program.dir().join("bench.html")).unwrap();
    let page = page.replace('&', "&amp;").replace('"', "&quot;");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("frame.html");
    std::fs::write(&file, FRAME.replace("{width}", &width.to_string()).replace("{page}", &page)).unwrap();
    let output = Command::new("timeout")
        .arg("120")
        .arg(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1600,4200",
        ])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()))
        .env("HOME", dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let body = text.split_once("<body>").and_then(|(_, rest)| rest.split_once("</body>"));
    let (body, _) = body.unwrap_or_else(|| panic!("{text}\n{complaints}"));
    let body = body.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}\n{body}\n{complaints}"))
}

#[test]
fn a_browser_shows_every_chart_with_its_values_on_a_phone_and_on_a_desk() {
    let Some(browser) = browser() else {
        eprintln!("not looked at in a browser: {WITHOUT} is set");
        return;
    };
    for width in [390, 1280] {
        let page = rendered(&browser, width);
        assert_eq!(page["wide"], 0, "the page is wider than {width} pixels: {page:#}");
        let charts = page["charts"].as_object().unwrap();
        let names: Vec<&str> = charts.keys().map(String::as_str).collect();
        assert_eq!(names, ["chunks", "locks", "phases", "streams"]);
        for (name, chart) in charts {
            let number = |value: &Value, key: &str| value[key].as_f64().unwrap();
            let texts = chart["texts"].as_array().unwrap();
            assert!(chart["bars"].as_u64() >= Some(2) && texts.len() >= 4, "{name} {chart:#}");
            for text in texts {
                assert!(text["text"].as_str().is_some_and(|text| !text.trim().is_empty()), "{name} {text}");
                assert!(number(text, "height") >= 8.0, "{name} is too small to read: {text}");
                let is_inside = number(text, "left") >= number(chart, "left") - 1.0
                    && number(text, "right") <= number(chart, "right") + 1.0;
                assert!(is_inside, "{name} at {width}: {text} leaves its chart");
            }
            // Name and value of a bar stand on one line, and apart.
            for pair in texts.windows(2).filter(|pair| number(&pair[0], "top") == number(&pair[1], "top")) {
                assert!(number(&pair[0], "right") < number(&pair[1], "left"), "{name} at {width}: {pair:?}");
            }
        }
    }
}
