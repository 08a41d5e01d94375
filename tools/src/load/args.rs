//! The command line.

use super::error::LoadError;
use super::limits::{DESCRIPTORS_RESERVED, OPERATIONS_MAX};
use super::login::Security;
use super::probe::{Processes, descriptor_limit};
use super::scenario::Act;
use super::scram::Mechanism;
use argh::FromArgs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// What is to be measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    Register,
    RosterSetup,
    Login,
    Idle,
    Chat,
    Presence,
    Mixed,
    ReconnectStorm,
    SlowReaders,
    Overload,
    /// Not a run: puts the JSON lines of runs, from standard input, side by side.
    Table,
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "register" => Self::Register,
            "roster-setup" => Self::RosterSetup,
            "login" => Self::Login,
            "idle" => Self::Idle,
            "chat" => Self::Chat,
            "presence" => Self::Presence,
            "mixed" => Self::Mixed,
            "reconnect-storm" => Self::ReconnectStorm,
            "slow-readers" => Self::SlowReaders,
            "overload" => Self::Overload,
            "table" => Self::Table,
            other => {
                return Err(format!(
                    "unknown scenario {other}: register, roster-setup, login, idle, chat, presence, mixed, \
                     reconnect-storm, slow-readers, overload or table"
                ));
            }
        })
    }
}

/// Mean seconds between two acts of one user, by act; 0: never.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Every([f64; ACTS.len()]);

const ACTS: [(&str, Act, f64); 4] = [
    ("chat", Act::Chat, 60.0),
    ("ping", Act::Ping, 60.0),
    ("presence", Act::Presence, 600.0),
    ("login", Act::Login, 1800.0),
];

impl Default for Every {
    fn default() -> Every {
        Every(ACTS.map(|(_, _, seconds)| seconds))
    }
}

impl FromStr for Every {
    type Err = String;

    /// What is not named keeps its default.
    fn from_str(list: &str) -> Result<Self, String> {
        let mut every = Every::default();
        for word in list.split(',') {
            let named = word.split_once('=').and_then(|(name, seconds)| {
                let at = ACTS.iter().position(|(act, ..)| *act == name)?;
                let seconds: f64 = seconds.parse().ok().filter(|s| (0.0..=1e6).contains(s))?;
                Some((at, seconds))
            });
            let (at, seconds) = named.ok_or_else(|| format!("{word} is not chat, ping, presence or login=SECONDS"))?;
            if let Some(place) = every.0.get_mut(at) {
                *place = seconds;
            }
        }
        if every.acts_per_s() > 0.0 { Ok(every) } else { Err("nobody would do anything".into()) }
    }
}

impl Every {
    fn rates(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|seconds| if *seconds > 0.0 { seconds.recip() } else { 0.0 })
    }

    /// Of one user.
    pub(crate) fn acts_per_s(&self) -> f64 {
        self.rates().sum()
    }

    /// The act that `drawn`, from 0 to below 1, means.
    pub(crate) fn choose(&self, drawn: f64) -> Act {
        let mut left = drawn * self.acts_per_s();
        let chosen = self.rates().zip(ACTS).filter(|(rate, _)| *rate > 0.0).find(|(rate, _)| {
            left -= rate;
            left < 0.0
        });
        chosen.map_or(Act::Ping, |(_, (_, act, _))| act)
    }
}

/// Measures an XMPP server from one thread: what logins, idle sessions, chat and presence cost it.
///
/// Scenarios: register (make accounts by XEP-0077), roster-setup (mutual subscriptions in groups of
/// --contacts + 1), login (a login storm), idle (bytes per session), chat (closed loop, or open loop with
/// --rate), presence (logins and presence changes with --contacts online), mixed (--every), reconnect-storm and slow-readers (half of the users, 1,000 at most, chat beside),
/// overload (twice of what it can do), table (JSON lines of runs on standard
/// input become one table, and with --plots bar charts). Accounts are user0, user1, … with one password.
#[derive(FromArgs, Clone, Debug)]
pub struct Args {
    /// register, roster-setup, login, idle, chat, presence, mixed, reconnect-storm, slow-readers, overload or table
    #[argh(positional)]
    pub scenario: Scenario,

    /// address and port of the server, default 127.0.0.1:5222
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 5222))")]
    pub target: SocketAddr,

    /// allow a target outside the loopback range: only for servers that are yours to load
    #[argh(switch)]
    pub i_own_the_target: bool,

    /// domain of the accounts, default localhost
    #[argh(option, default = "String::from(\"localhost\")")]
    pub domain: String,

    /// how many users, default 1000
    #[argh(option, default = "1000")]
    pub users: u32,

    /// number of the first user, default 0: several load processes share the accounts
    #[argh(option, default = "0")]
    pub first_user: u32,

    /// slow-readers: how many read nothing, at most; default 10, of whom each is seen to cost little
    #[argh(option, default = "10")]
    pub slow: u32,

    /// password of every account, default pencil
    #[argh(option, default = "String::from(\"pencil\")")]
    pub password: String,

    /// none, starttls or direct, default none
    #[argh(option, default = "Security::None")]
    pub tls: Security,

    /// SCRAM-SHA-1, SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN, default SCRAM-SHA-1
    #[argh(option, default = "Mechanism::ScramSha1")]
    pub mechanism: Mechanism,

    /// file that keeps derived SCRAM keys between runs
    #[argh(option)]
    pub keys: Option<PathBuf>,

    /// logins (or registrations) under way at once, default 16
    #[argh(option, default = "16")]
    pub parallel: u32,

    /// ask for the roster at each login (presence and roster-setup always do)
    #[argh(switch)]
    pub roster: bool,

    /// contacts of each user in roster-setup, presence and mixed, default 25
    #[argh(option, default = "25")]
    pub contacts: u32,

    /// idle: sessions at the first of two points, default 1000 (the second is --users)
    #[argh(option, default = "1000")]
    pub from: u32,

    /// idle: sessions at the second point, default --users
    #[argh(option)]
    pub to: Option<u32>,

    /// idle: seconds between the last login and reading memory, default 60
    #[argh(option, default = "60")]
    pub wait: u64,

    /// chat, presence, mixed: seconds that are measured, default 20
    #[argh(option, default = "20")]
    pub seconds: u64,

    /// chat, presence, mixed: seconds of the same load before, default 3
    #[argh(option, default = "3")]
    pub warmup: u64,

    /// chat: messages a second, sent by the clock whether or not earlier ones arrived; without it each pair
    /// has one message under way
    #[argh(option)]
    pub rate: Option<u32>,

    /// mixed: mean seconds between two acts of one user, 0: never. Default chat=60,ping=60,presence=600,login=1800
    #[argh(option, default = "Every::default()")]
    pub every: Every,

    /// mixed: who does what when, default 1
    #[argh(option, default = "1")]
    pub seed: u64,

    /// chat: bytes of a message's body, default 100
    #[argh(option, default = "100")]
    pub body: usize,

    /// chat: each session enables stream management (XEP-0198) and asks for an acknowledgement with every message
    #[argh(switch)]
    pub sm: bool,

    /// loopback source addresses to connect from, default 16; 0: the system's choice
    #[argh(option, default = "16")]
    pub sources: u8,

    /// the run is given up after so many seconds, default 1800
    #[argh(option, default = "1800")]
    pub max_seconds: u64,

    /// server processes to read, as edge=12,core=34
    #[argh(option, default = "Processes::default()")]
    pub pids: Processes,

    /// name of the server in a comparison
    #[argh(option, default = "String::new()")]
    pub label: String,

    /// table: folder to write bar charts to, an SVG for each unit
    #[argh(option)]
    pub plots: Option<PathBuf>,

    /// print one JSON line instead of a table
    #[argh(switch)]
    pub json: bool,
}

impl Args {
    /// Refuses what the load program must not or cannot do.
    ///
    /// # Errors
    /// [`LoadError::Usage`], with what to do about it.
    pub fn check(&self) -> Result<(), LoadError> {
        let usage = |why: String| Err(LoadError::Usage(why));
        if !self.target.ip().to_canonical().is_loopback() && !self.i_own_the_target {
            return usage(format!("{} is not loopback: --i-own-the-target if it is yours to load", self.target));
        }
        if self.users < 2 || self.parallel == 0 || self.contacts == 0 {
            return usage("--users must be at least 2, --parallel and --contacts at least 1".into());
        }
        if self.first_user.checked_add(self.users).is_none() {
            return usage("--first-user and --users are too large together".into());
        }
        let descriptors = descriptor_limit()?;
        let online = if self.scenario == Scenario::Idle { self.to.unwrap_or(self.users) } else { self.users };
        if !matches!(self.scenario, Scenario::Register | Scenario::RosterSetup)
            && u64::from(online) + DESCRIPTORS_RESERVED > descriptors
        {
            return usage(format!(
                "{online} users need more than the {descriptors} descriptors of a process: raise `ulimit -n`, \
                 or share them among processes with --first-user"
            ));
        }
        if self.scenario == Scenario::Idle && self.from >= online {
            return usage(format!("--from {} must be below --to {online}", self.from));
        }
        if self.sm && self.scenario != Scenario::Chat {
            return usage("--sm goes with chat only".into());
        }
        if self.plots.is_some() && self.scenario != Scenario::Table {
            return usage("--plots goes with table only: `load table --plots FOLDER <results.jsonl`".into());
        }
        let messages = u64::from(self.rate.unwrap_or(0)).saturating_mul(self.seconds + self.warmup);
        if messages > OPERATIONS_MAX || self.rate == Some(0) {
            return usage(format!("--rate must be positive and send at most {OPERATIONS_MAX} messages in all"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str]) -> Result<(), String> {
        let args = Args::from_args(&["load"], words).map_err(|early| early.output)?;
        args.check().map_err(|error| error.to_string())
    }

    #[test]
    fn only_loopback_unless_owned() {
        assert_eq!(check(&["chat", "--target", "127.9.0.1:5222"]), Ok(()));
        assert_eq!(check(&["chat", "--target", "[::1]:5222"]), Ok(()));
        assert_eq!(check(&["chat", "--target", "[::ffff:127.0.0.1]:5222"]), Ok(()));
        assert!(check(&["chat", "--target", "192.0.2.1:5222"]).unwrap_err().contains("not loopback"));
        assert_eq!(check(&["chat", "--target", "192.0.2.1:5222", "--i-own-the-target"]), Ok(()));
    }

    #[test]
    fn impossible_runs_are_refused() {
        assert!(check(&["nap"]).is_err());
        assert!(check(&["idle", "--users", "900"]).is_err());
        assert!(check(&["login", "--users", "1"]).is_err());
        assert!(check(&["login", "--sm"]).is_err());
        assert!(check(&["mixed", "--every", "chat=5,login=0"]).is_ok());
        assert!(check(&["login", "--plots", "x"]).is_err());
        assert!(check(&["login", "--users", "4000000000"]).is_err());
        assert!(check(&["chat", "--rate", "2000000"]).is_err());
    }
}
