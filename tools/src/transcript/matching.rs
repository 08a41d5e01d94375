//! Whether what a session heard is what its transcript says.

use crate::xml::{Attr, Element, Node};
use std::collections::BTreeMap;

/// Whether an element is what the pattern says; new words are noted.
pub fn matches(pattern: &Element, actual: &Element, words: &mut BTreeMap<String, String>) -> Result<(), String> {
    if pattern.name != actual.name || pattern.ns != actual.ns {
        return Err(format!("{} of {} is not {} of {}", actual.name, actual.ns, pattern.name, pattern.ns));
    }
    let name = &pattern.name;
    let same = |a: &Attr, b: &Attr| a.ns == b.ns && a.name == b.name;
    for wanted in pattern.attrs.iter().filter(|attr| attr.name != "*") {
        let found = actual.attrs.iter().find(|attr| same(attr, wanted));
        let found = found.ok_or_else(|| format!("<{name}/> has no {}", wanted.name))?;
        if !word_or_glob(&wanted.value, &found.value, words) {
            return Err(format!("{} of <{name}/> is {:?}, not {:?}", wanted.name, found.value, wanted.value));
        }
    }
    if !pattern.attrs.iter().any(|attr| attr.name == "*")
        && let Some(extra) = actual.attrs.iter().find(|attr| !pattern.attrs.iter().any(|wanted| same(attr, wanted)))
    {
        return Err(format!("<{name}/> has {}='{}' too", extra.name, extra.value));
    }
    match_content(pattern, actual, words)
}

/// What every message from a log has (XEP-0359), and only transcripts about that write down.
fn is_name_of_the_log(child: &Element) -> bool {
    child.name == "stanza-id" && child.ns == "urn:xmpp:sid:0"
}

fn match_content(pattern: &Element, actual: &Element, words: &mut BTreeMap<String, String>) -> Result<(), String> {
    let name = &pattern.name;
    let mut left: Vec<&Element> = actual.children().collect();
    for wanted in pattern.children().filter(|child| child.name != "*") {
        let mut whys = Vec::new();
        let found = left.iter().position(|child| {
            let mut trial = words.clone();
            match matches(wanted, child, &mut trial) {
                Ok(()) => {
                    *words = trial;
                    true
                }
                Err(why) => {
                    whys.push(why);
                    false
                }
            }
        });
        let Some(found) = found else {
            return Err(format!("no <{}/> that fits in <{name}/>: {}", wanted.name, whys.join("; ")));
        };
        left.remove(found);
    }
    let open = pattern.children().any(|child| child.name == "*");
    if let (false, Some(extra)) = (open, left.iter().find(|child| !is_name_of_the_log(child))) {
        return Err(format!("<{name}/> holds <{}/> too", extra.name));
    }
    let text = |element: &Element| {
        let text = element.text();
        // Layout between elements says nothing.
        if element.nodes.iter().any(|node| matches!(node, Node::Element(_))) { text.trim().to_owned() } else { text }
    };
    let (wanted, found) = (text(pattern), text(actual));
    if (open && wanted.is_empty()) || word_or_glob(&wanted, &found, words) {
        return Ok(());
    }
    Err(format!("text of <{name}/> is {found:?}, not {wanted:?}"))
}

/// `$word` for itself, or a text in which `*` stands for any text.
fn word_or_glob(pattern: &str, text: &str, words: &mut BTreeMap<String, String>) -> bool {
    if let Some(word) = pattern.strip_prefix('$') {
        return words.entry(word.to_owned()).or_insert_with(|| text.to_owned()) == text;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml;

    fn fits(pattern: &str, actual: &str) -> Result<BTreeMap<String, String>, String> {
        let mut words = BTreeMap::from([("ada".to_owned(), "ada@example.org/desk".to_owned())]);
        matches(&xml::pattern(pattern).unwrap(), &xml::pattern(actual).unwrap(), &mut words).map(|()| words)
    }

    #[test]
    fn matching() {
        for (pattern, actual) in [
            ("<a b='1' c='2'/>", "<a c='2' b='1'/>"),
            ("<a b='*'/>", "<a b='anything'/>"),
            ("<a b='x*z'/>", "<a b='xyz'/>"),
            ("<a *='*'/>", "<a b='1' c='2'/>"),
            ("<a><b/><c/></a>", "<a><c/><b/></a>"),
            ("<a> <b/> </a>", "<a><b/></a>"),
            ("<a><*/></a>", "<a><b/>text<c/></a>"),
            ("<a>*</a>", "<a>any text</a>"),
            ("<a b='$x' c='$x'/>", "<a b='1' c='1'/>"),
            ("<a to='$ada'/>", "<a to='ada@example.org/desk'/>"),
            ("<a><i n='$x'/><i n='2'/></a>", "<a><i n='1'/><i n='2'/></a>"),
            ("<a xmlns='urn:x'/>", "<p:a xmlns:p='urn:x'/>"),
        ] {
            assert!(fits(pattern, actual).is_ok(), "{pattern} {actual}: {:?}", fits(pattern, actual));
        }
        for (pattern, actual) in [
            ("<a/>", "<b/>"),
            ("<a/>", "<a xmlns='urn:x'/>"),
            ("<a/>", "<a b='1'/>"),
            ("<a b='1'/>", "<a/>"),
            ("<a b='x*z'/>", "<a b='xy'/>"),
            ("<a b='1'/>", "<a b='11'/>"),
            ("<a/>", "<a><b/></a>"),
            ("<a><b/><b/></a>", "<a><b/></a>"),
            ("<a/>", "<a>text</a>"),
            ("<a>text</a>", "<a/>"),
            ("<a><b/></a>", "<a>text<b/></a>"),
            ("<a b='$x' c='$x'/>", "<a b='1' c='2'/>"),
            ("<a to='$ada'/>", "<a to='ada@example.org/phone'/>"),
            ("<a b='1'/>", "<a xml:b='1'/>"),
        ] {
            assert!(fits(pattern, actual).is_err(), "{pattern} {actual}");
        }
    }
}
