//! Rosters through the protocol: mutual subscriptions (RFC 6121 §3.1) within closed groups of `--contacts` + 1.
//!
//! Groups are done in waves; who has its contacts already is left alone, so a run can be repeated.

use super::{Run, progress};
use crate::load::error::LoadError;
use crate::load::event::Event;
use std::collections::HashSet;
use std::io::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Users online at once while their rosters are made, about.
const WAVE_USERS: u32 = 260;

/// After so long without an answer both sides ask (again) for what is missing.
const ASK_AGAIN: Duration = Duration::from_secs(3);

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let size = run.args.contacts + 1;
    let groups = run.args.users / size;
    if groups == 0 {
        return Err(LoadError::Usage(format!("--users must be at least {size}, a user and its contacts")));
    }
    run.report.title = format!("rosters of {} users, {} contacts each", groups * size, run.args.contacts);
    let first = run.args.first_user;
    let bar = progress("befriending", u64::from(groups));
    let per_wave = (WAVE_USERS / size).max(1);
    let started = Instant::now();
    let mut made = 0;
    for start in (0..groups).step_by(per_wave as usize) {
        let end = groups.min(start + per_wave);
        made += wave(run, first + start * size..first + end * size, size)?;
        bar.set_position(u64::from(end));
    }
    bar.finish_and_clear();
    run.report.add("subscriptions made", made as f64, "pairs");
    run.report.add("rate", made as f64 / started.elapsed().as_secs_f64(), "pairs/s");
    Ok(())
}

/// Makes everyone in each of these groups a friend of the others; returns how many pairs were missing.
fn wave(run: &mut Run<'_>, users: Range<u32>, size: u32) -> Result<usize, LoadError> {
    let mut friends = HashSet::new();
    run.log_in(users.clone(), |event| note(&mut friends, event))?;
    run.settle(|event| note(&mut friends, event))?;

    let first = users.start;
    let group_of = move |user: u32| first + (user - first) / size * size;
    let pairs = move |user: u32| (group_of(user)..group_of(user) + size).map(move |contact| (user, contact));
    let mut missing: HashSet<(u32, u32)> =
        users.clone().flat_map(pairs).filter(|pair| pair.0 != pair.1 && !friends.contains(pair)).collect();
    let count = missing.len() / 2;
    let mut asked: HashSet<(u32, u32)> = missing.iter().copied().filter(|(user, contact)| user < contact).collect();
    for (user, contact) in &asked {
        ask(run, *user, *contact, "subscribe");
    }
    run.net.last_arrival = Instant::now();
    let mut asked_at = Instant::now();
    while !missing.is_empty() {
        run.turn_awaiting("waiting for subscriptions")?;
        for event in std::mem::take(&mut run.events) {
            match event {
                Event::Subscribe { user, from } => {
                    ask(run, user, from, "subscribed");
                    if asked.insert((user, from)) {
                        ask(run, user, from, "subscribe");
                    }
                }
                Event::Contact { user, contact, both: true } => {
                    missing.remove(&(user, contact));
                }
                _ => {}
            }
        }
        if asked_at.max(run.net.last_arrival).elapsed() > ASK_AGAIN {
            asked_at = Instant::now();
            for (user, contact) in &missing {
                ask(run, *user, *contact, "subscribe");
            }
        }
    }
    for user in users {
        run.net.end(user);
    }
    while run.net.open() > 0 {
        run.turn_awaiting("logging out")?;
        run.events.clear();
    }
    Ok(count)
}

fn note(friends: &mut HashSet<(u32, u32)>, event: Event) {
    if let Event::Contact { user, contact, both: true } = event {
        friends.insert((user, contact));
    }
}

fn ask(run: &mut Run<'_>, user: u32, contact: u32, kind: &str) {
    let domain = run.args.domain.as_str();
    run.net.send(user, |out| {
        let _ = write!(out, "<presence to='user{contact}@{domain}' type='{kind}'/>");
    });
}
