//! A shard: frames of an edge in, frames out, storage in memory. The edge's end is counted with it: it encodes what goes in
//! and decodes what comes out.

use super::{Piece, Work};
use crate::world::{Plan, World};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::tree;

pub(super) const PIECES: [Piece; 3] = [
    Piece::new("shard: route a message, log off", 6.5, || message(true)),
    // The store in memory keeps the record.
    Piece::new("shard: route a message through the log", 17.0, || message(false)),
    Piece::new("shard: presence to 25 contacts", 62.5, broadcast),
];

/// Stanzas between two reports of what was written.
const REPORT_EVERY: u32 = 16;

/// What a desktop client sends: caps, a priority.
#[must_use]
pub fn presence(priority: &str) -> Vec<u8> {
    let mut built = tree::Builder::new();
    built.leaf(None, "priority", priority);
    built
        .open(Some("http://jabber.org/protocol/caps"), "c")
        .attr("hash", "sha-1")
        .attr("node", "https://example.org/client")
        .attr("ver", "QgayPKawpkPSDYmwT/WM94uAlu0=")
        .close();
    Stanza { payload: &built.finish(), ..Stanza::new(StanzaKind::Presence, StanzaType::Available) }.encode()
}

/// A world in which everybody is there.
fn world(users: usize, contacts: usize, log_off: bool) -> World {
    let mut world = World::new(Plan { shards: 1, users, contacts, log_off });
    let available = presence("5");
    for user in 0..users {
        world.send(user, &available);
        world.acknowledge();
    }
    world
}

fn message(log_off: bool) -> Work {
    let mut world = world(2, 0, log_off);
    let message = super::wire::message("user1@example.org");
    let mut since = 0;
    Box::new(move || {
        let before = world.tally.stanzas;
        world.send(0, &message);
        assert_eq!(world.tally.stanzas, before + 1, "it arrives");
        since += 1;
        if since == REPORT_EVERY {
            since = 0;
            world.acknowledge();
        }
    })
}

fn broadcast() -> Work {
    let mut world = world(60, 25, true);
    let presences = [presence("5"), presence("6")];
    let mut turn = 0;
    Box::new(move || {
        let before = world.tally.stanzas;
        turn += 1;
        world.send(0, &presences[turn % 2]);
        // The 25, and the session itself.
        assert_eq!(world.tally.stanzas, before + 26);
        world.acknowledge();
    })
}
