//! A relay of bytes between an edge and the core, which can cut its connections and hold what they carry.

use super::limits::{RELAY_BYTES, RELAY_TURN};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// What its threads are to do.
#[derive(Default)]
struct Orders {
    /// Connections made before so many cuts end.
    cuts: AtomicU64,
    refuse: AtomicBool,
    stall: AtomicBool,
    end: AtomicBool,
    /// Bytes that went to the core.
    to_core: AtomicU64,
}

pub(super) struct Relay {
    orders: Arc<Orders>,
    address: SocketAddr,
}

impl Relay {
    /// Listens on a free port of this address; what connects is connected to `core`.
    pub(super) fn start(listen: SocketAddr, core: SocketAddr) -> io::Result<Relay> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let relay = Relay { orders: Arc::default(), address: listener.local_addr()? };
        let orders = Arc::clone(&relay.orders);
        thread::Builder::new().name("relay".into()).spawn(move || accept(&listener, core, &orders))?;
        Ok(relay)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections and refuses others until [`heal`](Self::heal).
    pub(super) fn cut(&self) {
        self.orders.refuse.store(true, Ordering::Release);
        self.orders.cuts.fetch_add(1, Ordering::AcqRel);
    }

    /// Carries nothing until [`heal`](Self::heal).
    pub(super) fn stall(&self) {
        self.orders.stall.store(true, Ordering::Release);
    }

    pub(super) fn heal(&self) {
        self.orders.refuse.store(false, Ordering::Release);
        self.orders.stall.store(false, Ordering::Release);
    }

    pub(super) fn to_core_bytes(&self) -> u64 {
        self.orders.to_core.load(Ordering::Acquire)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.orders.end.store(true, Ordering::Release);
    }
}

fn accept(listener: &TcpListener, core: SocketAddr, orders: &Arc<Orders>) {
    while !orders.end.load(Ordering::Acquire) {
        let Ok((edge, _)) = listener.accept() else {
            thread::sleep(RELAY_TURN);
            continue;
        };
        if orders.refuse.load(Ordering::Acquire) {
            continue; // closed
        }
        // A core that is away refuses the edge, as it would without a relay.
        let _ = TcpStream::connect(core).and_then(|core| connect(edge, core, orders));
    }
}

fn connect(edge: TcpStream, core: TcpStream, orders: &Arc<Orders>) -> io::Result<()> {
    let cuts = orders.cuts.load(Ordering::Acquire);
    for socket in [&edge, &core] {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(RELAY_TURN))?;
        socket.set_write_timeout(Some(RELAY_TURN))?;
    }
    let ways = [(edge.try_clone()?, core.try_clone()?, true), (core, edge, false)];
    for (from, to, to_core) in ways {
        let orders = Arc::clone(orders);
        thread::Builder::new().name("relay".into()).spawn(move || {
            copy(&from, &to, to_core, cuts, &orders);
            for socket in [&from, &to] {
                let _ = socket.shutdown(Shutdown::Both); // the other way ends too
            }
        })?;
    }
    Ok(())
}

/// Until either side ends or it is cut; then what is under way is gone.
fn copy(mut from: &TcpStream, mut to: &TcpStream, to_core: bool, cuts: u64, orders: &Orders) {
    let over = || orders.cuts.load(Ordering::Acquire) != cuts || orders.end.load(Ordering::Acquire);
    let waits = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let mut buffer = vec![0; RELAY_BYTES];
    while !over() {
        let count = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if waits(&error) => continue,
            Err(_) => return,
        };
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            if over() {
                return;
            }
            if orders.stall.load(Ordering::Acquire) {
                thread::sleep(RELAY_TURN);
                continue;
            }
            match to.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if waits(&error) => {}
                Err(_) => return,
            }
        }
        if to_core {
            orders.to_core.fetch_add(count as u64, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn pair(relay: &Relay, core: &TcpListener) -> (TcpStream, TcpStream) {
        let edge = TcpStream::connect(relay.address()).unwrap();
        let (core, _) = core.accept().unwrap();
        for socket in [&edge, &core] {
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        (edge, core)
    }

    #[test]
    fn it_carries_stalls_cuts_and_heals() {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        let relay = Relay::start(LOOPBACK, listener.local_addr().unwrap()).unwrap();
        let (mut edge, mut core) = pair(&relay, &listener);
        let mut got = [0; 4];
        edge.write_all(b"ping").unwrap();
        core.read_exact(&mut got).unwrap();
        core.write_all(b"pong").unwrap();
        edge.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"pong");
        // Counted when they are written, which may be after they are read.
        let begun = std::time::Instant::now();
        while relay.to_core_bytes() < 4 && begun.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        assert_eq!(relay.to_core_bytes(), 4);

        relay.stall();
        edge.write_all(b"late").unwrap();
        core.set_read_timeout(Some(RELAY_TURN * 5)).unwrap();
        assert!(core.read_exact(&mut got).is_err());
        relay.heal();
        core.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"late");

        relay.cut();
        assert!(edge.read(&mut got).map_or(true, |count| count == 0));
        assert!(core.read(&mut got).map_or(true, |count| count == 0));
        let mut refused = TcpStream::connect(relay.address()).unwrap();
        assert!(refused.read(&mut got).map_or(true, |count| count == 0));
        relay.heal();
        let (mut edge, mut core) = pair(&relay, &listener);
        edge.write_all(b"back").unwrap();
        core.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"back");
    }
}
