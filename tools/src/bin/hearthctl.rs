//! The operator's command line: see [`hearth_tools::ctl`].

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let exit = hearth_tools::ctl::run(&arguments, &mut io::stdout().lock(), &mut io::stderr().lock());
    ExitCode::from(exit as u8)
}
