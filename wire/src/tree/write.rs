//! Appending a tree by parts, for a caller that keeps the stack of open elements and the buffer itself
//! whose texts are decoded on the way. Others have [`Builder`](super::Builder).
//!
//! Lengths stand before what they measure and are patched behind it: an element's has three bytes; a text's
//! takes one byte until it is known, and what follows moves up if it needs more.

use super::{ATTRIBUTES_MAX, BODY_BYTES_MAX, ELEMENT, INHERIT, TEXT};
use crate::dictionary;

/// An element whose end is not yet written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// Where its body begins, behind the length.
    body: usize,
    /// Where its attribute count stands.
    attributes: usize,
}

/// Where the length of bytes stands that are still being appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenBytes(usize);

/// Begins an element. `ns` of `None` is the parent's namespace.
pub fn open(out: &mut Vec<u8>, ns: Option<&str>, name: &str) -> Open {
    out.extend_from_slice(&[ELEMENT, 0, 0, 0]);
    let body = out.len();
    put_namespace(out, ns);
    put_ref(out, name);
    let attributes = out.len();
    out.push(0);
    Open { body, attributes }
}

/// Begins an attribute of `element`, which has no content yet; its value is appended to `out` and ended by
/// [`close_bytes`]. `None` if the element has [`ATTRIBUTES_MAX`] already.
pub fn attribute(out: &mut Vec<u8>, element: Open, ns: &str, name: &str) -> Option<OpenBytes> {
    let count = out.get_mut(element.attributes)?;
    if usize::from(*count) >= ATTRIBUTES_MAX {
        return None;
    }
    *count = count.saturating_add(1);
    put_ref(out, ns);
    put_ref(out, name);
    Some(open_bytes(out))
}

/// Begins a text; its UTF-8 is appended to `out` and ended by [`close_bytes`]. An empty text is not to be written,
/// nor two side by side.
pub fn text(out: &mut Vec<u8>) -> OpenBytes {
    out.push(TEXT);
    open_bytes(out)
}

/// Ends an element. Only the innermost open one may be ended.
pub fn close(out: &mut [u8], element: Open) {
    let len = out.len().saturating_sub(element.body);
    debug_assert!(len <= BODY_BYTES_MAX);
    let [a, b, c, ..] = u32::try_from(len.min(BODY_BYTES_MAX)).unwrap_or(0).to_le_bytes();
    if let Some(field) = element.body.checked_sub(3).and_then(|start| out.get_mut(start..element.body)) {
        field.copy_from_slice(&[a, b, c]);
    }
}

fn open_bytes(out: &mut Vec<u8>) -> OpenBytes {
    let at = out.len();
    out.push(0);
    OpenBytes(at)
}

/// Ends a text or an attribute's value with all that was appended since it was begun.
pub fn close_bytes(out: &mut Vec<u8>, bytes: OpenBytes) {
    let OpenBytes(at) = bytes;
    let start = at.saturating_add(1);
    let len = out.len().saturating_sub(start);
    if let (Ok(short @ 0..0x80), Some(field)) = (u8::try_from(len), out.get_mut(at)) {
        *field = short;
        return;
    }
    let (varint, used) = varint(len as u64);
    if used > 1 {
        let end = out.len();
        out.resize(end.saturating_add(used).saturating_sub(1), 0);
        out.copy_within(start..end, at.saturating_add(used));
    }
    if let (Some(field), Some(varint)) = (out.get_mut(at..at.saturating_add(used)), varint.get(..used)) {
        field.copy_from_slice(varint);
    }
}

/// Bytes of the longest varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;

fn varint(mut value: u64) -> ([u8; VARINT_BYTES_MAX], usize) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let mut used = 0usize;
    for byte in &mut bytes {
        used = used.saturating_add(1);
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            *byte = low;
            break;
        }
        *byte = low | 0x80;
    }
    (bytes, used)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An element's namespace; `None` is the parent's.
pub(super) fn put_namespace(out: &mut Vec<u8>, ns: Option<&str>) {
    match ns {
        None => out.push(INHERIT),
        Some(ns) => put_ref(out, ns),
    }
}

/// A name or namespace by number if the dictionary has it.
pub(super) fn put_ref(out: &mut Vec<u8>, text: &str) {
    match dictionary::number(text) {
        Some(number) => put_varint(out, u64::from(number) + 1),
        None => {
            out.push(0);
            put_bytes(out, text.as_bytes());
        }
    }
}
