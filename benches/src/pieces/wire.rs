//! Trees, stanzas and frames.

use super::{Piece, Work};
use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Overlay, Stanza, StanzaIdOverlay, StanzaKind, StanzaType};
use hearth_wire::to_core::{StanzaIn, ToCore};
use hearth_wire::to_edge::{Deliver, Multicast, Target, ToEdge};
use hearth_wire::{codec, tree};
use std::hint::black_box;

pub(super) const PIECES: [Piece; 9] = [
    Piece::new("tree: build a chat message", 0.0, build_tree),
    Piece::new("tree: validate a chat message", 0.0, validate),
    Piece::new("tree: walk a chat message", 0.0, walk),
    Piece::new("stanza: encode", 0.0, encode_stanza),
    Piece::new("stanza: decode", 0.0, decode_stanza),
    Piece::new("frame: a stanza to the core, both ways", 0.0, stanza_in),
    Piece::new("frame: a delivery to an edge, both ways", 0.0, deliver),
    Piece::new("frame: encode a multicast to 25", 0.0, encode_multicast),
    // The list of targets, which grows once.
    Piece::new("frame: decode a multicast to 25", 2.0, decode_multicast),
];

const GENERATION: Generation = Generation { epoch: 3, counter: 70_000 };

/// What a client of today sends with a line of text: body, receipt, marker, chat state, id.
fn chat(tree: &mut tree::Builder, body: &str) {
    tree.leaf(None, "body", body);
    tree.open(Some("urn:xmpp:receipts"), "request").close();
    tree.open(Some("urn:xmpp:chat-markers:0"), "markable").close();
    tree.open(Some("http://jabber.org/protocol/chatstates"), "active").close();
    tree.open(Some("urn:xmpp:sid:0"), "origin-id").attr("id", "8d7c0a8f-5b0e-4f0e-9d53-1f5be7a4b0c5").close();
}

fn payload() -> Vec<u8> {
    let mut tree = tree::Builder::new();
    chat(&mut tree, &"x".repeat(100));
    tree.finish()
}

fn stanza(payload: &[u8]) -> Stanza<'_> {
    Stanza {
        id: Some("a1b2c3d4"),
        to: Some("juliet@capulet.example"),
        from: Some("romeo@montague.example/orchard"),
        lang: Some("en"),
        payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    }
}

/// The stanza of a message to `to`, as an edge sends it.
pub(super) fn message(to: &str) -> Vec<u8> {
    Stanza { to: Some(to), from: None, ..stanza(&payload()) }.encode()
}

fn build_tree() -> Work {
    let (body, mut buffer) = ("x".repeat(100), Vec::new());
    Box::new(move || {
        let mut tree = tree::Builder::reuse(std::mem::take(&mut buffer));
        chat(&mut tree, black_box(&body));
        buffer = tree.finish();
    })
}

fn validate() -> Work {
    let payload = payload();
    Box::new(move || tree::validate(black_box(&payload), tree::DEPTH_MAX).unwrap())
}

fn walk() -> Work {
    let payload = payload();
    Box::new(move || {
        for element in tree::children(black_box(&payload)) {
            black_box(element.nodes().count() + element.attrs().count());
        }
    })
}

fn encode_stanza() -> Work {
    let (payload, mut out) = (payload(), Vec::new());
    Box::new(move || {
        out.clear();
        black_box(stanza(&payload)).encode_into(&mut out);
    })
}

fn decode_stanza() -> Work {
    let encoded = stanza(&payload()).encode();
    Box::new(move || {
        black_box(Stanza::decode(black_box(&encoded)).unwrap());
    })
}

fn body(link: &[u8]) -> &[u8] {
    codec::split(black_box(link), codec::FRAME_BYTES_MAX).unwrap().unwrap().0
}

fn stanza_in() -> Work {
    let (encoded, mut link) = (stanza(&payload()).encode(), Vec::new());
    Box::new(move || {
        link.clear();
        let frame = StanzaIn { counter: 70_001, generation: GENERATION, number: 9, fault: None, stanza: &encoded };
        black_box(ToCore::Stanza(frame)).encode(&mut link);
        black_box(ToCore::decode(body(&link)).unwrap().unwrap());
    })
}

fn target(counter: u64) -> Target<'static> {
    let by = "juliet@capulet.example";
    let overlay = Overlay {
        to: Some("juliet@capulet.example/balcony.3f9a1c77"),
        stanza_id: Some(StanzaIdOverlay { id: "0000018f3a2b1c00", by }),
        ..Overlay::default()
    };
    Target { counter, generation: GENERATION, entry: 12, overlay }
}

fn deliver() -> Work {
    let (encoded, mut link) = (stanza(&payload()).encode(), Vec::new());
    Box::new(move || {
        link.clear();
        black_box(ToEdge::Deliver(Deliver { target: target(70_001), stanza: &encoded })).encode(&mut link);
        black_box(ToEdge::decode(body(&link)).unwrap().unwrap());
    })
}

fn encode_multicast() -> Work {
    // The frame borrows it for as long as the piece lives.
    let encoded: &'static [u8] = stanza(&payload()).encode().leak();
    let frame = ToEdge::Multicast(Multicast { targets: (0..25).map(target).collect(), stanza: encoded });
    let mut link = Vec::new();
    Box::new(move || {
        link.clear();
        black_box(&frame).encode(&mut link);
    })
}

fn decode_multicast() -> Work {
    let (encoded, mut link) = (stanza(&payload()).encode(), Vec::new());
    ToEdge::Multicast(Multicast { targets: (0..25).map(target).collect(), stanza: &encoded }).encode(&mut link);
    Box::new(move || {
        black_box(ToEdge::decode(body(&link)).unwrap().unwrap());
    })
}
