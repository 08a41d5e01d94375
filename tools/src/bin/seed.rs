//! `seed`: test accounts, into a store or as XEP-0227 files. See `seed --help`.

use hearth_tools::seed::{Args, run};
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    match run(&args) {
        Ok(done) => {
            let text = if args.json { done.json() } else { done.sentence() };
            let written = writeln!(std::io::stdout(), "{text}");
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "seed: {why}");
            ExitCode::FAILURE
        }
    }
}
