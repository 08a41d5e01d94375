//! What runs did: for comparing them, and to see what a sweep covered.

use std::fmt;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trace {
    /// Hash of every byte clients received, in order.
    pub hash: u64,
    pub sessions: u64,
    pub messages_acknowledged: u64,
    pub messages_delivered: u64,
    /// Messages that more than one session got.
    pub messages_repeated: u64,
    pub iqs_answered: u64,
    /// Changes of rosters that were acknowledged.
    pub changes: u64,
    /// How often somebody heard that somebody is gone.
    pub said_gone: u64,
    /// Sessions that went on at another socket, on another link, with another core.
    pub resumed: u64,
    pub attached: u64,
    pub adopted: u64,
    pub links_lost: u64,
    /// Edges that died and came back as a later run.
    pub edges_lost: u64,
    /// Ends of the core: by a crash, and in good order.
    pub crashes: u64,
    pub stops: u64,
    pub slots_moved: u64,
    /// Questions that storage refused because their slot had moved.
    pub fenced: u64,
}

impl Trace {
    fn counts(&mut self) -> [(&'static str, &mut u64); 16] {
        [
            ("sessions", &mut self.sessions),
            ("messages acknowledged", &mut self.messages_acknowledged),
            ("deliveries", &mut self.messages_delivered),
            ("messages repeated to another session", &mut self.messages_repeated),
            ("questions answered", &mut self.iqs_answered),
            ("changes acknowledged", &mut self.changes),
            ("ends of sessions announced", &mut self.said_gone),
            ("sessions resumed", &mut self.resumed),
            ("sessions attached to another link", &mut self.attached),
            ("of them adopted by the next core", &mut self.adopted),
            ("links lost", &mut self.links_lost),
            ("edges lost", &mut self.edges_lost),
            ("crashes of the core", &mut self.crashes),
            ("orderly stops of the core", &mut self.stops),
            ("slots moved", &mut self.slots_moved),
            ("questions fenced", &mut self.fenced),
        ]
    }

    /// Adds what another run did.
    pub fn add(&mut self, mut other: Trace) {
        for ((_, sum), (_, more)) in self.counts().into_iter().zip(other.counts()) {
            *sum += *more;
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clone().counts().into_iter().try_for_each(|(what, count)| writeln!(f, "{count:>12} {what}"))
    }
}
