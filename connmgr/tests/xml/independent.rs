//! A parser nobody of us wrote reads the same in what we accept, and in what we render.

use crate::corpus::accepted;
use crate::reader::{Event, HEADER, elements, read};
use crate::trees::{self, Inside, Tree, encode, loose_xml};
use hearth_connmgr::render;
use hearth_connmgr::xml::Limits;
use hearth_wire::tree::{self, CLIENT, Element, Node};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use xml::reader::{EventReader, ParserConfig, XmlEvent};

fn ours(encoded: &[u8]) -> Tree {
    fn tree(element: &Element<'_>) -> Tree {
        let inside = element.nodes().map(|node| match node {
            Node::Text(text) => Inside::Text(text.to_owned()),
            Node::Element(element) => Inside::Element(tree(&element)),
        });
        Tree {
            ns: element.ns().to_owned(),
            name: element.name().to_owned(),
            attributes: element.attrs().map(|(ns, name, v)| (ns.to_owned(), name.to_owned(), v.to_owned())).collect(),
            inside: inside.collect(),
        }
    }
    let Some(Node::Element(element)) = tree::nodes(encoded, CLIENT).next() else { panic!("no element") };
    tree(&element)
}

/// The first-level elements of a whole stream, as the other parser understands it.
fn theirs(stream: &[u8]) -> Result<Vec<Tree>, String> {
    let config = ParserConfig::new()
        .cdata_to_characters(true)
        .whitespace_to_characters(true)
        .coalesce_characters(true)
        .ignore_comments(false);
    let mut open: Vec<Tree> = Vec::new();
    for event in EventReader::new_with_config(stream, config) {
        match event.map_err(|error| error.to_string())? {
            XmlEvent::StartElement { name, attributes, .. } => open.push(Tree {
                ns: name.namespace.unwrap_or_default(),
                name: name.local_name,
                attributes: attributes
                    .into_iter()
                    .map(|a| (a.name.namespace.unwrap_or_default(), a.name.local_name, a.value))
                    .collect(),
                inside: Vec::new(),
            }),
            XmlEvent::EndElement { .. } => {
                let closed = open.pop().unwrap();
                match open.last_mut() {
                    Some(parent) => parent.inside.push(Inside::Element(closed)),
                    None => {
                        let elements = closed.inside.into_iter().filter_map(|inside| match inside {
                            Inside::Element(element) => Some(element),
                            Inside::Text(_) => None,
                        });
                        return Ok(elements.collect());
                    }
                }
            }
            XmlEvent::Characters(text) => match open.last_mut() {
                Some(parent) if !text.is_empty() => match parent.inside.last_mut() {
                    Some(Inside::Text(before)) => before.push_str(&text),
                    _ => parent.inside.push(Inside::Text(text)),
                },
                _ => {}
            },
            XmlEvent::StartDocument { .. } => {}
            other => return Err(format!("{other:?}")),
        }
    }
    Err("ended early".to_owned())
}

fn stream(inside: &[u8]) -> Vec<u8> {
    [HEADER.as_bytes(), inside, b"</stream:stream>"].concat()
}

fn check_rendered(encoded: &[u8]) {
    let mut xml = Vec::new();
    render::nodes(encoded, CLIENT, &mut xml).unwrap();
    assert_eq!(theirs(&stream(&xml)), Ok(vec![ours(encoded)]), "{}", String::from_utf8_lossy(&xml));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn threat_009_others_read_what_we_render(tree in trees::element()) {
        check_rendered(&encode(&tree));
    }

    #[test]
    fn threat_009_others_read_what_clients_write_as_we_do(tree in trees::element()) {
        let stream = stream(loose_xml(&tree).as_bytes());
        prop_assert_eq!(theirs(&stream), Ok(vec![tree.clone()]), "{}", String::from_utf8_lossy(&stream));
        prop_assert_eq!(ours(&elements(&stream)[0]), tree);
    }
}

/// Whatever hostile bytes we accept, the other parser accepts, and understands the same.
#[test]
fn threat_009_others_read_what_we_accept_as_we_do() {
    let accepted = Cell::new(0);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) };
    let run = TestRunner::new(config).run(&trees::soup(), |bytes| {
        let stream = stream(&bytes);
        if read(&stream, &[], Limits::AUTHENTICATED).last() == Some(&Event::Close) {
            let encoded = elements(&stream);
            let trees: Vec<Tree> = encoded.iter().map(|encoded| ours(encoded)).collect();
            accepted.set(accepted.get() + usize::from(!trees.is_empty()));
            prop_assert_eq!(theirs(&stream), Ok(trees), "{}", String::from_utf8_lossy(&stream));
            encoded.iter().for_each(|encoded| check_rendered(encoded));
        }
        Ok(())
    });
    run.unwrap();
    assert!(accepted.get() >= 500, "only {} of 1000 were accepted", accepted.get());
}

#[test]
fn threat_009_others_read_the_corpus_as_we_do() {
    for stream in accepted() {
        let encoded = elements(&stream);
        let closed = if stream.trim_ascii_end().ends_with(b"stream>") {
            stream
        } else {
            [&stream[..], b"</stream:stream>"].concat()
        };
        let trees: Vec<Tree> = encoded.iter().map(|encoded| ours(encoded)).collect();
        assert_eq!(theirs(&closed), Ok(trees), "{}", String::from_utf8_lossy(&closed));
        encoded.iter().for_each(|encoded| check_rendered(encoded));
    }
}
