//! Each question (RFC 6120 §8.2.3) that one client asks another has one answer, whoever is lost in between.
//!
//! ```text
//!  a session that was asked   owes an answer from the delivery on; if it ends first, `service-unavailable` is the answer
//!  a session that asked       is remembered to wait for one only where an earlier core may have lost it: edges say which
//!                             questions are open. The first answer clears one, another is dropped; what was not answered
//!                             in time is answered with an error, and the answer that comes later is dropped
//! ```

use crate::cx::Cx;
use crate::limits;
use crate::link::LinkId;
use crate::reply;
use crate::session::SessionKey;
use hearth_wire::jid;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::OpenQuestions;
use hearth_wire::{FullJid, StanzaCondition};
use std::collections::VecDeque;

#[cfg(test)]
mod tests;

/// Of a question for which nobody else answers.
const NEVER_MS: u64 = u64::MAX;

/// Of one session; most have none.
#[derive(Debug, Default)]
pub struct Questions {
    /// What it asked, as far as an earlier core may have had to do with it, and if that is all, what it asked since.
    asked: VecDeque<Asked>,
    /// The earlier core's questions are all there: what answers another one was answered before.
    whole: bool,
    /// What it was asked and has not answered.
    owed: VecDeque<Owed>,
    /// More than is remembered was.
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
        let questions = Questions { asked, whole, ..Questions::default() };
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
    if !again && !session.questions.as_ref().is_some_and(|questions| questions.whole) {
        return;
    }
    let Some(id) = question.id else { return };
    let questions = session.questions.get_or_insert_default();
    questions.asked.retain(|asked| *asked.id != *id || asked.to.as_deref() != question.to);
    if questions.asked.len() >= limits::QUESTIONS_MAX {
        let oldest = questions.asked.pop_front();
        questions.whole &= oldest.is_some_and(|oldest| oldest.answered);
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
    match questions.asked.get_mut(at) {
        // Nobody else was asked.
        Some(asked) if asked.until_ms == NEVER_MS => questions.asked.remove(at).is_some(),
        Some(asked) => !std::mem::replace(&mut asked.answered, true),
        None => true,
    }
}

/// Whether an answer that is sent again answers nothing that a session still waits for.
pub fn had_answer(cx: &Cx<'_>, key: SessionKey, answer: &Stanza<'_>) -> bool {
    let Some(session) = cx.session(key) else { return false };
    let Some(questions) = session.questions.as_ref().filter(|questions| questions.whole) else { return false };
    is_answer(answer) && questions.find_asked(answer, &session.jid).is_none()
}

/// Whether this answers a question.
pub fn is_answer(stanza: &Stanza<'_>) -> bool {
    stanza.kind == StanzaKind::Iq && matches!(stanza.ty, StanzaType::Result | StanzaType::Error)
}

/// A question was delivered to a session, or is held for it.
pub fn on_delivered(cx: &mut Cx<'_>, key: SessionKey, question: &Stanza<'_>) {
    let (Some(id), Some(from)) = (question.id, question.from) else { return };
    let Some(session) = cx.session_mut(key) else { return };
    let questions = session.questions.get_or_insert_default();
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
        let Questions { asked, whole, owed, owed_partial } = self;
        asked.is_empty() && !whole && owed.is_empty() && !owed_partial
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
                reply::bare_error(&question, StanzaCondition::ServiceUnavailable, Some("the answer was lost"))
            })
            .collect();
        for error in errors {
            cx.deliver(key, &error, &Overlay::default(), None);
        }
    }
}
