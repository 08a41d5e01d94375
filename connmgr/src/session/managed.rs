//! What a client and its edge have between themselves on a bound stream: stream management (XEP-0198), pings
//! (XEP-0199) of the edge to see whether the client is there, and of the client while there is no core. None of it
//! is a numbered stanza.

use super::{Phase, Session, iq_is_sound};
use crate::render;
use crate::sm::{self, Enable, Sm, TooHigh};
use crate::stream::{Output, end_with_error, write};
use crate::xml;
use hearth_wire::jid;
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::to_edge::SmEnabled;
use hearth_wire::tree::{Builder, Element};
use hearth_wire::{StanzaCondition, StreamCondition};

const PING_NS: &str = "urn:xmpp:ping";

fn is_stream_error(element: &Element<'_>) -> bool {
    element.ns() == xml::STREAMS && element.name() == "error"
}

impl Session {
    /// Elements that are no stanzas of the session: they go to [`Stream::handle`](crate::stream::Stream::handle).
    pub fn is_own(&self, element: &Element<'_>) -> bool {
        element.ns() == sm::NS || is_stream_error(element) || self.is_pong(element) || self.is_ping(element)
    }

    /// One of those.
    pub(crate) fn on_own(&mut self, element: &Element<'_>, out: &mut Vec<Output>) {
        if element.ns() == sm::NS {
            self.on_sm(element, out);
        } else if is_stream_error(element) {
            // RFC 6120 §4.9.1.1: the client ends its stream; what it did not get waits for it as behind a broken one.
            write(out, render::stream_close);
            out.push(Output::End { clean: false, linger: true });
        } else if self.is_pong(element) {
            self.more().pinging = false;
            self.tidy();
        } else {
            self.pong(element, out);
        }
    }

    fn on_sm(&mut self, element: &Element<'_>, out: &mut Vec<Output>) {
        let (settled, number, moves) = (self.settled, self.number, self.phase == Phase::Attached);
        let sm = self.more.as_mut().and_then(|more| more.sm.as_mut());
        match (element.name(), sm) {
            ("enable", None) => self.on_enable(Enable::read(element), out),
            // §3: a second one, or one that the core is still to answer.
            ("enable" | "resume", _) | ("r" | "a", None) => failed(StanzaCondition::UnexpectedRequest, out),
            ("r", Some(sm)) => {
                if let Some(h) = sm.on_r(settled, number, moves) {
                    write(out, |bytes| render::sm_a(h, bytes));
                }
            }
            ("a", Some(_)) => self.on_a(element, out),
            _ => end_with_error(StreamCondition::UnsupportedStanzaType, "", out),
        }
    }

    fn on_enable(&mut self, enable: Enable, out: &mut Vec<Output>) {
        if !self.sm_offered {
            return failed(StanzaCondition::FeatureNotImplemented, out);
        }
        let number = self.number;
        self.more().sm = Some(Box::new(Sm::asked(enable, number)));
        // Without a link it is asked once there is one.
        if self.phase == Phase::Attached {
            out.extend(self.unanswered().map(Output::Ask));
        }
    }

    fn on_a(&mut self, element: &Element<'_>, out: &mut Vec<Output>) {
        // The schema (§12) requires it: RFC 6120 §4.9.3.10. A client that does not say what it has cannot be served
        // by counting, so this is not one of the errors that §6 calls recoverable.
        let Some(h) = element.attr("h").and_then(sm::unsigned) else {
            return end_with_error(StreamCondition::InvalidXml, "", out);
        };
        let (entry, mut done) = (self.entry, Ok(()));
        self.advance(0, |session| {
            if let Some(sm) = session.more.as_mut().and_then(|more| more.sm.as_mut()) {
                done = sm.on_a(h, entry);
            }
        });
        if let Err(TooHigh { h, sent }) = done {
            write(out, |bytes| render::sm_too_high(h, sent, bytes));
            out.push(Output::End { clean: false, linger: true });
        }
    }

    /// The core has answered `<enable/>`. `location`: where the client should come back to.
    pub(crate) fn on_enabled(&mut self, enabled: &SmEnabled<'_>, location: Option<&str>, out: &mut Vec<Output>) {
        if enabled.generation != self.generation {
            return;
        }
        let mut was_asked = false;
        self.advance(0, |session| {
            let sm = session.more.as_mut().and_then(|more| more.sm.as_mut());
            was_asked = sm.is_some_and(|sm| sm.on_enabled(enabled));
        });
        if was_asked {
            write(out, |bytes| render::sm_enabled(enabled, location, bytes));
        }
    }

    /// True if the client may come back to the session (XEP-0198 §5).
    pub fn is_resumable(&self) -> bool {
        self.sm().is_some_and(Sm::is_resumable)
    }

    /// Stanzas of the client that are handled, as it counts them.
    pub(crate) fn handled(&self) -> u32 {
        self.sm().map_or(0, |sm| sm.h(self.settled))
    }

    /// What a client is told last that is expected back.
    pub(crate) fn last_ack(&self, out: &mut Vec<Output>) {
        write(out, |bytes| render::sm_a(self.handled(), bytes));
    }

    /// Whether an `<r/>` waits for its answer, which [`Session::answer`] gives at last.
    pub(crate) fn is_asked(&self) -> bool {
        self.sm().is_some_and(Sm::is_waiting)
    }

    /// Answers an `<r/>` that waits with the mark as it is.
    pub fn answer(&mut self, out: &mut Vec<u8>) {
        let settled = self.settled;
        if let Some(sm) = self.more.as_mut().and_then(|more| more.sm.as_mut()) {
            sm.answer(settled, out);
        }
    }

    /// Whether [`Session::end_of_turn`] has something to say.
    pub fn has_to_say(&self) -> bool {
        self.sm().is_some_and(|sm| sm.has_to_say(self.settled, self.entry))
    }

    /// Behind all that a turn wrote: acknowledgements that are owed, and the question for the client's. True if
    /// the client is asked.
    pub fn end_of_turn(&mut self, out: &mut Vec<u8>) -> bool {
        let (settled, entry) = (self.settled, self.entry);
        let sm = self.more.as_mut().and_then(|more| more.sm.as_mut());
        sm.is_some_and(|sm| sm.end_of_turn(settled, entry, out))
    }

    /// The client was silent for long: asks it for a sign of life.
    pub(crate) fn probe(&mut self, out: &mut Vec<Output>) {
        if let Some(sm) = self.more.as_mut().and_then(|more| more.sm.as_mut()).filter(|sm| sm.is_on()) {
            write(out, |bytes| sm.ask(bytes));
        } else {
            self.ping(out);
        }
        out.push(Output::Asked);
    }

    /// XEP-0199 §4.1. Not an entry of the core's: without XEP-0198 nobody counts it.
    fn ping(&mut self, out: &mut Vec<Output>) {
        self.more().pinging = true;
        let mut tree = Builder::new();
        tree.open(Some(PING_NS), "ping").close();
        let (id, payload) = (self.ping_id(), tree.finish());
        let iq = Stanza {
            id: Some(&id),
            from: Some(jid::split(self.jid()).1),
            to: Some(self.jid()),
            payload: &payload,
            ..Stanza::new(StanzaKind::Iq, StanzaType::Get)
        };
        out.push(Output::Write(render::own(&iq)));
    }

    fn ping_id(&self) -> String {
        format!("ping-{}", self.stream)
    }

    /// The answer to a ping of ours. Where the client counts what it sends, it is a stanza like others: the core
    /// settles it.
    fn is_pong(&self, element: &Element<'_>) -> bool {
        self.more.as_ref().is_some_and(|more| more.pinging && more.sm.is_none())
            && is_iq(element)
            && matches!(element.attr("type"), Some("result" | "error"))
            && element.attr("id").is_some_and(|id| id == self.ping_id())
            && self.is_to_server(element)
    }

    /// A ping to the server while there is no core to answer it. Where the client counts, the answer would overtake
    /// stanzas before it: those wait for the core.
    fn is_ping(&self, element: &Element<'_>) -> bool {
        self.phase == Phase::Away
            && self.sm().is_none()
            && is_iq(element)
            && element.attr("type") == Some("get")
            && element.child(PING_NS, "ping").is_some()
            && iq_is_sound(StanzaType::Get, element.attr("id"), element)
            && self.is_to_server(element)
            && element.attr("from").is_none_or(|from| self.check_from(from).is_ok())
    }

    fn is_to_server(&self, element: &Element<'_>) -> bool {
        let domain = jid::split(self.jid()).1;
        element.attr("to").is_none_or(|to| to == domain || jid::prepare(to).is_ok_and(|to| to == domain))
    }

    fn pong(&self, ping: &Element<'_>, out: &mut Vec<Output>) {
        let from = ping.attr("to").map(|_| jid::split(self.jid()).1);
        let base = Stanza::new(StanzaKind::Iq, StanzaType::Result);
        let iq = Stanza { id: ping.attr("id"), from, to: Some(self.jid()), ..base };
        out.push(Output::Write(render::own(&iq)));
    }
}

fn is_iq(element: &Element<'_>) -> bool {
    element.is(xml::CLIENT, "iq")
}

fn failed(condition: StanzaCondition, out: &mut Vec<Output>) {
    write(out, |bytes| render::sm_failed(condition, None, bytes));
}
