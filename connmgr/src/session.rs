//! A bound session: the hot path of both directions. Pure, and without an allocation per stanza.
//!
//! **Inbound**: each stanza gets a number, from 1. Its envelope is typed here (addresses prepared, `from`
//! checked and dropped, language filled in), its payload goes on as the tree it was parsed into. The core
//! reports numbers as settled; until then their encoded bytes are charged to the credit it grants.
//!
//! **Outbound**: the core numbers entries; each is rendered behind the output of its client. Entries are
//! *written* when the socket took all bytes of them. *Written* is reported (one small frame) when a quarter
//! of the window or [`WRITTEN_REPORT_ENTRIES`] entries are unreported, else within a second, and always before
//! `Closed`. The core waits only when the whole window is unreported, so it never waits for a report that is
//! held back here; and a busy session costs one report for many stanzas, a quiet one at most one a second.

use crate::limits::{SESSION_WINDOW_BYTES, WRITTEN_REPORT_BYTES, WRITTEN_REPORT_ENTRIES};
use crate::render;
use crate::xml;
use hearth_wire::StreamCondition;
use hearth_wire::codec::WireError;
use hearth_wire::ids::{Generation, StreamId};
use hearth_wire::jid;
use hearth_wire::stanza::{Stanza, StanzaFault, StanzaKind, StanzaType};
use hearth_wire::to_core::{StanzaIn, ToCore, Written};
use hearth_wire::to_edge::{Bound, Settled, Target};
use hearth_wire::tree::{self, Element};

/// What became of a stanza of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Numbered and encoded for the core.
    Sent,
    /// It is beyond the session's credit: ask again when [`Session::has_credit`].
    NoCredit,
    /// It is beyond the link's credit.
    NoLinkCredit,
}

/// A point in the session's outbound list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Mark {
    /// The core's number of the last entry.
    entry: u64,
    /// Bytes of all stanzas up to it.
    bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    /// Full JID.
    jid: Box<str>,
    /// Length of its bare part.
    bare: u16,
    /// The stream's `xml:lang`.
    lang: Option<Box<str>>,
    stream: StreamId,
    generation: Generation,
    /// Number of the last stanza sent to the core, and of the last that is settled.
    number: u64,
    settled: u64,
    /// Bytes of stanzas sent to the core, and how many it allows in all.
    sent_bytes: u64,
    credit_bytes: u64,
    /// The next stanza is known not to fit.
    starved: bool,
    /// Outbound entries and the bytes of their stanzas: rendered, taken by the socket, reported as that.
    rendered: Mark,
    written: Mark,
    reported: Mark,
}

impl Session {
    /// The session that the core reports as bound.
    pub fn new(bound: &Bound<'_>, lang: Option<Box<str>>) -> Session {
        let bare = bound.jid.find('/').unwrap_or(bound.jid.len());
        Session {
            jid: bound.jid.into(),
            bare: u16::try_from(bare).unwrap_or(u16::MAX),
            lang,
            stream: bound.stream,
            generation: bound.generation,
            number: 0,
            settled: 0,
            sent_bytes: 0,
            credit_bytes: bound.credit,
            starved: false,
            rendered: Mark::default(),
            written: Mark::default(),
            reported: Mark::default(),
        }
    }

    /// Full JID.
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Name of the session for life.
    pub fn stream_id(&self) -> StreamId {
        self.stream
    }

    /// Which attachment of the session this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    fn bare(&self) -> &str {
        self.jid.get(..usize::from(self.bare)).unwrap_or(&self.jid)
    }

    /// False while everything the core allows is used: the client is not read.
    pub fn has_credit(&self) -> bool {
        !self.starved && self.sent_bytes < self.credit_bytes
    }

    /// Stanzas of the client that the core has not settled.
    pub fn unsettled(&self) -> u64 {
        self.number.saturating_sub(self.settled)
    }

    /// A first-level element of the client. A stanza is appended to `link` as a frame of at most
    /// `link_credit` bytes; `scratch` is overwritten. An error ends the stream (RFC 6120 §4.9.3).
    pub fn on_element(
        &mut self,
        counter: u64,
        element: &Element<'_>,
        link_credit: u64,
        scratch: &mut Vec<u8>,
        link: &mut Vec<u8>,
    ) -> Result<Taken, StreamCondition> {
        let kind = stanza_kind(element)?;
        let attributes = Attributes::read(element);
        if let Some(from) = attributes.from {
            self.check_from(from)?;
        }
        let to = attributes.to.map(jid::prepare).transpose();
        let ty = StanzaType::parse(kind, attributes.ty);
        let fault = if to.is_err() {
            Some(StanzaFault::JidMalformed)
        } else if kind == StanzaKind::Iq && !iq_is_sound(ty, attributes.id, element) {
            Some(StanzaFault::BadRequest)
        } else {
            None
        };
        let lang = attributes.lang.or(self.lang.as_deref());
        let to = to.as_ref().ok().and_then(Option::as_deref);
        let stanza = Stanza { kind, ty, id: attributes.id, to, from: None, lang, payload: element.content() };
        scratch.clear();
        stanza.encode_into(scratch);
        self.send(counter, fault, scratch, link_credit, link)
    }

    /// Numbers and frames one encoded stanza if its credit and the link's allow.
    fn send(
        &mut self,
        counter: u64,
        fault: Option<StanzaFault>,
        stanza: &[u8],
        link_credit: u64,
        link: &mut Vec<u8>,
    ) -> Result<Taken, StreamCondition> {
        let bytes = stanza.len() as u64;
        if self.sent_bytes.saturating_add(bytes) > self.credit_bytes {
            self.starved = true;
            return Ok(Taken::NoCredit);
        }
        let start = link.len();
        let number = self.number.saturating_add(1);
        ToCore::Stanza(StanzaIn { counter, generation: self.generation, number, fault, stanza }).encode(link);
        if link.len().saturating_sub(start) as u64 > link_credit {
            link.truncate(start);
            return Ok(Taken::NoLinkCredit);
        }
        self.number = number;
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        Ok(Taken::Sent)
    }

    /// RFC 6120 §8.1.2.1: a client's `from` is its full or bare JID, or absent.
    fn check_from(&self, from: &str) -> Result<(), StreamCondition> {
        if from == &*self.jid || from == self.bare() {
            return Ok(());
        }
        match jid::prepare(from) {
            Ok(from) if from == *self.jid || from == self.bare() => Ok(()),
            Ok(_) | Err(_) => Err(StreamCondition::InvalidFrom),
        }
    }

    /// The core has settled stanzas and restates the credit; false if it means another attachment.
    pub fn on_settled(&mut self, settled: &Settled) -> bool {
        if settled.generation != self.generation {
            return false;
        }
        self.settled = self.settled.max(settled.number.min(self.number));
        if settled.credit > self.credit_bytes {
            self.credit_bytes = settled.credit;
            self.starved = false;
        }
        true
    }

    /// Renders one entry behind `out`. Entries of another attachment, and entries already rendered, are
    /// dropped. False if the core overdrew the window or the stanza does not decode: the session must end.
    pub fn on_deliver(&mut self, target: &Target<'_>, stanza: &Stanza<'_>, bytes: usize, out: &mut Vec<u8>) -> bool {
        if target.generation != self.generation || target.entry <= self.rendered.entry {
            return true;
        }
        self.rendered = Mark { entry: target.entry, bytes: self.rendered.bytes.saturating_add(bytes as u64) };
        let before = out.len();
        match render::stanza(stanza, &target.overlay, out) {
            Ok(()) => true,
            Err(WireError::TooLong { .. } | WireError::Empty | WireError::Malformed { .. })
            | Err(WireError::BadStanza | WireError::BadTree) => {
                out.truncate(before);
                false
            }
        }
    }

    /// The socket took everything that was rendered.
    pub fn on_written(&mut self) {
        self.written = self.rendered;
    }

    /// True if entries were written that the core does not know of.
    pub fn has_unreported(&self) -> bool {
        self.written.entry > self.reported.entry
    }

    /// True if so much is unreported that the report must not wait.
    pub fn report_is_due(&self) -> bool {
        self.written.bytes.saturating_sub(self.reported.bytes) >= WRITTEN_REPORT_BYTES
            || self.written.entry.saturating_sub(self.reported.entry) >= WRITTEN_REPORT_ENTRIES
    }

    /// Reports what is written.
    pub fn report(&mut self, counter: u64, link: &mut Vec<u8>) {
        if !self.has_unreported() {
            return;
        }
        self.reported = self.written;
        ToCore::Written(Written {
            counter,
            generation: self.generation,
            entry: self.written.entry,
            credit: self.written.bytes.saturating_add(SESSION_WINDOW_BYTES),
        })
        .encode(link);
    }
}

/// RFC 6120 §8: the three stanzas of `jabber:client`; anything else at this level ends the stream.
fn stanza_kind(element: &Element<'_>) -> Result<StanzaKind, StreamCondition> {
    if element.ns() == xml::CLIENT {
        match element.name() {
            "message" => return Ok(StanzaKind::Message),
            "presence" => return Ok(StanzaKind::Presence),
            "iq" => return Ok(StanzaKind::Iq),
            _ => {}
        }
    }
    // RFC 6120 §4.8.3 and §4.9.3.24
    Err(match element.ns() {
        "jabber:server" => StreamCondition::InvalidNamespace,
        _ => StreamCondition::UnsupportedStanzaType,
    })
}

/// The attributes that all stanzas have, read in one pass.
#[derive(Default)]
struct Attributes<'a> {
    id: Option<&'a str>,
    to: Option<&'a str>,
    from: Option<&'a str>,
    ty: Option<&'a str>,
    lang: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    fn read(element: &Element<'a>) -> Attributes<'a> {
        let mut all = Attributes::default();
        for (ns, name, value) in element.attrs() {
            match (ns, name) {
                ("", "id") => all.id = Some(value),
                ("", "to") => all.to = Some(value),
                ("", "from") => all.from = Some(value),
                ("", "type") => all.ty = Some(value),
                (xml::XML, "lang") => all.lang = Some(value),
                _ => {}
            }
        }
        all
    }
}

/// RFC 6120 §8.2.3: an id; exactly one child in a question, at most one in a result.
fn iq_is_sound(ty: StanzaType, id: Option<&str>, iq: &Element<'_>) -> bool {
    if id.is_none_or(str::is_empty) {
        return false;
    }
    let mut children = tree::nodes(iq.content(), xml::CLIENT).filter(|node| matches!(node, tree::Node::Element(_)));
    let count = (&mut children).take(2).count();
    match ty {
        StanzaType::Get | StanzaType::Set => count == 1,
        StanzaType::Result => count <= 1,
        // An error may repeat the question beside `<error/>` (§8.3.1); unknown types are the core's to refuse.
        _ => true,
    }
}
