//! Why bytes of a client were refused.

use hearth_wire::StreamCondition;
use std::fmt;

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident => $condition:ident, $text:literal;)+) => {
        /// Why a stream's XML was refused. The stream ends with [`XmlError::condition`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum XmlError { $($(#[$doc])* $variant),+ }

        impl XmlError {
            /// The stream error to send (RFC 6120 §4.9.3).
            pub const fn condition(self) -> StreamCondition {
                match self { $(XmlError::$variant => StreamCondition::$condition),+ }
            }

            /// One line for logs and for the `<text/>` of the stream error; says nothing of the content.
            pub const fn text(self) -> &'static str {
                match self { $(XmlError::$variant => $text),+ }
            }
        }
    };
}

errors! {
    /// The bytes fit no production of XML 1.0.
    Syntax => NotWellFormed, "not well-formed";
    /// A character outside XML 1.0 `Char`, raw or by reference.
    Character => NotWellFormed, "character not allowed in XML";
    /// An end tag that does not match its start tag.
    MismatchedTag => NotWellFormed, "end tag does not match";
    /// Two attributes of one name, or of one expanded name (Namespaces in XML §6.3).
    DuplicateAttribute => NotWellFormed, "duplicate attribute";
    /// A prefix that nothing declares: not namespace-well-formed (RFC 6120 §11.3).
    UnboundPrefix => NotWellFormed, "undeclared namespace prefix";
    /// A declaration that Namespaces in XML §3 forbids: of `xmlns`, of a wrong `xml`, of an empty name for a prefix.
    ReservedNamespace => NotWellFormed, "forbidden namespace declaration";
    /// Bytes behind the closing tag of the stream, or before its header.
    OutsideStream => NotWellFormed, "content outside the stream element";
    /// Comment, processing instruction, document type declaration (RFC 6120 §11.1).
    Restricted => RestrictedXml, "comments, processing instructions and DTDs are not allowed";
    /// A reference to an entity other than the five predefined ones (RFC 6120 §11.1).
    EntityReference => RestrictedXml, "entity reference not allowed";
    /// Not UTF-8, by declaration or by the bytes (RFC 6120 §4.9.3.22, §11.6).
    Encoding => UnsupportedEncoding, "not UTF-8";
    /// An element of the namespace that `xml` stands for. None is defined, and recipients' parsers differ on it.
    XmlElement => BadNamespacePrefix, "prefix xml on an element";
    /// A name that parsers of earlier editions of XML 1.0 refuse: who sends it on would end its recipients' streams.
    Name => PolicyViolation, "name with unusual characters";
    /// XML 1.1 or the like: XMPP is a profile of XML 1.0 (RFC 6120 §11.8).
    XmlVersion => UnsupportedVersion, "not XML 1.0";
    /// A prefix on an element of `jabber:client` (RFC 6120 §4.8.5).
    ContentPrefix => BadNamespacePrefix, "prefix on an element of the content namespace";
    /// Characters other than whitespace between stanzas (RFC 6120 §11.7).
    TextBetweenStanzas => BadFormat, "text between stanzas";
    /// The root element is not `<stream/>`, or is empty.
    NotAStream => BadFormat, "not a stream header";
    /// A stream header inside a stream, or anything of its namespace inside a stanza.
    NestedStream => BadFormat, "stream header or element of its namespace where none belongs";
    /// More bytes than [`Limits::bytes`](super::Limits::bytes).
    TooLong => PolicyViolation, "too many bytes";
    /// Deeper than [`Limits::depth`](super::Limits::depth).
    TooDeep => PolicyViolation, "elements nested too deep";
    /// More than [`Limits::elements`](super::Limits::elements).
    TooManyElements => PolicyViolation, "too many elements";
    /// More than [`Limits::attributes`](super::Limits::attributes).
    TooManyAttributes => PolicyViolation, "too many attributes";
    /// More than [`Limits::namespaces`](super::Limits::namespaces), or longer ones in a header than
    /// [`HEADER_NAMESPACE_BYTES_MAX`](crate::limits::HEADER_NAMESPACE_BYTES_MAX).
    TooManyNamespaces => PolicyViolation, "too many namespace declarations";
    /// Its tree is over [`Limits::tree_bytes`](super::Limits::tree_bytes).
    TreeTooLong => PolicyViolation, "too large when encoded";
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for XmlError {}

impl From<xmlparser::Error> for XmlError {
    fn from(error: xmlparser::Error) -> XmlError {
        use xmlparser::Error as E;
        match error {
            E::InvalidElement(cause, _)
            | E::InvalidAttribute(cause, _)
            | E::InvalidCdata(cause, _)
            | E::InvalidCharData(cause, _) => {
                let character = matches!(cause, xmlparser::StreamError::NonXmlChar(..));
                if character { XmlError::Character } else { XmlError::Syntax }
            }
            E::InvalidDeclaration(..)
            | E::InvalidComment(..)
            | E::InvalidPI(..)
            | E::InvalidDoctype(..)
            | E::InvalidEntity(..)
            | E::UnknownToken(_) => XmlError::Restricted,
        }
    }
}
