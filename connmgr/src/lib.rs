//! The edge: client sockets in, parsed stanzas over links to the core, and back.
//!
//! It promises that nothing of a client's bytes reaches the core or another client but typed, validated, bounded
//! trees; that it decides nobody's identity; and that a client costs others nothing, whatever it sends or does not read.
//!
//! ```text
//!  event_loop.rs   the only place that polls; one thread, its listeners, clients, links
//!    listener.rs   SO_REUSEPORT sockets, who may come in; proxy.rs whom a trusted proxy brings, pure
//!    client.rs     one client: drives the three below; rate.rs how fast it may send, pure
//!      conn.rs     transport: socket, tls.rs, bytes under way
//!      xml/        bytes → pieces → trees          render.rs   trees → bytes
//!      stream.rs   negotiation, pure               session.rs  bound session, pure: the hot path
//!                                                  sm.rs       its stream management, pure
//!    link.rs       one shard: frames, credit, heartbeat; dispatch.rs brings its frames to clients
//!    detached.rs   sessions that wait for a link, pure; reattach.rs names them on the next one
//!    directory.rs  what the core announced: domains, features, owners of slots
//! ```
//!
//! ```no_run
//! use hearth_connmgr::{Config, StopHandle};
//! let stop = StopHandle::new();
//! let at_signal = stop.clone(); // at_signal.stop() from anywhere ends `run`
//! hearth_connmgr::run(Config::default(), |ready| println!("{:?}", ready.addresses), at_signal)?;
//! # Ok::<(), hearth_connmgr::Error>(())
//! ```

mod ask;
pub mod certificate;
mod client;
pub mod config;
mod conn;
pub mod detached;
mod dialer;
pub mod directory;
mod dispatch;
mod entry;
mod event_loop;
mod figures;
mod handshakes;
pub mod limits;
mod link;
mod listener;
mod live;
pub mod network;
pub mod process;
pub mod proxy;
pub mod rate;
mod reattach;
pub mod render;
pub mod session;
mod shared;
mod slab;
mod sm;
pub mod stream;
pub mod tls;
mod wheel;
pub mod xml;

pub use config::Config;

use certificate::{CertificateError, Certificates};
use config::ConfigError;
use crossbeam_channel::{Receiver, Sender};
use dialer::Dialer;
use event_loop::{EventLoop, Setup};
use figures::Published;
use limits::{DESCRIPTORS_RESERVED, KEEPER_STACK_BYTES, LOOP_STACK_BYTES};
use link::Identity;
use live::{Live, Settings};
use mio::Waker;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Why an edge did not start, or stopped.
#[derive(Debug)]
pub enum Error {
    /// An address for clients cannot be had.
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    Certificate(CertificateError),
    /// The key file for links cannot be used.
    Link(config::ConfigError),
    Tls(rustls::Error),
    /// The system refused something else.
    System {
        doing: &'static str,
        error: io::Error,
    },
    /// A thread of ours panicked.
    Panicked,
}

impl Error {
    /// The process' exit code: each cause its own, above those of usage (2) and configuration (3).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Listen { .. } => 4,
            Error::Certificate(_) => 5,
            Error::Tls(_) => 6,
            Error::System { .. } => 7,
            Error::Link(_) => 3,
            Error::Panicked => 70,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "cannot listen on {address}: the port is in use")
            }
            Error::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Error::Certificate(error) => error.fmt(f),
            Error::Link(error) => error.fmt(f),
            Error::Tls(error) => write!(f, "cannot set up TLS: {error}"),
            Error::System { doing, error } => write!(f, "cannot {doing}: {error}"),
            Error::Panicked => f.write_str("an event loop panicked"),
        }
    }
}

impl std::error::Error for Error {}

/// An edge that takes clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ready {
    /// Where it listens, in the order of [`Config::listeners`]; port 0 has become a real one.
    pub addresses: Vec<SocketAddr>,
    /// Where figures are served.
    pub metrics: Option<SocketAddr>,
}

/// Stops an edge, or changes its settings, from another thread.
#[derive(Clone, Default)]
pub struct StopHandle(Arc<Stop>);

#[derive(Default)]
struct Stop {
    /// How often it was asked for.
    asked: Arc<AtomicU8>,
    wakers: Mutex<Vec<Waker>>,
    live: Mutex<Option<Arc<Live>>>,
    keeper: Rouse,
}

impl StopHandle {
    pub fn new() -> StopHandle {
        StopHandle::default()
    }

    /// Lets [`run`] take no new clients, end every stream (`system-shutdown`) behind what waits for it, and return,
    /// at the latest after `timeouts.drain_s`. The second time: lets it return at once.
    pub fn stop(&self) {
        let _ = self.0.asked.fetch_update(Ordering::AcqRel, Ordering::Acquire, |asked| asked.checked_add(1));
        self.wake();
    }

    /// Puts another configuration in force, as far as a running edge can change (`connmgr.toml` says which keys);
    /// what cannot change, and certificates that are bad, are told in the log and stay as they were. Certificates
    /// are read again in any case. Nothing happens before [`run`] is ready.
    pub fn reload(&self, config: Config) {
        let live = self.0.live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(live) = live {
            live.reload(config);
        }
    }

    fn wake(&self) {
        self.0.keeper.rouse();
        self.wake_loops();
    }

    fn wake_loops(&self) {
        for waker in self.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = waker.wake();
        }
    }

    fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire) > 0
    }
}

/// Wakes one thread; more calls before it looks are one.
#[derive(Clone)]
struct Rouse(Sender<()>, Receiver<()>);

impl Default for Rouse {
    fn default() -> Rouse {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        Rouse(sender, receiver)
    }
}

impl Rouse {
    fn rouse(&self) {
        // Full means that it is roused already.
        let _ = self.0.try_send(());
    }
}

/// Reads what a configuration names, changing nothing.
pub fn check(config: &Config) -> Result<(), Error> {
    config.uplink().map_err(Error::Link)?;
    // One that would be made is not: nothing is changed.
    let named = Config { self_signed_enabled: Some(false), ..config.clone() };
    let loaded = Certificates::load(&named, &tls::crypto_provider(), live::now_ms());
    loaded.map(|_| ()).map_err(Error::Certificate)
}

/// Runs an edge until it is stopped. `ready` is called once all its addresses take clients.
pub fn run(config: Config, ready: impl FnOnce(&Ready), stop: StopHandle) -> Result<(), Error> {
    let uplink = config.uplink().map_err(Error::Link)?;
    let certificates =
        Certificates::load(&config, &tls::crypto_provider(), live::now_ms()).map_err(Error::Certificate)?;
    let dialer = Dialer::new(uplink.core.clone(), uplink.bundle.as_ref()).map_err(|e| Error::Link(ConfigError(e)))?;
    let dialer = Arc::new(dialer);
    let config = Arc::new(config);
    let settings = Settings::new(Arc::clone(&config), Arc::new(certificates)).map_err(Error::Tls)?;
    let keeper = stop.0.keeper.clone();
    let live = Arc::new(Live::new(settings, Box::new(move || keeper.rouse())));
    *stop.0.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&live));
    let loops = config.event_loops.max(1);
    let descriptors = process::raise_descriptor_limit().saturating_sub(DESCRIPTORS_RESERVED);
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let (sockets, addresses) = listen(&config, loops)?;
    let incarnation = incarnation();
    let mut threads = Vec::new();
    let metrics = config.metrics.map(listen_metrics).transpose()?;
    let mut figures = Vec::new();
    for (event_loop, listeners) in (0..loops).zip(sockets) {
        let published: Arc<Published> = Arc::default();
        figures.push(Arc::clone(&published));
        let system = |doing| move |error| Error::System { doing, error };
        let (this, waker) = EventLoop::new(Setup {
            live: Arc::clone(&live),
            identity: Identity { edge: uplink.name.clone(), incarnation, event_loop, event_loops: loops },
            dialer: Arc::clone(&dialer),
            listeners,
            descriptors: descriptors / usize::from(loops),
            stop: Arc::clone(&stop.0.asked),
            published: Arc::clone(&published),
        })
        .map_err(system("set up an event loop"))?;
        stop.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).push(waker);
        let end = StopOnDrop(stop.clone());
        let thread = std::thread::Builder::new()
            .name(format!("loop-{event_loop}"))
            .stack_size(LOOP_STACK_BYTES)
            .spawn(move || {
                // One loop that ends takes the others along: an edge that is half there helps nobody.
                let _end = end;
                this.run()
            })
            .map_err(system("start a thread"))?;
        threads.push(thread);
    }
    let figures_at = metrics.as_ref().map(|(_, stop)| tracing::field::display(stop.address()));
    tracing::info!(event = "ready", ?addresses, loops, edge = uplink.name, core = %uplink.core, metrics = figures_at);
    threads.push(keep(Arc::clone(&live), &stop)?);
    let (metrics, metrics_stop) = metrics.unzip();
    if let (Some(listener), Some(stop)) = (metrics, metrics_stop.clone()) {
        threads.push(serve_metrics(listener, stop, figures, live)?);
    }
    ready(&Ready { addresses, metrics: metrics_stop.as_ref().map(hearth_link::metrics::Stop::address) });
    let mut result = Ok(());
    for (at, thread) in threads.into_iter().enumerate() {
        if at == usize::from(loops)
            && let Some(stop) = &metrics_stop
        {
            stop.stop(); // All loops have ended.
        }
        let done = match thread.join() {
            Ok(done) => done.map_err(|error| Error::System { doing: "poll", error }),
            Err(_) => Err(Error::Panicked),
        };
        result = result.and(done);
    }
    stop.0.wakers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    *stop.0.live.lock().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::info!(event = "stopped");
    result
}

/// Starts the thread that looks after settings; it ends when the edge stops.
fn keep(live: Arc<Live>, stop: &StopHandle) -> Result<JoinHandle<io::Result<()>>, Error> {
    let stop = stop.clone();
    let roused = stop.0.keeper.1.clone();
    let body = move || {
        while roused.recv().is_ok() && !stop.is_asked() {
            if live.look() {
                stop.wake_loops();
            }
        }
        Ok(())
    };
    let thread = std::thread::Builder::new().name("settings".to_owned()).stack_size(KEEPER_STACK_BYTES).spawn(body);
    thread.map_err(|error| Error::System { doing: "start a thread", error })
}

fn listen_metrics(address: SocketAddr) -> Result<(TcpListener, hearth_link::metrics::Stop), Error> {
    if !address.ip().is_loopback() {
        tracing::warn!(event = "metrics_open", %address, next = "see that only your collector can connect there");
    }
    let listener = TcpListener::bind(address).map_err(|error| Error::Listen { address, error })?;
    let stop = hearth_link::metrics::Stop::of(&listener).map_err(|error| Error::Listen { address, error })?;
    Ok((listener, stop))
}

/// Serves the figures on a thread of its own.
fn serve_metrics(
    listener: TcpListener,
    stop: hearth_link::metrics::Stop,
    figures: Vec<Arc<Published>>,
    live: Arc<Live>,
) -> Result<JoinHandle<io::Result<()>>, Error> {
    let body = move || {
        hearth_link::metrics::serve(&listener, &stop, || Some(figures::page(&figures, &live)));
        Ok(())
    };
    let thread = std::thread::Builder::new().name("metrics".to_owned()).stack_size(LOOP_STACK_BYTES).spawn(body);
    thread.map_err(|error| Error::System { doing: "start a thread", error })
}

struct StopOnDrop(StopHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // Not a second time: the other loops drain in peace.
        if !self.0.is_asked() {
            self.0.stop();
        }
    }
}

type Sockets = Vec<Vec<(mio::net::TcpListener, config::Listener)>>;

/// Every loop's sockets, and the addresses they have in common.
fn listen(config: &Config, loops: u16) -> Result<(Sockets, Vec<SocketAddr>), Error> {
    let mut sockets: Sockets = (0..loops).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in &config.listeners {
        let mut address = listener.address;
        let failed = |error| Error::Listen { address: listener.address, error };
        listener::probe(address).map_err(failed)?;
        for of_loop in &mut sockets {
            let (socket, bound) = listener::bind(address).map_err(failed)?;
            address = bound;
            of_loop.push((socket, listener.clone()));
        }
        addresses.push(address);
    }
    Ok((sockets, addresses))
}

#[expect(clippy::disallowed_methods, reason = "names this run of the process")]
fn incarnation() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
