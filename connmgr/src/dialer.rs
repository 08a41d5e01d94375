//! How a loop reaches the core: Unix socket, plain TCP on loopback, or TLS with the edge's own key.

use crate::config::CoreAddress;
use hearth_link::tls::ClientConfig;
use hearth_link::{Bundle, Socket, TlsSocket};
use mio::net::{TcpStream, UnixStream};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module. Shared by all loops.
pub(crate) struct Dialer {
    address: CoreAddress,
    tls: Option<(Arc<ClientConfig>, Names)>,
}

impl Dialer {
    /// `bundle` is what `link_key` holds; a TLS address cannot do without. Looks names up, which takes a while.
    pub(crate) fn new(address: CoreAddress, bundle: Option<&Bundle>) -> Result<Dialer, String> {
        let tls = match (&address, bundle) {
            (CoreAddress::Tls(host), Some(bundle)) => {
                let config = hearth_link::tls::client_config(&bundle.key, &bundle.core_key);
                Some((config.map_err(|error| error.to_string())?, Names::new(host.clone())))
            }
            (CoreAddress::Tls(_), None) => return Err("core = \"tls:…\" without link_key".to_owned()),
            (CoreAddress::Unix(_) | CoreAddress::Tcp(_), _) => None,
        };
        Ok(Dialer { address, tls })
    }

    /// Begins a connection; it is made when its socket is writable.
    pub(crate) fn dial(&self) -> io::Result<Socket> {
        match (&self.address, &self.tls) {
            (CoreAddress::Unix(path), _) => UnixStream::connect(path).map(Socket::Unix),
            (CoreAddress::Tcp(address), _) => tcp(*address).map(Socket::Tcp),
            (CoreAddress::Tls(_), Some((config, names))) => {
                let socket = TlsSocket::connect(tcp(names.next()?)?, config)?;
                Ok(Socket::Tls(Box::new(socket)))
            }
            (CoreAddress::Tls(_), None) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The addresses behind the core's name. Looked up again, by a thread of its own, whenever one is dialled: a loop
/// never waits for DNS, and a core that moved is found at the next dial.
struct Names {
    host: String,
    known: Arc<Mutex<Vec<SocketAddr>>>,
    turn: AtomicUsize,
    under_way: Arc<AtomicBool>,
}

impl Names {
    fn new(host: String) -> Names {
        let known = match look_up(&host) {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(event = "core_not_found", core = host, %error);
                Vec::new()
            }
        };
        Names { host, known: Arc::new(Mutex::new(known)), turn: AtomicUsize::new(0), under_way: Arc::default() }
    }

    /// One after the other, so that a dead one is not dialled for ever.
    fn next(&self) -> io::Result<SocketAddr> {
        if self.host.parse::<SocketAddr>().is_err() && !self.under_way.swap(true, Ordering::AcqRel) {
            self.refresh();
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(known.len()).unwrap_or(0);
        let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host));
        known.get(turn).copied().ok_or_else(not_found)
    }

    fn refresh(&self) {
        let (host, known, under_way) = (self.host.clone(), Arc::clone(&self.known), Arc::clone(&self.under_way));
        let looked = std::thread::Builder::new().name("look-up".to_owned()).stack_size(128 * 1024).spawn(move || {
            // What was known stays until something better is.
            if let Ok(found) = look_up(&host) {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
            under_way.store(false, Ordering::Release);
        });
        if looked.is_err() {
            self.under_way.store(false, Ordering::Release);
        }
    }
}

fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(host.to_socket_addrs()?.collect())
}
