//! Stanzas as text, for tests: well-formed, single-quoted, no prefix but `xml:`. Written attributes
//! come as type, id, from, to, lang, then the payload.

use hearth_wire::stanza::{Overlay, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{self, Builder, CLIENT, Element, Node};
use std::fmt::Write;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Encodes each stanza of `text`. Panics on anything this reader does not know.
pub(super) fn stanzas(text: &str) -> Vec<Vec<u8>> {
    let mut reader = Reader { rest: text.trim_start() };
    let mut stanzas = Vec::new();
    while !reader.rest.is_empty() {
        stanzas.push(reader.stanza());
        reader.rest = reader.rest.trim_start();
    }
    stanzas
}

struct Reader<'a> {
    rest: &'a str,
}

struct Tag<'a> {
    name: &'a str,
    attrs: Vec<(&'a str, String)>,
    empty: bool,
}

impl Tag<'_> {
    fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }
}

impl<'a> Reader<'a> {
    fn until(&mut self, end: char) -> &'a str {
        let (before, rest) = self.rest.split_once(end).unwrap_or_else(|| panic!("{end:?} missing in {:?}", self.rest));
        self.rest = rest;
        before
    }

    fn tag(&mut self) -> Tag<'a> {
        assert_eq!(self.until('<'), "");
        let end = self.rest.find([' ', '/', '>']).unwrap();
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut attrs = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            for (end, empty) in [("/>", true), (">", false)] {
                if let Some(rest) = self.rest.strip_prefix(end) {
                    self.rest = rest;
                    return Tag { name, attrs, empty };
                }
            }
            let name = self.until('=');
            assert_eq!(self.until('\''), "");
            attrs.push((name, unescape(self.until('\''))));
        }
    }

    fn stanza(&mut self) -> Vec<u8> {
        let tag = self.tag();
        let kind = match tag.name {
            "message" => StanzaKind::Message,
            "presence" => StanzaKind::Presence,
            "iq" => StanzaKind::Iq,
            other => panic!("{other} is no stanza"),
        };
        let mut tree = Builder::new();
        if !tag.empty {
            self.content(&mut tree);
        }
        let stanza = Stanza {
            kind,
            ty: StanzaType::parse(kind, tag.attr("type")),
            id: tag.attr("id"),
            to: tag.attr("to"),
            from: tag.attr("from"),
            lang: tag.attr("xml:lang"),
            payload: &tree.finish(),
        };
        stanza.encode()
    }

    fn content(&mut self, tree: &mut Builder) {
        loop {
            let (text, _) = self.rest.split_at(self.rest.find('<').unwrap());
            tree.text(&unescape(text));
            self.rest = &self.rest[text.len()..];
            if self.rest.starts_with("</") {
                self.until('>');
                return;
            }
            let tag = self.tag();
            tree.open(tag.attr("xmlns"), tag.name);
            for (name, value) in tag.attrs.iter().filter(|(name, _)| *name != "xmlns") {
                match name.strip_prefix("xml:") {
                    Some(name) => tree.attr_ns(XML, name, value),
                    None => tree.attr(name, value),
                };
            }
            if !tag.empty {
                self.content(tree);
            }
            tree.close();
        }
    }
}

/// The stanza as its recipient sees it. Delay and stanza-id come as children, as the edge adds them.
pub(super) fn render(stanza: &Stanza<'_>, overlay: &Overlay<'_>) -> String {
    let mut out = String::new();
    let element = stanza.kind.element();
    write!(out, "<{element}").unwrap();
    let envelope = [
        ("type", stanza.ty.attribute()),
        ("id", stanza.id),
        ("from", stanza.from),
        ("to", overlay.to.or(stanza.to)),
        ("xml:lang", stanza.lang.filter(|_| stanza.ty != StanzaType::Error)),
    ];
    for (name, value) in envelope {
        if let Some(value) = value {
            write!(out, " {name}='{}'", escape(value)).unwrap();
        }
    }
    out.push('>');
    let open = out.len();
    nodes(tree::nodes(stanza.payload, CLIENT), CLIENT, &mut out);
    if let Some(delay) = overlay.delay {
        write!(out, "<delay xmlns='urn:xmpp:delay' from='{}' stamp='{}'/>", delay.from, delay.stamp_ms).unwrap();
    }
    if let Some(id) = overlay.stanza_id {
        write!(out, "<stanza-id xmlns='urn:xmpp:sid:0' id='{}' by='{}'/>", id.id, id.by).unwrap();
    }
    if out.len() == open {
        out.truncate(open - 1);
        out.push_str("/>");
    } else {
        write!(out, "</{element}>").unwrap();
    }
    out
}

fn nodes(nodes: tree::Nodes<'_>, ns: &str, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(&escape(text)),
            Node::Element(element) => render_element(&element, ns, out),
        }
    }
}

fn render_element(element: &Element<'_>, parent_ns: &str, out: &mut String) {
    write!(out, "<{}", element.name()).unwrap();
    if element.ns() != parent_ns {
        write!(out, " xmlns='{}'", escape(element.ns())).unwrap();
    }
    for (ns, name, value) in element.attrs() {
        let prefix = if ns == XML { "xml:" } else { ns };
        write!(out, " {prefix}{name}='{}'", escape(value)).unwrap();
    }
    out.push('>');
    let open = out.len();
    nodes(element.nodes(), element.ns(), out);
    if out.len() == open {
        out.truncate(open - 1);
        out.push_str("/>");
    } else {
        write!(out, "</{}>", element.name()).unwrap();
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&apos;", "'").replace("&quot;", "\"").replace("&amp;", "&")
}
