//! The stream header (RFC 6120 §4.7, §4.8) and what it declares for all stanzas.

use super::XmlError;
use hearth_wire::StreamCondition;
use std::borrow::Cow;

/// Parsed `<stream:stream …>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    pub to: Option<Cow<'a, str>>,
    pub from: Option<Cow<'a, str>>,
    pub id: Option<Cow<'a, str>>,
    pub version: Option<Cow<'a, str>>,
    /// `xml:lang`.
    pub lang: Option<Cow<'a, str>>,
    /// Namespace of the element itself; must be [`STREAMS`](super::STREAMS).
    pub stream_ns: Cow<'a, str>,
    /// Default namespace. [`CLIENT`](super::CLIENT) for a client that declares it once; empty or
    /// [`STREAMS`](super::STREAMS) for one that declares it on each stanza (RFC 6120 §4.8.2).
    pub content_ns: Cow<'a, str>,
}

impl Header<'_> {
    /// What is wrong with the namespaces of a header that opens a client's stream, if anything (RFC 6120 §4.8.1, §4.8.3).
    pub fn namespace_fault(&self) -> Option<StreamCondition> {
        None
    }
}

/// Namespaces the stream header declared, in scope for all stanzas. For the usual header (`jabber:client` by default,
/// `stream`) it holds no memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope(Option<Box<Declared>>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Declared {}

/// Reads the header that [`Framer`](super::Framer) found.
pub fn parse_header(_bytes: &[u8]) -> Result<(Header<'_>, Scope), XmlError> {
    Err(XmlError::NotAStream)
}

/// Checks that the closing tag is the header's.
pub fn parse_close(_bytes: &[u8], _scope: &Scope) -> Result<(), XmlError> {
    Ok(())
}
