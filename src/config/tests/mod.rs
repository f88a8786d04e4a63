//! The meaning of valid configs, and the exact text of every error.

mod complaints;
mod meaning;
mod table_complaints;

use super::Config;
use crate::error::{Error, Kind, Result};

/// An environment with the two URLs and one more variable.
fn env(name: &str) -> Option<String> {
    match name {
        "SOURCE_DATABASE_URL" => Some("postgresql://s".to_owned()),
        "TARGET_DATABASE_URL" => Some("postgresql://t".to_owned()),
        "OWNER" => Some("O'Hara".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, "f.toml", &env)
}

fn error(text: &str) -> Error {
    let error = parse(text).expect_err(text);
    assert_eq!(error.kind(), Kind::Config, "{text}");
    error
}

/// `text`, the whole message, the whole hint.
type Case = (&'static str, &'static str, &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    for (text, message, hint) in cases {
        let error = error(text);
        assert_eq!((error.to_string().as_str(), error.advice().unwrap_or("")), (*message, *hint), "{text}");
    }
}

const T: &str = "[[table]]\nname = 't'\n";

/// As [`check`], each text beneath a `[[table]]` whose name is on line 2: what is tested begins on line 3.
#[track_caller]
fn check_table(cases: &[Case]) {
    for (text, message, hint) in cases {
        let error = error(&format!("{T}{text}"));
        assert_eq!((error.to_string().as_str(), error.advice().unwrap_or("")), (*message, *hint), "{text}");
    }
}
