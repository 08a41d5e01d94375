//! Encoded stanzas and trees as text, for comparing what they mean.

use hearth_wire::stanza::Stanza;
use hearth_wire::tree::{self, Node, Nodes};
use std::fmt::Write;

pub(crate) fn stanza(stanza: &Stanza<'_>) -> String {
    let name = stanza.kind.element();
    let mut text = format!("<{name}");
    let pairs = [("id", stanza.id), ("to", stanza.to), ("from", stanza.from), ("xml:lang", stanza.lang)];
    for (name, value) in [("type", stanza.ty.attribute())].into_iter().chain(pairs) {
        if let Some(value) = value {
            write!(text, " {name}='{value}'").unwrap();
        }
    }
    text.push('>');
    nodes(tree::nodes(stanza.payload, tree::CLIENT), &mut text);
    text + &format!("</{name}>")
}

pub(crate) fn forest(bytes: &[u8], ns: &str) -> String {
    let mut text = String::new();
    nodes(tree::nodes(bytes, ns), &mut text);
    text
}

fn nodes(mut nodes_left: Nodes<'_>, text: &mut String) {
    while let Some(node) = nodes_left.read().unwrap() {
        match node {
            Node::Text(run) => text.push_str(run),
            Node::Element(element) => {
                write!(text, "<{} xmlns='{}'", element.name(), element.ns()).unwrap();
                for (ns, name, value) in element.attrs() {
                    let ns = if ns.is_empty() { String::new() } else { format!("{{{ns}}}") };
                    write!(text, " {ns}{name}='{value}'").unwrap();
                }
                text.push('>');
                nodes(element.nodes(), text);
                write!(text, "</{}>", element.name()).unwrap();
            }
        }
    }
}
