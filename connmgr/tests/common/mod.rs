//! An edge in this process, a core's side of its links over a real Unix socket, and blocking clients.
//!
//! The core here knows nothing of XMPP: it answers frames by a few fixed rules and records what came, so that
//! tests can say what an edge sent and make it receive anything a core might send.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

use hearth_connmgr::config::{Config, CoreAddress, Listener, ListenerTls, SelfSigned};
use hearth_connmgr::{StopHandle, run};
use hearth_wire::codec::{self, FRAME_BYTES_MAX};
use hearth_wire::ids::{Generation, Slot, SlotKey, StreamId};
use hearth_wire::stanza::{Overlay, Stanza, StanzaFault};
use hearth_wire::to_core::{LoggedEntry, PREAMBLE_BYTES, PREAMBLE_MAGIC, ToCore};
use hearth_wire::to_edge::*;
use hearth_wire::tree::Builder;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// What the fixture is told to do differently.
#[derive(Clone)]
pub struct Rules {
    pub shards: u16,
    /// Credit of a bound session.
    pub session_credit: u64,
    pub link_credit: u64,
    /// Settle every stanza at once.
    pub settle: bool,
    /// Answer `Authenticate` and `Bind`.
    pub answer: bool,
    pub registration: bool,
    /// Answer no heartbeat.
    pub silent: bool,
    /// Send `Echo` back, as a core from before it does not.
    pub echoes: bool,
    /// Link version.
    pub version: u16,
    /// Take no links: they end at once.
    pub away: bool,
    /// Answer `Attach`; by `Close` if it is refused.
    pub attach: bool,
    pub refuse: bool,
    /// Answer `Resume` with a session; else there is none.
    pub resume: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            shards: 1,
            session_credit: 1 << 20,
            link_credit: 1 << 22,
            settle: true,
            answer: true,
            registration: false,
            silent: false,
            echoes: true,
            version: 2,
            away: false,
            attach: true,
            refuse: false,
            resume: true,
        }
    }
}

/// A frame that came, in words that tests can compare, with what they need of it.
#[derive(Clone, PartialEq, Debug)]
pub enum Seen {
    Hello {
        shard: u16,
        event_loop: u16,
    },
    Authenticate {
        counter: u64,
        mechanism: String,
        initial: Option<Vec<u8>>,
        /// Channel binding: `tls-exporter`, `tls-server-end-point`.
        bound: (Option<Vec<u8>>, Option<Vec<u8>>),
        clear: bool,
        peer: std::net::IpAddr,
    },
    AuthResponse {
        counter: u64,
        data: Vec<u8>,
    },
    AuthAbort {
        counter: u64,
    },
    Bind {
        counter: u64,
        resource: Option<String>,
    },
    Stanza {
        counter: u64,
        number: u64,
        xml: String,
        to: Option<String>,
        lang: Option<String>,
        fault: bool,
        bytes: usize,
    },
    Written {
        counter: u64,
        entry: u64,
        credit: u64,
    },
    Closed {
        counter: u64,
        bound: bool,
        clean: bool,
    },
    PreAuthIq {
        counter: u64,
        xml: String,
    },
    Drained,
    Heartbeat,
    Echo,
    /// `StanzaAgain`.
    Again {
        counter: u64,
        generation: Generation,
        number: u64,
        xml: String,
        fault: Option<StanzaFault>,
    },
    SmEnable {
        counter: u64,
        number: u64,
        resume: bool,
        max_s: Option<u32>,
    },
    Resume {
        counter: u64,
        previd: String,
        h: u32,
    },
    Attach {
        counter: u64,
        shard: u16,
        generation: Generation,
        sealed: Vec<u8>,
        settled: u64,
        number: u64,
        entry: u64,
        written: u64,
        log: u64,
        unwritten: Vec<LoggedEntry>,
        recent: Vec<u64>,
        closed: Option<bool>,
    },
    AllSent {
        shard: u16,
    },
    Recent {
        counter: u64,
        logs: Vec<u64>,
    },
    OpenQuestions {
        counter: u64,
        open: Vec<(String, Option<String>)>,
    },
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// Write ends of the links, by shard.
    links: BTreeMap<u16, UnixStream>,
    sessions: BTreeMap<String, u64>,
    entries: BTreeMap<u64, u64>,
    /// Of sessions that were attached again.
    generations: BTreeMap<u64, Generation>,
    bound: u64,
}

/// The core's side.
pub struct Core {
    state: Arc<(Mutex<State>, Condvar)>,
    rules: Arc<Mutex<Rules>>,
    pub path: PathBuf,
    stop: Arc<std::sync::atomic::AtomicBool>,
}

pub const GENERATION: Generation = Generation { epoch: 1, counter: 1 };

impl Core {
    pub fn start(path: PathBuf, rules: Rules) -> Core {
        let listener = UnixListener::bind(&path).unwrap();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let rules = Arc::new(Mutex::new(rules));
        let stop: Arc<std::sync::atomic::AtomicBool> = Arc::default();
        let (state2, rules2, stop2) = (state.clone(), rules.clone(), stop.clone());
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if stop2.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let (state, rules) = (state2.clone(), rules2.clone());
                std::thread::spawn(move || serve(socket.unwrap(), &state, &rules));
            }
        });
        Core { state, rules, path, stop }
    }

    /// Sends a frame over the link of shard 0.
    pub fn send(&self, frame: &ToEdge<'_>) {
        self.send_on(0, frame);
    }

    pub fn send_on(&self, shard: u16, frame: &ToEdge<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let mut state = self.state.0.lock().unwrap();
        state.links.get_mut(&shard).unwrap().write_all(&bytes).unwrap();
    }

    /// Sends raw bytes over a link.
    pub fn send_raw(&self, bytes: &[u8]) {
        self.state.0.lock().unwrap().links.get_mut(&0).unwrap().write_all(bytes).unwrap();
    }

    /// Sends a stanza to a session by its JID.
    pub fn deliver(&self, jid: &str, stanza: &Stanza<'_>) {
        self.deliver_logged(jid, None, stanza);
    }

    /// The same, as a record of the log.
    pub fn deliver_logged(&self, jid: &str, log: Option<u64>, stanza: &Stanza<'_>) {
        let (counter, entry, generation) = {
            let mut state = self.state.0.lock().unwrap();
            let counter = state.sessions[jid];
            let entry = state.entries.entry(counter).or_insert(0);
            *entry += 1;
            let entry = *entry;
            (counter, entry, state.generations.get(&counter).copied().unwrap_or(GENERATION))
        };
        let target = Target { counter, generation, entry, overlay: Overlay::default() };
        let deliver = Deliver { target, stanza: &stanza.encode() };
        self.send(&match log {
            None => ToEdge::Deliver(deliver),
            Some(log) => ToEdge::DeliverLogged(DeliverLogged { log, deliver }),
        });
    }

    /// Settles what a session sent up to `number`.
    pub fn settle(&self, jid: &str, number: u64, credit: u64) {
        let counter = self.counter(jid);
        let generation = self.state.0.lock().unwrap().generations.get(&counter).copied().unwrap_or(GENERATION);
        self.send(&ToEdge::Settled(Settled { counter, generation, number, credit }));
    }

    /// Dies: no link is there, and none can be had.
    pub fn die(&self) {
        self.set(|rules| rules.away = true);
        for (_, link) in std::mem::take(&mut self.state.0.lock().unwrap().links) {
            link.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }

    /// Is there again.
    pub fn come_back(&self) {
        self.set(|rules| rules.away = false);
    }

    /// Forgets all frames that came.
    pub fn forget(&self) {
        self.state.0.lock().unwrap().seen.clear();
    }

    pub fn counter(&self, jid: &str) -> u64 {
        self.state.0.lock().unwrap().sessions[jid]
    }

    /// Cuts the link of a shard.
    pub fn cut(&self, shard: u16) {
        let link = self.state.0.lock().unwrap().links.remove(&shard).unwrap();
        link.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.lock().unwrap());
    }

    /// Waits until a frame for which `want` holds has come; it and those before it are forgotten.
    pub fn wait(&self, what: &str, want: impl Fn(&Seen) -> bool) -> Seen {
        let end = Instant::now() + PATIENCE;
        let mut state = self.state.0.lock().unwrap();
        loop {
            if let Some(at) = state.seen.iter().position(&want) {
                return state.seen.drain(..=at).next_back().unwrap();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}; seen: {:?}", state.seen);
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Whether such a frame has come by now.
    pub fn count(&self, want: impl Fn(&Seen) -> bool) -> usize {
        self.state.0.lock().unwrap().seen.iter().filter(|seen| want(seen)).count()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let _ = UnixStream::connect(&self.path);
        for link in self.state.0.lock().unwrap().links.values() {
            let _ = link.shutdown(std::net::Shutdown::Both);
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(mut socket: UnixStream, state: &(Mutex<State>, Condvar), rules: &Mutex<Rules>) {
    let mut preamble = [0; PREAMBLE_BYTES];
    if socket.read_exact(&mut preamble).is_err() || preamble[..6] != PREAMBLE_MAGIC {
        return;
    }
    let shard = u16::from_le_bytes([preamble[6], preamble[7]]);
    if rules.lock().unwrap().away {
        return;
    }
    state.0.lock().unwrap().links.insert(shard, socket.try_clone().unwrap());
    let mut buffer = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        while let Some((frame, used)) = codec::split(&buffer, FRAME_BYTES_MAX).unwrap() {
            let frame = ToCore::decode(frame).unwrap().unwrap();
            let rules = rules.lock().unwrap().clone();
            let mut state_now = state.0.lock().unwrap();
            let mut out = Vec::new();
            let seen = answer(&frame, shard, &rules, &mut state_now, &mut out);
            let _ = socket.write_all(&out);
            state_now.seen.extend(seen);
            state.1.notify_all();
            drop(state_now);
            buffer.drain(..used);
        }
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
        }
    }
}

/// XML of a stanza as it came, to compare.
pub fn xml(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    hearth_connmgr::render::stanza(&Stanza::decode(bytes).unwrap(), &Overlay::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn answer(frame: &ToCore<'_>, shard: u16, rules: &Rules, state: &mut State, out: &mut Vec<u8>) -> Option<Seen> {
    Some(match frame {
        ToCore::Hello(f) => {
            hello(shard, rules, out);
            Seen::Hello { shard: f.shard, event_loop: f.event_loop }
        }
        ToCore::Heartbeat(_) => {
            if !rules.silent {
                ToEdge::Heartbeat(Heartbeat {}).encode(out);
            }
            Seen::Heartbeat
        }
        ToCore::Echo(f) => {
            if rules.echoes && !rules.silent {
                ToEdge::Echo(*f).encode(out);
            }
            Seen::Echo
        }
        ToCore::LinkCredit(_) | ToCore::Certificate(_) => return None,
        ToCore::StanzaAgain(f) => {
            if rules.settle {
                let (counter, generation, number) = (f.counter, f.generation, f.number);
                ToEdge::Settled(Settled { counter, generation, number, credit: u64::MAX / 2 }).encode(out);
            }
            let (counter, generation, number) = (f.counter, f.generation, f.number);
            Seen::Again { counter, generation, number, xml: xml(f.stanza), fault: f.fault }
        }
        ToCore::SmEnable(f) => {
            if rules.answer {
                let entry = state.entries.get(&f.counter).copied().unwrap_or(0);
                let previd = Some("prev").filter(|_| f.resume);
                let (counter, generation) = (f.counter, f.generation);
                ToEdge::SmEnabled(SmEnabled { counter, generation, entry, previd, max_s: 300 }).encode(out);
            }
            Seen::SmEnable { counter: f.counter, number: f.number, resume: f.resume, max_s: f.max_s }
        }
        ToCore::Resume(f) => {
            if rules.resume {
                let jid = "user@test.example/resumed";
                let (stream, generation) = (StreamId([8; 16]), GENERATION);
                let (number, sm_number, entry, sm_entry) = (5, 2, 7, 4);
                let credit = rules.session_credit;
                let counter = f.counter;
                ToEdge::Resumed(Resumed {
                    counter,
                    stream,
                    generation,
                    jid,
                    number,
                    sm_number,
                    entry,
                    sm_entry,
                    credit,
                })
                .encode(out);
                state.sessions.insert(jid.to_owned(), counter);
                state.entries.insert(counter, entry);
            } else {
                let condition = hearth_wire::StanzaCondition::ItemNotFound;
                ToEdge::ResumeFailed(ResumeFailed { counter: f.counter, condition, h: Some(9) }).encode(out);
            }
            Seen::Resume { counter: f.counter, previd: f.previd.to_owned(), h: f.h }
        }
        ToCore::Attach(f) => {
            let (counter, before) = (f.counter, f.generation);
            if rules.refuse {
                let condition = Some(hearth_wire::StreamCondition::Conflict);
                ToEdge::Close(Close { counter, generation: Some(before), condition, text: "" }).encode(out);
            } else if rules.attach {
                let generation = Generation { epoch: before.epoch + 1, counter: 1 };
                state.generations.insert(counter, generation);
                state.entries.insert(counter, f.entry);
                let (settled, credit) = (f.settled, rules.session_credit);
                ToEdge::Attached(Attached { counter, before, generation, received: settled, settled, credit })
                    .encode(out);
            }
            Seen::Attach {
                counter,
                shard,
                generation: before,
                sealed: f.sealed.to_vec(),
                settled: f.settled,
                number: f.number,
                entry: f.entry,
                written: f.written,
                log: f.log,
                unwritten: f.unwritten.clone(),
                recent: f.recent.clone(),
                closed: f.closed,
            }
        }
        ToCore::AllSent(_) => Seen::AllSent { shard },
        ToCore::Recent(f) => Seen::Recent { counter: f.counter, logs: f.logs.clone() },
        ToCore::OpenQuestions(f) => Seen::OpenQuestions {
            counter: f.counter,
            open: f.open.iter().map(|asked| (asked.id.to_owned(), asked.to.map(str::to_owned))).collect(),
        },
        ToCore::Drained(_) => Seen::Drained,
        ToCore::Authenticate(f) => {
            if rules.answer {
                match (f.mechanism, f.initial) {
                    ("PLAIN", Some(initial)) => {
                        let parts: Vec<&[u8]> = initial.split(|b| *b == 0).collect();
                        if parts.len() == 3 && parts[2] == b"secret" {
                            let account = format!("{}@{}", String::from_utf8_lossy(parts[1]), f.domain);
                            let success = AuthSuccess { counter: f.counter, account: &account, data: None };
                            ToEdge::AuthSuccess(success).encode(out);
                        } else {
                            let condition = hearth_wire::SaslCondition::NotAuthorized;
                            ToEdge::AuthFailure(AuthFailure { counter: f.counter, condition, last: false }).encode(out);
                        }
                    }
                    ("SCRAM-TEST" | "PLAIN", _) => {
                        ToEdge::AuthChallenge(AuthChallenge { counter: f.counter, data: b"what" }).encode(out);
                    }
                    _ => {
                        let condition = hearth_wire::SaslCondition::InvalidMechanism;
                        ToEdge::AuthFailure(AuthFailure { counter: f.counter, condition, last: false }).encode(out);
                    }
                }
            }
            Seen::Authenticate {
                counter: f.counter,
                mechanism: f.mechanism.to_owned(),
                initial: f.initial.map(<[u8]>::to_vec),
                bound: (f.binding.tls_exporter.map(<[u8]>::to_vec), f.binding.tls_server_end_point.map(<[u8]>::to_vec)),
                clear: f.security == hearth_wire::to_core::Security::ClearLoopback,
                peer: f.peer,
            }
        }
        ToCore::AuthenticateInline(f) => panic!("never announced: {f:?}"),
        ToCore::AuthResponse(f) => {
            if rules.answer {
                let success = AuthSuccess { counter: f.counter, account: "scram@test.example", data: Some(b"v=ok") };
                ToEdge::AuthSuccess(success).encode(out);
            }
            Seen::AuthResponse { counter: f.counter, data: f.data.to_vec() }
        }
        ToCore::AuthAbort(f) => Seen::AuthAbort { counter: f.counter },
        ToCore::Bind(f) => {
            state.bound += 1;
            let resource = f.resource.map_or_else(|| format!("r{}", state.bound), str::to_owned);
            let jid = format!("user@test.example/{resource}");
            if rules.answer {
                ToEdge::Bound(Bound {
                    counter: f.counter,
                    stream: StreamId([7; 16]),
                    generation: GENERATION,
                    jid: &jid,
                    credit: rules.session_credit,
                })
                .encode(out);
                state.sessions.insert(jid, f.counter);
            }
            Seen::Bind { counter: f.counter, resource: f.resource.map(str::to_owned) }
        }
        ToCore::Stanza(f) => {
            if rules.settle {
                ToEdge::Settled(Settled {
                    counter: f.counter,
                    generation: f.generation,
                    number: f.number,
                    credit: u64::MAX / 2,
                })
                .encode(out);
            }
            let stanza = Stanza::decode(f.stanza).unwrap();
            Seen::Stanza {
                counter: f.counter,
                number: f.number,
                xml: xml(f.stanza),
                to: stanza.to.map(str::to_owned),
                lang: stanza.lang.map(str::to_owned),
                fault: f.fault.is_some(),
                bytes: f.stanza.len(),
            }
        }
        ToCore::Written(f) => Seen::Written { counter: f.counter, entry: f.entry, credit: f.credit },
        ToCore::Closed(f) => Seen::Closed { counter: f.counter, bound: f.generation.is_some(), clean: f.clean },
        ToCore::PreAuthIq(f) => Seen::PreAuthIq { counter: f.counter, xml: xml(f.stanza) },
    })
}

fn hello(shard: u16, rules: &Rules, out: &mut Vec<u8>) {
    let slot_key = SlotKey([3; 16]);
    ToEdge::Welcome(Welcome { version: rules.version, shards: rules.shards, slot_key, link_credit: rules.link_credit })
        .encode(out);
    let share = 4096 / rules.shards;
    let (first, last) = (Slot::new(shard * share).unwrap(), Slot::new(shard * share + share - 1).unwrap());
    ToEdge::SlotOwner(SlotOwner { first, last, epoch: 1, shard }).encode(out);
    let mechanisms = |names: &[&str]| {
        let mut tree = Builder::new();
        tree.open(Some("urn:ietf:params:xml:ns:xmpp-sasl"), "mechanisms");
        for name in names {
            tree.leaf(None, "mechanism", name);
        }
        tree.close();
        if rules.registration {
            tree.open(Some("http://jabber.org/features/iq-register"), "register").close();
        }
        tree.finish()
    };
    let mut authenticated = Builder::new();
    authenticated.open(Some("urn:ietf:params:xml:ns:xmpp-bind"), "bind").close();
    if rules.version > 1 {
        authenticated.open(Some("urn:xmpp:sm:3"), "sm").close();
    }
    ToEdge::Domain(Domain {
        domain: "test.example",
        features_clear: &mechanisms(&["PLAIN", "X-CLEAR"]),
        features_tls: &mechanisms(&["PLAIN", "X-TLS"]),
        features_tls_end_point: &mechanisms(&["PLAIN", "X-END-POINT"]),
        features_tls_exporter: &mechanisms(&["PLAIN", "X-EXPORTER"]),
        features_tls_bound: &mechanisms(&["PLAIN", "X-BOUND"]),
        features_authenticated: &authenticated.finish(),
    })
    .encode(out);
}

/// An edge with a STARTTLS listener, one that allows clear login, and one of direct TLS.
pub struct Edge {
    pub folder: tempfile::TempDir,
    pub starttls: SocketAddr,
    pub clear: SocketAddr,
    pub direct: SocketAddr,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Edge {
    /// With a core beside it.
    pub fn with_core(rules: Rules, change: impl FnOnce(&mut Config)) -> (Edge, Core) {
        let folder = tempfile::tempdir().unwrap();
        let core = Core::start(folder.path().join("link.sock"), rules);
        let edge = Edge::start(folder, change);
        (edge, core)
    }

    pub fn start(folder: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Edge {
        let listener = |tls, allow_clear_login| Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls,
            allow_clear_login,
            proxy_from: Vec::new(),
        };
        let mut config = Config {
            event_loops: 1,
            core: Some(CoreAddress::Unix(folder.path().join("link.sock"))),
            listeners: vec![
                listener(ListenerTls::Starttls, false),
                listener(ListenerTls::Starttls, true),
                listener(ListenerTls::Direct, false),
            ],
            self_signed: SelfSigned { folder: folder.path().join("tls"), domains: vec!["test.example".to_owned()] },
            ..Config::default()
        };
        change(&mut config);
        let stop = StopHandle::new();
        let (sender, receiver): (Sender<Vec<SocketAddr>>, Receiver<_>) = channel();
        let stop2 = stop.clone();
        let thread = std::thread::spawn(move || {
            run(config, |ready| sender.send(ready.addresses.clone()).unwrap(), stop2).unwrap();
        });
        let addresses = receiver.recv_timeout(PATIENCE).unwrap();
        let (starttls, clear, direct) = (addresses[0], addresses[1], addresses[2]);
        Edge { folder, starttls, clear, direct, stop, thread: Some(thread) }
    }

    pub fn stop(&self) {
        self.stop.stop();
    }

    /// Stops the edge and waits until its threads have ended.
    pub fn join(mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub trait Pipe: Read + Write + Send {
    /// Sends the last bytes together with the notice that nothing follows.
    fn finish(&mut self, last: &[u8]);
}

impl Pipe for TcpStream {
    fn finish(&mut self, last: &[u8]) {
        self.write_all(last).unwrap();
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }
}

/// A blocking client.
pub struct Peer {
    pipe: Box<dyn Pipe>,
    /// The socket itself where there is no TLS on it.
    socket: Option<TcpStream>,
    /// Received and not yet expected.
    pub text: String,
}

pub const HEADER: &str = "<stream:stream to='test.example' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

impl Peer {
    pub fn connect(address: SocketAddr) -> Peer {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        let other = socket.try_clone().unwrap();
        Peer { socket: Some(other), ..Peer::over(socket) }
    }

    pub fn over(pipe: impl Pipe + 'static) -> Peer {
        Peer { pipe: Box::new(pipe), socket: None, text: String::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).unwrap();
        self.pipe.flush().unwrap();
    }

    /// Sends `last` and nothing more.
    pub fn finish(&mut self, last: &str) {
        self.pipe.finish(last.as_bytes());
    }

    pub fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        self.pipe.write_all(text.as_bytes())
    }

    /// What lies in the socket now, without waiting: `None` if nothing, `Some(0)` at the end.
    fn peek(&self) -> Option<usize> {
        let socket = self.socket.as_ref().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut chunk = [0; 65536];
        let found = socket.peek(&mut chunk);
        socket.set_nonblocking(false).unwrap();
        match found {
            Ok(n) if n > 0 && chunk[..n].ends_with(b"</stream:stream>") => Some(0),
            Ok(n) => Some(n),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// Whether the stream has ended, by its closing tag or by its connection.
    pub fn ended(&self) -> bool {
        self.peek() == Some(0)
    }

    /// Whether anything came.
    pub fn has_text(&self) -> bool {
        self.peek().is_some()
    }

    /// Reads until `wanted` has come; returns and forgets everything up to its end.
    pub fn expect(&mut self, wanted: &str) -> String {
        let mut chunk = [0; 16384];
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            match self.pipe.read(&mut chunk) {
                Ok(0) => panic!("end of stream; wanted {wanted:?}, got {:?}", self.text),
                Ok(n) => self.text.push_str(std::str::from_utf8(&chunk[..n]).unwrap()),
                Err(e) => panic!("{e}; wanted {wanted:?}, got {:?}", self.text),
            }
        }
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.pipe.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(e) => panic!("{e}; so far {:?} {:?}", self.text, String::from_utf8_lossy(&bytes)),
        }
        std::mem::take(&mut self.text) + &String::from_utf8(bytes).unwrap()
    }

    /// Logs in with PLAIN on a stream whose features have come; the features behind it.
    pub fn authenticate(&mut self) -> String {
        self.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAc2VjcmV0</auth>");
        self.expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.send(HEADER);
        self.expect("</stream:features>")
    }

    /// Logs in and binds `resource`.
    pub fn login(&mut self, resource: &str) {
        self.authenticate();
        self.send(&format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        ));
        self.expect(&format!("<jid>user@test.example/{resource}</jid></bind></iq>"));
    }

    /// Enables stream management, to be resumed.
    pub fn enable(&mut self) {
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        self.expect("<enabled xmlns='urn:xmpp:sm:3' id='prev' resume='true' max='300'/>");
    }

    /// A bound client on the listener that allows clear login.
    pub fn bound(edge: &Edge, resource: &str) -> Peer {
        let mut peer = Peer::connect(edge.clear);
        peer.send(HEADER);
        peer.expect("</stream:features>");
        peer.login(resource);
        peer
    }
}
