//! What is done again and again: by strangers as often as the rate allows, by accounts as fast as the server lets them.

use super::held::header;
use super::honest::login;
use super::{Args, Attack, FIRST_ATTACKER, Pace, THREADS, Tally, stand_back};
use crate::client::{Client, ClientError, Server, Tls, connect};
use crate::load::error::LoadError;
use crate::load::transport::tls_config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::SockRef;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Duration;

/// How long a stranger waits for the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Key updates that are sent at once.
const UPDATES: u32 = 16;
/// Requests that are sent before their answers are read.
const REQUESTS: u64 = 50;
/// Members of a group of contacts, as the load program makes them.
const GROUP: u32 = 26;
/// Groups of which one member flips.
const GROUPS: u32 = 4;
/// Who do not read, who write to each of them, and how much.
const READERS: u32 = 25;
const WRITERS_EACH: u32 = 3;
const BODY_BYTES: usize = 4 * 1024;
/// Of a reader, so that it is not the kernel that keeps what is sent to it.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024;

/// Does `step` by the clock, from one source after another; it tells how many steps that were.
fn again(args: &Args, thread: u32, tally: &Tally, mut step: impl FnMut(u32, &mut Pace) -> io::Result<()>) {
    let mut pace = Pace::of(args.rate, THREADS);
    let mut nth = thread;
    while !tally.stopped() {
        if step(nth, &mut pace).is_err() {
            tally.refuse();
            // A server that refuses at once is not asked in a busy loop.
            pace.wait(1);
        }
        nth = nth.wrapping_add(THREADS);
    }
}

fn patient(socket: &TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}

/// A handshake on the direct port.
fn handshake(
    args: &Args,
    nth: u32,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let socket = connect(args.tls_target, Some(args.source(nth)))?;
    patient(&socket)?;
    let name = args.domain.clone().try_into().map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(client, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    stream.flush()?;
    Ok(stream)
}

pub(super) fn handshakes(args: &Args, thread: u32, tally: &Tally) {
    let Ok(config) = tls_config(true) else { return };
    again(args, thread, tally, |nth, pace| {
        pace.wait(1);
        let stream = handshake(args, nth, &config)?;
        tally.count(1);
        SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO))
    });
}

/// Each renewal has a space behind it, so that no two follow each other.
pub(super) fn key_updates(args: &Args, thread: u32, tally: &Tally) {
    let Ok(config) = tls_config(true) else { return };
    again(args, thread, tally, |nth, pace| {
        pace.wait(1);
        let mut stream = handshake(args, nth, &config)?;
        stream.write_all(header(&args.domain).as_bytes())?;
        while !tally.stopped() {
            pace.wait(UPDATES);
            for _ in 0..UPDATES {
                stream.conn.refresh_traffic_keys().map_err(io::Error::other)?;
                stream.conn.writer().write_all(b" ")?;
            }
            while stream.conn.wants_write() {
                stream.conn.write_tls(&mut stream.sock)?;
            }
            stream.sock.set_nonblocking(true)?;
            let read = stream.conn.read_tls(&mut stream.sock);
            stream.sock.set_nonblocking(false)?;
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {
                    stream.conn.process_new_packets().map_err(io::Error::other)?;
                }
            }
            tally.count(u64::from(UPDATES));
        }
        Ok(())
    });
}

/// Wrong passwords of accounts that there are, honest ones among them, until the server ends the stream.
pub(super) fn logins(args: &Args, thread: u32, tally: &Tally) {
    again(args, thread, tally, |nth, pace| {
        let tls = Tls::Direct(args.certificate.clone());
        let server = Server { source: Some(args.source(nth)), ..Server::new(args.tls_target, &args.domain, tls) };
        let guess = |pace: &mut Pace| -> Result<(), ClientError> {
            pace.wait(1);
            let mut client = Client::connect(&server)?;
            client.deadline = PATIENCE;
            client.open()?;
            let credentials = BASE64.encode(format!("\0user{}\0wrong", nth % FIRST_ATTACKER));
            while !tally.stopped() {
                client.send(&format!(
                    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{credentials}</auth>"
                ))?;
                let answer = client.receive_element()?;
                if answer.name != "failure" {
                    return Err(ClientError::Closed);
                }
                tally.count(1);
                pace.wait(1);
            }
            Ok(())
        };
        guess(pace).map_err(|error| io::Error::other(error.to_string()))
    });
}

pub(super) fn connects(args: &Args, thread: u32, tally: &Tally) {
    let header = header(&args.domain);
    again(args, thread, tally, |nth, pace| {
        pace.wait(1);
        let mut socket = connect(args.target, Some(args.source(nth)))?;
        patient(&socket)?;
        socket.write_all(header.as_bytes())?;
        tally.count(1);
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))
    });
}

/// Attackers with accounts, logged in before anything is measured.
pub(super) struct Accounts {
    attack: Attack,
    /// Who attack, each with the address that it writes to.
    attackers: Vec<(Mutex<Client>, String)>,
    /// Who hear of it: those who read all, or those who read nothing.
    victims: Vec<Mutex<Client>>,
    sockets: Vec<TcpStream>,
}

impl Accounts {
    fn of(
        args: &Args,
        attackers: impl Iterator<Item = u32>,
        victims: impl Iterator<Item = u32>,
    ) -> Result<Accounts, LoadError> {
        let mut accounts = Accounts { attack: args.attack, attackers: vec![], victims: vec![], sockets: vec![] };
        let mut enter = |user: u32| -> Result<Client, LoadError> {
            let failed = |why: String| LoadError::Protocol(format!("user{user}, an attacker, cannot log in: {why}"));
            let client = login(args, user, Some(args.source(user))).map_err(|error| failed(error.to_string()))?;
            let socket = client.socket().ok_or_else(|| failed("no socket".into()))?;
            accounts.sockets.push(socket.try_clone().map_err(|error| failed(error.to_string()))?);
            Ok(client)
        };
        for user in attackers {
            accounts.attackers.push((Mutex::new(enter(user)?), args.domain.clone()));
        }
        for user in victims {
            accounts.victims.push(Mutex::new(enter(user)?));
        }
        Ok(accounts)
    }

    pub(super) fn stanzas(args: &Args) -> Result<Accounts, LoadError> {
        Accounts::of(args, FIRST_ATTACKER..FIRST_ATTACKER + THREADS, 0..0)
    }

    /// One of each group flips, the others are there and read.
    pub(super) fn presence(args: &Args) -> Result<Accounts, LoadError> {
        let member = |user: &u32| !(user - FIRST_ATTACKER).is_multiple_of(GROUP);
        let all = FIRST_ATTACKER..FIRST_ATTACKER + GROUPS * GROUP;
        let accounts = Accounts::of(args, all.clone().filter(|user| !member(user)), all.filter(member))?;
        let clients = accounts.victims.iter().chain(accounts.attackers.iter().map(|(client, _)| client));
        for client in clients {
            let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
            client.send("<presence/>").map_err(|error| LoadError::Protocol(error.to_string()))?;
        }
        Ok(accounts)
    }

    pub(super) fn readers(args: &Args) -> Result<Accounts, LoadError> {
        let writers = FIRST_ATTACKER + READERS;
        let mut accounts =
            Accounts::of(args, writers..writers + READERS * WRITERS_EACH, FIRST_ATTACKER..FIRST_ATTACKER + READERS)?;
        for victim in &accounts.victims {
            let mut victim = victim.lock().unwrap_or_else(PoisonError::into_inner);
            victim.send("<presence/>").map_err(|error| LoadError::Protocol(error.to_string()))?;
            if let Some(socket) = victim.socket() {
                let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
            }
        }
        let addresses: Vec<String> = accounts
            .victims
            .iter()
            .map(|v| v.lock().unwrap_or_else(PoisonError::into_inner).jid().to_owned())
            .collect();
        for ((_, to), address) in accounts.attackers.iter_mut().zip(addresses.iter().cycle()) {
            to.clone_from(address);
        }
        Ok(accounts)
    }

    /// Those to whom it is done.
    pub(super) fn victims(&self) -> usize {
        self.victims.len()
    }

    /// Begins, each on a thread of its own.
    pub(super) fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, tally: &'scope Tally) {
        let attack = self.attack;
        if attack == Attack::Presence {
            for client in &self.victims {
                scope.spawn(move || {
                    stand_back();
                    drain(client);
                });
            }
        }
        for (client, to) in &self.attackers {
            scope.spawn(move || {
                stand_back();
                let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
                let mut steps = 0_u64;
                while !tally.stopped() {
                    let done = match attack {
                        Attack::Presence => flip(&mut client, steps),
                        Attack::Readers => write(&mut client, to, steps),
                        _ => ask(&mut client, to, steps),
                    };
                    match done {
                        Ok(more) => {
                            steps += more;
                            tally.count(more);
                        }
                        // At the end it is we who end it.
                        Err(_) if tally.stopped() => break,
                        Err(_) => {
                            tally.refuse();
                            break;
                        }
                    }
                }
            });
        }
    }

    /// Ends what waits for a socket.
    pub(super) fn end(&self) {
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Reads until the socket ends.
fn drain(client: &Mutex<Client>) {
    let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
    while client.discard().is_ok() {}
}

fn flip(client: &mut Client, step: u64) -> Result<u64, ClientError> {
    let show = if step.is_multiple_of(2) { "away" } else { "dnd" };
    client.send(&format!("<presence><show>{show}</show></presence>"))?;
    // What the server says to the one who flips is, at least, its own presence.
    client.discard()?;
    Ok(1)
}

fn write(client: &mut Client, to: &str, step: u64) -> Result<u64, ClientError> {
    let body = "x".repeat(BODY_BYTES);
    client.send(&format!("<message type='chat' id='{step}' to='{to}'><body>{body}</body></message>"))?;
    Ok(1)
}

fn ask(client: &mut Client, to: &str, step: u64) -> Result<u64, ClientError> {
    let requests: String = (step..step + REQUESTS)
        .map(|id| {
            format!("<iq type='get' id='{id}' to='{to}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
        })
        .collect();
    client.send(&requests)?;
    for _ in 0..REQUESTS {
        client.receive_element()?;
    }
    Ok(REQUESTS)
}
