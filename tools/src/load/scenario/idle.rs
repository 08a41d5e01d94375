//! What an idle session costs in memory: the slope of the processes' PSS between two numbers of sessions, each
//! of which has exchanged a message and then rested.

use super::{Run, body_of, progress, write_message};
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::probe::Memory;
use std::ops::Range;

/// Messages under way while every session gets its one: enough to keep the server busy, few enough that no
/// queue grows and stays.
const UNDER_WAY: usize = 32;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let first = run.args.first_user;
    // Pairs stay whole.
    let low = first + (run.args.from & !1);
    let high = first + (run.args.to.unwrap_or(run.args.users) & !1);
    let rosters = if run.args.roster { ", rosters loaded" } else { "" };
    run.report.title = format!("{}, {} to {} sessions{rosters}", run.report.title, low - first, high - first);
    let empty = run.args.pids.memory()?;
    let at_low = fill(run, first..low)?;
    let at_high = fill(run, low..high)?;
    run.require_online(first..high)?;

    let sessions = f64::from(high - low);
    let slope: Vec<f64> = at_high.bytes.iter().zip(&at_low.bytes).map(|(high, low)| (high - low) / sessions).collect();
    let mebibytes = |memory: &Memory| memory.bytes.iter().map(|bytes| bytes / 1048576.0).collect::<Vec<_>>();
    run.report.add_costs("PSS before the first login", &run.args.pids, &mebibytes(&empty), "MiB");
    run.report.add_costs("PSS at the end", &run.args.pids, &mebibytes(&at_high), "MiB");
    run.report.add_costs("PSS per session", &run.args.pids, &slope, "B");
    Ok(())
}

/// Logs these users in, has each send a message and get one, waits, and reads the memory.
fn fill(run: &mut Run<'_>, users: Range<u32>) -> Result<Memory, LoadError> {
    run.log_in(users.clone(), |_| {})?;
    run.settle(|_| {})?;
    exchange(run, users)?;
    run.rest(run.args.wait, "resting")?;
    run.args.pids.memory()
}

fn exchange(run: &mut Run<'_>, users: Range<u32>) -> Result<(), LoadError> {
    let bar = progress("exchanging", users.len() as u64);
    let body = body_of(run.args.body);
    let domain = run.net.domain().to_owned();
    let first = run.args.first_user;
    let mut awaited = users.len();
    let mut senders = users;
    let mut send = |run: &mut Run<'_>| {
        if let Some(user) = senders.next() {
            let partner = first + ((user - first) ^ 1);
            run.net.send(user, |out| write_message(out, partner, &domain, user.into(), &body));
        }
    };
    for _ in 0..UNDER_WAY {
        send(run);
    }
    while awaited > 0 {
        run.turn_awaiting("exchanging one message each")?;
        for event in std::mem::take(&mut run.events) {
            match event {
                Event::Message { .. } => {
                    awaited -= 1;
                    bar.inc(1);
                    send(run);
                }
                Event::Refused { user } => {
                    return Err(LoadError::Protocol(format!("the message to user{user}'s partner was refused")));
                }
                _ => {}
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}
