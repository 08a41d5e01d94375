//! What waits for a link's socket, in order.
//!
//! A socket that is never idle never takes all there is: what it has taken must go all the same, or the memory of a
//! link under load is all that it ever sent.

use crate::Socket;
use std::io::{self, ErrorKind};

/// Bytes of frames for the other end.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Up to here the socket has them.
    taken: usize,
}

impl Output {
    /// Bytes that the socket has not taken.
    pub fn waiting(&self) -> usize {
        self.bytes.len().saturating_sub(self.taken)
    }

    /// Where frames are appended.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Puts frames behind what waits, leaving `frames` empty and, where possible, with its room.
    pub fn push(&mut self, frames: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, frames);
        } else {
            self.bytes.extend_from_slice(frames);
            frames.clear();
        }
    }

    /// Writes as much as the socket takes: how many bytes, and whether some wait for room, here or in the socket. A buffer of at
    /// most `room` bytes is kept when all is written. [`ErrorKind::WriteZero`]: the other end is gone.
    pub fn write(&mut self, socket: &mut Socket, room: usize) -> io::Result<(usize, bool)> {
        let mut written = 0usize;
        while let Some(rest) = self.bytes.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match socket.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    written = written.saturating_add(bytes);
                    self.taken = self.taken.saturating_add(bytes);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A TCP connection that is not made yet says either.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    self.tidy();
                    return Ok((written, true));
                }
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.taken = 0;
        if self.bytes.capacity() > room {
            self.bytes = Vec::new();
        }
        loop {
            match socket.flush() {
                Ok(()) => return Ok((written, false)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((written, true)),
                Err(error) => return Err(error),
            }
        }
    }

    /// What is taken goes once it is half of all, so that each byte is moved once at most.
    fn tidy(&mut self) {
        if self.taken >= self.waiting() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::UnixStream;

    /// Bytes in a recognisable order, from this one on.
    fn pattern(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn memory_is_what_waits_where_the_socket_is_never_idle() {
        let (mine, other) = UnixStream::pair().unwrap();
        let (mut mine, mut other) = (Socket::Unix(mine), Socket::Unix(other));
        let mut output = Output::default();
        let (mut sent, mut got, mut most) = (0, Vec::new(), 0);
        let mut buffer = vec![0; 32 * 1024];
        // More than the socket holds from the beginning, and as much more as the other end reads.
        output.push(&mut pattern(0, 1 << 20));
        sent += 1 << 20;
        for _ in 0..1_000 {
            let (_, blocked) = output.write(&mut mine, 1 << 16).unwrap();
            assert!(blocked, "it is never idle");
            let read = other.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..read]);
            output.push(&mut pattern(sent, read));
            sent += read;
            most = most.max(output.bytes.capacity());
        }
        assert!(sent > 16 << 20, "{sent}");
        assert!(most <= 4 << 20, "{most} bytes for {} that wait", output.waiting());
        while let Ok(read) = other.read(&mut buffer) {
            got.extend_from_slice(&buffer[..read]);
            output.write(&mut mine, 1 << 16).unwrap();
        }
        assert!(got == pattern(0, sent), "nothing is lost, and all in order");
        assert_eq!((output.waiting(), output.bytes.capacity()), (0, 0));
    }

    #[test]
    fn an_end_that_is_gone_is_an_error() {
        let (mine, other) = UnixStream::pair().unwrap();
        drop(other);
        let mut output = Output::default();
        output.end().push(1);
        assert!(output.write(&mut Socket::Unix(mine), 1).is_err());
    }
}
