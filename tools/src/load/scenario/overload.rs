//! Overload: what pairs exchange in a closed loop is measured first; then twice as much (or `--rate`) is offered for
//! `--seconds`, and after that a tenth of it. Throughput should stay where it was, refusals be errors, memory be bounded, and
//! latencies be themselves again within seconds.

use super::{Run, body_of, progress, write_message};
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::histogram::Histogram;
use std::time::{Duration, Instant};

/// Seconds of the closed loop, and of the lighter load at the end at most.
const CAPACITY_S: u64 = 8;
const RECOVERY_S: u64 = 60;

/// Bytes that wait in one of our own sockets above which its user sends nothing: the server does not take more from it.
const BLOCKED_BYTES: usize = 16 * 1024;

/// The usual latency is this again when recovered: so many times the p99 of the lighter load, at least so much.
const USUAL: f64 = 2.0;
const USUAL_MS: f64 = 5.0;

struct Load {
    first: u32,
    users: u32,
    body: Vec<u8>,
    domain: String,
    /// When the message with this number should have left.
    due: Vec<Instant>,
    delivered: u64,
    refused: u64,
    latency: Histogram,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let users = run.args.users & !1;
    run.log_in(run.args.first_user..run.args.first_user + users, |_| {})?;
    run.settle(|_| {})?;
    let mut load = Load {
        first: run.args.first_user,
        users,
        body: body_of(run.args.body),
        domain: run.net.domain().to_owned(),
        due: Vec::new(),
        delivered: 0,
        refused: 0,
        latency: Histogram::default(),
    };
    let capacity = load.capacity(run)?;
    let offered = run.args.rate.map_or(capacity * 2.0, f64::from);
    run.report.title = format!("{}, {users} users, {offered:.0} messages/s offered", run.report.title);
    run.report.add("capacity, closed loop", capacity, "/s");
    let light = load.usual(run, capacity / 10.0)?;
    run.report.add("message p99 at a tenth", light, "ms");

    let meter = run.meter()?;
    load.offer(run, offered)?;
    run.report_cpu("CPU per 100,000 messages", &meter, load.delivered, 1e5)?;

    let began = Instant::now();
    let usual = (light * USUAL).max(USUAL_MS);
    let recovered = loop {
        let p99 = load.second(run, capacity / 10.0)?;
        if p99 <= usual || began.elapsed() > Duration::from_secs(RECOVERY_S) {
            break p99 <= usual;
        }
    };
    if recovered {
        run.report.add("usual again within", began.elapsed().as_secs_f64(), "s");
    } else {
        run.report.notes.push(format!("p99 was not below {usual:.1} ms again within {RECOVERY_S} s"));
    }
    run.require_online(run.args.first_user..run.args.first_user + users)
}

impl Load {
    /// Sends one message from somebody whose socket takes it; false if nobody's does.
    fn send(&mut self, run: &mut Run<'_>, due: Instant) -> bool {
        let number = self.due.len() as u64;
        let turn = u32::try_from(number % u64::from(self.users)).unwrap_or(0);
        let (from, to) = (self.first + turn, self.first + (turn ^ 1));
        self.due.push(due);
        if run.net.waiting(from) > BLOCKED_BYTES {
            return false;
        }
        run.net.send(from, |out| write_message(out, to, &self.domain, number, &self.body));
        true
    }

    fn take(&mut self, run: &mut Run<'_>, mut answer: impl FnMut(&mut Self, &mut Run<'_>)) {
        for event in std::mem::take(&mut run.events) {
            match event {
                Event::Message { number, at, .. } => {
                    let due = usize::try_from(number).ok().and_then(|number| self.due.get(number));
                    if let Some(due) = due {
                        self.latency.record(at.saturating_duration_since(*due));
                        self.delivered += 1;
                        answer(self, run);
                    }
                }
                Event::Refused { .. } => self.refused += 1,
                _ => {}
            }
        }
    }

    /// Messages a second with one under way for each pair.
    fn capacity(&mut self, run: &mut Run<'_>) -> Result<f64, LoadError> {
        for _ in 0..self.users / 2 {
            self.send(run, Instant::now());
        }
        let end = Instant::now() + Duration::from_secs(CAPACITY_S);
        let warm = Instant::now() + Duration::from_secs(CAPACITY_S / 4);
        let mut since = None;
        while Instant::now() < end {
            run.turn_awaiting("measuring the capacity")?;
            if since.is_none() && Instant::now() >= warm {
                since = Some((Instant::now(), self.delivered));
            }
            self.take(run, |load, run| {
                load.send(run, Instant::now());
            });
        }
        let (since, before) = since.unwrap_or((end, 0));
        let capacity = (self.delivered - before) as f64 / since.elapsed().as_secs_f64();
        self.wait_for_rest(run)?;
        Ok(capacity.max(10.0))
    }

    /// Messages under way arrive.
    fn wait_for_rest(&mut self, run: &mut Run<'_>) -> Result<(), LoadError> {
        run.net.last_arrival = Instant::now();
        while run.net.last_arrival.elapsed() < Duration::from_millis(300) {
            run.turn(Instant::now() + Duration::from_millis(100), "waiting for the last messages")?;
            self.take(run, |_, _| {});
        }
        Ok(())
    }

    /// A second at this rate; its p99, milliseconds.
    fn second(&mut self, run: &mut Run<'_>, rate: f64) -> Result<f64, LoadError> {
        self.latency = Histogram::default();
        let (began, mut sent) = (Instant::now(), 0_u64);
        while began.elapsed() < Duration::from_secs(1) {
            let due = |sent: u64| began + Duration::from_secs_f64(sent as f64 / rate);
            while due(sent) <= Instant::now() {
                self.send(run, due(sent));
                sent += 1;
            }
            run.turn(due(sent), "offering little")?;
            self.take(run, |_, _| {});
        }
        Ok(self.latency.quantile_ms(0.99))
    }

    /// The p99 of that rate: the middle of three seconds.
    fn usual(&mut self, run: &mut Run<'_>, rate: f64) -> Result<f64, LoadError> {
        let mut seconds = [self.second(run, rate)?, self.second(run, rate)?, self.second(run, rate)?];
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[1])
    }

    fn offer(&mut self, run: &mut Run<'_>, rate: f64) -> Result<(), LoadError> {
        let bar = progress("overloading", run.args.seconds);
        let before = memory(run)?;
        (self.latency, self.delivered, self.refused) = (Histogram::default(), 0, 0);
        let (began, mut offered, mut blocked) = (Instant::now(), 0_u64, 0_u64);
        let (mut seconds, mut last, mut most) = (Vec::new(), 0, before);
        while began.elapsed() < Duration::from_secs(run.args.seconds) {
            let due = |offered: u64| began + Duration::from_secs_f64(offered as f64 / rate);
            while due(offered) <= Instant::now() {
                blocked += u64::from(!self.send(run, due(offered)));
                offered += 1;
            }
            run.turn(due(offered), "overloading")?;
            self.take(run, |_, _| {});
            if began.elapsed().as_secs() > seconds.len() as u64 {
                seconds.push((self.delivered - last) as f64);
                (last, most) = (self.delivered, most.max(memory(run)?));
                bar.set_position(seconds.len() as u64);
            }
        }
        bar.finish_and_clear();
        let elapsed = began.elapsed().as_secs_f64();
        run.report.add("delivered per second", self.delivered as f64 / elapsed, "/s");
        run.report.add("in the worst second", seconds.iter().copied().fold(f64::MAX, f64::min), "/s");
        run.report.add_detail(
            "not taken by the server",
            blocked as f64 * 100.0 / offered.max(1) as f64,
            "% of offered",
        );
        run.report.add("refused with an error", self.refused as f64, "");
        run.report.add("PSS before", before, "MiB");
        run.report.add("PSS at most", most, "MiB");
        Ok(())
    }
}

/// Of the server's processes together, MiB.
fn memory(run: &Run<'_>) -> Result<f64, LoadError> {
    Ok(run.args.pids.memory()?.bytes.iter().sum::<f64>() / 1048576.0)
}
