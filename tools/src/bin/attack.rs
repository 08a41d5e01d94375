//! `attack`: one attack on an XMPP server, and what it costs. See `attack --help`.

use hearth_tools::attack::{Args, Attack, run, table};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let text = if args.attack == Attack::Table {
        let mut lines = String::new();
        io::stdin().read_to_string(&mut lines).map(|_| table(&lines)).map_err(|error| (1, error.to_string()))
    } else {
        run(&args).map(|line| line + "\n").map_err(|error| (error.exit_code(), error.to_string()))
    };
    match text.and_then(|text| io::stdout().write_all(text.as_bytes()).map_err(|error| (1, error.to_string()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            let _ = writeln!(io::stderr(), "attack: {why}");
            ExitCode::from(code)
        }
    }
}
