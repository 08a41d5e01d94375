//! Questions that the core has settled and the client still waits for, oldest first: should the core be lost, the
//! next one is told of them, and sees to it that each has one answer.

use hearth_wire::limits::{OPEN_QUESTION_ID_BYTES_MAX, OPEN_QUESTIONS_MAX};
use hearth_wire::stanza::Stanza;
use hearth_wire::to_core::OpenQuestion;
use std::collections::VecDeque;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Open {
    list: VecDeque<Asked>,
    /// There may be others.
    partial: bool,
}

#[derive(Debug)]
struct Asked {
    id: Box<str>,
    to: Option<Box<str>>,
}

impl Open {
    /// Of a session that was on another socket before: what it asked there is not known here, unless the core says.
    pub(super) fn partial() -> Open {
        Open { partial: true, ..Open::default() }
    }

    /// The same, of which the core has said.
    pub(super) fn told(open: &[OpenQuestion<'_>], whole: bool) -> Open {
        let list = open.iter().map(|open| Asked { id: open.id.into(), to: open.to.map(Into::into) });
        Open { list: list.collect(), partial: !whole }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.partial
    }

    pub(super) fn is_whole(&self) -> bool {
        !self.partial
    }

    /// A question is settled and has no answer. The oldest is forgotten for it if there are many.
    pub(super) fn push(&mut self, question: &Stanza<'_>) {
        let Some(id) = question.id.filter(|id| id.len() <= OPEN_QUESTION_ID_BYTES_MAX) else {
            self.partial = true;
            return;
        };
        if self.list.len() >= OPEN_QUESTIONS_MAX {
            self.list.pop_front();
            self.partial = true;
        }
        self.list.push_back(Asked { id: id.into(), to: question.to.map(Into::into) });
    }

    /// The first question, by its id and `to`, for which `is_answered` holds has its answer.
    /// False if there is none.
    pub(super) fn answer(&mut self, is_answered: impl Fn(Option<&str>, Option<&str>) -> bool) -> bool {
        let answered = |asked: &Asked| is_answered(Some(&asked.id), asked.to.as_deref());
        self.list.iter().position(answered).and_then(|at| self.list.remove(at)).is_some()
    }

    pub(super) fn list(&self) -> Vec<OpenQuestion<'_>> {
        self.list.iter().map(|asked| OpenQuestion { id: &asked.id, to: asked.to.as_deref() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::stanza::{StanzaKind, StanzaType};

    fn question<'a>(id: &'a str, to: &'a str) -> Stanza<'a> {
        Stanza { id: Some(id), to: Some(to), ..Stanza::new(StanzaKind::Iq, StanzaType::Get) }
    }

    #[test]
    fn the_first_answer_clears_a_question() {
        let mut open = Open::default();
        for (id, to) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")] {
            open.push(&question(id, to));
        }
        let ids = |open: &Open| {
            open.list().iter().map(|asked| (asked.id.to_owned(), asked.to.unwrap().to_owned())).collect::<Vec<_>>()
        };
        assert!(open.answer(|id, to| (id, to) == (Some("a"), Some("x"))));
        let expected = [("a", "y"), ("b", "x"), ("a", "x")].map(|(id, to)| (id.to_owned(), to.to_owned()));
        assert_eq!(ids(&open), expected);
        assert!(!open.answer(|id, to| (id, to) == (Some("c"), Some("x"))));
        assert_eq!(open.list().len(), 3);
        for _ in 0..3 {
            open.answer(|_, _| true);
        }
        assert!(open.is_empty());
    }

    #[test]
    fn what_is_forgotten_is_known_to_be() {
        let mut open = Open::default();
        for n in 0..OPEN_QUESTIONS_MAX {
            open.push(&question(&n.to_string(), "x"));
        }
        assert!(open.is_whole());
        open.push(&question("last", "x"));
        assert_eq!((open.list().len(), open.list()[0].id, open.is_whole()), (OPEN_QUESTIONS_MAX, "1", false));
        let mut open = Open::default();
        open.push(&question(&"x".repeat(OPEN_QUESTION_ID_BYTES_MAX + 1), "x"));
        assert_eq!((open.list().len(), open.is_empty()), (0, false));
    }
}
