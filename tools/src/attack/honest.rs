//! Honest clients: pairs that ping the server and chat by the clock, and somebody who logs in twice a second.

use super::Args;
use crate::client::{Client, ClientError, Server, Tls};
use crate::load::error::LoadError;
use crate::load::histogram::Histogram;
use crate::scram::{Binding, Hash};
use crate::xml::Item;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pairs that chat.
const PAIRS: u32 = 20;
/// Between two messages of a pair, and between two logins.
const MESSAGE_EVERY: Duration = Duration::from_millis(200);
const LOGIN_EVERY: Duration = Duration::from_millis(500);
/// Account that logs in again and again: the last of the honest ones.
const NEWCOMER: u32 = 2 * PAIRS;
/// How long a server has to serve its first login.
const START: Duration = Duration::from_secs(90);
/// A message and its answer that take longer are lost.
const LOST: Duration = Duration::from_secs(10);

/// What honest clients felt since somebody asked.
#[derive(Default)]
pub(super) struct Felt {
    pings: Histogram,
    messages: Histogram,
    logins: Histogram,
}

impl Felt {
    pub(super) fn json(&self) -> Value {
        let of = |times: &Histogram| json!({"p50_ms": times.quantile_ms(0.5), "p99_ms": times.quantile_ms(0.99), "max_ms": times.max_ms()});
        json!({"pings": of(&self.pings), "messages": of(&self.messages), "logins": of(&self.logins)})
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    felt: Mutex<Felt>,
    failures: Mutex<Vec<String>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All of them, on threads of their own.
pub(super) struct Honest {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Logs an account in over STARTTLS, as most clients do.
pub(super) fn login(args: &Args, user: u32, source: Option<IpAddr>) -> Result<Client, ClientError> {
    let server = Server::new(args.target, &args.domain, Tls::Starttls(args.certificate.clone()));
    let mut client = Client::connect(&Server { source, tells_offer: false, ..server })?;
    client.open()?;
    client.starttls()?;
    client.authenticate(Hash::Sha1, &format!("user{user}"), &args.password, &Binding::None)?;
    client.bind(Some("x"))?;
    Ok(client)
}

/// A server that has just started may listen before it serves.
pub(super) fn await_server(args: &Args) {
    let patience = Instant::now() + START;
    while login(args, NEWCOMER, None).is_err() && Instant::now() < patience {
        std::thread::sleep(LOGIN_EVERY);
    }
}

impl Honest {
    pub(super) fn start(args: &Args) -> Result<Honest, LoadError> {
        let mut honest = Honest { shared: Arc::default(), threads: Vec::new() };
        let failed = |error: ClientError| LoadError::Protocol(format!("an honest client cannot log in: {error}"));
        for pair in 0..PAIRS {
            let mut clients = [0, 1].map(|side| login(args, 2 * pair + side, None));
            let [Ok(one), Ok(other)] = &mut clients else {
                let [one, other] = clients;
                return Err(failed(one.err().or(other.err()).unwrap_or(ClientError::Closed)));
            };
            (one.deadline, other.deadline) = (LOST, LOST);
            let offset = MESSAGE_EVERY * pair / PAIRS;
            let shared = Arc::clone(&honest.shared);
            honest.threads.push(std::thread::spawn(move || {
                let [Ok(one), Ok(other)] = clients else { return };
                if let Err(error) = chat(one, other, offset, &shared) {
                    lock(&shared.failures).push(format!("pair {pair}: {error}"));
                }
            }));
        }
        let (shared, args) = (Arc::clone(&honest.shared), args.clone());
        honest.threads.push(std::thread::spawn(move || newcomer(&args, &shared)));
        Ok(honest)
    }

    /// What was felt since the last time.
    pub(super) fn take(&self) -> Felt {
        std::mem::take(&mut lock(&self.shared.felt))
    }

    /// Ends them; returns what failed.
    pub(super) fn stop(self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        std::mem::take(&mut lock(&self.shared.failures))
    }
}

/// Whether the server is there, then a message to the other and an answer back, again and again. A ping counts from when it was
/// due, so that none waits unseen for the round before.
fn chat(mut one: Client, mut other: Client, offset: Duration, shared: &Shared) -> Result<(), ClientError> {
    let [here, there] = [one.jid(), other.jid()].map(str::to_owned);
    let mut due = Instant::now() + offset;
    let mut number = 0_u64;
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        number += 1;
        let id = number.to_string();
        one.send(&format!("<iq type='get' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>"))?;
        hear(&mut one, "iq", &id)?;
        lock(&shared.felt).pings.record(due.elapsed());
        let begun = Instant::now();
        let say = |to: &str| format!("<message type='chat' to='{to}' id='{id}'><body>hello</body></message>");
        one.send(&say(&there))?;
        hear(&mut other, "message", &id)?;
        other.send(&say(&here))?;
        hear(&mut one, "message", &id)?;
        lock(&shared.felt).messages.record(begun.elapsed());
        due += MESSAGE_EVERY;
    }
    Ok(())
}

/// Waits for this stanza.
fn hear(client: &mut Client, name: &str, id: &str) -> Result<(), ClientError> {
    loop {
        match client.receive()? {
            Item::Element(element) if element.name == name && element.attr("id") == Some(id) => return Ok(()),
            Item::Element(_) => {}
            Item::Open(_) | Item::Close => return Err(ClientError::Closed),
        }
    }
}

fn newcomer(args: &Args, shared: &Shared) {
    let mut due = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let result = login(args, NEWCOMER, None);
        let took = due.elapsed();
        lock(&shared.felt).logins.record(took);
        match result {
            Ok(client) => drop(client.close()),
            Err(error) => lock(&shared.failures).push(format!("login: {error}")),
        }
        // The next one waits for this one: a login that takes long is counted once.
        due = (due + LOGIN_EVERY).max(Instant::now());
    }
}
