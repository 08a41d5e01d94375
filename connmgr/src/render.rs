//! Trees to the XML a client reads: always ours, always escaped, valid in the client's stream.
//!
//! The stream that [`stream_header`] opens has the default namespace `jabber:client` and the prefix `stream`; everything
//! here is written for that context. Elements never have a prefix, so a default namespace is declared exactly where it
//! changes; an attribute of a namespace gets a prefix declared on its own element.

mod escape;
mod sasl2;
mod sm;
mod stream;

pub use escape::{escape_attribute, escape_text};
pub use sasl2::{sasl2_challenge, sasl2_failure, sasl2_success};
pub use sm::{sm_a, sm_enabled, sm_failed, sm_r, sm_resumed, sm_too_high};
pub use stream::{
    StreamHeader, sasl_challenge, sasl_failure, sasl_success, see_other_host, stream_close, stream_error,
    stream_features, stream_header, tls_failure, tls_proceed,
};

use crate::xml::{CLIENT, XML};
use hearth_wire::codec::WireError;
use hearth_wire::date_time;
use hearth_wire::jid;
use hearth_wire::stanza::{Carbon, Delay, Overlay, Stanza, StanzaType};
use hearth_wire::tree::{self, Element, Node, Nodes};
use hearth_wire::xml::is_portable_name;
use std::io::Write as _;

const DELAY: &str = "urn:xmpp:delay";
const STANZA_ID: &str = "urn:xmpp:sid:0";
const CARBONS: &str = "urn:xmpp:carbons:2";
const FORWARD: &str = "urn:xmpp:forward:0";

/// Deepest element written: a payload of the deepest allowed, and one level more for the stanza of a first-level element.
const DEPTH_MAX: usize = tree::DEPTH_MAX + 1;

/// Writes a stanza for a client, with what differs for this recipient merged in. After an error, which only a broken
/// payload causes, `out` is as long as before.
///
/// `delay` and `stanza_id` follow the payload; a `<stanza-id/>` in the payload that claims to be by the recipient's
/// account is left out, so that a client can trust the one it gets (XEP-0359 §6). A carbon is the whole stanza, `to` replaced, inside
/// `<forwarded/>`, where the delay then stands (XEP-0297 §3).
pub fn stanza(stanza: &Stanza<'_>, overlay: &Overlay<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    let written = match &overlay.carbon {
        None => plain(stanza, overlay, overlay.delay.as_ref(), false, out),
        Some(carbon) => wrapped(stanza, overlay, carbon, out),
    };
    written.inspect_err(|_| out.truncate(start))
}

/// A stanza of the edge's own, for a client.
pub(crate) fn own(stanza: &Stanza<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = self::stanza(stanza, &Overlay::default(), &mut bytes);
    debug_assert!(done.is_ok() && tree::validate(stanza.payload, tree::DEPTH_MAX).is_ok());
    bytes
}

fn wrapped(
    stanza: &Stanza<'_>,
    overlay: &Overlay<'_>,
    carbon: &Carbon<'_>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let direction: &[u8] = if carbon.sent { b"sent" } else { b"received" };
    out.extend_from_slice(b"<message");
    envelope(Some(carbon.from), Some(carbon.to), None, stanza.ty, None, out);
    out.extend_from_slice(b"><");
    out.extend_from_slice(direction);
    attribute("xmlns", CARBONS, out);
    out.extend_from_slice(b"><forwarded");
    attribute("xmlns", FORWARD, out);
    out.push(b'>');
    if let Some(stamp) = &overlay.delay {
        delay(stamp, out);
    }
    plain(stanza, overlay, None, true, out)?;
    out.extend_from_slice(b"</forwarded></");
    out.extend_from_slice(direction);
    out.extend_from_slice(b"></message>");
    Ok(())
}

/// The stanza itself; `forwarded` into an element whose default namespace is not `jabber:client`.
fn plain(
    stanza: &Stanza<'_>,
    overlay: &Overlay<'_>,
    stamp: Option<&Delay<'_>>,
    forwarded: bool,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let name = stanza.kind.element().as_bytes();
    out.push(b'<');
    out.extend_from_slice(name);
    if forwarded {
        attribute("xmlns", CLIENT, out);
    }
    envelope(stanza.from, overlay.to.or(stanza.to), stanza.id, stanza.ty, stanza.lang, out);
    if stanza.payload.is_empty() && stamp.is_none() && overlay.stanza_id.is_none() {
        out.extend_from_slice(b"/>");
        return Ok(());
    }
    out.push(b'>');
    let account = overlay.stanza_id.map(|ours| ours.by).or(overlay.to.or(stanza.to));
    let account = account.map(|to| to.split_once('/').map_or(to, |(bare, _)| bare));
    let claims_ours = |element: &Element<'_>| {
        let is_account = |by: &str| Some(by) == account || jid::prepare(by).is_ok_and(|by| Some(&*by) == account);
        element.is(STANZA_ID, "stanza-id") && element.attr("by").is_none_or(is_account)
    };
    write(tree::nodes(stanza.payload, CLIENT), CLIENT, claims_ours, out)?;
    if let Some(stamp) = stamp {
        delay(stamp, out);
    }
    if let Some(ours) = &overlay.stanza_id {
        out.extend_from_slice(b"<stanza-id");
        attribute("xmlns", STANZA_ID, out);
        attribute("id", ours.id, out);
        attribute("by", ours.by, out);
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(name);
    out.push(b'>');
    Ok(())
}

fn envelope(
    from: Option<&str>,
    to: Option<&str>,
    id: Option<&str>,
    ty: StanzaType,
    lang: Option<&str>,
    out: &mut Vec<u8>,
) {
    for (name, value) in [("from", from), ("to", to), ("id", id), ("type", ty.attribute()), ("xml:lang", lang)] {
        if let Some(value) = value {
            attribute(name, value, out);
        }
    }
}

/// XEP-0203 §2.
fn delay(delay: &Delay<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<delay");
    attribute("xmlns", DELAY, out);
    attribute("from", delay.from, out);
    out.extend_from_slice(b" stamp='");
    date_time::write(delay.stamp_ms, out);
    out.extend_from_slice(b"'/>");
}

/// Writes encoded nodes where `ns` is the default namespace in scope and that of the nodes' implicit parent. Depth costs
/// no stack. After an error `out` is as long as before.
pub fn nodes(bytes: &[u8], ns: &str, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    write(tree::nodes(bytes, ns), ns, |_| false, out).inspect_err(|_| out.truncate(start))
}

/// An element whose content is being written, to be resumed and closed.
#[derive(Clone)]
struct Parent<'a> {
    nodes: Nodes<'a>,
    default_ns: &'a str,
    /// The element that is written inside it.
    child: &'a str,
}

/// The open elements: the usual few in place, deeper ones on the heap.
struct Parents<'a> {
    few: [Option<Parent<'a>>; Parents::FEW],
    more: Vec<Parent<'a>>,
    depth: usize,
}

impl<'a> Parents<'a> {
    const FEW: usize = 6;

    fn push(&mut self, parent: Parent<'a>) -> Result<(), WireError> {
        if self.depth >= DEPTH_MAX {
            return Err(WireError::BadTree);
        }
        match self.few.get_mut(self.depth) {
            Some(place) => *place = Some(parent),
            None => self.more.push(parent),
        }
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    fn pop(&mut self) -> Option<Parent<'a>> {
        self.depth = self.depth.checked_sub(1)?;
        self.few.get_mut(self.depth).map_or_else(|| self.more.pop(), Option::take)
    }
}

fn write<'a>(
    mut level: Nodes<'a>,
    mut default_ns: &'a str,
    leave_out: impl Fn(&Element<'a>) -> bool,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let mut parents = Parents { few: [const { None }; Parents::FEW], more: Vec::new(), depth: 0 };
    loop {
        match level.read()? {
            Some(Node::Text(text)) => escape_text(text, out),
            Some(Node::Element(element)) if parents.depth == 0 && leave_out(&element) => {}
            Some(Node::Element(element)) => {
                open_tag(&element, default_ns, out)?;
                if element.content().is_empty() {
                    out.extend_from_slice(b"/>");
                } else {
                    out.push(b'>');
                    parents.push(Parent { nodes: level, default_ns, child: element.name() })?;
                    (level, default_ns) = (element.nodes(), element.ns());
                }
            }
            None => {
                let Some(parent) = parents.pop() else { return Ok(()) };
                out.extend_from_slice(b"</");
                out.extend_from_slice(parent.child.as_bytes());
                out.push(b'>');
                (level, default_ns) = (parent.nodes, parent.default_ns);
            }
        }
    }
}

/// Writes a start tag up to its `>`.
fn open_tag(element: &Element<'_>, default_ns: &str, out: &mut Vec<u8>) -> Result<(), WireError> {
    if element.ns() == XML {
        return Err(WireError::BadTree); // cannot be a default namespace, and nothing is in it
    }
    out.push(b'<');
    name(element.name(), out)?;
    if element.ns() != default_ns {
        attribute("xmlns", element.ns(), out);
    }
    let mut read = 0usize;
    for (ns, local, value) in element.attrs() {
        match ns {
            "" => out.push(b' '),
            XML => out.extend_from_slice(b" xml:"),
            ns => {
                prefix(b" xmlns:a", read, out);
                out.extend_from_slice(b"='");
                escape_attribute(ns, out);
                prefix(b"' a", read, out);
                out.push(b':');
            }
        }
        name(local, out)?;
        out.extend_from_slice(b"='");
        escape_attribute(value, out);
        out.push(b'\'');
        read = read.saturating_add(1);
    }
    if read == element.attr_count() { Ok(()) } else { Err(WireError::BadTree) }
}

/// Appends `start` and the number of an attribute.
fn prefix(start: &[u8], number: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(start);
    let _ = write!(out, "{number:03}"); // a count of attributes has one byte; a Vec takes all
}

/// Appends a name without prefix, if it is one: what a core sends is not parsed, and must not become markup.
fn name(name: &str, out: &mut Vec<u8>) -> Result<(), WireError> {
    if !is_portable_name(name) {
        return Err(WireError::BadTree);
    }
    out.extend_from_slice(name.as_bytes());
    Ok(())
}

/// Appends ` name='value'`; `name` is ours.
fn attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attribute(value, out);
    out.push(b'\'');
}

/// Appends an element with text; `name` and `ns` are ours.
fn element(name: &str, ns: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    attribute("xmlns", ns, out);
    if text.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    escape_text(text, out);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

#[cfg(test)]
mod tests;
