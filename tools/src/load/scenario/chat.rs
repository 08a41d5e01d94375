//! Messages between pairs of users.
//!
//! *Closed loop*: each pair has one message under way; who gets it answers. *Open loop* (`--rate`): messages leave
//! by the clock, evenly spaced over the pairs, and latency counts from the intended time, so that a stall
//! shows in every message it delayed.
//!
//! With `--sm` the server takes responsibility for each message (XEP-0198): the time until it does is measured too.

use super::{Run, body_of, progress, write_message};
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::histogram::Histogram;
use std::time::{Duration, Instant};

/// How long the last messages may take to arrive once no more are sent.
const DRAIN: Duration = Duration::from_secs(5);

/// Bits of a message's number that count; the rest name its pair.
const COUNT_BITS: u32 = 32;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let pairs = run.args.users / 2;
    let first = run.args.first_user;
    let users = first..first + pairs * 2;
    run.log_in(users.clone(), |_| {})?;
    run.settle(|_| {})?;
    let mut sender = Sender { first, body: body_of(run.args.body), domain: run.net.domain().to_owned() };
    let load = match run.args.rate {
        None => "closed loop".to_owned(),
        Some(rate) => format!("{rate} messages/s"),
    };
    let sm = if run.args.sm { ", 0198" } else { "" };
    run.report.title = format!("{}{sm}, {} users, {load}", run.report.title, pairs * 2);
    match run.args.rate {
        None => closed_loop(run, pairs, &mut sender)?,
        Some(rate) => open_loop(run, pairs, rate, &mut sender)?,
    }
    run.require_online(users)
}

struct Sender {
    first: u32,
    body: Vec<u8>,
    domain: String,
}

impl Sender {
    /// `second`: the pair's other user writes to the first. It should have left at `due`.
    fn send(&self, run: &mut Run<'_>, pair: u32, second: bool, number: u64, due: Instant) {
        let (from, to) = (self.first + pair * 2 + u32::from(second), self.first + pair * 2 + u32::from(!second));
        run.net.send_message(from, due, |out| write_message(out, to, &self.domain, number, &self.body));
    }
}

/// One pair's message under way.
struct Pair {
    number: u64,
    sent: Instant,
    arrived: bool,
}

struct ClosedLoop {
    pairs: Vec<Pair>,
    delivered: u64,
    latency: Histogram,
    acknowledged: Histogram,
    strays: u64,
    refused: u64,
}

impl ClosedLoop {
    /// Takes what arrived; every message is answered unless `last`.
    fn take(&mut self, run: &mut Run<'_>, sender: &Sender, last: bool) {
        for event in std::mem::take(&mut run.events) {
            let (user, number, at) = match event {
                Event::Message { user, number, at } => (user, number, at),
                Event::Refused { .. } => {
                    self.refused += 1;
                    continue;
                }
                Event::Acknowledged { due, at } => {
                    self.acknowledged.record(at.saturating_duration_since(due));
                    continue;
                }
                _ => continue,
            };
            let index = (user - sender.first) / 2;
            let Some(pair) = self.pairs.get_mut(index as usize).filter(|pair| pair.number == number && !pair.arrived)
            else {
                self.strays += 1;
                continue;
            };
            self.delivered += 1;
            self.latency.record(at.saturating_duration_since(pair.sent));
            pair.arrived = last;
            if !last {
                pair.number += 1;
                pair.sent = Instant::now();
                let second = (user - sender.first) % 2 == 1;
                let (number, sent) = (pair.number, pair.sent);
                sender.send(run, index, second, number, sent);
            }
        }
    }
}

fn closed_loop(run: &mut Run<'_>, pairs: u32, sender: &mut Sender) -> Result<(), LoadError> {
    let begin = |pair: u32| Pair { number: u64::from(pair) << COUNT_BITS, sent: Instant::now(), arrived: false };
    let mut state = ClosedLoop {
        pairs: (0..pairs).map(begin).collect(),
        delivered: 0,
        latency: Histogram::default(),
        acknowledged: Histogram::default(),
        strays: 0,
        refused: 0,
    };
    for pair in 0..pairs {
        sender.send(run, pair, false, u64::from(pair) << COUNT_BITS, Instant::now());
    }
    let bar = progress("chatting", run.args.warmup + run.args.seconds);
    let started = Instant::now();
    let warm = started + Duration::from_secs(run.args.warmup);
    while Instant::now() < warm {
        run.turn_awaiting("chatting")?;
        state.take(run, sender, false);
        bar.set_position(started.elapsed().as_secs());
    }
    let meter = run.meter()?;
    let before = std::mem::take(&mut state.delivered);
    (state.latency, state.acknowledged) = Default::default();
    let end = meter.since + Duration::from_secs(run.args.seconds);
    while Instant::now() < end {
        run.turn_awaiting("chatting")?;
        state.take(run, sender, false);
        bar.set_position(started.elapsed().as_secs());
    }
    let (delivered, elapsed) = (state.delivered, meter.since.elapsed());
    run.report_cpu("CPU per 100,000 messages", &meter, delivered, 1e5)?;
    run.report_written("bytes written per message", &meter, delivered)?;
    run.report.add("messages per second", delivered as f64 / elapsed.as_secs_f64(), "/s");
    run.report.add_latency("latency", &state.latency);
    if run.args.sm {
        run.report.add_latency("acknowledgement", &state.acknowledged);
    }

    let drained = Instant::now() + DRAIN;
    while state.pairs.iter().any(|pair| !pair.arrived) && Instant::now() < drained {
        run.turn(drained, "waiting for the last messages")?;
        state.take(run, sender, true);
    }
    bar.finish_and_clear();
    let lost = state.pairs.iter().filter(|pair| !pair.arrived).count() as u64;
    complain(run, before + state.delivered, lost, state.strays, state.refused);
    Ok(())
}

fn open_loop(run: &mut Run<'_>, pairs: u32, rate: u32, sender: &mut Sender) -> Result<(), LoadError> {
    let total = u64::from(rate) * (run.args.warmup + run.args.seconds);
    let warm = u64::from(rate) * run.args.warmup;
    let mut arrived = vec![false; usize::try_from(total).unwrap_or(usize::MAX)];
    let (mut delivered, mut measured, mut strays, mut refused) = (0, 0, 0, 0);
    let (mut latency, mut acknowledged) = (Histogram::default(), Histogram::default());
    let mut unacknowledged = if run.args.sm { total } else { 0 };
    let bar = progress("chatting", total);
    let started = Instant::now();
    let due = |number: u64| started + Duration::from_secs_f64(number as f64 / f64::from(rate));
    let (mut next, mut meter) = (0, None);
    let end = due(total);
    while (delivered < total || unacknowledged > 0) && Instant::now() < end + DRAIN {
        while next < total && due(next) <= Instant::now() {
            if next == warm {
                meter = Some(run.meter()?);
            }
            let pair = u32::try_from(next % u64::from(pairs)).unwrap_or(0);
            sender.send(run, pair, (next / u64::from(pairs)) % 2 == 1, next, due(next));
            next += 1;
        }
        run.turn(if next < total { due(next) } else { end + DRAIN }, "chatting")?;
        for event in std::mem::take(&mut run.events) {
            match event {
                Event::Message { number, at, .. } => {
                    let seen = usize::try_from(number).ok().and_then(|number| arrived.get_mut(number));
                    if seen.is_none_or(|seen| std::mem::replace(seen, true)) {
                        strays += 1;
                        continue;
                    }
                    delivered += 1;
                    if number >= warm {
                        measured += 1;
                        latency.record(at.saturating_duration_since(due(number)));
                    }
                }
                Event::Acknowledged { due: intended, at } => {
                    unacknowledged = unacknowledged.saturating_sub(1);
                    if intended >= due(warm) {
                        acknowledged.record(at.saturating_duration_since(intended));
                    }
                }
                Event::Refused { .. } => refused += 1,
                _ => {}
            }
        }
        bar.set_position(next);
    }
    bar.finish_and_clear();
    if let Some(meter) = meter {
        run.report_cpu("CPU per 100,000 messages", &meter, measured, 1e5)?;
        run.report_written("bytes written per message", &meter, measured)?;
        run.report.add("messages per second", measured as f64 / meter.since.elapsed().as_secs_f64(), "/s");
    }
    run.report.add_latency("latency", &latency);
    if run.args.sm {
        run.report.add_latency("acknowledgement", &acknowledged);
        if unacknowledged > 0 {
            run.report.notes.push(format!("{unacknowledged} messages were never acknowledged"));
        }
    }
    complain(run, delivered, total - delivered, strays, refused);
    Ok(())
}

/// A load that was not what it should have been is said with its figures.
fn complain(run: &mut Run<'_>, delivered: u64, lost: u64, strays: u64, refused: u64) {
    if lost + strays + refused > 0 {
        run.report.notes.push(format!(
            "of {} messages {lost} never arrived, {refused} stanzas were refused, {strays} came twice or unasked",
            delivered + lost
        ));
    }
}
