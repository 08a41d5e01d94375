//! `chaos`: kills a Hearth of its own under clients that count. See `chaos --help`.

use hearth_tools::chaos::{Args, run, serve};
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match serve(&arguments) {
        Some(served) => served.map(|()| ExitCode::SUCCESS),
        None => command(),
    };
    done.unwrap_or_else(|why| {
        let _ = writeln!(std::io::stderr(), "chaos: {why}");
        ExitCode::FAILURE
    })
}

fn command() -> Result<ExitCode, String> {
    let args: Args = argh::from_env();
    if let Err(why) = args.command.check() {
        let _ = writeln!(std::io::stderr(), "chaos: {why}");
        return Ok(ExitCode::from(2));
    }
    let outcome = run(&args.command)?;
    let written = std::io::stdout().write_all(outcome.text.as_bytes());
    Ok(if written.is_ok() && outcome.good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
