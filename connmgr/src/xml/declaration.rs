//! The XML declaration (XML 1.0 §2.8).

use super::XmlError;
use super::framer::is_space;

/// Checks `<?xml … ?>`: version 1.0 (RFC 6120 §11.8), encoding UTF-8 or none (§11.6). A standalone declaration must not be
/// sent but may be ignored (§11.5), and is.
pub fn parse_declaration(bytes: &[u8]) -> Result<(), XmlError> {
    let inside = bytes.strip_prefix(b"<?xml").and_then(|rest| rest.strip_suffix(b"?>")).ok_or(XmlError::Syntax)?;
    let mut rest = inside;
    let version = pseudo_attribute(&mut rest, b"version")?.ok_or(XmlError::Syntax)?;
    let encoding = pseudo_attribute(&mut rest, b"encoding")?;
    let standalone = pseudo_attribute(&mut rest, b"standalone")?;
    if !rest.iter().all(|byte| is_space(*byte)) || !matches!(standalone, None | Some(b"yes" | b"no")) {
        return Err(XmlError::Syntax);
    }
    match version {
        b"1.0" => {}
        [b'1', b'.', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            return Err(XmlError::XmlVersion);
        }
        _ => return Err(XmlError::Syntax),
    }
    match encoding {
        None => Ok(()),
        Some(name) if name.eq_ignore_ascii_case(b"UTF-8") => Ok(()),
        Some([first, others @ ..]) if first.is_ascii_alphabetic() && others.iter().all(|b| is_encoding_name(*b)) => {
            Err(XmlError::Encoding)
        }
        Some(_) => Err(XmlError::Syntax),
    }
}

fn is_encoding_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// The value of `name` if it comes next, behind white space.
fn pseudo_attribute<'a>(rest: &mut &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, XmlError> {
    let spaced = skip_space(rest);
    let Some(behind) = spaced.strip_prefix(name).filter(|_| spaced.len() < rest.len()) else { return Ok(None) };
    let behind = skip_space(behind).strip_prefix(b"=").ok_or(XmlError::Syntax)?;
    let (quote, behind) = skip_space(behind).split_first().ok_or(XmlError::Syntax)?;
    if !matches!(quote, b'\'' | b'"') {
        return Err(XmlError::Syntax);
    }
    let end = behind.iter().position(|byte| byte == quote).ok_or(XmlError::Syntax)?;
    let Some((value, [_, left @ ..])) = behind.split_at_checked(end) else { return Err(XmlError::Syntax) };
    *rest = left;
    Ok(Some(value))
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    bytes.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use XmlError as E;

    #[test]
    fn declarations() {
        let cases: &[(&str, Result<(), XmlError>)] = &[
            ("<?xml version='1.0'?>", Ok(())),
            ("<?xml version=\"1.0\" encoding='utf-8' ?>", Ok(())),
            ("<?xml\n\tversion = '1.0'\r\nencoding = \"UTF-8\" standalone='yes'?>", Ok(())),
            ("<?xml version='1.0' standalone='no'?>", Ok(())),
            ("<?xml version='1.0' encoding='UTF-16'?>", Err(E::Encoding)),
            ("<?xml version='1.0' encoding='ISO-8859-1'?>", Err(E::Encoding)),
            ("<?xml version='1.0' encoding='UTF8'?>", Err(E::Encoding)),
            ("<?xml version='1.1'?>", Err(E::XmlVersion)),
            ("<?xml version='2.0'?>", Err(E::Syntax)),
            ("<?xml version=''?>", Err(E::Syntax)),
            ("<?xml version='1.'?>", Err(E::Syntax)),
            ("<?xml ?>", Err(E::Syntax)),
            ("<?xml encoding='UTF-8'?>", Err(E::Syntax)),
            ("<?xml encoding='UTF-8' version='1.0'?>", Err(E::Syntax)),
            ("<?xml version='1.0'encoding='UTF-8'?>", Err(E::Syntax)),
            ("<?xml version='1.0' encoding=UTF-8?>", Err(E::Syntax)),
            ("<?xml version='1.0' encoding='-8'?>", Err(E::Syntax)),
            ("<?xml version='1.0' encoding=''?>", Err(E::Syntax)),
            ("<?xml version='1.0' standalone='maybe'?>", Err(E::Syntax)),
            ("<?xml version='1.0' standalone='yes' encoding='UTF-8'?>", Err(E::Syntax)),
            ("<?xml version='1.0' version='1.0'?>", Err(E::Syntax)),
            ("<?xml version='1.0\"?>", Err(E::Syntax)),
            ("<?xmlversion='1.0'?>", Err(E::Syntax)),
            ("<?xml version='1.0'? >", Err(E::Syntax)),
        ];
        for (declaration, expected) in cases {
            assert_eq!(parse_declaration(declaration.as_bytes()), *expected, "{declaration}");
        }
    }
}
