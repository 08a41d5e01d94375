//! Sessions of one event loop that have no link (version 2), in the order they are named on the next one: by counter.
//! Those whose socket has ended meanwhile are kept here, until the core has what they left unsettled. Pure.
//!
//! ```text
//!  link lost ──▶ waiting ──Attach──▶ (attached by the core's answer, or closed)
//!                   ▲                     │ socket ended
//!  socket ended ────┴──────── Tomb ◀──────┘ ──all is sent again, Closed──▶ gone
//! ```

use crate::limits::TOMBS_MAX;
use crate::session::Session;
use hearth_wire::ids::{Generation, ShardIndex};
use hearth_wire::to_core::{Closed, ToCore};
use hearth_wire::to_edge::Attached;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Default)]
pub struct Detached {
    waiting: BTreeSet<u64>,
    tombs: BTreeMap<u64, Tomb>,
}

/// A session whose socket has ended.
struct Tomb {
    session: Box<Session>,
    /// By the client's closing tag.
    clean: bool,
    /// Where it is named, if it is.
    shard: Option<ShardIndex>,
}

impl Detached {
    pub fn new() -> Detached {
        Detached::default()
    }

    /// A session on a socket lost its link.
    pub fn add(&mut self, counter: u64) {
        self.waiting.insert(counter);
    }

    /// The session to be named next.
    pub fn first(&self) -> Option<u64> {
        self.waiting.first().copied()
    }

    /// It is named, or not there any more.
    pub fn done(&mut self, counter: u64) {
        self.waiting.remove(&counter);
    }

    /// Whether nobody waits to be named.
    /// How many sessions are left without a socket.
    pub fn len(&self) -> usize {
        self.tombs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sockets that ended and whose sessions the core does not know of.
    pub fn tombs(&self) -> usize {
        self.tombs.len()
    }

    /// The socket of a session without a link, or with more to send again, has ended. `shard`: where the session
    /// is named, if it is. False if another one had to be forgotten for it.
    pub fn bury(&mut self, counter: u64, session: Box<Session>, clean: bool, shard: Option<ShardIndex>) -> bool {
        let forgotten = if self.tombs.len() >= TOMBS_MAX { self.tombs.pop_first() } else { None };
        if let Some((counter, _)) = &forgotten {
            self.waiting.remove(counter);
        }
        if shard.is_none() {
            self.waiting.insert(counter);
        }
        self.tombs.insert(counter, Tomb { session, clean, shard });
        forgotten.is_none()
    }

    /// The session of a socket that ended.
    pub fn session(&self, counter: u64) -> Option<&Session> {
        self.tombs.get(&counter).map(|tomb| &*tomb.session)
    }

    /// Names such a session; false if there is none.
    pub fn attach(&mut self, counter: u64, shard: ShardIndex, link: &mut Vec<u8>) -> bool {
        let Some(tomb) = self.tombs.get_mut(&counter) else { return false };
        tomb.session.attach(counter, Some(tomb.clean), link);
        tomb.shard = Some(shard);
        self.waiting.remove(&counter);
        true
    }

    /// The core has a session; false if its socket has not ended.
    pub fn on_attached(&mut self, attached: &Attached) -> bool {
        self.tombs.get_mut(&attached.counter).is_some_and(|tomb| tomb.session.on_attached(attached))
    }

    /// Sends again what the link to `shard` has credit for, and behind the last of a session that its socket ended.
    /// The bytes that were credited.
    pub fn go_on(&mut self, shard: ShardIndex, credit: u64, link: &mut Vec<u8>) -> usize {
        let mut used = 0usize;
        self.tombs.retain(|counter, tomb| {
            if tomb.shard != Some(shard) || tomb.session.is_away() {
                return true;
            }
            let before = link.len();
            let done = tomb.session.resend(*counter, credit.saturating_sub(used as u64), link);
            used = used.saturating_add(link.len().saturating_sub(before));
            if done {
                let generation = Some(tomb.session.generation());
                ToCore::Closed(Closed { counter: *counter, generation, clean: tomb.clean }).encode(link);
            }
            !done
        });
        used
    }

    /// The core will not have a session, or has ended it; whether it means this attachment.
    pub fn on_close(&mut self, counter: u64, generation: Option<Generation>) {
        let meant = |tomb: &Tomb| generation.is_none_or(|generation| tomb.session.generation() == generation);
        if self.tombs.get(&counter).is_some_and(meant) {
            self.forget(counter);
        }
    }

    /// Nobody will have it.
    pub fn forget(&mut self, counter: u64) {
        self.tombs.remove(&counter);
        self.waiting.remove(&counter);
    }

    /// A link is gone: what was named on it is to be named again.
    pub fn on_link_lost(&mut self, shard: ShardIndex) {
        for (counter, tomb) in self.tombs.iter_mut().filter(|(_, tomb)| tomb.shard == Some(shard)) {
            tomb.shard = None;
            tomb.session.on_link_lost();
            self.waiting.insert(*counter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{self, Limits, Scope, Scratch};
    use hearth_wire::codec::{self, FRAME_BYTES_MAX};
    use hearth_wire::ids::StreamId;
    use hearth_wire::to_edge::Bound;
    use hearth_wire::tree::{self, Node};

    const FIRST: Generation = Generation { epoch: 1, counter: 1 };

    /// A session that lost its link and has kept `stanzas`.
    fn away(stanzas: usize) -> Box<Session> {
        let bound =
            Bound { counter: 1, stream: StreamId([1; 16]), generation: FIRST, jid: "me@a.example/r", credit: 9999 };
        let mut session = Session::new(&bound, None, true);
        session.on_link_lost();
        let mut encoded = Vec::new();
        let xml = b"<message><body>hello</body></message>";
        let (scope, limits) = (Scope::default(), Limits::AUTHENTICATED);
        xml::parse_element(xml, &scope, &limits, &mut Scratch::default(), &mut encoded).unwrap();
        let Some(Node::Element(element)) = tree::nodes(&encoded, xml::CLIENT).next() else { panic!() };
        for _ in 0..stanzas {
            session.on_element(1, &element, 0, &mut Vec::new(), &mut Vec::new()).unwrap();
        }
        Box::new(session)
    }

    fn attached(counter: u64) -> Attached {
        let generation = Generation { epoch: 2, counter: 1 };
        Attached { counter, before: FIRST, generation, received: 0, settled: 0, credit: 100 }
    }

    fn names(mut link: &[u8]) -> Vec<&'static str> {
        let mut names = Vec::new();
        while let Some((frame, used)) = codec::split(link, FRAME_BYTES_MAX).unwrap() {
            names.push(ToCore::decode(frame).unwrap().unwrap().name());
            link = &link[used..];
        }
        names
    }

    #[test]
    fn what_a_socket_left_is_named_sent_and_closed() {
        let (mut detached, mut link) = (Detached::new(), Vec::new());
        detached.add(9);
        assert!(detached.bury(9, away(2), false, None) && detached.bury(7, away(0), true, None));
        assert_eq!(detached.first(), Some(7));
        for counter in [7, 9] {
            assert!(detached.attach(counter, 3, &mut link));
        }
        assert!(detached.is_empty() && !detached.attach(8, 3, &mut link));
        assert_eq!(detached.go_on(3, u64::MAX, &mut link), 0, "the core has not answered");
        assert!(!detached.on_attached(&attached(8)), "somebody else's");
        assert!(detached.on_attached(&attached(9)) && detached.on_attached(&attached(7)));
        assert_eq!(names(&link), ["OpenQuestions", "Attach", "OpenQuestions", "Attach"]);
        link.clear();
        assert_eq!(detached.go_on(2, u64::MAX, &mut link), 0, "another link");
        // Credit for one, then for all.
        let one = detached.go_on(3, 50, &mut link);
        assert_eq!(names(&link), ["Closed", "StanzaAgain"]);
        assert!(one > 0 && one <= 50);
        assert!(detached.go_on(3, 80, &mut link) > 0);
        assert_eq!(names(&link), ["Closed", "StanzaAgain", "StanzaAgain", "Closed"]);
        assert_eq!(detached.tombs(), 0);
    }

    #[test]
    fn a_lost_link_and_a_refusal() {
        let (mut detached, mut link) = (Detached::new(), Vec::new());
        assert!(detached.bury(1, away(1), true, Some(0)));
        assert!(detached.is_empty(), "it is named by its client");
        detached.on_link_lost(1);
        assert!(detached.is_empty());
        detached.on_link_lost(0);
        assert_eq!(detached.first(), Some(1));
        assert!(detached.attach(1, 0, &mut link) && detached.on_attached(&attached(1)));
        detached.on_link_lost(0);
        assert!(detached.attach(1, 0, &mut link));
        assert_eq!(detached.go_on(0, u64::MAX, &mut link), 0, "not before the core has it again");
        detached.on_close(1, Some(FIRST));
        assert_eq!(detached.tombs(), 1, "that attachment is over");
        detached.on_close(1, Some(Generation { epoch: 2, counter: 1 }));
        assert!(detached.tombs() == 0 && detached.is_empty());
    }

    #[test]
    fn too_many_are_forgotten_from_the_first() {
        let mut detached = Detached::new();
        let max = TOMBS_MAX as u64;
        assert!((1..=max).all(|counter| detached.bury(counter, away(0), true, None)));
        assert!(!detached.bury(max + 1, away(0), true, None));
        assert_eq!((detached.tombs(), detached.first()), (TOMBS_MAX, Some(2)));
    }
}
