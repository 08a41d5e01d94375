//! Listening sockets, one of each address per loop, and who may come in.

use crate::limits::LISTEN_BACKLOG;
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

/// Counts connections that are not authenticated, by address; IPv6 by /64, since one client has many.
#[derive(Default)]
pub(crate) struct Doorkeeper {
    waiting: BTreeMap<IpAddr, u32>,
}

impl Doorkeeper {
    /// Lets a connection of `peer` in unless `max` of its address wait. [`Doorkeeper::leave`] undoes it.
    pub(crate) fn enter(&mut self, peer: IpAddr, max: u32) -> bool {
        if peer.is_loopback() {
            return true;
        }
        let count = self.waiting.entry(prefix(peer)).or_insert(0);
        if *count >= max {
            return false;
        }
        *count = count.saturating_add(1);
        true
    }

    /// A connection that came in is authenticated or gone.
    pub(crate) fn leave(&mut self, peer: IpAddr) {
        if peer.is_loopback() {
            return;
        }
        if let std::collections::btree_map::Entry::Occupied(mut entry) = self.waiting.entry(prefix(peer)) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

fn prefix(peer: IpAddr) -> IpAddr {
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
        assert!(door.enter(ip("192.0.2.1"), 2) && door.enter(ip("192.0.2.1"), 2));
        assert!(!door.enter(ip("192.0.2.1"), 2) && door.enter(ip("192.0.2.2"), 2));
        door.leave(ip("192.0.2.1"));
        assert!(door.enter(ip("192.0.2.1"), 2));
        assert!(door.enter(ip("2001:db8::1"), 1) && !door.enter(ip("2001:db8::ffff"), 1));
        assert!((0..9).all(|_| door.enter(ip("127.0.0.1"), 1)));
        for peer in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::2"] {
            door.leave(ip(peer));
        }
        assert!(door.waiting.is_empty());
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
