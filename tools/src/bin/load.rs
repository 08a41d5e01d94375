//! `load`: measures an XMPP server. See `load --help`.

use hearth_tools::load::{Args, Scenario, comparison, run};
use std::io::{Read as _, Write as _};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let text = if args.scenario == Scenario::Table {
        let mut lines = String::new();
        std::io::stdin().read_to_string(&mut lines).map(|_| comparison(&lines)).map_err(|error| (1, error.to_string()))
    } else {
        match run(&args) {
            Ok(report) if args.json => Ok(format!("{}\n", report.json())),
            Ok(report) => Ok(report.table()),
            Err(error) => Err((error.exit_code(), error.to_string())),
        }
    };
    match text {
        Ok(text) => {
            let written = std::io::stdout().write_all(text.as_bytes());
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err((code, why)) => {
            let _ = writeln!(std::io::stderr(), "load: {why}");
            ExitCode::from(code)
        }
    }
}
