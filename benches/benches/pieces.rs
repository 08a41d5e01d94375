//! Each piece of the hot path, in nanoseconds and allocations: `cargo bench -p hearth-benches --bench pieces`. A word
//! behind `--` takes the pieces whose name contains it; `--json` prints a line for each. Without `--bench`, as `cargo
//! test` calls it, each runs a few times. Times are those of the least disturbed of many rounds on one thread.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

use hearth_benches::counting::{Counting, allocations};
use hearth_benches::pieces::{self, Work};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 30;
const ROUND: Duration = Duration::from_millis(5);
/// A multiple of what pieces do only every so many calls.
const CALLS: u32 = 400;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let (measure, json) = (has("--bench"), has("--json"));
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    for piece in pieces::all().iter().filter(|piece| only.is_none_or(|only| piece.name.contains(only))) {
        let mut work = (piece.make)();
        (0..pieces::WARM_UP).for_each(|_| work());
        if !measure {
            continue;
        }
        let before = allocations();
        (0..CALLS).for_each(|_| work());
        let allocated = (allocations() - before) as f64 / f64::from(CALLS);
        let ns = nanoseconds(&mut work);
        if json {
            println!("{}", serde_json::json!({"piece": piece.name, "ns": ns, "allocations": allocated}));
        } else {
            println!("{:<48} {ns:>9.0} ns {allocated:>8.2} allocations", piece.name);
        }
    }
}

fn nanoseconds(work: &mut Work) -> f64 {
    let mut calls = CALLS;
    while time(work, calls) < ROUND {
        calls *= 2;
    }
    let best = (0..ROUNDS).map(|_| time(work, calls)).min().unwrap_or_default();
    best.as_secs_f64() * 1e9 / f64::from(calls)
}

fn time(work: &mut Work, calls: u32) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| work());
    start.elapsed()
}
