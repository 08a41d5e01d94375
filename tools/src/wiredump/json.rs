//! For programs: one JSON object per line.

use super::fields::{Fields, Value, hex};
use super::{Piece, STREAMS};
use hearth_wire::stanza::Stanza;
use hearth_wire::tree::{self, DEPTH_MAX, Node, Nodes};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use std::io::{self, Write};

/// Prints a piece of `bytes` bytes that begins at `at`.
pub(super) fn piece(at: u64, bytes: usize, piece: &Piece<'_>, output: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *output, &Line { at, bytes, piece })?;
    output.write_all(b"\n")
}

struct Line<'a> {
    at: u64,
    bytes: usize,
    piece: &'a Piece<'a>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &self.at)?;
        map.serialize_entry("bytes", &self.bytes)?;
        match self.piece {
            Piece::Preamble { shard } => {
                map.serialize_entry("name", "preamble")?;
                map.serialize_entry("body", &Fields(vec![("shard", Value::from(*shard))]))?;
            }
            Piece::Frame { kind, name, fields, trailing } => {
                map.serialize_entry("kind", kind)?;
                map.serialize_entry("name", name)?;
                map.serialize_entry("body", fields)?;
                if *trailing > 0 {
                    map.serialize_entry("trailing_bytes", trailing)?;
                }
            }
            Piece::Unknown { kind, body } => {
                map.serialize_entry("kind", kind)?;
                map.serialize_entry("unknown", body)?;
            }
            Piece::Broken { problem, frame } => {
                map.serialize_entry("error", problem)?;
                map.serialize_entry("frame", frame)?;
            }
        }
        map.end()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(_, value)| !matches!(value, Value::Absent)).map(|(n, v)| (n, v)))
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Absent => serializer.serialize_none(),
            Value::Number(number) => serializer.serialize_u64(*number),
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Word(word) => serializer.serialize_str(word),
            Value::Bytes(bytes) => serializer.collect_map([("hex", hex(bytes))]),
            Value::Hidden(bytes) => serializer.collect_map([("bytes", bytes)]),
            Value::Stanza(bytes) => stanza(bytes, serializer),
            Value::Forest(bytes) => forest(bytes, STREAMS).serialize(serializer),
            Value::Fields(fields) => fields.serialize(serializer),
            Value::List(list) => serializer.collect_seq(list),
        }
    }
}

fn stanza<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    match Stanza::decode(bytes) {
        Ok(stanza) => {
            map.serialize_entry("kind", stanza.kind.element())?;
            map.serialize_entry("type", &format!("{:?}", stanza.ty).to_lowercase())?;
            for (name, value) in [("id", stanza.id), ("to", stanza.to), ("from", stanza.from), ("lang", stanza.lang)] {
                if value.is_some() {
                    map.serialize_entry(name, &value)?;
                }
            }
            map.serialize_entry("payload", &forest(stanza.payload, tree::CLIENT))?;
            if let Err(error) = stanza.validate() {
                map.serialize_entry("error", &error.to_string())?;
            }
        }
        Err(error) => map.serialize_entry("error", &error.to_string())?,
    }
    map.end()
}

/// Nodes as a list: texts are strings, elements objects, a break `null`.
struct Forest<'a> {
    nodes: Nodes<'a>,
    level: usize,
}

fn forest<'a>(bytes: &'a [u8], ns: &'a str) -> Forest<'a> {
    Forest { nodes: tree::nodes(bytes, ns), level: 1 }
}

impl Serialize for Forest<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let mut nodes = self.nodes.clone();
        loop {
            match nodes.read() {
                Ok(None) => break,
                Ok(Some(Node::Text(text))) => list.serialize_element(text)?,
                Ok(Some(Node::Element(element))) if self.level <= DEPTH_MAX => {
                    list.serialize_element(&Element { element, level: self.level })?;
                }
                Ok(Some(Node::Element(_))) => list.serialize_element(&None::<u8>)?,
                Err(_) => {
                    list.serialize_element(&None::<u8>)?;
                    break;
                }
            }
        }
        list.end()
    }
}

struct Element<'a> {
    element: tree::Element<'a>,
    level: usize,
}

impl Serialize for Element<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.element.name())?;
        map.serialize_entry("ns", self.element.ns())?;
        if self.element.attr_count() > 0 {
            let attrs = self.element.attrs().map(|(ns, name, value)| {
                Fields(vec![
                    ("ns", Some(ns).filter(|ns| !ns.is_empty()).into()),
                    ("name", name.into()),
                    ("value", value.into()),
                ])
            });
            map.serialize_entry("attrs", &attrs.collect::<Vec<_>>())?;
        }
        let nodes = Forest { nodes: self.element.nodes(), level: self.level.saturating_add(1) };
        map.serialize_entry("nodes", &nodes)?;
        map.end()
    }
}
