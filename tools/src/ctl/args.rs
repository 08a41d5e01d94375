//! The command line.

use super::{Exit, Failure};
use argh::{EarlyExit, FromArgs};
use std::path::PathBuf;

/// Ask a running Hearth, or tell it what to do.
#[derive(FromArgs, Debug)]
#[argh(
    note = "--json, --data and --socket may stand anywhere on the line. Accounts without @DOMAIN are of the server's only domain.",
    example = "Add an account; asks for its password:\n$ {command_name} user add ada@localhost",
    example = "Add one from a script:\n$ {command_name} --json user add grace --generate",
    example = "Who is connected?\n$ {command_name} sessions list",
    error_code(1, "something failed here: a broken connection, an unreadable terminal"),
    error_code(2, "this command line makes no sense"),
    error_code(3, "no core answers on the control socket"),
    error_code(4, "the account exists already"),
    error_code(5, "no such account, session or domain"),
    error_code(6, "the server refused an address or a password"),
    error_code(7, "the server cannot do it now; try again")
)]
pub(super) struct Args {
    /// data folder of the core (default: ./hearth-data); its control.sock is used
    #[argh(option, default = "PathBuf::from(\"./hearth-data\")")]
    data: PathBuf,
    /// the control socket itself, wherever it is
    #[argh(option)]
    socket: Option<PathBuf>,
    /// one line of JSON instead of text, for errors too
    #[argh(switch)]
    #[expect(dead_code, reason = "looked for before parsing, so that errors of parsing know it")]
    json: bool,
    #[argh(subcommand)]
    pub(super) action: Action,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum Action {
    Status(StatusArgs),
    User(UserArgs),
    Sessions(SessionsArgs),
}

/// How the server does.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status")]
pub(super) struct StatusArgs {}

/// Accounts.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "user")]
pub(super) struct UserArgs {
    #[argh(subcommand)]
    pub(super) action: UserAction,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum UserAction {
    Add(UserAdd),
    Password(UserPassword),
    Delete(UserDelete),
    List(UserList),
}

/// Add an account. Asks for its password unless told otherwise.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "add",
    example = "$ {command_name} ada@localhost",
    example = "$ printf %s \"$PASSWORD\" | {command_name} ada@localhost --password-stdin",
    example = "$ {command_name} ada@localhost --generate"
)]
pub(super) struct UserAdd {
    /// name@domain, or just the name
    #[argh(positional)]
    pub(super) account: String,
    /// read the password from standard input, up to the end or the first line break
    #[argh(switch)]
    password_stdin: bool,
    /// make a random password and print it
    #[argh(switch)]
    generate: bool,
}

/// Change an account's password. Its sessions end.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "password", example = "$ {command_name} ada@localhost")]
pub(super) struct UserPassword {
    /// name@domain, or just the name
    #[argh(positional)]
    pub(super) account: String,
    /// read the password from standard input, up to the end or the first line break
    #[argh(switch)]
    password_stdin: bool,
    /// make a random password and print it
    #[argh(switch)]
    generate: bool,
}

/// Delete an account and everything stored of it. Asks first.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "delete", example = "$ {command_name} ada@localhost --yes")]
pub(super) struct UserDelete {
    /// name@domain, or just the name
    #[argh(positional)]
    pub(super) account: String,
    /// do not ask
    #[argh(switch)]
    pub(super) yes: bool,
}

/// List accounts, one on each line.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list", example = "$ {command_name} localhost")]
pub(super) struct UserList {
    /// only of this domain
    #[argh(positional)]
    pub(super) domain: Option<String>,
}

/// Connected clients.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "sessions")]
pub(super) struct SessionsArgs {
    #[argh(subcommand)]
    pub(super) action: SessionsAction,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
pub(super) enum SessionsAction {
    List(SessionsList),
    Kick(SessionsKick),
}

/// List sessions: address, priority (- before initial presence), edge.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list", example = "$ {command_name} ada@localhost")]
pub(super) struct SessionsList {
    /// only of this account
    #[argh(positional)]
    pub(super) account: Option<String>,
}

/// End sessions: one by its full address, or all of an account.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "kick", example = "$ {command_name} ada@localhost/phone")]
pub(super) struct SessionsKick {
    /// name@domain/resource, or name@domain for all its sessions
    #[argh(positional)]
    pub(super) jid: String,
}

/// Where a password comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PasswordSource {
    Prompt,
    Stdin,
    Generate,
}

impl UserAdd {
    pub(super) fn source(&self) -> Result<PasswordSource, Failure> {
        source(self.password_stdin, self.generate)
    }
}

impl UserPassword {
    pub(super) fn source(&self) -> Result<PasswordSource, Failure> {
        source(self.password_stdin, self.generate)
    }
}

fn source(stdin: bool, generate: bool) -> Result<PasswordSource, Failure> {
    match (stdin, generate) {
        (false, false) => Ok(PasswordSource::Prompt),
        (true, false) => Ok(PasswordSource::Stdin),
        (false, true) => Ok(PasswordSource::Generate),
        (true, true) => Err(Failure::new(
            Exit::Usage,
            "--password-stdin and --generate together: which password?",
            "leave one of them out",
        )),
    }
}

impl Args {
    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data.join("control.sock"))
    }
}

/// Parses, after moving the options that may stand anywhere to the front.
pub(super) fn parse(arguments: &[String]) -> Result<Args, EarlyExit> {
    let (mut front, mut rest) = (Vec::new(), Vec::new());
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--json" => front.push(argument),
            "--data" | "--socket" => {
                front.push(argument);
                front.extend(arguments.next());
            }
            "--" => {
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
            assert_eq!(line(text).unwrap().socket(), PathBuf::from("x/control.sock"), "{text}");
        }
        assert_eq!(line("status --socket y").unwrap().socket(), PathBuf::from("y"));
    }

    #[test]
    fn help_and_nonsense() {
        for text in ["--help", "user --help", "user add --help", "sessions kick --help"] {
            let early = line(text).unwrap_err();
            assert!(early.status.is_ok() && early.output.contains("Usage: hearthctl"), "{text}: {}", early.output);
        }
        assert!(line("--help").unwrap_err().output.contains("no core answers"));
        for text in ["", "users", "user add", "user add a b", "--data", "status --frob"] {
            assert!(line(text).unwrap_err().status.is_err(), "{text}");
        }
    }
}
