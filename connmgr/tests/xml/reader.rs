//! A stream read as an edge reads it, in any cut, and trees as short text.

use hearth_connmgr::xml::{Framer, Limits, Piece, Scope, Scratch, XmlError};
use hearth_connmgr::xml::{parse_close, parse_declaration, parse_element, parse_header};
use hearth_wire::tree::{self, Element, Node};

pub(crate) const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// What a stream said, white space left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Declaration,
    Header,
    /// As [`outline`] shows it.
    Element(String),
    Close,
    Refused(XmlError),
}

pub(crate) struct Reader {
    framer: Framer,
    limits: Limits,
    scope: Scope,
    scratch: Scratch,
    buffer: Vec<u8>,
    pub(crate) events: Vec<Event>,
    /// The elements among them, encoded.
    pub(crate) elements: Vec<Vec<u8>>,
}

impl Reader {
    pub(crate) fn new(limits: Limits) -> Reader {
        Reader {
            framer: Framer::new(),
            limits,
            scope: Scope::default(),
            scratch: Scratch::default(),
            buffer: Vec::new(),
            events: Vec::new(),
            elements: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.events.last(), Some(Event::Refused(_))) {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.framer.next(&self.buffer, &self.limits) {
                Ok(None) => return assert!(self.buffer.len() < self.limits.bytes, "buffered without end"),
                Ok(Some((piece, len))) => {
                    assert!(len > 0 && len <= self.buffer.len());
                    let rest = self.buffer.split_off(len);
                    let bytes = std::mem::replace(&mut self.buffer, rest);
                    match self.piece(piece, &bytes) {
                        Ok(event) => self.events.extend(event),
                        Err(error) => return self.events.push(Event::Refused(error)),
                    }
                }
                Err(error) => {
                    assert_eq!(self.framer.next(&self.buffer, &self.limits), Err(error), "an error stands");
                    return self.events.push(Event::Refused(error));
                }
            }
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
                assert_eq!(header.namespace_fault(), None);
                self.scope = scope;
                Some(Event::Header)
            }
            Piece::Element => {
                let mut out = b"kept".to_vec();
                let parsed = parse_element(bytes, &self.scope, &self.limits, &mut self.scratch, &mut out);
                assert!(parsed.is_ok() || out == b"kept");
                parsed?;
                let encoded = out.split_off(4);
                let outline = outline_one(&encoded);
                self.elements.push(encoded);
                Some(Event::Element(outline))
            }
            Piece::Close => {
                parse_close(bytes, &self.scope)?;
                Some(Event::Close)
            }
        })
    }
}

/// Everything a stream says, fed in pieces that end at `cuts`.
pub(crate) fn read(bytes: &[u8], cuts: &[usize], limits: Limits) -> Vec<Event> {
    let mut reader = Reader::new(limits);
    let mut start = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let end = cut.clamp(start, bytes.len());
        reader.feed(&bytes[start..end]);
        start = end;
    }
    reader.events
}

/// The elements of a stream that is accepted, encoded.
pub(crate) fn elements(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = Reader::new(Limits::AUTHENTICATED);
    reader.feed(stream);
    assert!(!matches!(reader.events.last(), Some(Event::Refused(_))), "{:?}", reader.events);
    reader.elements
}

/// One element sent behind the usual header: its outline, or why the stream ended.
pub(crate) fn one(stanza: &[u8]) -> Result<String, XmlError> {
    let events = read(&[HEADER.as_bytes(), stanza].concat(), &[], Limits::AUTHENTICATED);
    match events.as_slice() {
        [Event::Header, Event::Element(outline)] => Ok(outline.clone()),
        [Event::Header, .., Event::Refused(error)] => Err(*error),
        others => panic!("{:?} gave {others:?}", String::from_utf8_lossy(stanza)),
    }
}

/// The outline of exactly one encoded element; the tree is checked on the way.
pub(crate) fn outline_one(encoded: &[u8]) -> String {
    tree::validate(encoded, tree::DEPTH_MAX).expect("a valid tree");
    let mut nodes = tree::nodes(encoded, "parent");
    let Some(Node::Element(element)) = nodes.next() else { panic!("no element") };
    assert!(nodes.next().is_none(), "more than one element");
    outline(&element)
}

/// `name(attribute="value")["text" name]`, with `{namespace}` before names of another namespace than `jabber:client`, or
/// than none for attributes.
pub(crate) fn outline(element: &Element<'_>) -> String {
    let mut text = String::new();
    if element.ns() != tree::CLIENT {
        text += &format!("{{{}}}", element.ns());
    }
    text += element.name();
    let attrs: Vec<String> = element
        .attrs()
        .map(
            |(ns, name, value)| {
                if ns.is_empty() { format!("{name}={value:?}") } else { format!("{{{ns}}}{name}={value:?}") }
            },
        )
        .collect();
    if !attrs.is_empty() {
        text += &format!("({})", attrs.join(" "));
    }
    let inside: Vec<String> = element
        .nodes()
        .map(|node| match node {
            Node::Text(text) => {
                assert!(!text.is_empty(), "an empty text");
                format!("{text:?}")
            }
            Node::Element(element) => outline(&element),
        })
        .collect();
    assert!(!inside.windows(2).any(|pair| pair.iter().all(|one| one.starts_with('"'))), "two texts side by side");
    if !inside.is_empty() {
        text += &format!("[{}]", inside.join(" "));
    }
    text
}
