//! `seed`: test accounts straight into a store. See `seed --help`.

use hearth_tools::seed::{Args, run};
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    match run(&args) {
        Ok(done) => {
            let _ = writeln!(
                std::io::stdout(),
                "{} accounts, {} roster items in {:.1} s",
                done.accounts,
                done.roster_items,
                done.took.as_secs_f64()
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "seed: {why}");
            ExitCode::FAILURE
        }
    }
}
