//! Trees as an edge, a core or a disk may have broken them.

use hearth_connmgr::render;
use hearth_connmgr::xml::{Limits, Scope, Scratch, parse_element};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{self, Builder, Element, Node, Nodes};

/// Deep enough to show all that nesting shows; reading itself is without a limit.
const WALK_DEPTH_MAX: usize = 100;

/// Any bytes are read without harm, as a tree and as a stanza. What is valid is, built anew, the same, and
/// as a payload it renders to XML that reads as the same.
pub fn tree(data: &[u8]) {
    if let Ok(stanza) = Stanza::decode(data) {
        let encoded = stanza.encode();
        assert_eq!(Stanza::decode(&encoded).as_ref(), Ok(&stanza));
        if stanza.validate().is_ok() {
            let shared = SharedStanza::from_bytes(data).expect("a stanza decodes");
            assert_eq!(shared.view(), stanza);
            let mut xml = Vec::new();
            render::stanza(&stanza, &Overlay::default(), &mut xml).expect("a valid stanza renders");
        }
    }
    walk(tree::nodes(data, tree::CLIENT), 0);
    let _ = tree::child(data, tree::CLIENT, "body").map(|body| body.text());
    if tree::validate(data, tree::DEPTH_MAX).is_ok() {
        check_valid(data);
    } else {
        let mut xml = b"kept".to_vec();
        // The renderer is not the validator, but what it does not write it leaves as it was.
        if render::nodes(data, tree::CLIENT, &mut xml).is_err() {
            assert_eq!(xml, b"kept");
        }
    }
}

/// Looks at everything there is.
fn walk(nodes: Nodes<'_>, depth: usize) -> usize {
    let mut seen = 0;
    for node in nodes {
        seen += match node {
            Node::Text(text) => text.len(),
            Node::Element(element) if depth < WALK_DEPTH_MAX => {
                let attrs: usize = element.attrs().map(|(ns, name, value)| ns.len() + name.len() + value.len()).sum();
                let _ = (element.attr("id"), element.text_cow(), element.child("jabber:x:oob", "x"));
                attrs + element.ns().len() + element.name().len() + walk(element.nodes(), depth + 1)
            }
            Node::Element(_) => 0,
        };
    }
    seen
}

fn check_valid(data: &[u8]) {
    let mut builder = Builder::new();
    tree::nodes(data, tree::CLIENT).for_each(|node| rebuild(&node, &mut builder));
    let rebuilt = builder.finish();
    assert_eq!(tree::validate(&rebuilt, tree::DEPTH_MAX), Ok(()));
    assert_eq!(outline(&rebuilt), outline(data), "decoded, encoded and decoded");
    let mut twice = Builder::new();
    tree::nodes(&rebuilt, tree::CLIENT).for_each(|node| rebuild(&node, &mut twice));
    assert_eq!(twice.finish(), rebuilt, "there is one way to build a tree");
    check_rendered(data);
}

fn rebuild(node: &Node<'_>, builder: &mut Builder) {
    match node {
        Node::Text(text) => {
            builder.text(text);
        }
        Node::Element(element) => {
            builder.open((!element.inherits_ns()).then(|| element.ns()), element.name());
            for (ns, name, value) in element.attrs() {
                builder.attr_ns(ns, name, value);
            }
            element.nodes().for_each(|inside| rebuild(&inside, builder));
            builder.close();
        }
    }
}

/// As the payload of a message, through the renderer and the edge's own parser.
fn check_rendered(payload: &[u8]) {
    let stanza = Stanza { payload, ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
    let mut xml = Vec::new();
    render::stanza(&stanza, &Overlay::default(), &mut xml).expect("a valid tree renders");
    let limits = Limits {
        bytes: usize::MAX,
        depth: tree::DEPTH_MAX + 1,
        elements: usize::MAX,
        attributes: tree::ATTRIBUTES_MAX,
        namespaces: usize::MAX,
        tree_bytes: usize::MAX,
    };
    let mut read = Vec::new();
    let parsed = parse_element(&xml, &Scope::default(), &limits, &mut Scratch::default(), &mut read);
    let text = String::from_utf8_lossy(&xml);
    assert_eq!(parsed, Ok(()), "{text}");
    let message = tree::first(&read).expect("one element");
    assert!(message.is(tree::CLIENT, "message") && message.attr("type") == Some("chat"), "{text}");
    assert_eq!(outline(message.content()), outline(payload), "{text}");
}

/// A forest as text: where a text is cut, and how a namespace is said, makes no difference.
fn outline(forest: &[u8]) -> String {
    fn inside(nodes: Nodes<'_>, out: &mut String) {
        let mut text = String::new();
        for node in nodes {
            match node {
                Node::Text(more) => text.push_str(more),
                Node::Element(element) => {
                    flush(&mut text, out);
                    one(&element, out);
                }
            }
        }
        flush(&mut text, out);
    }
    fn flush(text: &mut String, out: &mut String) {
        if !text.is_empty() {
            *out += &format!("{text:?} ");
            text.clear();
        }
    }
    fn one(element: &Element<'_>, out: &mut String) {
        *out += &format!("{{{}}}{}(", element.ns(), element.name());
        for (ns, name, value) in element.attrs() {
            *out += &format!("{{{ns}}}{name}={value:?} ");
        }
        *out += ")[";
        inside(element.nodes(), out);
        *out += "]";
    }
    let mut out = String::new();
    inside(tree::nodes(forest, tree::CLIENT), &mut out);
    out
}
