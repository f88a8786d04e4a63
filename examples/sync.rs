//! Loads the tables of a config, as `bulkload sync` does, and prints one line per table.
//!
//! ```text
//! cargo run --example sync -- bulkload.toml
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its result")]

use std::path::Path;
use std::process::ExitCode;

use bulkload::config::{Config, process_env};
use bulkload::report::Report;
use bulkload::report::progress::ProgressMode;
use bulkload::run::{self, Options};

#[tokio::main]
async fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "bulkload.toml".to_owned());
    match load(Path::new(&path)).await {
        Ok(report) => {
            for table in &report.tables {
                let outcome = table.error.as_deref().unwrap_or("ok");
                println!(
                    "{}: {} rows staged, {} rejected: {outcome}",
                    table.name, table.staged, table.rejected
                );
            }
            ExitCode::from(u8::from(!report.ok()))
        }
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.advice() {
                eprintln!("  hint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

/// Runs a config. An error means that the run did not start; tables that failed are in the report.
async fn load(path: &Path) -> bulkload::Result<Report> {
    let config = Config::load(path, &process_env)?;
    let options = Options { progress: ProgressMode::Never, ..Options::default() };
    let cancel = options.cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });
    Box::pin(run::sync(config, options)).await
}
