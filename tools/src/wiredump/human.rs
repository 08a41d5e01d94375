//! For reading: a line per frame, trees indented below it. Whatever a peer wrote is escaped, so that
//! it cannot speak to the terminal.

use super::fields::{Fields, Value, hex};
use super::{Piece, STREAMS};
use hearth_wire::stanza::Stanza;
use hearth_wire::tree::{self, DEPTH_MAX, Element, Node, Nodes};
use std::fmt::Write as _;
use std::io::{self, Write};

/// Columns before a tree, and more for each level of it.
const MARGIN: usize = 10;
const INDENT: usize = 2;

/// What stands in front of texts of the xml namespace.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Prints a piece of `bytes` bytes that begins at `at`.
pub(super) fn piece(at: u64, bytes: usize, piece: &Piece<'_>, output: &mut dyn Write) -> io::Result<()> {
    let mut text = format!("{at:>8}  ");
    match piece {
        Piece::Preamble { shard } => text.push_str(&format!("preamble shard={shard}\n")),
        Piece::Frame { name, fields, trailing, .. } => {
            text.push_str(name);
            line(fields, &mut text);
            if *trailing > 0 {
                text.push_str(&format!(" (and {trailing} bytes of a later release)"));
            }
            text.push('\n');
            below(fields, &mut text);
        }
        Piece::Unknown { kind, body } => {
            text.push_str(&format!("frame of kind {kind}, which this build does not know"));
            value("", body, &mut text);
            text.push('\n');
        }
        Piece::Broken { problem, frame } => {
            text.push_str(&format!("broken, {bytes} bytes: {problem}"));
            if let Value::Bytes(_) = frame {
                value("", frame, &mut text);
            }
            text.push('\n');
        }
    }
    output.write_all(text.as_bytes())
}

/// The values that fit on the frame's line.
fn line(fields: &Fields<'_>, text: &mut String) {
    fields.0.iter().for_each(|(name, field)| value(name, field, text));
}

fn value(name: &str, value: &Value<'_>, text: &mut String) {
    let word = match value {
        Value::Absent | Value::Stanza(_) | Value::Forest(_) => return,
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Word(word) => word.clone(),
        Value::Bytes(bytes) => hex(bytes),
        Value::Hidden(bytes) => format!("({bytes} bytes)"),
        Value::Fields(fields) => {
            let mut inner = String::new();
            line(fields, &mut inner);
            format!("({})", inner.trim_start())
        }
        Value::List(list) => list.len().to_string(),
    };
    text.push(' ');
    if !name.is_empty() {
        text.push_str(name);
        text.push('=');
    }
    text.push_str(&word);
}

/// Lists and trees, below the frame's line.
fn below(fields: &Fields<'_>, text: &mut String) {
    for (name, value) in &fields.0 {
        match value {
            Value::List(list) => {
                for entry in list {
                    indent(0, text);
                    text.push('→');
                    line(entry, text);
                    text.push('\n');
                }
            }
            Value::Stanza(bytes) => stanza(bytes, text),
            Value::Forest(bytes) => {
                indent(0, text);
                text.push_str(&format!("{name}:{}\n", if bytes.is_empty() { " none" } else { "" }));
                forest(bytes, STREAMS, text);
            }
            Value::Absent
            | Value::Number(_)
            | Value::Flag(_)
            | Value::Text(_)
            | Value::Word(_)
            | Value::Bytes(_)
            | Value::Hidden(_)
            | Value::Fields(_) => {}
        }
    }
}

fn indent(level: usize, text: &mut String) {
    let columns = level.saturating_mul(INDENT).saturating_add(MARGIN);
    let _ = write!(text, "{:columns$}", "");
}

fn stanza(bytes: &[u8], text: &mut String) {
    indent(0, text);
    let Ok(stanza) = Stanza::decode(bytes) else {
        text.push_str(&format!("broken: {} bytes that are no stanza\n", bytes.len()));
        return;
    };
    text.push('<');
    text.push_str(stanza.kind.element());
    // Presence without a type and a type nobody knows are both written without one: say which it is.
    let ty = stanza.ty.attribute().map_or_else(|| format!("({:?})", stanza.ty), str::to_owned);
    attribute("type", &ty, text);
    for (name, value) in [("id", stanza.id), ("to", stanza.to), ("from", stanza.from), ("xml:lang", stanza.lang)] {
        if let Some(value) = value {
            attribute(name, value, text);
        }
    }
    if stanza.payload.is_empty() {
        text.push_str("/>\n");
    } else {
        text.push_str(">\n");
        forest(stanza.payload, tree::CLIENT, text);
        indent(0, text);
        text.push_str(&format!("</{}>\n", stanza.kind.element()));
    }
    if let Err(error) = stanza.validate() {
        indent(0, text);
        text.push_str(&format!("broken: {error}\n"));
    }
}

fn forest(bytes: &[u8], ns: &str, text: &mut String) {
    nodes(tree::nodes(bytes, ns), ns, 1, text);
}

/// Recursion ends where trees must end.
fn nodes(mut nodes: Nodes<'_>, ns: &str, level: usize, text: &mut String) {
    loop {
        match nodes.read() {
            Ok(None) => return,
            Ok(Some(Node::Text(run))) => {
                indent(level, text);
                escape(run, text);
                text.push('\n');
            }
            Ok(Some(Node::Element(element))) if level <= DEPTH_MAX => self::element(&element, ns, level, text),
            Ok(Some(Node::Element(_))) => {
                indent(level, text);
                text.push_str("broken: too deep\n");
            }
            Err(_) => {
                indent(level, text);
                text.push_str("broken here\n");
                return;
            }
        }
    }
}

fn element(element: &Element<'_>, parent_ns: &str, level: usize, text: &mut String) {
    indent(level, text);
    text.push('<');
    escape(element.name(), text);
    if element.ns() != parent_ns {
        attribute("xmlns", element.ns(), text);
    }
    for (ns, name, value) in element.attrs() {
        match ns {
            "" => attribute(name, value, text),
            XML => attribute(&format!("xml:{name}"), value, text),
            ns => attribute(&format!("{{{ns}}}{name}"), value, text),
        }
    }
    if element.attrs().count() < element.attr_count() {
        text.push_str(" broken here");
    }
    let mut inside = element.nodes();
    match (inside.next(), inside.next()) {
        (None, _) if element.content().is_empty() => text.push_str("/>\n"),
        (Some(Node::Text(run)), None) if element.content().len() <= run.len().saturating_add(6) => {
            text.push('>');
            escape(run, text);
            end_tag(element, text);
        }
        _ => {
            text.push_str(">\n");
            nodes(element.nodes(), element.ns(), level.saturating_add(1), text);
            indent(level, text);
            end_tag(element, text);
        }
    }
}

fn end_tag(element: &Element<'_>, text: &mut String) {
    text.push_str("</");
    escape(element.name(), text);
    text.push_str(">\n");
}

fn attribute(name: &str, value: &str, text: &mut String) {
    text.push(' ');
    escape(name, text);
    text.push_str("='");
    escape(value, text);
    text.push('\'');
}

/// As XML would write it, and what a terminal would obey as Rust would.
fn escape(raw: &str, text: &mut String) {
    for character in raw.chars() {
        match character {
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            '\'' => text.push_str("&apos;"),
            '"' | '\\' => text.push(character),
            _ => text.extend(character.escape_debug()),
        }
    }
}
