//! What goes on beside something: the first half of the users, a thousand at most, chat in pairs by the clock
//! (`--rate`), and each phase of the run has latencies of its own.

use super::{Run, body_of, write_message};
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::histogram::Histogram;
use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Those who chat, at most.
const CHATTERS_MAX: u32 = 1_000;

/// Messages a second where `--rate` says nothing.
const RATE: u32 = 500;

/// How long the last messages may take to arrive once no more are sent.
const DRAIN: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Beside {
    users: Range<u32>,
    rate: u32,
    started: Instant,
    sent: u64,
    under_way: HashMap<u64, Instant>,
    latency: Histogram,
    body: Vec<u8>,
    domain: String,
}

impl Beside {
    pub(super) fn new(run: &Run<'_>) -> Result<Self, LoadError> {
        let first = run.args.first_user;
        let chatters = (run.args.users / 2).min(CHATTERS_MAX) & !1;
        if chatters < 2 {
            return Err(LoadError::Usage("--users must be at least 4: the first half chats".into()));
        }
        Ok(Self {
            users: first..first + chatters,
            rate: run.args.rate.unwrap_or(RATE),
            started: Instant::now(),
            sent: 0,
            under_way: HashMap::new(),
            latency: Histogram::default(),
            body: body_of(run.args.body),
            domain: run.net.domain().to_owned(),
        })
    }

    /// Those who chat.
    pub(super) fn users(&self) -> Range<u32> {
        self.users.clone()
    }

    /// All others of the run.
    pub(super) fn others(&self, run: &Run<'_>) -> Range<u32> {
        self.users.end..run.users().end
    }

    /// Messages leave by the clock from now on.
    pub(super) fn start(&mut self) {
        (self.started, self.sent) = (Instant::now(), 0);
    }

    /// One turn, by `until` at the latest; what is not about the chat goes to `observer`.
    pub(super) fn turn(
        &mut self,
        run: &mut Run<'_>,
        until: Instant,
        mut observer: impl FnMut(&mut Run<'_>, Event) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        while self.due() <= Instant::now() {
            self.send(run);
        }
        run.turn(self.due().min(until), "chatting")?;
        for event in std::mem::take(&mut run.events) {
            match event {
                Event::Message { user, number, at } if self.users.contains(&user) => {
                    if let Some(due) = self.under_way.remove(&number) {
                        self.latency.record(at.saturating_duration_since(due));
                    }
                }
                other => observer(run, other)?,
            }
        }
        Ok(())
    }

    /// Chats for so long, then reports the phase's latencies.
    pub(super) fn phase(&mut self, run: &mut Run<'_>, name: &str, seconds: u64) -> Result<(), LoadError> {
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.turn(run, end, |_, _| Ok(()))?;
        }
        self.report(run, name);
        Ok(())
    }

    /// Reports the latencies since the last report.
    pub(super) fn report(&mut self, run: &mut Run<'_>, name: &str) {
        run.report.add_latency(&format!("message {name}"), &std::mem::take(&mut self.latency));
    }

    /// Waits for the last messages.
    pub(super) fn end(&mut self, run: &mut Run<'_>) -> Result<(), LoadError> {
        let limit = Instant::now() + DRAIN;
        while !self.under_way.is_empty() && Instant::now() < limit {
            run.turn(limit, "waiting for the last messages")?;
            for event in std::mem::take(&mut run.events) {
                if let Event::Message { number, .. } = event {
                    self.under_way.remove(&number);
                }
            }
        }
        if !self.under_way.is_empty() {
            run.report.notes.push(format!("{} messages never arrived", self.under_way.len()));
        }
        run.require_online(self.users())
    }

    fn due(&self) -> Instant {
        self.started + Duration::from_secs_f64(self.sent as f64 / f64::from(self.rate))
    }

    fn send(&mut self, run: &mut Run<'_>) {
        let due = self.due();
        let turn = u32::try_from(self.sent % u64::from(self.users.end - self.users.start)).unwrap_or(0);
        let (from, number) = (self.users.start + turn, self.sent);
        let to = self.users.start + (turn ^ 1);
        self.sent += 1;
        self.under_way.insert(number, due);
        run.net.send_message(from, due, |out| write_message(out, to, &self.domain, number, &self.body));
    }
}
