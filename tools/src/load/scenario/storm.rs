//! The reconnect storm: all but those who chat lose their sockets at one moment and come back at once, as after a
//! network's outage. Connected users should hardly notice.

use super::beside::Beside;
use super::{Run, progress};
use crate::load::error::LoadError;
use crate::load::event::Event;
use crate::load::histogram::Histogram;
use std::time::{Duration, Instant};

/// How long everybody's return may take.
const RETURN_MAX: Duration = Duration::from_secs(300);

/// Connections cut, or begun, before the program looks at what else there is.
const AT_ONCE: usize = 32;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let mut beside = Beside::new(run)?;
    let others = beside.others(run);
    run.report.title =
        format!("{}, {} come back beside {} who chat", run.report.title, others.len(), beside.users().len());
    run.log_in(run.users(), |_| {})?;
    run.settle(|_| {})?;
    beside.start();
    beside.phase(run, "before", run.args.seconds)?;

    let meter = run.meter()?;
    let bar = progress("coming back", others.len() as u64);
    let (began, mut back, mut logins) = (Instant::now(), 0_u64, Histogram::default());
    let (mut cut, mut begun) = (others.clone(), others.clone());
    while back < others.len() as u64 {
        if began.elapsed() > RETURN_MAX {
            return Err(LoadError::OutOfTime { phase: "coming back" });
        }
        // All at one moment, as far as one thread can that also takes in what comes for those who chat.
        cut.by_ref().take(AT_ONCE).for_each(|user| run.net.cut(user));
        let left = cut.is_empty();
        for user in begun.by_ref().take(if left { AT_ONCE } else { 0 }) {
            run.net.begin(user)?;
        }
        let more = if begun.is_empty() { Duration::from_millis(100) } else { Duration::ZERO };
        beside.turn(run, Instant::now() + more, |run, event| {
            match event {
                Event::Ready { took, .. } => {
                    back += 1;
                    logins.record(took);
                    bar.inc(1);
                }
                // Refused for now: it tries again, as clients do.
                Event::Closed { user, online: false } => run.net.begin(user)?,
                _ => {}
            }
            Ok(())
        })?;
    }
    bar.finish_and_clear();
    run.report.add("all back after", began.elapsed().as_secs_f64(), "s");
    run.report_cpu("CPU per 1,000 logins", &meter, back, 1e3)?;
    run.report.add_latency("login", &logins);
    beside.report(run, "meanwhile");
    beside.phase(run, "afterwards", run.args.seconds)?;
    beside.end(run)?;
    run.require_online(others)
}
