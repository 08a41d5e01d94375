//! Bytes that were published and never change: if one of these fails, add a new kind, or append to
//! the body, instead of changing what is there. Every kind has one line.

use hearth_wire::codec::{FRAME_BYTES_MAX, split};
use hearth_wire::condition::{ErrorType, SaslCondition, StanzaCondition, StreamCondition};
use hearth_wire::ids::{Generation, Slot, SlotKey, StreamId};
use hearth_wire::stanza::{Carbon, Delay, Overlay, Stanza, StanzaFault, StanzaIdOverlay, StanzaKind, StanzaType};
use hearth_wire::to_core::*;
use hearth_wire::to_edge::*;
use hearth_wire::tree::Builder;
use serde::Serialize;
use std::net::{IpAddr, Ipv6Addr};

const GENERATION: Generation = Generation { epoch: 3, counter: 300 };
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const PEER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

fn slot(index: u16) -> Slot {
    Slot::new(index).unwrap()
}

fn to_core() -> Vec<(ToCore<'static>, &'static str)> {
    let binding = ChannelBinding { tls_exporter: Some(b"exp"), tls_server_end_point: None };
    vec![
        (
            ToCore::Hello(Hello {
                version_min: 1,
                version_max: 2,
                edge: "edge-1",
                incarnation: 1_700_000_000_000,
                event_loop: 1,
                event_loops: 2,
                shard: 3,
                link_credit: 1_000_000,
            }),
            "1600000001010206656467652d3180d095ffbc31010203c0843d",
        ),
        (ToCore::Heartbeat(Heartbeat {}), "0100000002"),
        (ToCore::LinkCredit(LinkCredit { bytes: u64::MAX }), "0b00000003ffffffffffffffffff01"),
        (
            ToCore::Authenticate(Authenticate {
                counter: 7,
                slot: slot(4095),
                epoch: 3,
                domain: "example.org",
                peer: PEER,
                security: Security::Tls13,
                binding,
                mechanism: "PLAIN",
                initial: Some(b"\0ada\0x"),
            }),
            "2b0000000407ff1f030b6578616d706c652e6f726700c00002010201036578700005504c41494e0106006164610078",
        ),
        (ToCore::AuthResponse(AuthResponse { counter: 7, data: b"data" }), "0700000005070464617461"),
        (ToCore::AuthAbort(Counter { counter: 128 }), "03000000068001"),
        (ToCore::Bind(Bind { counter: 7, resource: Some("desk"), credit: 65_536 }), "0b000000070701046465736b808004"),
        (
            ToCore::Stanza(StanzaIn {
                counter: 7,
                generation: GENERATION,
                number: 1,
                fault: Some(StanzaFault::BadRequest),
                stanza: b"stanza",
            }),
            "0f000000080703ac02010101067374616e7a61",
        ),
        (
            ToCore::Written(Written { counter: 7, generation: GENERATION, entry: 2, credit: 65_536 }),
            "09000000090703ac0202808004",
        ),
        (ToCore::Closed(Closed { counter: 7, generation: Some(GENERATION), clean: true }), "070000000a070103ac0201"),
        (
            ToCore::PreAuthIq(PreAuthIq {
                counter: 7,
                slot: slot(0),
                epoch: 3,
                domain: "example.org",
                peer: PEER_V6,
                security: Security::ClearLoopback,
                stanza: b"stanza",
            }),
            "290000000b0700030b6578616d706c652e6f72670120010db800000000000000000000000100067374616e7a61",
        ),
        (ToCore::Drained(Drained { draining: true }), "020000000c01"),
        (
            ToCore::StanzaAgain(StanzaIn {
                counter: 7,
                generation: GENERATION,
                number: 1,
                fault: Some(StanzaFault::Answered),
                stanza: b"stanza",
            }),
            "0f0000000d0703ac02010102067374616e7a61",
        ),
        (
            ToCore::SmEnable(SmEnable {
                counter: 7,
                generation: GENERATION,
                number: 2,
                resume: true,
                max_s: Some(300),
            }),
            "0a0000000e0703ac02020101ac02",
        ),
        (
            ToCore::Resume(Resume { counter: 7, previd: "abc", h: u32::MAX, credit: 65_536 }),
            "0e0000000f0703616263ffffffff0f808004",
        ),
        (
            ToCore::Attach(Attach {
                counter: 7,
                stream: StreamId([0xcd; 16]),
                generation: GENERATION,
                sealed: b"sealed",
                settled: 1,
                number: 2,
                entry: 300,
                written: 4,
                delivered_bytes: 5,
                credit: 65_536,
                log: 6,
                unwritten: vec![LoggedEntry { entry: 300, log: 6 }],
                recent: vec![300],
                closed: Some(true),
            }),
            "2f0000001007cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd03ac02067365616c65640102ac0204058080040601ac020601ac020101",
        ),
        (ToCore::AllSent(AllSent {}), "0100000011"),
        (
            ToCore::OpenQuestions(OpenQuestions {
                counter: 7,
                open: vec![OpenQuestion { id: "q", to: Some("a@b") }],
                whole: true,
            }),
            "0b0000001207010171010361406201",
        ),
        (ToCore::Echo(Echo { token: 300 }), "0300000013ac02"),
        (
            ToCore::AuthenticateInline(AuthenticateInline {
                authenticate: Authenticate {
                    counter: 7,
                    slot: slot(4095),
                    epoch: 3,
                    domain: "example.org",
                    peer: PEER,
                    security: Security::Tls13,
                    binding,
                    mechanism: "PLAIN",
                    initial: Some(b"\0ada\0x"),
                },
                from: Some("a@b"),
                agent: Some(UserAgent { id: [0xcd; 16], software: Some("x"), device: None }),
                fast: Some(Fast { count: Some(300), invalidate: true }),
                request_token: Some("HT"),
            }),
            "4e0000001407ff1f030b6578616d706c652e6f726700c00002010201036578700005504c41494e0106006164610078010361406201\
             cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd010178000101ac020101024854",
        ),
        (
            ToCore::Certificate(Certificate { counter: 7, addresses: vec!["a@b", "c@b"] }),
            "0b0000001507020361406203634062",
        ),
        (ToCore::Recent(Recent { counter: 7, logs: vec![300, 6] }), "06000000160702ac0206"),
    ]
}

fn to_edge() -> Vec<(ToEdge<'static>, &'static str)> {
    let overlay = Overlay {
        to: Some("ada@example.org/desk"),
        delay: Some(Delay { from: "example.org", stamp_ms: 1_700_000_000_000 }),
        stanza_id: Some(StanzaIdOverlay { id: "42", by: "ada@example.org" }),
        carbon: Some(Carbon { sent: true, from: "a@b", to: "c@d" }),
    };
    let target = Target { counter: 7, generation: GENERATION, entry: 2, overlay };
    let short = Target { overlay: Overlay::default(), ..target.clone() };
    let plain = Target { counter: 8, overlay: Overlay::default(), ..target.clone() };
    vec![
        (
            ToEdge::Welcome(Welcome { version: 1, shards: 2, slot_key: SlotKey([0xab; 16]), link_credit: 1_000_000 }),
            "16000000010102ababababababababababababababababc0843d",
        ),
        (ToEdge::Heartbeat(Heartbeat {}), "0100000002"),
        (ToEdge::LinkCredit(LinkCredit { bytes: 300 }), "0300000003ac02"),
        (ToEdge::SlotOwner(SlotOwner { first: slot(0), last: slot(4095), epoch: 3, shard: 1 }), "060000000400ff1f0301"),
        (
            ToEdge::Domain(Domain {
                domain: "example.org",
                features_clear: b"c",
                features_tls: b"t",
                features_tls_end_point: b"te",
                features_tls_exporter: b"tx",
                features_tls_bound: b"tb",
                features_authenticated: b"a",
            }),
            "1c000000050b6578616d706c652e6f7267016301740274650274780274620161",
        ),
        (ToEdge::DomainGone(DomainGone { domain: "example.org" }), "0d000000060b6578616d706c652e6f7267"),
        (ToEdge::AuthChallenge(AuthChallenge { counter: 7, data: b"data" }), "0700000007070464617461"),
        (
            ToEdge::AuthSuccess(AuthSuccess { counter: 7, account: "ada@example.org", data: Some(b"v=") }),
            "1600000008070f616461406578616d706c652e6f72670102763d",
        ),
        (
            ToEdge::AuthFailure(AuthFailure { counter: 7, condition: SaslCondition::NotAuthorized, last: true }),
            "0400000009070901",
        ),
        (ToEdge::Moved(Moved { counter: 7, slot: slot(300) }), "040000000a07ac02"),
        (
            ToEdge::Bound(Bound {
                counter: 7,
                stream: StreamId([0xcd; 16]),
                generation: GENERATION,
                jid: "ada@example.org/desk",
                credit: 65_536,
            }),
            "2d0000000b07cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd03ac0214616461406578616d706c652e6f72672f6465736b808004",
        ),
        (
            ToEdge::BindRefused(BindRefused { counter: 7, condition: StanzaCondition::ResourceConstraint }),
            "030000000c0711",
        ),
        (
            ToEdge::Settled(Settled { counter: 7, generation: GENERATION, number: 1, credit: 65_536 }),
            "090000000d0703ac0201808004",
        ),
        (
            ToEdge::Deliver(Deliver { target: target.clone(), stanza: b"stanza" }),
            "540000000e0703ac02020114616461406578616d706c652e6f72672f6465736b010b6578616d706c652e6f726780d095ffbc31010234320f616461406578616d706c652e6f726701010361406203634064067374616e7a61",
        ),
        (
            ToEdge::Multicast(Multicast { targets: vec![plain, target], stanza: b"stanza" }),
            "5e0000000f020803ac0202000000000703ac02020114616461406578616d706c652e6f72672f6465736b010b6578616d706c652e6f726780d095ffbc31010234320f616461406578616d706c652e6f726701010361406203634064067374616e7a61",
        ),
        (
            ToEdge::Close(Close {
                counter: 7,
                generation: None,
                condition: Some(StreamCondition::Conflict),
                text: "replaced",
            }),
            "0e0000001007000102087265706c61636564",
        ),
        (ToEdge::PreAuthReply(PreAuthReply { counter: 7, stanza: b"stanza" }), "090000001107067374616e7a61"),
        (
            ToEdge::Capsule(Capsule { counter: 7, generation: GENERATION, sealed: b"sealed" }),
            "0c000000120703ac02067365616c6564",
        ),
        (ToEdge::Refused(Refused { reason: "no" }), "0400000013026e6f"),
        (
            ToEdge::SmEnabled(SmEnabled {
                counter: 7,
                generation: GENERATION,
                entry: 2,
                previd: Some("abc"),
                max_s: 300,
            }),
            "0d000000140703ac02020103616263ac02",
        ),
        (
            ToEdge::Resumed(Resumed {
                counter: 7,
                stream: StreamId([0xcd; 16]),
                generation: GENERATION,
                jid: "ada@example.org/desk",
                number: 1,
                sm_number: 2,
                entry: 3,
                sm_entry: 4,
                credit: 65_536,
            }),
            "310000001507cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd03ac0214616461406578616d706c652e6f72672f6465736b01020304808004",
        ),
        (
            ToEdge::ResumeFailed(ResumeFailed { counter: 7, condition: StanzaCondition::ItemNotFound, h: Some(300) }),
            "0600000016070601ac02",
        ),
        (
            ToEdge::Attached(Attached {
                counter: 7,
                before: GENERATION,
                generation: Generation { epoch: 4, counter: 1 },
                received: 2,
                settled: 1,
                credit: 65_536,
            }),
            "0c000000170703ac0204010201808004",
        ),
        (
            ToEdge::DeliverLogged(DeliverLogged {
                log: 300,
                deliver: Deliver { target: short.clone(), stanza: b"stanza" },
            }),
            "1300000018ac020703ac020200000000067374616e7a61",
        ),
        (
            ToEdge::MulticastLogged(MulticastLogged {
                log: 300,
                multicast: Multicast { targets: vec![short], stanza: b"stanza" },
            }),
            "1400000019ac02010703ac020200000000067374616e7a61",
        ),
        (
            ToEdge::AskedBefore(AskedBefore {
                counter: 7,
                generation: GENERATION,
                open: vec![OpenQuestion { id: "q", to: Some("a@b") }],
                whole: true,
            }),
            "0e0000001a0703ac02010171010361406201",
        ),
        (ToEdge::Echo(Echo { token: 300 }), "030000001bac02"),
        (
            ToEdge::Authentication(Authentication {
                domain: "a.b",
                tls: b"t",
                tls_end_point: b"te",
                tls_exporter: b"tx",
                tls_bound: b"tb",
            }),
            "100000001c03612e620174027465027478027462",
        ),
        (ToEdge::FastToken(FastToken { counter: 7, token: b"tok", expires_ms: 300 }), "080000001d0703746f6bac02"),
        (
            ToEdge::Certified(Certified {
                domain: "a.b",
                features_tls: b"t",
                features_tls_end_point: b"te",
                features_tls_exporter: b"tx",
                features_tls_bound: b"tb",
            }),
            "100000001e03612e620174027465027478027462",
        ),
        (ToEdge::Stored(Stored { counter: 7, generation: GENERATION, entry: 300 }), "070000001f0703ac02ac02"),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! check {
    ($direction:ident, $golden:expr) => {
        let golden = $golden;
        let kinds: Vec<_> = golden.iter().map(|(frame, _)| (frame.kind(), frame.name())).collect();
        assert_eq!(&kinds[..], $direction::KINDS, "a line for every kind");
        for (frame, expected) in &golden {
            let mut link = Vec::new();
            frame.encode(&mut link);
            assert_eq!(hex(&link), *expected, "{}", frame.name());
            let (body, _) = split(&link, FRAME_BYTES_MAX).unwrap().unwrap();
            assert_eq!($direction::decode(body).unwrap().as_ref(), Some(frame));
        }
    };
}

#[test]
fn frames_to_the_core() {
    check!(ToCore, to_core());
}

#[test]
fn frames_to_the_edge() {
    check!(ToEdge, to_edge());
}

#[test]
fn a_stanza_and_its_tree() {
    let mut tree = Builder::new();
    tree.open(None, "body").attr_ns("http://www.w3.org/XML/1998/namespace", "lang", "en").text("hé").close();
    tree.open(Some("urn:example:unknown"), "odd").attr("key", "v").leaf(None, "x", "").close();
    let payload = tree.finish();
    let stanza = Stanza {
        id: Some("1"),
        to: Some("a@b"),
        from: None,
        lang: Some("en"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    assert_eq!(
        hex(&stanza.encode()),
        "00010101310103614062000102656e3b010d0000012b01042a02656e020368c3a901260000001375726e3a6578616d706c653a756e6b6e6f776e00036f6464010250017601030000013c00"
    );
}

/// Variants cross as their place in the declaration: these lists may only grow at their ends.
#[test]
fn places_of_variants() {
    fn check<T: Serialize>(variants: &[T], name: impl Fn(&T) -> String, expected: &str) {
        for (place, variant) in variants.iter().enumerate() {
            assert_eq!(postcard::to_allocvec(variant).unwrap(), [u8::try_from(place).unwrap()]);
        }
        assert_eq!(variants.iter().map(name).collect::<Vec<_>>().join(" "), expected);
    }
    let stream = "bad-format bad-namespace-prefix conflict connection-timeout host-gone host-unknown \
                  improper-addressing internal-server-error invalid-from invalid-namespace invalid-xml \
                  not-authorized not-well-formed policy-violation remote-connection-failed reset resource-constraint \
                  restricted-xml see-other-host system-shutdown undefined-condition unsupported-encoding \
                  unsupported-feature unsupported-stanza-type unsupported-version";
    check(StreamCondition::ALL, |c| c.to_string(), stream);
    let stanza = "bad-request conflict feature-not-implemented forbidden gone internal-server-error \
                  item-not-found jid-malformed not-acceptable not-allowed not-authorized policy-violation \
                  recipient-unavailable redirect registration-required remote-server-not-found remote-server-timeout \
                  resource-constraint service-unavailable subscription-required undefined-condition \
                  unexpected-request";
    check(StanzaCondition::ALL, |c| c.to_string(), stanza);
    let sasl = "aborted account-disabled credentials-expired encryption-required incorrect-encoding \
                  invalid-authzid invalid-mechanism malformed-request mechanism-too-weak not-authorized \
                  temporary-auth-failure";
    check(SaslCondition::ALL, |c| c.to_string(), sasl);
    use {ErrorType as E, Security as S, StanzaFault as F, StanzaKind as K, StanzaType as T};
    let errors = [E::Auth, E::Cancel, E::Continue, E::Modify, E::Wait];
    check(&errors, |e| e.attribute().to_owned(), "auth cancel continue modify wait");
    check(&[K::Message, K::Presence, K::Iq], |k| k.element().to_owned(), "message presence iq");
    let faults = [F::JidMalformed, F::BadRequest, F::Answered];
    check(&faults, |f| format!("{f:?}"), "JidMalformed BadRequest Answered");
    check(&[S::ClearLoopback, S::Tls12, S::Tls13], |s| format!("{s:?}"), "ClearLoopback Tls12 Tls13");
    let types = [
        [T::Normal, T::Chat, T::Groupchat, T::Headline],
        [T::Available, T::Unavailable, T::Subscribe, T::Subscribed],
        [T::Unsubscribe, T::Unsubscribed, T::Probe, T::Get],
        [T::Set, T::Result, T::Error, T::Unknown],
    ];
    let expected = "Normal Chat Groupchat Headline Available Unavailable Subscribe Subscribed Unsubscribe \
                    Unsubscribed Probe Get Set Result Error Unknown";
    check(&types.concat(), |t| format!("{t:?}"), expected);
}
