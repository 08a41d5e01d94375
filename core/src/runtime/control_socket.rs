//! The operator's socket: one JSON line in, one JSON line out (`control.rs`; of what takes longer more), each for the shards or the
//! thread its command names (`commands/`).

use super::Clock;
use super::edge_admin::EdgeAdmin;
use super::mail::{Mail, Mailbox};
use crate::audit::{Audit, By};
use crate::commands::{
    self, Arguments, Call, Command, Deletions, Done, OnShard, Process, Progress, Refused, RefusedKind, Reply, Run,
    Shape, Target, Value,
};
use crate::config::Config;
use crate::control::{PROTOCOL, Request, Said};
use crossbeam_channel::bounded;
use hearth_storage::StorageHandle;
use hearth_wire::BareJid;
use hearth_wire::ids::SlotKey;
use parking_lot::Mutex;
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
/// What to do about a line that another release wrote.
const OTHER_RELEASE: &str = "use a hearthctl of the same release";
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Knows which shard a command is for.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) shards: Vec<Mailbox>,
    pub(crate) slot_key: SlotKey,
    /// In force.
    pub(crate) config: Arc<Mutex<Arc<Config>>>,
    pub(crate) edges: EdgeAdmin,
    pub(crate) audit: Arc<Audit>,
    pub(crate) storage: StorageHandle,
    pub(crate) clock: Clock,
    pub(crate) domains_changing: Arc<Mutex<()>>,
    pub(crate) deletions: Arc<Deletions>,
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

    fn talk(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream);
        let by = By::of_uid(peer.ok().map(|peer| peer.uid.as_raw()));
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let progress = |progress| say(&stream, &Said::Progress { progress }).is_ok();
            let reply = self.answer(&line, &by, &progress).unwrap_or_else(Reply::Error);
            say(&stream, &Said::Reply(reply))?;
        }
    }

    /// Checks a line and runs what it asks.
    fn answer(&self, line: &str, by: &By, progress: &dyn Fn(Progress) -> bool) -> Result<Reply, Refused> {
        let bad = |message: String, next: &str| Refused::new(RefusedKind::BadRequest, message, next);
        let request: Request = serde_json::from_str(line).map_err(|error| bad(error.to_string(), OTHER_RELEASE))?;
        if request.protocol != PROTOCOL {
            return Err(bad(format!("protocol {}, this core speaks {PROTOCOL}", request.protocol), OTHER_RELEASE));
        }
        let Some(command) = commands::find(&request.command) else {
            let names = commands::all().map(|command| command.name);
            let next = match commands::nearest(&request.command, names) {
                Some(near) => format!("it may be `{near}`"),
                None => OTHER_RELEASE.to_owned(),
            };
            return Err(bad(format!("there is no command `{}`", request.command), &next));
        };
        let mut arguments = Arguments::parse(command, &request.parameters)?;
        arguments.after = request.after;
        if !command.changes {
            return self.run(command, arguments, progress);
        }
        let begun = self.audit.begin(self.clock.now().utc_ms, by, command, &arguments)?;
        let result = self.run(command, arguments, progress);
        let outcome = result.as_ref().err().map_or("done", |refused| refused.kind.name());
        if let Err(error) = self.audit.end(&begun, outcome) {
            // What was done is done; that it was begun is in the log.
            tracing::error!(event = "audit_failed", command = command.name, outcome, cause = %error);
        }
        result
    }

    fn run(
        &self,
        command: &'static Command,
        arguments: Arguments,
        progress: &dyn Fn(Progress) -> bool,
    ) -> Result<Reply, Refused> {
        let ask = |target: Target<'_>, run| self.ask(command.result, target, run, &arguments).map(Reply::Ok);
        match command.run {
            Run::Owner(of, run) | Run::OwnerOrAll(of, run) if let Some(owner) = arguments.owner_key(of) => {
                ask(Target::Owner(&owner), run)
            }
            Run::Owner(of, _) => Err(commands::missing(of)),
            Run::OwnerOrAll(_, run) | Run::All(run) => ask(Target::All, run),
            Run::First(run) => ask(Target::First, run),
            Run::Process(run) => self.process(progress, |process| run(process, &arguments)).map(Reply::Ok),
            Run::Here => {
                let message = format!("`{}` needs no core", command.name);
                Err(Refused::new(RefusedKind::BadRequest, message, "run it by hearthctl"))
            }
        }
    }

    /// Runs what may wait; `progress` hears how far it is.
    pub(super) fn process<T>(&self, progress: &dyn Fn(Progress) -> bool, run: impl FnOnce(&Process<'_>) -> T) -> T {
        run(&Process {
            config: &self.config,
            edges: &self.edges,
            audit: &self.audit,
            storage: &self.storage,
            utc_ms: self.clock.now().utc_ms,
            progress,
            domains_changing: &self.domains_changing,
            deletions: &self.deletions,
            background: &|work| {
                let control = self.clone();
                let work = move || {
                    control.process(&|_| true, work);
                    Ok(())
                };
                if let Err(error) = super::spawn("background".to_owned(), work) {
                    tracing::error!(event = "thread_failed", %error);
                }
            },
            shards: &|target, run, arguments| self.ask(Shape::Did(""), target, run, arguments),
        })
    }

    /// Runs a function on all shards and adds the details of their answers up.
    pub(super) fn ask_all(&self, run: OnShard) -> Result<Done, Refused> {
        self.ask(Shape::Did(""), Target::All, run, &Arguments::made(Vec::new()))
    }

    /// Runs a function on shards and adds their answers up.
    fn ask(&self, shape: Shape, target: Target<'_>, run: OnShard, arguments: &Arguments) -> Result<Done, Refused> {
        let call = |slot, arguments: &Arguments| Call::new(slot, run, arguments.clone());
        // Slots move; shards know where to, and pass it on.
        let of = |jid: &BareJid, arguments: &Arguments| call(Some(self.slot_key.slot(jid.as_str())), arguments);
        let account = |jid: &BareJid| Arguments::made(vec![("account", Value::Account(jid.clone()))]);
        let calls: Vec<Call> = match target {
            Target::First | Target::All => vec![call(None, arguments)],
            Target::Owner(jid) => vec![of(jid, arguments)],
            Target::Owners(jids) => jids.iter().map(|jid| of(jid, &account(jid))).collect(),
        };
        let shards =
            if matches!(target, Target::All) { &*self.shards } else { self.shards.get(..1).unwrap_or_default() };
        let expected = shards.len().saturating_mul(calls.len());
        let (sender, answers) = bounded(expected.max(1));
        for (shard, call) in shards.iter().flat_map(|shard| calls.iter().map(move |call| (shard, call))) {
            shard.send(Mail::Control { call: call.clone(), reply: sender.clone() });
        }
        drop(sender);
        let deadline = deadline();
        let mut total = None;
        for _ in 0..expected {
            match answers.recv_deadline(deadline) {
                Ok(Reply::Ok(done)) => {
                    total = Some(match total {
                        None => done,
                        Some(before) => shape.add(before, done),
                    });
                }
                Ok(Reply::Error(refused)) => return Err(refused),
                Err(_) => {
                    return Err(Refused::new(RefusedKind::Unavailable, "a shard did not answer", "see the core's log"));
                }
            }
        }
        match total {
            Some(done) => Ok(done),
            None => Err(Refused::new(RefusedKind::Unavailable, "the core is stopping", "start it again")),
        }
    }
}

/// Writes one line.
fn say(mut stream: &UnixStream, said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)
}

#[expect(clippy::disallowed_methods, reason = "the control thread waits; shards do not")]
fn deadline() -> Instant {
    Instant::now() + ANSWER
}
