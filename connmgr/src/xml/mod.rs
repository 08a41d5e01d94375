//! Bytes of a client to encoded elements: framing, well-formedness, namespaces (RFC 6120 §4.8, §11).
//!
//! ```text
//!  bytes ──▶ Framer::next ──▶ Declaration  parse_declaration
//!            any cut          Header       parse_header  ──▶ Header, Scope
//!                             Blank        (whitespace keepalive)
//!                             Element      parse_element ──▶ one element in the layout of wire::tree
//!                             Close        parse_close
//! ```
//!
//! The framer finds where a piece ends and refuses at once what can never become a stanza: restricted XML, a piece over
//! its bytes or depth. The parser then sees whole pieces only and checks everything else.

mod declaration;
mod decode;
mod element;
mod error;
mod framer;
mod header;
pub(crate) mod names;

pub use declaration::parse_declaration;
pub use element::{Scratch, parse_element};
pub use error::XmlError;
pub use framer::{Framer, Piece, is_blank};
pub use header::{Header, Scope, parse_close, parse_header};

/// Namespace of the stream element, its features and its errors (RFC 6120 §4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";

/// Content namespace of client streams (RFC 6120 §4.8.3).
pub const CLIENT: &str = hearth_wire::tree::CLIENT;

/// What the prefix `xml` means (Namespaces in XML 1.0 §3).
pub const XML: &str = hearth_wire::xml::XML;

/// How much one piece of a stream may be. The two sets in use are [`Limits::PRE_AUTH`] and [`Limits::AUTHENTICATED`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of XML of one piece: header, stanza, declaration.
    pub bytes: usize,
    /// Deepest element; the stanza itself is at depth 1.
    pub depth: usize,
    /// Elements of one stanza, itself included.
    pub elements: usize,
    /// Attributes of one element, namespace declarations not counted. At most 127.
    pub attributes: usize,
    /// Namespace declarations in scope at one place, those of the stream header not counted.
    pub namespaces: usize,
    /// Bytes of the encoded element.
    pub tree_bytes: usize,
}
