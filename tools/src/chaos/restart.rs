//! What a restart of the core costs under idle sessions on two edges.

use super::args::RestartArgs;
use super::ledger::Ledger;
use super::limits::{LOGGED_IN, TURN};
use super::net::Net;
use super::plan::Part;
use super::run::World;
use super::server::{Servers, Setup};
use super::{DOMAIN, Outcome, PASSWORD, Place};
use crate::ctl;
use crate::load::Report;
use crate::load::probe::{Memory, Processes};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often the core is asked how many sessions it has.
const POLL: Duration = Duration::from_millis(10);

/// What goes on after the last session is adopted counts as its cost for so long.
const AFTER: Duration = Duration::from_secs(1);

/// One restart, seconds from the signal.
struct Restart {
    stopped: f64,
    adopted: f64,
    message: f64,
    /// CPU seconds of core and edges.
    cpu: Vec<f64>,
    /// Of a session that returned over TCP.
    link_bytes: f64,
}

pub(super) fn run(args: &RestartArgs) -> Result<Outcome, String> {
    let mut place = Place::make(args.keep.as_deref(), None)?;
    place.seed(args.clients)?;
    let setup = Setup {
        folder: &place.folder,
        servers: args.servers.as_deref(),
        domain: DOMAIN,
        shards: args.shards,
        event_loops: 1,
        log_off: false,
    };
    let servers = Servers::prepare(&setup)?;
    let net = Net::new(DOMAIN, PASSWORD, servers.listen, args.clients, args.mix, 1)?;
    let world = World::with(servers, net, Ledger::new(args.mix, args.clients), 0);
    let done = measure(world, args);
    let (report, faults) = done.map_err(|why| format!("{why}\n  files: {}", place.keep().display()))?;
    let text = if args.json { report.json() + "\n" } else { report.table() };
    Ok(Outcome { text, good: faults.is_empty() })
}

fn measure(mut world: World, args: &RestartArgs) -> Result<(Report, Vec<String>), String> {
    world.servers.start_all()?;
    world.everybody_logs_in()?;
    let title = format!("restarts of the core, {} idle sessions ({}) on two edges", args.clients, args.mix);
    let mut report = Report { title, ..Report::default() };
    idle(&mut world, args.settle)?;
    let before = memory(&world)?;
    let processes = world.servers.processes();
    add_memory(&mut report, "before", &processes, &before);
    for (what, count, kill) in [("kill -9", args.kills, true), ("SIGTERM", args.upgrades, false)] {
        let mut restarts = Vec::new();
        for round in 0..count {
            idle(&mut world, args.settle)?;
            if kill && round == 1 {
                add_memory(&mut report, "after the first restart", &processes, &memory(&world)?);
            }
            world.net.fault = format!("{what}, {round} of its kind before");
            restarts.push(restart(&mut world, kill)?);
        }
        idle(&mut world, args.settle)?;
        if restarts.is_empty() {
            continue;
        }
        add_restarts(&mut report, what, &processes, &restarts);
        add_memory(&mut report, &format!("after {count} restarts by {what}"), &processes, &memory(&world)?);
    }
    let World { ledger, .. } = world;
    let closed = ledger.close();
    let faults = closed.faults();
    report.notes.extend(faults.iter().cloned());
    Ok((report, faults))
}

/// Ends the core and starts it again at once.
fn restart(world: &mut World, kill: bool) -> Result<Restart, String> {
    let failed = |error: crate::load::LoadError| error.to_string();
    let edges = Processes(world.servers.processes().0.into_iter().filter(|process| process.name != "core").collect());
    let (cpu, bytes) = (edges.cpu().map_err(failed)?, world.servers.relay.to_core_bytes());
    let begun = Instant::now();
    let stopped = if kill {
        world.servers.kill(Part::Core);
        begun.elapsed()
    } else {
        world.servers.stop(Part::Core)?
    };
    world.servers.start(Part::Core)?;
    let adopted = all_adopted(world.servers.control.clone(), world.net.clients.len());
    let came = world.ledger.delivered();
    world.somebody_speaks();
    let (mut all_there, mut through) = (None, None);
    while all_there.is_none() || through.is_none() {
        world.net.turn(TURN, &mut world.ledger)?;
        world.servers.check()?;
        if let Ok(at) = adopted.try_recv() {
            all_there = Some(at.saturating_duration_since(begun));
        }
        if through.is_none() && world.ledger.delivered() > came {
            through = Some(begun.elapsed());
        }
        if begun.elapsed() > LOGGED_IN {
            let (all, message) = (all_there.is_some(), through.is_some());
            return Err(format!("{}: all adopted: {all}, a message came: {message}", world.net.fault));
        }
    }
    let bytes = world.servers.relay.to_core_bytes() - bytes;
    let over_tcp = world.net.clients.iter().filter(|client| client.edge == 1).count().max(1);
    let end = Instant::now() + AFTER;
    while Instant::now() < end {
        world.net.turn(TURN, &mut world.ledger)?;
    }
    let core = Processes(world.servers.processes().0.into_iter().filter(|process| process.name == "core").collect());
    let mut spent = core.cpu().map_err(failed)?.seconds;
    spent.extend(edges.cpu().map_err(failed)?.since(&cpu));
    Ok(Restart {
        stopped: stopped.as_secs_f64(),
        adopted: all_there.unwrap_or_default().as_secs_f64(),
        message: through.unwrap_or_default().as_secs_f64(),
        cpu: spent,
        link_bytes: bytes as f64 / over_tcp as f64,
    })
}

/// Tells when the core has so many sessions; a thread of its own asks, as an answer may take a while.
fn all_adopted(control: PathBuf, sessions: usize) -> Receiver<Instant> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let words = ["--socket", &control.display().to_string(), "status", "--json"].map(str::to_owned);
        let end = Instant::now() + LOGGED_IN;
        while Instant::now() < end {
            let (mut out, mut errors) = (Vec::new(), Vec::new());
            ctl::run(&words, &mut out, &mut errors);
            let status: Option<serde_json::Value> = serde_json::from_slice(&out).ok();
            let found = status.and_then(|status| status.get("sessions")?.as_u64());
            if found == Some(sessions as u64) {
                let _ = tell.send(Instant::now()); // the run may have ended
                return;
            }
            thread::sleep(POLL);
        }
    });
    told
}

fn idle(world: &mut World, seconds: u64) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        world.net.turn(TURN, &mut world.ledger)?;
    }
    let (live, all) = (world.net.live(), world.net.clients.len());
    if live == all { Ok(()) } else { Err(format!("{live} of {all} clients are logged in: {}", world.net.fault)) }
}

fn memory(world: &World) -> Result<Memory, String> {
    world.servers.processes().memory().map_err(|error| error.to_string())
}

fn add_memory(report: &mut Report, when: &str, processes: &Processes, memory: &Memory) {
    let mib: Vec<f64> = memory.bytes.iter().map(|bytes| bytes / f64::from(1 << 20)).collect();
    report.add_costs(&format!("PSS {when}"), processes, &mib, "MiB");
}

/// Median and worst.
fn add_restarts(report: &mut Report, what: &str, processes: &Processes, restarts: &[Restart]) {
    let mut add = |name: &str, unit, of: &dyn Fn(&Restart) -> f64| {
        let mut values: Vec<f64> = restarts.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied().unwrap_or_default();
        report.add(format!("{what}: {name}, median"), median, unit);
        report.add(format!("{what}: {name}, worst"), values.last().copied().unwrap_or_default(), unit);
    };
    if what == "SIGTERM" {
        add("until the core has ended", "s", &|restart| restart.stopped);
    }
    add("until the last session is adopted", "s", &|restart| restart.adopted);
    add("until a message sent at once is through", "s", &|restart| restart.message);
    for (index, process) in processes.0.iter().enumerate() {
        let name = format!("CPU of {}", process.name);
        add(&name, "CPU-s", &|restart| restart.cpu.get(index).copied().unwrap_or_default());
    }
    add("bytes on the link for each session", "B", &|restart| restart.link_bytes);
}
