//! Passwords: asked for without echo, read from a pipe, or made.

use super::{Exit, Failure};
use aws_lc_rs::rand;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

/// Letters and digits that nobody mistakes for one another, 32 of them: five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 100 bits, out of reach of guessing.
const MADE_CHARS: usize = 20;
/// Longer is no password that somebody typed.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// A random password.
pub(super) fn generate() -> Result<String, Failure> {
    let mut random = [0; MADE_CHARS];
    rand::fill(&mut random)
        .map_err(|_| Failure::new(Exit::Failed, "no random numbers from the system", "choose a password yourself"))?;
    Ok(random.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)).map(|c| char::from(*c))).collect())
}

/// Standard input up to its end or the first line break.
pub(super) fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|e| Failure::new(Exit::Failed, format!("standard input: {e}"), "give the password as UTF-8 text"))?;
    let line = text.lines().next().unwrap_or_default();
    not_empty(line.to_owned())
}

/// Asks twice on the terminal, without echo.
pub(super) fn prompt(account: &str) -> Result<String, Failure> {
    let terminal = terminal().map_err(|_| {
        let next = "give --password-stdin, or --generate to have one made";
        Failure::new(Exit::Usage, "there is no terminal to ask for a password on", next)
    })?;
    let failed = |e: io::Error| Failure::new(Exit::Failed, format!("terminal: {e}"), "give --password-stdin");
    let first = ask(&terminal, &format!("Password for {account}: ")).map_err(failed)?;
    let again = ask(&terminal, "Again: ").map_err(failed)?;
    if first != again {
        return Err(Failure::new(Exit::Usage, "the two passwords differ; nothing was changed", "try again"));
    }
    not_empty(first)
}

/// Asks a question to be answered with y. Without a terminal nobody can answer.
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    let nobody = || Failure::new(Exit::Usage, format!("{question} There is no terminal to ask on"), "give --yes");
    if !io::stdin().is_terminal() {
        return Err(nobody());
    }
    let mut terminal = terminal().map_err(|_| nobody())?;
    write!(terminal, "{question} [y/N] ").map_err(|_| nobody())?;
    let mut answer = String::new();
    BufReader::new(&terminal).read_line(&mut answer).map_err(|_| nobody())?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn not_empty(password: String) -> Result<String, Failure> {
    if password.is_empty() {
        return Err(Failure::new(Exit::Usage, "the password is empty", "give one of at least one character"));
    }
    Ok(password)
}

fn terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

fn ask(mut terminal: &File, question: &str) -> io::Result<String> {
    write!(terminal, "{question}")?;
    let _quiet = Quiet::new(terminal)?;
    let mut line = String::new();
    BufReader::new(terminal.take(PASSWORD_BYTES_MAX)).read_line(&mut line)?;
    writeln!(terminal)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// While it lives the terminal shows nothing of what is typed.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Quiet<'a>> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_passwords_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert!(one != two && one.len() == MADE_CHARS && one.bytes().all(|b| ALPHABET.contains(&b)), "{one} {two}");
    }
}
