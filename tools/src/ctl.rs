//! `hearthctl`: the operator's command line. Asks a running core over its control socket, one JSON line
//! there and one back, and says what came of it.

mod args;
mod connection;
mod password;
mod print;

use args::{Action, Args, PasswordSource, SessionsAction, UserAction};
use connection::Core;
use hearth_core::control::{Command, Done, Refused, RefusedKind, Reply, Status};
use std::fmt;
use std::io::Write;

/// What `hearthctl` exits with; `--help` lists them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// The world failed: a broken connection, an unreadable terminal.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// No core answers on the control socket.
    Unreachable = 3,
    Exists = 4,
    NotFound = 5,
    /// The server refused the value: an address, a password.
    BadRequest = 6,
    /// The server cannot do it now.
    Unavailable = 7,
}

/// Accounts asked for at once.
const USERS_PER_PAGE: u32 = 500;
/// Sessions listed at most; more are told apart by `sessions list ACCOUNT`.
const SESSIONS_MAX: u32 = 10_000;

/// Why a command did nothing: what, and what to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure {
    exit: Exit,
    message: String,
    next: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), next: next.into() }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        let exit = match refused.kind {
            RefusedKind::BadRequest => Exit::BadRequest,
            RefusedKind::Exists => Exit::Exists,
            RefusedKind::NotFound => Exit::NotFound,
            RefusedKind::Unavailable => Exit::Unavailable,
        };
        Failure::new(exit, refused.message, refused.next)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hearthctl: {}\n  next: {}", self.message, self.next)
    }
}

/// Runs the command line `arguments` (without the program's name).
pub fn run(arguments: &[String], out: &mut dyn Write, errors: &mut dyn Write) -> Exit {
    let json = arguments.iter().any(|argument| argument == "--json");
    let done = match args::parse(arguments) {
        Ok(args) => act(&args),
        Err(early) => {
            // What was asked for goes to standard output, what was got wrong does not.
            let text = early.output.trim_end();
            if early.status.is_ok() {
                let _ = writeln!(out, "{text}");
                return Exit::Done;
            }
            if json {
                let failure = Failure::new(Exit::Usage, text.replace('\n', " "), "see hearthctl --help");
                let _ = writeln!(out, "{}", print::failure_json(&failure));
            } else {
                let _ = writeln!(errors, "hearthctl: {text}\n  next: see hearthctl --help");
            }
            return Exit::Usage;
        }
    };
    match done {
        Ok(said) => {
            let text = if json { said.json() } else { said.text() };
            // Nobody may be reading any more (`hearthctl user list | head -1`).
            let _ = write!(out, "{text}").and_then(|()| out.flush());
            Exit::Done
        }
        Err(failure) if json => {
            let _ = writeln!(out, "{}", print::failure_json(&failure));
            failure.exit
        }
        Err(failure) => {
            let _ = writeln!(errors, "{failure}");
            failure.exit
        }
    }
}

/// What a command came to.
enum Said {
    Status(Status),
    Users(Vec<String>),
    Sessions(Vec<hearth_core::control::SessionInfo>),
    /// One thing was done to one account or session; a password if one was made.
    Account {
        account: String,
        what: &'static str,
        password: Option<String>,
    },
    Kicked {
        jid: String,
        sessions: u64,
    },
}

fn act(args: &Args) -> Result<Said, Failure> {
    let core = Core::find(args.socket())?;
    match &args.action {
        Action::Status(_) => status(&core).map(Said::Status),
        Action::User(user) => user_action(&core, &user.action),
        Action::Sessions(sessions) => match &sessions.action {
            SessionsAction::List(list) => {
                let command = Command::SessionsList { account: list.account.clone(), limit: SESSIONS_MAX };
                match core.ask(&command)? {
                    Done::Sessions(sessions) => Ok(Said::Sessions(sessions)),
                    other => Err(odd(&other)),
                }
            }
            SessionsAction::Kick(kick) => match core.ask(&Command::SessionsKick { jid: kick.jid.clone() })? {
                Done::Kicked { sessions: 0 } => {
                    let message = format!("{} has no session", kick.jid);
                    Err(Failure::new(Exit::NotFound, message, "see `hearthctl sessions list`"))
                }
                Done::Kicked { sessions } => Ok(Said::Kicked { jid: kick.jid.clone(), sessions }),
                other => Err(odd(&other)),
            },
        },
    }
}

fn user_action(core: &Core, action: &UserAction) -> Result<Said, Failure> {
    match action {
        UserAction::Add(add) => {
            let account = full_account(core, &add.account)?;
            let (password, made) = choose_password(&account, &add.source()?)?;
            done(core.ask(&Command::UserAdd { account: account.clone(), password })?)?;
            Ok(Said::Account { account, what: "added", password: made })
        }
        UserAction::Password(change) => {
            let account = full_account(core, &change.account)?;
            let (password, made) = choose_password(&account, &change.source()?)?;
            done(core.ask(&Command::UserPassword { account: account.clone(), password })?)?;
            Ok(Said::Account { account, what: "password changed", password: made })
        }
        UserAction::Delete(delete) => {
            let account = full_account(core, &delete.account)?;
            if !delete.yes && !password::confirm(&format!("Delete {account} and everything stored of it?"))? {
                return Err(Failure::new(Exit::Usage, "nothing deleted", "answer y, or give --yes"));
            }
            done(core.ask(&Command::UserDelete { account: account.clone() })?)?;
            Ok(Said::Account { account, what: "deleted", password: None })
        }
        UserAction::List(list) => {
            let domains = match &list.domain {
                Some(domain) => vec![domain.clone()],
                None => status(core)?.domains,
            };
            let mut users = Vec::new();
            for domain in domains {
                list_domain(core, &domain, &mut users)?;
            }
            Ok(Said::Users(users))
        }
    }
}

fn list_domain(core: &Core, domain: &str, users: &mut Vec<String>) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let command = Command::UserList { domain: domain.to_owned(), after, limit: USERS_PER_PAGE };
        let page = match core.ask(&command)? {
            Done::Users(page) => page,
            other => return Err(odd(&other)),
        };
        after = page.last().cloned();
        users.extend(page);
        if after.is_none() {
            return Ok(());
        }
    }
}

fn status(core: &Core) -> Result<Status, Failure> {
    match core.ask(&Command::Status {})? {
        Done::Status(status) => Ok(status),
        other => Err(odd(&other)),
    }
}

fn done(done: Done) -> Result<(), Failure> {
    if matches!(done, Done::Done {}) { Ok(()) } else { Err(odd(&done)) }
}

fn odd(done: &Done) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("the core answered something else: {done:?}"),
        "use the hearthctl of its release",
    )
}

/// An account as typed: without a domain it is of the only one there is.
fn full_account(core: &Core, typed: &str) -> Result<String, Failure> {
    if typed.contains('@') {
        return Ok(typed.to_owned());
    }
    let domains = status(core)?.domains;
    match domains.as_slice() {
        [only] => Ok(format!("{typed}@{only}")),
        _ => {
            let message = format!("{typed} of which domain? The server has {}", domains.join(", "));
            Err(Failure::new(Exit::Usage, message, format!("write {typed}@DOMAIN")))
        }
    }
}

/// The password, and again if it was made here and must be shown.
fn choose_password(account: &str, source: &PasswordSource) -> Result<(String, Option<String>), Failure> {
    match source {
        PasswordSource::Prompt => password::prompt(account).map(|password| (password, None)),
        PasswordSource::Stdin => password::from_stdin().map(|password| (password, None)),
        PasswordSource::Generate => password::generate().map(|password| (password.clone(), Some(password))),
    }
}
