//! Elements and text as one flat buffer; the layout is drawn in the crate's documentation.
//!
//! [`Builder`] writes it, [`children`] and [`Element`] read it in place. A reader of broken bytes
//! sees the children before the break; [`validate`] tells whether there is one.

pub mod write;

use crate::codec::WireError;
use crate::dictionary;
use write::put_bytes;

const ELEMENT: u8 = 1;
const TEXT: u8 = 2;

/// Deepest element of a payload, counted from 1; enforced by the edge on what clients send and by
/// [`validate`] on what a peer process sends.
pub const DEPTH_MAX: usize = 64;

/// Largest body of one element: three bytes of length.
pub const BODY_BYTES_MAX: usize = 0xff_ffff;

/// Most attributes of one element: their count has one byte. Edges refuse fewer.
pub const ATTRIBUTES_MAX: usize = 127;

/// Namespace of a payload's implicit parent.
pub const CLIENT: &str = "jabber:client";

/// Writes a forest. Elements nest by closures or by `open` and `close`.
#[derive(Default, Debug)]
pub struct Builder {
    out: Vec<u8>,
    /// The open elements, innermost last.
    open: Vec<write::Open>,
    /// Whether the innermost element may still get attributes.
    attributes: bool,
}

impl Builder {
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Continues in a buffer (cleared), to save its allocation.
    pub fn reuse(mut out: Vec<u8>) -> Builder {
        out.clear();
        Builder { out, ..Builder::default() }
    }

    /// Opens an element. `ns` of `None` is the parent's namespace.
    pub fn open(&mut self, ns: Option<&str>, name: &str) -> &mut Self {
        self.open.push(write::open(&mut self.out, ns, name));
        self.attributes = true;
        self
    }

    /// Adds an attribute without a namespace to the element just opened, before any content.
    pub fn attr(&mut self, name: &str, value: &str) -> &mut Self {
        self.attr_ns("", name, value)
    }

    /// Adds an attribute. More than [`ATTRIBUTES_MAX`] on one element are dropped; edges refuse far fewer.
    pub fn attr_ns(&mut self, ns: &str, name: &str, value: &str) -> &mut Self {
        let Some(element) = self.open.last().filter(|_| self.attributes) else {
            debug_assert!(false, "attribute after content");
            return self;
        };
        if let Some(bytes) = write::attribute(&mut self.out, *element, ns, name) {
            self.out.extend_from_slice(value.as_bytes());
            write::close_bytes(&mut self.out, bytes);
        }
        self
    }

    /// Adds text to the innermost open element; empty text is not written.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.attributes = false;
        if !text.is_empty() {
            self.out.push(TEXT);
            put_bytes(&mut self.out, text.as_bytes());
        }
        self
    }

    /// Closes the innermost open element.
    pub fn close(&mut self) -> &mut Self {
        self.attributes = false;
        if let Some(element) = self.open.pop() {
            write::close(&mut self.out, element);
        }
        self
    }

    /// An element with text only.
    pub fn leaf(&mut self, ns: Option<&str>, name: &str, text: &str) -> &mut Self {
        self.open(ns, name).text(text).close()
    }

    /// Copies nodes that are already encoded. They inherit the namespace of the element they land in.
    pub fn raw(&mut self, nodes: &[u8]) -> &mut Self {
        self.attributes = false;
        self.out.extend_from_slice(nodes);
        self
    }

    /// How many elements are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True before anything was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Closes what is open and returns the bytes.
    pub fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }
}

/// Bytes not yet read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
    fn varint(&mut self) -> Option<usize> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(value).ok();
            }
        }
        None
    }
    fn text(&mut self) -> Option<&'a str> {
        let len = self.varint()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
    fn name(&mut self) -> Option<&'a str> {
        match self.varint()? {
            0 => self.text(),
            n => dictionary::entry(u16::try_from(n.checked_sub(1)?).ok()?),
        }
    }
    /// `Some(None)` is the parent's namespace.
    fn namespace(&mut self) -> Option<Option<&'a str>> {
        let before = *self;
        if self.varint()? == usize::from(dictionary::INHERIT) + 1 {
            return Some(None);
        }
        *self = before;
        self.name().map(Some)
    }
}

/// An element or a run of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Node<'a> {
    Element(Element<'a>),
    Text(&'a str),
}

/// An element read in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Element<'a> {
    ns: &'a str,
    name: &'a str,
    attr_count: usize,
    attrs: &'a [u8],
    content: &'a [u8],
    whole: &'a [u8],
}

/// Reads a forest whose implicit parent namespace is `ns`.
pub fn nodes<'a>(bytes: &'a [u8], ns: &'a str) -> Nodes<'a> {
    Nodes { cursor: Cursor(bytes), ns }
}

/// The elements of a stanza's payload.
pub fn children(payload: &[u8]) -> impl Iterator<Item = Element<'_>> {
    elements(nodes(payload, CLIENT))
}

/// The first element of a stanza's payload: an iq's question or answer.
pub fn first(payload: &[u8]) -> Option<Element<'_>> {
    children(payload).next()
}

/// The payload's first element with this name.
pub fn child<'a>(payload: &'a [u8], ns: &str, name: &str) -> Option<Element<'a>> {
    children(payload).find(|element| element.is(ns, name))
}

fn elements<'a>(nodes: Nodes<'a>) -> impl Iterator<Item = Element<'a>> {
    nodes.filter_map(|node| match node {
        Node::Element(element) => Some(element),
        Node::Text(_) => None,
    })
}

/// Iterator of [`nodes`]; ends at the end or at the first broken token.
#[derive(Clone)]
pub struct Nodes<'a> {
    cursor: Cursor<'a>,
    ns: &'a str,
}

impl<'a> Nodes<'a> {
    /// As `next`, but tells a broken token from the end.
    pub fn read(&mut self) -> Result<Option<Node<'a>>, WireError> {
        if self.cursor.0.is_empty() {
            return Ok(None);
        }
        read_node(&mut self.cursor, self.ns).map(Some).ok_or(WireError::BadTree)
    }
}

impl<'a> Iterator for Nodes<'a> {
    type Item = Node<'a>;
    fn next(&mut self) -> Option<Node<'a>> {
        let start = self.cursor;
        let node = read_node(&mut self.cursor, self.ns);
        if node.is_none() {
            self.cursor = Cursor(&[]);
            debug_assert!(start.0.is_empty() || self.cursor.0.is_empty());
        }
        node
    }
}

fn read_node<'a>(cursor: &mut Cursor<'a>, parent_ns: &'a str) -> Option<Node<'a>> {
    let start = cursor.0;
    match cursor.byte()? {
        TEXT => cursor.text().map(Node::Text),
        ELEMENT => {
            let len = match cursor.take(3)? {
                [a, b, c] => usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16,
                _ => return None,
            };
            let mut body = Cursor(cursor.take(len)?);
            let whole = start.get(..len.checked_add(4)?)?;
            let ns = body.namespace()?.unwrap_or(parent_ns);
            let name = body.name()?;
            let attr_count = body.varint()?;
            let attrs = body.0;
            for _ in 0..attr_count {
                body.name()?;
                body.name()?;
                let value = body.varint()?;
                body.take(value)?;
            }
            Some(Node::Element(Element { ns, name, attr_count, attrs, content: body.0, whole }))
        }
        _ => None,
    }
}

impl<'a> Element<'a> {
    /// Namespace name; empty for none.
    pub fn ns(&self) -> &'a str {
        self.ns
    }
    /// Local name.
    pub fn name(&self) -> &'a str {
        self.name
    }
    /// Whether this is the element `name` of namespace `ns`.
    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.name == name && self.ns == ns
    }
    /// Value of the attribute `name` without namespace.
    pub fn attr(&self, name: &str) -> Option<&'a str> {
        self.attrs().find(|(ns, n, _)| ns.is_empty() && *n == name).map(|(_, _, value)| value)
    }
    /// Namespace, name and value of each attribute. `xml:` is `http://www.w3.org/XML/1998/namespace`.
    pub fn attrs(&self) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> + use<'a> {
        let mut cursor = Cursor(self.attrs);
        (0..self.attr_count).map_while(move |_| Some((cursor.name()?, cursor.name()?, cursor.text()?)))
    }
    /// How many attributes there are; [`Element::attrs`] yields fewer if one is broken.
    pub fn attr_count(&self) -> usize {
        self.attr_count
    }
    /// Elements and text inside.
    pub fn nodes(&self) -> Nodes<'a> {
        nodes(self.content, self.ns)
    }
    /// Elements inside.
    pub fn children(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        elements(self.nodes())
    }
    /// First element inside with this name.
    pub fn child(&self, ns: &str, name: &str) -> Option<Element<'a>> {
        self.children().find(|element| element.is(ns, name))
    }
    /// Text directly inside, joined.
    pub fn text(&self) -> String {
        self.nodes().filter_map(|node| if let Node::Text(text) = node { Some(text) } else { None }).collect()
    }
    /// The encoded nodes inside; their inherited namespace is this element's.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }
    /// The encoded element itself; if it inherits its namespace, so does a copy.
    pub fn bytes(&self) -> &'a [u8] {
        self.whole
    }
}

/// Whether every token of the forest reads, to the end, no deeper than `depth_max`.
/// Iterative: depth costs no stack.
pub fn validate(bytes: &[u8], depth_max: usize) -> Result<(), WireError> {
    let mut levels = vec![Cursor(bytes)];
    while let Some(cursor) = levels.last_mut() {
        if cursor.0.is_empty() {
            levels.pop();
            continue;
        }
        match read_node(cursor, "").ok_or(WireError::BadTree)? {
            Node::Text(_) => {}
            Node::Element(element) => {
                if element.attrs().count() != element.attr_count || levels.len() > depth_max {
                    return Err(WireError::BadTree);
                }
                levels.push(Cursor(element.content));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_and_reads() {
        let mut tree = Builder::new();
        tree.leaf(None, "body", "hello & <bye>");
        tree.open(Some("urn:xmpp:receipts"), "request").attr("odd", "1").close();
        tree.open(Some("urn:example:unknown"), "a").open(None, "b").text("x").close().close();
        let bytes = tree.finish();
        validate(&bytes, DEPTH_MAX).unwrap();
        let all: Vec<_> = children(&bytes).map(|e| (e.ns(), e.name())).collect();
        assert_eq!(all, [(CLIENT, "body"), ("urn:xmpp:receipts", "request"), ("urn:example:unknown", "a")]);
        assert_eq!(child(&bytes, CLIENT, "body").unwrap().text(), "hello & <bye>");
        assert_eq!(child(&bytes, "urn:xmpp:receipts", "request").unwrap().attr("odd"), Some("1"));
        assert_eq!(children(&bytes).last().unwrap().child("urn:example:unknown", "b").unwrap().text(), "x");
    }

    #[test]
    fn lengths_of_any_size_are_patched() {
        for len in [0, 1, 127, 128, 129, 16_383, 16_384, 100_000] {
            let text = "x".repeat(len);
            let mut tree = Builder::new();
            tree.open(None, "a").attr("v", &text).text(&text).close();
            let mut by_parts = Vec::new();
            let element = write::open(&mut by_parts, None, "a");
            let value = write::attribute(&mut by_parts, element, "", "v").unwrap();
            by_parts.extend_from_slice(text.as_bytes());
            write::close_bytes(&mut by_parts, value);
            if len > 0 {
                let content = write::text(&mut by_parts);
                by_parts.extend_from_slice(text.as_bytes());
                write::close_bytes(&mut by_parts, content);
            }
            write::close(&mut by_parts, element);
            assert_eq!(by_parts, tree.finish());
            validate(&by_parts, 1).unwrap();
            let element = first(&by_parts).unwrap();
            assert_eq!((element.attr("v"), element.text()), (Some(text.as_str()), text.clone()));
        }
    }

    #[test]
    fn too_deep_is_refused_without_stack() {
        let mut tree = Builder::new();
        for _ in 0..100_000 {
            tree.open(None, "a");
        }
        assert_eq!(validate(&tree.finish(), DEPTH_MAX), Err(WireError::BadTree));
    }
}
