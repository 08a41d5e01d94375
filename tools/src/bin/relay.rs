//! `relay`: the floor for the load program's chat. See `relay --help`.

use hearth_tools::relay::{Args, Relay};
use std::convert::Infallible;
use std::io::{self, Write as _};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let Err(error) = serve(&args);
    let _ = writeln!(io::stderr(), "relay: {}: {error}", args.listen);
    ExitCode::FAILURE
}

fn serve(args: &Args) -> io::Result<Infallible> {
    let mut relay = Relay::new(args)?;
    loop {
        relay.turn()?;
    }
}
