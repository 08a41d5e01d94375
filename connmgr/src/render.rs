//! Trees to the XML a client reads: always ours, always escaped, valid in the client's stream.
//!
//! The stream that [`stream_header`] opens has the default namespace `jabber:client` and the prefix `stream`; everything
//! here is written for that context.

use hearth_wire::codec::WireError;
use hearth_wire::stanza::{Overlay, Stanza};
use hearth_wire::{SaslCondition, StreamCondition};

/// Writes a stanza for a client, with what differs for this recipient merged in.
pub fn stanza(_stanza: &Stanza<'_>, _overlay: &Overlay<'_>, _out: &mut Vec<u8>) -> Result<(), WireError> {
    Ok(())
}

/// Writes encoded nodes where `ns` is the default namespace in scope.
pub fn nodes(_bytes: &[u8], _ns: &str, _out: &mut Vec<u8>) -> Result<(), WireError> {
    Ok(())
}

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
pub fn stream_header(_header: &StreamHeader<'_>, _out: &mut Vec<u8>) {}

/// Writes `<stream:features/>` around the encoded `features`.
pub fn stream_features(_features: &[u8], _out: &mut Vec<u8>) -> Result<(), WireError> {
    Ok(())
}

/// Writes `<stream:error/>` (RFC 6120 §4.9.2); `text` may be empty. [`stream_close`] follows.
pub fn stream_error(_condition: StreamCondition, _text: &str, _out: &mut Vec<u8>) {}

/// Writes `</stream:stream>`.
pub fn stream_close(_out: &mut Vec<u8>) {}

/// Writes `<proceed/>` (RFC 6120 §5.4.2.3).
pub fn tls_proceed(_out: &mut Vec<u8>) {}

/// Writes `<failure/>` of STARTTLS (RFC 6120 §5.4.2.2).
pub fn tls_failure(_out: &mut Vec<u8>) {}

/// Writes `<challenge/>` with the base64 of `data` (RFC 6120 §6.4.3).
pub fn sasl_challenge(_data: &[u8], _out: &mut Vec<u8>) {}

/// Writes `<success/>` with the base64 of `data`; empty data is `=` (RFC 6120 §6.4.6).
pub fn sasl_success(_data: Option<&[u8]>, _out: &mut Vec<u8>) {}

/// Writes `<failure/>` of SASL (RFC 6120 §6.5); `text` may be empty.
pub fn sasl_failure(_condition: SaslCondition, _text: &str, _out: &mut Vec<u8>) {}

/// Appends character data.
pub fn escape_text(_text: &str, _out: &mut Vec<u8>) {}

/// Appends an attribute's value, to stand between single quotes.
pub fn escape_attribute(_value: &str, _out: &mut Vec<u8>) {}
