//! Whether bytes of a peer or a disk are a forest that can be rendered.

use super::{Cursor, ELEMENT, INHERIT, Ref, TEXT, same};
use crate::codec::WireError;
use crate::dictionary;
use crate::limits::{ATTRIBUTES_MAX, DEPTH_MAX};
use crate::xml;

/// Whether every token of the forest reads, to the end, no deeper than `depth_max` (itself at most
/// [`DEPTH_MAX`]), and says what XML can say: names that every parser takes, no element in the
/// namespaces that are XML's own, no attribute twice or named `xmlns`, no characters outside XML 1.0.
/// So what a hostile edge forges renders as well-formed XML all the same. Whatever an edge may accept
/// from a client passes.
///
/// One walk without recursion or allocation.
pub fn validate(bytes: &[u8], depth_max: usize) -> Result<(), WireError> {
    walk(bytes, depth_max.min(DEPTH_MAX)).ok_or(WireError::BadTree)
}

fn walk(bytes: &[u8], depth_max: usize) -> Option<()> {
    // Where the forest and each open element end.
    let mut ends = [0u32; DEPTH_MAX + 1];
    let (mut depth, mut at, mut end) = (0usize, 0usize, bytes.len());
    *ends.first_mut()? = u32::try_from(end).ok()?;
    loop {
        while at == end {
            if depth == 0 {
                return Some(());
            }
            depth = depth.wrapping_sub(1);
            end = *ends.get(depth)? as usize;
        }
        let mut cursor = Cursor(bytes.get(at..end)?);
        match cursor.byte()? {
            TEXT => {
                is_xml(cursor.bytes()?)?;
                at = end.wrapping_sub(cursor.0.len());
            }
            ELEMENT => {
                let mut body = cursor.body()?;
                begin(&mut body)?;
                depth = depth.wrapping_add(1);
                if depth > depth_max {
                    return None;
                }
                end = end.wrapping_sub(cursor.0.len());
                *ends.get_mut(depth)? = u32::try_from(end).ok()?;
                at = end.wrapping_sub(body.0.len());
            }
            _ => return None,
        }
    }
}

/// Reads namespace, name and attributes.
fn begin(body: &mut Cursor<'_>) -> Option<()> {
    if body.0.first() == Some(&INHERIT) {
        body.byte()?;
    } else {
        let ns = body.reference()?;
        is_namespace(ns)?;
        // It can be no default namespace, and nothing is in it.
        is_not(ns, xml::XML)?;
    }
    is_name(body.reference()?)?;
    let count = body.varint()?;
    if count > ATTRIBUTES_MAX {
        return None;
    }
    let attributes = *body;
    for before in 0..count {
        let (ns, name) = (body.reference()?, body.reference()?);
        is_namespace(ns)?;
        is_name(name)?;
        is_xml(body.bytes()?)?;
        let (ns, name) = (ns.text()?, name.text()?);
        if name == "xmlns" && ns.is_empty() {
            return None;
        }
        let mut earlier = attributes;
        for _ in 0..before {
            let (other_ns, other_name, _) = (earlier.name()?, earlier.name()?, earlier.bytes()?);
            if other_name == name && same(other_ns, ns) {
                return None;
            }
        }
    }
    Some(())
}

fn is_namespace(ns: Ref<'_>) -> Option<()> {
    match ns {
        Ref::Number(number) => dictionary::entry(number).map(|_| ())?,
        Ref::Spelt(bytes) => is_xml(bytes)?,
    }
    is_not(ns, xml::XMLNS)
}

fn is_not(ns: Ref<'_>, reserved: &str) -> Option<()> {
    let there = match ns {
        Ref::Number(number) => dictionary::entry(number)?.as_bytes(),
        Ref::Spelt(bytes) => bytes,
    };
    (there.len() != reserved.len() || there != reserved.as_bytes()).then_some(())
}

fn is_name(name: Ref<'_>) -> Option<()> {
    let valid = match name {
        Ref::Number(number) => dictionary::is_name(number),
        Ref::Spelt(bytes) => xml::is_ascii_name(bytes) || std::str::from_utf8(bytes).is_ok_and(xml::is_portable_name),
    };
    valid.then_some(())
}

fn is_xml(bytes: &[u8]) -> Option<()> {
    xml::is_text_bytes(bytes).then_some(())
}
