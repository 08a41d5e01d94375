//! A whole server on one machine: see [`hearth_tools::embedded`].

use std::io;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let exit = hearth_tools::embedded::run(&arguments, &mut io::stdout(), &mut io::stderr());
    ExitCode::from(exit.0)
}
