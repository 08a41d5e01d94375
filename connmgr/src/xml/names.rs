//! Qualified names and namespace declarations (Namespaces in XML 1.0).

use super::{XML, XmlError};
use hearth_wire::xml::{XMLNS, is_portable_name};
use xmlparser::StrSpan;

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

/// Refuses the local part of a name that xmlparser accepts but not every parser does.
pub(super) fn check_local(name: &str) -> Result<(), XmlError> {
    if name.is_ascii() || is_portable_name(name) { Ok(()) } else { Err(XmlError::Name) }
}
