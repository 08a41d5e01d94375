//! Bytes to trees at the edge: ours, and the two ways of older servers.

use super::{Piece, Work};
use hearth_connmgr::xml::{Framer, Limits, Scope, Scratch, parse_element};
use std::hint::black_box;
use xml::reader::{EventReader, XmlEvent};
use xmlparser::{ElementEnd, Token, Tokenizer};

pub(super) const PIECES: [Piece; 6] = [
    Piece::new("xml: find the end of a message", 0.0, framing),
    Piece::new("xml: parse a message into the flat tree", 0.0, parsing),
    Piece::new("xml: both, as the edge does", 0.0, both),
    Piece::new("xml: both, the message in five reads", 0.0, in_five),
    Piece::new("xml: find the end, copy, tree of strings", 31.0, strings),
    Piece::new("xml: pull parser, tree of strings", 111.0, pulled),
];

const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// 290 bytes: a chat message as Conversations or Gajim sends it.
pub(super) const MESSAGE: &str = "<message to='grace.hopper@example.org' type='chat' \
    id='b1c9f3a2'><body>I will be there at eight, unless the train is late again.</body>\
    <origin-id xmlns='urn:xmpp:sid:0' id='b1c9f3a2-7d4e'/><request xmlns='urn:xmpp:receipts'/>\
    <active xmlns='http://jabber.org/protocol/chatstates'/></message>";

fn framer() -> Framer {
    let mut framer = Framer::new();
    framer.next(HEADER, &Limits::AUTHENTICATED).unwrap().unwrap();
    framer
}

fn whole(framer: &mut Framer, bytes: &[u8]) -> usize {
    let (_, len) = framer.next(black_box(bytes), &Limits::AUTHENTICATED).unwrap().unwrap();
    assert_eq!(len, bytes.len());
    len
}

fn framing() -> Work {
    let mut framer = framer();
    Box::new(move || {
        whole(&mut framer, MESSAGE.as_bytes());
    })
}

fn parsing() -> Work {
    let (scope, mut scratch, mut out) = (Scope::default(), Scratch::default(), Vec::new());
    Box::new(move || {
        out.clear();
        let xml = black_box(MESSAGE.as_bytes());
        parse_element(xml, &scope, &Limits::AUTHENTICATED, &mut scratch, &mut out).unwrap();
    })
}

fn both() -> Work {
    let mut framer = framer();
    let (scope, mut scratch, mut out) = (Scope::default(), Scratch::default(), Vec::new());
    Box::new(move || {
        out.clear();
        let len = whole(&mut framer, MESSAGE.as_bytes());
        let xml = MESSAGE.as_bytes().get(..len).unwrap();
        parse_element(xml, &scope, &Limits::AUTHENTICATED, &mut scratch, &mut out).unwrap();
    })
}

/// What was looked at is not looked at again.
fn in_five() -> Work {
    let mut framer = framer();
    let (scope, mut scratch, mut out) = (Scope::default(), Scratch::default(), Vec::new());
    Box::new(move || {
        out.clear();
        for part in 1..5 {
            let so_far = &MESSAGE.as_bytes()[..MESSAGE.len() * part / 5];
            assert!(framer.next(black_box(so_far), &Limits::AUTHENTICATED).unwrap().is_none());
        }
        whole(&mut framer, MESSAGE.as_bytes());
        parse_element(MESSAGE.as_bytes(), &scope, &Limits::AUTHENTICATED, &mut scratch, &mut out).unwrap();
    })
}

/// An element as most servers keep it.
#[derive(Debug, Default, PartialEq)]
struct Element {
    name: String,
    namespace: String,
    attributes: Vec<(String, String)>,
    children: Vec<Node>,
}

#[derive(Debug, PartialEq)]
enum Node {
    Element(Element),
    Text(String),
}

/// Elements not yet closed, below them the one that holds the whole.
struct Open(Vec<Element>);

impl Open {
    fn new() -> Open {
        Open(vec![Element { namespace: "jabber:client".into(), ..Element::default() }])
    }
    fn top(&mut self) -> &mut Element {
        self.0.last_mut().unwrap()
    }
    fn close(&mut self) {
        let done = self.0.pop().unwrap();
        self.top().children.push(Node::Element(done));
    }
    fn finish(mut self) -> Element {
        let Some(Node::Element(element)) = self.top().children.pop() else { panic!("no element") };
        element
    }
}

/// By the tokenizer that the edge uses. It checks less than the edge: not that tags match, names are declared or attributes unique.
fn tree_of_strings(xml: &str) -> Element {
    let mut open = Open::new();
    for token in Tokenizer::from_fragment(xml, 0..xml.len()) {
        match token.unwrap() {
            Token::ElementStart { local, .. } => {
                let namespace = open.top().namespace.clone();
                open.0.push(Element { name: local.as_str().into(), namespace, ..Element::default() });
            }
            Token::Attribute { prefix, local, value, .. } => match (prefix.as_str(), local.as_str()) {
                ("", "xmlns") => open.top().namespace = value.as_str().into(),
                _ => open.top().attributes.push((local.as_str().into(), value.as_str().into())),
            },
            Token::ElementEnd { end: ElementEnd::Open, .. } => {}
            Token::ElementEnd { .. } => open.close(),
            Token::Text { text } => open.top().children.push(Node::Text(text.as_str().into())),
            _ => {}
        }
    }
    open.finish()
}

fn pull(bytes: &[u8]) -> Element {
    let mut open = Open::new();
    for event in EventReader::new(bytes) {
        match event.unwrap() {
            XmlEvent::StartElement { name, attributes, .. } => open.0.push(Element {
                name: name.local_name,
                namespace: name.namespace.unwrap_or_else(|| "jabber:client".into()),
                attributes: attributes.into_iter().map(|a| (a.name.local_name, a.value)).collect(),
                children: Vec::new(),
            }),
            XmlEvent::EndElement { .. } => open.close(),
            XmlEvent::Characters(text) => open.top().children.push(Node::Text(text)),
            _ => {}
        }
    }
    open.finish()
}

fn strings() -> Work {
    let mut framer = framer();
    Box::new(move || {
        let len = whole(&mut framer, MESSAGE.as_bytes());
        let copy = String::from(MESSAGE.get(..len).unwrap());
        black_box(tree_of_strings(&copy));
    })
}

fn pulled() -> Work {
    Box::new(|| {
        black_box(pull(black_box(MESSAGE.as_bytes())));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::tree;

    /// The three ways find the same.
    #[test]
    fn the_trees_say_the_same() {
        let strings = tree_of_strings(MESSAGE);
        assert_eq!(strings, pull(MESSAGE.as_bytes()));
        let mut out = Vec::new();
        parse_element(MESSAGE.as_bytes(), &Scope::default(), &Limits::AUTHENTICATED, &mut Scratch::default(), &mut out)
            .unwrap();
        let Some(tree::Node::Element(ours)) = tree::nodes(&out, tree::CLIENT).next() else { panic!("no element") };
        assert_eq!((ours.name(), ours.attr("to")), ("message", Some("grace.hopper@example.org")));
        let names: Vec<_> = ours.children().map(|child| (child.name().to_owned(), child.ns().to_owned())).collect();
        let theirs = strings.children.iter().map(|node| match node {
            Node::Element(child) => (child.name.clone(), child.namespace.clone()),
            Node::Text(text) => panic!("text {text} where only elements are"),
        });
        assert_eq!(names, theirs.collect::<Vec<_>>());
    }
}
