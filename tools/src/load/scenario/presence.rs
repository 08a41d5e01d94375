//! Presence among closed groups of friends, every user with `--contacts` of them online: logins with presence both
//! ways, then presence changes in a closed loop, one under way per group.

use super::login::report_logins;
use super::{Run, progress};
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::histogram::Histogram;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// One group of friends and the change that makes its way through it.
struct Group {
    number: u64,
    flipper: u32,
    awaited: u32,
    sent: Instant,
}

struct Flips {
    first: u32,
    /// Members of a group: each user and its contacts.
    size: u32,
    groups: Vec<Group>,
    deliveries: u64,
    flips: u64,
    reflected: u64,
    latency: Histogram,
}

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let size = run.args.contacts + 1;
    let groups = run.args.users / size;
    if groups == 0 {
        return Err(LoadError::Usage(format!("--users must be at least {size}, a user and its contacts")));
    }
    let first = run.args.first_user;
    let users = first..first + groups * size;
    run.report.title = format!("{}, {} users, {} contacts each", run.report.title, users.len(), run.args.contacts);

    let meter = run.meter()?;
    let (mut friends, mut presence) = (0_u64, 0_u64);
    let mut count = |event| match event {
        Event::Contact { both: true, .. } => friends += 1,
        Event::Presence { .. } => presence += 1,
        _ => {}
    };
    let logins = run.log_in(users.clone(), &mut count)?;
    run.settle(&mut count)?;
    report_logins(run, &meter, &logins)?;
    let wanted = u64::from(groups * size) * u64::from(run.args.contacts);
    if friends < wanted {
        return Err(LoadError::Protocol(format!(
            "the rosters hold {friends} of {wanted} mutual contacts: run roster-setup with the same --users and --contacts"
        )));
    }
    run.report.add_detail("presence during the logins", presence as f64, "");
    flip(run, Flips::new(first, size, groups))?;
    run.require_online(users)
}

impl Flips {
    fn new(first: u32, size: u32, groups: u32) -> Self {
        let group =
            |group: u32| Group { number: u64::from(group) << 32, flipper: size - 1, awaited: 0, sent: Instant::now() };
        Self {
            first,
            size,
            groups: (0..groups).map(group).collect(),
            deliveries: 0,
            flips: 0,
            reflected: 0,
            latency: Histogram::default(),
        }
    }

    /// The group's next member changes its presence.
    fn start(&mut self, run: &mut Run<'_>, index: u32) {
        let Some(group) = self.groups.get_mut(index as usize) else {
            return;
        };
        group.number += 1;
        group.flipper = (group.flipper + 1) % self.size;
        group.awaited = self.size - 1;
        group.sent = Instant::now();
        let show = if group.number.is_multiple_of(2) { "away" } else { "chat" };
        let user = self.first + index * self.size + group.flipper;
        let number = group.number;
        run.net.send(user, |out| {
            let _ = write!(out, "<presence><show>{show}</show><status>n{number:x}</status></presence>");
        });
    }

    fn take(&mut self, run: &mut Run<'_>) {
        for event in std::mem::take(&mut run.events) {
            let Event::Flip { user, from, number, at } = event else {
                continue;
            };
            if user == from {
                self.reflected += 1; // RFC 6121 §4.4.2: to one's own resources too
                continue;
            }
            let index = (user - self.first) / self.size;
            let Some(group) = self.groups.get_mut(index as usize).filter(|group| group.number == number) else {
                continue;
            };
            self.deliveries += 1;
            group.awaited = group.awaited.saturating_sub(1);
            if group.awaited == 0 {
                self.flips += 1;
                self.latency.record(at.saturating_duration_since(group.sent));
                self.start(run, index);
            }
        }
    }
}

fn flip(run: &mut Run<'_>, mut flips: Flips) -> Result<(), LoadError> {
    let bar = progress("changing", run.args.warmup + run.args.seconds);
    for index in 0..u32::try_from(flips.groups.len()).unwrap_or(0) {
        flips.start(run, index);
    }
    let started = Instant::now();
    let warm = started + Duration::from_secs(run.args.warmup);
    while Instant::now() < warm {
        run.turn_awaiting("changing presence")?;
        flips.take(run);
        bar.set_position(started.elapsed().as_secs());
    }
    let meter = run.meter()?;
    (flips.deliveries, flips.flips, flips.reflected) = (0, 0, 0);
    flips.latency = Histogram::default();
    let end = meter.since + Duration::from_secs(run.args.seconds);
    while Instant::now() < end {
        run.turn_awaiting("changing presence")?;
        flips.take(run);
        bar.set_position(started.elapsed().as_secs());
    }
    let elapsed = meter.since.elapsed().as_secs_f64();
    run.report_cpu("CPU per 100,000 deliveries", &meter, flips.deliveries, 1e5)?;
    run.report.add("deliveries per second", flips.deliveries as f64 / elapsed, "/s");
    run.report.add_detail("changes per second", flips.flips as f64 / elapsed, "/s");
    run.report.add_detail("reflected to the sender", flips.reflected as f64 / flips.flips.max(1) as f64, "per change");
    run.report.add_latency("until the last contact", &flips.latency);
    bar.finish_and_clear();
    Ok(())
}
