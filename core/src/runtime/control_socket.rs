//! The operator's socket: one JSON line in, one JSON line out (`control.rs`).

use super::mail::{Mail, Mailbox};
use crate::control::{Command, Done, Refused, RefusedKind, Reply, Status};
use crossbeam_channel::bounded;
use hearth_wire::ids::SlotKey;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Longest command line, bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Operators at the same time; more are turned away.
const CONNECTIONS_MAX: usize = 16;
/// How long all shards together may take for an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Knows which shard a command is for.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) shards: Vec<Mailbox>,
    pub(crate) slot_key: SlotKey,
}

impl Control {
    /// Accepts until the listener fails, which closing it at shutdown makes it do.
    #[expect(clippy::disallowed_methods, reason = "a thread per operator, outside the shards")]
    pub(crate) fn serve(&self, listener: &UnixListener) {
        let connections = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            if connections.load(Ordering::Acquire) >= CONNECTIONS_MAX {
                continue;
            }
            connections.fetch_add(1, Ordering::AcqRel);
            let (control, connections) = (self.clone(), connections.clone());
            std::thread::spawn(move || {
                if let Err(error) = control.talk(stream) {
                    tracing::debug!(event = "control_closed", cause = %error);
                }
                connections.fetch_sub(1, Ordering::AcqRel);
            });
        }
    }

    fn talk(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let reply = match serde_json::from_str::<Command>(&line) {
                Ok(command) => self.run(&command),
                Err(error) => {
                    refused(RefusedKind::BadRequest, error.to_string(), "use a hearthctl of the same release")
                }
            };
            let mut answer = serde_json::to_vec(&reply).map_err(io::Error::other)?;
            answer.push(b'\n');
            stream.write_all(&answer)?;
        }
    }

    /// Sends the command to the shards it is for and adds their answers up.
    fn run(&self, command: &Command) -> Reply {
        let owner = |jid: &str| {
            let bare = jid.split_once('/').map_or(jid, |(bare, _)| bare);
            let bare = hearth_wire::BareJid::parse(bare).map_or(bare.to_owned(), |bare| bare.as_str().to_owned());
            usize::from(self.slot_key.slot(&bare).index()).checked_rem(self.shards.len()).unwrap_or(0)
        };
        let of_one = match command {
            Command::Status {} | Command::SessionsList { account: None, .. } => None,
            Command::UserList { .. } => Some(0),
            Command::UserAdd { account, .. }
            | Command::UserDelete { account }
            | Command::UserPassword { account, .. }
            | Command::SessionsList { account: Some(account), .. } => Some(owner(account)),
            Command::SessionsKick { jid } => Some(owner(jid)),
        };
        let asked = match of_one {
            Some(index) => self.shards.get(index..=index).unwrap_or_default(),
            None => &self.shards,
        };
        let (sender, answers) = bounded(asked.len().max(1));
        for shard in asked {
            shard.send(Mail::Control { command: command.clone(), reply: sender.clone() });
        }
        let deadline = deadline();
        let mut total: Option<Done> = None;
        for _ in asked {
            match answers.recv_deadline(deadline) {
                Ok(Reply::Ok(done)) => {
                    total = Some(match total {
                        None => done,
                        Some(before) => add(before, done),
                    });
                }
                Ok(error @ Reply::Error(_)) => return error,
                Err(_) => {
                    return refused(RefusedKind::Unavailable, "a shard did not answer".into(), "see the core's log");
                }
            }
        }
        match total {
            Some(done) => Reply::Ok(done),
            None => refused(RefusedKind::Unavailable, "the core is stopping".into(), "start it again"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the control thread waits; shards do not")]
fn deadline() -> Instant {
    Instant::now() + ANSWER
}

fn refused(kind: RefusedKind, message: String, next: &str) -> Reply {
    Reply::Error(Refused { kind, message, next: next.to_owned() })
}

/// Answers of two shards as one.
fn add(a: Done, b: Done) -> Done {
    match (a, b) {
        (Done::Status(a), Done::Status(b)) => Done::Status(add_status(a, b)),
        (Done::Users(mut a), Done::Users(b)) => {
            a.extend(b);
            a.sort();
            Done::Users(a)
        }
        (Done::Sessions(mut a), Done::Sessions(b)) => {
            a.extend(b);
            a.sort_by(|a, b| a.jid.cmp(&b.jid));
            Done::Sessions(a)
        }
        (Done::Kicked { sessions: a }, Done::Kicked { sessions: b }) => Done::Kicked { sessions: a.saturating_add(b) },
        (a, _) => a,
    }
}

fn add_status(mut a: Status, b: Status) -> Status {
    a.edges.extend(b.edges);
    a.edges.sort();
    a.edges.dedup();
    a.links = a.links.saturating_add(b.links);
    a.sessions = a.sessions.saturating_add(b.sessions);
    a.accounts_loaded = a.accounts_loaded.saturating_add(b.accounts_loaded);
    a.stanzas_in = a.stanzas_in.saturating_add(b.stanzas_in);
    a.stanzas_out = a.stanzas_out.saturating_add(b.stanzas_out);
    a.messages_logged = a.messages_logged.saturating_add(b.messages_logged);
    if a.storage == "ok" {
        a.storage = b.storage;
    }
    a
}
