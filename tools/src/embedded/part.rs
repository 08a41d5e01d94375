//! One of the two processes behind `hearth`.

use super::{Args, Exit, Failure};
use hearth_connmgr::Error as EdgeError;
use hearth_core::config::CoreError;
use hearth_core::runtime;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::process::Command;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// First argument of the child that is the core.
pub(super) const CORE: &str = "core";
/// First argument of the child that is the edge.
pub(super) const EDGE: &str = "edge";
/// Names the process that must live for the child to live.
const PARENT: &str = "HEARTH_PARENT_PID";

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Core,
    Edge,
}

impl Part {
    /// As operators read it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Core => CORE,
            Part::Edge => EDGE,
        }
    }

    /// The command that starts it, with the arguments `hearth` itself was given.
    pub(super) fn command(self, arguments: &[String]) -> Result<Command, Failure> {
        let this = std::env::current_exe().map_err(Failure::system("find this executable"))?;
        let mut command = Command::new(this);
        command.arg(self.name()).args(arguments);
        named_parent(&mut command);
        Ok(command)
    }

    /// Runs it in this process until it is told to stop.
    pub(super) fn run(self, args: &Args) -> Result<(), Failure> {
        hearth_core::process::use_small_pages();
        hearth_link::give_back_at_once();
        die_with_parent()?;
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(std::io::stderr);
        tracing_subscriber::registry().with(hearth_core::logging::filter(&args.log)).with(lines).init();
        match self {
            Part::Core => run_core(args),
            Part::Edge => run_edge(args),
        }
    }
}

/// What the command starts may [`die_with_parent`], with this process.
pub(crate) fn named_parent(command: &mut Command) {
    command.env(PARENT, std::process::id().to_string());
}

/// A parent that was killed takes its children along, so that nothing holds ports and store unseen.
pub(crate) fn die_with_parent() -> Result<(), Failure> {
    let Some(parent) = std::env::var(PARENT).ok().and_then(|pid| pid.parse::<i32>().ok()) else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| Failure::system("watch the parent process")(error.into()))?;
    // It may have died before.
    if getppid().is_none_or(|pid| pid.as_raw_nonzero().get() != parent) {
        return Err(Failure::new(Exit::SYSTEM, "the process that started this one is gone"));
    }
    Ok(())
}

/// Tells the parent. If nobody reads, nobody needs to know.
fn say_ready(what: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "ready {what}").and_then(|()| out.flush());
}

fn run_core(args: &Args) -> Result<(), Failure> {
    let failure = |error: CoreError| {
        let exit = match &error {
            CoreError::Config(_) => Exit::CONFIGURATION,
            CoreError::Listen { .. } | CoreError::Storage { .. } | CoreError::Key(_) => Exit::DATA,
            CoreError::Os { .. } => Exit::SYSTEM,
        };
        Failure::new(exit, error.to_string())
    };
    let stop = runtime::StopHandle::new();
    runtime::stop_on_signals(&stop, || {}).map_err(failure)?;
    runtime::run(&args.core(), |_| say_ready(""), &stop).map_err(failure)
}

fn run_edge(args: &Args) -> Result<(), Failure> {
    let failure = |error: EdgeError| {
        let exit = match &error {
            EdgeError::Listen { .. } => Exit::ADDRESS,
            EdgeError::Certificate(_) => Exit::DATA,
            EdgeError::Link(_) => Exit::CONFIGURATION,
            EdgeError::Tls(_) | EdgeError::System { .. } | EdgeError::Panicked => Exit::SYSTEM,
        };
        Failure::new(exit, error.to_string())
    };
    let stop = hearth_connmgr::StopHandle::new();
    let at_signal = stop.clone();
    let config = args.edge()?;
    let again = config.clone();
    let mut signals =
        signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(Failure::system("watch signals"))?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            for signal in signals.forever() {
                match again.clone() {
                    // The same settings; certificates are read again.
                    config if signal == SIGHUP => at_signal.reload(config),
                    _ => at_signal.stop(),
                }
            }
        })
        .map_err(Failure::system("start a thread"))?;
    let ready = |ready: &hearth_connmgr::Ready| {
        let addresses: Vec<String> = ready.addresses.iter().map(ToString::to_string).collect();
        say_ready(&addresses.join(" "));
    };
    hearth_connmgr::run(config, ready, stop).map_err(failure)
}
