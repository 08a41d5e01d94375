//! Tokens of one first-level element straight to the binary tree.
//!
//! xmlparser cuts the bytes into tokens and refuses characters, names and tags that are none. What it leaves open is done
//! here: end tags match, namespaces resolve, attributes are unique, references and white space are normalised, and all
//! is counted.

use super::names::{Range, check_declaration, check_local, declares, qualified};
use super::{CLIENT, Framer, Limits, STREAMS, Scope, XML, XmlError, decode};
use hearth_wire::tree::write;
use xmlparser::{ElementEnd, StrSpan, Token, Tokenizer};

/// Stacks reused from stanza to stanza, so that the steady state allocates nothing. One per event loop.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Elements not yet closed, innermost last.
    open: Vec<OpenElement>,
    /// Attributes of the start tag being read, declarations left out.
    attributes: Vec<Attribute>,
    /// Namespace declarations in scope, innermost last.
    declarations: Vec<Declaration>,
    /// The namespace names they declare.
    uris: String,
}

#[derive(Clone, Copy, Debug)]
struct OpenElement {
    name: Range,
    ns: Namespace,
    /// Default namespace of what is inside.
    default_ns: Namespace,
    tree: write::Open,
    /// What was in scope outside.
    outer: InScope,
}

#[derive(Clone, Copy, Debug)]
struct InScope {
    declarations: usize,
    uris: usize,
}

#[derive(Clone, Copy, Debug)]
struct Attribute {
    prefix: Range,
    local: Range,
    value: Range,
    ns: Namespace,
    /// Of namespace and name: two attributes are compared only if it is the same.
    fingerprint: u32,
}

#[derive(Clone, Copy, Debug)]
struct Declaration {
    prefix: Range,
    ns: Namespace,
}

/// Where a namespace name is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Namespace {
    None,
    Xml,
    /// Declared by the stream header.
    Header(u16),
    /// In [`Scratch::uris`].
    Declared(Range),
}

/// Appends exactly one encoded element ([`hearth_wire::tree`]) to `out`. The element names its namespace itself; what is
/// inside inherits. Adjacent character data is one text. After an error `out` is as long as before.
///
/// Elements of the streams namespace are accepted only as first-level elements, and nothing named `stream` (of whatever
/// namespace: the framer cannot know and refuses it so) is accepted there.
pub fn parse_element(
    bytes: &[u8],
    scope: &Scope,
    limits: &Limits,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    let start = out.len();
    let parsed = parse(bytes, scope, limits, scratch, out);
    if parsed.is_err() {
        out.truncate(start);
    }
    parsed
}

fn parse(
    bytes: &[u8],
    scope: &Scope,
    limits: &Limits,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    if bytes.len() > limits.bytes {
        return Err(XmlError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    scratch.open.clear();
    scratch.declarations.clear();
    scratch.uris.clear();
    let tree_end = out.len().saturating_add(limits.tree_bytes);
    let mut parser = Parser { text, scope, limits, scratch, out, tree_end, characters: None, tag: None, elements: 0 };
    for token in Tokenizer::from_fragment(text, 0..text.len()) {
        match token {
            Ok(token) => parser.token(token)?,
            Err(xmlparser::Error::UnknownToken(_)) => return Err(unknown_markup(bytes, limits)),
            Err(error) => return Err(error.into()),
        }
    }
    if parser.tag.is_none() && parser.elements > 0 && parser.scratch.open.is_empty() {
        Ok(())
    } else {
        Err(XmlError::Syntax) // it ends within a tag or before its end tag, or there is no element
    }
}

/// What is wrong with markup that is no token. The framer knows, and refuses it in bytes that come by way of it.
fn unknown_markup(bytes: &[u8], limits: &Limits) -> XmlError {
    Framer::in_stream().next(bytes, limits).err().unwrap_or(XmlError::Syntax)
}

struct Parser<'a> {
    text: &'a str,
    scope: &'a Scope,
    limits: &'a Limits,
    scratch: &'a mut Scratch,
    out: &'a mut Vec<u8>,
    /// How long `out` may become.
    tree_end: usize,
    /// The text being appended to.
    characters: Option<write::OpenBytes>,
    /// The start tag being read.
    tag: Option<Tag>,
    elements: usize,
}

#[derive(Clone, Copy)]
struct Tag {
    prefix: Range,
    local: Range,
    name: Range,
    outer: InScope,
}

impl Parser<'_> {
    fn token(&mut self, token: Token<'_>) -> Result<(), XmlError> {
        match token {
            Token::ElementStart { prefix, local, span } => self.start_tag(prefix, local, span),
            Token::Attribute { prefix, local, value, span } => self.attribute(prefix, local, value, span),
            Token::ElementEnd { end: ElementEnd::Open, .. } => self.start_tag_ends(),
            Token::ElementEnd { end: ElementEnd::Empty, .. } => {
                self.start_tag_ends()?;
                self.close();
                Ok(())
            }
            Token::ElementEnd { end: ElementEnd::Close(prefix, local), span } => self.end_tag(prefix, local, span),
            Token::Text { text } => self.characters(text.as_str(), decode::text),
            Token::Cdata { text, .. } => self.characters(text.as_str(), decode::cdata),
            Token::Declaration { .. }
            | Token::ProcessingInstruction { .. }
            | Token::Comment { .. }
            | Token::DtdStart { .. }
            | Token::EmptyDtd { .. }
            | Token::EntityDeclaration { .. }
            | Token::DtdEnd { .. } => Err(XmlError::Restricted),
        }
    }

    fn start_tag(&mut self, prefix: StrSpan<'_>, local: StrSpan<'_>, span: StrSpan<'_>) -> Result<(), XmlError> {
        let depth = self.scratch.open.len();
        if depth == 0 && self.elements > 0 {
            return Err(XmlError::Syntax); // a second element
        }
        self.elements = self.elements.saturating_add(1);
        if self.elements > self.limits.elements {
            return Err(XmlError::TooManyElements);
        }
        if depth >= self.limits.depth {
            return Err(XmlError::TooDeep);
        }
        let name = qualified(span, 1, prefix, local)?;
        check_local(local.as_str())?;
        let outer = InScope { declarations: self.scratch.declarations.len(), uris: self.scratch.uris.len() };
        self.tag = Some(Tag { prefix: Range::of(prefix), local: Range::of(local), name, outer });
        self.scratch.attributes.clear();
        self.end_characters();
        Ok(())
    }

    fn attribute(
        &mut self,
        prefix: StrSpan<'_>,
        local: StrSpan<'_>,
        value: StrSpan<'_>,
        span: StrSpan<'_>,
    ) -> Result<(), XmlError> {
        qualified(span, 0, prefix, local)?;
        if declares(prefix.as_str(), local.as_str()).is_some() {
            return self.declaration(prefix, local, value.as_str());
        }
        check_local(local.as_str())?;
        if self.scratch.attributes.len() >= self.limits.attributes {
            return Err(XmlError::TooManyAttributes);
        }
        let attribute = Attribute {
            prefix: Range::of(prefix),
            local: Range::of(local),
            value: Range::of(value),
            ns: Namespace::None,
            fingerprint: 0,
        };
        self.scratch.attributes.push(attribute);
        Ok(())
    }

    fn declaration(&mut self, xmlns: StrSpan<'_>, local: StrSpan<'_>, value: &str) -> Result<(), XmlError> {
        let prefix = if xmlns.is_empty() { Range::new(0, 0) } else { Range::of(local) };
        let declared = prefix.in_text(self.text);
        let outer = self.tag.map_or(0, |tag| tag.outer.declarations);
        let scratch = &mut *self.scratch;
        if scratch.declarations.iter().skip(outer).any(|other| other.prefix.in_text(self.text) == declared) {
            return Err(XmlError::DuplicateAttribute);
        }
        if scratch.declarations.len() >= self.limits.namespaces {
            return Err(XmlError::TooManyNamespaces);
        }
        let uri = decode::attribute_value(value)?;
        check_declaration(declared, &uri)?;
        let start = scratch.uris.len();
        scratch.uris.push_str(&uri);
        let ns = match scratch.uris.len() {
            end if end == start => Namespace::None,
            end => Namespace::Declared(Range::new(start, end)),
        };
        scratch.declarations.push(Declaration { prefix, ns });
        Ok(())
    }

    /// All declarations of the tag are known now: its name and its attributes get their namespaces and are written.
    fn start_tag_ends(&mut self) -> Result<(), XmlError> {
        let Some(tag) = self.tag.take() else { return Err(XmlError::Syntax) };
        let parent = self.scratch.open.last().map(|parent| (parent.ns, parent.default_ns));
        let declares_default =
            self.scratch.declarations.iter().skip(tag.outer.declarations).rfind(|d| d.prefix == Range::new(0, 0));
        let default_ns = match (declares_default, parent) {
            (Some(declaration), _) => declaration.ns,
            (None, Some((_, inherited))) => inherited,
            (None, None) => self.scope.find("").map_or(Namespace::None, Namespace::Header),
        };
        let ns = match tag.prefix.in_text(self.text) {
            "" => default_ns,
            prefix => self.resolve(prefix)?,
        };
        let uri = self.uri(ns);
        self.check_element(tag, uri, parent.is_none())?;
        let inherits = parent.is_some_and(|(parent, _)| parent == ns || self.uri(parent) == uri);
        let local = tag.local.in_text(self.text);
        let tree = write::open(self.out, (!inherits).then_some(uri_of(ns, self.scope, &self.scratch.uris)), local);
        self.scratch.open.push(OpenElement { name: tag.name, ns, default_ns, tree, outer: tag.outer });
        self.write_attributes(tree)?;
        self.check_size()
    }

    fn check_element(&self, tag: Tag, uri: &str, first_level: bool) -> Result<(), XmlError> {
        if uri == XML {
            return Err(XmlError::XmlElement);
        }
        if uri == CLIENT && tag.prefix.start != tag.prefix.end {
            return Err(XmlError::ContentPrefix);
        }
        let stream = if first_level { tag.local.in_text(self.text) == "stream" } else { uri == STREAMS };
        if stream {
            return Err(XmlError::NestedStream);
        }
        Ok(())
    }

    fn write_attributes(&mut self, tree: write::Open) -> Result<(), XmlError> {
        for at in 0..self.scratch.attributes.len() {
            let Some(mut attribute) = self.scratch.attributes.get(at).copied() else { break };
            attribute.ns = match attribute.prefix.in_text(self.text) {
                "" => Namespace::None,
                prefix => self.resolve(prefix)?,
            };
            let local = attribute.local.in_text(self.text);
            let uri = uri_of(attribute.ns, self.scope, &self.scratch.uris);
            attribute.fingerprint = fingerprint(uri, local);
            let mut alike =
                self.scratch.attributes.iter().take(at).filter(|other| other.fingerprint == attribute.fingerprint);
            if alike.any(|other| other.local.in_text(self.text) == local && self.uri(other.ns) == uri) {
                return Err(XmlError::DuplicateAttribute);
            }
            let value = write::attribute(self.out, tree, uri, local).ok_or(XmlError::TooManyAttributes)?;
            decode::attribute(attribute.value.in_text(self.text), self.out)?;
            write::close_bytes(self.out, value);
            if let Some(resolved) = self.scratch.attributes.get_mut(at) {
                *resolved = attribute;
            }
            self.check_size()?;
        }
        Ok(())
    }

    fn end_tag(&mut self, prefix: StrSpan<'_>, local: StrSpan<'_>, span: StrSpan<'_>) -> Result<(), XmlError> {
        let name = qualified(span, 2, prefix, local)?.in_text(self.text);
        match self.scratch.open.last() {
            Some(open) if open.name.in_text(self.text) == name => {}
            _ => return Err(XmlError::MismatchedTag),
        }
        self.end_characters();
        self.close();
        Ok(())
    }

    fn close(&mut self) {
        if let Some(element) = self.scratch.open.pop() {
            write::close(self.out, element.tree);
            self.scratch.declarations.truncate(element.outer.declarations);
            self.scratch.uris.truncate(element.outer.uris);
        }
    }

    fn characters(
        &mut self,
        raw: &str,
        decode: fn(&str, &mut Vec<u8>) -> Result<(), XmlError>,
    ) -> Result<(), XmlError> {
        if self.scratch.open.is_empty() {
            return Err(XmlError::TextBetweenStanzas);
        }
        if raw.is_empty() {
            return Ok(());
        }
        if self.characters.is_none() {
            self.characters = Some(write::text(self.out));
        }
        decode(raw, self.out)?;
        self.check_size()
    }

    fn end_characters(&mut self) {
        if let Some(characters) = self.characters.take() {
            write::close_bytes(self.out, characters);
        }
    }

    fn check_size(&self) -> Result<(), XmlError> {
        if self.out.len() > self.tree_end { Err(XmlError::TreeTooLong) } else { Ok(()) }
    }

    fn resolve(&self, prefix: &str) -> Result<Namespace, XmlError> {
        if prefix == "xml" {
            return Ok(Namespace::Xml);
        }
        let declared = self.scratch.declarations.iter().rfind(|d| d.prefix.in_text(self.text) == prefix);
        match declared {
            Some(declaration) => Ok(declaration.ns),
            None => self.scope.find(prefix).map(Namespace::Header).ok_or(XmlError::UnboundPrefix),
        }
    }

    fn uri(&self, ns: Namespace) -> &str {
        uri_of(ns, self.scope, &self.scratch.uris)
    }
}

fn uri_of<'a>(ns: Namespace, scope: &'a Scope, uris: &'a str) -> &'a str {
    match ns {
        Namespace::None => "",
        Namespace::Xml => XML,
        Namespace::Header(at) => scope.uri(at),
        Namespace::Declared(range) => range.in_text(uris),
    }
}

/// FNV-1a. Whoever makes many names collide gains the few compares that [`Limits::attributes`] allows.
fn fingerprint(uri: &str, local: &str) -> u32 {
    let bytes = uri.bytes().chain([0]).chain(local.bytes());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
