//! Many seeds, on every processor there is. What a seed does never depends on the others.

use super::{Failure, Options, Trace, run};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

/// Runs `seeds` of `steps` steps each, `options` making the options of each; `done` hears of every one as it ends.
pub fn sweep(
    seeds: Range<u64>,
    steps: u32,
    options: impl Fn(u64) -> Options + Sync,
    mut done: impl FnMut(Result<Trace, Failure>),
) {
    let next = AtomicU64::new(seeds.start);
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (next, options, send) = (&next, &options, send.clone());
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || send.send(run(seed, steps, options(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        receive.into_iter().for_each(&mut done);
    });
}
