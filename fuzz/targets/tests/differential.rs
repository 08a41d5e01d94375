//! What we accept and what we render is read alike by four parsers, and means what its sender's parser meant
//! (threats, rows 7 and 9).

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use hearth_fuzz_targets::{accepted, differential};
use proptest::prelude::*;
use std::cell::Cell;

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

/// Runs all of them, and makes sure that some were accepted.
fn check(strategy: impl Strategy<Value = String>, least: usize) {
    let taken = Cell::new(0usize);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&strategy, |text| {
        taken.set(taken.get() + usize::from(accepted(text.as_bytes()).is_some()));
        differential(text.as_bytes());
        Ok(())
    });
    run.unwrap();
    assert!(taken.get() >= least, "only {} of 2000 were accepted", taken.get());
}

#[test]
fn threat_009_hostile_stanzas_mean_the_same_to_four_parsers() {
    check(stanza(), 50);
}

#[test]
fn threat_009_soup_means_the_same_to_four_parsers() {
    check(pieces(16), 1);
}

#[test]
fn threat_009_stanzas_of_any_shape_mean_the_same_to_four_parsers() {
    check(fitting(), 1_000);
}
