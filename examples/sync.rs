//! Loads the tables of a config, as `bulkload sync` does, and prints one line per table.
//!
//! ```text
//! cargo run --example sync -- bulkload.toml
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::path::Path;

use bulkload::config::{Config, process_env};
use bulkload::report::progress::ProgressMode;
use bulkload::run::{self, Options};

#[tokio::main]
async fn main() -> bulkload::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "bulkload.toml".to_owned());
    let config = Config::load(Path::new(&path), &process_env)?;

    let options = Options { progress: ProgressMode::Never, ..Options::default() };
    let cancel = options.cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });

    // An error means that the run did not start. Tables that fail are in the report.
    let report = Box::pin(run::sync(config, options)).await?;
    for table in &report.tables {
        let outcome = table.error.as_deref().unwrap_or("ok");
        println!("{}: {} rows staged, {} rejected: {outcome}", table.name, table.staged, table.rejected);
    }
    std::process::exit(i32::from(!report.ok()))
}
