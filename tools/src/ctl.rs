//! `hearthctl`: the operator's command line. Asks a running core over its control socket, one JSON line
//! there and one back, and says what came of it.

mod args;
mod complete;
mod connection;
mod dns;
mod help;
mod line;
mod out_file;
mod password;
mod print;
mod progress;
mod restore;

use args::Args;
use connection::Core;
use hearth_core::commands::{Arguments, Command, Done, Kind, Refused, RefusedKind, Rows, Run, Shape};
use hearth_core::control::Request;
use line::{Invocation, Line, SecretSource};
use out_file::OutFile;
use progress::Bar;
use serde_json::{Map, Value as Json};
use std::fmt;
use std::io::Write;
use std::path::Path;

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
    let as_json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    if let [flag, line] = arguments
        && flag == "--complete"
    {
        for candidate in complete::candidates(line, &|kind| known_names(line, kind)) {
            let _ = writeln!(out, "{candidate}");
        }
        return Exit::Done;
    }
    match read(arguments).and_then(|(line, args)| match line {
        Line::Help(text) => {
            // Nobody may be reading any more, here and below (`hearthctl user list | head -1`).
            let _ = write!(out, "{text}");
            Ok(())
        }
        Line::Run(invocation) => act(invocation, &args, as_json, out),
    }) {
        Ok(()) => {
            let _ = out.flush();
            Exit::Done
        }
        Err(failure) if as_json => {
            let _ = writeln!(out, "{}", print::failure_json(&failure));
            failure.exit
        }
        Err(failure) => {
            let _ = writeln!(errors, "{failure}");
            failure.exit
        }
    }
}

fn read(arguments: &[String]) -> Result<(Line, Args), Failure> {
    let args = args::parse(arguments).map_err(|early| {
        let message = early.output.trim_end().replace('\n', " ");
        Failure::new(Exit::Usage, message, "see hearthctl --help")
    })?;
    Ok((line::parse(&args.words)?, args))
}

/// Runs one command and prints what came of it.
fn act(line: Invocation, args: &Args, as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let Invocation { command, mut parameters, secret, yes } = line;
    complete_folders(command, &mut parameters)?;
    if let Run::Here = command.run {
        return here(command, &parameters, &args.data, as_json, out);
    }
    // Before anything is asked of the operator.
    let core = Core::find(args.socket())?;
    complete_accounts(&core, command, &mut parameters)?;
    if let Some(question) = command.confirm.filter(|_| !yes)
        && !password::confirm(&filled(question, &parameters))?
    {
        return Err(Failure::new(Exit::Usage, "nothing was done", "answer y, or give --yes"));
    }
    let mut made = None;
    if let Some(parameter) = command.parameters.iter().find(|parameter| parameter.kind == Kind::Secret) {
        let value = match secret {
            SecretSource::Prompt => password::prompt(&subject(command, &parameters))?,
            SecretSource::Stdin => password::from_stdin()?,
            SecretSource::Generate => made.insert(password::generate()?).clone(),
        };
        parameters.insert(parameter.name.to_owned(), Json::from(value));
    }
    let file = OutFile::reserve(command, &mut parameters)?;
    let mut request = Request::new(command.name, parameters);
    let mut table = None;
    let mut bar = Bar::new(as_json);
    loop {
        match (core.ask_long(&request, &mut |progress| bar.show(progress))?, command.result) {
            (Done::Did(mut did), Shape::Did(_)) => {
                bar.clear();
                OutFile::fill(file, &mut did)?;
                let _ = write!(out, "{}", print::did(command, &did, made.as_deref(), as_json));
                return Ok(());
            }
            (Done::Record(record), Shape::Record(fields)) => {
                let _ = write!(out, "{}", print::record(fields, &record, as_json));
                return Ok(());
            }
            (Done::Rows(Rows { rows, next }), Shape::Rows(fields)) => {
                let table = table.get_or_insert_with(|| print::Table::new(fields, as_json));
                let _ = table.page(&rows, out);
                request.after = next;
                if request.after.is_none() {
                    let _ = table.end(out);
                    return Ok(());
                }
            }
            (other, _) => return Err(odd(&other)),
        }
    }
}

/// A command that needs no core.
fn here(
    command: &'static Command,
    parameters: &Map<String, Json>,
    data: &Path,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let arguments = Arguments::parse(command, parameters)?;
    let (rows, right) = match command.name {
        "completion" => {
            let _ = write!(out, "{}", complete::script(arguments.text("shell")?)?);
            return Ok(());
        }
        "restore" => {
            let did = restore::run(&arguments, data, Bar::new(as_json))?;
            let _ = write!(out, "{}", print::did(command, &did, None, as_json));
            return Ok(());
        }
        "dns" => dns::run(&arguments)?,
        other => return Err(Failure::new(Exit::Failed, format!("`{other}` is not in this hearthctl"), "report this")),
    };
    if let Shape::Rows(fields) = command.result {
        let mut table = print::Table::new(fields, as_json);
        let _ = table.page(&rows, out).and_then(|()| table.end(out));
    }
    if right {
        return Ok(());
    }
    let message = "not every record is right";
    Err(Failure::new(Exit::NotFound, message, "put the lines above into the domain's zone, and ask again in a while"))
}

/// Domains or accounts, for completion of a line: none if no core answers.
fn known_names(line: &str, kind: Kind) -> Vec<String> {
    let words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
    let Ok(core) = args::parse(&words).map_err(|_| ()).and_then(|args| Core::find(args.socket()).map_err(|_| ()))
    else {
        return Vec::new();
    };
    let (command, field) = if kind == Kind::Domain { ("domain list", "domain") } else { ("user list", "account") };
    let Ok(Done::Rows(page)) = core.ask(&Request::new(command, Map::new())) else { return Vec::new() };
    page.rows.iter().filter_map(|row| row.get(field).and_then(Json::as_str).map(str::to_owned)).collect()
}

/// What a command is about: its first parameter.
fn subject(command: &Command, parameters: &Map<String, Json>) -> String {
    let first = command.parameters.first().and_then(|parameter| parameters.get(parameter.name));
    first.and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// A question with the parameters it names.
fn filled(question: &str, parameters: &Map<String, Json>) -> String {
    let fill = |text: String, (name, value): (&String, &Json)| {
        text.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default())
    };
    parameters.iter().fold(question.to_owned(), fill)
}

/// Folders as typed: below the working directory, which the core does not share.
fn complete_folders(command: &Command, parameters: &mut Map<String, Json>) -> Result<(), Failure> {
    for parameter in command.parameters.iter().filter(|parameter| parameter.kind == Kind::Folder) {
        let Some(Json::String(typed)) = parameters.get_mut(parameter.name) else { continue };
        let absolute = std::path::absolute(&*typed).ok().and_then(|path| path.to_str().map(str::to_owned));
        *typed = absolute.ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{typed:?} is no path"), "write it from / on, as UTF-8 text")
        })?;
    }
    Ok(())
}

/// Accounts as typed: without a domain they are of the only one there is.
fn complete_accounts(core: &Core, command: &Command, parameters: &mut Map<String, Json>) -> Result<(), Failure> {
    for parameter in command.parameters.iter().filter(|parameter| parameter.kind == Kind::Account) {
        let Some(Json::String(typed)) = parameters.get_mut(parameter.name) else { continue };
        if typed.contains('@') {
            continue;
        }
        let domains = domains(core)?;
        match domains.as_slice() {
            [only] => *typed = format!("{typed}@{only}"),
            _ => {
                let message = format!("{typed} of which domain? The server has {}", domains.join(", "));
                return Err(Failure::new(Exit::Usage, message, format!("write {typed}@DOMAIN")));
            }
        }
    }
    Ok(())
}

fn domains(core: &Core) -> Result<Vec<String>, Failure> {
    match core.ask(&Request::new("status", Map::new()))? {
        Done::Record(status) => {
            let domains = status.get("domains").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            Ok(domains.iter().filter_map(Json::as_str).map(str::to_owned).collect())
        }
        other => Err(odd(&other)),
    }
}

fn odd(done: &Done) -> Failure {
    let message = format!("the core answered something else: {done:?}");
    Failure::new(Exit::Failed, message, "use the hearthctl of its release")
}
