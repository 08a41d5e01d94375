//! What a poll watches a link's socket for.
//!
//! Room to write is asked for only while a write waits for it. Asked for at all times it would be told each time
//! the other end reads: on a Unix socket a wake-up for every frame, on both ends.

use crate::Socket;
use mio::{Interest, Registry, Token};
use std::io;

/// The interests of one registered socket.
#[derive(Debug)]
pub struct Watch {
    token: Token,
    room: bool,
}

impl Watch {
    /// Registers the socket, for room too: its connection may still be under way.
    pub fn begin(socket: &mut Socket, registry: &Registry, token: Token) -> io::Result<Watch> {
        registry.register(socket.source(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Watch { token, room: true })
    }

    /// After a write: `blocked` if some of it waits for room. Room that came meanwhile is told at once.
    pub fn follow(&mut self, blocked: bool, socket: &mut Socket, registry: &Registry) -> io::Result<()> {
        if blocked == self.room {
            return Ok(());
        }
        let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(socket.source(), self.token, interest)?;
        self.room = blocked;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::UnixStream;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    fn the_other_ends_reads_wake_nobody_who_does_not_wait_for_room() {
        let (mine, other) = UnixStream::pair().unwrap();
        let (mut mine, mut other) = (Socket::Unix(mine), Socket::Unix(other));
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        let mut told = |poll: &mut Poll| {
            poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
            events.iter().any(mio::event::Event::is_writable)
        };
        let mut watch = Watch::begin(&mut mine, poll.registry(), Token(1)).unwrap();
        assert!(told(&mut poll), "a connection that is made has room");
        watch.follow(false, &mut mine, poll.registry()).unwrap();
        mine.write(b"frame").unwrap();
        other.read(&mut [0; 16]).unwrap();
        assert!(!told(&mut poll));

        while mine.write(&[0; 4096]).is_ok() {}
        watch.follow(true, &mut mine, poll.registry()).unwrap();
        assert!(!told(&mut poll), "there is no room");
        while other.read(&mut [0; 4096]).is_ok() {}
        assert!(told(&mut poll));
    }
}
