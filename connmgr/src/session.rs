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
//! held back here; and a busy session costs one report for many stanzas, a quiet one at most one a second. With
//! XEP-0198 an entry is written when the client has acknowledged it; the credit follows the socket all the same.
//!
//! A session outlives its link: what is not settled, and which entries of the log are not written, is kept.

mod attach;
mod kept;
mod logged;
mod managed;
mod open;

use crate::limits::{SESSION_WINDOW_BYTES, WRITTEN_REPORT_BYTES, WRITTEN_REPORT_ENTRIES};
use crate::render;
use crate::sm::Sm;
use crate::xml;
use hearth_wire::StreamCondition;
use hearth_wire::codec::WireError;
use hearth_wire::ids::{Generation, SlotKey, StreamId};
use hearth_wire::jid;
use hearth_wire::stanza::{Overlay, Stanza, StanzaFault, StanzaIdOverlay, StanzaKind, StanzaType};
use hearth_wire::to_core::{StanzaIn, ToCore, Written};
use hearth_wire::to_edge::{Bound, Resumed, Settled, Stored, Target};
use hearth_wire::tree::{self, Element};
use kept::Kept;
use logged::Logged;
use open::Open;

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

/// Where a session's frames go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// To its link.
    Attached,
    /// Nowhere: its link was lost. What the client says is kept.
    Away,
    /// It is attached again; what was kept is sent first, from the stanza [`More::resend`].
    Resending,
}

/// What only some sessions have, or only at times.
#[derive(Debug, Default)]
struct More {
    /// Sealed record of the core, for the next core.
    capsule: Option<Box<[u8]>>,
    /// The greatest log id among the entries.
    log: u64,
    kept: Kept,
    open: Option<Box<Open>>,
    logged: Option<Box<Logged>>,
    sm: Option<Box<Sm>>,
    resend: u64,
    /// A ping of ours is unanswered.
    pinging: bool,
}

/// Bytes of what is kept of a session beside itself, its capsule apart.
#[cfg(test)]
pub(crate) const MORE_BYTES: usize = size_of::<More>();

impl More {
    fn is_empty(&self) -> bool {
        let More { capsule, log, kept, open, logged, sm, resend: _, pinging } = self;
        let nothing_waits = kept.is_empty() && open.is_none() && logged.is_none();
        capsule.is_none() && *log == 0 && nothing_waits && sm.is_none() && !pinging
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
    /// XEP-0198 is offered to it.
    sm_offered: bool,
    phase: Phase,
    more: Option<Box<More>>,
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
    /// Of that, what the socket has not taken; and what the core does not know: entries that are written, bytes that
    /// the socket took.
    unwritten: Span,
    unreported: Span,
}

impl Session {
    /// The session that the core reports as bound. `sm`: XEP-0198 is offered.
    pub fn new(bound: &Bound<'_>, lang: Option<&str>, sm: bool) -> Session {
        let end = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        let text = [bound.jid, lang.unwrap_or_default()].concat().into_boxed_str();
        Session {
            bare: end(bound.jid.find('/').unwrap_or(bound.jid.len())),
            jid: end(bound.jid.len()),
            text,
            starved: false,
            sm_offered: sm,
            phase: Phase::Attached,
            more: None,
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

    /// The session that goes on at this socket (XEP-0198 §5).
    pub fn resumed(resumed: &Resumed<'_>, lang: Option<&str>) -> Session {
        let Resumed { counter, stream, generation, jid, credit, .. } = *resumed;
        let mut session = Session::new(&Bound { counter, stream, generation, jid, credit }, lang, true);
        (session.number, session.settled, session.entry) = (resumed.number, resumed.number, resumed.entry);
        let more = session.more();
        (more.sm, more.open) = (Some(Box::new(Sm::resumed(resumed))), Some(Box::new(Open::partial())));
        session
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Frees what is not needed any more.
    fn tidy(&mut self) {
        let Some(more) = &mut self.more else { return };
        if more.logged.as_ref().is_some_and(|logged| logged.is_empty()) {
            more.logged = None;
        }
        if more.is_empty() {
            self.more = None;
        }
    }

    fn sm(&self) -> Option<&Sm> {
        self.more.as_ref()?.sm.as_deref()
    }

    /// Full JID.
    pub fn jid(&self) -> &str {
        self.text.get(..usize::from(self.jid)).unwrap_or_default()
    }

    /// Bare JID.
    pub fn bare(&self) -> &str {
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
        !self.starved && self.sent_bytes < self.credit_bytes && self.phase != Phase::Resending
    }

    /// Number of the last stanza that the core has settled, and all before it.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Stanzas of the client that the core has not settled.
    pub fn unsettled(&self) -> u64 {
        self.number.saturating_sub(self.settled)
    }

    /// A first-level element of the client, but for those that [`Session::is_own`] names. A stanza is appended to
    /// `link` as a frame of at most `link_credit` bytes, and kept; while there is no link it is only kept. `scratch`
    /// is overwritten. An error ends the stream (RFC 6120 §4.9.3).
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
        let question = stanza.is_request() && stanza.id.is_some();
        let frame = StanzaIn { counter, generation: self.generation, number: self.next(), fault, stanza: scratch };
        let taken = self.send(frame, link_credit, link);
        if taken == Taken::Sent {
            self.more().kept.push(fault, question, scratch);
        }
        Ok(taken)
    }

    /// Number of the next stanza.
    fn next(&self) -> u64 {
        self.number.saturating_add(1)
    }

    /// Numbers and frames one encoded stanza if its credit and the link's allow.
    fn send(&mut self, frame: StanzaIn<'_>, link_credit: u64, link: &mut Vec<u8>) -> Taken {
        let sent_bytes = self.sent_bytes.saturating_add(frame.stanza.len() as u64);
        if self.phase == Phase::Resending || sent_bytes > self.credit_bytes {
            self.starved |= self.phase != Phase::Resending;
            return Taken::NoCredit;
        }
        let number = frame.number;
        if self.phase == Phase::Attached && !append(&ToCore::Stanza(frame), link_credit, link) {
            return Taken::NoLinkCredit;
        }
        self.number = number;
        self.sent_bytes = sent_bytes;
        Taken::Sent
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
        self.settle(settled.number);
        if settled.credit > self.credit_bytes {
            self.credit_bytes = settled.credit;
            self.starved = false;
        }
        true
    }

    /// The settled mark moves to `number`; what lies below is no longer kept.
    fn settle(&mut self, number: u64) {
        let settled = self.settled.max(number.min(self.number));
        let count = settled.saturating_sub(self.settled);
        self.settled = settled;
        if let Some(more) = self.more.as_mut().filter(|_| count > 0) {
            let More { kept, open, .. } = &mut **more;
            kept.settle(count, |question| open.get_or_insert_default().push(question));
            self.tidy();
        }
    }

    /// Renders one entry behind `out`; `log`: it is that record of the account's log, which the client gets to know by
    /// what `ids` makes of it (XEP-0359). Entries of another attachment,
    /// and entries already rendered, are dropped. False if the core overdrew the window or the stanza does not
    /// decode: the session must end.
    pub fn on_deliver(
        &mut self,
        target: &Target<'_>,
        log: Option<u64>,
        ids: &SlotKey,
        stanza: &Stanza<'_>,
        bytes: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        if target.generation != self.generation || target.entry <= self.entry {
            return true;
        }
        if (log.is_some() || self.more.is_some()) && !self.note(target.entry, log, stanza) {
            return false;
        }
        self.unwritten.add(target.entry.saturating_sub(self.entry), bytes as u64);
        self.entry = target.entry;
        self.delivered_bytes = self.delivered_bytes.saturating_add(bytes as u64);
        let before = out.len();
        let id = log.map(|log| ids.stanza_id(log));
        let ours = id.as_ref().and_then(|id| std::str::from_utf8(id).ok());
        let ours = ours.map(|id| StanzaIdOverlay { id, by: self.bare() });
        let overlay = Overlay { stanza_id: ours.or(target.overlay.stanza_id), ..target.overlay };
        match render::stanza(stanza, &overlay, out) {
            Ok(()) => true,
            Err(WireError::TooLong { .. } | WireError::Empty | WireError::Malformed { .. })
            | Err(WireError::BadStanza | WireError::BadTree) => {
                out.truncate(before);
                false
            }
        }
    }

    /// What must be remembered of an entry; false if that is more than the core may send.
    fn note(&mut self, entry: u64, log: Option<u64>, stanza: &Stanza<'_>) -> bool {
        if stanza.kind == StanzaKind::Iq && matches!(stanza.ty, StanzaType::Result | StanzaType::Error) {
            self.on_answer(stanza);
        }
        let more = self.more.get_or_insert_default();
        if let Some(sm) = more.sm.as_mut().filter(|sm| sm.is_on()) {
            sm.emitted(stanza.kind == StanzaKind::Message);
        }
        log.is_none_or(|log| {
            more.log = more.log.max(log);
            more.logged.get_or_insert_default().push(entry, log)
        })
    }

    /// A question has its answer: the next core must not answer it again.
    fn on_answer(&mut self, answer: &Stanza<'_>) {
        let Some(mut more) = self.more.take() else { return };
        let is_answered = |id: Option<&str>, to: Option<&str>| {
            id == answer.id && (to == answer.from || (self.is_home(to) && self.is_home(answer.from)))
        };
        // Those that are settled are older.
        let was_open = more.open.as_mut().is_some_and(|open| open.answer(is_answered));
        more.open = more.open.filter(|open| !open.is_empty());
        if !was_open {
            more.kept.answer(|question| is_answered(question.id, question.to));
        }
        self.more = Some(more);
    }

    /// Addresses that mean the client's account or its server (RFC 6120 §8.1.2.1).
    fn is_home(&self, address: Option<&str>) -> bool {
        address.is_none_or(|address| {
            address == self.bare() || address == self.jid() || address == jid::split(self.bare()).1
        })
    }

    /// The socket took everything that was rendered.
    pub fn on_written(&mut self) {
        if self.unwritten.entries > 0 {
            let bytes = u64::from(self.unwritten.bytes);
            self.advance(bytes, |session| session.unwritten = Span::default());
        }
    }

    /// The last entry that is written; with XEP-0198 the last that the client acknowledged, of those it counts.
    fn mark(&self) -> u64 {
        let written = self.entry.saturating_sub(u64::from(self.unwritten.entries));
        match self.sm().filter(|sm| sm.is_on()) {
            Some(sm) if sm.acked() > sm.base_entry() => sm.acked(),
            Some(sm) => written.min(sm.base_entry()),
            None => written,
        }
    }

    /// The client has closed its stream properly.
    pub(crate) fn on_clean_end(&mut self) {
        let written = self.entry.saturating_sub(u64::from(self.unwritten.entries));
        self.advance(0, |session| {
            if let Some(sm) = session.more.as_mut().and_then(|more| more.sm.as_mut()) {
                sm.closed(written);
            }
        });
    }

    /// After `change` more may be written than before.
    fn advance(&mut self, bytes: u64, change: impl FnOnce(&mut Session)) {
        let before = self.mark();
        change(self);
        let mark = self.mark();
        self.unreported.add(mark.saturating_sub(before), bytes);
        if let Some(logged) = self.more.as_mut().and_then(|more| more.logged.as_mut()) {
            logged.written(mark);
        }
    }

    /// True if there is something written that the core does not know of, and can be told.
    pub fn has_unreported(&self) -> bool {
        self.phase != Phase::Away && self.unreported != Span::default()
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
        let (entry, credit) = (self.mark(), self.window());
        ToCore::Written(Written { counter, generation: self.generation, entry, credit }).encode(link);
    }

    /// Absolute bytes of delivered stanzas that the core may send.
    fn window(&self) -> u64 {
        let written_bytes = self.delivered_bytes.saturating_sub(u64::from(self.unwritten.bytes));
        written_bytes.saturating_add(SESSION_WINDOW_BYTES)
    }

    /// Whether [`Session::on_second`] has something to do.
    pub fn needs_seconds(&self) -> bool {
        self.has_unreported() || self.sm().is_some_and(|sm| sm.waits(self.entry))
    }

    /// About a second has passed. True if there is something to say at the end of the turn.
    pub fn on_second(&mut self) -> bool {
        let entry = self.entry;
        let sm = self.more.as_mut().and_then(|more| more.sm.as_mut());
        sm.is_some_and(|sm| sm.on_second(entry))
    }

    /// The core has stored what is written up to an entry. One for an earlier attachment means nothing.
    pub fn on_stored(&mut self, stored: &Stored) {
        if self.generation != stored.generation {
            return;
        }
        if let Some(logged) = self.more.as_mut().and_then(|more| more.logged.as_mut()) {
            logged.stored(stored.entry);
            self.tidy();
        }
    }
}

/// Appends a credited frame; false, and nothing, if it is more than the credit.
fn append(frame: &ToCore<'_>, link_credit: u64, link: &mut Vec<u8>) -> bool {
    let start = link.len();
    frame.encode(link);
    let fits = link.len().saturating_sub(start) as u64 <= link_credit;
    if !fits {
        link.truncate(start);
    }
    fits
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
mod tests;
