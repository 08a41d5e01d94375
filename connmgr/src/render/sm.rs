//! Elements of stream management (XEP-0198).

use super::stream::{STREAM_ERRORS, stream_close};
use super::{attribute, element};
use crate::sm::NS;
use hearth_wire::to_edge::SmEnabled;
use hearth_wire::{StanzaCondition, StreamCondition};
use std::io::Write as _;

const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// Writes `<enabled/>` (§3); `location` is where the client should come back to.
pub fn sm_enabled(enabled: &SmEnabled<'_>, location: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<enabled");
    attribute("xmlns", NS, out);
    if let Some(previd) = enabled.previd {
        attribute("id", previd, out);
        attribute("resume", "true", out);
        number("max", enabled.max_s, out);
        if let Some(location) = location {
            attribute("location", location, out);
        }
    }
    out.extend_from_slice(b"/>");
}

/// Writes `<resumed/>` (§5).
pub fn sm_resumed(previd: &str, h: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<resumed");
    attribute("xmlns", NS, out);
    attribute("previd", previd, out);
    number("h", h, out);
    out.extend_from_slice(b"/>");
}

/// Writes `<failed/>` (§6).
pub fn sm_failed(condition: StanzaCondition, h: Option<u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<failed");
    attribute("xmlns", NS, out);
    if let Some(h) = h {
        number("h", h, out);
    }
    out.push(b'>');
    element(condition.element(), STANZA_ERRORS, "", out);
    out.extend_from_slice(b"</failed>");
}

/// Writes `<r/>` (§4).
pub fn sm_r(out: &mut Vec<u8>) {
    element("r", NS, "", out);
}

/// Writes `<a/>` (§4).
pub fn sm_a(h: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<a");
    attribute("xmlns", NS, out);
    number("h", h, out);
    out.extend_from_slice(b"/>");
}

/// Writes the end of a stream whose client acknowledged `h` stanzas of `sent` (§6).
pub fn sm_too_high(h: u32, sent: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<stream:error>");
    element(StreamCondition::UndefinedCondition.element(), STREAM_ERRORS, "", out);
    out.extend_from_slice(b"<handled-count-too-high");
    attribute("xmlns", NS, out);
    number("h", h, out);
    number("send-count", sent, out);
    out.extend_from_slice(b"/></stream:error>");
    stream_close(out);
}

fn number(name: &str, value: u32, out: &mut Vec<u8>) {
    let _ = write!(out, " {name}='{value}'"); // a Vec takes all
}
