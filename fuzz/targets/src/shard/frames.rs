//! What the hostile edge says: frames out of bytes.

use super::world::World;
use hearth_wire::ids::{Generation, Slot, StreamId};
use hearth_wire::stanza::{Stanza, StanzaFault, StanzaKind, StanzaType};
use hearth_wire::to_core::{
    AllSent, Attach, AuthResponse, Authenticate, AuthenticateInline, Bind, ChannelBinding, Closed, Counter, Drained,
    Echo, Fast, Hello, LinkCredit, LoggedEntry, OpenQuestion, OpenQuestions, PreAuthIq, Recent, Resume, Security,
    SmEnable, StanzaIn, ToCore, UserAgent, VERSION_MAX, Written,
};
use hearth_wire::tree::Builder;
use std::net::IpAddr;

/// Bytes to be read; past their end they are zeros.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn some(&mut self) -> &'a [u8] {
        let (some, rest) = self.0.split_at(usize::from(self.byte()).min(self.0.len()));
        self.0 = rest;
        some
    }

    fn of<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[usize::from(self.byte()) % from.len()]
    }

    fn word<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[usize::from(self.byte()) % from.len()]
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number that is likely to be the one expected.
    fn number(&mut self, expected: u64) -> u64 {
        match self.byte() {
            0..=127 => expected,
            128..=159 => expected.wrapping_add(1),
            160..=175 => expected.wrapping_sub(1),
            176..=191 => u64::MAX,
            192..=207 => 0,
            208..=223 => u64::MAX / 2,
            _ => u64::from(self.byte()),
        }
    }

    fn short(&mut self, expected: u16) -> u16 {
        u16::try_from(self.number(u64::from(expected))).unwrap_or(u16::MAX)
    }

    /// Sockets: eve's, mallory's, others. Those of ann and bob have the numbers of the first two.
    fn counter(&mut self) -> u64 {
        *self.of(&[1, 1, 1, 2, 2, 3, 4, u64::MAX])
    }
}

const ADDRESSES: &[&str] = &[
    "bob@example.org",
    "bob@example.org/b",
    "ann@example.org/a",
    "eve@example.org",
    "eve@example.org/e",
    "mallory@example.org",
    "nobody@example.org",
    "example.org",
    "example.net",
    "x@example.net/y",
    "Bob@Example.Org",
    "bob@example.org/",
    "@",
    "",
    "b\u{f6}b@example.org",
];

const TYPES: &[StanzaType] = &[
    StanzaType::Normal,
    StanzaType::Chat,
    StanzaType::Groupchat,
    StanzaType::Headline,
    StanzaType::Available,
    StanzaType::Unavailable,
    StanzaType::Subscribe,
    StanzaType::Subscribed,
    StanzaType::Unsubscribe,
    StanzaType::Unsubscribed,
    StanzaType::Probe,
    StanzaType::Get,
    StanzaType::Set,
    StanzaType::Result,
    StanzaType::Error,
    StanzaType::Unknown,
];

/// Namespace and name of elements that some handler looks for, and what those have inside.
const ELEMENTS: &[(&str, &str)] = &[
    ("jabber:client", "body"),
    ("jabber:client", "priority"),
    ("jabber:client", "error"),
    ("jabber:iq:roster", "query"),
    ("jabber:iq:roster", "item"),
    ("jabber:iq:register", "query"),
    ("jabber:iq:register", "username"),
    ("jabber:iq:register", "password"),
    ("jabber:iq:register", "remove"),
    ("jabber:iq:private", "query"),
    ("jabber:iq:last", "query"),
    ("jabber:iq:search", "query"),
    ("jabber:x:data", "x"),
    ("vcard-temp", "vCard"),
    ("vcard-temp", "FN"),
    ("urn:xmpp:blocking", "block"),
    ("urn:xmpp:blocking", "unblock"),
    ("urn:xmpp:blocking", "blocklist"),
    ("urn:xmpp:blocking", "item"),
    ("urn:xmpp:invisible:1", "invisible"),
    ("urn:xmpp:invisible:1", "visible"),
    ("http://jabber.org/protocol/disco#info", "query"),
    ("http://jabber.org/protocol/disco#items", "query"),
    ("http://jabber.org/protocol/rsm", "set"),
    ("urn:xmpp:ping", "ping"),
    ("urn:xmpp:carbons:2", "received"),
    ("urn:xmpp:delay", "delay"),
    ("urn:xmpp:hints", "no-store"),
];

const TEXTS: &[&str] =
    &["", "x", "1", "-129", "127", "both", "remove", "bob@example.org", "eve", "pencil pencil", "true"];

/// A tree: each byte opens, closes, says something or ends it.
fn payload(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut tree = Builder::new();
    loop {
        match bytes.byte() {
            0..=79 => return tree.finish(),
            80..=159 => {
                let (ns, name) = *bytes.of(ELEMENTS);
                tree.open(Some(ns), name);
                for name in ["jid", "subscription", "by"].iter().take(usize::from(bytes.byte() % 4)) {
                    tree.attr(name, bytes.word(if *name == "jid" { ADDRESSES } else { TEXTS }));
                }
            }
            160..=207 => {
                tree.text(bytes.word(TEXTS));
            }
            208..=247 if tree.depth() > 0 => {
                tree.close();
            }
            _ => return bytes.some().to_vec(),
        }
    }
}

fn stanza(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let kind = *bytes.of(&[StanzaKind::Message, StanzaKind::Presence, StanzaKind::Iq]);
    let fitting: Vec<_> = TYPES.iter().copied().filter(|ty| ty.is_of(kind)).collect();
    let any = bytes.byte() > 240;
    let ty = *bytes.of(if any { TYPES } else { &fitting });
    let address = |bytes: &mut Bytes<'_>| bytes.flag().then(|| bytes.word(ADDRESSES));
    let (id, to, from) = (bytes.flag().then_some("i"), address(bytes), address(bytes));
    Stanza { kind, ty, id, to, from, lang: bytes.flag().then_some("en"), payload: &payload(bytes) }.encode()
}

fn generation(world: &World, bytes: &mut Bytes<'_>, counter: u64) -> Generation {
    match bytes.byte() {
        0..=199 => world.hostile.generation(counter),
        200..=219 => world.generation_of_ann(),
        220..=229 => Generation { epoch: u64::MAX, counter: u64::MAX },
        _ => Generation { epoch: 1, counter: u64::from(bytes.byte()) },
    }
}

fn authenticate<'a>(bytes: &mut Bytes<'a>) -> Authenticate<'a> {
    let initials: &[&[u8]] = &[
        b"\0bob\0x",
        b"ann@example.org\0eve\0pencil",
        b"n,,n=bob,r=abc",
        b"p=tls-exporter,,n=eve,r=abc",
        b"y,a=ann,n=eve,r=abc",
        b"bob\0token",
        b"",
    ];
    let mechanisms =
        ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "HT-SHA-256-NONE", "EXTERNAL", "ANONYMOUS", ""];
    let security = *bytes.of(&[Security::Tls13, Security::Tls12, Security::ClearLoopback]);
    Authenticate {
        counter: bytes.counter(),
        slot: Slot::new(u16::from(bytes.byte())).expect("small"),
        epoch: 1,
        domain: bytes.word(&["example.org", "example.net", "EXAMPLE.org", ""]),
        peer: IpAddr::from([192, 0, 2, bytes.byte() % 4]),
        security,
        binding: ChannelBinding { tls_exporter: bytes.flag().then_some(&[1; 32]), tls_server_end_point: None },
        mechanism: bytes.word(&mechanisms),
        initial: bytes.flag().then(|| if bytes.flag() { bytes.some() } else { *bytes.of(initials) }),
    }
}

fn attach<'a>(world: &'a World, bytes: &mut Bytes<'_>) -> Attach<'a> {
    let (counter, known) = (bytes.counter(), &world.hostile);
    let logged: Vec<_> =
        (0..u64::from(bytes.byte() % 4)).map(|n| LoggedEntry { entry: n, log: bytes.number(n) }).collect();
    let stranger = bytes.byte() > 230;
    Attach {
        counter,
        stream: if stranger { StreamId([7; 16]) } else { known.stream(counter) },
        generation: generation(world, bytes, counter),
        sealed: if bytes.byte() > 240 { b"sealed by nobody" } else { known.capsule(counter) },
        settled: bytes.number(0),
        number: bytes.number(1),
        entry: bytes.number(known.entry(counter)),
        written: bytes.number(known.entry(counter)),
        delivered_bytes: bytes.number(0),
        credit: bytes.number(1 << 20),
        log: bytes.number(0),
        unwritten: logged,
        recent: vec![bytes.number(1); usize::from(bytes.byte() % 3)],
        closed: bytes.flag().then(|| bytes.flag()),
    }
}

/// One step: a frame of the hostile edge, or something that happens.
pub(super) fn step(world: &mut World, bytes: &mut Bytes<'_>) {
    match bytes.byte() % 32 {
        0 => {
            // Whatever the bytes are.
            if let Ok(Some(frame)) = ToCore::decode(bytes.some()) {
                world.say(&frame);
            }
        }
        kind @ 1..=8 => {
            let (counter, stanza) = (bytes.counter(), stanza(bytes));
            let number = bytes.number(world.hostile.next_number(counter));
            let generation = generation(world, bytes, counter);
            let fault = *bytes.of(&[
                None,
                None,
                None,
                Some(StanzaFault::JidMalformed),
                Some(StanzaFault::BadRequest),
                Some(StanzaFault::Answered),
            ]);
            let frame = StanzaIn { counter, generation, number, fault, stanza: &stanza };
            world.hostile.sent(counter, number);
            world.say(&if kind == 8 { ToCore::StanzaAgain(frame) } else { ToCore::Stanza(frame) });
        }
        9 => {
            let counter = bytes.counter();
            let (generation, entry) = (generation(world, bytes, counter), world.hostile.entry(counter));
            let (entry, credit) = (bytes.number(entry), bytes.number(1 << 20));
            world.say(&ToCore::Written(Written { counter, generation, entry, credit }));
        }
        10 => {
            let counter = bytes.counter();
            let generation = bytes.flag().then(|| generation(world, bytes, counter));
            world.say(&ToCore::Closed(Closed { counter, generation, clean: bytes.flag() }));
        }
        11 => {
            let resources = ["e", "b", "a", "", "\u{202e}x", "\0"];
            let (counter, resource) = (bytes.counter(), bytes.flag().then(|| bytes.word(&resources)));
            world.say(&ToCore::Bind(Bind { counter, resource, credit: bytes.number(1 << 20) }));
        }
        12 => world.say(&ToCore::Authenticate(authenticate(bytes))),
        13 => {
            let counter = bytes.counter();
            world.say(&ToCore::AuthResponse(AuthResponse { counter, data: bytes.some() }));
        }
        14 => world.say(&ToCore::AuthAbort(Counter { counter: bytes.counter() })),
        15 => {
            let (auth, stanza) = (authenticate(bytes), stanza(bytes));
            let Authenticate { counter, slot, epoch, domain, peer, security, .. } = auth;
            world.say(&ToCore::PreAuthIq(PreAuthIq { counter, slot, epoch, domain, peer, security, stanza: &stanza }));
        }
        16 => {
            let counter = bytes.counter();
            let generation = generation(world, bytes, counter);
            let number = bytes.number(world.hostile.next_number(counter).wrapping_sub(1));
            let max_s = bytes.flag().then(|| u32::from(bytes.byte()) << (bytes.byte() % 24));
            world.say(&ToCore::SmEnable(SmEnable { counter, generation, number, resume: bytes.flag(), max_s }));
        }
        17 => {
            let previd =
                if bytes.flag() { world.hostile.previd.clone() } else { "0".repeat(usize::from(bytes.byte() % 40)) };
            let (counter, h, credit) = (bytes.counter(), u32::from(bytes.byte()), bytes.number(1 << 20));
            world.say(&ToCore::Resume(Resume { counter, previd: &previd, h, credit }));
        }
        18 | 19 => {
            let mut encoded = Vec::new();
            ToCore::Attach(attach(world, bytes)).encode(&mut encoded);
            world.say_encoded(&encoded);
        }
        20 => world.say(&ToCore::AllSent(AllSent {})),
        21 => {
            let open = OpenQuestion { id: "i", to: bytes.flag().then(|| bytes.word(ADDRESSES)) };
            let (counter, open) = (bytes.counter(), vec![open; usize::from(bytes.byte() % 33)]);
            world.say(&ToCore::OpenQuestions(OpenQuestions { counter, open, whole: bytes.flag() }));
        }
        22 => world.say(&ToCore::Drained(Drained { draining: bytes.flag() })),
        23 => world.say(&ToCore::LinkCredit(LinkCredit { bytes: bytes.number(1 << 20) })),
        24 => {
            let hello = Hello {
                version_min: bytes.short(1),
                version_max: bytes.short(VERSION_MAX),
                edge: bytes.word(&["evil", "honest", "", "a b"]),
                incarnation: bytes.number(1),
                event_loop: u16::from(bytes.byte()),
                event_loops: 2,
                shard: u16::from(bytes.byte() / 200),
                link_credit: bytes.number(1 << 20),
            };
            world.say(&ToCore::Hello(hello));
        }
        25 => world.say(&ToCore::Echo(Echo { token: bytes.number(0) })),
        26 => {
            let agent = UserAgent { id: [bytes.byte(); 16], software: None, device: Some("phone") };
            let fast = Fast { count: bytes.flag().then(|| bytes.number(1)), invalidate: bytes.flag() };
            world.say(&ToCore::AuthenticateInline(AuthenticateInline {
                from: bytes.flag().then(|| bytes.word(ADDRESSES)),
                agent: bytes.flag().then_some(agent),
                fast: bytes.flag().then_some(fast),
                request_token: bytes.flag().then_some("HT-SHA-256-NONE"),
                authenticate: authenticate(bytes),
            }));
        }
        27 => world.pass(u64::from(bytes.byte()) * 100),
        28 => {
            let (version, incarnation) = (1 + u16::from(bytes.flag()), 1 + u64::from(bytes.byte() > 200));
            world.relink(version, incarnation, bytes.flag());
        }
        29 => world.ann_reaches_bob(),
        30 => {
            let (counter, count) = (bytes.counter(), 1 + usize::from(bytes.byte()) * 4);
            let first = bytes.number(1);
            let logs = (0..count as u64).map(|nth| first.wrapping_add(nth)).collect();
            world.say(&ToCore::Recent(Recent { counter, logs }));
        }
        _ => world.turn(),
    }
}
