//! Where top-level pieces of a stream end.

use super::{Limits, XmlError};

/// A whole top-level piece of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Piece {
    /// `<?xml … ?>`, only as the first bytes of a stream.
    Declaration,
    /// `<stream:stream …>`.
    Header,
    /// A stanza or another first-level element.
    Element,
    /// `</stream:stream>`. Nothing but whitespace may follow.
    Close,
    /// Whitespace before the header, between elements, behind the close.
    Blank,
}

/// Finds whole top-level pieces in a byte stream, for any cut of the bytes; a few bytes of state, no buffer of its own.
#[derive(Clone, Debug, Default)]
pub struct Framer {}

impl Framer {
    /// At the start of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// The first piece of `buffer`, which holds all bytes not yet consumed: with `Ok(Some((piece, len)))` the first
    /// `len` bytes are that piece and the caller removes them. `Ok(None)`: more bytes are needed; what was looked at is
    /// remembered, so that each byte is scanned once. After an error the stream is over.
    pub fn next(&mut self, _buffer: &[u8], _limits: &Limits) -> Result<Option<(Piece, usize)>, XmlError> {
        Ok(None)
    }

    /// RFC 6120 §4.3.3: a new stream begins on the same transport.
    pub fn restart(&mut self) {
        *self = Framer::new();
    }
}
