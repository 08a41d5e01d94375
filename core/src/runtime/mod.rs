//! The shell around the shards: threads, sockets, storage, clock. Nothing here decides anything
//! about XMPP.

mod acceptor;
mod control_socket;
mod edge_admin;
mod edge_keys;
mod link_io;
mod mail;
mod metrics;
mod reload;
mod shard_thread;
mod stop;

use crate::Now;
use crate::config::{Config, CoreError};
use crate::derive::Pool;
use crate::domain::Domains;
use crate::limits::Limits;
use crate::outputs::{Event, Outputs};
use crate::random::Random;
use crate::shard::{Settings, Shard};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
pub(crate) use edge_admin::EdgeAdmin;
use edge_admin::TlsDoor;
use edge_keys::EdgeKeys;
use hearth_link::PrivateKey;
use hearth_link::metrics::Times;
use hearth_storage::{Answer, Ask, Boot, Question, Storage};
use hearth_wire::ids::ShardIndex;
use hearth_wire::to_core::VERSION_MAX;
use mail::{Mail, Mailbox};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Instant, SystemTime};
pub use stop::{StopHandle, stop_on_signals};

const WAKE_TOKEN: mio::Token = mio::Token(usize::MAX);

/// Stack of a shard's thread: its loops are iterative, so little is enough.
const SHARD_STACK_BYTES: usize = 512 * 1024;

/// The time of one process: milliseconds since it started, and UTC.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the runtime owns the clock")]
    fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "the runtime owns the clock")]
    pub(crate) fn now(&self) -> Now {
        let utc = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            utc_ms: u64::try_from(utc.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The operating system's randomness.
pub struct OsRandom(SystemRandom);

impl OsRandom {
    pub fn new() -> OsRandom {
        OsRandom(SystemRandom::new())
    }
}

impl Default for OsRandom {
    fn default() -> OsRandom {
        OsRandom::new()
    }
}

impl Random for OsRandom {
    fn fill_bytes(&mut self, out: &mut [u8]) {
        // Without randomness nothing here is safe, so the process must not go on.
        if self.0.fill(out).is_err() {
            tracing::error!(event = "no_randomness", next = "the operating system's random source failed");
            std::process::abort();
        }
    }
}

/// Where a running core can be reached.
#[derive(Clone, Debug)]
pub struct Ready {
    pub link_unix: Option<PathBuf>,
    pub link_tcp: Option<SocketAddr>,
    pub link_tls: Option<SocketAddr>,
    pub control: PathBuf,
    pub shards: u16,
    /// Where figures are served.
    pub metrics: Option<SocketAddr>,
}

/// Runs a core until `stop`; `ready` is called once, when edges may dial.
pub fn run(config: &Config, ready: impl FnOnce(&Ready), stop: &StopHandle) -> Result<(), CoreError> {
    let clock = Clock::start();
    let (storage, boot, domains) = open_storage(config)?;
    let shards = config.shards.max(1);
    let mut polls = Vec::new();
    let mut mailboxes: Vec<Mailbox> = Vec::new();
    for _ in 0..shards {
        let poll = mio::Poll::new().map_err(|cause| CoreError::os("create an event queue", cause))?;
        let (mailbox, inbox) =
            Mailbox::new(&poll, WAKE_TOKEN).map_err(|cause| CoreError::os("create an event queue", cause))?;
        polls.push((poll, inbox));
        mailboxes.push(mailbox);
    }
    let to_shards = mailboxes.clone();
    let storage = storage
        .start(shards, move |shard: ShardIndex, answers| {
            if let Some(mailbox) = to_shards.get(usize::from(shard)) {
                mailbox.send(Mail::Answers(answers));
            }
        })
        .map_err(|cause| CoreError::Storage { path: config.data.clone(), cause })?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
    let pool = Arc::new(Pool::start(workers).map_err(|cause| CoreError::os("start a thread", cause))?);
    let edge_keys = Arc::new(EdgeKeys::new(boot.edges));
    let (acceptor, mut at, tls_door) = listen(config, &mailboxes, &edge_keys, clock)?;
    let edges =
        EdgeAdmin { keys: edge_keys, door: tls_door, shards: mailboxes.clone(), clock, changing: Arc::default() };
    let control = control_socket::Control {
        shards: mailboxes.clone(),
        slot_key: boot.slot_key,
        config: Arc::new(Mutex::new(Arc::new(config.clone()))),
        edges,
        audit: Arc::new(crate::audit::Audit::new(&config.data, {
            let storage = storage.clone();
            Box::new(move || storage.is_full())
        })),
        storage: storage.clone(),
        clock,
        domains_changing: Arc::default(),
        deletions: Arc::default(),
    };
    let control_listener = bind_unix_std(&at.control)?;
    let metrics_listener = config.metrics.map(metrics::listen).transpose()?;
    at.metrics = metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let turns: Vec<Arc<Times>> = (0..shards).map(|_| Arc::default()).collect();

    let mut threads: Vec<JoinHandle<std::io::Result<()>>> = Vec::new();
    for ((index, (poll, inbox)), turns) in (0..shards).zip(polls).zip(&turns) {
        let settings = Settings {
            index,
            shards,
            slot_key: boot.slot_key,
            secret: boot.secret,
            epoch: boot.epoch,
            clear_login: config.clear_login,
            limits: Limits { token_ms: config.token_ms(), ..Default::default() },
            link_version: VERSION_MAX,
            edges_before: boot.edge_runs.clone(),
            restored: boot.restored,
            settled: boot.settled,
        };
        let Some(own) = mailboxes.get(usize::from(index)).cloned() else { continue };
        let thread = shard_thread::ShardThread {
            index,
            shard: Shard::new(settings, domains.clone(), &boot.sessions, Box::new(OsRandom::new())),
            poll,
            inbox,
            own,
            peers: mailboxes.clone(),
            storage: storage.clone(),
            health_seen: 0,
            pool: pool.clone(),
            clock,
            links: BTreeMap::new(),
            next_link: 0,
            controls: BTreeMap::new(),
            next_control: 1,
            out: Outputs::default(),
            scratch: vec![0; link_io::READ_CHUNK].into(),
            stopping: false,
            drained: None,
            turns: turns.clone(),
        };
        threads.push(spawn(format!("shard-{index}"), move || thread.run())?);
    }
    let accept_stop = Arc::new(AtomicBool::new(false));
    let accept_waker = acceptor.waker();
    let accept = spawn("acceptor".to_owned(), {
        let stop = accept_stop.clone();
        move || acceptor.run(&stop)
    })?;
    // Ends with the process: it holds nothing that must be closed.
    spawn("control".to_owned(), {
        let control = control.clone();
        move || {
            control.serve(&control_listener);
            Ok(())
        }
    })?;
    let metrics = metrics_listener.map(|listener| metrics::start(listener, control.clone(), turns)).transpose()?;

    ready(&at);
    stop.wait(|new| control.reload(new, stop));
    tracing::info!(event = "stopping");
    accept_stop.store(true, Ordering::Release);
    let _ = accept_waker.wake();
    join(accept);
    if let Some(metrics) = metrics {
        metrics.stop();
    }
    stop::drain(&mailboxes, control.config.lock().drain_s, stop);
    for mailbox in &mailboxes {
        mailbox.send(Mail::Stop);
    }
    threads.into_iter().for_each(join);
    storage.shutdown().map_err(|cause| CoreError::Storage { path: config.data.clone(), cause })?;
    for path in at.link_unix.iter().chain([&at.control]) {
        // A socket file that is gone already is as good.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn spawn(
    name: String,
    body: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<JoinHandle<std::io::Result<()>>, CoreError> {
    Builder::new()
        .name(name)
        .stack_size(SHARD_STACK_BYTES)
        .spawn(body)
        .map_err(|cause| CoreError::os("start a thread", cause))
}

fn join(thread: JoinHandle<std::io::Result<()>>) {
    let name = thread.thread().name().unwrap_or("thread").to_owned();
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => tracing::error!(event = "thread_failed", thread = name, cause = %cause),
        Err(_) => tracing::error!(event = "thread_panicked", thread = name),
    }
}

/// Opens the store and makes its domains those of the configuration.
fn open_storage(config: &Config) -> Result<(Storage, Boot, Domains), CoreError> {
    let failed = |cause| CoreError::Storage { path: config.data.clone(), cause };
    let (storage, boot) = config.storage(&mut OsRandom::new()).map_err(failed)?;
    let (records, changes) = config.domain_records(boot.domains.clone());
    if let Some(first) = records.first().filter(|_| !changes.is_empty()) {
        let slot = boot.slot_key.slot(&first.domain);
        let question = Question { id: 0, slot, epoch: boot.epoch, ask: Ask::Apply { changes } };
        if let Answer::Failed(cause) = storage.answer(question).answer {
            return Err(failed(cause));
        }
    }
    Ok((storage, boot, Domains::new(records)))
}

fn listen(
    config: &Config,
    mailboxes: &[Mailbox],
    keys: &Arc<EdgeKeys>,
    clock: Clock,
) -> Result<(acceptor::Acceptor, Ready, Option<TlsDoor>), CoreError> {
    let bind = |address: SocketAddr| {
        mio::net::TcpListener::bind(address).map_err(|cause| CoreError::Listen { address: address.to_string(), cause })
    };
    let unix = match config.link_unix() {
        Some(path) => {
            let listener = bind_unix_std(&path)?;
            listener.set_nonblocking(true).map_err(|cause| CoreError::os("listen for links", cause))?;
            Some((mio::net::UnixListener::from_std(listener), path))
        }
        None => None,
    };
    let tcp = config.link_tcp.map(bind).transpose()?;
    let mut door = None;
    let tls = match config.link_tls {
        Some(address) => {
            let key = PrivateKey::load_or_make(&config.link_key())
                .map_err(|error| CoreError::Key(format!("{}: {error}", config.link_key().display())))?;
            let tls = hearth_link::tls::server_config(&key, keys.clone()).map_err(|e| CoreError::Key(e.to_string()))?;
            let listener = bind(address)?;
            let public = key.public().map_err(|e| CoreError::Key(e.to_string()))?;
            door = listener.local_addr().ok().map(|address| TlsDoor { address, key: public });
            Some((listener, tls))
        }
        None => None,
    };
    let link_tcp = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
    let link_tls = tls.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
    let (unix, link_unix) = unix.unzip();
    let doors = acceptor::Doors { unix, tcp, tls };
    let acceptor = acceptor::Acceptor::new(doors, keys.clone(), mailboxes.to_vec(), clock)
        .map_err(|cause| CoreError::os("listen for links", cause))?;
    let (control, shards) = (config.control(), config.shards.max(1));
    Ok((acceptor, Ready { link_unix, link_tcp, link_tls, control, shards, metrics: None }, door))
}

/// Listens on a Unix socket. The store's lock shows that a file in the way is of a dead process.
fn bind_unix_std(path: &Path) -> Result<std::os::unix::net::UnixListener, CoreError> {
    let listen = |cause| CoreError::Listen { address: path.display().to_string(), cause };
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(cause) => return Err(listen(cause)),
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(listen)?;
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, only_owner).map_err(listen)?;
    Ok(listener)
}

/// One line per event, addresses but never bodies or secrets.
fn log_event(shard: ShardIndex, event: &Event) {
    match event {
        Event::EdgeUp { link, edge, event_loop } => {
            tracing::info!(event = "edge_up", shard, link = link.0, edge, event_loop);
        }
        Event::EdgeDown { link, edge, sessions } => {
            tracing::warn!(event = "edge_down", shard, link = link.0, edge, sessions);
        }
        Event::EdgeRefused { link, reason } => tracing::warn!(event = "edge_refused", shard, link = link.0, reason),
        Event::LoggedIn { account, mechanism } => tracing::debug!(event = "logged_in", shard, account, mechanism),
        Event::LoginFailed { account, source, condition } => {
            let source = source.map(tracing::field::display);
            tracing::info!(event = "login_failed", shard, account, source, condition = condition.element());
        }
        Event::SessionStarted { jid } => tracing::debug!(event = "session_started", shard, session = jid),
        Event::SessionEnded { jid, reason } => tracing::debug!(event = "session_ended", shard, session = jid, reason),
        Event::SessionAdopted { jid } => tracing::debug!(event = "session_adopted", shard, session = jid),
        Event::Recovered { sessions, missing } => tracing::info!(event = "recovered", shard, sessions, missing),
        Event::SessionDetached { jid, held_bytes } => {
            tracing::warn!(event = "session_detached", shard, session = jid, held_bytes);
        }
        Event::StorageFailed { doing, cause } => tracing::error!(event = "storage_failed", shard, doing, cause),
        Event::SlotMoved { slot, epoch, shard: owner } => {
            tracing::info!(event = "slot_moved", shard, slot = slot.index(), epoch, owner);
        }
        Event::SlotLost { slot, epoch } => {
            tracing::warn!(event = "slot_lost", shard, slot = slot.index(), epoch);
        }
        Event::AccountChanged { account, change } => tracing::info!(event = "account_changed", shard, account, change),
    }
}
