//! Elements and text as one flat buffer; the layout is drawn in the crate's documentation.
//!
//! [`Builder`] writes it, [`children`] and [`Element`] read it in place. A reader of broken bytes
//! sees the nodes before the break; [`validate`] tells whether there is one. Reading allocates
//! nothing, and costs what is looked at: an element that is passed over is passed by its length.

mod builder;
mod validate;
pub mod write;

use crate::codec::WireError;
use crate::dictionary;
use std::borrow::Cow;

pub use crate::limits::{ATTRIBUTES_MAX, BODY_BYTES_MAX, DEPTH_MAX};
pub use builder::{Builder, Tag};
pub use validate::validate;

const ELEMENT: u8 = 1;
const TEXT: u8 = 2;
/// A reference to the parent's namespace.
const INHERIT: u8 = 1;
/// Bytes of an element's length field.
const LENGTH_BYTES: usize = 3;

/// Namespace of a payload's implicit parent.
pub const CLIENT: &str = "jabber:client";

/// Bytes not yet read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

/// A name or a namespace as it is written.
#[derive(Clone, Copy)]
enum Ref<'a> {
    Number(u16),
    Spelt(&'a [u8]),
}

impl<'a> Ref<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Ref::Number(number) => dictionary::entry(number),
            Ref::Spelt(bytes) => std::str::from_utf8(bytes).ok(),
        }
    }
}

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
    /// At most 35 bits, in as few bytes as it takes: another spelling of a number is broken.
    fn varint(&mut self) -> Option<usize> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(usize::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 { None } else { usize::try_from(value).ok() };
            }
        }
        None
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.take(len)
    }
    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
    /// A reference, not looked up.
    fn reference(&mut self) -> Option<Ref<'a>> {
        match self.varint()? {
            0 => self.bytes().map(Ref::Spelt),
            reference => u16::try_from(reference.wrapping_sub(1)).ok().map(Ref::Number),
        }
    }
    /// The text of a reference.
    fn name(&mut self) -> Option<&'a str> {
        self.reference()?.text()
    }
    /// The namespace of an element within `parent`.
    fn namespace(&mut self, parent: &'a str) -> Option<&'a str> {
        match self.0.split_first() {
            Some((&INHERIT, rest)) => {
                self.0 = rest;
                Some(parent)
            }
            _ => self.name(),
        }
    }
    /// The body of an element, behind its kind.
    fn body(&mut self) -> Option<Cursor<'a>> {
        let (length, rest) = self.0.split_first_chunk::<LENGTH_BYTES>()?;
        let [a, b, c] = length.map(usize::from);
        let (body, rest) = rest.split_at_checked(a | b << 8 | c << 16)?;
        self.0 = rest;
        Some(Cursor(body))
    }
}

/// `a == b` where both may be empty. Comparing no bytes at the dangling address of an empty slice
/// may cost a hundred nanoseconds: a masked vector load from an unmapped page is slow though it loads nothing.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
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

fn elements<'a>(nodes: Nodes<'a>) -> impl Iterator<Item = Element<'a>> + use<'a> {
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
        let node = read_node(&mut self.cursor, self.ns);
        if node.is_none() {
            self.cursor = Cursor(&[]);
        }
        node
    }
}

fn read_node<'a>(cursor: &mut Cursor<'a>, parent_ns: &'a str) -> Option<Node<'a>> {
    let start = cursor.0;
    match cursor.byte()? {
        TEXT => cursor.text().map(Node::Text),
        ELEMENT => {
            let mut body = cursor.body()?;
            let whole = start.get(..start.len().wrapping_sub(cursor.0.len()))?;
            let ns = body.namespace(parent_ns)?;
            let name = body.name()?;
            let attr_count = body.varint()?;
            let attrs = body.0;
            for _ in 0..attr_count {
                body.reference()?;
                body.reference()?;
                body.bytes()?;
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
        self.name == name && same(self.ns, ns)
    }
    /// Whether its namespace is written as that of whatever it stands in.
    pub fn inherits_ns(&self) -> bool {
        self.namespace_ref() == Some(&INHERIT)
    }
    fn namespace_ref(&self) -> Option<&'a u8> {
        self.whole.get(1 + LENGTH_BYTES)
    }
    /// Value of the attribute `name` without namespace.
    pub fn attr(&self, name: &str) -> Option<&'a str> {
        self.attr_ns("", name)
    }
    /// Value of the attribute `name` of namespace `ns`.
    pub fn attr_ns(&self, ns: &str, name: &str) -> Option<&'a str> {
        let mut cursor = Cursor(self.attrs);
        for _ in 0..self.attr_count {
            let (found_ns, found_name, value) = (cursor.name()?, cursor.name()?, cursor.bytes()?);
            if found_name == name && same(found_ns, ns) {
                return std::str::from_utf8(value).ok();
            }
        }
        None
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
        self.text_cow().into_owned()
    }
    /// Text directly inside; borrowed where it is one run, as it nearly always is.
    pub fn text_cow(&self) -> Cow<'a, str> {
        let runs = self.nodes().filter_map(|node| if let Node::Text(text) = node { Some(text) } else { None });
        runs.fold(Cow::Borrowed(""), |text, run| text + run)
    }
    /// The encoded nodes inside; their inherited namespace is this element's.
    pub fn content(&self) -> &'a [u8] {
        self.content
    }
    /// The encoded element itself; if it inherits its namespace, so does a copy
    /// ([`Builder::element`] makes one that does not).
    pub fn bytes(&self) -> &'a [u8] {
        self.whole
    }
    /// What follows the namespace in the encoded element: name, attributes, content.
    fn behind_namespace(&self) -> Option<&'a [u8]> {
        let mut body = Cursor(self.whole.get(1 + LENGTH_BYTES..)?);
        body.reference()?;
        Some(body.0)
    }
}

#[cfg(test)]
mod tests;
