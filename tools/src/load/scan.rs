//! Finds whole top-level elements in a server's byte stream, for any cut of the bytes, without a tree.
//!
//! A load program trusts its server more than a server trusts a client: what is found here is only
//! delimited, never validated. Comments and CDATA sections, which XMPP servers do not send (RFC 6120
//! §11.1), are not understood.
//!
//! ```text
//! let mut at = Scanner::default();
//! while let Some(item) = at.next(&buffer)? { … buffer.get(item.range) … }
//! let keep = at.rewind();          // bytes before `keep` are done with
//! ```

use memchr::{memchr, memchr2, memchr3};
use std::ops::Range;

/// What the scanner found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `<stream:stream …>`.
    Header,
    /// A child of the stream, whole.
    Element,
    /// `</stream:stream>`.
    End,
}

/// One find, as a range of the buffer that was scanned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Item {
    pub(crate) kind: Kind,
    pub(crate) range: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Lexeme {
    #[default]
    Text,
    Tag,
    Quoted(u8),
}

/// Position and nesting in one stream; 40 bytes, no buffer of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scanner {
    at: Lexeme,
    depth: u32,
    position: usize,
    tag_start: usize,
    item_start: usize,
}

impl Scanner {
    /// The next whole item of `buffer`, which is the one of the last call, perhaps with more at its end.
    pub(crate) fn next(&mut self, buffer: &[u8]) -> Option<Item> {
        loop {
            let rest = buffer.get(self.position..)?;
            match self.at {
                Lexeme::Text => {
                    let Some(found) = memchr(b'<', rest) else {
                        self.position = buffer.len();
                        return None;
                    };
                    self.tag_start = self.position + found;
                    if self.depth <= 1 {
                        self.item_start = self.tag_start;
                    }
                    self.position = self.tag_start + 1;
                    self.at = Lexeme::Tag;
                }
                Lexeme::Tag => {
                    let Some(found) = memchr3(b'>', b'\'', b'"', rest) else {
                        self.position = buffer.len();
                        return None;
                    };
                    self.position += found + 1;
                    match rest.get(found) {
                        Some(b'>') => {
                            self.at = Lexeme::Text;
                            if let Some(kind) = self.tag_ends(buffer) {
                                return Some(Item { kind, range: self.item_start..self.position });
                            }
                        }
                        Some(quote) => self.at = Lexeme::Quoted(*quote),
                        None => return None,
                    }
                }
                Lexeme::Quoted(quote) => {
                    let Some(found) = memchr(quote, rest) else {
                        self.position = buffer.len();
                        return None;
                    };
                    self.position += found + 1;
                    self.at = Lexeme::Tag;
                }
            }
        }
    }

    /// How many bytes at the start of the buffer are done with; later calls expect them gone.
    pub(crate) fn rewind(&mut self) -> usize {
        let outside = self.depth <= 1 && matches!(self.at, Lexeme::Text);
        let keep = if outside { self.position } else { self.item_start };
        self.position -= keep;
        self.tag_start = self.tag_start.saturating_sub(keep);
        self.item_start = self.item_start.saturating_sub(keep);
        keep
    }

    fn tag_ends(&mut self, buffer: &[u8]) -> Option<Kind> {
        let tag = buffer.get(self.tag_start..self.position).unwrap_or_default();
        match tag {
            [b'<', b'?' | b'!', ..] => None,
            [b'<', b'/', ..] => {
                self.depth = self.depth.saturating_sub(1);
                match self.depth {
                    0 => Some(Kind::End),
                    1 => Some(Kind::Element),
                    _ => None,
                }
            }
            [.., b'/', b'>'] => (self.depth <= 1).then_some(Kind::Element),
            _ => {
                self.depth += 1;
                (self.depth == 1).then_some(Kind::Header)
            }
        }
    }
}

/// One whole element, read where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a>(pub(crate) &'a [u8]);

impl<'a> Element<'a> {
    /// Its name as written, prefix included.
    pub(crate) fn name(self) -> &'a [u8] {
        let rest = self.0.get(1..).unwrap_or_default();
        let end = rest.iter().position(|b| matches!(b, b' ' | b'/' | b'>' | b'\t' | b'\n' | b'\r'));
        rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
    }

    /// The value of an attribute of its start tag, as written (entities are not resolved).
    pub(crate) fn attribute(self, name: &str) -> Option<&'a [u8]> {
        let mut rest = self.0.get(1 + self.name().len()..)?;
        loop {
            let stop = memchr2(b'=', b'>', rest)?;
            if rest.get(stop) == Some(&b'>') {
                return None;
            }
            let found = rest.get(..stop)?.trim_ascii();
            rest = rest.get(stop + 1..)?.trim_ascii_start();
            let (quote, value) = rest.split_first()?;
            let end = memchr(*quote, value)?;
            if found == name.as_bytes() {
                return value.get(..end);
            }
            rest = value.get(end + 1..)?;
        }
    }

    pub(crate) fn contains(self, text: &str) -> bool {
        memchr::memmem::find(self.0, text.as_bytes()).is_some()
    }

    /// The text between the first `<name…>` below it, or of itself, and the next `<`.
    pub(crate) fn text_of(self, name: &str) -> Option<&'a [u8]> {
        let tag = self.find(name)?;
        let text = tag.0.get(memchr(b'>', tag.0)? + 1..)?;
        text.get(..memchr(b'<', text)?)
    }

    /// Everything from the first start tag called `name` on.
    pub(crate) fn find(self, name: &str) -> Option<Element<'a>> {
        self.find_all(name).next()
    }

    /// Each start tag called `name`, with what follows it.
    pub(crate) fn find_all(self, name: &str) -> impl Iterator<Item = Element<'a>> {
        memchr::memchr_iter(b'<', self.0)
            .filter_map(move |at| self.0.get(at..).map(Element))
            .filter(move |element| element.name() == name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &[u8] = b"<?xml version='1.0'?><stream:stream from='localhost' id=\"a>b\">\
        <stream:features><bind xmlns='b'/><m>PLAIN</m></stream:features> \n\
        <message to='x' id='1'><body>a &lt; b > c</body></message><presence/>\
        <iq a='/'><q><r/></q></iq></stream:stream>";

    fn items_of(chunks: &[&[u8]]) -> Vec<(Kind, Vec<u8>)> {
        let (mut scanner, mut buffer, mut found) = (Scanner::default(), Vec::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            while let Some(item) = scanner.next(&buffer) {
                found.push((item.kind, buffer[item.range].to_vec()));
            }
            let done = scanner.rewind();
            buffer.drain(..done);
        }
        assert!(buffer.is_empty(), "left: {:?}", String::from_utf8_lossy(&buffer));
        found
    }

    #[test]
    fn whole_elements_are_found() {
        let found = items_of(&[STREAM]);
        let names: Vec<_> = found.iter().map(|(kind, bytes)| (*kind, Element(bytes).name().to_vec())).collect();
        assert_eq!(
            names,
            [
                (Kind::Header, b"stream:stream".to_vec()),
                (Kind::Element, b"stream:features".to_vec()),
                (Kind::Element, b"message".to_vec()),
                (Kind::Element, b"presence".to_vec()),
                (Kind::Element, b"iq".to_vec()),
                (Kind::End, b"".to_vec()),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_cut_finds_the_same(mut cuts in prop::collection::vec(0..STREAM.len(), 0..40)) {
            cuts.push(0);
            cuts.push(STREAM.len());
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &STREAM[w[0]..w[1]]).collect();
            prop_assert_eq!(items_of(&chunks), items_of(&[STREAM]));
        }
    }

    #[test]
    fn attributes_and_text() {
        let element = Element(b"<iq type='set' from=\"a@b/c>'\" id = 'x'><query to='no'>t</query></iq>");
        assert_eq!(element.name(), b"iq");
        assert_eq!(element.attribute("type"), Some(&b"set"[..]));
        assert_eq!(element.attribute("from"), Some(&b"a@b/c>'"[..]));
        assert_eq!(element.attribute("id"), Some(&b"x"[..]));
        assert_eq!(element.attribute("to"), None);
        assert_eq!(element.text_of("query"), Some(&b"t"[..]));
        assert_eq!(element.text_of("body"), None);
    }
}
