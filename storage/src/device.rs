//! Installations of clients that may authenticate by tokens (XEP-0484).

use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes of what a token is made of.
pub const TOKEN_BYTES: usize = 32;

/// One installation (XEP-0388 §2.4) with its tokens: the one in use, and the one that takes its place when it is used
/// for the first time (XEP-0484 §5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// UUID that the client made of itself.
    pub id: [u8; 16],
    /// What it says it is, each at most [`limits::DEVICE_TEXT_BYTES_MAX`].
    pub software: Option<Box<str>>,
    pub name: Option<Box<str>>,
    /// When it got a token or used one, milliseconds since 1970, UTC; as far as that was stored.
    pub used_ms: u64,
    pub current: Option<Token>,
    pub new: Option<Token>,
}

impl Device {
    /// The tokens it has, the new one first.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.new.iter().chain(&self.current)
    }

    /// No token of it is of use any more.
    pub fn is_ended(&self) -> bool {
        self.tokens().all(|token| token.expires_ms == 0)
    }

    /// Bytes beyond its own.
    pub(crate) fn weight(&self) -> usize {
        [&self.software, &self.name].into_iter().flatten().map(|text| text.len()).sum()
    }
}

/// A secret shared with one client. Kept as it is, since both sides compute with it: a hash of it would do as well
/// for whoever steals it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub secret: [u8; TOKEN_BYTES],
    /// It proves itself by this mechanism and no other.
    pub binding: TokenBinding,
    /// Milliseconds since 1970, UTC. `expires_ms` 0: it was ended before its time.
    pub issued_ms: u64,
    pub expires_ms: u64,
    /// The greatest that came with it; 0: none did.
    pub count: u64,
    /// Generation of the credentials that it stands for.
    pub credentials: u64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { binding, issued_ms, expires_ms, count, credentials, .. } = self;
        write!(f, "Token {{ {binding:?}, {issued_ms} to {expires_ms}, count {count}, credentials {credentials}, .. }}")
    }
}

/// What of its TLS connection a client proves along with a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum TokenBinding {
    /// RFC 9266.
    Exporter,
    /// RFC 5929 §4.
    EndPoint,
    None,
}

/// [`Device`] without its id, which is in the key.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    software: Option<Box<str>>,
    name: Option<Box<str>>,
    used_ms: u64,
    current: Option<Token>,
    new: Option<Token>,
}

impl DeviceRecord {
    pub(crate) fn of(device: &Device) -> DeviceRecord {
        let Device { id: _, software, name, used_ms, current, new } = device.clone();
        DeviceRecord { software, name, used_ms, current, new }
    }

    pub(crate) fn with(self, id: [u8; 16]) -> Device {
        let DeviceRecord { software, name, used_ms, current, new } = self;
        Device { id, software, name, used_ms, current, new }
    }
}

/// Whether its texts are within their limit.
pub(crate) fn is_short(device: &Device) -> bool {
    let texts = [&device.software, &device.name];
    texts.into_iter().flatten().all(|text| text.len() <= limits::DEVICE_TEXT_BYTES_MAX)
}
