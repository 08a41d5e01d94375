//! What we accept and what we render is read alike by four parsers, and means what its sender's parser meant
//! (threats, rows 7 and 9).
//!
//! Where `HEARTH_STANZAS` names a file, all of them are written to it, one line of JSON for what was sent and one for what was
//! rendered: `tools/parsers/run.sh` gives them to parsers of other languages.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use hearth_connmgr::render;
use hearth_fuzz_targets::{CLOSE, HEADER, Inside, Tree, accepted, differential, ours};
use hearth_wire::tree::CLIENT;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;

/// Text that is XML in some places and not in others.
const PIECES: [&str; 62] = [
    "<",
    ">",
    "/>",
    "</",
    "'",
    "\"",
    "=",
    " ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "&",
    ";",
    "&amp;",
    "&lt;",
    "&#",
    "&#10;",
    "&#13;",
    "&#x9;",
    "&#x41;",
    "&#x1F600;",
    "&lol;",
    "]]>",
    "]]",
    "<![CDATA[",
    "<!--",
    "<?x?>",
    "a",
    "b:",
    ":",
    "xmlns",
    "p:a",
    "q:a",
    " xmlns='u'",
    " xmlns=''",
    " xmlns:p='u'",
    " xmlns:q='u'",
    " xmlns:p='v&#65;'",
    " xmlns='jabber:client'",
    " xml:lang='x'",
    " a='1'",
    " p:a='1'",
    " q:a='2'",
    " a='&lt;\n\t'",
    " a=\"'>\"",
    "<b>",
    "</b>",
    "<b/>",
    "<p:b>",
    "</p:b>",
    "<p:b/>",
    "<q:c xmlns:q='w'>",
    "</q:c>",
    "<stream:stream>",
    "é",
    "日",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
    "\u{0}",
    "\u{fffe}",
];

fn pieces(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..most).prop_map(|pieces| pieces.concat())
}

/// Soup that is an element more often than not: tags that end what they began, with text of any kind between them, and
/// sometimes with a piece where it does not belong.
fn soup() -> impl Strategy<Value = String> {
    let of = |from: &str, to: &str, but: &[&str]| {
        let fits = |piece: &&str| piece.starts_with(from) && piece.ends_with(to) && !but.contains(piece);
        PIECES.into_iter().filter(fits).collect::<Vec<_>>()
    };
    let attributes = prop::collection::vec(prop::sample::select(of(" ", "", &[" ", " q:a='2'"])), 0..2);
    let name = prop::sample::select(vec!["a", "b", "p:a", "p:b", "日"]);
    let mut text = of("&", ";", &["&", "&lol;"]);
    text.extend([
        " ", "\n", "\r", "\r\n", "\t", ";", "]]", "é", "日", "\u{85}", "\u{2028}", "\u{feff}", "=", "'", "\"", ":",
    ]);
    let text = prop::collection::vec(prop::sample::select(text), 0..4).prop_map(|pieces| pieces.concat());
    let step = (0..3_u8, name, attributes, text);
    let stray = (any::<prop::sample::Index>(), prop::sample::select(PIECES.to_vec()));
    let strays = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(stray, 1..3)];
    (prop::collection::vec(step, 1..8), strays).prop_map(|(steps, strays)| {
        let mut out = vec!["<message xmlns:p='u'>".to_owned()];
        let mut open = vec!["message"];
        for (what, name, attributes, text) in steps {
            match what {
                0 => out.push(format!("<{name}{}/>", attributes.concat())),
                1 if open.len() > 1 => out.push(format!("</{}>", open.pop().unwrap())),
                _ => {
                    out.push(format!("<{name}{}>", attributes.concat()));
                    open.push(name);
                }
            }
            out.push(text);
        }
        out.extend(open.into_iter().rev().map(|name| format!("</{name}>")));
        for (place, stray) in strays {
            out.insert(place.index(out.len()), stray.to_owned());
        }
        out.concat()
    })
}

/// A stanza in outline, with anything in the places where something may stand.
fn stanza() -> impl Strategy<Value = String> {
    (pieces(3), pieces(4), pieces(8)).prop_map(|(attributes, value, inside)| {
        format!("<message xmlns:p='u'{attributes} id='{value}'><body>{inside}</body></message>")
    })
}

/// Elements that fit each other, so that most are accepted.
fn fitting() -> impl Strategy<Value = String> {
    let attribute = prop::sample::select(vec![
        "",
        " a='1'",
        " p:a='1'",
        " xmlns='u'",
        " xmlns=''",
        " xmlns:p='w'",
        " b='&#13;\r\n&#x9;\t'",
        " c=\"'&quot;'\"",
        " xml:lang='\n'",
    ]);
    let name = prop::sample::select(vec!["b", "p:b", "q:c", "_", "名", "xmlns.a"]);
    let text = prop::sample::select(vec![
        "",
        "x",
        "\r\n",
        "\r",
        "&#13;",
        "&amp;lt;",
        "<![CDATA[<&]]>",
        "<![CDATA[]]]]>]]&gt;",
        " ",
        "\u{85}\u{2028}",
        "😀&#x10FFFF;",
    ]);
    let leaf = (name.clone(), attribute.clone(), text.clone())
        .prop_map(|(name, attribute, text)| format!("<{name}{attribute}>{text}</{name}>"));
    let inner = leaf.prop_recursive(5, 24, 4, move |inner| {
        (name.clone(), attribute.clone(), text.clone(), prop::collection::vec(inner, 0..4)).prop_map(
            |(name, attribute, text, inside)| format!("<{name}{attribute}>{text}{}{text}</{name}>", inside.concat()),
        )
    });
    inner.prop_map(|inner| format!("<message xmlns:p='u' xmlns:q='a&amp;b'>{inner}</message>"))
}

/// As `tools/parsers` reads it.
fn outline(tree: &Tree) -> Value {
    let inside = tree.inside.iter().map(|inside| match inside {
        Inside::Text(text) => json!(text),
        Inside::Element(element) => outline(element),
    });
    json!([tree.ns, tree.name, tree.attributes, inside.collect::<Vec<_>>()])
}

/// Hands a stanza to parsers of other languages, if we accept it and somebody asks for that; whether we do.
fn hand_on(from: &str, data: &[u8]) -> bool {
    let Some((sent, encoded)) = accepted(data) else { return false };
    let Some(path) = std::env::var_os("HEARTH_STANZAS") else { return true };
    let mut rendered = Vec::new();
    render::nodes(&encoded, CLIENT, &mut rendered).unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    for (what, stanza) in [("sent", sent), ("rendered", rendered.as_slice())] {
        let stream = String::from_utf8([HEADER, stanza, CLOSE].concat()).unwrap();
        let line = json!({"what": what, "from": from, "xml": stream, "tree": outline(&ours(&encoded))});
        // One write for each line: tests run side by side.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    true
}

/// Runs all of them, and makes sure that some were accepted.
fn check(from: &str, strategy: impl Strategy<Value = String>, least: usize) {
    let taken = Cell::new(0usize);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&strategy, |text| {
        taken.set(taken.get() + usize::from(hand_on(from, text.as_bytes())));
        differential(text.as_bytes());
        Ok(())
    });
    run.unwrap();
    assert!(taken.get() >= least, "only {} of 2000 were accepted", taken.get());
}

#[test]
fn threat_009_hostile_stanzas_mean_the_same_to_four_parsers() {
    check("outlines", stanza(), 50);
}

#[test]
fn threat_009_soup_means_the_same_to_four_parsers() {
    check("soup", prop_oneof![1 => pieces(16), 3 => soup()], 1_000);
}

#[test]
fn threat_009_stanzas_of_any_shape_mean_the_same_to_four_parsers() {
    check("shapes", fitting(), 1_000);
}

/// What the fuzzers of all that reads XML have found, as stanzas.
#[test]
fn threat_009_the_corpora_mean_the_same_to_four_parsers() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let mut taken = 0;
    for folder in ["differential", "framing", "stream", "tree"] {
        for file in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            differential(&data);
            taken += usize::from(hand_on("corpora", &data));
        }
    }
    assert!(taken >= 65, "only {taken} were accepted");
}
