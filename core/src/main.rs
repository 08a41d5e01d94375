//! `hearth-core`: arguments, configuration, run, exit code.

use hearth_core::config::{Config, CoreError, LogFormat};
use hearth_core::runtime::{self, StopHandle};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The core of Hearth, an XMPP server: owns accounts, rosters, presence and routing; edges
/// (hearth-connmgr) connect to it.
///
/// Example: hearth-core --config core.toml
///
/// Exit codes: 0 stopped, 2 usage, 3 configuration, 4 address in use, 5 store, 6 operating system, 7 key for links.
#[derive(argh::FromArgs)]
struct Arguments {
    /// configuration file (TOML); without it the defaults of core.toml hold
    #[argh(option)]
    config: Option<PathBuf>,
    /// check the configuration and exit
    #[argh(switch)]
    check: bool,
}

fn main() -> ExitCode {
    hearth_core::process::use_small_pages();
    hearth_link::give_back_at_once();
    let arguments: Arguments = argh::from_env();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one line an operator sees when it does not start")]
fn complain(error: &CoreError) {
    eprintln!("hearth-core: {error}");
}

fn start(arguments: &Arguments) -> Result<(), CoreError> {
    let config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    if arguments.check {
        return Ok(());
    }
    log_to_stderr(&config);
    let stop = StopHandle::new();
    let (path, running) = (arguments.config.clone(), stop.clone());
    runtime::stop_on_signals(&stop, move || reload(path.as_deref(), &running))?;
    let say = |ready: &runtime::Ready| {
        let metrics = ready.metrics.map(tracing::field::display);
        tracing::info!(event = "ready", control = %ready.control.display(), metrics);
        if hearth_link::runs_as_root() {
            tracing::warn!(
                event = "runs_as_root",
                next = "run it as a user of its own: packaging/systemd has units that do"
            );
        }
    };
    runtime::run(&config, say, &stop)
}

/// A file that is wrong changes nothing.
fn reload(path: Option<&Path>, running: &StopHandle) {
    match path.map_or_else(|| Ok(Config::default()), Config::load) {
        Ok(config) => running.reload(config),
        Err(error) => tracing::error!(event = "reload_refused", %error, next = "what was in force stays"),
    }
}

fn log_to_stderr(config: &Config) {
    let log = tracing_subscriber::registry().with(hearth_core::logging::filter(&config.log.level));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => log.with(lines).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
}
