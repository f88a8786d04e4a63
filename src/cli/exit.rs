//! Exit codes.

use std::process::ExitCode;

/// How the program ended. Scripts may rely on the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All tables are applied.
    Done,
    /// At least one table failed; the others are applied.
    TableFailed,
    /// The run could not start and touched nothing: usage, config, connection, permission, schema, refusal.
    NotStarted,
    /// Stopped by SIGINT, after cleaning up.
    Interrupted,
    /// Stopped by SIGTERM, after cleaning up.
    Terminated,
}

impl Exit {
    /// Returns the exit code. A signal's code is 128 plus the signal number, as in shells.
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
