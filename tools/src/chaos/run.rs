//! A run: everybody logs in, the plan is carried out while they chat, all comes to rest, the ledger is closed.

use super::args::RunArgs;
use super::ledger::{Closed, Ledger};
use super::limits::{GRACE, LOGGED_IN, QUIET, REST, START, STOP, TURN};
use super::net::Net;
use super::plan::{EDGES, Fault, Part, Planned, plan};
use super::server::{Servers, Setup};
use super::{DOMAIN, Outcome, PASSWORD, Place};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A client writes to one of so many behind it: to all classes, and often enough to each to see order.
const NEIGHBOURS: usize = 4;

pub(super) fn run(args: &RunArgs) -> Result<Outcome, String> {
    let mut place = Place::make(args.keep.as_deref(), args.disk)?;
    place.seed(args.clients)?;
    let mut world = World::new(args, &place)?;
    let planned = plan(args.seed, args.kills, Duration::from_secs(args.seconds), &args.faults);
    let done = world.all(&place, planned);
    let told = place.folder.join("faults.log");
    std::fs::write(&told, world.told.join("\n") + "\n").map_err(|error| format!("{}: {error}", told.display()))?;
    if let Err(why) = done {
        return Err(format!("{why}\n  files: {}", place.keep().display()));
    }
    let World { ledger, faults, .. } = world;
    let closed = ledger.close();
    let wrong = closed.faults();
    let files = if wrong.is_empty() { String::new() } else { format!("  files: {}\n", place.keep().display()) };
    let text = if args.json {
        json!({"seed": args.seed, "clients": args.clients, "seconds": args.seconds, "faults_done": faults.done,
            "kills": faults.kills, "result": closed.json(), "verdict": verdict(&closed)})
        .to_string()
            + "\n"
    } else {
        format!(
            "chaos: {} clients ({}), {} messages a second, seed {}: {} faults, {} of them kills, in {} s\n{}  {}\n{files}",
            args.clients,
            args.mix,
            args.rate,
            args.seed,
            faults.done,
            faults.kills,
            args.seconds,
            closed.table(),
            verdict(&closed)
        )
    };
    Ok(Outcome { text, good: wrong.is_empty() })
}

fn verdict(closed: &Closed) -> String {
    let wrong = closed.faults();
    if wrong.is_empty() {
        "good: nothing lost, nothing doubled for who resumes, no socket dropped by the core".to_owned()
    } else {
        format!("BAD: {}", wrong.join(", "))
    }
}

/// What was done so far.
#[derive(Default)]
struct Faults {
    done: u32,
    kills: u32,
}

/// A fault that lasts.
struct Lasting {
    fault: Fault,
    until: Instant,
}

pub(super) struct World {
    pub(super) servers: Servers,
    pub(super) net: Net,
    pub(super) ledger: Ledger,
    rate: u32,
    faults: Faults,
    /// What happened, by seconds since the start.
    told: Vec<String>,
    begun: Instant,
    bar: ProgressBar,
}

impl World {
    fn new(args: &RunArgs, place: &Place) -> Result<World, String> {
        let setup = Setup {
            folder: &place.folder,
            servers: args.servers.as_deref(),
            domain: DOMAIN,
            shards: args.shards,
            event_loops: 1,
            log_off: args.log_off,
        };
        let servers = Servers::prepare(&setup)?;
        let net = Net::new(DOMAIN, PASSWORD, servers.listen, args.clients, args.mix, args.seed)?;
        let ledger = Ledger::new(args.mix, args.clients);
        Ok(World::with(servers, net, ledger, args.rate))
    }

    pub(super) fn with(servers: Servers, net: Net, ledger: Ledger, rate: u32) -> World {
        let style = ProgressStyle::with_template("{msg:>40} {wide_bar} {pos}/{len}");
        let bar = ProgressBar::new(0);
        let bar = if let Ok(style) = style { bar.with_style(style) } else { bar };
        let (faults, told) = (Faults::default(), Vec::new());
        World { servers, net, ledger, rate, faults, told, begun: Instant::now(), bar }
    }

    fn all(&mut self, place: &Place, planned: Vec<Planned>) -> Result<(), String> {
        self.servers.start_all()?;
        self.everybody_logs_in()?;
        self.trouble(place, planned)?;
        self.rest()?;
        self.everybody_logs_in_once_more()?;
        self.bar.finish_and_clear();
        Ok(())
    }

    fn tell(&mut self, what: impl Into<String>) {
        let what = what.into();
        let line = format!("{:7.1} s  {what}", self.begun.elapsed().as_secs_f64());
        self.told.push(line);
        self.bar.set_message(what);
    }

    fn turn(&mut self) -> Result<(), String> {
        self.servers.check()?;
        self.net.turn(TURN, &mut self.ledger)
    }

    /// Turns until `done`; an error after `deadline`.
    fn until(&mut self, what: &str, deadline: Duration, done: impl Fn(&World) -> bool) -> Result<(), String> {
        let end = Instant::now() + deadline;
        while !done(self) {
            if Instant::now() > end {
                let (live, all) = (self.net.live(), self.net.clients.len());
                return Err(format!("not in {} s: {what}; {live} of {all} clients are logged in", deadline.as_secs()));
            }
            self.turn()?;
        }
        Ok(())
    }

    pub(super) fn everybody_logs_in(&mut self) -> Result<(), String> {
        self.tell("logging in");
        self.until("the first client logs in", START, |world| world.net.live() > 0)?;
        self.bar.set_length(self.net.clients.len() as u64);
        let end = Instant::now() + LOGGED_IN;
        while self.net.live() < self.net.clients.len() {
            self.bar.set_position(self.net.live() as u64);
            if Instant::now() > end {
                return Err(format!("only {} of {} clients are logged in", self.net.live(), self.net.clients.len()));
            }
            self.turn()?;
        }
        Ok(())
    }

    /// The plan, and chat all the while.
    fn trouble(&mut self, place: &Place, planned: Vec<Planned>) -> Result<(), String> {
        self.bar.set_length(planned.len() as u64);
        self.bar.set_position(0);
        let mut planned: VecDeque<Planned> = planned.into();
        let mut lasting: Vec<Lasting> = Vec::new();
        let (begun, mut said, mut last) = (Instant::now(), 0u64, Instant::now());
        while !planned.is_empty() || !lasting.is_empty() {
            let passed = begun.elapsed().as_millis().saturating_mul(u128::from(self.rate));
            let due = u64::try_from(passed / 1000).unwrap_or(u64::MAX);
            while said < due {
                said += 1;
                self.somebody_speaks();
            }
            if let Some(over) = lasting.iter().position(|lasting| lasting.until <= Instant::now())
                && let Some(ended) = lasting.get(over)
                && self.end(place, ended)?
            {
                lasting.swap_remove(over);
            }
            if let Some(Planned { pause, fault }) = planned.front().copied()
                && last.elapsed() >= pause
                && self.can_begin(fault, &lasting)
            {
                planned.pop_front();
                self.begin(place, fault)?;
                last = Instant::now();
                lasting.push(Lasting { fault, until: last + fault.lasts() });
                self.bar.inc(1);
            }
            self.turn()?;
        }
        Ok(())
    }

    /// Faults fall into one another, but nothing is killed that is not there.
    fn can_begin(&self, fault: Fault, lasting: &[Lasting]) -> bool {
        let free = |is: fn(&Fault) -> bool| !lasting.iter().any(|lasting| is(&lasting.fault));
        match fault {
            Fault::Kill(part, _) => self.servers.is_up(part),
            Fault::KillAll(_) => Part::ALL.into_iter().all(|part| self.servers.is_up(part)),
            Fault::Pause(part, _) => self.servers.is_up(part) && !self.servers.is_paused(part),
            Fault::Upgrade => self.servers.is_up(Part::Core) && !self.servers.is_paused(Part::Core),
            Fault::Cut(_) | Fault::Stall(_) => free(|fault| matches!(fault, Fault::Cut(_) | Fault::Stall(_))),
            Fault::Clients(_) => true,
            Fault::FullDisk(_) => free(|fault| matches!(fault, Fault::FullDisk(_))),
        }
    }

    /// A client that is there writes to one of its neighbours, whether or not that one is there.
    pub(super) fn somebody_speaks(&mut self) {
        let all = self.net.clients.len();
        let (from, step) = (self.net.random_below(all), self.net.random_below(NEIGHBOURS));
        if self.net.clients.get(from).is_some_and(super::client::Client::is_live) {
            let to = u32::try_from((from + step + 1) % all).unwrap_or(0);
            self.net.with(from, &mut self.ledger, |client, cx, out| client.say(to, cx, out));
        }
    }

    fn begin(&mut self, place: &Place, fault: Fault) -> Result<(), String> {
        self.tell(fault.to_string());
        self.net.fault = fault.to_string();
        self.faults.done += 1;
        self.faults.kills += u32::from(fault.is_kill());
        match fault {
            Fault::Kill(part, _) => self.kill(part),
            Fault::KillAll(_) => Part::ALL.into_iter().for_each(|part| self.kill(part)),
            Fault::Upgrade => self.servers.ask_to_stop(Part::Core),
            Fault::Pause(part, _) => self.servers.pause(part),
            Fault::Cut(_) => self.servers.relay.cut(),
            Fault::Stall(_) => self.servers.relay.stall(),
            Fault::Clients(share) => {
                for index in 0..self.net.clients.len() {
                    if self.net.random_below(usize::try_from(share).unwrap_or(1)) == 0 {
                        self.net.cut(index, &mut self.ledger);
                    }
                }
            }
            Fault::FullDisk(_) => {
                if let Some(disk) = &place.disk {
                    disk.fill()?;
                }
            }
        }
        Ok(())
    }

    fn kill(&mut self, part: Part) {
        if let Part::Edge(edge) = part {
            self.net.doom(edge);
        }
        self.servers.kill(part);
    }

    /// False if it is not over yet.
    fn end(&mut self, place: &Place, over: &Lasting) -> Result<bool, String> {
        match over.fault {
            Fault::Kill(part, _) => self.servers.start(part)?,
            Fault::KillAll(_) => self.servers.start_all()?,
            Fault::Upgrade => {
                if !self.servers.has_ended(Part::Core) {
                    let late = over.until.elapsed() > STOP;
                    return if late { Err("the core does not stop at SIGTERM".into()) } else { Ok(false) };
                }
                self.servers.start(Part::Core)?;
            }
            Fault::Pause(part, _) => self.servers.resume(part),
            Fault::Cut(_) | Fault::Stall(_) => self.servers.relay.heal(),
            Fault::Clients(_) => {}
            Fault::FullDisk(_) => {
                if let Some(disk) = &place.disk {
                    disk.free()?;
                }
            }
        }
        Ok(true)
    }

    /// All is well again: what is under way arrives, and everybody answers.
    fn rest(&mut self) -> Result<(), String> {
        self.tell("coming to rest");
        let begun = Instant::now();
        self.until("everybody is logged in again", LOGGED_IN, |world| world.net.live() == world.net.clients.len())?;
        for index in 0..self.net.clients.len() {
            self.net.with(index, &mut self.ledger, |client, cx, out| client.question(cx, out));
        }
        while begun.elapsed() < REST {
            self.turn()?;
            if self.net.last_news.elapsed() > QUIET && self.is_at_rest(begun) {
                break;
            }
        }
        for index in 0..self.net.clients.len() {
            let Some(client) = self.net.clients.get_mut(index) else { continue };
            client.settle(&mut self.ledger);
            let (user, answered, at_rest, place) = (client.user, client.answered, client.is_at_rest(), client.place());
            if !answered {
                self.ledger.stuck(user, &format!("{place}, its ping is not answered"));
            } else if !at_rest {
                self.ledger.stuck(user, &format!("{place}, what it sent is not acknowledged"));
            }
        }
        Ok(())
    }

    fn is_at_rest(&self, begun: Instant) -> bool {
        self.net.live() == self.net.clients.len()
            && self.net.clients.iter().all(|client| client.is_at_rest() && client.answered)
            && (begun.elapsed() > GRACE || self.ledger.under_way() == 0)
    }

    /// Whatever waits for somebody is fetched. Nothing should: everybody was there.
    fn everybody_logs_in_once_more(&mut self) -> Result<(), String> {
        self.tell("everybody logs in once more");
        self.net.come_again = false;
        for index in 0..self.net.clients.len() {
            self.net.end(index, &mut self.ledger);
        }
        self.until("all streams end", STOP, |world| world.net.open() == 0)?;
        self.ledger.last_login = true;
        self.net.reopen();
        self.everybody_logs_in()?;
        let end = Instant::now() + REST;
        self.net.last_news = Instant::now();
        while self.net.last_news.elapsed() < QUIET && Instant::now() < end {
            self.turn()?;
        }
        for part in (0..EDGES).map(Part::Edge).chain([Part::Core]) {
            self.servers.kill(part);
        }
        Ok(())
    }
}
