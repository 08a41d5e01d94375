//! A session whose link was lost, from there to its next link (link version 2).
//!
//! ```text
//!  Attached ──link lost──▶ Away ──Attach sent, Attached──▶ Resending ──all kept are sent──▶ Attached
//!     ▲                     ▲                                  │
//!     └──given up───────────┴────────────link lost─────────────┘
//! ```

use super::open::Open;
use super::{Phase, Session, append};
use crate::stream::Question;
use hearth_wire::to_core::{Attach, OpenQuestions, Recent, StanzaIn, ToCore};
use hearth_wire::to_edge::{AskedBefore, Attached, Capsule};

impl Session {
    /// True while the session has no link, or the core has not said that it has it again.
    pub fn is_away(&self) -> bool {
        self.phase == Phase::Away
    }

    /// True while the session's frames go to its link: what was kept is sent.
    pub fn is_attached(&self) -> bool {
        self.phase == Phase::Attached
    }

    /// True while something that was kept is to be sent first.
    pub fn is_resending(&self) -> bool {
        self.phase == Phase::Resending
    }

    /// The sealed record that the next core needs.
    pub fn on_capsule(&mut self, capsule: &Capsule<'_>) {
        if capsule.generation == self.generation {
            self.more().capsule = Some(capsule.sealed.into());
        }
    }

    /// What the session's client asked at an earlier socket.
    pub fn on_asked_before(&mut self, questions: &AskedBefore<'_>) {
        if questions.generation == self.generation {
            let open = Open::told(&questions.open, questions.whole);
            self.more().open = (!open.is_empty()).then(|| Box::new(open));
            self.tidy();
        }
    }

    /// The link is gone; the session is not.
    pub fn on_link_lost(&mut self) {
        self.phase = Phase::Away;
    }

    /// Nobody will attach it again.
    pub fn give_up(&mut self) {
        self.phase = Phase::Attached;
    }

    /// Names the session on a new link. `closed`: its socket has ended since, by the closing tag or not.
    pub fn attach(&mut self, counter: u64, closed: Option<bool>, link: &mut Vec<u8>) {
        let more = self.more.as_deref();
        let logged = more.and_then(|more| more.logged.as_deref());
        let open = more.and_then(|more| more.open.as_deref());
        let questions = OpenQuestions {
            counter,
            open: open.map(|open| open.list()).unwrap_or_default(),
            whole: open.is_none_or(|open| open.is_whole()),
        };
        ToCore::OpenQuestions(questions).encode(link);
        let (ahead, recent) = logged.map(|logged| logged.recent()).unwrap_or_default();
        if !ahead.is_empty() {
            ToCore::Recent(Recent { counter, logs: ahead }).encode(link);
        }
        let attach = Attach {
            counter,
            stream: self.stream,
            generation: self.generation,
            sealed: more.and_then(|more| more.capsule.as_deref()).unwrap_or_default(),
            settled: self.settled,
            number: self.number,
            entry: self.entry,
            written: self.mark(),
            delivered_bytes: self.delivered_bytes,
            credit: self.window(),
            log: more.map_or(0, |more| more.log),
            unwritten: logged.map(|logged| logged.unwritten()).unwrap_or_default(),
            recent,
            closed,
        };
        ToCore::Attach(attach).encode(link);
        self.unreported = super::Span::default();
    }

    /// The core has it again. False if this answers another attachment; else [`Session::resend`] goes on.
    pub fn on_attached(&mut self, attached: &Attached) -> bool {
        if self.phase != Phase::Away || attached.before != self.generation {
            return false;
        }
        self.generation = attached.generation;
        self.settle(attached.settled);
        let resend = self.settled.max(attached.received).saturating_add(1);
        let kept = self.more.as_ref().map(|more| more.kept.records().map(|record| record.stanza.len() as u64).sum());
        self.sent_bytes = kept.unwrap_or(0);
        self.credit_bytes = attached.credit;
        self.starved = false;
        self.phase = Phase::Resending;
        let more = self.more();
        more.resend = resend;
        true
    }

    /// Sends what the core has not received, at most `link_credit` bytes of frames. True once all is sent, and
    /// the session goes on; else it must be called again when the link has more credit.
    pub fn resend(&mut self, counter: u64, link_credit: u64, link: &mut Vec<u8>) -> bool {
        let (generation, start) = (self.generation, link.len());
        if let (Phase::Resending, Some(more)) = (self.phase, &mut self.more) {
            let first = self.settled.saturating_add(1);
            let skip = usize::try_from(more.resend.saturating_sub(first)).unwrap_or(usize::MAX);
            for record in more.kept.records().skip(skip) {
                let (number, fault, stanza) = (more.resend, record.fault(), record.stanza);
                let frame = ToCore::StanzaAgain(StanzaIn { counter, generation, number, fault, stanza });
                let left = link_credit.saturating_sub(link.len().saturating_sub(start) as u64);
                if !append(&frame, left, link) {
                    return false;
                }
                more.resend = number.saturating_add(1);
            }
            self.phase = Phase::Attached;
            self.tidy();
        }
        true
    }

    /// A question of this session that the core may not have heard, or not answered: to be asked once it is attached.
    pub fn unanswered(&self) -> Option<Question> {
        let (enable, number) = self.sm()?.unanswered()?;
        Some(Question::SmEnable { generation: self.generation, number, resume: enable.resume, max_s: enable.max_s })
    }
}
