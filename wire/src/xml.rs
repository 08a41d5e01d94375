//! What XML can say, as far as writing it needs.

/// What the prefix `xml` means (Namespaces in XML §3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// What the prefix `xmlns` means; nothing may declare it.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Whether all characters are XML's (XML 1.0 §2.2): no controls but tab, line feed and carriage
/// return, neither U+FFFE nor U+FFFF.
pub fn is_text(text: &str) -> bool {
    let control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    // Without an early end, so that the compiler looks at many bytes at once.
    let (controls, top) = text.bytes().fold((false, 0), |(any, top), byte| (any | control(byte), byte.max(top)));
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
    !controls && (top < 0xef || !text.contains(['\u{fffe}', '\u{ffff}']))
}

/// Whether bytes are UTF-8 and all their characters XML's.
pub fn is_text_bytes(bytes: &[u8]) -> bool {
    is_printable_ascii(bytes) || std::str::from_utf8(bytes).is_ok_and(is_text)
}

/// Whether all bytes are between 0x20 and 0x7f, eight at a time.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let (chunks, rest) = bytes.as_chunks::<8>();
    // The top bit of a byte says: not ASCII, or less than a space (which borrows).
    let bits = chunks.iter().map(|chunk| u64::from_le_bytes(*chunk));
    let bits = bits.fold(0, |bits, chunk| bits | chunk | (chunk.wrapping_sub(EACH * 0x20) & !chunk));
    let rest = rest.iter().fold(true, |all, byte| all & (0x20..0x80).contains(byte));
    bits & (EACH * 0x80) == 0 && rest
}

/// Whether this is a name of ASCII letters without a colon (Namespaces in XML §3).
pub const fn is_ascii_name(name: &[u8]) -> bool {
    const fn starts(byte: u8) -> bool {
        byte.is_ascii_alphabetic() || byte == b'_'
    }
    let Some((first, mut rest)) = name.split_first() else { return false };
    let mut all = starts(*first);
    while let Some((byte, more)) = rest.split_first() {
        all &= starts(*byte) || byte.is_ascii_digit() || matches!(*byte, b'-' | b'.');
        rest = more;
    }
    all
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
pub fn is_portable_name(name: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_at_every_place() {
        for byte in 0..=0xff {
            for at in 0..20 {
                let mut bytes = [b'a'; 20];
                bytes[at] = byte;
                let valid = matches!(byte, 9 | 10 | 13 | 0x20..0x80);
                assert_eq!(is_text_bytes(&bytes), valid, "{byte:#x} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn text_is_what_the_standard_says(text in any::<String>(), more in "[ -~\t\r\n\u{fff0}-\u{ffff}]{0,20}") {
            for text in [&text, &more] {
                let xml = text.chars().all(|c| {
                    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
                });
                prop_assert_eq!(is_text(text), xml);
                prop_assert_eq!(is_text_bytes(text.as_bytes()), xml);
            }
        }
    }
}
