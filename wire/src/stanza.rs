//! A stanza as it crosses the link, lies in the log and waits in lists: envelope and payload.

use crate::codec::WireError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// RFC 6120 §8: the three stanzas.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StanzaKind {
    Message,
    Presence,
    Iq,
}

impl StanzaKind {
    /// Element name in `jabber:client`.
    pub const fn element(self) -> &'static str {
        match self {
            StanzaKind::Message => "message",
            StanzaKind::Presence => "presence",
            StanzaKind::Iq => "iq",
        }
    }
}

/// The `type` attribute of all three stanzas; which belong together is [`StanzaType::parse`]'s business.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum StanzaType {
    /// RFC 6121 §5.2.2; also what an unknown message type is treated as.
    Normal,
    Chat,
    Groupchat,
    Headline,
    /// Presence without a type (RFC 6121 §4.7.1).
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Get,
    Set,
    Result,
    Error,
    /// A type the standard does not know for this stanza: presence and iq answer `bad-request`.
    Unknown,
}

impl StanzaType {
    /// The type that `attribute` means on a stanza of `kind`.
    pub fn parse(kind: StanzaKind, attribute: Option<&str>) -> StanzaType {
        use StanzaType as T;
        match (kind, attribute) {
            (_, Some("error")) => T::Error,
            (StanzaKind::Message, Some("chat")) => T::Chat,
            (StanzaKind::Message, Some("groupchat")) => T::Groupchat,
            (StanzaKind::Message, Some("headline")) => T::Headline,
            (StanzaKind::Message, _) => T::Normal,
            (StanzaKind::Presence, None) => T::Available,
            (StanzaKind::Presence, Some("unavailable")) => T::Unavailable,
            (StanzaKind::Presence, Some("subscribe")) => T::Subscribe,
            (StanzaKind::Presence, Some("subscribed")) => T::Subscribed,
            (StanzaKind::Presence, Some("unsubscribe")) => T::Unsubscribe,
            (StanzaKind::Presence, Some("unsubscribed")) => T::Unsubscribed,
            (StanzaKind::Presence, Some("probe")) => T::Probe,
            (StanzaKind::Iq, Some("get")) => T::Get,
            (StanzaKind::Iq, Some("set")) => T::Set,
            (StanzaKind::Iq, Some("result")) => T::Result,
            (StanzaKind::Presence | StanzaKind::Iq, _) => T::Unknown,
        }
    }

    /// Whether stanzas of this kind may have the type.
    pub const fn is_of(self, kind: StanzaKind) -> bool {
        use StanzaType as T;
        match self {
            T::Error => true,
            T::Normal | T::Chat | T::Groupchat | T::Headline => matches!(kind, StanzaKind::Message),
            T::Available
            | T::Unavailable
            | T::Subscribe
            | T::Subscribed
            | T::Unsubscribe
            | T::Unsubscribed
            | T::Probe => {
                matches!(kind, StanzaKind::Presence)
            }
            T::Get | T::Set | T::Result => matches!(kind, StanzaKind::Iq),
            T::Unknown => !matches!(kind, StanzaKind::Message),
        }
    }

    /// The attribute to write; `None` where the standard writes none.
    pub const fn attribute(self) -> Option<&'static str> {
        match self {
            StanzaType::Normal | StanzaType::Available | StanzaType::Unknown => None,
            StanzaType::Chat => Some("chat"),
            StanzaType::Groupchat => Some("groupchat"),
            StanzaType::Headline => Some("headline"),
            StanzaType::Unavailable => Some("unavailable"),
            StanzaType::Subscribe => Some("subscribe"),
            StanzaType::Subscribed => Some("subscribed"),
            StanzaType::Unsubscribe => Some("unsubscribe"),
            StanzaType::Unsubscribed => Some("unsubscribed"),
            StanzaType::Probe => Some("probe"),
            StanzaType::Get => Some("get"),
            StanzaType::Set => Some("set"),
            StanzaType::Result => Some("result"),
            StanzaType::Error => Some("error"),
        }
    }
}

/// A borrowed stanza: envelope as typed fields, payload as tokens ([`crate::tree`]).
///
/// `to` and `from` are prepared addresses (RFC 7622). The payload's implicit parent namespace is
/// `jabber:client`. A client's stanza reaches the core without `from`: the core stamps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stanza<'a> {
    pub kind: StanzaKind,
    pub ty: StanzaType,
    #[serde(borrow)]
    pub id: Option<&'a str>,
    #[serde(borrow)]
    pub to: Option<&'a str>,
    #[serde(borrow)]
    pub from: Option<&'a str>,
    /// `xml:lang` of the stanza, or the stream's where the stanza has none (RFC 6120 §8.1.5).
    #[serde(borrow)]
    pub lang: Option<&'a str>,
    #[serde(borrow, with = "serde_bytes")]
    pub payload: &'a [u8],
}

impl<'a> Stanza<'a> {
    /// An empty stanza without addresses.
    pub const fn new(kind: StanzaKind, ty: StanzaType) -> Stanza<'a> {
        Stanza { kind, ty, id: None, to: None, from: None, lang: None, payload: &[] }
    }

    /// The encoded form.
    pub fn encode(&self) -> Vec<u8> {
        // Kind, type, four options and five lengths.
        let texts = [self.id, self.to, self.from, self.lang].map(|text| text.map_or(0, str::len));
        let bytes = texts.into_iter().fold(self.payload.len().saturating_add(24), usize::saturating_add);
        let mut out = Vec::with_capacity(bytes);
        self.encode_into(&mut out);
        out
    }

    /// Appends the encoded form.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        crate::codec::append_body(out, self);
    }

    /// Reads an encoded stanza; bytes behind it belong to a later release. Neither the payload's
    /// tokens nor the characters of the envelope are looked at: see [`Stanza::validate`].
    pub fn decode(bytes: &'a [u8]) -> Result<Stanza<'a>, WireError> {
        postcard::take_from_bytes(bytes).map(|(stanza, _)| stanza).map_err(|_| WireError::BadStanza)
    }

    /// Whether what a peer or a disk says is a stanza can be one: a type of its kind, XML's characters only in the
    /// envelope, and a payload by [`crate::tree::validate`].
    pub fn validate(&self) -> Result<(), WireError> {
        let texts = [self.id, self.to, self.from, self.lang];
        if !self.ty.is_of(self.kind)
            || !texts.into_iter().flatten().all(|text| crate::xml::is_text_bytes(text.as_bytes()))
        {
            return Err(WireError::BadStanza);
        }
        crate::tree::validate(self.payload, crate::tree::DEPTH_MAX)
    }

    /// True for the kinds of iq that must be answered (RFC 6120 §8.2.3).
    pub fn is_request(&self) -> bool {
        self.kind == StanzaKind::Iq && matches!(self.ty, StanzaType::Get | StanzaType::Set)
    }
}

/// One encoded stanza shared by all its recipients, the log and the lists that hold it.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedStanza(Arc<[u8]>);

impl SharedStanza {
    /// Encodes once.
    pub fn new(stanza: &Stanza<'_>) -> SharedStanza {
        SharedStanza(stanza.encode().into())
    }

    /// Takes bytes of a peer or a disk if they decode and validate.
    pub fn from_bytes(bytes: &[u8]) -> Result<SharedStanza, WireError> {
        Stanza::decode(bytes)?.validate()?;
        Ok(SharedStanza(bytes.into()))
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The stanza, borrowed. Both constructors guarantee that the bytes decode.
    pub fn view(&self) -> Stanza<'_> {
        Stanza::decode(&self.0).unwrap_or(Stanza::new(StanzaKind::Message, StanzaType::Unknown))
    }
}

impl fmt::Debug for SharedStanza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// What differs per recipient of one shared stanza, merged when the edge renders it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Overlay<'a> {
    /// Replaces the stanza's `to`.
    #[serde(borrow)]
    pub to: Option<&'a str>,
    /// XEP-0203: the stanza waited since then.
    #[serde(borrow)]
    pub delay: Option<Delay<'a>>,
    /// XEP-0359: `<stanza-id/>` of this recipient's log.
    #[serde(borrow)]
    pub stanza_id: Option<StanzaIdOverlay<'a>>,
    /// XEP-0280: wrapped as a carbon copy.
    #[serde(borrow)]
    pub carbon: Option<Carbon<'a>>,
}

/// XEP-0203 §2.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delay<'a> {
    /// Who delayed it: the domain or account that stored it.
    pub from: &'a str,
    /// Milliseconds since 1970, UTC, of the moment it was first received.
    pub stamp_ms: u64,
}

/// XEP-0359 §3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StanzaIdOverlay<'a> {
    pub id: &'a str,
    pub by: &'a str,
}

/// XEP-0280: which way the copied message went, and the addresses of the wrapping message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Carbon<'a> {
    pub sent: bool,
    pub from: &'a str,
    pub to: &'a str,
}

/// Something the edge found wrong with one stanza that the core must answer with a stanza error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StanzaFault {
    /// `to` is no address (RFC 6120 §8.3.3.8). The envelope carries no `to`.
    JidMalformed,
    /// An iq without id, or a get or set without exactly one child (RFC 6120 §8.2.3).
    BadRequest,
    /// A question that is sent again and whose answer the client has: there is nothing left to do but to
    /// settle it. Only with `StanzaAgain`.
    Answered,
}
