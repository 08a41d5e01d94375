//! Stream management (XEP-0198) of one session, the client's half.

use crate::sim::check::Rule;
use std::collections::VecDeque;

/// See the module.
pub(in crate::sim) struct Managed {
    /// Number of the last stanza before `<enable/>`.
    base: u64,
    /// Stanzas since, and how many of them are handled; those that are not, oldest first.
    sent: u32,
    acknowledged: u32,
    kept: VecDeque<Kept>,
    /// Stanzas of the server since `<enabled/>`; `None` before it.
    pub(super) handled: Option<u32>,
    /// What names the session, if it may be resumed.
    pub(super) previd: Option<String>,
}

struct Kept {
    text: String,
    /// A message: its id, and whom it is for.
    message: Option<(u64, String)>,
}

impl Managed {
    /// `<enable/>` is sent behind stanza `base`.
    pub(super) fn new(base: u64) -> Managed {
        Managed { base, sent: 0, acknowledged: 0, kept: VecDeque::new(), handled: None, previd: None }
    }

    pub(super) fn enabled(&mut self, previd: Option<&str>) {
        self.handled = Some(0);
        self.previd = previd.map(str::to_owned);
    }

    pub(super) fn sent(&mut self, text: &str, message: Option<(u64, &str)>) {
        self.sent += 1;
        let message = message.map(|(id, to)| (id, to.to_owned()));
        self.kept.push_back(Kept { text: text.to_owned(), message });
    }

    /// A stanza of the server came.
    pub(super) fn got(&mut self) {
        if let Some(handled) = &mut self.handled {
            *handled += 1;
        }
    }

    /// The server has handled `h` stanzas; the messages that are acknowledged with it.
    pub(super) fn handled_up_to(&mut self, h: u32, client: &str) -> Result<Vec<u64>, Rule> {
        if h < self.acknowledged || h > self.sent {
            let (before, sent) = (self.acknowledged, self.sent);
            return Err(Rule::Handled { client: client.to_owned(), h, before, sent });
        }
        let more = usize::try_from(h - self.acknowledged).unwrap_or(usize::MAX);
        self.acknowledged = h;
        Ok(self.kept.drain(..more).filter_map(|kept| kept.message).map(|(id, _)| id).collect())
    }

    /// Number, among all of its session, of the last stanza that is handled.
    pub(super) fn number(&self) -> u64 {
        self.base + u64::from(self.acknowledged)
    }

    /// What is not handled, and the ids of messages among it.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.kept.iter().map(|kept| (kept.text.as_str(), kept.message.as_ref().map(|(id, _)| *id)))
    }

    /// Whom the messages among that are for.
    pub(super) fn messages(&self) -> Vec<String> {
        self.kept.iter().filter_map(|kept| kept.message.as_ref()).map(|(_, to)| to.clone()).collect()
    }
}
