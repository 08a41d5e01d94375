//! The socket under a link: frames out of what was read, one write per turn.

use crate::limits::LINK_OUTPUT_BYTES_MAX;
use hearth_link::{Output, Socket, Watch};
use hearth_wire::codec::{self, WireError};
use hearth_wire::to_core::ToCore;
use mio::Registry;
use std::io;

/// Why a link's connection is over.
#[derive(Debug)]
pub(crate) enum LinkLost {
    Closed,
    Io(io::Error),
    Wire(WireError),
    Silent,
    Asked,
    /// More waits to be written than may.
    Behind,
}

impl std::fmt::Display for LinkLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkLost::Closed => f.write_str("closed by the edge"),
            LinkLost::Io(error) => write!(f, "{error}"),
            LinkLost::Wire(error) => write!(f, "{error}"),
            LinkLost::Silent => f.write_str("silent for too long"),
            LinkLost::Asked => f.write_str("closed by the core"),
            LinkLost::Behind => f.write_str("it does not read"),
        }
    }
}

/// Most bytes read from one link per turn, so that one busy edge does not hold up the others.
const READ_PER_TURN: usize = 512 * 1024;
/// What one read asks for.
pub(crate) const READ_CHUNK: usize = 64 * 1024;

/// Buffers of one link.
pub(crate) struct LinkIo {
    socket: Socket,
    watch: Watch,
    input: Vec<u8>,
    output: Output,
    pub(crate) last_received_ms: u64,
    pub(crate) last_sent_ms: u64,
    /// More is there to read than one turn takes.
    pub(crate) readable: bool,
    /// The socket takes no more for now; an event will say when it does.
    pub(crate) blocked: bool,
    /// To be closed once the output is out.
    pub(crate) closing: bool,
}

impl LinkIo {
    pub(crate) fn new(socket: Socket, watch: Watch, now_ms: u64) -> LinkIo {
        LinkIo {
            socket,
            watch,
            input: Vec::new(),
            output: Output::default(),
            last_received_ms: now_ms,
            last_sent_ms: now_ms,
            readable: true,
            blocked: false,
            closing: false,
        }
    }

    /// Reads what is there, a bounded share, and hands each whole frame to `handle`. `scratch` is the shard's, of
    /// [`READ_CHUNK`] bytes: cleared for each read it would cost more than the few bytes that come.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        now_ms: u64,
        mut handle: impl FnMut(ToCore<'_>, usize),
    ) -> Result<(), LinkLost> {
        let mut taken = 0;
        while self.readable && taken < READ_PER_TURN {
            match self.socket.read(scratch) {
                Ok(0) => {
                    self.frames(&mut handle)?;
                    return Err(LinkLost::Closed);
                }
                Ok(bytes) => {
                    taken = taken.saturating_add(bytes);
                    self.last_received_ms = now_ms;
                    self.input.extend_from_slice(scratch.get(..bytes).unwrap_or_default());
                    self.frames(&mut handle)?;
                    // A short read emptied the socket: the next event tells of more.
                    if bytes < scratch.len() && !self.socket.has_ended() {
                        self.readable = false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LinkLost::Io(error)),
            }
        }
        Ok(())
    }

    fn frames(&mut self, handle: &mut impl FnMut(ToCore<'_>, usize)) -> Result<(), LinkLost> {
        let mut at = 0;
        loop {
            let rest = self.input.get(at..).unwrap_or_default();
            let Some((frame, used)) = codec::split(rest, codec::FRAME_BYTES_MAX).map_err(LinkLost::Wire)? else {
                break;
            };
            if let Some(frame) = ToCore::decode(frame).map_err(LinkLost::Wire)? {
                handle(frame, used);
            }
            at = at.saturating_add(used);
        }
        self.input.drain(..at.min(self.input.len()));
        if self.input.is_empty() && self.input.capacity() > 2 * READ_CHUNK {
            self.input = Vec::new();
        }
        Ok(())
    }

    /// Puts frames behind what waits, leaving `frames` empty and, where possible, with its room.
    pub(crate) fn push(&mut self, frames: &mut Vec<u8>) {
        self.output.push(frames);
    }

    /// Writes as much as the socket takes; what is left goes when `registry` tells of room.
    pub(crate) fn write(&mut self, now_ms: u64, registry: &Registry) -> Result<(), LinkLost> {
        self.write_out(now_ms)?;
        self.watch.follow(self.blocked, &mut self.socket, registry).map_err(LinkLost::Io)
    }

    /// Nothing of it is heard any more.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        // Fails only for a socket that is not registered.
        let _ = registry.deregister(self.socket.source());
    }

    fn write_out(&mut self, now_ms: u64) -> Result<(), LinkLost> {
        if self.output.waiting() > LINK_OUTPUT_BYTES_MAX {
            return Err(LinkLost::Behind);
        }
        if !self.blocked {
            let written = self.output.write(&mut self.socket, 4 * READ_CHUNK);
            let (bytes, blocked) = written.map_err(|error| match error.kind() {
                io::ErrorKind::WriteZero => LinkLost::Closed,
                _ => LinkLost::Io(error),
            })?;
            self.blocked = blocked;
            if bytes > 0 {
                self.last_sent_ms = now_ms;
            }
        }
        if self.closing && !self.blocked && self.drained() {
            return Err(LinkLost::Asked);
        }
        Ok(())
    }

    /// Nothing waits to be written.
    pub(crate) fn drained(&self) -> bool {
        self.output.waiting() == 0
    }
}
