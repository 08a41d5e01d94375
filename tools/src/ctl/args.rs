//! The command line: what holds for every command. The commands themselves are `line.rs`.

use argh::{EarlyExit, FromArgs};
use std::path::PathBuf;

/// Ask a running Hearth, or tell it what to do.
#[derive(FromArgs, Debug)]
pub(super) struct Args {
    /// data folder of the core (default: ./hearth-data); its control.sock is used
    #[argh(option, default = "PathBuf::from(\"./hearth-data\")")]
    pub(super) data: PathBuf,
    /// the control socket itself, wherever it is
    #[argh(option)]
    socket: Option<PathBuf>,
    /// one line of JSON instead of text, for errors too
    #[argh(switch)]
    #[expect(dead_code, reason = "looked for before parsing, so that errors of parsing know it")]
    json: bool,
    /// the command and what belongs to it
    #[argh(positional, greedy)]
    pub(super) words: Vec<String>,
}

impl Args {
    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data.join("control.sock"))
    }
}

/// Parses, after moving the options that may stand anywhere to the front.
pub(super) fn parse(arguments: &[String]) -> Result<Args, EarlyExit> {
    let (mut front, mut rest) = (Vec::new(), vec!["--"]);
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--json" => front.push(argument),
            "--data" | "--socket" => {
                front.push(argument);
                match arguments.next() {
                    Some(value) => front.push(value),
                    // Nothing may follow that would be taken for its value.
                    None => return Args::from_args(&["hearthctl"], &front),
                }
            }
            "--" => {
                rest.push(argument);
                rest.extend(arguments);
                break;
            }
            other => rest.push(other),
        }
    }
    front.extend(rest);
    Args::from_args(&["hearthctl"], &front)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Args, EarlyExit> {
        parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_stand_anywhere() {
        for text in ["--json --data x user list", "user list --data x --json", "user --data x list"] {
            let args = line(text).unwrap();
            assert_eq!(
                (args.socket(), args.words.join(" ")),
                (PathBuf::from("x/control.sock"), "user list".to_owned())
            );
        }
        assert_eq!(line("status --socket y").unwrap().socket(), PathBuf::from("y"));
        assert_eq!(line("user add -- --json").unwrap().words, ["user", "add", "--", "--json"]);
        assert!(line("--data").is_err());
    }
}
