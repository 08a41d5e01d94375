//! Characters as markup allows them.

/// What must not stand for itself in character data.
const IN_TEXT: u8 = 1;
/// What must not stand for itself in an attribute's value between single quotes.
const IN_ATTRIBUTE: u8 = 2;

/// For each byte, where it must not stand for itself.
#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which refuses an index out of bounds")]
const SPECIAL: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    loop {
        table[byte as usize] = match byte {
            b'\t' | b'\n' | b'\'' => IN_ATTRIBUTE, // a literal tab or line feed is read as a space
            b'\r' => IN_TEXT | IN_ATTRIBUTE,       // a literal one is read as a line feed
            b'&' | b'<' => IN_TEXT | IN_ATTRIBUTE,
            b'>' => IN_TEXT | IN_ATTRIBUTE,    // `]]>` must not appear in text
            0..0x20 => IN_TEXT | IN_ATTRIBUTE, // no XML character
            0xef => IN_TEXT | IN_ATTRIBUTE,    // perhaps U+FFFE or U+FFFF
            _ => 0,
        };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// Appends character data. What is no XML character (none comes from a client) becomes U+FFFD.
pub fn escape_text(text: &str, out: &mut Vec<u8>) {
    escape(text.as_bytes(), IN_TEXT, out);
}

/// Appends an attribute's value, to stand between single quotes. Else as [`escape_text`].
pub fn escape_attribute(value: &str, out: &mut Vec<u8>) {
    escape(value.as_bytes(), IN_ATTRIBUTE, out);
}

fn escape(bytes: &[u8], place: u8, out: &mut Vec<u8>) {
    let special = |byte: &u8| SPECIAL.get(usize::from(*byte)).is_some_and(|places| places & place != 0);
    let mut rest = bytes;
    while let Some((plain, [byte, behind @ ..])) =
        rest.iter().position(special).and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(plain);
        rest = behind;
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'\'' => out.extend_from_slice(b"&apos;"),
            b'\t' => out.extend_from_slice(b"&#9;"),
            b'\n' => out.extend_from_slice(b"&#10;"),
            b'\r' => out.extend_from_slice(b"&#13;"),
            0xef => match behind.strip_prefix(b"\xbf\xbe").or_else(|| behind.strip_prefix(b"\xbf\xbf")) {
                Some(behind) => {
                    out.extend_from_slice("\u{fffd}".as_bytes());
                    rest = behind;
                }
                None => out.push(0xef),
            },
            _ => out.extend_from_slice("\u{fffd}".as_bytes()),
        }
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, in_text: &str, in_attribute: &str) {
        let (mut text, mut attribute) = (Vec::new(), Vec::new());
        escape_text(raw, &mut text);
        escape_attribute(raw, &mut attribute);
        assert_eq!(std::str::from_utf8(&text).unwrap(), in_text);
        assert_eq!(std::str::from_utf8(&attribute).unwrap(), in_attribute);
    }

    #[test]
    fn each_place_has_its_own_specials() {
        check("", "", "");
        check("a<b>&c", "a&lt;b&gt;&amp;c", "a&lt;b&gt;&amp;c");
        check("'\"]]>", "'\"]]&gt;", "&apos;\"]]&gt;");
        check("\t\n\r ", "\t\n&#13; ", "&#9;&#10;&#13; ");
        check("\0\u{1f}\u{fffe}\u{ffff}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check(
            "\u{feff}\u{fffd}ï\u{efff}\u{fdd0}",
            "\u{feff}\u{fffd}ï\u{efff}\u{fdd0}",
            "\u{feff}\u{fffd}ï\u{efff}\u{fdd0}",
        );
        check("\u{7f}\u{85}\u{2028}😀", "\u{7f}\u{85}\u{2028}😀", "\u{7f}\u{85}\u{2028}😀");
    }
}
