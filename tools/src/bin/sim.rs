//! `sim`: runs the simulator over seeds.

use hearth_tools::sim::{self, Options};
use std::process::ExitCode;

/// Run edge, link, shards and store in one deterministic world, seed after seed, and check that
/// nothing is lost, doubled or reordered.
///
/// Example: sim --seeds 100 --steps 5000
#[derive(argh::FromArgs)]
struct Arguments {
    /// first seed (default 1)
    #[argh(option, default = "1")]
    seed: u64,
    /// how many seeds (default 100)
    #[argh(option, default = "100")]
    seeds: u64,
    /// steps of each (default 5000)
    #[argh(option, default = "5000")]
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
    let arguments: Arguments = argh::from_env();
    let bar = indicatif::ProgressBar::new(arguments.seeds);
    let (mut failures, mut total) = (0u64, sim::Trace::default());
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let options = Options {
            canary: arguments.canary,
            unfenced: arguments.unfenced,
            verbose: arguments.verbose,
            ..Options::of_seed(seed)
        };
        match sim::run(seed, arguments.steps, options) {
            Ok(trace) => {
                total.sessions += trace.sessions;
                total.messages_settled += trace.messages_settled;
                total.messages_delivered += trace.messages_delivered;
                total.iqs_answered += trace.iqs_answered;
                total.links_lost += trace.links_lost;
                total.edges_lost += trace.edges_lost;
                total.slots_moved += trace.slots_moved;
                total.fenced += trace.fenced;
            }
            Err(failure) => {
                failures += 1;
                bar.suspend(|| eprintln!("{failure}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!(
        "{} seeds, {failures} failed; {} sessions, {} messages settled, {} deliveries, {} iqs answered, {} links lost, {} edges lost, \
         {} slots moved, {} questions fenced",
        arguments.seeds,
        total.sessions,
        total.messages_settled,
        total.messages_delivered,
        total.iqs_answered,
        total.links_lost,
        total.edges_lost,
        total.slots_moved,
        total.fenced
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
