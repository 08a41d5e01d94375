//! Transcripts: what clients say and hear, as readable files, played against any server that speaks.
//!
//! ```text
//! # RFC 6121 §2.3: a roster set is answered, and pushed to interested resources only
//! desk: ada@example.org/desk (interested)    phone: ada@example.org/phone
//!
//! desk  > <iq type='set' id='s1'><query xmlns='jabber:iq:roster'><item jid='grace@example.org'/></query></iq>
//! desk  < <iq type='result' id='s1'/>
//! desk  < <iq type='set' id='*'><query xmlns='jabber:iq:roster' ver='*'>
//!             <item jid='grace@example.org' subscription='none'/></query></iq>
//! phone !
//! ```
//!
//! | line | meaning |
//! |---|---|
//! | `# …` | comment; the first is the title |
//! | `with: switch` | the domains have this switch on; two or more spaces part several |
//! | `name: jid (flags)` | declares a session; two or more spaces part several on one line |
//! | `name > xml` | it sends this, as written |
//! | `name < xml` | the next thing it hears matches this |
//! | `name ~ xml` | likewise, in any order with the `~` lines around it |
//! | `name !` | it has heard nothing more |
//! | `name +` | it logs in now (declared with `later`) |
//! | `name -` | it closes its stream and logs out |
//! | `name x` | its connection is cut |
//!
//! An indented line continues the one before. Flags: `interested` (asks for its roster at login), `available`
//! (sends initial presence), `priority=N` (the same, with that priority), `later` (logs in by `+`), `account` (an
//! account without a session). Without a resourcepart the server chooses it. All accounts exist before, with the
//! password [`PASSWORD`]. What a login itself brings is not heard by anybody. At the end nobody has heard more.
//!
//! **Matching.** Names and namespaces equal; in an attribute or text `*` stands for any text, an attribute
//! `*='*'` for any further attributes, `<*/>` for any further children. `$word` alone in an attribute stands for
//! whatever the first match found there, later for that text; `$name` is the full JID of that session. A `to` that
//! is the session's own address need not be written, nor a `<stanza-id/>`. Children match in any order. `</stream:stream>` is the end of
//! the stream.

mod matching;
mod play;

pub use matching::matches;
pub use play::{World, play};

use crate::xml::{self, Element};
use std::fmt;

/// Password of every account in a transcript.
pub const PASSWORD: &str = "secret";

/// One file, read.
#[derive(Debug)]
pub struct Transcript {
    pub title: String,
    /// What is switched on at the domains.
    pub with: Vec<String>,
    pub sessions: Vec<Session>,
    pub steps: Vec<Step>,
}

/// One declared session, or an account without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    pub name: String,
    /// Bare JID.
    pub account: String,
    pub resource: Option<String>,
    pub interested: bool,
    pub available: bool,
    pub priority: Option<i8>,
    pub later: bool,
    /// Only the account exists.
    pub account_only: bool,
}

impl Session {
    /// The localpart of its account.
    #[must_use]
    pub fn user(&self) -> &str {
        self.account.split('@').next().unwrap_or_default()
    }
    /// The domain of its account.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.account.split_once('@').map_or(&self.account, |(_, domain)| domain)
    }
}

/// One line: who does what.
#[derive(Debug)]
pub struct Step {
    /// Line in the file, from 1.
    pub line: usize,
    /// Index of the session.
    pub who: usize,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Send(String),
    Hear(Heard),
    /// Any order among neighbours of the same session.
    HearAlso(Heard),
    Nothing,
    LogIn,
    LogOut,
    Cut,
}

/// What a `<` line waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    Element(Element),
    StreamEnd,
}

/// What a transcript does not say right, or what did not happen, with its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub line: usize,
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Failure {}

impl Transcript {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Transcript, Failure> {
        let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default().to_owned();
        let mut transcript = Transcript { title, with: Vec::new(), sessions: Vec::new(), steps: Vec::new() };
        if transcript.title.is_empty() {
            return Err(Failure { line: 1, why: "the first line is the title: # RFC …".to_owned() });
        }
        for (line, text) in logical_lines(text) {
            transcript.line(line, &text).map_err(|why| Failure { line, why })?;
        }
        if transcript.steps.is_empty() {
            return Err(Failure { line: 1, why: "no step".to_owned() });
        }
        Ok(transcript)
    }

    fn line(&mut self, line: usize, text: &str) -> Result<(), String> {
        let (name, rest) = text.split_once([' ', ':']).ok_or("expected a session and what it does")?;
        if text.chars().nth(name.chars().count()) == Some(':') {
            if !self.steps.is_empty() {
                return Err("sessions are declared before the first step".to_owned());
            }
            if name == "with" {
                let switches = rest.split("  ").map(str::trim).filter(|switch| !switch.is_empty());
                self.with.extend(switches.map(str::to_owned));
                return Ok(());
            }
            return self.declare(text);
        }
        let who = self.sessions.iter().position(|session| session.name == name);
        let who = who.ok_or_else(|| format!("session {name} is not declared"))?;
        let rest = rest.trim();
        let argument = rest.get(1..).unwrap_or_default().trim();
        let what = match rest.chars().next() {
            Some('>') if !argument.is_empty() => What::Send(argument.to_owned()),
            Some('<') => What::Hear(heard(argument)?),
            Some('~') => What::HearAlso(heard(argument)?),
            Some('!') if argument.is_empty() => What::Nothing,
            Some('+') if argument.is_empty() => What::LogIn,
            Some('-') if argument.is_empty() => What::LogOut,
            Some('x') if argument.is_empty() => What::Cut,
            _ => return Err(format!("{rest}: expected one of > < ~ ! + - x")),
        };
        self.steps.push(Step { line, who, what });
        Ok(())
    }

    fn declare(&mut self, text: &str) -> Result<(), String> {
        for declaration in text.split("  ").map(str::trim).filter(|part| !part.is_empty()) {
            let (name, rest) =
                declaration.split_once(": ").ok_or_else(|| format!("{declaration}: expected name: jid"))?;
            let (jid, flags) = match rest.split_once(" (") {
                Some((jid, flags)) => (jid, flags.strip_suffix(')').ok_or("expected )")?),
                None => (rest, ""),
            };
            let (account, resource) = match jid.split_once('/') {
                Some((account, resource)) => (account, Some(resource.to_owned())),
                None => (jid, None),
            };
            let mut session = Session {
                name: name.to_owned(),
                account: account.to_owned(),
                resource,
                interested: false,
                available: false,
                priority: None,
                later: false,
                account_only: false,
            };
            for flag in flags.split(',').map(str::trim).filter(|flag| !flag.is_empty()) {
                match flag.split_once('=') {
                    None if flag == "interested" => session.interested = true,
                    None if flag == "available" => session.available = true,
                    None if flag == "later" => session.later = true,
                    None if flag == "account" => session.account_only = true,
                    Some(("priority", value)) => {
                        session.available = true;
                        session.priority = Some(value.parse().map_err(|_| format!("{flag}: -128 to 127"))?);
                    }
                    _ => {
                        return Err(format!(
                            "flag {flag}: expected interested, available, priority=N, later or account"
                        ));
                    }
                }
            }
            if !account.contains('@') || self.sessions.iter().any(|other| other.name == name) {
                return Err(format!("{declaration}: expected a new name and local@domain"));
            }
            self.sessions.push(session);
        }
        Ok(())
    }
}

/// Lines without comments and empty ones, continuations joined, with the number of their first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with(' ') => {
                if !last.ends_with('>') {
                    last.push(' ');
                }
                last.push_str(line.trim());
            }
            _ => lines.push((index + 1, line.to_owned())),
        }
    }
    lines
}

fn heard(text: &str) -> Result<Heard, String> {
    if text == "</stream:stream>" {
        return Ok(Heard::StreamEnd);
    }
    xml::pattern(text).map(Heard::Element).map_err(|e| format!("{text}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_files_are_refused_with_their_line() {
        let head = "# A title\nada: ada@example.org/desk (available)\n";
        for (text, line, why) in [
            ("ada: ada@example.org\nada !", 1, "title"),
            (&format!("{head}\nbob > <a/>"), 4, "bob is not declared"),
            (&format!("{head}ada ? <a/>"), 3, "expected one of"),
            (&format!("{head}ada < <a>"), 3, "ends too early"),
            (&format!("{head}ada < <a/>\n\n# x\nada <\n   <a b=1/>"), 6, "quotation"),
            (&format!("{head}ada !\nbob: b@example.org"), 4, "before the first step"),
            (&format!("{head}bob: b@example.org (loud)"), 3, "flag loud"),
            (&format!("{head}ada: b@example.org"), 3, "a new name"),
            (head, 1, "no step"),
        ] {
            let failure = Transcript::parse(text).unwrap_err();
            assert!(failure.line == line && failure.why.contains(why), "{text}\n{failure}");
        }
    }
}
