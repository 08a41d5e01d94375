//! `hearth-connmgr`: arguments, configuration, run, exit code.

use argh::FromArgs;
use hearth_connmgr::config::{Config, Log, LogFormat};
use hearth_connmgr::{Error, StopHandle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The edge of Hearth, an XMPP server: holds client connections, speaks to the core over links.
#[derive(FromArgs)]
#[argh(
    example = "{command_name} --config connmgr.toml",
    example = "{command_name} --config connmgr.toml --check",
    note = "Without --config it runs with the defaults that connmgr.toml shows.",
    error_code(2, "usage"),
    error_code(3, "configuration"),
    error_code(4, "an address cannot be listened on"),
    error_code(5, "a certificate cannot be read or made"),
    error_code(6, "TLS cannot be set up"),
    error_code(7, "the system refuses something else")
)]
struct Args {
    /// configuration file (TOML)
    #[argh(option)]
    config: Option<PathBuf>,
    /// check the configuration and exit
    #[argh(switch)]
    check: bool,
}

fn main() -> ExitCode {
    hearth_connmgr::process::use_small_pages();
    hearth_link::give_back_at_once();
    let args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (name, rest) = args.split_first().map_or(("hearth-connmgr", &[][..]), |(name, rest)| (*name, rest));
    let args = match Args::from_args(&[name], rest) {
        Ok(args) => args,
        Err(early) => {
            return match early.status {
                Ok(()) => say(&early.output, 0),
                Err(()) => say(early.output.trim_end(), 2),
            };
        }
    };
    let config = match args.config.as_deref().map_or_else(|| Ok(Config::default()), Config::load) {
        Ok(config) => config,
        Err(error) => return say(&format!("hearth-connmgr: {error}"), 3),
    };
    if args.check {
        return match hearth_connmgr::check(&config) {
            Ok(()) => say("configuration is right", 0),
            Err(error) => say(&format!("hearth-connmgr: {error}"), error.exit_code()),
        };
    }
    let set_level = start_log(&config.log);
    match start(config, args.config, set_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(&format!("hearth-connmgr: {error}"), error.exit_code()),
    }
}

fn start(config: Config, path: Option<PathBuf>, set_level: SetLevel) -> Result<(), Error> {
    let stop = StopHandle::new();
    let at_signal = stop.clone();
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|error| Error::System { doing: "watch signals", error })?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    reload(path.as_deref(), &at_signal, &set_level);
                } else {
                    at_signal.stop();
                }
            }
        })
        .map_err(|error| Error::System { doing: "start a thread", error })?;
    let ready = |_: &hearth_connmgr::Ready| {
        if hearth_link::runs_as_root() {
            tracing::warn!(
                event = "runs_as_root",
                next = "run it as a user of its own: packaging/systemd has units that do"
            );
        }
    };
    hearth_connmgr::run(config, ready, stop)
}

/// Sets what is logged from now on.
type SetLevel = Box<dyn Fn(&str) + Send>;

/// A file that is wrong changes nothing.
fn reload(path: Option<&Path>, running: &StopHandle, set_level: &SetLevel) {
    match path.map_or_else(|| Ok(Config::default()), Config::load) {
        Ok(config) => {
            set_level(&config.log.level);
            tracing::info!(event = "reload");
            running.reload(config);
        }
        Err(error) => tracing::error!(event = "reload_refused", %error, next = "what was in force stays"),
    }
}

fn start_log(log: &Log) -> SetLevel {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&log.level))
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| drop(handle.reload(EnvFilter::new(level))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            Box::new(move |level| drop(handle.reload(EnvFilter::new(level))))
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]
fn say(text: &str, code: u8) -> ExitCode {
    if code == 0 {
        println!("{text}");
    } else {
        eprintln!("{text}");
    }
    ExitCode::from(code)
}
