use super::*;
use crate::codec::WireError;
use crate::xml::is_text;
use proptest::prelude::*;

#[test]
fn builds_and_reads() {
    let mut tree = Builder::new();
    tree.leaf(None, "body", "hello & <bye>");
    tree.open(Some("urn:xmpp:receipts"), "request").attr("odd", "1").close();
    tree.open(Some("urn:example:unknown"), "a").open(None, "b").text("x").close().close();
    let bytes = tree.finish();
    validate(&bytes, DEPTH_MAX).unwrap();
    let all: Vec<_> = children(&bytes).map(|e| (e.ns(), e.name())).collect();
    assert_eq!(all, [(CLIENT, "body"), ("urn:xmpp:receipts", "request"), ("urn:example:unknown", "a")]);
    assert_eq!(child(&bytes, CLIENT, "body").unwrap().text(), "hello & <bye>");
    assert_eq!(child(&bytes, "urn:xmpp:receipts", "request").unwrap().attr("odd"), Some("1"));
    assert_eq!(children(&bytes).last().unwrap().child("urn:example:unknown", "b").unwrap().text(), "x");
}

#[test]
fn too_deep_is_refused_without_stack() {
    let mut tree = Builder::new();
    for _ in 0..100_000 {
        tree.open(None, "a");
    }
    let deep = tree.finish();
    assert_eq!(validate(&deep, DEPTH_MAX), Err(WireError::BadTree));
    assert_eq!(validate(&deep, usize::MAX), Err(WireError::BadTree));
    let mut tree = Builder::new();
    for _ in 0..DEPTH_MAX {
        tree.open(None, "a");
    }
    let deepest = tree.finish();
    assert_eq!(validate(&deepest, DEPTH_MAX), Ok(()));
    assert_eq!(validate(&deepest, DEPTH_MAX - 1), Err(WireError::BadTree));
    assert_eq!(validate(&[], 0), Ok(()));
}

#[test]
fn more_than_a_length_can_say_reads_nowhere() {
    let text = "x".repeat(BODY_BYTES_MAX / 2);
    let mut tree = Builder::new();
    tree.open(None, "a").text(&text).open(None, "b").text(&text).close().text(&text).open(None, "c");
    let bytes = tree.finish();
    assert_eq!(validate(&bytes, DEPTH_MAX), Err(WireError::BadTree));
    assert_eq!(children(&bytes).count(), 0);
}

#[test]
fn attributes_beyond_the_limit_are_dropped() {
    let mut tree = Builder::new();
    tree.open(None, "a");
    for number in 0..=ATTRIBUTES_MAX {
        tree.attr(&format!("n{number}"), "v");
    }
    let bytes = tree.finish();
    assert_eq!(first(&bytes).unwrap().attrs().count(), ATTRIBUTES_MAX);
    assert_eq!(validate(&bytes, DEPTH_MAX), Ok(()));
}

#[test]
fn attributes_are_found_by_namespace() {
    let xml = "http://www.w3.org/XML/1998/namespace";
    let mut tree = Builder::new();
    tree.open(None, "body").attr("a", "1").attr_ns(xml, "lang", "en").attr("lang", "de").text("x");
    let bytes = tree.finish();
    let body = first(&bytes).unwrap();
    assert_eq!((body.attr("a"), body.attr("lang"), body.attr_ns(xml, "lang")), (Some("1"), Some("de"), Some("en")));
    assert_eq!((body.attr("b"), body.attr_ns(xml, "a")), (None, None));
    assert_eq!(validate(&bytes, DEPTH_MAX), Ok(()));
}

#[test]
fn a_tag_writes_what_open_writes() {
    for ns in [None, Some("jabber:x:data"), Some("urn:example:unknown")] {
        let tag = Tag::new(ns, "x").with_attr("type", "form");
        let (mut one, mut other) = (Builder::new(), Builder::new());
        one.open_tag(&tag).attr("more", "1").text("t").close().open_tag(&tag).close();
        other.open(ns, "x").attr("type", "form").attr("more", "1").text("t").close();
        other.open(ns, "x").attr("type", "form").close();
        assert_eq!(one.finish(), other.finish());
    }
}

#[test]
fn a_copied_element_keeps_its_namespace() {
    let mut tree = Builder::new();
    tree.open(Some("urn:example:a"), "outer").open(None, "inner").attr("k", "v").leaf(None, "leaf", "t");
    let bytes = tree.finish();
    let inner = first(&bytes).and_then(|outer| outer.children().next()).unwrap();
    assert!(inner.inherits_ns());
    let mut copy = Builder::new();
    copy.open(Some("urn:example:b"), "wrap").element(&inner).element(&inner).close().leaf(None, "body", "");
    let copy = copy.finish();
    validate(&copy, DEPTH_MAX).unwrap();
    let wrap = first(&copy).unwrap();
    for copied in wrap.children() {
        assert!(!copied.inherits_ns() && copied.is("urn:example:a", "inner"));
        assert_eq!(copied.attr("k"), Some("v"));
        assert_eq!(copied.child("urn:example:a", "leaf").unwrap().text(), "t");
    }
    assert_eq!((wrap.children().count(), children(&copy).count()), (2, 2));
}

#[test]
fn a_builder_goes_on_in_its_buffer() {
    let mut tree = Builder::new();
    tree.open(None, "a").open(None, "b");
    assert_eq!(first(tree.encoded()).unwrap().children().count(), 1);
    tree.clear();
    assert!(tree.is_empty() && tree.depth() == 0);
    tree.leaf(None, "c", "t").close().close();
    assert_eq!(first(&tree.finish()).unwrap().text_cow(), "t");
}

/// Trees whose tokens read well but that would not render as XML.
#[test]
fn what_xml_cannot_say_is_refused() {
    let with = |build: &dyn Fn(&mut Builder)| {
        let mut tree = Builder::new();
        build(tree.open(None, "a"));
        validate(&tree.finish(), DEPTH_MAX)
    };
    let good: &[&dyn Fn(&mut Builder)] = &[
        &|t| {
            t.attr("xmlnsx", "").attr("b-1._", "\t\r\n\u{10ffff}\u{fffd}");
        },
        &|t| {
            t.open(Some(""), "é");
        },
        &|t| {
            t.attr_ns("urn:a", "b", "").attr_ns("urn:b", "b", "").attr("b", "");
        },
        &|t| {
            t.attr_ns("http://www.w3.org/XML/1998/namespace", "lang", "en");
        },
    ];
    for (number, build) in good.iter().enumerate() {
        assert_eq!(with(build), Ok(()), "good {number}");
    }
    let bad: &[&dyn Fn(&mut Builder)] = &[
        &|t| {
            t.open(None, "");
        },
        &|t| {
            t.open(None, "b c");
        },
        &|t| {
            t.open(None, "b>");
        },
        &|t| {
            t.open(None, "x:b");
        },
        &|t| {
            t.open(None, "1");
        },
        &|t| {
            t.open(None, "urn:xmpp:ping");
        },
        &|t| {
            t.attr("a'b", "");
        },
        &|t| {
            t.attr("", "");
        },
        &|t| {
            t.attr("xmlns", "urn:x");
        },
        &|t| {
            t.attr("b", "1").attr("c", "2").attr("b", "3");
        },
        &|t| {
            t.attr_ns("urn:a", "b", "1").attr_ns("urn:a", "b", "2");
        },
        &|t| {
            t.attr("b", "\u{1}");
        },
        &|t| {
            t.open(Some("urn:\u{0}"), "b");
        },
        &|t| {
            t.text("\u{1b}[2J");
        },
        &|t| {
            t.text("\u{fffe}");
        },
        &|t| {
            t.text("ü\u{ffff}");
        },
        // What no parser, or not every parser, takes.
        &|t| {
            t.open(None, "a×");
        },
        &|t| {
            t.open(Some("http://www.w3.org/XML/1998/namespace"), "b");
        },
        &|t| {
            t.open(Some("http://www.w3.org/2000/xmlns/"), "b");
        },
        &|t| {
            t.attr_ns("http://www.w3.org/2000/xmlns/", "b", "urn:x");
        },
    ];
    for (number, build) in bad.iter().enumerate() {
        assert_eq!(with(build), Err(WireError::BadTree), "bad {number}");
    }
}

#[test]
fn hostile_encodings() {
    for bytes in [
        &[0][..],
        &[3],
        &[ELEMENT],
        &[ELEMENT, 3, 0],
        // A body that is shorter than it says; numbers that no dictionary has; INHERIT as a name.
        &[ELEMENT, 4, 0, 0, 1, 3, 0],
        &[ELEMENT, 5, 0, 0, 1, 0xff, 0xff, 3, 0],
        &[ELEMENT, 3, 0, 0, 1, 1, 0],
        // The namespace inherited, in two bytes.
        &[ELEMENT, 4, 0, 0, 0x81, 0, 3, 0],
        // Attribute counts and lengths that say more than there is.
        &[ELEMENT, 3, 0, 0, 1, 0x28, 1],
        &[ELEMENT, 7, 0, 0, 1, 0x28, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[TEXT, 5, b'a'],
        &[TEXT, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        &[TEXT, 1, 0xff],
        // A child that reaches out of its parent.
        &[ELEMENT, 7, 0, 0, 1, 0x28, 0, ELEMENT, 4, 0, 0, 1, 0x28, 0],
    ] {
        assert_eq!(validate(bytes, DEPTH_MAX), Err(WireError::BadTree), "{bytes:?}");
    }
    assert_eq!(validate(&[ELEMENT, 3, 0, 0, 1, 0x28, 0], DEPTH_MAX), Ok(()));
}

/// A tree in the simplest form, to compare with.
#[derive(Clone, PartialEq, Debug)]
enum Model {
    Text(String),
    Element { ns: Option<String>, name: String, attrs: Vec<(String, String, String)>, nodes: Vec<Model> },
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["body", "x", "item", "sid", "PHOTO"]).prop_map(str::to_owned),
        1 => "[a-zA-Zé_][a-z0-9.-]{0,12}",
    ]
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["", CLIENT, "urn:xmpp:sid:0", "jabber:x:data"]).prop_map(str::to_owned),
        1 => "urn:[a-zß:]{0,200}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[^\u{0}-\u{1f}\u{fffe}\u{ffff}]{1,20}", 1 => "[ -~]{100,300}"]
}

fn forest() -> impl Strategy<Value = Vec<Model>> {
    let element = |nodes: BoxedStrategy<Vec<Model>>| {
        let attrs = prop::collection::vec((namespace(), name(), text()), 0..4);
        (prop::option::of(namespace()), name(), attrs, nodes).prop_map(|(ns, name, mut attrs, nodes)| {
            attrs.sort();
            attrs.dedup_by(|a, b| (&a.0, &a.1) == (&b.0, &b.1));
            attrs.retain(|(_, name, _)| name != "xmlns");
            Model::Element { ns, name, attrs, nodes }
        })
    };
    let leaf = prop_oneof![text().prop_map(Model::Text), element(Just(Vec::new()).boxed())];
    let node = leaf.prop_recursive(6, 40, 5, move |inner| element(prop::collection::vec(inner, 0..5).boxed()));
    prop::collection::vec(node, 0..4)
}

fn build(forest: &[Model], tree: &mut Builder) {
    for node in forest {
        match node {
            Model::Text(text) => {
                tree.text(text);
            }
            Model::Element { ns, name, attrs, nodes } => {
                tree.open(ns.as_deref(), name);
                for (ns, name, value) in attrs {
                    tree.attr_ns(ns, name, value);
                }
                build(nodes, tree);
                tree.close();
            }
        }
    }
}

/// Reads everything there is into a model with all namespaces written out, or finds the break.
/// `left` is how deep it may still go.
fn walk(nodes: Nodes<'_>, left: usize) -> Option<Vec<Model>> {
    let mut all = Vec::new();
    let (mut cursor, ns) = (nodes.cursor, nodes.ns);
    while !cursor.0.is_empty() {
        all.push(match read_node(&mut cursor, ns)? {
            Node::Text(text) => Model::Text(is_text(text).then(|| text.to_owned())?),
            Node::Element(element) => {
                let attrs: Vec<_> =
                    element.attrs().map(|(ns, n, v)| (ns.to_owned(), n.to_owned(), v.to_owned())).collect();
                let name_reads = |name: &str| {
                    !name.starts_with(|c: char| c.is_ascii() && !c.is_ascii_alphabetic() && c != '_')
                        && !name.is_empty()
                        && name.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || "._-".contains(c))
                };
                let distinct =
                    attrs.iter().enumerate().all(|(at, a)| attrs[..at].iter().all(|b| (&a.0, &a.1) != (&b.0, &b.1)));
                let plain = attrs.iter().all(|(ns, name, value)| {
                    name_reads(name) && is_text(ns) && is_text(value) && (name != "xmlns" || !ns.is_empty())
                });
                let renders = distinct && plain && name_reads(element.name()) && is_text(element.ns());
                if attrs.len() != element.attr_count || attrs.len() > ATTRIBUTES_MAX || !renders || left == 0 {
                    return None;
                }
                let ns = Some(element.ns().to_owned());
                Model::Element { ns, name: element.name().to_owned(), attrs, nodes: walk(element.nodes(), left - 1)? }
            }
        });
    }
    Some(all)
}

/// The forest as [`walk`] returns it.
fn written_out(forest: &[Model], parent: &str) -> Vec<Model> {
    let node = |node: &Model| match node {
        Model::Text(text) => Model::Text(text.clone()),
        Model::Element { ns, name, attrs, nodes } => {
            let ns = ns.as_deref().unwrap_or(parent);
            let nodes = written_out(nodes, ns);
            Model::Element { ns: Some(ns.to_owned()), name: name.clone(), attrs: attrs.clone(), nodes }
        }
    };
    forest.iter().map(node).collect()
}

fn encoded(forest: &[Model]) -> Vec<u8> {
    let mut tree = Builder::new();
    build(forest, &mut tree);
    tree.finish()
}

/// Bytes that often get far: pieces of real trees, cut and changed.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (forest(), prop::collection::vec(change, 0..3), any::<prop::sample::Index>()).prop_map(|(forest, changes, cut)| {
        let mut bytes = encoded(&forest);
        for (at, byte) in changes {
            let at = at.index(bytes.len().max(1));
            bytes.splice(at..bytes.len().min(at + 1), [byte]);
        }
        bytes.truncate(cut.index(bytes.len() * 4 + 1));
        bytes
    })
}

proptest! {
    #[test]
    fn a_forest_reads_back(forest in forest()) {
        let bytes = encoded(&forest);
        prop_assert_eq!(validate(&bytes, DEPTH_MAX), Ok(()));
        prop_assert_eq!(walk(nodes(&bytes, CLIENT), DEPTH_MAX), Some(written_out(&forest, CLIENT)));
    }

    #[test]
    fn every_cut_is_noticed(forest in forest()) {
        let bytes = encoded(&forest);
        let mut whole = vec![0];
        whole.extend(nodes(&bytes, CLIENT).scan(0, |at, node| {
            *at += match node {
                Node::Element(element) => element.bytes().len(),
                Node::Text(text) => 1 + text.len() + if text.len() < 128 { 1 } else { 2 },
            };
            Some(*at)
        }));
        for cut in 0..bytes.len() {
            let valid = validate(&bytes[..cut], DEPTH_MAX).is_ok();
            // Between two nodes of the top level a cut leaves a shorter forest.
            prop_assert_eq!(valid, whole.contains(&cut), "cut at {}", cut);
        }
    }

    #[test]
    fn validate_agrees_with_a_full_walk(bytes in prop_oneof![nearly(), prop::collection::vec(0u8..5, 0..40)], depth in 0..4usize) {
        for depth in [depth, DEPTH_MAX] {
            prop_assert_eq!(validate(&bytes, depth).is_ok(), walk(nodes(&bytes, CLIENT), depth).is_some());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), nearly()]) {
        for element in children(&bytes) {
            let _ = (element.attrs().count(), element.attr("id"), element.text(), element.child(CLIENT, "x"));
            let mut copy = Builder::new();
            copy.open(Some("urn:a"), "a").element(&element);
            let copy = copy.finish();
            prop_assert_eq!(first(&copy).unwrap().children().next().map(|copied| copied.ns()), Some(element.ns()));
        }
        let _ = validate(&bytes, DEPTH_MAX);
    }
}
