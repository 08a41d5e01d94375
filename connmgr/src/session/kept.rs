//! Stanzas of the client that the core has not settled, in order, in one buffer: what is sent again when a link
//! or a core was lost. The session's credit bounds it.
//!
//! ```text
//!  record: length of the stanza u32 │ flags u8 │ the stanza, encoded
//! ```

use hearth_wire::stanza::{Stanza, StanzaFault};

const HEAD_BYTES: usize = 5;

/// Flags: the fault, whether it is a question that has an id, whether its client has the answer.
const JID_MALFORMED: u8 = 1;
const BAD_REQUEST: u8 = 2;
const QUESTION: u8 = 4;
const ANSWERED: u8 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Where the first record begins; what lies before it is settled.
    start: usize,
}

/// One record.
pub(super) struct Record<'a> {
    pub(super) stanza: &'a [u8],
    flags: u8,
    /// Where its flags are.
    at: usize,
}

impl Record<'_> {
    /// What goes along when it is sent again.
    pub(super) fn fault(&self) -> Option<StanzaFault> {
        match self.flags {
            flags if flags & ANSWERED != 0 => Some(StanzaFault::Answered),
            flags if flags & JID_MALFORMED != 0 => Some(StanzaFault::JidMalformed),
            flags if flags & BAD_REQUEST != 0 => Some(StanzaFault::BadRequest),
            _ => None,
        }
    }
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One allocation if it was empty, one copy.
    pub(super) fn push(&mut self, fault: Option<StanzaFault>, question: bool, stanza: &[u8]) {
        let fault = match fault {
            None => 0,
            Some(StanzaFault::JidMalformed) => JID_MALFORMED,
            Some(StanzaFault::BadRequest) => BAD_REQUEST,
            Some(StanzaFault::Answered) => ANSWERED,
        };
        self.bytes.reserve(HEAD_BYTES.saturating_add(stanza.len()));
        self.bytes.extend_from_slice(&u32::try_from(stanza.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.push(fault | if question { QUESTION } else { 0 });
        self.bytes.extend_from_slice(stanza);
    }

    /// In the order they were sent.
    pub(super) fn records(&self) -> Records<'_> {
        Records { bytes: &self.bytes, at: self.start }
    }

    /// Forgets the first `count`, and hands over the questions among them that have no answer.
    pub(super) fn settle(&mut self, count: u64, mut on_open: impl FnMut(&Stanza<'_>)) {
        let mut records = self.records();
        for _ in 0..count {
            let Some(record) = records.next() else { break };
            if record.flags & (QUESTION | ANSWERED) == QUESTION
                && let Ok(question) = Stanza::decode(record.stanza)
            {
                on_open(&question);
            }
        }
        self.start = records.at;
        if self.start >= self.bytes.len() {
            *self = Kept::default();
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// The first question for which `is_answered` holds has its answer.
    pub(super) fn answer(&mut self, is_answered: impl Fn(&Stanza<'_>) -> bool) {
        let mut open = self.records().filter(|record| record.flags & (QUESTION | ANSWERED) == QUESTION);
        let found = open.find(|record| Stanza::decode(record.stanza).is_ok_and(|stanza| is_answered(&stanza)));
        let at = found.map(|record| record.at);
        if let Some(flags) = at.and_then(|at| self.bytes.get_mut(at)) {
            *flags |= ANSWERED;
        }
    }
}

/// See [`Kept::records`].
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (head, rest) = self.bytes.get(self.at..)?.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        let (flags, rest) = rest.split_first()?;
        let stanza = rest.get(..len)?;
        let at = self.at.saturating_add(4);
        self.at = at.saturating_add(1).saturating_add(len);
        Some(Record { stanza, flags: *flags, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::stanza::{StanzaKind, StanzaType};

    fn question(id: &str) -> Vec<u8> {
        Stanza { id: Some(id), ..Stanza::new(StanzaKind::Iq, StanzaType::Get) }.encode()
    }

    fn left(kept: &Kept) -> Vec<(Vec<u8>, Option<StanzaFault>)> {
        kept.records().map(|record| (record.stanza.to_vec(), record.fault())).collect()
    }

    #[test]
    fn records_leave_in_order_and_the_buffer_with_the_last() {
        let mut kept = Kept::default();
        for n in 0..10u8 {
            kept.push(None, false, &[n; 20]);
        }
        kept.settle(0, |_| ());
        assert_eq!(left(&kept).len(), 10);
        kept.settle(3, |_| ());
        assert_eq!(left(&kept).first().unwrap().0, [3; 20]);
        kept.settle(4, |_| ());
        assert_eq!(left(&kept).first().unwrap().0, [7; 20]);
        assert_eq!(kept.start, 0, "what is settled does not stay in memory");
        kept.push(Some(StanzaFault::BadRequest), false, &[10]);
        assert_eq!(left(&kept).last().unwrap(), &(vec![10], Some(StanzaFault::BadRequest)));
        kept.settle(99, |_| ());
        assert!(kept.is_empty() && kept.bytes.capacity() == 0);
    }

    #[test]
    fn an_answer_marks_the_first_open_question_only() {
        let mut kept = Kept::default();
        for (id, is_question) in [("a", false), ("a", true), ("b", true), ("a", true)] {
            kept.push(None, is_question, &question(id));
        }
        let marks = |kept: &Kept| left(kept).iter().map(|(_, fault)| fault.is_some()).collect::<Vec<_>>();
        kept.answer(|stanza| stanza.id == Some("a"));
        assert_eq!(marks(&kept), [false, true, false, false]);
        kept.answer(|stanza| stanza.id == Some("a"));
        kept.answer(|stanza| stanza.id == Some("c"));
        assert_eq!(marks(&kept), [false, true, false, true]);
    }
}
