//! A client's stream in any cut.

use hearth_connmgr::render;
use hearth_connmgr::xml::{
    Framer, Limits, Piece, Scope, Scratch, XmlError, parse_close, parse_declaration, parse_element, parse_header,
};
use hearth_wire::tree;

/// Small, so that short inputs meet them.
const NARROW: Limits = Limits { bytes: 160, depth: 4, elements: 6, attributes: 4, namespaces: 4, tree_bytes: 200 };

/// A usual header, so that not every input has to find one.
const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// First byte: bit 0 puts a usual header before the stream, bit 1 chooses small limits, the rest is how
/// many bytes follow that each tell how far the next cut is. Then the stream.
///
/// Cut so, byte by byte, or not at all, it is the same pieces and ends the same; what is accepted is a
/// valid tree, and written by us it is read as the same tree.
pub fn framing(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let (gaps, stream) = rest.split_at(rest.len().min(usize::from(first >> 2)));
    let stream = if first & 1 == 1 { [HEADER, stream].concat() } else { stream.to_vec() };
    let limits = if first & 2 == 2 { NARROW } else { Limits::AUTHENTICATED };
    let whole = read(&stream, std::iter::once(usize::MAX), limits);
    assert_eq!(read(&stream, gaps.iter().map(|gap| usize::from(*gap)), limits), whole, "cut");
    assert_eq!(read(&stream, std::iter::repeat(1), limits), whole, "byte by byte");
    for event in &whole {
        if let Event::Element(encoded) = event {
            check_element(encoded);
        }
    }
}

/// What a stream said; white space says nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Declaration,
    /// As `Debug` shows it.
    Header(String),
    Element(Vec<u8>),
    Close,
    Refused(XmlError),
}

/// Everything a stream says, fed in pieces of these lengths and then the rest.
fn read(stream: &[u8], lens: impl Iterator<Item = usize>, limits: Limits) -> Vec<Event> {
    let mut reader = Reader { framer: Framer::new(), limits, scope: Scope::default(), scratch: Scratch::default() };
    let (mut events, mut buffer, mut rest) = (Vec::new(), Vec::new(), stream);
    for len in lens.chain([usize::MAX]) {
        let (now, later) = rest.split_at(len.min(rest.len()));
        buffer.extend_from_slice(now);
        rest = later;
        if let Err(error) = reader.take(&mut buffer, &mut events) {
            events.push(Event::Refused(error));
            break;
        }
        if rest.is_empty() {
            break;
        }
    }
    events
}

struct Reader {
    framer: Framer,
    limits: Limits,
    scope: Scope,
    scratch: Scratch,
}

impl Reader {
    /// Takes the whole pieces at the start of the buffer.
    fn take(&mut self, buffer: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), XmlError> {
        loop {
            let found = self.framer.next(buffer, &self.limits);
            if let Err(error) = found {
                assert_eq!(self.framer.next(buffer, &self.limits), Err(error), "an error stands");
            }
            let Some((piece, len)) = found? else {
                assert!(buffer.len() < self.limits.bytes, "buffered without end");
                return Ok(());
            };
            assert!(len > 0 && len <= buffer.len());
            let bytes: Vec<u8> = buffer.drain(..len).collect();
            events.extend(self.piece(piece, &bytes)?);
        }
    }

    fn piece(&mut self, piece: Piece, bytes: &[u8]) -> Result<Option<Event>, XmlError> {
        Ok(match piece {
            Piece::Blank => {
                assert!(bytes.iter().all(|byte| b" \t\r\n".contains(byte)));
                None
            }
            Piece::Declaration => {
                parse_declaration(bytes)?;
                Some(Event::Declaration)
            }
            Piece::Header => {
                let (header, scope) = parse_header(bytes)?;
                let shown = format!("{header:?}");
                self.scope = scope;
                Some(Event::Header(shown))
            }
            Piece::Element => {
                let mut out = b"kept".to_vec();
                let parsed = parse_element(bytes, &self.scope, &self.limits, &mut self.scratch, &mut out);
                assert!(parsed.is_ok() || out == b"kept", "an error leaves what was there");
                parsed?;
                Some(Event::Element(out.split_off(4)))
            }
            Piece::Close => {
                parse_close(bytes, &self.scope)?;
                Some(Event::Close)
            }
        })
    }
}

/// What was accepted is one valid element that survives being written and read.
fn check_element(encoded: &[u8]) {
    assert_eq!(tree::validate(encoded, tree::DEPTH_MAX), Ok(()));
    let mut xml = Vec::new();
    render::nodes(encoded, tree::CLIENT, &mut xml).expect("a valid tree renders");
    // Written out it may be longer than what a client may send.
    let limits = Limits { bytes: usize::MAX, namespaces: usize::MAX, ..Limits::AUTHENTICATED };
    let mut again = Vec::new();
    let parsed = parse_element(&xml, &Scope::default(), &limits, &mut Scratch::default(), &mut again);
    let text = String::from_utf8_lossy(&xml);
    // These are of the stream, not of a client's stanzas, and are rendered inside it.
    if parsed.is_err() && tree::first(encoded).is_some_and(|element| element.name() == "stream") {
        return;
    }
    assert_eq!(parsed, Ok(()), "{text}");
    assert_eq!(again, encoded, "{text}");
}
