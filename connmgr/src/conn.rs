//! One client's transport: socket, TLS if there is any, and the bytes that wait on either side of it.
//!
//! An idle connection holds no buffer. Bytes are read into buffers of the loop; only an unfinished TLS record
//! or piece of XML, and output that the socket did not take, stay in [`Buffers`], which come from a pool.

use crate::limits::{OUTPUT_BYTES_MAX, POOL_BUFFER_BYTES, POOL_BUFFERS, TLS_INPUT_BYTES_MAX};
use crate::tls::{Protection, Rustls, Tls, TlsError, whole_record};
use crate::wheel::{NEVER, Tick};
use mio::net::TcpStream;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

/// What a connection has under way.
pub(crate) struct Buffers {
    /// Bytes of the client not yet handled: an unfinished piece, or what came before it may be read.
    pub(crate) input: Vec<u8>,
    /// The first piece of `input` is known to end here; 0 while it is not.
    pub(crate) framed: usize,
    /// Since when the first piece of `input` is incomplete.
    pub(crate) input_since: Tick,
    /// An unfinished TLS record.
    tls_input: Vec<u8>,
    /// For the client, not yet encrypted if there is TLS.
    output: Vec<u8>,
    /// For the socket as it stands, from `wire_at`.
    wire: Vec<u8>,
    wire_at: usize,
    /// Since when the socket takes nothing.
    pub(crate) blocked_since: Tick,
}

impl Buffers {
    fn new() -> Buffers {
        Buffers {
            input: Vec::new(),
            framed: 0,
            input_since: NEVER,
            tls_input: Vec::new(),
            output: Vec::new(),
            wire: Vec::new(),
            wire_at: 0,
            blocked_since: NEVER,
        }
    }

    fn is_idle(&self) -> bool {
        self.input.is_empty() && self.tls_input.is_empty() && self.output.is_empty() && self.wire.is_empty()
    }
}

/// Buffers for reuse.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "a connection holds its buffers by one pointer; boxes move in and out whole")]
pub(crate) struct Pool(Vec<Box<Buffers>>);

impl Pool {
    fn take(&mut self) -> Box<Buffers> {
        self.0.pop().unwrap_or_else(|| Box::new(Buffers::new()))
    }

    fn give(&mut self, mut buffers: Box<Buffers>) {
        if self.0.len() >= POOL_BUFFERS {
            return;
        }
        let Buffers { input, framed, input_since, tls_input, output, wire, wire_at, blocked_since } = &mut *buffers;
        for buffer in [input, tls_input, output, wire] {
            buffer.clear();
            if buffer.capacity() > POOL_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        }
        (*framed, *input_since, *wire_at, *blocked_since) = (0, NEVER, 0, NEVER);
        self.0.push(buffers);
    }
}

/// How far [`Conn::flush`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flushed {
    /// The socket took everything.
    All,
    /// It will say when it takes more.
    Blocked,
    /// Nothing will ever get through again.
    Broken,
}

/// See the module.
pub(crate) struct Conn {
    socket: TcpStream,
    tls: Option<Box<Rustls>>,
    buffers: Option<Box<Buffers>>,
    /// Nothing more is sent.
    half_closed: bool,
}

impl Conn {
    pub(crate) fn new(socket: TcpStream) -> Conn {
        Conn { socket, tls: None, buffers: None, half_closed: false }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The chain that the client has shown, its own certificate first.
    pub(crate) fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.as_deref().map(Rustls::peer_certificates).unwrap_or_default()
    }

    /// From here on the client's bytes are TLS. What was written before goes out as it is.
    pub(crate) fn start_tls(&mut self, config: &Arc<ServerConfig>) -> Result<(), TlsError> {
        if let Some(buffers) = &mut self.buffers {
            let Buffers { output, wire, .. } = &mut **buffers;
            wire.append(output);
        }
        self.tls = Some(Box::new(Rustls::new(config)?));
        Ok(())
    }

    /// One system call's worth of bytes of the socket.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(into) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Decrypts bytes of the socket to the end of `plain`. What is to be sent is kept for [`Conn::flush`].
    pub(crate) fn decrypt(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        pool: &mut Pool,
    ) -> Result<(Option<Protection>, bool), TlsError> {
        let Some(tls) = &mut self.tls else { return Ok((None, false)) };
        let buffers = self.buffers.get_or_insert_with(|| pool.take());
        let Buffers { tls_input, wire, .. } = &mut **buffers;
        let received = if tls_input.is_empty() {
            let received = tls.receive(bytes, plain, wire)?;
            tls_input.extend_from_slice(bytes.get(received.used..).unwrap_or_default());
            received
        } else {
            tls_input.extend_from_slice(bytes);
            if !whole_record(tls_input) {
                return Ok((None, false));
            }
            let received = tls.receive(tls_input, plain, wire)?;
            tls_input.drain(..received.used.min(tls_input.len()));
            received
        };
        if tls_input.len() > TLS_INPUT_BYTES_MAX {
            return Err(TlsError::Flood);
        }
        Ok((received.finished, received.closed))
    }

    /// Keeps bytes of the socket for a later [`Conn::decrypt`].
    pub(crate) fn keep(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.buffers.get_or_insert_with(|| pool.take()).tls_input.extend_from_slice(bytes);
    }

    /// Where bytes for the client are appended.
    pub(crate) fn output(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        &mut self.buffers.get_or_insert_with(|| pool.take()).output
    }

    /// The bytes under way, if there are any.
    pub(crate) fn buffers(&mut self) -> Option<&mut Buffers> {
        self.buffers.as_deref_mut()
    }

    /// As [`Conn::buffers`], made if there are none.
    pub(crate) fn buffers_or_new(&mut self, pool: &mut Pool) -> &mut Buffers {
        self.buffers.get_or_insert_with(|| pool.take())
    }

    /// True if more waits for this client than any window allows.
    pub(crate) fn is_overfull(&self) -> bool {
        self.buffers.as_ref().is_some_and(|b| b.output.len().saturating_add(b.wire.len()) > OUTPUT_BYTES_MAX)
    }

    /// Sends what waits, all of it in one write if the socket takes it.
    pub(crate) fn flush(&mut self, tick: Tick) -> Flushed {
        let Some(buffers) = &mut self.buffers else { return Flushed::All };
        let Buffers { output, wire, wire_at, blocked_since, .. } = &mut **buffers;
        loop {
            while let Some(rest) = wire.get(*wire_at..).filter(|rest| !rest.is_empty()) {
                match self.socket.write(rest) {
                    Ok(0) => return Flushed::Broken,
                    Ok(written) => {
                        *wire_at = wire_at.saturating_add(written);
                        *blocked_since = NEVER;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        *blocked_since = tick.min(*blocked_since);
                        return Flushed::Blocked;
                    }
                    Err(_) => return Flushed::Broken,
                }
            }
            wire.clear();
            *wire_at = 0;
            if output.is_empty() {
                return Flushed::All;
            }
            match &mut self.tls {
                None => std::mem::swap(output, wire),
                Some(tls) => {
                    if tls.send(output, wire).is_err() {
                        return Flushed::Broken;
                    }
                    output.clear();
                }
            }
        }
    }

    /// Nothing follows: says so to TLS and to TCP. Only once everything is flushed.
    pub(crate) fn close_write(&mut self, pool: &mut Pool) {
        if self.half_closed {
            return;
        }
        self.half_closed = true;
        if let Some(tls) = &mut self.tls {
            let buffers = self.buffers.get_or_insert_with(|| pool.take());
            tls.close(&mut buffers.wire);
            // If the socket does not take the notice at once, the client did not wait for it.
            let _ = self.socket.write(&buffers.wire);
            buffers.wire.clear();
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Gives the buffers back, whatever is in them.
    pub(crate) fn drop_buffers(&mut self, pool: &mut Pool) {
        if let Some(buffers) = self.buffers.take() {
            pool.give(buffers);
        }
    }

    /// Gives the buffers back if nothing is in them; else the room of those that are empty, since whoever makes this
    /// connection wait may do so for long (threats, row 1).
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        let Some(buffers) = &mut self.buffers else { return };
        if !buffers.is_idle() {
            let Buffers { tls_input, output, wire, .. } = &mut **buffers;
            for empty in [tls_input, output, wire].into_iter().filter(|buffer| buffer.is_empty()) {
                *empty = Vec::new();
            }
        } else if let Some(buffers) = self.buffers.take() {
            pool.give(buffers);
        }
    }
}
