//! A bound session at the edge: what its client says becomes a frame, what is for it becomes XML.

use super::xml::MESSAGE;
use super::{Piece, Work};
use hearth_connmgr::session::{Session, Taken};
use hearth_connmgr::xml::{Limits, Scope, Scratch, parse_element};
use hearth_wire::ids::{Generation, SlotKey, StreamId};
use hearth_wire::limits::RECENT_MAX;
use hearth_wire::stanza::Stanza;
use hearth_wire::to_edge::{Bound, Settled, Target};
use hearth_wire::tree::{self, Node};
use std::hint::black_box;

pub(super) const PIECES: [Piece; 3] = [
    // What is kept of it until it is settled.
    Piece::new("edge: a message to a frame, then settled", 2.1, inbound),
    Piece::new("edge: a delivery to XML, then written", 0.0, || outbound(false)),
    Piece::new("edge: a logged delivery to XML, then written", 0.0, || outbound(true)),
];

const GENERATION: Generation = Generation { epoch: 3, counter: 70_000 };
const COUNTER: u64 = 7;
const PLENTY: u64 = 1 << 50;

fn session() -> Session {
    let bound = Bound {
        counter: COUNTER,
        stream: StreamId([5; 16]),
        generation: GENERATION,
        jid: "ada@example.org/desk",
        credit: PLENTY,
    };
    Session::new(&bound, Some("en"), false)
}

fn inbound() -> Work {
    let (mut session, mut number) = (session(), 0);
    let (mut scratch, mut link, mut tree) = (Vec::new(), Vec::new(), Vec::new());
    let scope = Scope::default();
    parse_element(MESSAGE.as_bytes(), &scope, &Limits::AUTHENTICATED, &mut Scratch::default(), &mut tree).unwrap();
    Box::new(move || {
        link.clear();
        let Some(Node::Element(element)) = tree::nodes(black_box(&tree), tree::CLIENT).next() else {
            panic!("no element")
        };
        let taken = session.on_element(COUNTER, &element, PLENTY, &mut scratch, &mut link).unwrap();
        assert_eq!(taken, Taken::Sent);
        number += 1;
        session.on_settled(&Settled { counter: COUNTER, generation: GENERATION, number, credit: PLENTY });
    })
}

fn outbound(logged: bool) -> Work {
    let (mut session, mut entry, ids) = (session(), 0, SlotKey([1; 16]));
    let stanza = super::wire::message("ada@example.org");
    let (mut out, mut link) = (Vec::new(), Vec::new());
    let mut work = move || {
        out.clear();
        link.clear();
        entry += 1;
        let target = Target { counter: COUNTER, generation: GENERATION, entry, overlay: Default::default() };
        let view = Stanza::decode(black_box(&stanza)).unwrap();
        let log = logged.then_some(1_000 + entry);
        assert!(session.on_deliver(&target, log, &ids, &view, stanza.len(), &mut out));
        session.on_written();
        session.report(COUNTER, &mut link);
    };
    // What it remembers as written grows until the core says that it is stored, every few seconds.
    (0..if logged { RECENT_MAX } else { 0 }).for_each(|_| work());
    Box::new(work)
}
