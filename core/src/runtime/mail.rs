//! What reaches a shard thread from other threads, and how it is woken.

use crate::commands::{Call, Reply};
use crate::derive::Derived;
use crate::outputs::DerivationId;
use crate::route::PeerMessage;
use crossbeam_channel::{Receiver, Sender, unbounded};
use hearth_link::Socket;
use hearth_storage::{Answered, EdgeRecord};
use hearth_wire::ids::ShardIndex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One message to a shard thread.
pub(crate) enum Mail {
    /// A connection for this shard, and the name its key is bound to if it is over TLS.
    Link {
        socket: Socket,
        edge: Option<String>,
    },
    Peer {
        from: ShardIndex,
        messages: Vec<PeerMessage>,
    },
    Answers(Vec<Answered>),
    Derived {
        id: DerivationId,
        derived: Derived,
    },
    PutEdge {
        edge: EdgeRecord,
        reply: Sender<Reply>,
    },
    EdgeRevoked {
        edge: String,
    },
    Control {
        call: Call,
        reply: Sender<Reply>,
    },
    /// The core is about to stop; the index comes back once nothing is left to wait for.
    Drain {
        done: Sender<ShardIndex>,
    },
    Stop,
}

/// Puts mail into a shard's inbox. What fills an inbox is bounded where it begins: peers by outbox
/// credit, answers by questions under way, keys by the derivation queue, links and commands by their
/// listeners.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Mail>,
    waker: Arc<mio::Waker>,
    /// A wake-up is on its way, so nobody else needs to make one.
    woken: Arc<AtomicBool>,
}

/// The shard thread's end.
pub(crate) struct Inbox {
    pub(crate) receiver: Receiver<Mail>,
    woken: Arc<AtomicBool>,
}

impl Mailbox {
    pub(crate) fn new(poll: &mio::Poll, token: mio::Token) -> io::Result<(Mailbox, Inbox)> {
        let (sender, receiver) = unbounded();
        let woken = Arc::new(AtomicBool::new(false));
        let waker = Arc::new(mio::Waker::new(poll.registry(), token)?);
        Ok((Mailbox { sender, waker, woken: woken.clone() }, Inbox { receiver, woken }))
    }

    /// Messages that wait there.
    pub(crate) fn waiting(&self) -> usize {
        self.sender.len()
    }

    /// Delivers; false if the shard thread is gone.
    pub(crate) fn send(&self, mail: Mail) -> bool {
        if self.sender.send(mail).is_err() {
            return false;
        }
        if !self.woken.swap(true, Ordering::AcqRel) {
            // A full eventfd cannot happen: it counts to 2^64.
            let _ = self.waker.wake();
        }
        true
    }
}

impl Inbox {
    /// Call before draining: what comes after this wakes the thread again.
    pub(crate) fn about_to_drain(&self) {
        self.woken.store(false, Ordering::Release);
    }
}
