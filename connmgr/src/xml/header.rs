//! The stream header (RFC 6120 §4.7, §4.8) and what it declares for all stanzas.

use super::names::{check_declaration, declares, qualified};
use super::{CLIENT, Limits, STREAMS, XML, XmlError, decode};
use crate::limits::HEADER_NAMESPACE_BYTES_MAX;
use hearth_wire::StreamCondition;
use std::borrow::Cow;
use xmlparser::{ElementEnd, Token, Tokenizer};

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
        let good = self.stream_ns == STREAMS && matches!(&*self.content_ns, CLIENT | STREAMS | "");
        (!good).then_some(StreamCondition::InvalidNamespace)
    }
}

/// Namespaces the stream header declared, in scope for all stanzas. For the usual header (`jabber:client` by default,
/// `stream`) it holds no memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope(Option<Box<Declared>>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Declared {
    /// The header's name as written; the closing tag repeats it.
    name: Box<str>,
    /// Prefix, empty for the default, and namespace.
    namespaces: Box<[(Box<str>, Box<str>)]>,
}

const USUAL_NAME: &str = "stream:stream";
const USUAL: [(&str, &str); 2] = [("", CLIENT), ("stream", STREAMS)];

impl Scope {
    /// Where `prefix`, empty for the default namespace, is declared; for [`Scope::uri`].
    pub(super) fn find(&self, prefix: &str) -> Option<u16> {
        let at = match &self.0 {
            None => USUAL.iter().position(|(declared, _)| *declared == prefix),
            Some(declared) => declared.namespaces.iter().position(|(declared, _)| **declared == *prefix),
        };
        at.and_then(|at| u16::try_from(at).ok())
    }

    pub(super) fn uri(&self, at: u16) -> &str {
        match &self.0 {
            None => USUAL.get(usize::from(at)).map_or("", |(_, uri)| uri),
            Some(declared) => declared.namespaces.get(usize::from(at)).map_or("", |(_, uri)| uri),
        }
    }

    fn new(name: &str, namespaces: &[(&str, Cow<'_, str>)]) -> Scope {
        let same = |(prefix, uri): &(&str, &str)| namespaces.iter().any(|(p, u)| p == prefix && u == uri);
        if name == USUAL_NAME && namespaces.len() == USUAL.len() && USUAL.iter().all(same) {
            return Scope(None);
        }
        let owned = |(prefix, uri): &(&str, Cow<'_, str>)| (Box::from(*prefix), Box::from(&**uri));
        Scope(Some(Box::new(Declared { name: name.into(), namespaces: namespaces.iter().map(owned).collect() })))
    }

    fn name(&self) -> &str {
        self.0.as_ref().map_or(USUAL_NAME, |declared| &declared.name)
    }
}

/// An attribute of the header that declares nothing.
struct Attribute<'a> {
    prefix: &'a str,
    local: &'a str,
    value: Cow<'a, str>,
}

/// Reads the header that [`Framer`](super::Framer) found. Held to the counts of [`Limits::PRE_AUTH`] and to
/// [`HEADER_NAMESPACE_BYTES_MAX`].
pub fn parse_header(bytes: &[u8]) -> Result<(Header<'_>, Scope), XmlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    let mut tokens = Tokenizer::from_fragment(text, 0..text.len());
    let Token::ElementStart { prefix, local, span } = tokens.next().ok_or(XmlError::Syntax)?? else {
        return Err(XmlError::NotAStream);
    };
    let name = qualified(span, 1, prefix, local)?.in_text(text);
    let mut namespaces: Vec<(&str, Cow<'_, str>)> = Vec::new();
    let mut attributes: Vec<Attribute<'_>> = Vec::new();
    loop {
        let token = tokens.next().ok_or(XmlError::Syntax)??;
        if matches!(token, Token::ElementEnd { end: ElementEnd::Open, .. }) {
            break;
        }
        let Token::Attribute { prefix, local, value, span } = token else {
            return Err(XmlError::NotAStream); // `/>`: a stream without content
        };
        qualified(span, 0, prefix, local)?;
        let value = decode::attribute_value(value.as_str())?;
        match declares(prefix.as_str(), local.as_str()) {
            Some(declared) => {
                check_declaration(declared, &value)?;
                namespaces.push((declared, value));
            }
            None => attributes.push(Attribute { prefix: prefix.as_str(), local: local.as_str(), value }),
        }
        let kept: usize = namespaces.iter().map(|(prefix, uri)| prefix.len().saturating_add(uri.len())).sum();
        if namespaces.len() > Limits::PRE_AUTH.namespaces || kept > HEADER_NAMESPACE_BYTES_MAX {
            return Err(XmlError::TooManyNamespaces);
        }
        if attributes.len() > Limits::PRE_AUTH.attributes {
            return Err(XmlError::TooManyAttributes);
        }
    }
    if tokens.next().is_some() {
        return Err(XmlError::Syntax);
    }
    let header = resolve(prefix.as_str(), local.as_str(), &namespaces, attributes)?;
    Ok((header, Scope::new(name, &namespaces)))
}

fn resolve<'a>(
    prefix: &str,
    local: &str,
    namespaces: &[(&str, Cow<'a, str>)],
    attributes: Vec<Attribute<'a>>,
) -> Result<Header<'a>, XmlError> {
    let find = |prefix: &str| namespaces.iter().find(|(declared, _)| *declared == prefix).map(|(_, uri)| uri.clone());
    let doubled =
        namespaces.iter().enumerate().any(|(at, (p, _))| namespaces.iter().take(at).any(|(earlier, _)| earlier == p));
    if doubled {
        return Err(XmlError::DuplicateAttribute);
    }
    let content_ns = find("").unwrap_or_default();
    let stream_ns = match prefix {
        "" => content_ns.clone(),
        "xml" => Cow::Borrowed(XML),
        "xmlns" => return Err(XmlError::ReservedNamespace),
        prefix => find(prefix).ok_or(XmlError::UnboundPrefix)?,
    };
    if local != "stream" {
        return Err(XmlError::NotAStream);
    }
    let mut header = Header { to: None, from: None, id: None, version: None, lang: None, stream_ns, content_ns };
    let mut seen: Vec<(Cow<'_, str>, &str)> = Vec::with_capacity(attributes.len());
    for Attribute { prefix, local, value } in attributes {
        let ns = match prefix {
            "" => Cow::Borrowed(""),
            "xml" => Cow::Borrowed(XML),
            prefix => find(prefix).ok_or(XmlError::UnboundPrefix)?,
        };
        if seen.iter().any(|(other_ns, other)| *other == local && *other_ns == ns) {
            return Err(XmlError::DuplicateAttribute);
        }
        match (&*ns, local) {
            ("", "to") => header.to = Some(value),
            ("", "from") => header.from = Some(value),
            ("", "id") => header.id = Some(value),
            ("", "version") => header.version = Some(value),
            (XML, "lang") => header.lang = Some(value),
            _ => {}
        }
        seen.push((ns, local));
    }
    Ok(header)
}

/// Checks that the closing tag is the header's.
pub fn parse_close(bytes: &[u8], scope: &Scope) -> Result<(), XmlError> {
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    let mut tokens = Tokenizer::from_fragment(text, 0..text.len());
    let token = tokens.next().ok_or(XmlError::Syntax)??;
    let Token::ElementEnd { end: ElementEnd::Close(prefix, local), span } = token else {
        return Err(XmlError::Syntax);
    };
    let name = qualified(span, 2, prefix, local)?.in_text(text);
    if name == scope.name() && tokens.next().is_none() { Ok(()) } else { Err(XmlError::MismatchedTag) }
}
