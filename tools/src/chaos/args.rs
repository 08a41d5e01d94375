//! The command line.

use super::ledger::Mix;
use super::limits::{CLIENTS_MAX, MESSAGES_MAX};
use super::plan::{Kind, Kinds};
use argh::FromArgs;
use std::path::PathBuf;

/// Kills a Hearth of its own, again and again, under clients that count what came of every message.
///
/// One core and two edges run as processes; nothing but what this program started is touched.
#[derive(FromArgs, Clone, Debug)]
#[argh(
    example = "{command_name} run                       2,000 clients, 50 kills in ten minutes",
    example = "{command_name} run --clients 200 --kills 5 --seconds 20 --rate 100",
    example = "{command_name} run --faults core,pause --seed 7 --keep chaos-kept",
    example = "{command_name} run --disk 64 --faults core,disk    a disk of its own that runs full; takes root",
    example = "{command_name} restart                   15,000 idle sessions, the core killed and stopped under them",
    error_code(1, "something was lost, doubled, dropped or stuck, or the run failed"),
    error_code(2, "usage")
)]
pub struct Args {
    #[argh(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand)]
pub enum Command {
    Run(RunArgs),
    Restart(RestartArgs),
}

/// Real processes under kill -9: faults by a seeded plan, clients that chat, and a ledger at the end.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "run")]
pub struct RunArgs {
    /// clients, default 2000
    #[argh(option, default = "2000")]
    pub clients: u32,

    /// shares of those with XEP-0198 that resume, those with it that log in anew, and those without; default 2:1:1
    #[argh(option, default = "default_mix()")]
    pub mix: Mix,

    /// messages a second, of all together, default 200
    #[argh(option, default = "200")]
    pub rate: u32,

    /// seconds of trouble, default 600
    #[argh(option, default = "600")]
    pub seconds: u64,

    /// times a process is killed with -9 (all three at once count as one); half as many other faults come on
    /// top, or so many if `--faults` names no kills; default 50
    #[argh(option, default = "50")]
    pub kills: u32,

    /// kinds of faults: core, edge, all (kill -9), upgrade (SIGTERM of the core), pause (SIGSTOP), link (cut or
    /// stalled), clients (their sockets are cut), disk (full, see --disk); default all but disk
    #[argh(option, default = "Kinds::default()")]
    pub faults: Kinds,

    /// keep the core's data on a disk in memory of so many MiB, which `--faults disk` fills; takes root
    #[argh(option)]
    pub disk: Option<u32>,

    /// what is drawn is drawn from this, default 1
    #[argh(option, default = "1")]
    pub seed: u64,

    /// shards of the core, default 2
    #[argh(option, default = "2")]
    pub shards: u16,

    /// settle messages without storing them (log_off): such a run must lose some
    #[argh(switch)]
    pub log_off: bool,

    /// folder of the hearth-core and hearth-connmgr to run; without it this program is both
    #[argh(option)]
    pub servers: Option<PathBuf>,

    /// folder, new or empty, where store, configurations and logs are kept
    #[argh(option)]
    pub keep: Option<PathBuf>,

    /// print one JSON line instead of a table
    #[argh(switch)]
    pub json: bool,
}

/// What a restart of the core costs under idle sessions: seconds, CPU, memory.
#[derive(FromArgs, Clone, Debug)]
#[argh(subcommand, name = "restart")]
pub struct RestartArgs {
    /// idle sessions, default 15000
    #[argh(option, default = "15000")]
    pub clients: u32,

    /// shares of the sessions, as in run; default 2:1:1
    #[argh(option, default = "default_mix()")]
    pub mix: Mix,

    /// restarts by kill -9, default 10
    #[argh(option, default = "10")]
    pub kills: u32,

    /// restarts by SIGTERM, as at an upgrade, default 3
    #[argh(option, default = "3")]
    pub upgrades: u32,

    /// seconds without work before memory is read, default 10
    #[argh(option, default = "10")]
    pub settle: u64,

    /// shards of the core, default 1
    #[argh(option, default = "1")]
    pub shards: u16,

    /// folder of the hearth-core and hearth-connmgr to run; without it this program is both
    #[argh(option)]
    pub servers: Option<PathBuf>,

    /// folder, new or empty, where store, configurations and logs are kept
    #[argh(option)]
    pub keep: Option<PathBuf>,

    /// print one JSON line instead of a table
    #[argh(switch)]
    pub json: bool,
}

#[expect(clippy::expect_used, reason = "a constant that a test reads")]
fn default_mix() -> Mix {
    "2:1:1".parse().expect("a mix")
}

impl Command {
    /// Refuses what cannot be.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn check(&self) -> Result<(), String> {
        let (clients, shards) = match self {
            Command::Run(run) => (run.clients, run.shards),
            Command::Restart(restart) => (restart.clients, restart.shards),
        };
        if !(8..=CLIENTS_MAX).contains(&clients) || shards == 0 {
            return Err(format!("--clients must be 8 to {CLIENTS_MAX}, --shards at least 1"));
        }
        let Command::Run(run) = self else { return Ok(()) };
        if run.rate == 0 || u64::from(run.rate) * run.seconds > MESSAGES_MAX {
            return Err(format!("--rate must be positive, and --rate times --seconds at most {MESSAGES_MAX}"));
        }
        if run.faults.0.contains(&Kind::Disk) && run.disk.is_none() {
            return Err("--faults disk needs a disk of its own: --disk MIB".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str) -> Result<(), String> {
        let words: Vec<&str> = words.split(' ').collect();
        Args::from_args(&["chaos"], &words).map_err(|early| early.output)?.command.check()
    }

    #[test]
    fn impossible_runs_are_refused() {
        assert_eq!(check("run"), Ok(()));
        assert_eq!(check("restart --clients 100"), Ok(()));
        assert!(check("run --clients 7").is_err() && check("restart --clients 20000").is_err());
        assert!(check("run --faults disk").unwrap_err().contains("--disk"));
        assert!(check("run --faults nap").unwrap_err().contains("upgrade"));
        assert!(check("run --rate 1000000").is_err() && check("run --mix 1").is_err());
    }
}
