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

/// What lies between two points of the session's outbound list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Span {
    entries: u32,
    /// Bytes of their stanzas. Windows are far below 4 GiB.
    bytes: u32,
}

impl Span {
    fn add(&mut self, entries: u64, bytes: u64) {
        let capped = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        self.entries = self.entries.saturating_add(capped(entries));
        self.bytes = self.bytes.saturating_add(capped(bytes));
    }
}

/// See the module. Small on purpose: there is one for every idle client.
#[derive(Debug)]
pub struct Session {
    /// Full JID and behind it the stream's `xml:lang`, in one allocation.
    text: Box<str>,
    /// Where the bare JID and the full JID end in it.
    bare: u16,
    jid: u16,
    /// The next stanza is known not to fit the credit.
    starved: bool,
    stream: StreamId,
    generation: Generation,
    /// Number of the last stanza sent to the core, and of the last that is settled.
    number: u64,
    settled: u64,
    /// Bytes of stanzas sent to the core, and how many it allows in all.
    sent_bytes: u64,
    credit_bytes: u64,
    /// Outbound: the last entry rendered, and the bytes of all stanzas up to it.
    entry: u64,
    delivered_bytes: u64,
    /// Of that, what the socket has not taken, and what the core does not know to be written.
    unwritten: Span,
    unreported: Span,
}

impl Session {
    /// The session that the core reports as bound.
    pub fn new(bound: &Bound<'_>, lang: Option<&str>) -> Session {
        let end = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        let text = [bound.jid, lang.unwrap_or_default()].concat().into_boxed_str();
        Session {
            bare: end(bound.jid.find('/').unwrap_or(bound.jid.len())),
            jid: end(bound.jid.len()),
            text,
            starved: false,
            stream: bound.stream,
            generation: bound.generation,
            number: 0,
            settled: 0,
            sent_bytes: 0,
            credit_bytes: bound.credit,
            entry: 0,
            delivered_bytes: 0,
            unwritten: Span::default(),
            unreported: Span::default(),
        }
    }

    /// Full JID.
    pub fn jid(&self) -> &str {
        self.text.get(..usize::from(self.jid)).unwrap_or_default()
    }

    fn bare(&self) -> &str {
        self.text.get(..usize::from(self.bare)).unwrap_or_default()
    }

    /// The stream's `xml:lang`.
    fn lang(&self) -> Option<&str> {
        self.text.get(usize::from(self.jid)..).filter(|lang| !lang.is_empty())
    }

    /// Name of the session for life.
    pub fn stream_id(&self) -> StreamId {
        self.stream
    }

    /// Which attachment of the session this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// False while everything the core allows is used: the client is not read.
    pub fn has_credit(&self) -> bool {
        !self.starved && self.sent_bytes < self.credit_bytes
    }

    /// Number of the last stanza that the core has settled, and all before it.
    pub fn settled(&self) -> u64 {
        self.settled
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
        let lang = attributes.lang.or(self.lang());
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
        if from == self.jid() || from == self.bare() {
            return Ok(());
        }
        match jid::prepare(from) {
            Ok(from) if from == self.jid() || from == self.bare() => Ok(()),
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
        if target.generation != self.generation || target.entry <= self.entry {
            return true;
        }
        self.unwritten.add(target.entry.saturating_sub(self.entry), bytes as u64);
        self.entry = target.entry;
        self.delivered_bytes = self.delivered_bytes.saturating_add(bytes as u64);
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
        let Span { entries, bytes } = std::mem::take(&mut self.unwritten);
        self.unreported.add(u64::from(entries), u64::from(bytes));
    }

    /// True if entries were written that the core does not know of.
    pub fn has_unreported(&self) -> bool {
        self.unreported.entries > 0
    }

    /// True if so much is unreported that the report must not wait.
    pub fn report_is_due(&self) -> bool {
        u64::from(self.unreported.bytes) >= WRITTEN_REPORT_BYTES || self.unreported.entries >= WRITTEN_REPORT_ENTRIES
    }

    /// Reports what is written.
    pub fn report(&mut self, counter: u64, link: &mut Vec<u8>) {
        if !self.has_unreported() {
            return;
        }
        self.unreported = Span::default();
        let written_bytes = self.delivered_bytes.saturating_sub(u64::from(self.unwritten.bytes));
        ToCore::Written(Written {
            counter,
            generation: self.generation,
            entry: self.entry.saturating_sub(u64::from(self.unwritten.entries)),
            credit: written_bytes.saturating_add(SESSION_WINDOW_BYTES),
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

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::codec::{self, FRAME_BYTES_MAX};
    use hearth_wire::stanza::Overlay;

    const GENERATION: Generation = Generation { epoch: 2, counter: 3 };

    fn session(credit: u64, lang: Option<&str>) -> Session {
        let bound =
            Bound { counter: 7, stream: StreamId([1; 16]), generation: GENERATION, jid: "me@a.example/Desk", credit };
        Session::new(&bound, lang)
    }

    fn encoded(xml: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let scope = xml::Scope::default();
        let (limits, mut scratch) = (xml::Limits::AUTHENTICATED, xml::Scratch::default());
        xml::parse_element(xml.as_bytes(), &scope, &limits, &mut scratch, &mut out).unwrap();
        out
    }

    fn element(bytes: &[u8]) -> Element<'_> {
        match tree::nodes(bytes, xml::CLIENT).next() {
            Some(tree::Node::Element(element)) => element,
            other => panic!("{other:?}"),
        }
    }

    /// What one stanza becomes: its fault and the envelope as text.
    fn send(session: &mut Session, xml: &str) -> Result<(u64, Option<StanzaFault>, String), StreamCondition> {
        let (bytes, mut link, mut scratch) = (encoded(xml), Vec::new(), Vec::new());
        match session.on_element(7, &element(&bytes), u64::MAX, &mut scratch, &mut link)? {
            Taken::Sent => {}
            other => panic!("{other:?}"),
        }
        let (frame, used) = codec::split(&link, FRAME_BYTES_MAX).unwrap().unwrap();
        assert_eq!(used, link.len());
        let Some(ToCore::Stanza(frame)) = ToCore::decode(frame).unwrap() else { panic!("not a stanza") };
        assert_eq!((frame.counter, frame.generation), (7, GENERATION));
        let stanza = Stanza::decode(frame.stanza).unwrap();
        assert_eq!(stanza.from, None, "the core stamps it");
        let part = |name: &str, value: Option<&str>| value.map_or(String::new(), |value| format!(" {name}={value}"));
        let parts = part("id", stanza.id) + &part("to", stanza.to) + &part("lang", stanza.lang);
        Ok((frame.number, frame.fault, format!("{:?} {:?}{parts}", stanza.kind, stanza.ty)))
    }

    #[test]
    fn envelopes_are_typed_and_prepared() {
        let rows = [
            (
                "<message to='You@A.Example/Desk' type='chat' id='1'/>",
                "Message Chat id=1 to=you@a.example/Desk lang=de",
            ),
            ("<message type='strange' xml:lang='fr'><body/></message>", "Message Normal lang=fr"),
            ("<presence/>", "Presence Available lang=de"),
            ("<presence type='no' to='a.example.'/>", "Presence Unknown to=a.example lang=de"),
            ("<iq type='get' id='x'><q xmlns='urn:q'/></iq>", "Iq Get id=x lang=de"),
            ("<iq type='result' id='x' from='me@a.example'/>", "Iq Result id=x lang=de"),
            ("<message from='ME@a.example/Desk'/>", "Message Normal lang=de"),
        ];
        let mut session = session(u64::MAX, Some("de"));
        for (number, (xml, want)) in (1..).zip(rows) {
            assert_eq!(send(&mut session, xml), Ok((number, None, want.to_owned())), "{xml}");
        }
        assert_eq!(session.unsettled(), 7);
        assert_eq!(session.jid(), "me@a.example/Desk");
    }

    #[test]
    fn faults_go_along_and_keep_their_number() {
        use StanzaFault::{BadRequest, JidMalformed};
        let rows = [
            ("<message to='@a'/>", JidMalformed, "Message Normal"),
            ("<message to='a@b@c d'/>", JidMalformed, "Message Normal"),
            ("<iq to='a@' type='get'/>", JidMalformed, "Iq Get"),
            ("<iq type='get'><q xmlns='urn:q'/></iq>", BadRequest, "Iq Get"),
            ("<iq type='get' id=''><q xmlns='urn:q'/></iq>", BadRequest, "Iq Get id="),
            ("<iq type='set' id='1'/>", BadRequest, "Iq Set id=1"),
            ("<iq type='set' id='1'>text</iq>", BadRequest, "Iq Set id=1"),
            ("<iq type='get' id='1'><a xmlns='u'/><b xmlns='u'/></iq>", BadRequest, "Iq Get id=1"),
            ("<iq type='result' id='1'><a xmlns='u'/><b xmlns='u'/></iq>", BadRequest, "Iq Result id=1"),
        ];
        let mut session = session(u64::MAX, None);
        for (number, (xml, fault, want)) in (1..).zip(rows) {
            assert_eq!(send(&mut session, xml), Ok((number, Some(fault), want.to_owned())), "{xml}");
        }
    }

    #[test]
    fn what_is_no_stanza_of_this_client_ends_the_stream() {
        let rows = [
            ("<message from='you@a.example'/>", StreamCondition::InvalidFrom),
            ("<message from='me@a.example/desk'/>", StreamCondition::InvalidFrom),
            ("<message from='@'/>", StreamCondition::InvalidFrom),
            ("<message from=''/>", StreamCondition::InvalidFrom),
            ("<foo/>", StreamCondition::UnsupportedStanzaType),
            ("<message xmlns='urn:other'/>", StreamCondition::UnsupportedStanzaType),
            ("<compress xmlns='http://jabber.org/protocol/compress'/>", StreamCondition::UnsupportedStanzaType),
            ("<message xmlns='jabber:server'/>", StreamCondition::InvalidNamespace),
        ];
        let mut session = session(u64::MAX, None);
        for (xml, want) in rows {
            assert_eq!(send(&mut session, xml), Err(want), "{xml}");
        }
        assert_eq!(session.unsettled(), 0, "none was numbered");
    }

    #[test]
    fn credit_is_never_overdrawn_and_comes_back_by_settlement() {
        let bytes = encoded("<message><body>0123456789</body></message>");
        let (mut scratch, mut link) = (Vec::new(), Vec::new());
        let mut session = session(100, None);
        let mut sent = 0u64;
        let mut step = |session: &mut Session, credit| {
            session.on_element(7, &element(&bytes), credit, &mut scratch, &mut link).unwrap()
        };
        while session.has_credit() && step(&mut session, u64::MAX) == Taken::Sent {
            sent += 1;
        }
        assert!(!session.has_credit() && session.sent_bytes <= 100 && sent >= 1);
        assert_eq!(session.unsettled(), sent);
        let settled = |generation, number, credit| Settled { counter: 7, generation, number, credit };
        assert!(!session.on_settled(&settled(Generation::default(), 1, 1000)) && !session.has_credit());
        // Settling without more credit is not a reason to try again.
        assert!(session.on_settled(&settled(GENERATION, 1, 100)) && !session.has_credit());
        assert!(session.on_settled(&settled(GENERATION, 99, 1000)) && session.has_credit());
        assert_eq!(session.unsettled(), 0, "not more than was sent");
        assert_eq!(step(&mut session, 10), Taken::NoLinkCredit);
        assert_eq!(step(&mut session, 1000), Taken::Sent);
        assert!(session.has_credit());
    }

    #[test]
    fn entries_are_rendered_once_and_reported_when_written() {
        let mut session = session(100, None);
        let stanza = Stanza::new(StanzaKind::Message, StanzaType::Chat);
        let mut out = Vec::new();
        let mut deliver = |session: &mut Session, generation, entry, bytes| {
            let before = out.len();
            let target = Target { counter: 7, generation, entry, overlay: Overlay::default() };
            assert!(session.on_deliver(&target, &stanza, bytes, &mut out));
            out.len() > before
        };
        let report = |session: &mut Session| {
            let mut link = Vec::new();
            session.report(7, &mut link);
            codec::split(&link, FRAME_BYTES_MAX).unwrap().map(|(frame, _)| match ToCore::decode(frame).unwrap() {
                Some(ToCore::Written(written)) => (written.entry, written.credit - SESSION_WINDOW_BYTES),
                other => panic!("{other:?}"),
            })
        };
        assert!(!deliver(&mut session, Generation::default(), 1, 10), "another attachment");
        assert!(deliver(&mut session, GENERATION, 1, 10));
        assert!(!deliver(&mut session, GENERATION, 1, 10), "again");
        assert_eq!(report(&mut session), None, "not written yet");
        session.on_written();
        assert!(deliver(&mut session, GENERATION, 2, 20));
        assert_eq!(report(&mut session), Some((1, 10)));
        assert_eq!(report(&mut session), None);
        session.on_written();
        assert_eq!(report(&mut session), Some((2, 30)));
        // Due by entries, and by bytes.
        for entry in 3..3 + u64::from(WRITTEN_REPORT_ENTRIES) {
            assert!(!session.report_is_due());
            assert!(deliver(&mut session, GENERATION, entry, 1));
            session.on_written();
        }
        assert!(session.report_is_due() && report(&mut session).is_some() && !session.report_is_due());
        assert!(deliver(&mut session, GENERATION, 1000, usize::try_from(WRITTEN_REPORT_BYTES).unwrap()));
        assert!(!session.report_is_due());
        session.on_written();
        assert!(session.report_is_due());
    }

    #[test]
    fn a_stanza_that_does_not_decode_ends_the_session_without_a_trace() {
        let mut session = session(100, None);
        let stanza = Stanza { payload: &[1, 200], ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
        let target = Target { counter: 7, generation: GENERATION, entry: 1, overlay: Overlay::default() };
        let mut out = b"before".to_vec();
        assert!(!session.on_deliver(&target, &stanza, 2, &mut out));
        assert_eq!(out, b"before");
    }
}
