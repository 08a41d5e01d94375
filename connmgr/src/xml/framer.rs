//! Where top-level pieces of a stream end.
//!
//! ```text
//!  stage  Start ──<?xml …?>──▶ Prolog ──<stream:stream …>──▶ Stream ──</stream:stream>──▶ Closed
//!           └───────whitespace───▲ (not in a later stream)     │  ▲
//!                                                             └──┘ elements, whitespace
//!  within a piece
//!         ┌──────────────────────────── Text ◀─────────────────┐
//!         ▼                                                    │ depth > 0
//!  '<' Markup ── name ──▶ StartTag ⇄ Apos, Quot ── '>', '/>' ──┤
//!         ├───── '/' ───▶ EndTag ──────────────── '>' ─────────┤
//!         └───── '![' ──▶ CdataOpen ──▶ Cdata ─── ']]>' ───────┘
//! ```
//! What leads out of the picture is an error there and then: comments, processing instructions and document types are
//! refused with their second byte. Names, references, characters and matching tags are the parser's business.

use super::{Limits, XmlError};
use memchr::{memchr, memchr2, memmem};

/// A whole top-level piece of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Piece {
    /// `<?xml … ?>`, only as the first bytes of a stream; whitespace before it is allowed in a later stream of the
    /// same transport, since it was sent to end what came before.
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
pub struct Framer {
    /// Bytes of the piece under way that were looked at.
    scanned: usize,
    /// Elements open in the piece under way.
    depth: u32,
    stage: Stage,
    at: At,
    /// Bytes matched of `<?xml` or of `CDATA[`.
    matched: u8,
}

/// How far the stream has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    Start,
    /// As `Start`, of a later stream.
    Restart,
    Prolog,
    Stream,
    Closed,
}

/// Where in a piece the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum At {
    /// No piece is under way.
    #[default]
    Outside,
    /// Behind `<`.
    Markup,
    /// In `<?xml` at the start of the stream.
    DeclarationOpen,
    Declaration,
    /// In a start tag, outside of attribute values.
    StartTag,
    /// Behind `/` in a start tag.
    Slash,
    /// In an attribute value.
    Apos,
    Quot,
    EndTag,
    Text,
    /// Behind `<!`.
    Bang,
    /// In `<![CDATA[`.
    CdataOpen,
    Cdata,
    /// The stream is over.
    Refused(XmlError),
}

const DECLARATION: &[u8] = b"<?xml";
const CDATA: &[u8] = b"CDATA[";

impl Framer {
    /// At the start of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Behind a header.
    pub(super) fn in_stream() -> Framer {
        Framer { stage: Stage::Stream, ..Framer::default() }
    }

    /// The first piece of `buffer`, which holds all bytes not yet consumed: with `Ok(Some((piece, len)))` the first
    /// `len` bytes are that piece and the caller removes them. `Ok(None)`: more bytes are needed; what was looked at is
    /// remembered, so that each byte is scanned once. After an error the stream is over: the error is repeated.
    ///
    /// Whitespace is returned as it comes, so a run of it that is cut is several pieces.
    pub fn next(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<(Piece, usize)>, XmlError> {
        let found = self.scan(buffer, limits);
        if let Err(error) = found {
            self.at = At::Refused(error);
        }
        found
    }

    /// RFC 6120 §4.3.3: a new stream begins on the same transport.
    pub fn restart(&mut self) {
        *self = Framer { stage: Stage::Restart, ..Framer::default() };
    }

    fn scan(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<(Piece, usize)>, XmlError> {
        if let At::Refused(error) = self.at {
            return Err(error);
        }
        if self.at == At::Outside {
            let Some(first) = buffer.first() else { return Ok(None) };
            if is_space(*first) {
                return Ok(Some((Piece::Blank, self.blank(buffer))));
            }
            self.begin(*first)?;
        }
        // What lies beyond the limit is never looked at, so that any cut gives the same error.
        let window = buffer.get(..limits.bytes).unwrap_or(buffer);
        while let Some(rest) = window.get(self.scanned..).filter(|rest| !rest.is_empty()) {
            if let Some(piece) = self.step(window, rest, limits)? {
                let len = self.scanned;
                (self.scanned, self.depth, self.at) = (0, 0, At::Outside);
                return Ok(Some((piece, len)));
            }
        }
        if buffer.len() >= limits.bytes { Err(XmlError::TooLong) } else { Ok(None) }
    }

    fn blank(&mut self, buffer: &[u8]) -> usize {
        if self.stage == Stage::Start {
            self.stage = Stage::Prolog; // XML 1.0 §2.8: a declaration is the very first thing
        }
        buffer.iter().position(|byte| !is_space(*byte)).unwrap_or(buffer.len())
    }

    /// The first byte of a piece.
    fn begin(&mut self, first: u8) -> Result<(), XmlError> {
        match (self.stage, first) {
            (Stage::Closed, _) => Err(XmlError::OutsideStream),
            (_, b'<') => {
                (self.scanned, self.at) = (1, At::Markup);
                Ok(())
            }
            (Stage::Start | Stage::Restart, 0) | (_, 0x80..=0xc1 | 0xf5..=0xff) => Err(XmlError::Encoding), // UTF-16 and the like
            (_, 0..0x20) => Err(XmlError::Character),
            (Stage::Stream, _) => Err(XmlError::TextBetweenStanzas),
            (Stage::Start | Stage::Restart | Stage::Prolog, _) => Err(XmlError::OutsideStream),
        }
    }

    /// Looks at the next byte or, where only a few bytes matter, at all up to the next of them.
    fn step(&mut self, window: &[u8], rest: &[u8], limits: &Limits) -> Result<Option<Piece>, XmlError> {
        let Some(first) = rest.first() else { return Ok(None) };
        match self.at {
            At::Markup => self.markup(*first, limits)?,
            At::StartTag => match self.skip_to(rest, |rest| rest.iter().position(|byte| ends_run_in_tag(*byte))) {
                Some(b'\'') => self.at = At::Apos,
                Some(b'"') => self.at = At::Quot,
                Some(b'/') => self.at = At::Slash,
                Some(b'>') => return self.start_tag_ends(window),
                Some(_) => return Err(XmlError::Syntax),
                None => {}
            },
            At::Slash => return self.empty_tag_ends(*first),
            At::Apos => self.value(rest, b'\'')?,
            At::Quot => self.value(rest, b'"')?,
            At::Text => {
                if self.skip_to(rest, |rest| memchr(b'<', rest)).is_some() {
                    self.at = At::Markup;
                }
            }
            At::EndTag => match self.skip_to(rest, |rest| memchr2(b'>', b'<', rest)) {
                Some(b'>') => return Ok(self.end_tag_ends()),
                Some(_) => return Err(XmlError::Syntax),
                None => {}
            },
            At::Bang => self.bang(*first)?,
            At::CdataOpen => self.cdata_open(*first)?,
            At::Cdata => self.cdata(window),
            At::DeclarationOpen => self.declaration_open(*first)?,
            At::Declaration => {
                if self.skip_to(rest, |rest| memchr2(b'>', b'<', rest)).is_some() {
                    if !self.just_read(window, b"?>") {
                        return Err(XmlError::Syntax);
                    }
                    self.stage = Stage::Prolog;
                    return Ok(Some(Piece::Declaration));
                }
            }
            At::Outside | At::Refused(_) => {}
        }
        Ok(None)
    }

    /// Moves behind the next byte that `find` finds in what is left, and returns that byte.
    fn skip_to(&mut self, rest: &[u8], find: impl Fn(&[u8]) -> Option<usize>) -> Option<u8> {
        let at = find(rest);
        self.scanned = self.scanned.saturating_add(at.map_or(rest.len(), |at| at.saturating_add(1)));
        rest.get(at?).copied()
    }

    fn just_read(&self, window: &[u8], end: &[u8]) -> bool {
        window.get(..self.scanned).is_some_and(|read| read.ends_with(end))
    }

    fn one(&mut self, at: At) {
        self.scanned = self.scanned.saturating_add(1);
        self.at = at;
    }

    fn markup(&mut self, byte: u8, limits: &Limits) -> Result<(), XmlError> {
        match (self.stage, byte) {
            (Stage::Start | Stage::Restart, b'?') => {
                self.matched = 2;
                self.one(At::DeclarationOpen);
            }
            (Stage::Stream, b'!') => self.one(At::Bang),
            (Stage::Stream, b'/') => self.one(At::EndTag),
            (_, b'?' | b'!') => return Err(XmlError::Restricted),
            (Stage::Start | Stage::Restart, 0) => return Err(XmlError::Encoding), // UTF-16LE
            (stage, byte) if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                if stage == Stage::Stream {
                    self.depth = self.depth.saturating_add(1);
                    if usize::try_from(self.depth).unwrap_or(usize::MAX) > limits.depth {
                        return Err(XmlError::TooDeep);
                    }
                }
                self.one(At::StartTag);
            }
            _ => return Err(XmlError::Syntax),
        }
        Ok(())
    }

    fn start_tag_ends(&mut self, window: &[u8]) -> Result<Option<Piece>, XmlError> {
        if self.stage != Stage::Stream {
            self.stage = Stage::Stream;
            return Ok(Some(Piece::Header));
        }
        // Its end may never come: a client that thinks the stream restarts would wait, and so would we.
        if self.depth == 1 && is_stream_tag(window) {
            return Err(XmlError::NestedStream);
        }
        Ok(self.enter_text())
    }

    fn empty_tag_ends(&mut self, byte: u8) -> Result<Option<Piece>, XmlError> {
        if byte != b'>' {
            return Err(XmlError::Syntax);
        }
        if self.stage != Stage::Stream {
            return Err(XmlError::NotAStream); // it would be over as it begins
        }
        self.scanned = self.scanned.saturating_add(1);
        Ok(self.end_tag_ends())
    }

    fn enter_text(&mut self) -> Option<Piece> {
        self.at = At::Text;
        None
    }

    fn end_tag_ends(&mut self) -> Option<Piece> {
        match self.depth {
            0 => {
                self.stage = Stage::Closed;
                Some(Piece::Close)
            }
            1 => Some(Piece::Element),
            depth => {
                self.depth = depth.saturating_sub(1);
                self.enter_text()
            }
        }
    }

    /// XML 1.0 §3.1: no `<` in attribute values.
    fn value(&mut self, rest: &[u8], quote: u8) -> Result<(), XmlError> {
        match self.skip_to(rest, |rest| memchr2(quote, b'<', rest)) {
            Some(b'<') => return Err(XmlError::Syntax),
            Some(_) => self.at = At::StartTag,
            None => {}
        }
        Ok(())
    }

    fn bang(&mut self, byte: u8) -> Result<(), XmlError> {
        match (byte, self.depth) {
            (b'[', 0) => Err(XmlError::TextBetweenStanzas),
            (b'[', _) => {
                self.matched = 0;
                self.one(At::CdataOpen);
                Ok(())
            }
            _ => Err(XmlError::Restricted),
        }
    }

    fn cdata_open(&mut self, byte: u8) -> Result<(), XmlError> {
        if CDATA.get(usize::from(self.matched)) != Some(&byte) {
            return Err(XmlError::Syntax);
        }
        self.matched = self.matched.saturating_add(1);
        let whole = usize::from(self.matched) == CDATA.len();
        self.one(if whole { At::Cdata } else { At::CdataOpen });
        Ok(())
    }

    fn cdata(&mut self, window: &[u8]) {
        // Two bytes of the end may have been seen already; in those before the section there is no `]`.
        let from = self.scanned.saturating_sub(2);
        let end = window.get(from..).and_then(|rest| memmem::find(rest, b"]]>"));
        match end {
            Some(end) => {
                self.scanned = from.saturating_add(end).saturating_add(3);
                self.at = At::Text;
            }
            None => self.scanned = window.len(),
        }
    }

    fn declaration_open(&mut self, byte: u8) -> Result<(), XmlError> {
        match DECLARATION.get(usize::from(self.matched)) {
            Some(expected) if *expected == byte => {
                self.matched = self.matched.saturating_add(1);
                self.one(At::DeclarationOpen);
                Ok(())
            }
            None if is_space(byte) => {
                self.one(At::Declaration);
                Ok(())
            }
            _ => Err(XmlError::Restricted),
        }
    }
}

fn ends_run_in_tag(byte: u8) -> bool {
    matches!(byte, b'>' | b'\'' | b'"' | b'/' | b'<')
}

/// Whether the start tag at the beginning of `piece` is named `stream`, whatever its prefix.
fn is_stream_tag(piece: &[u8]) -> bool {
    let name = piece.split(|byte| is_space(*byte) || *byte == b'>').next().unwrap_or_default();
    name.rsplit(|byte| matches!(byte, b':' | b'<')).next() == Some(b"stream")
}

/// Whether all of this is whitespace, or nothing.
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_space(*byte))
}

/// XML 1.0 §2.3: `S`.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
