//! The hot paths of `hearth-wire`, in nanoseconds of one thread: `cargo bench -p hearth-benches --bench wire`.
//! A word behind `--` runs the cases whose name contains it. Without `--bench`, as `cargo test` calls it,
//! each case runs once.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "fixed input")]

use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaIdOverlay, StanzaKind, StanzaType};
use hearth_wire::to_core::{StanzaIn, ToCore};
use hearth_wire::to_edge::{Deliver, Multicast, Target, ToEdge};
use hearth_wire::{BareJid, FullJid, Jid, codec, dictionary, jid, tree};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds of which the fastest counts, and how long each takes at least.
const ROUNDS: u32 = 30;
const ROUND: Duration = Duration::from_millis(5);

struct Table {
    measure: bool,
    only: Option<String>,
}

impl Table {
    fn case(&self, name: &str, mut work: impl FnMut()) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        work();
        if !self.measure {
            return;
        }
        let mut times = 1u32;
        while time(&mut work, times) < ROUND {
            times *= 2;
        }
        let best = (0..ROUNDS).map(|_| time(&mut work, times)).min().unwrap_or_default();
        println!("{name:<44} {:>9.1} ns", best.as_secs_f64() * 1e9 / f64::from(times));
    }
}

fn time(work: &mut impl FnMut(), times: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed()
}

/// What a client of today sends with a line of text: body, receipt, marker, chat state, id.
fn build(tree: &mut tree::Builder, body: &str) {
    tree.leaf(None, "body", body);
    tree.open(Some("urn:xmpp:receipts"), "request").close();
    tree.open(Some("urn:xmpp:chat-markers:0"), "markable").close();
    tree.open(Some("http://jabber.org/protocol/chatstates"), "active").close();
    tree.open(Some("urn:xmpp:sid:0"), "origin-id").attr("id", "8d7c0a8f-5b0e-4f0e-9d53-1f5be7a4b0c5").close();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let only = arguments.into_iter().find(|argument| !argument.starts_with('-'));
    let table = Table { measure, only };
    names(&table);
    addresses(&table);
    trees(&table);
    frames(&table);
}

fn names(table: &Table) {
    for (name, text) in [
        ("number: body", "body"),
        ("number: long namespace", "http://jabber.org/protocol/pubsub#event"),
        ("number: unknown name", "bodies"),
        ("number: unknown namespace", "urn:example:unknown:thing:7"),
    ] {
        table.case(name, || {
            black_box(dictionary::number(black_box(text)));
        });
    }
    table.case("entry", || {
        black_box(dictionary::entry(black_box(300)));
    });
}

fn addresses(table: &Table) {
    table.case("BareJid::parse, 20 bytes", || {
        black_box(BareJid::parse(black_box("juliet@capulet.example")).unwrap());
    });
    table.case("FullJid::parse, 40 bytes", || {
        black_box(FullJid::parse(black_box("juliet@capulet.example/balcony.3f9a1c77")).unwrap());
    });
    table.case("FullJid::parse, upper case", || {
        black_box(FullJid::parse(black_box("Juliet@Capulet.Example/balcony.3f9a1c77")).unwrap());
    });
    table.case("Jid::parse, beyond ASCII", || {
        black_box(Jid::parse(black_box("jülia@bücher.example/Балкон")).unwrap());
    });
    table.case("jid::split, prepared text", || {
        black_box(jid::split(black_box("juliet@capulet.example/balcony.3f9a1c77")));
    });
    for (name, text) in [
        ("hostile localpart, digits in context", "\u{660}".repeat(511)),
        ("hostile localpart, joiners", format!("\u{628}{}", "\u{200c}\u{628}".repeat(204))),
        ("hostile localpart, katakana dots", "\u{30fb}".repeat(340) + "ア"),
        ("hostile localpart, marks", format!("a{}", "\u{301}\u{323}".repeat(255))),
    ] {
        table.case(name, || {
            black_box(jid::prepare_localpart(black_box(&text)).is_ok());
        });
    }
    let domain = ["\u{660}"; 50].concat();
    let domain = [&*domain; 10].join(".");
    table.case("hostile domainpart", || {
        black_box(jid::prepare_domainpart(black_box(&domain)).is_ok());
    });
}

fn payload(bytes: usize) -> Vec<u8> {
    let mut tree = tree::Builder::new();
    build(&mut tree, "");
    let body = "x".repeat(bytes.saturating_sub(tree.finish().len() + 4));
    let mut tree = tree::Builder::new();
    build(&mut tree, &body);
    tree.finish()
}

fn trees(table: &Table) {
    let body = "x".repeat(150);
    let mut buffer = Vec::new();
    table.case("tree: build a chat message", || {
        let mut tree = tree::Builder::reuse(std::mem::take(&mut buffer));
        build(&mut tree, black_box(&body));
        buffer = tree.finish();
        black_box(&buffer);
    });
    let message = payload(250);
    table.case("tree: validate a chat message", || {
        tree::validate(black_box(&message), tree::DEPTH_MAX).unwrap();
    });
    table.case("tree: walk a chat message", || {
        for element in tree::children(black_box(&message)) {
            black_box(element.nodes().count() + element.attrs().count());
        }
    });
    table.case("tree: find the last child by name", || {
        black_box(tree::child(black_box(&message), "urn:xmpp:sid:0", "origin-id").unwrap().attr("id"));
    });
    let mut roster = tree::Builder::new();
    roster.open(Some("jabber:iq:roster"), "query");
    for contact in 0..100 {
        roster.open(None, "item").attr("jid", &format!("contact{contact}@example.org")).attr("subscription", "both");
        roster.leaf(None, "group", "Friends").close();
    }
    let roster = roster.finish();
    table.case("tree: validate a roster of 100", || {
        tree::validate(black_box(&roster), tree::DEPTH_MAX).unwrap();
    });
    table.case("tree: walk a roster of 100", || {
        for item in tree::first(black_box(&roster)).unwrap().children() {
            black_box((item.attr("jid"), item.attr("subscription"), item.children().count()));
        }
    });
}

fn frames(table: &Table) {
    let payload = payload(230);
    let stanza = Stanza {
        id: Some("a1b2c3d4"),
        to: Some("juliet@capulet.example"),
        from: Some("romeo@montague.example/orchard"),
        lang: Some("en"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    let encoded = stanza.encode();
    if table.measure && table.only.is_none() {
        println!("(a stanza of {} bytes)", encoded.len());
    }
    table.case("stanza: encode", || {
        black_box(black_box(&stanza).encode());
    });
    table.case("stanza: decode", || {
        black_box(Stanza::decode(black_box(&encoded)).unwrap());
    });
    table.case("stanza: share", || {
        black_box(SharedStanza::new(black_box(&stanza)));
    });
    table.case("stanza: share a peer's bytes", || {
        black_box(SharedStanza::from_bytes(black_box(&encoded)).unwrap());
    });
    let generation = Generation { epoch: 3, counter: 70_000 };
    let frame = ToCore::Stanza(StanzaIn { counter: 70_001, generation, number: 9, fault: None, stanza: &encoded });
    let mut link = Vec::with_capacity(4096);
    table.case("frame: encode StanzaIn", || {
        link.clear();
        black_box(&frame).encode(&mut link);
        black_box(&link);
    });
    table.case("frame: split and decode StanzaIn", || {
        let (body, _) = codec::split(black_box(&link), codec::FRAME_BYTES_MAX).unwrap().unwrap();
        black_box(ToCore::decode(body).unwrap());
    });
    let overlay = Overlay {
        to: Some("juliet@capulet.example/balcony.3f9a1c77"),
        stanza_id: Some(StanzaIdOverlay { id: "0000018f3a2b1c00", by: "juliet@capulet.example" }),
        ..Overlay::default()
    };
    let target = |counter| Target { counter, generation, entry: 12, overlay };
    let frame = ToEdge::Deliver(Deliver { target: target(70_001), stanza: &encoded });
    table.case("frame: encode Deliver", || {
        link.clear();
        black_box(&frame).encode(&mut link);
        black_box(&link);
    });
    table.case("frame: split and decode Deliver", || {
        let (body, _) = codec::split(black_box(&link), codec::FRAME_BYTES_MAX).unwrap().unwrap();
        black_box(ToEdge::decode(body).unwrap());
    });
    let frame = ToEdge::Multicast(Multicast { targets: (0..100).map(target).collect(), stanza: &encoded });
    table.case("frame: encode Multicast to 100", || {
        link.clear();
        black_box(&frame).encode(&mut link);
        black_box(&link);
    });
    table.case("frame: split and decode Multicast to 100", || {
        let (body, _) = codec::split(black_box(&link), codec::FRAME_BYTES_MAX).unwrap().unwrap();
        black_box(ToEdge::decode(body).unwrap());
    });
}
