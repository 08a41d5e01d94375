//! What can end a run.

use std::fmt;
use std::io;

/// Why a run ended without a result. Shown to the operator on one line.
#[derive(Debug)]
pub enum LoadError {
    /// The command line asks for something impossible or forbidden.
    Usage(String),
    /// A system call failed: what was being done, and the cause.
    Io { doing: String, cause: io::Error },
    /// A server process could not be observed.
    Process { pid: u32, doing: &'static str, cause: io::Error },
    /// Too many logins failed; the first failure is told.
    Logins { failed: u64, first: String },
    /// Nothing arrived any more, though something was awaited.
    Stalled { awaited: String },
    /// The run took longer than `--max-seconds`.
    OutOfTime { phase: &'static str },
    /// A connection that the run needs was closed.
    Lost { user: u32, why: String },
    /// The server's answers make no sense for this scenario.
    Protocol(String),
}

impl LoadError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |cause| Self::Io { doing, cause }
    }

    /// 2 for a command line that cannot be served, 1 for a run that failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) => f.write_str(why),
            Self::Io { doing, cause } => write!(f, "{doing}: {cause}"),
            Self::Process { pid, doing, cause } => write!(f, "process {pid}: {doing}: {cause}"),
            Self::Logins { failed, first } => write!(f, "{failed} logins failed, the first: {first}"),
            Self::Stalled { awaited } => write!(f, "the server fell silent while {awaited}"),
            Self::OutOfTime { phase } => write!(f, "the run passed --max-seconds during {phase}"),
            Self::Lost { user, why } => write!(f, "connection of user{user} lost: {why}"),
            Self::Protocol(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LoadError {}
