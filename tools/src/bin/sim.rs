//! `sim`: runs the simulator over seeds.

use hearth_tools::sim::{self, Options, Trace};
use std::process::ExitCode;

/// Run edge, link, shards and store in one deterministic world, seed after seed, and check that
/// nothing is lost, doubled or reordered.
///
/// Example: sim --seeds 10000 --steps 20000
#[derive(argh::FromArgs)]
struct Arguments {
    /// first seed (default 1)
    #[argh(option, default = "1")]
    seed: u64,
    /// how many seeds (default 100)
    #[argh(option, default = "100")]
    seeds: u64,
    /// steps of each (default 20000)
    #[argh(option, default = "20_000")]
    steps: u32,
    /// storage fences nobody: the run must fail
    #[argh(switch)]
    unfenced: bool,
    /// tell what happens, in order
    #[argh(switch)]
    verbose: bool,
    /// lose a delivery now and then: the run must fail
    #[argh(switch)]
    canary: bool,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    let Arguments { seed, seeds, steps, unfenced, verbose, canary } = argh::from_env();
    let style = indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {msg}{elapsed} of {duration}");
    let bar = indicatif::ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| unreachable!("a sound template")));
    let (mut failures, mut total) = (0u64, Trace::default());
    let options = |seed| Options { canary, unfenced, verbose, ..Options::of_seed(seed) };
    sim::sweep(seed..seed.saturating_add(seeds), steps, options, |outcome| {
        match outcome {
            Ok(trace) => total.add(trace),
            Err(failure) => {
                failures += 1;
                bar.set_message(format!("{failures} failed, "));
                bar.suspend(|| eprintln!("{failure}"));
            }
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    print!("{total}");
    println!("{seeds} seeds of {steps} steps, {failures} failed");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
