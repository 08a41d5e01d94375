//! What the edge itself says on a stream: headers, features, errors, STARTTLS, SASL (RFC 6120 §4–6).

use super::{attribute, element, escape_text, nodes};
use crate::xml::{CLIENT, STREAMS};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearth_wire::codec::WireError;
use hearth_wire::{SaslCondition, StreamCondition};

pub(super) const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(super) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// Attributes of the header we send (RFC 6120 §4.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamHeader<'a> {
    /// The domain served; `None` only when the header answers one whose `to` was unusable (§4.9.1.3).
    pub from: Option<&'a str>,
    /// The client's address, if it said one.
    pub to: Option<&'a str>,
    /// Stream id.
    pub id: &'a str,
    /// Default language of what we send.
    pub lang: &'a str,
    /// Whether to write `version='1.0'`; not to a peer older than XMPP 1.0 (§4.7.5).
    pub version: bool,
}

/// Writes the XML declaration and `<stream:stream …>`.
pub fn stream_header(header: &StreamHeader<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
    attribute("xmlns", CLIENT, out);
    attribute("xmlns:stream", STREAMS, out);
    attribute("from", header.from.unwrap_or_default(), out);
    if let Some(to) = header.to {
        attribute("to", to, out);
    }
    attribute("id", header.id, out);
    if header.version {
        attribute("version", "1.0", out);
    }
    if !header.lang.is_empty() {
        attribute("xml:lang", header.lang, out);
    }
    out.push(b'>');
}

/// Writes `<stream:features/>` around the encoded `features`.
pub fn stream_features(features: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(b"<stream:features>");
    nodes(features, CLIENT, out).inspect_err(|_| out.truncate(start))?;
    out.extend_from_slice(b"</stream:features>");
    Ok(())
}

/// Writes `<stream:error/>` (RFC 6120 §4.9.2); `text`, in English, may be empty. [`stream_close`] follows.
pub fn stream_error(condition: StreamCondition, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<stream:error>");
    element(condition.element(), STREAM_ERRORS, "", out);
    if !text.is_empty() {
        out.extend_from_slice(b"<text");
        attribute("xmlns", STREAM_ERRORS, out);
        attribute("xml:lang", "en", out);
        out.push(b'>');
        escape_text(text, out);
        out.extend_from_slice(b"</text>");
    }
    out.extend_from_slice(b"</stream:error>");
}

/// Writes the error that sends a client to another host (RFC 6120 §4.9.3.19).
pub fn see_other_host(host: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<stream:error>");
    element(StreamCondition::SeeOtherHost.element(), STREAM_ERRORS, host, out);
    out.extend_from_slice(b"</stream:error>");
}

/// Writes `</stream:stream>`.
pub fn stream_close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"</stream:stream>");
}

/// Writes `<proceed/>` (RFC 6120 §5.4.2.3).
pub fn tls_proceed(out: &mut Vec<u8>) {
    element("proceed", TLS, "", out);
}

/// Writes `<failure/>` of STARTTLS (RFC 6120 §5.4.2.2).
pub fn tls_failure(out: &mut Vec<u8>) {
    element("failure", TLS, "", out);
}

/// Writes `<challenge/>` with the base64 of `data`; empty data is `=` (RFC 6120 §6.4.3).
pub fn sasl_challenge(data: &[u8], out: &mut Vec<u8>) {
    element("challenge", SASL, &base64(data), out);
}

/// Writes `<success/>` with the base64 of `data`; empty data is `=` (RFC 6120 §6.4.6).
pub fn sasl_success(data: Option<&[u8]>, out: &mut Vec<u8>) {
    element("success", SASL, &data.map(base64).unwrap_or_default(), out);
}

/// Writes `<failure/>` of SASL (RFC 6120 §6.5); `text`, in English, may be empty.
pub fn sasl_failure(condition: SaslCondition, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<failure");
    attribute("xmlns", SASL, out);
    out.extend_from_slice(b"><");
    out.extend_from_slice(condition.element().as_bytes());
    out.extend_from_slice(b"/>");
    if !text.is_empty() {
        out.extend_from_slice(b"<text");
        attribute("xml:lang", "en", out);
        out.push(b'>');
        escape_text(text, out);
        out.extend_from_slice(b"</text>");
    }
    out.extend_from_slice(b"</failure>");
}

fn base64(data: &[u8]) -> String {
    if data.is_empty() { "=".to_owned() } else { STANDARD.encode(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn header() {
        let header = StreamHeader {
            from: Some("example.org"),
            to: Some("o'neil@example.org"),
            id: "c2f",
            lang: "en",
            version: true,
        };
        assert_eq!(
            written(|out| stream_header(&header, out)),
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' from='example.org' to='o&apos;neil@example.org' id='c2f' \
             version='1.0' xml:lang='en'>"
        );
        assert_eq!(
            written(|out| stream_header(&StreamHeader::default(), out)),
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' from='' id=''>"
        );
    }

    #[test]
    fn features() {
        let mut tree = hearth_wire::tree::Builder::new();
        tree.open(Some(TLS), "starttls").leaf(None, "required", "").close();
        let tree = tree.finish();
        assert_eq!(
            written(|out| stream_features(&tree, out).unwrap()),
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
        );
        let mut out = b"before".to_vec();
        assert_eq!(stream_features(&[9], &mut out), Err(WireError::BadTree));
        assert_eq!(out, b"before");
    }

    #[test]
    fn errors() {
        assert_eq!(
            written(|out| stream_error(StreamCondition::RestrictedXml, "", out)),
            "<stream:error><restricted-xml xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        );
        assert_eq!(
            written(|out| stream_error(StreamCondition::Conflict, "a <b>", out)),
            "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a &lt;b&gt;</text></stream:error>"
        );
    }

    #[test]
    fn negotiation() {
        assert_eq!(written(tls_proceed), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        assert_eq!(written(tls_failure), "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        let sasl =
            |name: &str, inside: &str| format!("<{name} xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{inside}</{name}>");
        assert_eq!(written(|out| sasl_challenge(b"r=1", out)), sasl("challenge", "cj0x"));
        assert_eq!(written(|out| sasl_challenge(b"", out)), sasl("challenge", "="));
        assert_eq!(written(|out| sasl_success(Some(b"v="), out)), sasl("success", "dj0="));
        assert_eq!(written(|out| sasl_success(Some(b""), out)), sasl("success", "="));
        assert_eq!(written(|out| sasl_success(None, out)), "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        assert_eq!(
            written(|out| sasl_failure(SaslCondition::NotAuthorized, "", out)),
            sasl("failure", "<not-authorized/>")
        );
        assert_eq!(
            written(|out| sasl_failure(SaslCondition::Aborted, "why", out)),
            sasl("failure", "<aborted/><text xml:lang='en'>why</text>")
        );
    }
}
