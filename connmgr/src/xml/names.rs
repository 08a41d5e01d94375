//! Qualified names and namespace declarations (Namespaces in XML 1.0).

use super::{XML, XmlError};
use xmlparser::StrSpan;

/// What the prefix `xmlns` means; nothing may declare it.
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Where a name stands in the bytes of a piece; a piece is under 4 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Range {
    pub(super) fn new(start: usize, end: usize) -> Range {
        Range { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }

    pub(super) fn of(span: StrSpan<'_>) -> Range {
        Range::new(span.start(), span.end())
    }

    pub(super) fn in_text(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The whole qualified name of a token that begins `before` bytes ahead of it.
///
/// xmlparser takes `:a` for a name without prefix: then the name does not begin where the token says.
pub(super) fn qualified(
    token: StrSpan<'_>,
    before: usize,
    prefix: StrSpan<'_>,
    local: StrSpan<'_>,
) -> Result<Range, XmlError> {
    let start = if prefix.is_empty() { local.start() } else { prefix.start() };
    if start != token.start().saturating_add(before) {
        return Err(XmlError::Syntax);
    }
    Ok(Range::new(start, local.end()))
}

/// The prefix that an attribute declares: `Some("")` for `xmlns`, `None` if it declares nothing.
pub(super) fn declares<'a>(prefix: &str, local: &'a str) -> Option<&'a str> {
    match (prefix, local) {
        ("", "xmlns") => Some(""),
        ("xmlns", declared) => Some(declared),
        _ => None,
    }
}

/// Namespaces in XML §3: which declarations are forbidden.
pub(super) fn check_declaration(prefix: &str, uri: &str) -> Result<(), XmlError> {
    let allowed = match (prefix, uri) {
        ("xmlns", _) | (_, XMLNS) => false,
        ("xml", uri) => uri == XML,
        (_, XML) => false,
        ("", _) => true,
        (_, uri) => !uri.is_empty(),
    };
    if allowed { Ok(()) } else { Err(XmlError::ReservedNamespace) }
}

/// Letters beyond ASCII that names may have: the large alphabets among those that every edition of XML 1.0 allows. The
/// fifth edition allows far more, but widespread parsers know the second to fourth, and a recipient whose parser refuses
/// a stanza loses its stream, each time the stanza is delivered.
const PORTABLE_LETTERS: [(char, char); 14] = [
    ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{131}'),
    ('\u{14a}', '\u{17e}'),
    ('\u{3a3}', '\u{3ce}'),
    ('\u{40e}', '\u{44f}'),
    ('\u{45e}', '\u{481}'),
    ('\u{5d0}', '\u{5ea}'),
    ('\u{621}', '\u{63a}'),
    ('\u{905}', '\u{939}'),
    ('\u{3041}', '\u{3094}'),
    ('\u{30a1}', '\u{30fa}'),
    ('\u{4e00}', '\u{9fa5}'),
    ('\u{ac00}', '\u{d7a3}'),
];

/// Whether a name without prefix reads as one in every edition of XML 1.0 and its namespaces.
pub(crate) fn is_portable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let Some(first) = name.chars().next() else { return false };
    is_portable_letter(first) && (name.bytes().all(plain) || name.chars().all(is_portable_character))
}

fn is_portable_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || PORTABLE_LETTERS.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

fn is_portable_character(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '-' | '.') || is_portable_letter(c)
}

/// Refuses the local part of a name that xmlparser accepts but not every parser does.
pub(super) fn check_local(name: &str) -> Result<(), XmlError> {
    if name.is_ascii() || is_portable(name) { Ok(()) } else { Err(XmlError::Name) }
}
