//! Listening sockets, one of each address per loop, and who may come in.

use crate::limits::LISTEN_BACKLOG;
use crate::slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Makes sure that nobody else listens on `address`: sockets with `SO_REUSEPORT` would share it with
/// another process of ours without a word.
pub(crate) fn probe(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let (socket, address) = socket(address)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Binds one loop's socket. All loops bind the same address; with port 0 the first one tells the others.
pub(crate) fn bind(address: SocketAddr) -> io::Result<(mio::net::TcpListener, SocketAddr)> {
    let (socket, address) = socket(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((mio::net::TcpListener::from_std(listener), bound))
}

/// A socket for `address`. `[::]` takes IPv4 too, and is `0.0.0.0` on a machine without IPv6.
fn socket(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    match Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => {
            if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
                socket.set_only_v6(false)?;
            }
            Ok((socket, address))
        }
        Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).map(|socket| (socket, address))
        }
        Err(e) => Err(e),
    }
}

/// True if the kernel has no descriptor or memory for another connection: accepting at once again would spin.
pub(crate) fn exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Counts connections by address, IPv6 by /64, since one client has many. Loopback is not counted.
#[derive(Default)]
pub(crate) struct Doorkeeper {
    by_address: BTreeMap<IpAddr, u32>,
    rows: Slab<Row>,
}

/// What came from one address, and is still here.
struct Row {
    address: IpAddr,
    /// Of `all`, those that are not authenticated.
    strangers: u32,
    all: u32,
}

/// Names the row of a connection's address; small, since every connection keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Door(u32);

impl Door {
    /// Of a connection that is not counted.
    pub(crate) const NONE: Door = Door(u32::MAX);
}

impl Doorkeeper {
    /// Lets a connection of `peer` in unless as many of its address are here as may be. [`Doorkeeper::leave`] undoes it.
    pub(crate) fn enter(&mut self, peer: IpAddr, strangers_max: u32, all_max: u32) -> Option<Door> {
        if peer.is_loopback() {
            return Some(Door::NONE);
        }
        let address = prefix(peer);
        let at = match self.by_address.get(&address) {
            Some(at) => *at,
            None => {
                let at = self.rows.insert(Row { address, strangers: 0, all: 0 });
                self.by_address.insert(address, at);
                at
            }
        };
        let row = self.rows.get_mut(at)?;
        if row.strangers >= strangers_max || row.all >= all_max {
            return None;
        }
        row.strangers = row.strangers.saturating_add(1);
        row.all = row.all.saturating_add(1);
        Some(Door(at))
    }

    /// A connection that came in is authenticated.
    pub(crate) fn authenticated(&mut self, door: Door) {
        if let Some(row) = self.rows.get_mut(door.0) {
            row.strangers = row.strangers.saturating_sub(1);
        }
    }

    /// A connection is gone that was reported as authenticated, or will not be.
    pub(crate) fn leave(&mut self, door: Door) {
        let Some(row) = self.rows.get_mut(door.0) else { return };
        row.all = row.all.saturating_sub(1);
        if row.all == 0 {
            self.by_address.remove(&row.address);
            self.rows.remove(door.0);
        }
    }
}

/// What counts as one source.
pub(crate) fn prefix(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_fill_the_door() {
        let mut door = Doorkeeper::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = door.enter(ip("192.0.2.1"), 2, 3).unwrap();
        let second = door.enter(ip("192.0.2.1"), 2, 3).unwrap();
        assert_eq!(door.enter(ip("192.0.2.1"), 2, 3), None, "two strangers");
        let other = door.enter(ip("192.0.2.2"), 2, 3).unwrap();
        door.authenticated(first);
        let third = door.enter(ip("192.0.2.1"), 2, 3).unwrap();
        door.authenticated(second);
        assert_eq!(door.enter(ip("192.0.2.1"), 2, 3), None, "three in all");
        door.leave(first);
        let fourth = door.enter(ip("192.0.2.1"), 2, 3).unwrap();
        let sixth = door.enter(ip("2001:db8::1"), 1, 1).unwrap();
        assert_eq!(door.enter(ip("2001:db8::ffff"), 1, 1), None);
        assert!((0..9).all(|_| door.enter(ip("127.0.0.1"), 1, 1) == Some(Door::NONE)));
        door.leave(Door::NONE);
        for left in [second, third, fourth, other, sixth] {
            door.authenticated(left);
            door.leave(left);
        }
        assert!(door.by_address.is_empty() && door.rows.len() == 0);
    }

    #[test]
    fn a_taken_port_is_noticed_though_it_could_be_shared() {
        let (_held, address) = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(probe(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(address).is_ok());
        drop(_held);
        probe(address).unwrap();
    }
}
