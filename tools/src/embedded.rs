//! `hearth`: a whole server on one machine. It starts itself twice more, as core and as edge, watches both,
//! and stops them in order.
//!
//! ```text
//! hearth ──┬── hearth core …   accounts, store, control socket      (process group of its own)
//!          └── hearth edge …   clients, TLS, XML                    (process group of its own)
//!          ◀── "ready …" on each child's standard output
//! ```

mod args;
mod banner;
mod part;
mod supervisor;

pub use args::Args;
pub(crate) use part::{die_with_parent, named_parent};

use std::fmt;
use std::io::Write;

/// What `hearth` exits with; `--help` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit(pub u8);

impl Exit {
    /// Stopped when asked to.
    pub const DONE: Exit = Exit(0);
    /// The command line makes no sense.
    pub const USAGE: Exit = Exit(2);
    /// A value is not possible: a domain, a number of threads.
    pub const CONFIGURATION: Exit = Exit(3);
    /// An address or port cannot be had.
    pub const ADDRESS: Exit = Exit(4);
    /// The data folder, its store or its certificate cannot be used.
    pub const DATA: Exit = Exit(5);
    /// The operating system refused something else.
    pub const SYSTEM: Exit = Exit(6);
    /// Core or edge died again and again.
    pub const DIED: Exit = Exit(8);
}

/// Why it does not run, in one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    pub(crate) fn system(doing: &str) -> impl FnOnce(std::io::Error) -> Failure + '_ {
        move |error| Failure::new(Exit::SYSTEM, format!("cannot {doing}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hearth: {}", self.message)
    }
}

/// Runs the command line `arguments` (without the program's name): the server, one part of it, or `hearthctl`.
pub fn run(arguments: &[String], out: &mut dyn Write, errors: &mut dyn Write) -> Exit {
    let (part, rest) = match arguments.split_first() {
        Some((first, rest)) if first == "ctl" => return Exit(crate::ctl::run(rest, out, errors) as u8),
        Some((first, rest)) if first == part::CORE => (Some(part::Part::Core), rest),
        Some((first, rest)) if first == part::EDGE => (Some(part::Part::Edge), rest),
        _ => (None, arguments),
    };
    let args = match Args::read(rest) {
        Ok(args) => args,
        Err(early) => {
            let text = early.output.trim_end();
            if early.status.is_ok() {
                let _ = writeln!(out, "{text}");
                return Exit::DONE;
            }
            let _ = writeln!(errors, "hearth: {}; see hearth --help", text.replace('\n', " "));
            return Exit::USAGE;
        }
    };
    let done = match part {
        None => supervisor::run(&args, arguments, out, errors),
        Some(part) => part.run(&args).map(|()| Exit::DONE),
    };
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            let _ = writeln!(errors, "{failure}");
            failure.exit
        }
    }
}
