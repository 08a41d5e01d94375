//! XML at the edge: framing, parsing to a tree, rendering, per stanza. `cargo bench --bench xml`.
//!
//! Each figure is that of the least disturbed of many rounds on one thread, bytes in cache and buffers reused. What is
//! allocated on the way is counted and must be nothing.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench prints, and stops if it fails"
)]

use hearth_benches::counting::{Counting, allocations};
use hearth_connmgr::render;
use hearth_connmgr::xml::{Framer, Limits, Scope, Scratch, parse_element};
use hearth_wire::stanza::{Overlay, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{self, Node};
use std::hint::black_box;
use std::time::{Duration, Instant};

const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// 290 bytes: a chat message as Conversations or Gajim sends it.
const MESSAGE: &str = "<message to='grace.hopper@example.org' type='chat' \
    id='b1c9f3a2'><body>I will be there at eight, unless the train is late again.</body>\
    <origin-id xmlns='urn:xmpp:sid:0' id='b1c9f3a2-7d4e'/><request xmlns='urn:xmpp:receipts'/>\
    <active xmlns='http://jabber.org/protocol/chatstates'/></message>";

const PRESENCE: &str = "<presence id='a7' xml:lang='en'><show>away</show><status>gone for a walk</status><priority>5\
    </priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://gajim.org' \
    ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>";

const IQ: &str = "<iq type='get' id='roster-1' to='ada@example.org' from='ada@example.org/desk'>\
    <query xmlns='jabber:iq:roster' ver='17'/></iq>";

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Nanoseconds and allocations of one call: those of the least disturbed of many short rounds.
fn time(mut call: impl FnMut()) -> (f64, u64) {
    const ROUND: Duration = Duration::from_millis(1);
    const ROUNDS: u32 = 300;
    let mut calls = 1u32;
    while calls < 1 << 20 && round(&mut call, calls) < ROUND {
        calls *= 2;
    }
    let before = allocations();
    let least = (0..ROUNDS).map(|_| round(&mut call, calls)).min().unwrap_or_default();
    (least.as_secs_f64() * 1e9 / f64::from(calls), allocations() - before)
}

fn round(call: &mut impl FnMut(), calls: u32) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed()
}

fn row(what: &str, bytes: usize, call: impl FnMut()) {
    let (ns, allocations) = time(call);
    println!("{what:<34} {ns:>9.0} ns {:>8.0} MB/s   {bytes} bytes", bytes as f64 * 1e3 / ns);
    assert_eq!(allocations, 0, "{what} allocates");
}

fn framer_in_stream() -> Framer {
    let mut framer = Framer::new();
    framer.next(HEADER, &Limits::AUTHENTICATED).unwrap().expect("a header");
    framer
}

fn stanza(name: &str, xml: &str) {
    let (limits, scope, mut scratch) = (Limits::AUTHENTICATED, Scope::default(), Scratch::default());
    let mut framer = framer_in_stream();
    row(&format!("{name}: framing"), xml.len(), || {
        let found = framer.next(black_box(xml.as_bytes()), &limits).unwrap();
        assert!(found.is_some_and(|(_, len)| len == xml.len()));
    });
    let mut out = Vec::new();
    row(&format!("{name}: parse_element"), xml.len(), || {
        out.clear();
        parse_element(black_box(xml.as_bytes()), &scope, &limits, &mut scratch, &mut out).unwrap();
    });
    let mut rendered = Vec::new();
    row(&format!("{name}: render::nodes"), out.len(), || {
        rendered.clear();
        render::nodes(black_box(&out), tree::CLIENT, &mut rendered).unwrap();
    });
    let Some(Node::Element(element)) = tree::nodes(&out, tree::CLIENT).next() else { panic!("no element") };
    let stanza = Stanza {
        id: element.attr("id"),
        to: element.attr("to"),
        from: element.attr("from"),
        payload: element.content(),
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    let overlay = Overlay { to: Some("grace.hopper@example.org/phone"), ..Overlay::default() };
    row(&format!("{name}: render::stanza"), stanza.payload.len(), || {
        rendered.clear();
        render::stanza(black_box(&stanza), &overlay, &mut rendered).unwrap();
    });
}

fn main() {
    assert_eq!(MESSAGE.len(), 290);
    stanza("message", MESSAGE);
    stanza("presence", PRESENCE);
    stanza("iq", IQ);
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAJYAAACWCAYAAAA8AXHi".repeat(1500);
    let avatar = format!("<iq type='set' id='1'><data xmlns='urn:xmpp:avatar:data'>{picture}</data></iq>");
    stanza("avatar", &avatar);
    let bundle: String = (0..100)
        .map(|id| format!("<preKeyPublic preKeyId='{id}'>BSVAtTY3hTzAc3ZXJ5dGhpbmcgaXMgYmFzZTY0Lg==</preKeyPublic>"))
        .collect();
    let bundle =
        format!("<iq type='set' id='1'><prekeys xmlns='eu.siacs.conversations.axolotl'>{bundle}</prekeys></iq>");
    stanza("key bundle", &bundle);
}
