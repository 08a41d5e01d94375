//! Slow readers: of all but those who chat, some stop to read and as many flood them. Those who chat should
//! not notice, and the server's memory stays bounded.

use super::beside::Beside;
use super::{Run, body_of, write_message};
use crate::load::error::LoadError;
use crate::load::event::Event;
use std::time::{Duration, Instant};

/// Messages that a flooder sends at once, every [`PAUSE`], unless the last ones still wait in its own socket: then the
/// server does not let it.
const BURST: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Numbers of the flood's messages begin here, so that none is taken for one of the chat.
const FLOOD: u64 = 1 << 48;

pub(super) fn run(run: &mut Run<'_>) -> Result<(), LoadError> {
    let mut beside = Beside::new(run)?;
    let others = beside.others(run);
    let slow = others.start..others.start + (u32::try_from(others.len()).unwrap_or(0) / 2).min(run.args.slow);
    let shift = u32::try_from(slow.len()).unwrap_or(0);
    if slow.is_empty() {
        return Err(LoadError::Usage("--users must be at least 6: some chat, some flood, some are slow".into()));
    }
    run.report.title =
        format!("{}, {} slow readers beside {} who chat", run.report.title, slow.len(), beside.users().len());
    run.log_in(run.users(), |_| {})?;
    run.settle(|_| {})?;
    beside.start();
    beside.phase(run, "before", run.args.seconds)?;
    let before = memory(run)?;

    slow.clone().for_each(|user| run.net.stall(user, true));
    let (body, domain) = (body_of(run.args.body), run.net.domain().to_owned());
    let (mut flooded, mut refused, mut ended, mut most) = (0_u64, 0_u64, 0_u64, before);
    let end = Instant::now() + Duration::from_secs(run.args.seconds);
    let (mut look, mut burst) = (Instant::now(), Instant::now());
    while Instant::now() < end {
        let due = burst <= Instant::now();
        burst = if due { Instant::now() + PAUSE } else { burst };
        for user in slow.clone().filter(|_| due) {
            if run.net.waiting(user + shift) > 0 {
                continue;
            }
            for _ in 0..BURST {
                flooded += 1;
                run.net.send(user + shift, |out| write_message(out, user, &domain, FLOOD + flooded, &body));
            }
        }
        beside.turn(run, Instant::now() + Duration::from_millis(5), |_, event| {
            match event {
                Event::Refused { .. } => refused += 1,
                Event::Closed { online: true, .. } => ended += 1,
                _ => {}
            }
            Ok(())
        })?;
        if look.elapsed() > Duration::from_secs(1) {
            (most, look) = (most.max(memory(run)?), Instant::now());
        }
    }
    run.report.add("flooded", flooded as f64, "messages");
    run.report.add("refused", refused as f64, "messages");
    run.report.add("slow readers ended", ended as f64, "");
    run.report.add("PSS before", before, "MiB");
    run.report.add("PSS at most", most, "MiB");
    beside.report(run, "meanwhile");
    slow.for_each(|user| run.net.stall(user, false));
    beside.phase(run, "afterwards", run.args.seconds)?;
    beside.end(run)
}

/// Of the server's processes together, MiB.
fn memory(run: &Run<'_>) -> Result<f64, LoadError> {
    Ok(run.args.pids.memory()?.bytes.iter().sum::<f64>() / 1048576.0)
}
