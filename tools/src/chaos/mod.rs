//! Chaos: real processes, killed and stopped again and again under many clients, and a ledger of what came of every
//! message and every socket.
//!
//! ```text
//! plan.rs   what fails and when ──▶ run.rs ──▶ server.rs   one core, two edges, processes
//!                                     │          relay.rs    a link that can be cut     disk.rs  a disk that runs full
//!                                     ▼
//!                                   net.rs     all sockets, one thread ◀──▶ client.rs  login, XEP-0198, one each
//!                                     │                                        │
//!                                     └────────────▶ ledger.rs ◀───────────────┘  sent, acknowledged, came
//! restart.rs   seconds, CPU and memory of restarts under idle sessions
//! ```

mod args;
mod client;
mod disk;
mod ledger;
mod limits;
mod net;
mod plan;
mod relay;
mod restart;
mod run;
mod server;

pub use args::{Args, Command};

use crate::embedded::die_with_parent;
use crate::seed;
use server::{CORE, EDGE};
use std::path::{Path, PathBuf};

const DOMAIN: &str = "localhost";
const PASSWORD: &str = "pencil";

/// What a run says, and whether all was as it must be.
pub struct Outcome {
    pub text: String,
    pub good: bool,
}

/// Does what the command line says.
///
/// # Errors
/// Why there is nothing to tell, in one line.
pub fn run(command: &Command) -> Result<Outcome, String> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Restart(args) => restart::run(args),
    }
}

/// Runs this process as one of the servers if its first argument says so.
pub fn serve(arguments: &[String]) -> Option<Result<(), String>> {
    let [part, file] = arguments else { return None };
    let file = Path::new(file);
    match part.as_str() {
        CORE => Some(serve_core(file)),
        EDGE => Some(serve_edge(file)),
        _ => None,
    }
}

fn serve_core(file: &Path) -> Result<(), String> {
    use hearth_core::{config::Config, runtime};
    become_server(hearth_core::process::use_small_pages)?;
    let config = Config::load(file).map_err(|error| error.to_string())?;
    let stop = runtime::StopHandle::new();
    runtime::stop_on_signals(&stop, || {}).map_err(|error| error.to_string())?;
    runtime::run(&config, |_| {}, &stop).map_err(|error| error.to_string())
}

fn serve_edge(file: &Path) -> Result<(), String> {
    become_server(hearth_connmgr::process::use_small_pages)?;
    let config = hearth_connmgr::config::Config::load(file).map_err(|error| error.to_string())?;
    hearth_connmgr::run(config, |_| {}, hearth_connmgr::StopHandle::default()).map_err(|error| error.to_string())
}

fn become_server(use_small_pages: fn()) -> Result<(), String> {
    use_small_pages();
    hearth_link::give_back_at_once();
    die_with_parent().map_err(|failure| failure.to_string())?;
    tracing_subscriber::fmt().with_ansi(false).with_target(false).with_writer(std::io::stderr).init();
    Ok(())
}

/// The folder of a run, and what ends with it.
struct Place {
    folder: PathBuf,
    keep: bool,
    disk: Option<disk::Disk>,
}

impl Place {
    /// `keep`: a folder, new or empty, that stays.
    fn make(keep: Option<&Path>, disk_mib: Option<u32>) -> Result<Place, String> {
        let own = || std::env::temp_dir().join(format!("hearth-chaos-{}", std::process::id()));
        let folder = keep.map_or_else(own, Path::to_owned);
        let failed = |error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        if std::fs::read_dir(&folder).map_err(failed)?.next().is_some() {
            return Err(format!("{} is not empty", folder.display()));
        }
        let folder = folder.canonicalize().map_err(failed)?;
        let mut place = Place { folder, keep: keep.is_some(), disk: None };
        if let Some(mib) = disk_mib {
            place.disk = Some(disk::Disk::mount(&place.data(), mib)?);
        }
        Ok(place)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Accounts straight into the store.
    fn seed(&self, users: u32) -> Result<(), String> {
        let (data, domain, password) = (Some(self.data()), DOMAIN.to_owned(), PASSWORD.to_owned());
        seed::run(&seed::Args { data, domain, users, password, ..seed::Args::default() }).map(drop)
    }

    /// What went wrong is to be looked at: it stays.
    fn keep(&mut self) -> &Path {
        self.keep = true;
        &self.folder
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.disk.take());
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
