//! How the program ends.

use std::process::ExitCode;

/// The exit codes that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done: all tables are applied.
    Done,
    /// At least one table failed; the others are applied.
    TableFailed,
    /// Nothing was started and nothing was touched: usage, config, connection, permission, schema, refusal.
    NotStarted,
    /// After SIGINT: stopped and tidied up.
    Interrupted,
    /// After SIGTERM: stopped and tidied up.
    Terminated,
}

impl Exit {
    /// The number that the shell sees. For the signals, 128 and the signal's number, as shells do it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::TableFailed => 1,
            Self::NotStarted => 2,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
