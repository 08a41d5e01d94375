//! References, line ends and attribute values (XML 1.0 §2.11, §3.3.3, §4.1).

use super::XmlError;
use memchr::{memchr, memchr2};
use std::borrow::Cow;
use xmlparser::XmlCharExt;

/// Appends what `raw` character data means: references replaced, `\r\n` and `\r` as `\n`.
pub(super) fn text(raw: &str, out: &mut Vec<u8>) -> Result<(), XmlError> {
    decode(raw.as_bytes(), |bytes| memchr2(b'&', b'\r', bytes), b'\n', out)
}

/// Appends what a CDATA section means: only line ends change.
pub(super) fn cdata(raw: &str, out: &mut Vec<u8>) -> Result<(), XmlError> {
    decode(raw.as_bytes(), |bytes| memchr(b'\r', bytes), b'\n', out)
}

/// Appends the normalised value of a raw attribute: as [`text`], and literal white space becomes spaces.
pub(super) fn attribute(raw: &str, out: &mut Vec<u8>) -> Result<(), XmlError> {
    if !changes_in_attribute(raw) {
        out.extend_from_slice(raw.as_bytes());
        return Ok(());
    }
    decode(raw.as_bytes(), |bytes| bytes.iter().position(|byte| special_in_attribute(*byte)), b' ', out)
}

/// As [`attribute`], without a copy where nothing changes.
pub(super) fn attribute_value(raw: &str) -> Result<Cow<'_, str>, XmlError> {
    if !changes_in_attribute(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut value = Vec::with_capacity(raw.len());
    attribute(raw, &mut value)?;
    String::from_utf8(value).map(Cow::Owned).map_err(|_| XmlError::Encoding)
}

/// Without a way out of the loop, so that it takes many bytes at a time.
fn changes_in_attribute(raw: &str) -> bool {
    raw.bytes().fold(false, |changes, byte| changes | special_in_attribute(byte))
}

fn special_in_attribute(byte: u8) -> bool {
    matches!(byte, b'&' | b'\r' | b'\n' | b'\t')
}

fn decode(
    mut rest: &[u8],
    find: impl Fn(&[u8]) -> Option<usize>,
    line_end: u8,
    out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    while let Some((plain, [special, behind @ ..])) = find(rest).and_then(|at| rest.split_at_checked(at)) {
        out.extend_from_slice(plain);
        rest = match special {
            b'&' => reference(behind, out)?,
            b'\r' => {
                out.push(line_end);
                behind.strip_prefix(b"\n").unwrap_or(behind)
            }
            _ => {
                out.push(line_end);
                behind
            }
        };
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends the character that the reference behind `&` means and returns what follows its `;`.
fn reference<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], XmlError> {
    let end = memchr(b';', rest).ok_or(XmlError::Syntax)?;
    let Some((name, [_, behind @ ..])) = rest.split_at_checked(end) else { return Err(XmlError::Syntax) };
    let character = match name {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ if is_name(name) => return Err(XmlError::EntityReference),
        _ => return Err(XmlError::Syntax),
    };
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(behind)
}

fn number(digits: &[u8], radix: u32) -> Result<char, XmlError> {
    if digits.is_empty() {
        return Err(XmlError::Syntax);
    }
    let mut number = 0u32;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix).ok_or(XmlError::Syntax)?;
        number = number.saturating_mul(radix).saturating_add(digit); // saturated, it is no character either
    }
    char::from_u32(number).filter(|character| character.is_xml_char()).ok_or(XmlError::Character)
}

fn is_name(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_xml_name_start()) && characters.all(|c| c.is_xml_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, as_text: Result<&str, XmlError>, as_attribute: Result<&str, XmlError>) {
        let mut out = Vec::new();
        assert_eq!(text(raw, &mut out).map(|()| std::str::from_utf8(&out).unwrap()), as_text, "{raw:?} as text");
        assert_eq!(attribute_value(raw).as_deref().map_err(|e| *e), as_attribute, "{raw:?} as attribute");
    }

    fn both(raw: &str, expected: Result<&str, XmlError>) {
        check(raw, expected, expected);
    }

    #[test]
    fn references() {
        both("", Ok(""));
        both("&lt;&gt;&amp;&quot;&apos;", Ok("<>&\"'"));
        both("a&#65;b&#x42;&#x0000043;", Ok("aAbBC"));
        both("&#x1F600;&#128512;", Ok("😀😀"));
        both("&#9;&#10;&#13;&#x20;", Ok("\t\n\r "));
        both("&amp;amp;", Ok("&amp;"));
        for no_character in
            ["&#0;", "&#x1F;", "&#8;", "&#xD800;", "&#xFFFE;", "&#xFFFF;", "&#x110000;", "&#99999999999999999999;"]
        {
            both(no_character, Err(XmlError::Character));
        }
        for broken in ["&", "& ;", "&;", "&amp", "&#;", "&#x;", "&#X41;", "&#6a;", "&#-1;", "&#+65;", "&1;", "&a b;"] {
            both(broken, Err(XmlError::Syntax));
        }
        for entity in ["&nbsp;", "&AMP;", "&lol9;", "&é;", "&a:b;"] {
            both(entity, Err(XmlError::EntityReference));
        }
    }

    #[test]
    fn line_ends_and_spaces() {
        check("a\r\nb\rc\nd\te", Ok("a\nb\nc\nd\te"), Ok("a b c d e"));
        check("\r\r\n\n", Ok("\n\n\n"), Ok("   "));
        check("&#13;\n", Ok("\r\n"), Ok("\r "));
        check("\r&#10;", Ok("\n\n"), Ok(" \n"));
    }
}
