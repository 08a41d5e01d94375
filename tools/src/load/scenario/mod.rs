//! What can be run, and what all runs share: logging in, settling, reading costs, logging out.

#![expect(clippy::wildcard_enum_match_arm, reason = "a scenario looks only at the events it is about")]

mod beside;
mod chat;
mod idle;
mod login;
mod mixed;
mod overload;
mod presence;
mod register;
mod roster;
mod slow;
mod storm;

pub(crate) use mixed::Act;

use super::args::{Args, Scenario};
use super::error::LoadError;
use super::event::Event;
use super::histogram::Histogram;
use super::limits::{CLOSE_MAX, LOGIN_FAILURES_MAX, QUIET, SETTLE_MAX, STALL_TIMEOUT};
use super::login::{Purpose, Security, Terms};
use super::net::{Access, Net};
use super::probe::{Cpu, own_cpu};
use super::report::Report;
use super::scram::Authenticator;
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Runs one scenario and returns what it measured.
///
/// # Errors
/// Whatever keeps the run from its result; a result is never given with part of the load missing unsaid.
pub fn run(args: &Args) -> Result<Report, LoadError> {
    args.check()?;
    let mut run = Run::new(args)?;
    let scenario = match args.scenario {
        Scenario::Register => register::run,
        Scenario::RosterSetup => roster::run,
        Scenario::Login => login::run,
        Scenario::Idle => idle::run,
        Scenario::Chat => chat::run,
        Scenario::Presence => presence::run,
        Scenario::Mixed => mixed::run,
        Scenario::ReconnectStorm => storm::run,
        Scenario::SlowReaders => slow::run,
        Scenario::Overload => overload::run,
        Scenario::Table => return Err(LoadError::Usage("a table is no run".into())),
    };
    let done = scenario(&mut run);
    run.net.auth().save()?;
    done?;
    run.log_out()?;
    let derived = run.net.auth().derived();
    if derived > 0 {
        run.report.notes.push(format!(
            "{derived} SCRAM keys were derived during the run, about a millisecond each, within the login latencies \
             (--keys keeps them for the next run)"
        ));
    }
    let (failures, first) = run.net.failures();
    if failures > 0 {
        run.report.notes.push(format!("{failures} connections failed, the first: {first}"));
    }
    Ok(run.report)
}

/// A run under way.
struct Run<'a> {
    args: &'a Args,
    net: Net,
    report: Report,
    give_up: Instant,
    events: Vec<Event>,
}

/// What a batch of logins showed.
struct Logins {
    count: u32,
    took: Duration,
    latency: Histogram,
}

/// Costs are counted from here.
struct Meter {
    cpu: Cpu,
    written: Vec<f64>,
    own: f64,
    since: Instant,
}

impl<'a> Run<'a> {
    fn new(args: &'a Args) -> Result<Self, LoadError> {
        let roster =
            args.roster || matches!(args.scenario, Scenario::Presence | Scenario::RosterSetup | Scenario::Mixed);
        let register = args.scenario == Scenario::Register;
        let access = Access {
            target: args.target,
            sources: args.sources,
            first_user: args.first_user,
            terms: Terms {
                domain: args.domain.clone(),
                password: args.password.clone(),
                tls: args.tls,
                purpose: if register { Purpose::Register } else { Purpose::Session { roster, sm: args.sm } },
            },
        };
        let auth = Authenticator::new(args.mechanism, &args.password, args.keys.as_deref())?;
        let protection = match args.tls {
            Security::None => "plain",
            Security::StartTls => "STARTTLS",
            Security::Direct => "direct TLS",
        };
        Ok(Self {
            args,
            net: Net::new(access, auth)?,
            report: Report {
                title: format!("{:?}, {protection}", args.scenario).to_lowercase(),
                label: args.label.clone(),
                ..Report::default()
            },
            give_up: Instant::now() + Duration::from_secs(args.max_seconds),
            events: Vec::new(),
        })
    }

    /// The users of this run.
    fn users(&self) -> Range<u32> {
        self.args.first_user..self.args.first_user.saturating_add(self.args.users)
    }

    /// One turn of the loop, which ends by `until`; its events are taken from `self.events`.
    fn turn(&mut self, until: Instant, phase: &'static str) -> Result<(), LoadError> {
        let now = Instant::now();
        if now >= self.give_up {
            return Err(LoadError::OutOfTime { phase });
        }
        self.net.turn(until.min(now + Duration::from_secs(1)), &mut self.events)?;
        match self.net.failures() {
            (failed, first) if failed > LOGIN_FAILURES_MAX => {
                Err(LoadError::Logins { failed, first: first.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// As [`turn`](Self::turn), in a phase that cannot go on if nothing comes.
    fn turn_awaiting(&mut self, awaited: &'static str) -> Result<(), LoadError> {
        self.turn(Instant::now() + Duration::from_secs(1), awaited)?;
        if self.net.last_arrival.elapsed() > STALL_TIMEOUT {
            let (failed, first) = self.net.failures();
            let awaited =
                if failed > 0 { format!("{awaited}; {failed} connections failed: {first}") } else { awaited.into() };
            return Err(LoadError::Stalled { awaited });
        }
        Ok(())
    }

    /// Logs in (or registers) these users, `--parallel` at a time. What else arrives goes to `observer`.
    fn log_in(&mut self, users: Range<u32>, mut observer: impl FnMut(Event)) -> Result<Logins, LoadError> {
        let registering = self.args.scenario == Scenario::Register;
        let bar = progress(if registering { "registering" } else { "logging in" }, users.len() as u64);
        let started = Instant::now();
        let mut logins = Logins { count: 0, took: Duration::ZERO, latency: Histogram::default() };
        let (mut next, mut under_way) = (users, 0);
        self.net.last_arrival = started;
        loop {
            // Closing connections count too: those of finished registrations must not pile up.
            while under_way < self.args.parallel
                && let Some(user) = next.next()
            {
                self.net.begin(user)?;
                under_way += 1;
            }
            if under_way == 0 {
                break;
            }
            self.turn_awaiting("logging in")?;
            for event in self.events.drain(..) {
                match event {
                    Event::Ready { took, .. } => {
                        under_way -= 1;
                        logins.count += 1;
                        logins.latency.record(took);
                        bar.inc(1);
                    }
                    Event::Closed { online: false, .. } => under_way -= 1,
                    other => observer(other),
                }
            }
        }
        logins.took = started.elapsed();
        bar.finish_and_clear();
        Ok(logins)
    }

    /// Waits until the server has nothing more to say.
    fn settle(&mut self, mut observer: impl FnMut(Event)) -> Result<(), LoadError> {
        let limit = Instant::now() + SETTLE_MAX;
        self.net.last_arrival = Instant::now();
        while self.net.last_arrival.elapsed() < QUIET && Instant::now() < limit {
            self.turn(self.net.last_arrival + QUIET, "settling")?;
            self.events.drain(..).for_each(&mut observer);
        }
        Ok(())
    }

    /// Lets time pass while the sessions live on.
    fn rest(&mut self, seconds: u64, what: &'static str) -> Result<(), LoadError> {
        let bar = progress(what, seconds);
        let started = Instant::now();
        let end = started + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.turn(end, what)?;
            self.events.clear();
            bar.set_position(started.elapsed().as_secs());
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Ends every stream that is still open.
    fn log_out(&mut self) -> Result<(), LoadError> {
        let limit = Instant::now() + CLOSE_MAX;
        for user in self.users() {
            self.net.end(user);
        }
        while self.net.open() > 0 && Instant::now() < limit {
            self.turn(limit, "logging out")?;
            self.events.clear();
        }
        Ok(())
    }

    fn meter(&self) -> Result<Meter, LoadError> {
        let written = self.args.pids.written()?;
        Ok(Meter { cpu: self.args.pids.cpu()?, written, own: own_cpu()?, since: Instant::now() })
    }

    /// Reports what the server spent since `meter`, for each `per` of `count` units of work.
    fn report_cpu(&mut self, name: &str, meter: &Meter, count: u64, per: f64) -> Result<(), LoadError> {
        let spent = self.args.pids.cpu()?.since(&meter.cpu);
        if count > 0 {
            let each: Vec<f64> = spent.iter().map(|seconds| seconds * per / count as f64).collect();
            self.report.add_costs(name, &self.args.pids, &each, "CPU-s");
        }
        let own = (own_cpu()? - meter.own) / meter.since.elapsed().as_secs_f64();
        self.report.add_detail("load program busy", own * 100.0, "%");
        Ok(())
    }

    /// Reports what the server had written to disk since `meter`, for each of `count` units of work.
    fn report_written(&mut self, name: &str, meter: &Meter, count: u64) -> Result<(), LoadError> {
        let written: f64 = self.args.pids.written()?.iter().zip(&meter.written).map(|(now, then)| now - then).sum();
        if count > 0 && !meter.written.is_empty() {
            self.report.add(name, written / count as f64, "B");
        }
        Ok(())
    }

    /// Every user of the run must be online still, or its figures are of another load.
    fn require_online(&self, users: Range<u32>) -> Result<(), LoadError> {
        for user in users {
            if !self.net.is_ready(user) {
                let (_, first) = self.net.failures();
                return Err(LoadError::Lost { user, why: first.to_owned() });
            }
        }
        Ok(())
    }
}

/// `<message/>` with a number by which it is known again.
fn write_message(out: &mut Vec<u8>, to: u32, domain: &str, number: u64, body: &[u8]) {
    use std::io::Write as _;
    let _ = write!(out, "<message type='chat' to='user{to}@{domain}' id='n{number:x}'><body>");
    out.extend_from_slice(body);
    out.extend_from_slice(b"</body></message>");
}

/// Plain text of so many bytes.
fn body_of(bytes: usize) -> Vec<u8> {
    b"The quick brown fox jumps over the lazy dog. ".iter().copied().cycle().take(bytes).collect()
}

/// A progress bar on a terminal, nothing elsewhere.
fn progress(what: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>12} {wide_bar} {pos}/{len} {eta}");
    let bar = ProgressBar::new(total).with_message(what);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}
