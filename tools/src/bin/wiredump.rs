//! `wiredump`: a link byte stream, readable. See `wiredump --help`.

use hearth_tools::wiredump::{Args, Dump};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::process::ExitCode;

/// Some bytes were not a frame.
const EXIT_BROKEN: u8 = 1;
/// There was nothing to read, or nowhere to write.
const EXIT_INPUT: u8 = 2;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BROKEN),
        Err(why) => {
            let _ = writeln!(io::stderr(), "wiredump: {why}");
            ExitCode::from(EXIT_INPUT)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    let direction = args.direction().ok_or("say which way the frames went: --to-core or --to-edge")?;
    let mut input: Box<dyn Read> = match args.file.as_deref() {
        None | Some("-") => Box::new(io::stdin().lock()),
        Some(path) => Box::new(File::open(path).map_err(|error| format!("open {path}: {error}"))?),
    };
    let mut output = BufWriter::new(io::stdout().lock());
    match Dump::new(direction, args).run(&mut input, &mut output) {
        // Whoever reads has seen enough (`wiredump … | head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        dumped => dumped.map_err(|error| format!("read or write: {error}")),
    }
}
