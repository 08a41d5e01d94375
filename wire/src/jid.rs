//! Addresses (RFC 7622). A value of these types is prepared: equal addresses are equal bytes.

use std::borrow::Borrow;
use std::fmt;

/// Bytes of one part at most (RFC 7622 §3.2–3.4).
pub const PART_BYTES_MAX: usize = 1023;

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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullJid {
    text: Box<str>,
    /// Length of the bare part.
    bare: u16,
}

/// Where both are allowed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Jid {
    Bare(BareJid),
    Full(FullJid),
}

/// Splits into localpart, domainpart and resourcepart (RFC 7622 §3.1), not yet prepared.
pub fn split(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    match bare.split_once('@') {
        Some((local, domain)) => (Some(local), domain, resource),
        None => (None, bare, resource),
    }
}

/// RFC 7622 §3.3: UsernameCaseMapped less the characters no localpart has.
pub fn prepare_localpart(text: &str) -> Result<String, JidMalformed> {
    bounded(text)?;
    if text.bytes().all(|b| b.is_ascii_graphic() && !b"\"&'/:<>@".contains(&b)) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(JidMalformed)
}

/// RFC 7622 §3.2: an IDNA2008 name, an IPv4 address or a bracketed IPv6 address.
pub fn prepare_domainpart(text: &str) -> Result<String, JidMalformed> {
    let text = text.strip_suffix('.').unwrap_or(text);
    bounded(text)?;
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Ok(text.to_ascii_lowercase());
    }
    Err(JidMalformed)
}

/// RFC 7622 §3.4: OpaqueString.
pub fn prepare_resourcepart(text: &str) -> Result<String, JidMalformed> {
    bounded(text)?;
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(text.to_owned());
    }
    Err(JidMalformed)
}

fn bounded(part: &str) -> Result<(), JidMalformed> {
    if part.is_empty() || part.len() > PART_BYTES_MAX { Err(JidMalformed) } else { Ok(()) }
}

/// The account name a SASL exchange seems to mean, prepared, from the client's first message:
/// routing only, never identity. `None` if it names no one yet or cannot be read.
pub fn routing_hint(mechanism: &str, initial: &[u8]) -> Option<String> {
    let name = if mechanism == "PLAIN" {
        let mut parts = initial.split(|b| *b == 0);
        let (_authzid, authcid) = (parts.next()?, parts.next()?);
        std::str::from_utf8(authcid).ok()?.to_owned()
    } else if mechanism.starts_with("SCRAM-") {
        let text = std::str::from_utf8(initial).ok()?;
        // RFC 5802 §7: gs2-cbind-flag "," [authzid] "," "n=" saslname "," …
        let name = text.splitn(3, ',').nth(2)?.split(',').find_map(|field| field.strip_prefix("n="))?;
        name.replace("=2C", ",").replace("=3D", "=")
    } else {
        return None;
    };
    prepare_localpart(&name).ok()
}

impl BareJid {
    /// Parses and prepares; an address with a resourcepart is refused.
    pub fn parse(text: &str) -> Result<BareJid, JidMalformed> {
        match Jid::parse(text)? {
            Jid::Bare(bare) => Ok(bare),
            Jid::Full(_) => Err(JidMalformed),
        }
    }
    /// From parts, preparing both.
    pub fn new(localpart: Option<&str>, domainpart: &str) -> Result<BareJid, JidMalformed> {
        let domain = prepare_domainpart(domainpart)?;
        Ok(BareJid(match localpart {
            Some(local) => format!("{}@{domain}", prepare_localpart(local)?).into(),
            None => domain.into(),
        }))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn localpart(&self) -> Option<&str> {
        split(&self.0).0
    }
    pub fn domainpart(&self) -> &str {
        split(&self.0).1
    }
    /// The full address of one of its resources.
    pub fn with_resource(&self, resourcepart: &str) -> Result<FullJid, JidMalformed> {
        let resource = prepare_resourcepart(resourcepart)?;
        let bare = u16::try_from(self.0.len()).map_err(|_| JidMalformed)?;
        Ok(FullJid { text: format!("{}/{resource}", self.0).into(), bare })
    }
}

impl FullJid {
    /// Parses and prepares; an address without a resourcepart is refused.
    pub fn parse(text: &str) -> Result<FullJid, JidMalformed> {
        match Jid::parse(text)? {
            Jid::Full(full) => Ok(full),
            Jid::Bare(_) => Err(JidMalformed),
        }
    }
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// The bare address's text.
    pub fn bare_str(&self) -> &str {
        self.text.get(..usize::from(self.bare)).unwrap_or("")
    }
    pub fn bare(&self) -> BareJid {
        BareJid(self.bare_str().into())
    }
    pub fn localpart(&self) -> Option<&str> {
        split(&self.text).0
    }
    pub fn domainpart(&self) -> &str {
        split(&self.text).1
    }
    pub fn resourcepart(&self) -> &str {
        self.text.get(usize::from(self.bare).saturating_add(1)..).unwrap_or("")
    }
}

impl Jid {
    /// Parses and prepares (RFC 7622 §3).
    pub fn parse(text: &str) -> Result<Jid, JidMalformed> {
        let (local, domain, resource) = split(text);
        let bare = BareJid::new(local, domain)?;
        Ok(match resource {
            Some(resource) => Jid::Full(bare.with_resource(resource)?),
            None => Jid::Bare(bare),
        })
    }
    pub fn as_str(&self) -> &str {
        match self {
            Jid::Bare(bare) => bare.as_str(),
            Jid::Full(full) => full.as_str(),
        }
    }
    pub fn bare_str(&self) -> &str {
        match self {
            Jid::Bare(bare) => bare.as_str(),
            Jid::Full(full) => full.bare_str(),
        }
    }
    pub fn bare(&self) -> BareJid {
        BareJid(self.bare_str().into())
    }
    pub fn localpart(&self) -> Option<&str> {
        split(self.bare_str()).0
    }
    pub fn domainpart(&self) -> &str {
        split(self.bare_str()).1
    }
    pub fn resourcepart(&self) -> Option<&str> {
        match self {
            Jid::Bare(_) => None,
            Jid::Full(full) => Some(full.resourcepart()),
        }
    }
}

/// Lets maps keyed by [`BareJid`] be asked with a borrowed prepared text.
impl Borrow<str> for BareJid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Display for FullJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for FullJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
