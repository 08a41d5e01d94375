//! Writing a forest.

use super::write::{put_bytes, put_namespace, put_ref};
use super::{ELEMENT, Element, LENGTH_BYTES, TEXT};
use crate::limits::{ATTRIBUTES_MAX, BODY_BYTES_MAX};

/// Writes a forest. Elements nest by `open` and `close`.
///
/// An element's length field is known when it closes; until then it holds where the field of the
/// element around it stands, so that no other memory is needed however deep the tree. A forest of
/// more than [`BODY_BYTES_MAX`] comes out as bytes that no reader accepts.
#[derive(Default, Debug)]
pub struct Builder {
    out: Vec<u8>,
    /// Where the length field of the innermost open element stands; 0 (never a place) if none is open.
    innermost: usize,
    depth: usize,
    /// Where the attribute count of the innermost element stands while attributes may come; else 0.
    attributes: usize,
}

/// What an element begins with, encoded once for many: namespace, name and constant attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// What follows the length field.
    bytes: Vec<u8>,
    /// Where in `bytes` the attribute count stands.
    attributes: usize,
}

impl Tag {
    /// `ns` of `None` is the parent's namespace.
    pub fn new(ns: Option<&str>, name: &str) -> Tag {
        let mut bytes = Vec::new();
        put_namespace(&mut bytes, ns);
        put_ref(&mut bytes, name);
        let attributes = bytes.len();
        bytes.push(0);
        Tag { bytes, attributes }
    }

    /// Adds an attribute without a namespace.
    pub fn with_attr(mut self, name: &str, value: &str) -> Tag {
        put_attribute(&mut self.bytes, self.attributes, "", name, value);
        self
    }
}

impl Builder {
    /// An empty forest.
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
        self.begin();
        put_namespace(&mut self.out, ns);
        put_ref(&mut self.out, name);
        self.attributes = self.out.len();
        self.out.push(0);
        self
    }

    /// Opens an element as the tag says; more attributes may follow.
    pub fn open_tag(&mut self, tag: &Tag) -> &mut Self {
        self.begin();
        self.attributes = self.out.len().saturating_add(tag.attributes);
        self.out.extend_from_slice(&tag.bytes);
        self
    }

    fn begin(&mut self) {
        let [a, b, c, ..] = self.innermost.to_le_bytes();
        self.innermost = self.out.len().saturating_add(1);
        self.depth = self.depth.saturating_add(1);
        self.out.extend_from_slice(&[ELEMENT, a, b, c]);
    }

    /// Adds an attribute without a namespace to the element just opened, before any content.
    pub fn attr(&mut self, name: &str, value: &str) -> &mut Self {
        self.attr_ns("", name, value)
    }

    /// Adds an attribute. More than [`ATTRIBUTES_MAX`] on one element are dropped; edges refuse far fewer.
    pub fn attr_ns(&mut self, ns: &str, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.attributes > 0, "attribute after content");
        put_attribute(&mut self.out, self.attributes, ns, name, value);
        self
    }

    /// Adds text to the innermost open element; empty text is not written.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.attributes = 0;
        if !text.is_empty() {
            self.out.push(TEXT);
            put_bytes(&mut self.out, text.as_bytes());
        }
        self
    }

    /// Closes the innermost open element.
    pub fn close(&mut self) -> &mut Self {
        self.attributes = 0;
        let behind = self.innermost.saturating_add(LENGTH_BYTES);
        let body_bytes = self.out.len().saturating_sub(behind);
        // Past the limit the fields do not hold what they should: `finish` throws it all away.
        if self.depth > 0
            && self.out.len() <= BODY_BYTES_MAX
            && let Some(field) = self.out.get_mut(self.innermost..behind)
            && let ([a, b, c, ..], [x, y, z]) = (body_bytes.to_le_bytes(), field)
        {
            self.innermost = usize::from(*x) | usize::from(*y) << 8 | usize::from(*z) << 16;
            (*x, *y, *z) = (a, b, c);
        }
        self.depth = self.depth.saturating_sub(1);
        self
    }

    /// An element with text only.
    pub fn leaf(&mut self, ns: Option<&str>, name: &str, text: &str) -> &mut Self {
        self.open(ns, name).text(text).close()
    }

    /// Copies nodes that are already encoded. They inherit the namespace of the element they land in.
    pub fn raw(&mut self, nodes: &[u8]) -> &mut Self {
        self.attributes = 0;
        self.out.extend_from_slice(nodes);
        self
    }

    /// Copies an element so that it keeps its namespace wherever it lands.
    pub fn element(&mut self, element: &Element<'_>) -> &mut Self {
        match element.behind_namespace() {
            Some(rest) if element.inherits_ns() => {
                self.begin();
                put_ref(&mut self.out, element.ns());
                self.out.extend_from_slice(rest);
                self.close()
            }
            _ => self.raw(element.bytes()),
        }
    }

    /// How many elements are open.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True before anything was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Closes what is open and lends the bytes; [`Builder::clear`] begins the next forest in the same buffer.
    pub fn encoded(&mut self) -> &[u8] {
        while self.depth > 0 {
            self.close();
        }
        if self.out.len() > BODY_BYTES_MAX {
            self.out.clear();
            self.out.push(0);
        }
        &self.out
    }

    /// Forgets what was written but keeps the buffer.
    pub fn clear(&mut self) {
        *self = Builder::reuse(std::mem::take(&mut self.out));
    }

    /// Closes what is open and returns the bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.encoded();
        self.out
    }
}

/// Appends an attribute to the element whose count stands at `at`, and counts it.
fn put_attribute(out: &mut Vec<u8>, at: usize, ns: &str, name: &str, value: &str) {
    // Place 0 is never a count's.
    let Some(count) = out.get_mut(at).filter(|count| at > 0 && usize::from(**count) < ATTRIBUTES_MAX) else { return };
    *count = count.saturating_add(1);
    put_ref(out, ns);
    put_ref(out, name);
    put_bytes(out, value.as_bytes());
}
