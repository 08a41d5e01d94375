//! Preparation of strings before they are compared: the parts of an address (RFC 7622) and
//! passwords (RFC 4013).
//!
//! ASCII never reaches the Unicode tables: each part has a path that reads the bytes once and
//! allocates nothing. What the slow path returns is stable: preparing it again changes nothing.

use crate::jid::JidMalformed;
use crate::limits::{LABEL_BYTES_MAX, PART_BYTES_MAX, PASSWORD_BYTES_MAX, PREPARE_AGAIN_MAX};
use idna::uts46::{AsciiDenyList, Hyphens, Uts46};
use precis_core::profile::Profile;
use precis_core::{IdentifierClass, StringClass};
use precis_profiles::{OpaqueString, UsernameCaseMapped};
use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// A prepared part, not yet written anywhere.
#[derive(Debug)]
pub(crate) enum Prepared<'a> {
    /// The text as it came.
    Same(&'a str),
    /// The text as it came, its ASCII letters in lower case.
    Lower(&'a str),
    /// Another text.
    Owned(String),
}

impl Prepared<'_> {
    fn text(&self) -> &str {
        match self {
            Prepared::Same(text) | Prepared::Lower(text) => text,
            Prepared::Owned(text) => text,
        }
    }

    /// Bytes of the prepared text.
    pub(crate) fn len(&self) -> usize {
        self.text().len()
    }

    /// Appends the prepared text.
    pub(crate) fn push_to(&self, out: &mut String) {
        let start = out.len();
        out.push_str(self.text());
        if let (Prepared::Lower(_), Some(added)) = (self, out.get_mut(start..)) {
            added.make_ascii_lowercase();
        }
    }

    /// The prepared text alone.
    pub(crate) fn into_string(self) -> String {
        match self {
            Prepared::Same(text) => text.to_owned(),
            Prepared::Lower(text) => text.to_ascii_lowercase(),
            Prepared::Owned(text) => text,
        }
    }
}

/// May stand in a localpart (RFC 7622 §3.3): PRECIS IdentifierClass less `"&'/:<>@`.
const LOCAL: u8 = 1;
/// May stand in a host name label (RFC 1034 §3.5).
const LABEL: u8 = 2;
/// May stand in a resourcepart (RFC 7622 §3.4).
const RESOURCE: u8 = 4;
/// Becomes lower case in localparts and domainparts.
const UPPER: u8 = 8;

/// The properties of each byte; those outside ASCII have none.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        let excluded = matches!(byte, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@');
        let mut class = 0;
        if byte.is_ascii_graphic() && !excluded {
            class |= LOCAL;
        }
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            class |= LABEL;
        }
        if byte.is_ascii_graphic() || byte == b' ' {
            class |= RESOURCE;
        }
        if byte.is_ascii_uppercase() {
            class |= UPPER;
        }
        #[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
        {
            table[byte as usize] = class;
        }
        byte += 1;
    }
    table
};

fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Classes that all bytes have, and classes that any byte has.
fn classes(text: &str) -> (u8, u8) {
    text.bytes().map(class).fold((!0, 0), |(all, any), class| (all & class, any | class))
}

/// RFC 7622 §3.3: UsernameCaseMapped less the characters that no localpart has.
pub(crate) fn localpart(text: &str) -> Result<Prepared<'_>, JidMalformed> {
    bounded(text)?;
    let (all, any) = classes(text);
    if all & LOCAL != 0 {
        return Ok(if any & UPPER != 0 { Prepared::Lower(text) } else { Prepared::Same(text) });
    }
    if text.is_ascii() {
        return Err(JidMalformed);
    }
    let profile = UsernameCaseMapped::new();
    let prepared = settle(text, |text| profile.enforce(text).map_err(|_| JidMalformed))?;
    // Width mapping may have made an excluded character of an innocent one (U+FF20 is a wide `@`).
    if prepared.text().bytes().any(|byte| byte.is_ascii() && class(byte) & LOCAL == 0) {
        return Err(JidMalformed);
    }
    Ok(prepared)
}

/// RFC 7622 §3.2: an IDNA2008 name in its Unicode form, an IPv4 address or an IPv6 address in
/// brackets. One trailing dot is dropped. Of IDNA's reserved labels (RFC 5890 §2.3.1) only A-labels
/// are known; other names with hyphens in the third and fourth place pass, since such hosts exist.
pub(crate) fn domainpart(text: &str) -> Result<Prepared<'_>, JidMalformed> {
    bounded(text)?;
    if let Some(literal) = text.strip_prefix('[') {
        let address: Ipv6Addr = literal.strip_suffix(']').ok_or(JidMalformed)?.parse().map_err(|_| JidMalformed)?;
        return Ok(Prepared::Owned(format!("[{address}]")));
    }
    match host_name(text.strip_suffix('.').unwrap_or(text)) {
        HostName::Prepared(prepared) => Ok(prepared),
        HostName::Broken => Err(JidMalformed),
        HostName::Unicode => settle(text, internationalised),
    }
}

/// What one pass over a domain name finds.
enum HostName<'a> {
    Prepared(Prepared<'a>),
    Broken,
    /// Has characters beyond ASCII or labels that stand for such.
    Unicode,
}

fn host_name(text: &str) -> HostName<'_> {
    let mut any = 0;
    for label in text.as_bytes().split(|byte| *byte == b'.') {
        let (mut all, mut ascii) = (!0, true);
        for byte in label {
            all &= class(*byte);
            any |= class(*byte);
            ascii &= byte.is_ascii();
        }
        if !ascii || label.first_chunk().is_some_and(|start: &[u8; 4]| start.eq_ignore_ascii_case(b"xn--")) {
            return HostName::Unicode;
        }
        let hyphen = label.first() == Some(&b'-') || label.last() == Some(&b'-');
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || hyphen || all & LABEL == 0 {
            return HostName::Broken;
        }
    }
    HostName::Prepared(if any & UPPER != 0 { Prepared::Lower(text) } else { Prepared::Same(text) })
}

/// UTS #46 maps (RFC 5895) and checks form, hyphens, joiners and direction; the IdentifierClass
/// then refuses what IDNA2008 does not know (symbols, emoji) and checks the context rules of
/// RFC 5892 that UTS #46 leaves out.
fn internationalised(text: &str) -> Result<Cow<'_, str>, JidMalformed> {
    let (name, valid) = Uts46::new().to_unicode(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    valid.map_err(|_| JidMalformed)?;
    // The dot may be a mapped one (U+3002), so it is dropped only now.
    let name = match name.strip_suffix('.') {
        Some(stripped) => Cow::Owned(stripped.to_owned()),
        None => name,
    };
    let identifier = IdentifierClass::default();
    for label in name.split('.') {
        let encoded_bytes = if label.is_ascii() {
            label.len()
        } else {
            identifier.allows(label).map_err(|_| JidMalformed)?;
            idna::punycode::encode_str(label).ok_or(JidMalformed)?.len().saturating_add("xn--".len())
        };
        if encoded_bytes == 0 || encoded_bytes > LABEL_BYTES_MAX {
            return Err(JidMalformed);
        }
    }
    Ok(name)
}

/// RFC 7622 §3.4: OpaqueString.
pub(crate) fn resourcepart(text: &str) -> Result<Prepared<'_>, JidMalformed> {
    bounded(text)?;
    if classes(text).0 & RESOURCE != 0 {
        return Ok(Prepared::Same(text));
    }
    if text.is_ascii() {
        return Err(JidMalformed);
    }
    let profile = OpaqueString::new();
    settle(text, |text| profile.enforce(text).map_err(|_| JidMalformed))
}

fn bounded(part: &str) -> Result<(), JidMalformed> {
    if part.is_empty() || part.len() > PART_BYTES_MAX { Err(JidMalformed) } else { Ok(()) }
}

/// Applies the rules until the text stays as it is (RFC 8264 §7).
fn settle<'a>(
    text: &'a str,
    rules: impl for<'b> Fn(&'b str) -> Result<Cow<'b, str>, JidMalformed>,
) -> Result<Prepared<'a>, JidMalformed> {
    let mut prepared = match rules(text)? {
        Cow::Borrowed(same) => return bounded(same).map(|()| Prepared::Same(same)),
        Cow::Owned(prepared) => prepared,
    };
    for _ in 0..PREPARE_AGAIN_MAX {
        bounded(&prepared)?;
        let again = rules(&prepared)?;
        if again == prepared {
            drop(again);
            return Ok(Prepared::Owned(prepared));
        }
        prepared = again.into_owned();
    }
    Err(JidMalformed)
}

/// The password holds characters that no password may have, or is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PasswordProhibited;

impl fmt::Display for PasswordProhibited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid password (RFC 4013)")
    }
}

impl std::error::Error for PasswordProhibited {}

/// SASLprep (RFC 4013) of a password, as a stored string: code points unassigned in Unicode 3.2 are
/// refused, as RFC 5802 §2.2 asks. So is a password of which nothing is left, which no RFC forbids,
/// because it would make an account that anybody enters.
pub fn saslprep(password: &str) -> Result<Cow<'_, str>, PasswordProhibited> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordProhibited);
    }
    if classes(password).0 & RESOURCE != 0 {
        return Ok(Cow::Borrowed(password));
    }
    let prepared = stringprep::saslprep(password).map_err(|_| PasswordProhibited)?;
    if prepared.is_empty() { Err(PasswordProhibited) } else { Ok(prepared) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jid::{BareJid, FullJid, Jid, prepare_domainpart, prepare_localpart, prepare_resourcepart};
    use proptest::prelude::*;

    fn local(text: &str) -> Option<String> {
        prepare_localpart(text).ok()
    }
    fn domain(text: &str) -> Option<String> {
        prepare_domainpart(text).ok()
    }
    fn resource(text: &str) -> Option<String> {
        prepare_resourcepart(text).ok()
    }

    #[test]
    fn localparts() {
        for (text, prepared) in [
            ("Juliet", Some("juliet")),
            ("fußball", Some("fußball")),
            ("Π", Some("π")),
            ("Σςσ", Some("σςσ")),
            ("\u{ff2a}ULIET", Some("juliet")),
            ("e\u{301}", Some("é")),
            ("a.b-c_d+e!#$%()*,;=?[]^`{|}~\\", Some("a.b-c_d+e!#$%()*,;=?[]^`{|}~\\")),
            ("שלום", Some("שלום")),
            ("\u{130}", Some("i\u{307}")),
            // RFC 7622 §3.5: a space, two excluded characters, Roman numeral four, the infinity and black chess king.
            ("foo bar", None),
            ("a\"b", None),
            ("a@b", None),
            ("henry\u{2163}", None),
            ("♚", None),
            ("∞", None),
            // Wide forms of excluded characters.
            ("a\u{ff20}b", None),
            ("a\u{ff0f}b", None),
            // Right to left with left to right (RFC 5893).
            ("שa", None),
            ("a\u{200d}b", None),
            ("a\u{7f}", None),
            ("", None),
        ] {
            assert_eq!(local(text).as_deref(), prepared, "{text:?}");
        }
        assert!(local(&"a".repeat(1023)).is_some());
        assert!(local(&"a".repeat(1024)).is_none());
        // 341 × 3 bytes that become 1023, and one more.
        assert!(local(&"가".repeat(341)).is_some());
        assert!(local(&"가".repeat(342)).is_none());
        // Short enough before preparation, not behind it: U+0344 becomes two.
        assert!(resource(&"\u{344}".repeat(500)).is_none());
    }

    #[test]
    fn domainparts() {
        for (text, prepared) in [
            ("Example.ORG", Some("example.org")),
            ("example.org.", Some("example.org")),
            ("example.org\u{3002}", Some("example.org")),
            ("localhost", Some("localhost")),
            ("xn--Bcher-kva.Example", Some("bücher.example")),
            ("BÜCHER.example", Some("bücher.example")),
            ("faß.example", Some("faß.example")),
            ("日本語。jp", Some("日本語.jp")),
            ("r3---sn.example", Some("r3---sn.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[2001:DB8:0:0::1]", Some("[2001:db8::1]")),
            ("example.org..", None),
            ("example.org\u{3002}.", None),
            (".", None),
            ("", None),
            ("a..b", None),
            (".a", None),
            ("-a.example", None),
            ("a-.example", None),
            ("ü-.example", None),
            ("a_b.example", None),
            ("a b", None),
            ("a\u{2100}b", None),
            ("☕.example", None),
            ("xn--a", None),
            ("xn--", None),
            ("xn--53h.example", None),
            ("[::1", None),
            ("[::1].", None),
            ("[192.0.2.1]", None),
            ("[fe80::1%eth0]", None),
            ("::1", None),
            ("example.org:5222", None),
        ] {
            assert_eq!(domain(text).as_deref(), prepared, "{text:?}");
        }
        // RFC 5892 appendix A.3: a middle dot stands between two l only.
        assert_eq!(domain("col\u{b7}lecci\u{f3}.example").as_deref(), Some("col\u{b7}lecci\u{f3}.example"));
        assert_eq!(domain("a\u{b7}b.example"), None);
        assert!(domain(&["a".repeat(63), "b".repeat(63)].join(".")).is_some());
        assert!(domain(&"a".repeat(64)).is_none());
        assert!(domain(&"ü".repeat(63)).is_none(), "64 octets or more as an A-label");
    }

    #[test]
    fn resourceparts() {
        for (text, prepared) in [
            ("Balcony", Some("Balcony")),
            ("a/b@c <d>", Some("a/b@c <d>")),
            ("♚ \u{1f412}", Some("♚ \u{1f412}")),
            ("a\u{a0}b", Some("a b")),
            ("e\u{301}", Some("é")),
            (" ", Some(" ")),
            ("a\u{7}", None),
            ("a\nb", None),
            ("\u{fffe}", None),
            ("", None),
        ] {
            assert_eq!(resource(text).as_deref(), prepared, "{text:?}");
        }
    }

    #[test]
    fn passwords() {
        // RFC 4013 §3, then our own.
        assert_eq!(saslprep("I\u{ad}X").as_deref(), Ok("IX"));
        assert_eq!(saslprep("USER").as_deref(), Ok("USER"));
        assert_eq!(saslprep("\u{aa}").as_deref(), Ok("a"));
        assert_eq!(saslprep("\u{2168}").as_deref(), Ok("IX"));
        assert!(saslprep("\u{7}").is_err());
        assert!(saslprep("\u{627}1").is_err());
        assert_eq!(saslprep("a\u{a0}b").as_deref(), Ok("a b"));
        assert!(saslprep("\u{1f412}").is_err(), "unassigned in Unicode 3.2");
        assert!(saslprep("").is_err());
        assert!(saslprep("\u{ad}").is_err());
        assert!(saslprep(&"p".repeat(1024)).is_err());
        assert!(matches!(saslprep("correct horse"), Ok(Cow::Borrowed(_))));
    }

    /// Any text, rich in what the rules treat specially.
    fn text() -> impl Strategy<Value = String> {
        let special: Vec<char> = "aAzZ09-.@/'\"&: <>_xnlß\u{130}\u{131}ΣςσΩǅ\u{1e9e}\u{fb01}\u{ff21}\u{ff20}\u{ff0e}\u{ff0f}\
             \u{3002}\u{b7}\u{200c}\u{200d}\u{94d}\u{301}\u{307}\u{323}\u{344}\u{345}\u{390}\u{1fb3}\u{212b}\u{2126}\
             אב\u{5f3}ئ\u{640}\u{628}\u{660}\u{6f0}\u{30fb}ア日\u{1100}\u{1161}가\u{a0}\u{2003}\u{ad}\u{2100}☕\u{1f412}\u{fffe}\u{7f}"
            .chars()
            .collect();
        let character =
            prop_oneof![6 => prop::sample::select(special), 1 => any::<char>(), 1 => prop::char::range('a', 'z')];
        prop::collection::vec(character, 0..24).prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn prepared_text_is_stable(text in text()) {
            for prepare in [prepare_localpart, prepare_domainpart, prepare_resourcepart] {
                if let Ok(once) = prepare(&text) {
                    prop_assert!(!once.is_empty() && once.len() <= PART_BYTES_MAX);
                    prop_assert_eq!(prepare(&once), Ok(once.clone()));
                }
            }
            if let Ok(once) = saslprep(&text) {
                prop_assert_eq!(saslprep(&once), Ok(Cow::Borrowed(&*once)));
            }
        }

        #[test]
        fn the_ascii_paths_agree_with_the_tables(text in "[ -~]{1,12}") {
            let username = UsernameCaseMapped::new().enforce(text.as_str()).ok().map(Cow::into_owned);
            let excluded = text.bytes().any(|byte| b"\"&'/:<>@".contains(&byte));
            prop_assert_eq!(local(&text), username.filter(|_| !excluded));
            prop_assert_eq!(resource(&text), OpaqueString::new().enforce(text.as_str()).ok().map(Cow::into_owned));
            if !text.starts_with('[') {
                prop_assert_eq!(domain(&text), internationalised(&text).ok().map(Cow::into_owned));
            }
        }

        #[test]
        fn an_address_is_its_parts(l in text(), d in text(), r in text()) {
            let full = FullJid::parse(&format!("{l}@{d}/{r}"));
            match (local(&l), domain(&d), resource(&r)) {
                (Some(l), Some(d), Some(r)) => {
                    let full = full.unwrap();
                    prop_assert_eq!(full.as_str(), format!("{l}@{d}/{r}"));
                    prop_assert_eq!((full.localpart(), full.domainpart(), full.resourcepart()), (Some(&*l), &*d, &*r));
                    prop_assert_eq!(full.bare(), BareJid::new(Some(&l), &d).unwrap());
                    prop_assert_eq!(Jid::parse(full.as_str()), Ok(Jid::Full(full.clone())));
                }
                // A `/` or `@` in a part moves the border, as RFC 7622 §3.1 says it must.
                _ => prop_assert!(full.is_err() || l.contains(['@', '/']) || d.contains('/')),
            }
        }
    }
}
