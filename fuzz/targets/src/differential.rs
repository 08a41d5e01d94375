//! A hostile stanza, read by us and by parsers that nobody of us wrote.

use hearth_connmgr::render;
use hearth_connmgr::xml::{Framer, Limits, Piece, Scratch, parse_element, parse_header};
use hearth_wire::tree::{self, Element, Node};

/// What stands before every stanza.
pub const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
/// What stands behind it.
pub const CLOSE: &[u8] = b"</stream:stream>";

/// An element as any parser gives it, attributes in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    pub ns: String,
    pub name: String,
    /// Namespace, name, value.
    pub attributes: Vec<(String, String, String)>,
    pub inside: Vec<Inside>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inside {
    Text(String),
    Element(Tree),
}

/// The stanza, as it follows a usual stream header.
///
/// What we accept, two other parsers accept as well, and each means what we mean: so the sender meant it. What we render of it
/// they and a third one read as the same tree: so its recipients get that.
pub fn differential(data: &[u8]) {
    let Some((sent, encoded)) = accepted(data) else { return };
    let meant = ours(&encoded);
    // rxml drops a carriage return in an attribute's value, or refuses it, where XML 1.0 §3.3.3 has a space.
    agree(sent, &meant, "what was sent", &PARSERS[..2]);
    let mut rendered = Vec::new();
    render::nodes(&encoded, tree::CLIENT, &mut rendered).expect("a valid tree renders");
    agree(&rendered, &meant, "what was rendered", &PARSERS);
}

/// The first element of `data`, if we take it: its bytes, and its tree.
pub fn accepted(data: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let limits = Limits::AUTHENTICATED;
    let mut framer = Framer::new();
    let (_, len) = framer.next(HEADER, &limits).ok()??;
    let (_, scope) = parse_header(HEADER.get(..len)?).ok()?;
    let mut rest = data;
    loop {
        let (piece, len) = framer.next(rest, &limits).ok()??;
        let (bytes, behind) = rest.split_at(len);
        match piece {
            Piece::Blank => rest = behind,
            Piece::Element => {
                let mut encoded = Vec::new();
                parse_element(bytes, &scope, &limits, &mut Scratch::default(), &mut encoded).ok()?;
                return Some((bytes, encoded));
            }
            Piece::Declaration | Piece::Header | Piece::Close => return None,
        }
    }
}

type Parser = (&'static str, fn(&[u8]) -> Read);

/// Parsers that share no code with ours, nor with each other.
const PARSERS: [Parser; 3] = [("xml", by_xml), ("quick-xml", by_quick_xml), ("rxml", by_rxml)];

fn agree(stanza: &[u8], meant: &Tree, what: &str, parsers: &[Parser]) {
    let stream = [HEADER, stanza, CLOSE].concat();
    let text = String::from_utf8_lossy(stanza);
    for (name, read) in parsers {
        match read(&stream) {
            Ok(trees) => assert_eq!(trees, std::slice::from_ref(meant), "{name} reads {what} differently: {text}"),
            Err(why) => panic!("{name} refuses {what}: {why}: {text}"),
        }
    }
}

/// First-level elements of a stream, or why it is refused.
type Read = Result<Vec<Tree>, String>;

/// Our own.
pub fn ours(encoded: &[u8]) -> Tree {
    fn tree(element: &Element<'_>) -> Tree {
        let mut built = Builder::element(element.ns(), element.name());
        built.attributes =
            element.attrs().map(|(ns, name, value)| (ns.to_owned(), name.to_owned(), value.to_owned())).collect();
        built.attributes.sort();
        built.inside = element
            .nodes()
            .map(|node| match node {
                Node::Text(text) => Inside::Text(text.to_owned()),
                Node::Element(element) => Inside::Element(tree(&element)),
            })
            .collect();
        built
    }
    tree(&tree::first(encoded).expect("an element"))
}

/// Puts together what a parser tells.
#[derive(Default)]
struct Builder {
    open: Vec<Tree>,
    done: Option<Tree>,
}

impl Builder {
    fn element(ns: &str, name: &str) -> Tree {
        Tree { ns: ns.to_owned(), name: name.to_owned(), attributes: Vec::new(), inside: Vec::new() }
    }

    fn start(&mut self, mut element: Tree) {
        element.attributes.sort();
        self.open.push(element);
    }

    fn text(&mut self, text: &str) {
        let Some(parent) = self.open.last_mut().filter(|_| !text.is_empty()) else { return };
        match parent.inside.last_mut() {
            Some(Inside::Text(before)) => before.push_str(text),
            _ => parent.inside.push(Inside::Text(text.to_owned())),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        let closed = self.open.pop().ok_or("an end tag too many")?;
        match self.open.last_mut() {
            Some(parent) => parent.inside.push(Inside::Element(closed)),
            None => self.done = Some(closed),
        }
        Ok(())
    }

    fn finish(self) -> Read {
        let root = self.done.ok_or("no end")?;
        let element = |inside| if let Inside::Element(element) = inside { Some(element) } else { None };
        Ok(root.inside.into_iter().filter_map(element).collect())
    }
}

fn by_xml(stream: &[u8]) -> Read {
    use xml::reader::{EventReader, ParserConfig, XmlEvent};
    let config = ParserConfig::new()
        .cdata_to_characters(true)
        .whitespace_to_characters(true)
        .coalesce_characters(true)
        .ignore_comments(false);
    let mut builder = Builder::default();
    for event in EventReader::new_with_config(stream, config) {
        match event.map_err(|error| error.to_string())? {
            XmlEvent::StartDocument { .. } => {}
            XmlEvent::StartElement { name, attributes, .. } => {
                let mut element = Builder::element(&name.namespace.unwrap_or_default(), &name.local_name);
                let owned = attributes.into_iter();
                element.attributes =
                    owned.map(|a| (a.name.namespace.unwrap_or_default(), a.name.local_name, a.value)).collect();
                builder.start(element);
            }
            XmlEvent::Characters(text) => builder.text(&text),
            XmlEvent::EndElement { .. } => {
                builder.end()?;
                if builder.done.is_some() {
                    return builder.finish();
                }
            }
            other => return Err(format!("{other:?}")),
        }
    }
    builder.finish()
}

fn by_quick_xml(stream: &[u8]) -> Read {
    use quick_xml::escape::resolve_xml_entity;
    use quick_xml::events::attributes::Attribute;
    use quick_xml::events::{BytesStart, Event};
    use quick_xml::name::{NamespaceResolver, QName, ResolveResult};
    use quick_xml::{NsReader, XmlVersion};

    fn ns(resolved: ResolveResult<'_>) -> Result<String, String> {
        match resolved {
            ResolveResult::Unbound => Ok(String::new()),
            // A namespace's name is an attribute's value; it is given as it was written.
            ResolveResult::Bound(ns) => {
                let raw = Attribute { key: QName("xmlns"), value: ns.as_ref().into() };
                let name = raw.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
                Ok(name.into_owned())
            }
            ResolveResult::Unknown(prefix) => Err(format!("unknown prefix {prefix:?}")),
        }
    }
    fn start(resolver: &NamespaceResolver, tag: &BytesStart<'_>) -> Result<Tree, String> {
        let (resolved, name) = resolver.resolve_element(tag.name());
        let mut element = Builder::element(&ns(resolved)?, name.as_ref());
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (resolved, name) = resolver.resolve_attribute(attribute.key);
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
            element.attributes.push((ns(resolved)?, name.as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    let text = std::str::from_utf8(stream).map_err(|e| e.to_string())?;
    let mut reader = NsReader::from_str(text);
    let mut builder = Builder::default();
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(tag) => builder.start(start(reader.resolver(), &tag)?),
            Event::Empty(tag) => {
                builder.start(start(reader.resolver(), &tag)?);
                builder.end()?;
            }
            Event::End(_) => builder.end()?,
            Event::Text(text) => builder.text(&text.xml10_content()),
            Event::CData(text) => builder.text(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                Some(character) => builder.text(character.encode_utf8(&mut [0; 4])),
                None => builder.text(resolve_xml_entity(&reference).ok_or("an entity of somebody's own")?),
            },
            Event::Eof => return builder.finish(),
            other @ (Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_)) => {
                return Err(format!("{other:?}"));
            }
        }
    }
}

fn by_rxml(stream: &[u8]) -> Read {
    use rxml::{Event, Parse, Parser};
    let mut parser = Parser::new();
    let mut builder = Builder::default();
    let mut rest = stream;
    loop {
        match parser.parse(&mut rest, true) {
            Ok(Some(Event::StartElement(_, (ns, name), attributes))) => {
                let mut element = Builder::element(ns.as_str(), name.as_str());
                let owned = attributes.into_iter();
                element.attributes = owned
                    .map(|((ns, name), value)| (ns.as_str().to_owned(), name.as_str().to_owned(), value))
                    .collect();
                builder.start(element);
            }
            Ok(Some(Event::EndElement(_))) => builder.end()?,
            Ok(Some(Event::Text(_, text))) => builder.text(&text),
            Ok(Some(other)) => return Err(format!("{other:?}")),
            Ok(None) => return builder.finish(),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}
