//! `instructions`: what each piece of the hot path takes, beside the stored baseline. See `--help`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a table is what this program is for")]

use argh::FromArgs;
use hearth_benches::{instructions, pieces};
use indicatif::ProgressBar;
use instructions::Counts;
use std::path::PathBuf;
use std::process::ExitCode;

/// Counts the instructions of each piece of the hot path under valgrind (callgrind), and says which moved by more than 3 %
/// since the baseline was stored. Ends with 3 if one takes more.
///
/// Example, a minute or two:
///   cargo run --release -p hearth-benches --bin instructions
#[derive(FromArgs)]
struct Args {
    /// only pieces whose name contains this
    #[argh(option)]
    only: Option<String>,

    /// file of the baseline, default instructions.json of the benches
    #[argh(option, default = "PathBuf::from(env!(\"CARGO_MANIFEST_DIR\")).join(\"instructions.json\")")]
    baseline: PathBuf,

    /// store what was counted as the baseline; other pieces keep theirs
    #[argh(switch)]
    save: bool,

    /// print the figures as JSON instead of a table
    #[argh(switch)]
    json: bool,

    /// run this piece and nothing else: what valgrind is called with
    #[argh(option)]
    run: Option<String>,

    /// with --run: so many times
    #[argh(option, default = "1")]
    calls: u32,
}

fn main() -> ExitCode {
    let args: Args = argh::from_env();
    let done = match &args.run {
        Some(name) if instructions::run(name, args.calls) => return ExitCode::SUCCESS,
        Some(name) => Err(format!("no piece is called {name}")),
        None => all(&args),
    };
    match done {
        Ok(more) if more.is_empty() => ExitCode::SUCCESS,
        Ok(more) => {
            eprintln!("more than 3 % above the baseline: {}; --save if it is meant", more.join(", "));
            ExitCode::from(3)
        }
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Names of the pieces that take more than before.
fn all(args: &Args) -> Result<Vec<String>, String> {
    if cfg!(debug_assertions) {
        return Err("this is a debug build: cargo run --release -p hearth-benches --bin instructions".into());
    }
    let mut wanted = pieces::all();
    wanted.retain(|piece| args.only.as_ref().is_none_or(|only| piece.name.contains(only.as_str())));
    let mut now = Counts { made_with: instructions::made_with(), ..Counts::default() };
    let bar = ProgressBar::new(wanted.len() as u64);
    for piece in &wanted {
        now.pieces.insert(piece.name.to_owned(), instructions::count(piece.name)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let before = match std::fs::read_to_string(&args.baseline) {
        Ok(text) => Counts::parse(&text).map_err(|why| format!("{}: {why}", args.baseline.display()))?,
        Err(error) if args.save && error.kind() == std::io::ErrorKind::NotFound => Counts::default(),
        Err(error) => return Err(format!("{}: {error}; --save makes it", args.baseline.display())),
    };
    if args.json {
        print!("{}", now.json());
    } else {
        print!("{}", instructions::table(&before, &now));
    }
    if args.save {
        let mut stored = Counts { made_with: now.made_with.clone(), pieces: before.pieces };
        if args.only.is_none() {
            stored.pieces.clear();
        }
        stored.pieces.extend(now.pieces);
        std::fs::write(&args.baseline, stored.json()).map_err(|e| format!("{}: {e}", args.baseline.display()))?;
        return Ok(Vec::new());
    }
    if before.made_with != now.made_with {
        eprintln!("note: the baseline is of {}, this is of {}", before.made_with, now.made_with);
    }
    Ok(instructions::more(&before, &now))
}
