//! Each question (RFC 6120 §8.2.3) that one client asks another has one answer, whoever is lost in between.
//!
//! ```text
//!  a session that was asked   owes an answer from the delivery on; if it ends first, `service-unavailable` is the answer
//!  a session that asked       waits for one: the first answer clears its question. Edges tell the next core which are open: what an
//!                             earlier core may have lost is answered with an error in time. From then on what answers none is
//!                             dropped. A session resumed at another socket takes what it waits for along
//! ```

use crate::cx::Cx;
use crate::limits;
use crate::link::LinkId;
use crate::reply;
use crate::session::{Origin, Session, SessionKey};
use hearth_wire::jid;
use hearth_wire::limits::{OPEN_QUESTION_ID_BYTES_MAX, OPEN_QUESTIONS_MAX};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::{OpenQuestion, OpenQuestions};
use hearth_wire::to_edge::{AskedBefore, ToEdge};
use hearth_wire::{FullJid, StanzaCondition};
use std::collections::VecDeque;

#[cfg(test)]
mod tests;

/// What the core says for whoever was asked through one that was lost.
pub const ANSWER_LOST: &str = "the answer was lost";

/// Of a question for which nobody else answers.
const NEVER_MS: u64 = u64::MAX;

/// Of one session; most have none.
#[derive(Debug, Default)]
pub struct Questions {
    /// What it asked other clients, and, of an earlier core, the server, and is not answered.
    asked: VecDeque<Asked>,
    /// There may be more than is remembered; else what answers another question answers it again.
    asked_partial: bool,
    /// What it was asked and has not answered.
    owed: VecDeque<Owed>,
    /// There may be more than is remembered.
    owed_partial: bool,
}

#[derive(Debug)]
struct Asked {
    id: Box<str>,
    to: Option<Box<str>>,
    answered: bool,
    /// When it is answered for, `Now::mono_ms`.
    until_ms: u64,
}

#[derive(Debug)]
struct Owed {
    id: Box<str>,
    /// Full JID of who asked.
    from: Box<str>,
}

/// Questions of a session that is attached next, as its edge has them; none, and perhaps others, if it says nothing.
#[derive(Debug, Default)]
pub struct Open {
    list: Vec<(Box<str>, Option<Box<str>>)>,
    /// There are no others.
    whole: bool,
}

/// Keeps them for the `Attach` that follows.
pub fn on_open(cx: &mut Cx<'_>, link: LinkId, frame: &OpenQuestions<'_>) {
    let list = frame.open.iter().map(|question| (question.id.into(), question.to.map(Into::into))).collect();
    if let Some(link) = cx.shard.links.get_mut(&link) {
        link.questions = Some((frame.counter, Open { list, whole: frame.whole }));
    }
}

/// An adopted session's edge names the questions that are open.
pub fn on_adopted(cx: &mut Cx<'_>, key: SessionKey, Open { list, whole }: Open) {
    let now_ms = cx.now.mono_ms;
    let late_ms = now_ms.saturating_add(limits::OPEN_QUESTION_MS);
    let asked = list.into_iter().map(|(id, to)| {
        // What the server was asked it answered before it settled the question: that answer is lost.
        let relayed = to.as_ref().is_some_and(|to| to.contains('/'));
        Asked { id, to, answered: false, until_ms: if relayed { late_ms } else { now_ms } }
    });
    let asked: VecDeque<_> = asked.collect();
    asked.iter().for_each(|asked| due(cx, key, asked.until_ms));
    if let Some(session) = cx.session_mut(key) {
        let questions = Questions { asked, asked_partial: !whole, ..Questions::default() };
        session.questions = (!questions.is_empty()).then(|| Box::new(questions));
    }
}

fn due(cx: &mut Cx<'_>, key: SessionKey, at_ms: u64) {
    cx.shard.questions_due.insert((at_ms, key));
    cx.out.wake_at(at_ms);
}

/// A session's question goes to another client. `again`: it may have gone there before.
pub fn on_asked(cx: &mut Cx<'_>, key: SessionKey, question: &Stanza<'_>, again: bool) {
    let until_ms = if again { cx.now.mono_ms.saturating_add(limits::OPEN_QUESTION_MS) } else { NEVER_MS };
    let Some(session) = cx.session_mut(key) else { return };
    let questions = session.questions.get_or_insert_default();
    let Some(id) = question.id.filter(|id| id.len() <= OPEN_QUESTION_ID_BYTES_MAX) else {
        questions.asked_partial = true;
        return;
    };
    questions.asked.retain(|asked| *asked.id != *id || asked.to.as_deref() != question.to);
    if questions.asked.len() >= limits::QUESTIONS_MAX {
        let oldest = questions.asked.pop_front();
        questions.asked_partial |= oldest.is_some_and(|oldest| !oldest.answered);
    }
    let to = question.to.map(Into::into);
    questions.asked.push_back(Asked { id: id.into(), to, answered: false, until_ms });
    if again {
        due(cx, key, until_ms);
    }
}

/// An answer comes to a session; false if it is not the first.
pub fn passes(cx: &mut Cx<'_>, key: SessionKey, answer: &SharedStanza) -> bool {
    let Some(session) = cx.session_mut(key) else { return true };
    // An adopted session that waits for nothing must not cost a look at each stanza.
    let Some(questions) = session.questions.as_mut().filter(|questions| !questions.asked.is_empty()) else {
        return true;
    };
    let view = answer.view();
    let Some(at) = is_answer(&view).then(|| questions.find_asked(&view, &session.jid)).flatten() else { return true };
    let Some(asked) = questions.asked.get_mut(at) else { return true };
    if asked.until_ms < NEVER_MS {
        // It may have been asked twice.
        return !std::mem::replace(&mut asked.answered, true);
    }
    questions.asked.remove(at);
    if questions.is_empty() {
        session.questions = None;
    }
    true
}

/// Whether an answer comes a second time: it is sent again, or its question may have been, to a session of an earlier core's,
/// and it answers nothing that the session still waits for.
pub fn had_answer(cx: &Cx<'_>, key: SessionKey, answer: &Stanza<'_>, origin: Option<Origin>) -> bool {
    let Some(session) = cx.session(key) else { return false };
    let is_old = session.bound.epoch != session.generation.epoch;
    let unknown =
        |questions: &Questions| !questions.asked_partial && questions.find_asked(answer, &session.jid).is_none();
    is_answer(answer)
        && (is_old || origin.is_some_and(|origin| origin.again))
        && session.questions.as_deref().is_none_or(unknown)
}

/// Whether the session's client waits for an answer, which may wait for it in turn.
pub fn waits(session: &Session) -> bool {
    let open = |questions: &Questions| questions.asked.iter().any(|asked| !asked.answered);
    session.questions.as_deref().is_some_and(open) || session.outbound.held_answers().next().is_some()
}

/// The session goes on at another socket: its edge is told what its client waits for, some of which may have been
/// answered and not been acknowledged.
pub fn hand_over(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(session) = cx.shard.sessions.get(key.0) else { return };
    let asked = session.questions.iter().flat_map(|questions| &questions.asked).filter(|asked| !asked.answered);
    let asked = asked.map(|asked| OpenQuestion { id: &asked.id, to: asked.to.as_deref() });
    let answers = session.outbound.held_answers();
    let mut open: Vec<_> = answers.filter_map(|view| Some(OpenQuestion { id: view.id?, to: view.from })).collect();
    open.extend(asked);
    open.retain(|question| question.id.len() <= OPEN_QUESTION_ID_BYTES_MAX);
    let partial = session.questions.as_ref().is_some_and(|questions| questions.asked_partial);
    let whole = !partial && open.len() <= OPEN_QUESTIONS_MAX;
    open.truncate(OPEN_QUESTIONS_MAX);
    let (counter, generation) = (session.counter, session.generation);
    cx.out.frame(session.link, &ToEdge::AskedBefore(AskedBefore { counter, generation, open, whole }));
}

/// Whether this answers a question.
pub fn is_answer(stanza: &Stanza<'_>) -> bool {
    stanza.kind == StanzaKind::Iq && matches!(stanza.ty, StanzaType::Result | StanzaType::Error)
}

/// A question was delivered to a session, or is held for it.
pub fn on_delivered(cx: &mut Cx<'_>, key: SessionKey, question: &Stanza<'_>) {
    let Some(from) = question.from else { return };
    let Some(session) = cx.session_mut(key) else { return };
    let questions = session.questions.get_or_insert_default();
    let Some(id) = question.id.filter(|id| id.len() <= OPEN_QUESTION_ID_BYTES_MAX) else {
        questions.owed_partial = true;
        return;
    };
    if questions.owed.len() >= limits::QUESTIONS_MAX {
        questions.owed.pop_front();
        questions.owed_partial = true;
    }
    questions.owed.push_back(Owed { id: id.into(), from: from.into() });
}

/// A session's client answers what it was asked.
pub fn on_answer(cx: &mut Cx<'_>, key: SessionKey, answer: &Stanza<'_>) {
    let Some(session) = cx.session_mut(key) else { return };
    if let Some(questions) = &mut session.questions
        && is_answer(answer)
    {
        questions.take_owed(answer.id, answer.to);
        if questions.is_empty() {
            session.questions = None;
        }
    }
}

/// A session will not have this question, and still is there: it owes no answer.
pub fn on_refused(cx: &mut Cx<'_>, key: SessionKey, question: &Stanza<'_>) {
    if let Some(questions) = cx.session_mut(key).and_then(|session| session.questions.as_mut()) {
        questions.take_owed(question.id, question.from);
    }
}

impl Questions {
    /// Which of those it asked this answers.
    fn find_asked(&self, answer: &Stanza<'_>, jid: &FullJid) -> Option<usize> {
        let home = [jid.as_str(), jid.bare_str(), jid::split(jid.bare_str()).1];
        let is_home = |address: Option<&str>| address.is_none_or(|address| home.contains(&address));
        self.asked.iter().position(|asked| {
            let to = asked.to.as_deref();
            answer.id == Some(&*asked.id) && (to == answer.from || (is_home(to) && is_home(answer.from)))
        })
    }

    fn is_empty(&self) -> bool {
        let Questions { asked, asked_partial, owed, owed_partial } = self;
        asked.is_empty() && !asked_partial && owed.is_empty() && !owed_partial
    }

    /// Ids of questions to which the session owes an answer.
    pub fn owed(&self) -> impl Iterator<Item = &str> {
        self.owed.iter().map(|owed| &*owed.id)
    }

    fn take_owed(&mut self, id: Option<&str>, from: Option<&str>) -> bool {
        let is_it = |owed: &Owed| id == Some(&*owed.id) && from == Some(&*owed.from);
        self.owed.iter().position(is_it).and_then(|at| self.owed.remove(at)).is_some()
    }

    /// Whether a stanza that the ended session has not read is a question that it answered all the same.
    pub fn has_answered(&mut self, stanza: &Stanza<'_>) -> bool {
        stanza.is_request() && !self.take_owed(stanza.id, stanza.from) && !self.owed_partial
    }

    /// The session has ended: what it read and did not answer is answered for it. `jid`: its full JID.
    pub fn give_up(self, cx: &mut Cx<'_>, jid: &str) {
        for Owed { id, from } in self.owed {
            let question = Stanza {
                id: Some(&id),
                from: Some(&from),
                to: Some(jid),
                ..Stanza::new(StanzaKind::Iq, StanzaType::Get)
            };
            cx.route(reply::bare_error(&question, StanzaCondition::ServiceUnavailable, None), None);
        }
    }
}

/// End of a turn: answers for those who did not in time.
pub fn expire(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    while let Some((at_ms, key)) = cx.shard.questions_due.first().copied() {
        if at_ms > now_ms {
            return cx.out.wake_at(at_ms);
        }
        cx.shard.questions_due.pop_first();
        let Some(session) = cx.session(key) else { continue };
        let asked = session.questions.iter().flat_map(|questions| &questions.asked);
        let late = asked.filter(|asked| !asked.answered && asked.until_ms <= now_ms);
        let errors: Vec<_> = late
            .map(|asked| {
                let question = Stanza {
                    id: Some(&asked.id),
                    from: Some(session.jid.as_str()),
                    to: asked.to.as_deref(),
                    ..Stanza::new(StanzaKind::Iq, StanzaType::Get)
                };
                reply::bare_error(&question, StanzaCondition::ServiceUnavailable, Some(ANSWER_LOST))
            })
            .collect();
        for error in errors {
            cx.deliver(key, &error, &Overlay::default(), None);
        }
    }
}
