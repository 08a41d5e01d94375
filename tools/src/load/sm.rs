//! A client's side of stream management without resumption (XEP-0198 §4): it counts both ways and answers.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::Instant;

/// The counters of one session, from `<enable/>` on.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Stanzas sent, modulo 2^32.
    sent: u32,
    /// Stanzas received, modulo 2^32.
    received: u32,
    /// Messages not acknowledged: their number among those sent, and when each was due.
    waiting: VecDeque<(u32, Instant)>,
}

impl Acks {
    /// Stanzas were written that nobody waits for.
    pub(crate) fn sent(&mut self, count: u32) {
        self.sent = self.sent.wrapping_add(count);
    }

    /// A message was written: asks for its acknowledgement.
    pub(crate) fn sent_message(&mut self, due: Instant, out: &mut Vec<u8>) {
        self.sent(1);
        self.waiting.push_back((self.sent, due));
        out.extend_from_slice(b"<r xmlns='urn:xmpp:sm:3'/>");
    }

    pub(crate) fn received(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// `<r/>`.
    pub(crate) fn answer(&self, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(out, "<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.received);
    }

    /// `<a h=''/>`: gives when each message was due that it covers and none before did.
    pub(crate) fn acknowledged(&mut self, h: u32, mut each: impl FnMut(Instant)) -> Result<(), String> {
        // Distances are below 2^31: RFC 1982's comparison.
        if self.sent.wrapping_sub(h) > u32::MAX / 2 {
            return Err(format!("{h} stanzas are acknowledged of {}", self.sent));
        }
        while let Some((number, due)) = self.waiting.front().copied()
            && h.wrapping_sub(number) <= u32::MAX / 2
        {
            self.waiting.pop_front();
            each(due);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_acknowledged_once() {
        let mut acks = Acks { sent: u32::MAX - 1, ..Acks::default() };
        let (mut out, mut covered) = (Vec::new(), 0);
        for _ in 0..3 {
            acks.sent_message(Instant::now(), &mut out);
        }
        for (h, wanted) in [(u32::MAX - 1, 0), (0, 2), (0, 2), (1, 3)] {
            acks.acknowledged(h, |_| covered += 1).unwrap();
            assert_eq!(covered, wanted, "h={h}");
        }
        assert!(acks.acknowledged(2, |_| {}).is_err());
        assert_eq!(out, b"<r xmlns='urn:xmpp:sm:3'/>".repeat(3));
    }
}
