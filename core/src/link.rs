//! A link as the shard sees it: whose it is, what it may still carry, which sockets it names.

use crate::limits;
use crate::questions::Open;
use crate::session::SessionKey;
use hearth_wire::BareJid;
use hearth_wire::ids::EdgeIncarnation;
use hearth_wire::to_core::VERSION_ATTACH;
use std::collections::VecDeque;

/// Index of a link of one shard; reused after the link is gone and all it named is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u16);

impl LinkId {
    /// Of a session without a socket. No link is called so, and frames for it are nobody's.
    pub const NOWHERE: LinkId = LinkId(u16::MAX);
}

/// State of one link.
#[derive(Debug)]
pub struct Link {
    pub edge: Box<str>,
    /// The edge's name by its key; `None` on this machine, where files decide who may connect.
    pub key_of: Option<Box<str>>,
    pub incarnation: EdgeIncarnation,
    pub event_loop: u16,
    /// Spoken on it; 0 before `Hello`.
    pub version: u16,
    /// False until `Hello` was accepted: nothing else is allowed before.
    pub greeted: bool,
    /// False from the moment it is down: its sessions wait to be attached anew, or are being closed.
    pub up: bool,
    /// Until when they wait, `Now::mono_ms`.
    pub lost_until_ms: Option<u64>,
    /// Bytes of credited frames received, and the absolute credit last granted.
    pub received_bytes: u64,
    pub granted_bytes: u64,
    /// Bytes of credited frames sent, and the absolute credit the edge granted.
    pub sent_bytes: u64,
    pub credit_bytes: u64,
    /// Credit that the edge grants ahead of what it has read.
    pub edge_window_bytes: u64,
    /// Sessions that hold entries back because this link's credit is used up.
    pub waiting: VecDeque<SessionKey>,
    /// The edge takes no new clients.
    pub draining: bool,
    /// Said of the session that is attached next.
    pub questions: Option<(u64, Open)>,
    /// As well: log ids that its client has had.
    pub recent: Option<(u64, Vec<u64>)>,
    /// Shown by the client that logs in next.
    pub certificate: Option<(u64, Vec<BareJid>)>,
}

impl Link {
    /// Whether its sessions outlive it.
    pub fn attaches(&self) -> bool {
        self.version >= VERSION_ATTACH
    }

    /// Whether the edge is not far behind: [`limits::LINK_CALM_BYTES`].
    pub fn is_calm(&self) -> bool {
        let read = self.credit_bytes.saturating_sub(self.edge_window_bytes);
        !self.up || self.sent_bytes.saturating_sub(read) <= limits::LINK_CALM_BYTES
    }

    /// Whether it is of the same event loop of the same run of an edge.
    pub fn is_of(&self, other: &Link) -> bool {
        (&self.edge, self.incarnation, self.event_loop) == (&other.edge, other.incarnation, other.event_loop)
    }

    /// A link whose connection is there and whose `Hello` is not.
    pub fn ungreeted() -> Link {
        Link {
            edge: "".into(),
            key_of: None,
            incarnation: 0,
            event_loop: 0,
            version: 0,
            greeted: false,
            up: true,
            lost_until_ms: None,
            received_bytes: 0,
            granted_bytes: 0,
            sent_bytes: 0,
            credit_bytes: 0,
            edge_window_bytes: 0,
            waiting: VecDeque::new(),
            questions: None,
            recent: None,
            certificate: None,
            draining: false,
        }
    }
}
