//! Takes link connections and hands each to the shard its preamble names.

use super::link_io::Socket;
use super::mail::{Mail, Mailbox};
use hearth_wire::to_core::{PREAMBLE_BYTES, PREAMBLE_MAGIC};
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const UNIX: Token = Token(0);
const TCP: Token = Token(1);
const WAKE: Token = Token(2);
const FIRST: usize = 3;

/// Connections whose preamble is not whole yet; more are refused.
const PENDING_MAX: usize = 256;
/// Turns of [`TURN`] a preamble may take.
const PREAMBLE_TURNS: u8 = 8;
const TURN: Duration = Duration::from_millis(250);

pub(crate) struct Acceptor {
    poll: Poll,
    waker: Arc<mio::Waker>,
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
    shards: Vec<Mailbox>,
    pending: BTreeMap<usize, Pending>,
    next: usize,
}

struct Pending {
    socket: Socket,
    preamble: [u8; PREAMBLE_BYTES],
    read: usize,
    turns: u8,
}

impl Acceptor {
    pub(crate) fn new(
        mut unix: Option<UnixListener>,
        mut tcp: Option<TcpListener>,
        shards: Vec<Mailbox>,
    ) -> io::Result<Acceptor> {
        let poll = Poll::new()?;
        if let Some(listener) = &mut unix {
            poll.registry().register(listener, UNIX, Interest::READABLE)?;
        }
        if let Some(listener) = &mut tcp {
            poll.registry().register(listener, TCP, Interest::READABLE)?;
        }
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKE)?);
        Ok(Acceptor { poll, waker, unix, tcp, shards, pending: BTreeMap::new(), next: FIRST })
    }

    pub(crate) fn waker(&self) -> Arc<mio::Waker> {
        self.waker.clone()
    }

    /// Runs until `stop` is set and the waker woken.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        while !stop.load(Ordering::Acquire) {
            let timeout = if self.pending.is_empty() { None } else { Some(TURN) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let ready: Vec<Token> = events.iter().map(|event| event.token()).collect();
            for token in &ready {
                match *token {
                    UNIX | TCP => self.accept(),
                    WAKE => {}
                    Token(index) => self.read(index),
                }
            }
            if ready.is_empty() {
                self.pending.retain(|_, pending| {
                    pending.turns = pending.turns.saturating_add(1);
                    pending.turns < PREAMBLE_TURNS
                });
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        loop {
            let unix = self.unix.as_ref().map(|listener| listener.accept().map(|(stream, _)| Socket::Unix(stream)));
            let socket = match unix {
                Some(Ok(socket)) => socket,
                Some(Err(_)) | None => match self.tcp.as_ref().map(TcpListener::accept) {
                    Some(Ok((stream, _))) => {
                        // Without it frames wait for acknowledgements of the last ones.
                        let _ = stream.set_nodelay(true);
                        Socket::Tcp(stream)
                    }
                    Some(Err(_)) | None => return,
                },
            };
            self.add(socket);
        }
    }

    fn add(&mut self, mut socket: Socket) {
        if self.pending.len() >= PENDING_MAX {
            return tracing::warn!(event = "link_refused", reason = "too many connections without a preamble");
        }
        let index = self.next;
        self.next = self.next.wrapping_add(1).max(FIRST);
        if self.poll.registry().register(socket.source(), Token(index), Interest::READABLE).is_ok() {
            self.pending.insert(index, Pending { socket, preamble: [0; PREAMBLE_BYTES], read: 0, turns: 0 });
            self.read(index);
        }
    }

    fn read(&mut self, index: usize) {
        let Some(pending) = self.pending.get_mut(&index) else { return };
        let space = pending.preamble.get_mut(pending.read..).unwrap_or_default();
        match pending.socket.read(space) {
            Ok(0) => drop(self.pending.remove(&index)),
            Ok(bytes) => {
                pending.read = pending.read.saturating_add(bytes);
                if pending.read >= PREAMBLE_BYTES {
                    self.hand_over(index);
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => drop(self.pending.remove(&index)),
        }
    }

    fn hand_over(&mut self, index: usize) {
        let Some(mut pending) = self.pending.remove(&index) else { return };
        // Deregistering fails only for a socket that is not registered.
        let _ = self.poll.registry().deregister(pending.socket.source());
        let shard = match pending.preamble.split_first_chunk() {
            Some((magic, [low, high])) if *magic == PREAMBLE_MAGIC => usize::from(u16::from_le_bytes([*low, *high])),
            _ => return tracing::warn!(event = "link_refused", reason = "not a link: wrong first bytes"),
        };
        match self.shards.get(shard) {
            Some(shard) => drop(shard.send(Mail::Link(pending.socket))),
            None => tracing::warn!(event = "link_refused", reason = "no such shard", shard),
        }
    }
}
