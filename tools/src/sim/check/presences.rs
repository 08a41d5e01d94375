//! Nobody is announced as gone who is there.
//!
//! Each session stamps its presence with its number and how often it said itself that it is unavailable. Who
//! hears that a session is gone knows by the stamp which of its presences that ends.

use super::Rule;
use std::collections::{BTreeMap, BTreeSet};

/// Which presence of which session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(in crate::sim) struct Stamp {
    pub(in crate::sim) session: u64,
    pub(in crate::sim) times: u64,
}

impl Stamp {
    pub(in crate::sim) fn text(self) -> String {
        format!("{}.{}", self.session, self.times)
    }

    pub(in crate::sim) fn parse(text: &str) -> Option<Stamp> {
        let (session, times) = text.split_once('.')?;
        Some(Stamp { session: session.parse().ok()?, times: times.parse().ok()? })
    }
}

/// See the module.
#[derive(Default)]
pub(in crate::sim) struct Presences {
    /// What each session heard last of a full JID.
    heard: BTreeMap<(u64, String), Stamp>,
    /// By session and the full JID of which it was told last that it is gone.
    told: BTreeMap<(u64, String), Stamp>,
    /// Presences of sessions that a core had ended when it died; their edges had not heard of it.
    ended: BTreeSet<Stamp>,
    /// How often somebody was told so.
    pub(in crate::sim) gone: u64,
}

impl Presences {
    /// A session heard that another is available.
    pub(in crate::sim) fn available(&mut self, to: u64, jid: &str, stamp: Stamp) {
        self.heard.insert((to, jid.to_owned()), stamp);
        // What waited for its account may come behind what is known by now; then it is set right at once.
        self.told.remove(&(to, jid.to_owned()));
    }

    /// A session heard that another is unavailable.
    pub(in crate::sim) fn unavailable(&mut self, to: u64, jid: &str) {
        if let Some(stamp) = self.heard.remove(&(to, jid.to_owned())) {
            self.gone += 1;
            self.told.insert((to, jid.to_owned()), stamp);
        }
    }

    /// A session's socket is cut with this yet to come, begun or not: who would have heard at once that somebody is there
    /// after all was not left in error.
    pub(in crate::sim) fn cut(&mut self, to: u64, rest: &str) {
        self.told.retain(|(of, jid), _| {
            let presences = || rest.split("<presence ").skip(1).filter_map(|presence| presence.split('>').next());
            let of_it = format!("from='{jid}'");
            *of != to || !presences().any(|tag| tag.contains(&of_it) && !tag.contains("type="))
        });
    }

    /// The core has ended a session of which the edge, and so the next core, will believe that it is there.
    pub(in crate::sim) fn ended(&mut self, stamp: Stamp) {
        self.ended.insert(stamp);
    }

    /// At rest: nobody is there that somebody believes to be gone. `here`: whether this presence is.
    pub(in crate::sim) fn check(&mut self, here: impl Fn(&str, Stamp) -> bool) -> Result<(), Rule> {
        let wrong = |jid: &str, stamp| !self.ended.contains(&stamp) && here(jid, stamp);
        match std::mem::take(&mut self.told).into_iter().find(|((_, jid), stamp)| wrong(jid, *stamp)) {
            Some(((to, jid), _)) => Err(Rule::SaidGone { jid, to }),
            None => Ok(()),
        }
    }
}
