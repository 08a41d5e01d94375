//! Stream management (XEP-0198) of one bound session: what its client hears of being handled, what the client says
//! that it has, and when it is asked. Pure.
//!
//! Both counts are differences of numbers that never start anew, modulo 2^32: `h` of ours is the settled mark less
//! the number at `<enable/>`; `h` of the client names the entry so many behind the one at `<enabled/>`.
//!
//! `<r/>` is answered at once where all is settled or no core is there. Else the answer waits for the mark to move, but
//! not longer than [`ACK_WAIT_MS`]: one `<a/>` less for most messages, and one write. It answers every `<r/>` before it.
//! Another follows whenever the mark has moved, once a turn at most, until it has reached what was there.
//!
//! The client is asked behind a write that carries a message, else after [`ACK_ENTRIES`] stanzas, else when some are
//! unacknowledged for [`ACK_AFTER_S`]; never twice before it has answered.

#[cfg(doc)]
use crate::limits::ACK_WAIT_MS;
use crate::limits::{ACK_AFTER_S, ACK_ENTRIES};
use crate::render;
use hearth_wire::to_edge::{Resumed, SmEnabled};
use hearth_wire::tree::Element;

/// The namespace of stream management.
pub(crate) const NS: &str = "urn:xmpp:sm:3";

/// See the module.
#[derive(Debug)]
pub(crate) struct Sm {
    state: State,
    /// Inbound: number of the last stanza that the client does not count.
    base_number: u64,
    /// Outbound: the last entry that the client does not count, and the last that it acknowledged.
    base_entry: u64,
    acked: u64,
    /// `<a/>` is owed until this number is settled, and the mark that the last one told.
    owed: Option<u64>,
    told: Option<u64>,
    /// The client's `<r/>` waits for the mark to move.
    waiting: bool,
    /// Our `<r/>` is unanswered.
    asking: bool,
    /// A message was written since the last one, and how many stanzas.
    wants: bool,
    since: u16,
    /// Seconds until the client is asked without a reason.
    patience_s: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// `<enable/>` came; the core is to answer.
    Asked(Enable),
    On {
        resumable: bool,
    },
}

/// What `<enable/>` asks for (§3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Enable {
    pub(crate) resume: bool,
    pub(crate) max_s: Option<u32>,
}

impl Enable {
    /// `resume` is an xs:boolean; a `max` that is no number of seconds is as if there was none.
    pub(crate) fn read(element: &Element<'_>) -> Enable {
        Enable {
            resume: matches!(element.attr("resume"), Some("true" | "1")),
            max_s: element.attr("max").and_then(unsigned).filter(|max_s| *max_s > 0),
        }
    }
}

/// An acknowledgement of more than was sent (§6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooHigh {
    pub(crate) h: u32,
    pub(crate) sent: u32,
}

/// The value of an xs:unsignedInt.
pub(crate) fn unsigned(text: &str) -> Option<u32> {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Modulo 2^32.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

impl Sm {
    fn new(state: State) -> Sm {
        Sm {
            state,
            base_number: 0,
            base_entry: 0,
            acked: 0,
            owed: None,
            told: None,
            waiting: false,
            asking: false,
            wants: false,
            since: 0,
            patience_s: 0,
        }
    }

    /// `<enable/>` behind stanza `number`.
    pub(crate) fn asked(enable: Enable, number: u64) -> Sm {
        Sm { base_number: number, ..Sm::new(State::Asked(enable)) }
    }

    /// The counts go on (§5).
    pub(crate) fn resumed(resumed: &Resumed<'_>) -> Sm {
        Sm {
            base_number: resumed.sm_number,
            base_entry: resumed.sm_entry,
            acked: resumed.entry,
            ..Sm::new(State::On { resumable: true })
        }
    }

    /// The core has answered; false if it was not asked.
    pub(crate) fn on_enabled(&mut self, enabled: &SmEnabled<'_>) -> bool {
        let was_asked = matches!(self.state, State::Asked(_));
        if was_asked {
            self.state = State::On { resumable: enabled.previd.is_some() };
            (self.base_entry, self.acked) = (enabled.entry, enabled.entry);
        }
        was_asked
    }

    pub(crate) fn is_on(&self) -> bool {
        matches!(self.state, State::On { .. })
    }

    pub(crate) fn is_resumable(&self) -> bool {
        self.state == State::On { resumable: true }
    }

    /// What the core is to answer, and the number it is about.
    pub(crate) fn unanswered(&self) -> Option<(Enable, u64)> {
        match self.state {
            State::Asked(enable) => Some((enable, self.base_number)),
            State::On { .. } => None,
        }
    }

    /// Entries that the client does not count, and the last that it has.
    pub(crate) fn base_entry(&self) -> u64 {
        self.base_entry
    }

    /// The client has closed its stream properly, which it does behind what it has read: all that the socket took
    /// counts as acknowledged, whether or not it said so (§4 recommends that it does).
    pub(crate) fn closed(&mut self, written: u64) {
        if self.is_on() {
            self.acked = self.acked.max(written);
        }
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Stanzas of the client that are handled.
    pub(crate) fn h(&self, settled: u64) -> u32 {
        low(settled.saturating_sub(self.base_number))
    }

    /// `<r/>` (§4): what to answer now; nothing before `<enabled/>`. `moves`: the mark is expected to.
    pub(crate) fn on_r(&mut self, settled: u64, number: u64, moves: bool) -> Option<u32> {
        if !self.is_on() {
            self.owed = Some(number);
            return None;
        }
        self.told = Some(settled);
        self.owed = Some(number).filter(|number| *number > settled && *number > self.base_number);
        self.waiting = moves && self.owed.is_some();
        (!self.waiting).then(|| self.h(settled))
    }

    /// Whether an `<r/>` waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// It has waited long enough.
    pub(crate) fn answer(&mut self, settled: u64, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.waiting) {
            render::sm_a(self.h(settled), out);
            self.told = Some(settled);
        }
    }

    /// `<a/>` (§4), when `entry` was the last that was sent. One that goes backwards is old.
    pub(crate) fn on_a(&mut self, h: u32, entry: u64) -> Result<(), TooHigh> {
        if !self.is_on() {
            return Ok(());
        }
        let more = h.wrapping_sub(low(self.acked.saturating_sub(self.base_entry)));
        if more > u32::MAX / 2 {
            return Ok(());
        }
        let acked = self.acked.saturating_add(u64::from(more));
        if acked > entry {
            return Err(TooHigh { h, sent: low(entry.saturating_sub(self.base_entry)) });
        }
        self.acked = acked;
        self.asking = false;
        self.patience_s = ACK_AFTER_S;
        if acked == entry {
            (self.wants, self.since) = (false, 0);
        }
        Ok(())
    }

    /// A stanza was rendered for the client.
    pub(crate) fn emitted(&mut self, message: bool) {
        self.wants |= message;
        self.since = self.since.saturating_add(1);
        self.patience_s = ACK_AFTER_S;
    }

    fn owes(&self, settled: u64) -> bool {
        self.owed.is_some() && self.told != Some(settled)
    }

    /// Whether something is unacknowledged that the client was not asked about.
    pub(crate) fn waits(&self, entry: u64) -> bool {
        self.is_on() && !self.asking && self.acked < entry
    }

    fn asks(&self, entry: u64) -> bool {
        (self.wants || self.since >= ACK_ENTRIES) && self.waits(entry)
    }

    /// Whether [`Sm::end_of_turn`] has something to say.
    pub(crate) fn has_to_say(&self, settled: u64, entry: u64) -> bool {
        self.is_on() && (self.owes(settled) || self.asks(entry))
    }

    /// Writes what is due behind all that the turn wrote; true if the client is asked.
    pub(crate) fn end_of_turn(&mut self, settled: u64, entry: u64, out: &mut Vec<u8>) -> bool {
        if !self.is_on() {
            return false;
        }
        if self.owes(settled) {
            render::sm_a(self.h(settled), out);
            (self.told, self.waiting) = (Some(settled), false);
            self.owed = self.owed.filter(|until| *until > settled);
        }
        let asks = self.asks(entry);
        if asks {
            self.ask(out);
        }
        asks
    }

    /// Asks, whatever there is to acknowledge.
    pub(crate) fn ask(&mut self, out: &mut Vec<u8>) {
        render::sm_r(out);
        self.asking = true;
        (self.wants, self.since) = (false, 0);
    }

    /// About a second has passed; true if the client is to be asked at the end of the turn.
    pub(crate) fn on_second(&mut self, entry: u64) -> bool {
        if !self.waits(entry) {
            return false;
        }
        self.patience_s = self.patience_s.saturating_sub(1);
        self.wants |= self.patience_s == 0;
        self.wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRAP: u64 = 1 << 32;

    fn on(base_number: u64, base_entry: u64) -> Sm {
        let mut sm = Sm::asked(Enable { resume: true, max_s: None }, base_number);
        let enabled = SmEnabled {
            counter: 0,
            generation: hearth_wire::ids::Generation::default(),
            entry: base_entry,
            previd: Some("x"),
            max_s: 1,
        };
        assert!(sm.on_enabled(&enabled) && !sm.on_enabled(&enabled));
        sm
    }

    fn end_of_turn(sm: &mut Sm, settled: u64, entry: u64) -> String {
        let (due, mut out) = (sm.has_to_say(settled, entry), Vec::new());
        let asked = sm.end_of_turn(settled, entry, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!((due, asked), (!text.is_empty(), text.contains("<r ")), "{text}");
        text.replace(" xmlns='urn:xmpp:sm:3'", "")
    }

    #[test]
    fn counts_wrap() {
        let mut sm = on(WRAP - 3, 7 * WRAP - 2);
        assert_eq!([WRAP - 9, WRAP - 3, WRAP, 2 * WRAP - 4, 2 * WRAP - 3].map(|n| sm.h(n)), [0, 0, 3, u32::MAX, 0]);
        // The client's count passes 2^32 as well.
        for entry in [1, u64::from(u32::MAX / 2), u64::from(u32::MAX) - 1, WRAP - 1, WRAP, WRAP + 5] {
            let sent = sm.base_entry + entry;
            assert_eq!(sm.on_a(low(entry), sent), Ok(()));
            assert_eq!(sm.acked(), sent);
        }
        let last = sm.acked();
        assert_eq!(sm.on_a(3, last), Ok(()), "an old one");
        assert_eq!(sm.acked(), last);
        assert_eq!(sm.on_a(7, last + 1), Err(TooHigh { h: 7, sent: 6 }));
    }

    #[test]
    fn a_request_is_answered_at_once_and_again_as_the_mark_moves() {
        let mut sm = on(10, 0);
        assert_eq!(sm.on_r(10, 10, true), Some(0));
        assert_eq!(end_of_turn(&mut sm, 10, 0), "", "nothing was unsettled");
        assert_eq!(sm.on_r(10, 13, false), Some(0), "no core is there");
        assert_eq!(end_of_turn(&mut sm, 10, 0), "");
        assert_eq!(end_of_turn(&mut sm, 12, 0), "<a h='2'/>");
        assert_eq!(end_of_turn(&mut sm, 12, 0), "");
        assert_eq!(end_of_turn(&mut sm, 15, 0), "<a h='5'/>");
        assert_eq!(end_of_turn(&mut sm, 16, 0), "", "what was there is settled");
        // What the client does not count is not told of.
        let mut early = on(10, 0);
        assert_eq!(early.on_r(8, 10, true), Some(0));
        assert_eq!(end_of_turn(&mut early, 10, 0), "");
    }

    #[test]
    fn a_request_waits_for_the_mark_or_for_its_time() {
        let answer = |sm: &mut Sm, settled| {
            let mut out = Vec::new();
            sm.answer(settled, &mut out);
            String::from_utf8(out).unwrap().replace(" xmlns='urn:xmpp:sm:3'", "")
        };
        let mut sm = on(10, 0);
        assert_eq!((sm.on_r(10, 12, true), sm.is_waiting()), (None, true));
        assert_eq!(sm.on_r(10, 13, true), None, "one answer for both");
        assert_eq!(end_of_turn(&mut sm, 10, 0), "");
        assert_eq!(end_of_turn(&mut sm, 12, 0), "<a h='2'/>");
        assert_eq!((sm.is_waiting(), answer(&mut sm, 12)), (false, String::new()), "it has its answer");
        assert_eq!(end_of_turn(&mut sm, 13, 0), "<a h='3'/>");
        // The core takes longer.
        assert_eq!(sm.on_r(13, 14, true), None);
        assert_eq!((answer(&mut sm, 13).as_str(), sm.is_waiting()), ("<a h='3'/>", false));
        assert_eq!(answer(&mut sm, 13), "");
        assert_eq!(end_of_turn(&mut sm, 14, 0), "<a h='4'/>");
    }

    #[test]
    fn a_request_before_enabled_is_answered_behind_it() {
        let mut sm = Sm::asked(Enable { resume: false, max_s: None }, 4);
        assert_eq!(sm.on_r(4, 4, true), None);
        assert_eq!(sm.on_a(9, 9), Ok(()), "there is nothing to count yet");
        assert_eq!(end_of_turn(&mut sm, 4, 9), "");
        let enabled = SmEnabled {
            counter: 0,
            generation: hearth_wire::ids::Generation::default(),
            entry: 9,
            previd: None,
            max_s: 0,
        };
        assert!(sm.on_enabled(&enabled) && !sm.is_resumable());
        assert_eq!(end_of_turn(&mut sm, 4, 9), "<a h='0'/>");
        assert_eq!(end_of_turn(&mut sm, 5, 9), "");
    }

    #[test]
    fn the_client_is_asked_for_messages_many_stanzas_and_long_silence() {
        let mut sm = on(0, 0);
        sm.emitted(true);
        assert_eq!(end_of_turn(&mut sm, 0, 1), "<r/>");
        sm.emitted(true);
        assert_eq!(end_of_turn(&mut sm, 0, 2), "", "one at a time");
        sm.on_a(1, 2).unwrap();
        assert_eq!(end_of_turn(&mut sm, 0, 2), "<r/>");
        sm.on_a(2, 2).unwrap();
        for entry in 3..3 + u64::from(ACK_ENTRIES) {
            assert_eq!(end_of_turn(&mut sm, 0, entry - 1), "");
            sm.emitted(false);
        }
        let last = 2 + u64::from(ACK_ENTRIES);
        assert_eq!(end_of_turn(&mut sm, 0, last), "<r/>");
        sm.on_a(low(last), last).unwrap();
        sm.emitted(false);
        for _ in 1..ACK_AFTER_S {
            assert!(!sm.on_second(last + 1));
        }
        assert!(sm.on_second(last + 1));
        assert_eq!(end_of_turn(&mut sm, 0, last + 1), "<r/>");
        assert!(!sm.on_second(last + 1), "it was asked");
        // Acknowledged before it was asked for.
        sm.on_a(low(last + 1), last + 1).unwrap();
        sm.emitted(true);
        sm.on_a(low(last + 2), last + 2).unwrap();
        assert_eq!(end_of_turn(&mut sm, 0, last + 2), "");
    }

    #[test]
    fn numbers_are_what_the_schema_says() {
        for (text, want) in [
            ("0", Some(0)),
            (" 7\n", Some(7)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("x", None),
        ] {
            assert_eq!(unsigned(text), want, "{text:?}");
        }
    }
}
