//! The mixed day: everybody is online and does, each at a mean pace of its own (`--every`), what people do: write to a
//! contact, change presence, ping the server, log out and in again. Who does what when is drawn from `--seed`, and acts
//! leave by the clock: latency counts from the intended time. Users are friends in closed groups of `--contacts` + 1.

use super::{Run, body_of, progress, write_message};
use crate::load::args::Every;
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::histogram::Histogram;
use hearth_core::random::SeededRandom;
use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long the last answers may take once nothing more is done.
const DRAIN: Duration = Duration::from_secs(10);

/// How long after somebody left latencies to it do not count.
const RETURN: Duration = Duration::from_secs(5);

/// Users that are tried for one act: most are online, and an act that finds nobody is not done.
const TRIES: u32 = 8;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let users = run.users();
    run.report.title = format!("{}, {} users, {} contacts each", run.report.title, users.len(), run.args.contacts);
    run.log_in(users.clone(), |_| {})?;
    run.settle(|_| {})?;
    let mut day = Day::new(run);
    let bar = progress("living", run.args.warmup + run.args.seconds);
    let started = Instant::now();
    let warm = started + Duration::from_secs(run.args.warmup);
    day.live(run, warm, |at| bar.set_position(at.duration_since(started).as_secs()))?;
    day.counts = Counts::default();
    let meter = run.meter()?;
    let end = meter.since + Duration::from_secs(run.args.seconds);
    day.live(run, end, |at| bar.set_position(at.duration_since(started).as_secs()))?;
    let spent = run.args.pids.cpu()?.since(&meter.cpu);
    let busy: Vec<f64> = spent.iter().map(|seconds| seconds * 100.0 / meter.since.elapsed().as_secs_f64()).collect();
    run.report.add_costs("CPU of one core", &run.args.pids, &busy, "%");
    run.report_cpu("CPU per 100,000 acts", &meter, day.counts.acts, 1e5)?;
    let elapsed = meter.since.elapsed().as_secs_f64();
    let drained = Instant::now() + DRAIN;
    while day.awaits() && Instant::now() < drained {
        run.turn(drained, "waiting for the last answers")?;
        day.take(run)?;
    }
    bar.finish_and_clear();
    let memory: Vec<f64> = run.args.pids.memory()?.bytes.iter().map(|bytes| bytes / 1048576.0).collect();
    run.report.add_costs("PSS", &run.args.pids, &memory, "MiB");
    day.report(run, elapsed);
    run.require_online(users)
}

/// An act that is to have an answer.
struct Due {
    at: Instant,
    kind: Kind,
    /// Whose session the answer comes to.
    by: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Ping,
}

/// What was measured.
#[derive(Default)]
struct Counts {
    acts: u64,
    messages: Histogram,
    pings: Histogram,
    presence: Histogram,
    logins: Histogram,
    deliveries: u64,
    refused: u64,
}

struct Day {
    first: u32,
    users: u32,
    group: u32,
    every: Every,
    /// Acts a second of all.
    rate: f64,
    random: SeededRandom,
    next: Instant,
    number: u64,
    due: HashMap<u64, Due>,
    /// The last change of each user's presence: its number, and when it should have left.
    flips: Vec<(u64, Option<Instant>)>,
    /// When each user was last told to leave; what is on its way to it then says nothing of the server.
    left: Vec<Option<Instant>>,
    away: u32,
    body: Vec<u8>,
    domain: String,
    counts: Counts,
}

impl Day {
    fn new(run: &Run<'_>) -> Self {
        let (first, users, every) = (run.args.first_user, run.args.users, run.args.every);
        Self {
            first,
            users,
            group: run.args.contacts + 1,
            every,
            rate: every.acts_per_s() * f64::from(users),
            random: SeededRandom::new(run.args.seed.wrapping_add(u64::from(first))),
            next: Instant::now(),
            number: 0,
            due: HashMap::new(),
            flips: vec![(0, None); users as usize],
            left: vec![None; users as usize],
            away: 0,
            body: body_of(run.args.body),
            domain: run.net.domain().to_owned(),
            counts: Counts::default(),
        }
    }

    fn live(&mut self, run: &mut Run<'_>, end: Instant, mut tick: impl FnMut(Instant)) -> Result<(), LoadError> {
        self.next = self.next.max(Instant::now());
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            while self.next <= now {
                let due = self.next;
                self.act(run, due);
                self.next = due + self.pause();
            }
            run.turn(self.next.min(end), "living")?;
            self.take(run)?;
            tick(now);
        }
    }

    /// Between two acts of anybody: exponentially distributed, so that acts come as independent people make them.
    fn pause(&mut self) -> Duration {
        let drawn = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64((-(1.0 - drawn).ln() / self.rate).min(60.0))
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.random.next_u64() % u64::from(bound.max(1))).unwrap_or(0)
    }

    /// Somebody who is online.
    fn somebody(&mut self, run: &Run<'_>, of: impl Fn(&mut Self) -> u32) -> Option<u32> {
        (0..TRIES).map(|_| of(self)).find(|user| run.net.is_ready(*user))
    }

    fn act(&mut self, run: &mut Run<'_>, due: Instant) {
        let chosen = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let act = self.every.choose(chosen);
        let Some(user) = self.somebody(run, |day| day.first + day.below(day.users)) else { return };
        self.number += 1;
        let number = self.number;
        self.counts.acts += 1;
        match act {
            Act::Chat => {
                // The last group may be smaller.
                let start = (user - self.first) / self.group * self.group;
                let size = self.group.min(self.users - start);
                let (first, contact) = (self.first + start, move |day: &mut Self| day.below(size));
                let Some(to) = self.somebody(run, |day| first + contact(day)).filter(|to| *to != user) else { return };
                self.due.insert(number, Due { at: due, kind: Kind::Message, by: to });
                run.net.send_message(user, due, |out| write_message(out, to, &self.domain, number, &self.body));
            }
            Act::Ping => {
                self.due.insert(number, Due { at: due, kind: Kind::Ping, by: user });
                run.net.send(user, |out| {
                    let _ = write!(out, "<iq type='get' id='n{number:x}'><ping xmlns='urn:xmpp:ping'/></iq>");
                });
            }
            Act::Presence => {
                if let Some(flip) = self.flips.get_mut((user - self.first) as usize) {
                    *flip = (number, Some(due));
                }
                let show = if number.is_multiple_of(2) { "away" } else { "chat" };
                run.net.send(user, |out| {
                    let _ = write!(out, "<presence><show>{show}</show><status>n{number:x}</status></presence>");
                });
            }
            Act::Login => {
                if let Some(left) = self.left.get_mut((user - self.first) as usize) {
                    *left = Some(Instant::now());
                }
                self.due.retain(|_, due| due.by != user || due.kind != Kind::Ping);
                run.net.end(user);
                self.away += 1;
            }
        }
    }

    fn take(&mut self, run: &mut Run<'_>) -> Result<(), LoadError> {
        for event in std::mem::take(&mut run.events) {
            match event {
                Event::Message { user, number, at } => self.arrived(Kind::Message, user, number, at),
                Event::Answer { user, number, at } => self.arrived(Kind::Ping, user, number, at),
                Event::Flip { user, from, number, at } if user != from => {
                    let flip = self.flips.get((from.wrapping_sub(self.first)) as usize).copied().unwrap_or_default();
                    if let (last, Some(due)) = flip
                        && last == number
                        && !self.was_away(user, due)
                    {
                        self.counts.deliveries += 1;
                        self.counts.presence.record(at.saturating_duration_since(due));
                    }
                }
                Event::Refused { .. } => self.counts.refused += 1,
                Event::Closed { user, .. } => run.net.begin(user)?,
                Event::Ready { took, .. } => {
                    self.away = self.away.saturating_sub(1);
                    self.counts.logins.record(took);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn arrived(&mut self, kind: Kind, user: u32, number: u64, at: Instant) {
        let Some(due) = self.due.remove(&number) else { return };
        if due.kind != kind || self.was_away(user, due.at) {
            return;
        }
        let latency = at.saturating_duration_since(due.at);
        match kind {
            Kind::Message => self.counts.messages.record(latency),
            Kind::Ping => self.counts.pings.record(latency),
        }
    }

    /// It left since then, or not long before: what waited for it came late through no fault of the server's.
    fn was_away(&self, user: u32, due: Instant) -> bool {
        let left = self.left.get((user - self.first) as usize).copied().flatten();
        left.is_some_and(|left| left + RETURN >= due)
    }

    fn awaits(&self) -> bool {
        self.away > 0 || !self.due.is_empty()
    }

    fn report(&self, run: &mut Run<'_>, elapsed: f64) {
        let counts = &self.counts;
        run.report.add("acts per second", counts.acts as f64 / elapsed, "/s");
        run.report.add_detail("presence deliveries per second", counts.deliveries as f64 / elapsed, "/s");
        run.report.add_latency("message", &counts.messages);
        run.report.add_latency("ping", &counts.pings);
        run.report.add_latency("presence", &counts.presence);
        run.report.add_latency("login", &counts.logins);
        let messages = self.due.values().filter(|due| due.kind == Kind::Message).count();
        let pings = self.due.len() - messages;
        if messages + pings + self.away as usize > 0 || counts.refused > 0 {
            run.report.notes.push(format!(
                "{messages} messages never arrived, {pings} pings were not answered, {} users did not come back, {} \
                 stanzas were refused",
                self.away, counts.refused
            ));
        }
    }
}

/// What somebody does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Chat,
    Ping,
    Presence,
    Login,
}
