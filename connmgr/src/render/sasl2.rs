//! Elements of XEP-0388, and of XEP-0484 in them.

use super::stream::SASL;
use super::{attribute, element, escape_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearth_wire::{SaslCondition, date_time};

const NS: &str = "urn:xmpp:sasl:2";
const FAST: &str = "urn:xmpp:fast:0";

/// Writes `<challenge/>` (§2.5.1).
pub fn sasl2_challenge(data: &[u8], out: &mut Vec<u8>) {
    element("challenge", NS, &STANDARD.encode(data), out);
}

/// Writes `<success/>` (§2.6.1) for a bare or full JID; `token`: for the next time, and when it ends. `also` writes what
/// else was asked for.
pub fn sasl2_success(
    data: Option<&[u8]>,
    jid: &str,
    token: Option<(&str, u64)>,
    also: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"<success");
    attribute("xmlns", NS, out);
    out.push(b'>');
    if let Some(data) = data {
        out.extend_from_slice(b"<additional-data>");
        out.extend_from_slice(STANDARD.encode(data).as_bytes());
        out.extend_from_slice(b"</additional-data>");
    }
    out.extend_from_slice(b"<authorization-identifier>");
    escape_text(jid, out);
    out.extend_from_slice(b"</authorization-identifier>");
    if let Some((token, expires_ms)) = token {
        out.extend_from_slice(b"<token");
        attribute("xmlns", FAST, out);
        attribute("expiry", &date_time::text(expires_ms), out);
        attribute("token", token, out);
        out.extend_from_slice(b"/>");
    }
    also(out);
    out.extend_from_slice(b"</success>");
}

/// Writes `<failure/>` (§2.6.2).
pub fn sasl2_failure(condition: SaslCondition, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<failure");
    attribute("xmlns", NS, out);
    out.push(b'>');
    element(condition.element(), SASL, "", out);
    out.extend_from_slice(b"</failure>");
}
