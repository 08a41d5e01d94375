//! Addresses (RFC 7622). A value of these types is prepared: equal addresses are equal bytes.
//!
//! An address is one allocation, whatever its parts; parsing one that is ASCII, as nearly all are,
//! makes no other. Where a type is not worth it, prepared text is taken apart in place by [`split`]
//! and [`bare_str`].

use crate::prep::{self, Prepared};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

pub use crate::limits::PART_BYTES_MAX;

/// The text is not an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JidMalformed;

impl fmt::Display for JidMalformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid address (RFC 7622)")
    }
}

impl std::error::Error for JidMalformed {}

/// `domainpart` or `localpart@domainpart`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BareJid(Box<str>);

/// `[localpart@]domainpart/resourcepart`.
#[derive(Clone)]
pub struct FullJid {
    text: Box<str>,
    /// Length of the bare part: where the first `/` stands.
    bare: u16,
}

/// Where both are allowed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Jid {
    Bare(BareJid),
    Full(FullJid),
}

/// Splits into localpart, domainpart and resourcepart (RFC 7622 §3.1), preparing nothing.
pub fn split(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (mut at, mut slash) = (None, None);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'@' if at.is_none() => at = Some(place),
            b'/' => {
                slash = Some(place);
                break;
            }
            _ => {}
        }
    }
    let (bare, resource) = cut(text, slash);
    match cut(bare, at) {
        (local, Some(domain)) => (Some(local), domain, resource),
        (domain, None) => (None, domain, resource),
    }
}

/// The bare address in the text of a bare or full one: `bare_str(to) == account.as_str()`.
pub fn bare_str(text: &str) -> &str {
    cut(text, text.bytes().position(|byte| byte == b'/')).0
}

/// The text before and behind the ASCII character at `place`.
fn cut(text: &str, place: Option<usize>) -> (&str, Option<&str>) {
    match place {
        Some(place) => (text.get(..place).unwrap_or(text), text.get(place.saturating_add(1)..)),
        None => (text, None),
    }
}

/// Parses and prepares a bare or full address (RFC 7622 §3) where its text is all that is needed: text that is
/// prepared already, as nearly all is, is returned as it is, without an allocation.
pub fn prepare(text: &str) -> Result<Cow<'_, str>, JidMalformed> {
    let (local, domain, resource) = split(text);
    let local = local.map(prep::localpart).transpose()?;
    let domain = prep::domainpart(domain)?;
    let resource = resource.map(prep::resourcepart).transpose()?;
    let same = |part: &Option<Prepared<'_>>| part.as_ref().is_none_or(|part| matches!(part, Prepared::Same(_)));
    // A domainpart may lose a final dot and otherwise be the same.
    let length = [&local, &resource].into_iter().flatten().fold(domain.len(), |n, part| n.saturating_add(part.len()));
    let marks = usize::from(local.is_some()).saturating_add(usize::from(resource.is_some()));
    if same(&local)
        && matches!(domain, Prepared::Same(_))
        && same(&resource)
        && length.saturating_add(marks) == text.len()
    {
        return Ok(Cow::Borrowed(text));
    }
    join(local, &domain, resource.as_ref()).map(|(text, _)| Cow::Owned(text.into()))
}

/// RFC 7622 §3.3: UsernameCaseMapped less the characters no localpart has.
pub fn prepare_localpart(text: &str) -> Result<String, JidMalformed> {
    prep::localpart(text).map(Prepared::into_string)
}

/// RFC 7622 §3.2: an IDNA2008 name in its Unicode form, an IPv4 address or a bracketed IPv6 address.
pub fn prepare_domainpart(text: &str) -> Result<String, JidMalformed> {
    prep::domainpart(text).map(Prepared::into_string)
}

/// A domain as it stands in DNS and certificates, with A-labels (RFC 5890 §2.3.2.1); one that has no such form
/// stays as it is.
pub fn domain_to_ascii(domain: &str) -> String {
    idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned())
}

/// RFC 7622 §3.4: OpaqueString.
pub fn prepare_resourcepart(text: &str) -> Result<String, JidMalformed> {
    prep::resourcepart(text).map(Prepared::into_string)
}

/// The account name a SASL exchange seems to mean, prepared, from the client's first message:
/// routing only, never identity. `None` if it names no one yet or does not follow its mechanism's
/// grammar; the shard that gets it all the same refuses it.
pub fn routing_hint(mechanism: &str, initial: &[u8]) -> Option<String> {
    let name = if mechanism == "PLAIN" {
        // RFC 4616 §2: [authzid] NUL authcid NUL passwd
        let mut fields = initial.split(|byte| *byte == 0);
        let (_authzid, authcid, _passwd) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        Cow::Borrowed(std::str::from_utf8(authcid).ok()?)
    } else if mechanism.starts_with("HT-") {
        // draft-schmaus-kitten-sasl-ht-09 §3.1: authcid NUL hashed-token, which is not text.
        let name = initial.split(|byte| *byte == 0).next().filter(|name| name.len() < initial.len())?;
        Cow::Borrowed(std::str::from_utf8(name).ok()?)
    } else if mechanism.starts_with("SCRAM-") {
        // RFC 5802 §7: gs2-cbind-flag "," [authzid] "," "n=" saslname "," "r=" nonce ["," extensions].
        // A mandatory extension ("m=") before the name is one that nobody supports.
        let mut fields = std::str::from_utf8(initial).ok()?.splitn(4, ',');
        let (flag, authzid, name, _rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if !(matches!(flag, "n" | "y") || flag.starts_with("p=")) || !(authzid.is_empty() || authzid.starts_with("a="))
        {
            return None;
        }
        saslname(name.strip_prefix("n=")?)?
    } else {
        return None;
    };
    prepare_localpart(&name).ok()
}

/// RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, any other `=` an error.
fn saslname(text: &str) -> Option<Cow<'_, str>> {
    let mut pieces = text.split('=');
    let first = pieces.next()?;
    if first.len() == text.len() {
        return Some(Cow::Borrowed(text));
    }
    let mut name = String::with_capacity(text.len());
    name.push_str(first);
    for piece in pieces {
        match piece.strip_prefix("2C") {
            Some(rest) => name.extend([",", rest]),
            None => name.extend(["=", piece.strip_prefix("3D")?]),
        }
    }
    Some(Cow::Owned(name))
}

/// Writes prepared parts into one allocation of the exact size; the number is the bare part's length.
fn join(
    local: Option<Prepared<'_>>,
    domain: &Prepared<'_>,
    resource: Option<&Prepared<'_>>,
) -> Result<(Box<str>, u16), JidMalformed> {
    let bare = domain.len().saturating_add(local.as_ref().map_or(0, |part| part.len().saturating_add(1)));
    let all = bare.saturating_add(resource.map_or(0, |part| part.len().saturating_add(1)));
    let mut text = String::with_capacity(all);
    if let Some(local) = local {
        local.push_to(&mut text);
        text.push('@');
    }
    domain.push_to(&mut text);
    if let Some(resource) = resource {
        text.push('/');
        resource.push_to(&mut text);
    }
    Ok((text.into_boxed_str(), u16::try_from(bare).map_err(|_| JidMalformed)?))
}

impl BareJid {
    /// Parses and prepares; an address with a resourcepart is refused.
    pub fn parse(text: &str) -> Result<BareJid, JidMalformed> {
        match split(text) {
            (local, domain, None) => BareJid::new(local, domain),
            (_, _, Some(_)) => Err(JidMalformed),
        }
    }
    /// From parts, preparing both.
    pub fn new(localpart: Option<&str>, domainpart: &str) -> Result<BareJid, JidMalformed> {
        let local = localpart.map(prep::localpart).transpose()?;
        let (text, _) = join(local, &prep::domainpart(domainpart)?, None)?;
        Ok(BareJid(text))
    }
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// The part before `@`, if there is one.
    pub fn localpart(&self) -> Option<&str> {
        split(&self.0).0
    }
    /// The part that every address has.
    pub fn domainpart(&self) -> &str {
        split(&self.0).1
    }
    /// Whether this is a server or component: an address without a localpart.
    pub fn is_domain(&self) -> bool {
        !self.0.contains('@')
    }
    /// The full address of one of its resources.
    pub fn with_resource(&self, resourcepart: &str) -> Result<FullJid, JidMalformed> {
        let resource = prep::resourcepart(resourcepart)?;
        let (text, bare) = join(None, &Prepared::Same(&self.0), Some(&resource))?;
        Ok(FullJid { text, bare })
    }
}

impl FullJid {
    /// Parses and prepares; an address without a resourcepart is refused.
    pub fn parse(text: &str) -> Result<FullJid, JidMalformed> {
        match split(text) {
            (local, domain, Some(resource)) => FullJid::new(local, domain, resource),
            (_, _, None) => Err(JidMalformed),
        }
    }
    /// From parts, preparing all.
    pub fn new(localpart: Option<&str>, domainpart: &str, resourcepart: &str) -> Result<FullJid, JidMalformed> {
        let local = localpart.map(prep::localpart).transpose()?;
        let (text, bare) = join(local, &prep::domainpart(domainpart)?, Some(&prep::resourcepart(resourcepart)?))?;
        Ok(FullJid { text, bare })
    }
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// The bare address's text.
    pub fn bare_str(&self) -> &str {
        self.text.get(..usize::from(self.bare)).unwrap_or("")
    }
    /// The bare address, in an allocation of its own.
    pub fn bare(&self) -> BareJid {
        BareJid(self.bare_str().into())
    }
    /// Whether this is a resource of `account`.
    pub fn is_of(&self, account: &BareJid) -> bool {
        self.bare_str() == account.as_str()
    }
    /// The part before `@`, if there is one.
    pub fn localpart(&self) -> Option<&str> {
        split(self.bare_str()).0
    }
    /// The part that every address has.
    pub fn domainpart(&self) -> &str {
        split(self.bare_str()).1
    }
    /// The part behind the first `/`.
    pub fn resourcepart(&self) -> &str {
        self.text.get(usize::from(self.bare).saturating_add(1)..).unwrap_or("")
    }
}

impl Jid {
    /// Parses and prepares (RFC 7622 §3).
    pub fn parse(text: &str) -> Result<Jid, JidMalformed> {
        Ok(match split(text) {
            (local, domain, None) => Jid::Bare(BareJid::new(local, domain)?),
            (local, domain, Some(resource)) => Jid::Full(FullJid::new(local, domain, resource)?),
        })
    }
    /// The address as text.
    pub fn as_str(&self) -> &str {
        match self {
            Jid::Bare(bare) => bare.as_str(),
            Jid::Full(full) => full.as_str(),
        }
    }
    /// The bare address's text.
    pub fn bare_str(&self) -> &str {
        match self {
            Jid::Bare(bare) => bare.as_str(),
            Jid::Full(full) => full.bare_str(),
        }
    }
    /// The bare address, in an allocation of its own.
    pub fn bare(&self) -> BareJid {
        BareJid(self.bare_str().into())
    }
    /// The bare address; one that is bare already costs nothing.
    pub fn into_bare(self) -> BareJid {
        match self {
            Jid::Bare(bare) => bare,
            Jid::Full(full) => full.bare(),
        }
    }
    /// The part before `@`, if there is one.
    pub fn localpart(&self) -> Option<&str> {
        split(self.bare_str()).0
    }
    /// The part that every address has.
    pub fn domainpart(&self) -> &str {
        split(self.bare_str()).1
    }
    /// The part behind the first `/`, if there is one.
    pub fn resourcepart(&self) -> Option<&str> {
        match self {
            Jid::Bare(_) => None,
            Jid::Full(full) => Some(full.resourcepart()),
        }
    }
}

// The text decides: where its bare part ends follows from it.
impl PartialEq for FullJid {
    fn eq(&self, other: &FullJid) -> bool {
        self.text == other.text
    }
}
impl Eq for FullJid {}
impl PartialOrd for FullJid {
    fn partial_cmp(&self, other: &FullJid) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for FullJid {
    fn cmp(&self, other: &FullJid) -> Ordering {
        self.text.cmp(&other.text)
    }
}
impl Hash for FullJid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// Lets maps keyed by [`BareJid`] be asked with a borrowed prepared text.
impl Borrow<str> for BareJid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Lets maps keyed by [`FullJid`] be asked with a borrowed prepared text.
impl Borrow<str> for FullJid {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Jid {
        Jid::Bare(bare)
    }
}

impl From<FullJid> for Jid {
    fn from(full: FullJid) -> Jid {
        Jid::Full(full)
    }
}

/// What all three have in common: they print as their text, compare with prepared text, and are
/// stored as text that is parsed again when read.
macro_rules! as_text {
    ($($name:ident),+) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }
        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }
        impl std::str::FromStr for $name {
            type Err = JidMalformed;
            fn from_str(text: &str) -> Result<$name, JidMalformed> {
                $name::parse(text)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an address (RFC 7622)")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )+ };
}
as_text!(BareJid, FullJid, Jid);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn preparing_text_is_parsing() {
        for text in [
            "a@b.example/c",
            "b.example",
            "A@b.example",
            "a@B.example/C",
            "b.example.",
            "a@b.example./c",
            "b/",
            "@b",
            "ö@b",
        ] {
            let parsed = Jid::parse(text).map(|jid| jid.as_str().to_owned());
            assert_eq!(prepare(text).map(Cow::into_owned), parsed, "{text}");
        }
        assert!(matches!(prepare("a@b.example/c d"), Ok(Cow::Borrowed(_))));
    }

    /// RFC 7622 §3.5, table 1 and table 2; the order of the examples is the standard's.
    #[test]
    fn examples_of_the_standard() {
        for valid in [
            "juliet@example.com",
            "juliet@example.com/foo",
            "juliet@example.com/foo bar",
            "juliet@example.com/foo@bar",
            "foo\\20bar@example.com",
            "fussball@example.com",
            "fu\u{df}ball@example.com",
            "\u{3c0}@example.com",
            "\u{3c3}@example.com",
            "\u{3c2}@example.com",
            "king@example.com/\u{265a}",
            "example.com",
            "example.com/foobar",
            "a.example.com/b@example.net",
        ] {
            assert_eq!(Jid::parse(valid).unwrap(), valid);
        }
        assert_eq!(Jid::parse("\u{3a3}@example.com").unwrap(), "\u{3c3}@example.com");
        for invalid in [
            "\"juliet\"@example.com",
            "foo bar@example.com",
            "juliet@example.com/",
            "@example.com/",
            "henry\u{2163}@example.com",
            "\u{265a}@example.com",
            "juliet@",
            "/foobar",
            "",
            "@",
            "a@b@c",
        ] {
            assert_eq!(Jid::parse(invalid), Err(JidMalformed), "{invalid:?}");
        }
    }

    #[test]
    fn parts_and_comparisons() {
        let full = FullJid::parse("Ada@Example.org./Desk/1@x").unwrap();
        assert_eq!(full, "ada@example.org/Desk/1@x");
        assert_eq!(
            (full.localpart(), full.domainpart(), full.resourcepart()),
            (Some("ada"), "example.org", "Desk/1@x")
        );
        let bare = BareJid::parse("ADA@example.org").unwrap();
        assert!(full.is_of(&bare) && full.bare() == bare && bare_str(full.as_str()) == bare.as_str());
        assert_eq!(bare.with_resource("Desk/1@x").unwrap(), full);
        assert_eq!(Jid::from(full.clone()).into_bare(), bare);
        assert!(!bare.is_domain() && BareJid::parse("example.org").unwrap().is_domain());
        assert!(BareJid::parse("a@b/c").is_err() && FullJid::parse("a@b").is_err());
        let by_bare = HashMap::from([(bare, 1)]);
        let by_full = HashMap::from([(full, 2)]);
        assert_eq!((by_bare.get("ada@example.org"), by_full.get("ada@example.org/Desk/1@x")), (Some(&1), Some(&2)));
    }

    #[test]
    fn the_longest_address() {
        let (local, resource) = ("l".repeat(1023), "r".repeat(1023));
        let domain = [&*"d".repeat(63); 16].join(".");
        assert_eq!(domain.len(), 1023);
        let full = FullJid::parse(&format!("{local}@{domain}/{resource}")).unwrap();
        assert_eq!((full.localpart(), full.domainpart(), full.resourcepart()), (Some(&*local), &*domain, &*resource));
    }

    #[test]
    fn stored_addresses_are_parsed_again() {
        let full = FullJid::parse("ada@example.org/desk").unwrap();
        let bytes = postcard::to_allocvec(&full).unwrap();
        assert_eq!(postcard::from_bytes::<FullJid>(&bytes).unwrap(), full);
        assert_eq!(postcard::from_bytes::<Jid>(&bytes).unwrap(), Jid::Full(full));
        assert!(postcard::from_bytes::<BareJid>(&bytes).is_err());
        assert!(postcard::from_bytes::<BareJid>(b"\x02a@").is_err());
        assert_eq!(postcard::from_bytes::<BareJid>(b"\x01A").unwrap(), "a");
    }

    #[test]
    fn routing_hints() {
        let plain: &[(&[u8], Option<&str>)] = &[
            (b"\0Ada\0secret", Some("ada")),
            (b"ada@example.org\0Ada\0secret", Some("ada")),
            (b"\0ada\0", Some("ada")),
            (b"\0ada", None),
            (b"\0\0secret", None),
            (b"\0ada\0se\0cret", None),
            (b"\0a\xff\0secret", None),
            (b"\xff\0ada\0\xff", Some("ada")),
            (b"\0ada@example.org\0secret", None),
            (b"", None),
        ];
        for (initial, hint) in plain {
            assert_eq!(routing_hint("PLAIN", initial).as_deref(), *hint, "{initial:?}");
        }
        let scram: &[(&[u8], Option<&str>)] = &[
            (b"n,,n=User,r=fyko+d2lbbFgONRv9qkxdawL", Some("user")),
            (b"y,,n=user,r=x", Some("user")),
            (b"p=tls-exporter,a=user@example.org,n=user,r=x,e=1", Some("user")),
            (b"n,,n=a=2Cb=3D2Cc,r=x", Some("a,b=2cc")),
            (b"n,,n=a=2Db,r=x", None),
            (b"n,,n=a=,r=x", None),
            (b"n,,n=,r=x", None),
            (b"n,,n=user", None),
            (b"n,,m=x,n=user,r=x", None),
            (b"n,user,n=user,r=x", None),
            (b"q,,n=user,r=x", None),
            (b"n,,n=a\xff,r=x", None),
            (b"", None),
        ];
        for (initial, hint) in scram {
            for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"] {
                assert_eq!(routing_hint(mechanism, initial).as_deref(), *hint, "{:?}", initial.escape_ascii());
            }
        }
        let hashed: &[(&[u8], Option<&str>)] = &[
            (b"Ada\0\xff\0\x01", Some("ada")),
            (b"ada\0", Some("ada")),
            (b"ada", None),
            (b"\0x", None),
            (b"a\xff\0x", None),
            (b"", None),
        ];
        for (initial, hint) in hashed {
            assert_eq!(routing_hint("HT-SHA-256-EXPR", initial).as_deref(), *hint, "{:?}", initial.escape_ascii());
        }
        assert_eq!(routing_hint("EXTERNAL", b"ada@example.org"), None);
    }

    /// Nothing is cut to fit, and bytes that are no UTF-8 never become an address.
    #[test]
    fn threat_021_nothing_is_cut_and_no_bytes_become_an_address() {
        for (character, width) in [("a", 1), ("é", 2), ("日", 3), ("𠀀", 4)] {
            let most = PART_BYTES_MAX / width;
            for (count, good) in [(most, true), (most + 1, false)] {
                let (local, resource) = (character.repeat(count), character.repeat(count));
                assert_eq!(Jid::parse(&format!("{local}@a.example")).is_ok(), good, "{character} {count}");
                assert_eq!(Jid::parse(&format!("a@a.example/{resource}")).is_ok(), good, "{character} {count}");
            }
        }
        let cut: [&[u8]; 8] = [
            b"\xc3",
            b"\xe6\x97",
            b"\xf0\xa0\x80",
            b"\x80",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xff",
        ];
        for bytes in cut {
            for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "EXTERNAL"] {
                let plain = [&b"\0ada"[..], bytes, b"\0secret"].concat();
                let scram = [&b"n,,n=ada"[..], bytes, b",r=x"].concat();
                for message in [plain, scram, bytes.to_vec()] {
                    assert_eq!(routing_hint(mechanism, &message), None, "{mechanism} {message:02x?}");
                }
            }
        }
    }
}
