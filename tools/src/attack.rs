//! One attack on an XMPP server, by real sockets, beside honest clients: what it costs the server, and what they feel of it.
//!
//! ```text
//! honest.rs   pairs that chat by the clock, and somebody who logs in      ─┐
//! held.rs     connections that are opened, say something and stay          ├─▶ the server, its CPU and PSS (load/probe.rs)
//! floods.rs   what is done again and again, by strangers or by accounts   ─┘
//! table.rs    runs side by side
//! ```
//!
//! Honest clients chat for a while alone, then with the attack beside them. What the server spends more in the second time, and
//! what it grows by, is the attack's, and is told for one connection or for a thousand steps of it.

mod floods;
mod held;
mod honest;
mod table;

use crate::load::error::LoadError;
use crate::load::probe::Processes;
use argh::FromArgs;
use honest::{Felt, Honest};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
pub use table::table;

/// Most connections and sources of a run: its descriptors stay far below 20,000.
const CONNECTIONS_MAX: u32 = 5_000;
/// Longest time of an attack, seconds.
const SECONDS_MAX: u64 = 120;
/// Threads of an attack by strangers.
const THREADS: u32 = 4;
/// Between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(500);
/// How long the server has after an attack until its memory is read once more.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// Number of the first attacker's account; the honest ones begin at 0.
const FIRST_ATTACKER: u32 = 100;

/// What is done to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    Elements,
    Attributes,
    Depth,
    Slow,
    Hellos,
    Handshakes,
    KeyUpdates,
    Logins,
    Connects,
    Readers,
    Presence,
    Stanzas,
    /// No attack: puts the JSON lines of runs, from standard input, side by side.
    Table,
}

/// Each attack: its name, and what it costs is told for so many of what.
const ATTACKS: [(&str, Attack, &str); 13] = [
    ("elements", Attack::Elements, "connection"),
    ("attributes", Attack::Attributes, "connection"),
    ("depth", Attack::Depth, "connection"),
    ("slow", Attack::Slow, "connection"),
    ("hellos", Attack::Hellos, "connection"),
    ("handshakes", Attack::Handshakes, "1,000 handshakes"),
    ("key-updates", Attack::KeyUpdates, "1,000 key updates"),
    ("logins", Attack::Logins, "1,000 attempts"),
    ("connects", Attack::Connects, "1,000 connections"),
    ("readers", Attack::Readers, "reader"),
    ("presence", Attack::Presence, "1,000 flips"),
    ("stanzas", Attack::Stanzas, "1,000 stanzas"),
    ("table", Attack::Table, ""),
];

impl FromStr for Attack {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = ATTACKS.iter().map(|(name, ..)| *name).collect();
        let found = ATTACKS.iter().find(|(known, ..)| *known == name).map(|(_, attack, _)| *attack);
        found.ok_or_else(|| format!("unknown attack {name}: {}", names.join(", ")))
    }
}

/// Attacks an XMPP server on loopback for some seconds, beside honest clients.
///
/// Strangers: elements, attributes, depth (XML that does not end, then silence), slow (a byte a second), hellos (a ClientHello, then
/// silence), handshakes, key-updates, logins (wrong passwords), connects (header and reset). Accounts: readers (who do not read what
/// others send them), presence (flips before 25 contacts), stanzas (requests). `table` reads the JSON lines of runs from standard
/// input. Accounts are user0, user1, … with one password: 40 honest ones, and from user100 on groups of 26 who are contacts.
#[derive(FromArgs, Clone, Debug)]
pub struct Args {
    /// elements, attributes, depth, slow, hellos, handshakes, key-updates, logins, connects, readers, presence, stanzas or table
    #[argh(positional)]
    pub attack: Attack,

    /// loopback address and port of the server for STARTTLS, default 127.0.0.1:5222
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 5222))")]
    pub target: SocketAddr,

    /// the same for direct TLS, default 127.0.0.1:5223
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 5223))")]
    pub tls_target: SocketAddr,

    /// domain of the accounts, default localhost
    #[argh(option, default = "String::from(\"localhost\")")]
    pub domain: String,

    /// password of every account, default pencil
    #[argh(option, default = "String::from(\"pencil\")")]
    pub password: String,

    /// file of the server's certificate
    #[argh(option, default = "PathBuf::from(\"cert.pem\")")]
    pub certificate: PathBuf,

    /// connections of strangers that stay, default 500
    #[argh(option, default = "500")]
    pub connections: u32,

    /// bytes of XML that do not end, default 8191: just below what the server takes of a stranger
    #[argh(option, default = "8191")]
    pub bytes: usize,

    /// steps of strangers a second at most, default 1000
    #[argh(option, default = "1000")]
    pub rate: u32,

    /// addresses that the attack comes from, 127.1.0.1 and on, default 16; honest clients are 127.0.0.1
    #[argh(option, default = "16")]
    pub sources: u8,

    /// seconds of the attack, default 20
    #[argh(option, default = "20")]
    pub seconds: u64,

    /// seconds without it before, default 10
    #[argh(option, default = "10")]
    pub before: u64,

    /// server processes to read, as edge=12,core=34
    #[argh(option, default = "Processes::default()")]
    pub pids: Processes,

    /// name of the server in a table
    #[argh(option, default = "String::new()")]
    pub label: String,
}

impl Args {
    fn check(&self) -> Result<(), LoadError> {
        let usage = |why: String| Err(LoadError::Usage(why));
        for target in [self.target, self.tls_target] {
            if !matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
                return usage(format!("{target} is not of 127.0.0.0/8: this is for servers on this machine only"));
            }
        }
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) || !(1..=SECONDS_MAX).contains(&self.seconds) {
            return usage(format!("--connections are 1 to {CONNECTIONS_MAX}, --seconds 1 to {SECONDS_MAX}"));
        }
        if self.sources == 0 || self.rate == 0 || self.before == 0 || self.before > SECONDS_MAX {
            return usage(format!("--sources and --rate are at least 1, --before is 1 to {SECONDS_MAX}"));
        }
        Ok(())
    }

    /// Where the nth connection of the attack comes from.
    fn source(&self, nth: u32) -> IpAddr {
        let last = u8::try_from(nth % u32::from(self.sources)).unwrap_or(0);
        IpAddr::V4(Ipv4Addr::new(127, 1, 0, last.saturating_add(1)))
    }
}

/// What an attack has come to, counted by its threads.
#[derive(Default, Debug)]
struct Tally {
    stop: AtomicBool,
    /// Connections that stay, or steps that were done.
    done: AtomicU64,
    /// What the server refused or ended.
    refused: AtomicU64,
}

impl Tally {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, steps: u64) {
        self.done.fetch_add(steps, Ordering::Relaxed);
    }

    fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Attackers are elsewhere, as a rule: this thread of theirs takes no time that the server or an honest client wants.
fn stand_back() {
    let _ = rustix::process::nice(10);
}

/// Steps by the clock: each thread of an attack has its share of the rate.
struct Pace {
    next: Instant,
    step: Duration,
}

impl Pace {
    fn of(rate: u32, threads: u32) -> Pace {
        Pace { next: Instant::now(), step: Duration::from_secs(1) * threads / rate }
    }

    /// Waits for the next step; what could not be done in time is not caught up with.
    fn wait(&mut self, steps: u32) {
        let now = Instant::now();
        std::thread::sleep(self.next.saturating_duration_since(now));
        self.next = self.next.max(now) + self.step * steps;
    }
}

/// Somebody's attack, ready to begin.
enum Ready {
    Strangers(fn(&Args, u32, &Tally)),
    Accounts(floods::Accounts),
}

/// Runs one attack and returns its figures as one JSON line.
///
/// # Errors
/// [`LoadError`]: the command line, or honest clients that cannot even begin.
pub fn run(args: &Args) -> Result<String, LoadError> {
    args.check()?;
    honest::await_server(args);
    let ready = match args.attack {
        Attack::Elements | Attack::Attributes | Attack::Depth | Attack::Slow | Attack::Hellos => {
            Ready::Strangers(held::run)
        }
        Attack::Handshakes => Ready::Strangers(floods::handshakes),
        Attack::KeyUpdates => Ready::Strangers(floods::key_updates),
        Attack::Logins => Ready::Strangers(floods::logins),
        Attack::Connects => Ready::Strangers(floods::connects),
        Attack::Readers => Ready::Accounts(floods::Accounts::readers(args)?),
        Attack::Presence => Ready::Accounts(floods::Accounts::presence(args)?),
        Attack::Stanzas => Ready::Accounts(floods::Accounts::stanzas(args)?),
        Attack::Table => return Err(LoadError::Usage("table reads standard input".into())),
    };
    let honest = Honest::start(args)?;
    std::thread::sleep(Duration::from_secs(1));
    honest.take();
    let started = args.pids.cpu()?;
    std::thread::sleep(Duration::from_secs(args.before));
    let alone = args.pids.cpu()?.since(&started).iter().sum::<f64>() / args.before as f64;
    let felt_before = honest.take();
    let memory_before = memory(args)?;

    let tally = Tally::default();
    let started = (args.pids.cpu()?, Instant::now());
    let (most, cpu) = std::thread::scope(|scope| -> Result<(f64, f64), LoadError> {
        match &ready {
            Ready::Strangers(run) => {
                let tally = &tally;
                for thread in 0..THREADS {
                    scope.spawn(move || {
                        stand_back();
                        run(args, thread, tally);
                    });
                }
            }
            Ready::Accounts(accounts) => accounts.begin(scope, &tally),
        }
        let watched = watch(args, &started.0, started.1 + Duration::from_secs(args.seconds));
        tally.stop.store(true, Ordering::Relaxed);
        if let Ready::Accounts(accounts) = &ready {
            accounts.end();
        }
        watched
    })?;
    let felt = honest.take();
    std::thread::sleep(AFTERWARDS);
    let memory_after = memory(args)?;
    let failures = honest.stop();
    let cpu = (cpu - alone * args.seconds as f64).max(0.0);
    Ok(report(args, &ready, &tally, cpu, [memory_before, most, memory_after], &felt_before, &felt, &failures))
}

/// CPU seconds until `end`, and the most memory seen.
fn watch(args: &Args, from: &crate::load::probe::Cpu, end: Instant) -> Result<(f64, f64), LoadError> {
    let mut most: f64 = 0.0;
    while Instant::now() < end {
        std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        most = most.max(memory(args)?);
    }
    Ok((most, args.pids.cpu()?.since(from).iter().sum()))
}

/// Bytes of the server's processes.
fn memory(args: &Args) -> Result<f64, LoadError> {
    Ok(args.pids.memory()?.bytes.iter().sum())
}

#[expect(clippy::too_many_arguments, reason = "every figure of a run, once")]
fn report(
    args: &Args,
    ready: &Ready,
    tally: &Tally,
    cpu: f64,
    [before, most, after]: [f64; 3],
    felt_before: &Felt,
    felt: &Felt,
    failures: &[String],
) -> String {
    let (name, _, unit) = ATTACKS.iter().find(|(_, attack, _)| *attack == args.attack).unwrap_or(&ATTACKS[0]);
    let [done, refused] = [&tally.done, &tally.refused].map(|count| count.load(Ordering::Relaxed));
    let units = match (ready, args.attack) {
        (Ready::Accounts(accounts), Attack::Readers) => accounts.victims() as f64,
        // Those that were ended are among those that cost something.
        (Ready::Strangers(_), _) if *unit == "connection" => (done + refused) as f64,
        _ => done as f64 / 1000.0,
    };
    let each = |value: f64| if units > 0.0 { value / units } else { 0.0 };
    let bytes = (most - before).max(0.0);
    let stays = matches!(*unit, "connection" | "reader");
    json!({
        "attack": name, "label": args.label, "unit": unit, "seconds": args.seconds,
        "connections": args.connections, "done": done, "refused": refused,
        "cpu_s": cpu, "cpu_ms_each": each(cpu * 1e3), "bytes": bytes, "bytes_each": stays.then(|| each(bytes)),
        "pss_before": before, "pss_most": most, "pss_after": after,
        "before": felt_before.json(), "under": felt.json(), "honest_failures": failures,
    })
    .to_string()
}
