//! `load`: measures an XMPP server. See `load --help`.

use hearth_tools::load::{Args, Comparison, Scenario, charts, run};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let text = if args.scenario == Scenario::Table {
        table(&args).map_err(|error| (1, error.to_string()))
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

/// The table of what comes in, and its charts where they are wanted.
fn table(args: &Args) -> io::Result<String> {
    let mut lines = String::new();
    io::stdin().read_to_string(&mut lines)?;
    let comparison = Comparison::parse(&lines);
    if let Some(folder) = &args.plots {
        let write = |(name, svg): (String, String)| std::fs::write(folder.join(name), svg);
        let written =
            std::fs::create_dir_all(folder).and_then(|()| charts(&comparison).into_iter().try_for_each(write));
        written.map_err(|error| io::Error::other(format!("{}: {error}; name another --plots", folder.display())))?;
    }
    Ok(comparison.table())
}
