//! One frame of every kind from random material.

use hearth_wire::condition::{SaslCondition, StanzaCondition, StreamCondition};
use hearth_wire::ids::{Generation, Slot, SlotKey, StreamId};
use hearth_wire::stanza::{Carbon, Delay, Overlay, Stanza, StanzaFault, StanzaIdOverlay, StanzaKind, StanzaType};
use hearth_wire::to_core::*;
use hearth_wire::to_edge::*;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};

/// What frames borrow from.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    texts: [String; 4],
    bytes: [Vec<u8>; 4],
    numbers: [u64; 4],
    /// Picks variants and which options are there.
    choices: u64,
}

pub(crate) fn material() -> impl Strategy<Value = Material> {
    let text = || prop_oneof![3 => any::<String>(), 1 => "[a-z]{120,140}"];
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let number = || prop_oneof![any::<u64>(), 0..300u64, Just(u64::MAX)];
    (
        [text(), text(), text(), text()],
        [bytes(), bytes(), bytes(), bytes()],
        [number(), number(), number(), number()],
        any::<u64>(),
    )
        .prop_map(|(texts, bytes, numbers, choices)| Material { texts, bytes, numbers, choices })
}

impl Material {
    fn pick<T: Copy>(&self, from: &[T], salt: u32) -> T {
        from[usize::try_from(self.choices.rotate_left(salt * 7) % from.len() as u64).unwrap()]
    }
    fn maybe<T>(&self, value: T, salt: u32) -> Option<T> {
        self.pick(&[true, false], salt).then_some(value)
    }
    fn generation(&self) -> Generation {
        Generation { epoch: self.numbers[1], counter: self.numbers[2] }
    }
    fn slot(&self) -> Slot {
        Slot::new(u16::try_from(self.numbers[0] % 4096).unwrap()).unwrap()
    }
    fn short(&self) -> u16 {
        u16::try_from(self.choices & 0xffff).unwrap()
    }
    fn text(&self, at: usize) -> &str {
        &self.texts[at]
    }
    fn bytes(&self, at: usize) -> &[u8] {
        &self.bytes[at]
    }
    fn peer(&self) -> IpAddr {
        let v6 = Ipv6Addr::from(u128::from(self.numbers[0]) << 64 | u128::from(self.numbers[1]));
        self.pick(&[IpAddr::from([192, 0, 2, 7]), v6.into()], 1)
    }
    fn security(&self) -> Security {
        self.pick(&[Security::ClearLoopback, Security::Tls12, Security::Tls13], 2)
    }

    pub(crate) fn stanza(&self) -> Stanza<'_> {
        let kind = self.pick(&[StanzaKind::Message, StanzaKind::Presence, StanzaKind::Iq], 3);
        let attributes =
            ["chat", "groupchat", "headline", "unavailable", "probe", "get", "set", "result", "error", "?"];
        let ty = StanzaType::parse(kind, self.maybe(self.pick(&attributes, 5), 4));
        Stanza {
            kind,
            ty,
            id: self.maybe(self.text(0), 5),
            to: self.maybe(self.text(1), 6),
            from: self.maybe(self.text(2), 7),
            lang: self.maybe(self.text(3), 8),
            payload: self.bytes(0),
        }
    }

    pub(crate) fn target(&self, counter: u64) -> Target<'_> {
        let overlay = Overlay {
            to: self.maybe(self.text(0), 10),
            delay: self.maybe(Delay { from: self.text(1), stamp_ms: self.numbers[3] }, 11),
            stanza_id: self.maybe(StanzaIdOverlay { id: self.text(2), by: self.text(1) }, 12),
            carbon: self.maybe(Carbon { sent: self.pick(&[true, false], 9), from: self.text(1), to: self.text(3) }, 13),
        };
        Target { counter, generation: self.generation(), entry: self.numbers[2], overlay }
    }

    fn agent(&self) -> UserAgent<'_> {
        UserAgent { id: [7; 16], software: self.maybe(self.text(1), 5), device: self.maybe(self.text(2), 6) }
    }

    pub(crate) fn to_core(&self) -> Vec<ToCore<'_>> {
        let [counter, _, number, credit] = self.numbers;
        let (slot, epoch, peer, security) = (self.slot(), self.numbers[1], self.peer(), self.security());
        let (domain, generation) = (self.text(0), self.generation());
        vec![
            ToCore::Hello(Hello {
                version_min: 1,
                version_max: self.short(),
                edge: self.text(1),
                incarnation: number,
                event_loop: self.short(),
                event_loops: u16::MAX,
                shard: self.short(),
                link_credit: credit,
            }),
            ToCore::Heartbeat(Heartbeat {}),
            ToCore::LinkCredit(LinkCredit { bytes: credit }),
            ToCore::Authenticate(Authenticate {
                counter,
                slot,
                epoch,
                domain,
                peer,
                security,
                binding: ChannelBinding {
                    tls_exporter: self.maybe(self.bytes(0), 1),
                    tls_server_end_point: self.maybe(self.bytes(1), 2),
                },
                mechanism: self.text(2),
                initial: self.maybe(self.bytes(2), 3),
            }),
            ToCore::AuthResponse(AuthResponse { counter, data: self.bytes(3) }),
            ToCore::AuthAbort(Counter { counter }),
            ToCore::Bind(Bind { counter, resource: self.maybe(self.text(1), 4), credit }),
            ToCore::Stanza(StanzaIn {
                counter,
                generation,
                number,
                fault: self.maybe(self.pick(&[StanzaFault::JidMalformed, StanzaFault::BadRequest], 5), 6),
                stanza: self.bytes(0),
            }),
            ToCore::Written(Written { counter, generation, entry: number, credit }),
            ToCore::Closed(Closed {
                counter,
                generation: self.maybe(generation, 7),
                clean: self.pick(&[true, false], 8),
            }),
            ToCore::PreAuthIq(PreAuthIq { counter, slot, epoch, domain, peer, security, stanza: self.bytes(1) }),
            ToCore::Drained(Drained { draining: self.pick(&[true, false], 9) }),
            ToCore::StanzaAgain(StanzaIn {
                counter,
                generation,
                number,
                fault: self.maybe(StanzaFault::Answered, 10),
                stanza: self.bytes(1),
            }),
            ToCore::SmEnable(SmEnable {
                counter,
                generation,
                number,
                resume: self.pick(&[true, false], 11),
                max_s: self.maybe(u32::from(self.short()), 12),
            }),
            ToCore::Resume(Resume { counter, previd: self.text(2), h: u32::from(self.short()), credit }),
            ToCore::Attach(Attach {
                counter,
                stream: StreamId([7; 16]),
                generation,
                sealed: self.bytes(2),
                settled: epoch,
                number,
                entry: number,
                written: epoch,
                delivered_bytes: counter,
                credit,
                log: number,
                unwritten: (0..self.choices % 70).map(|entry| LoggedEntry { entry, log: number }).collect(),
                recent: (0..self.choices % 7).collect(),
                closed: self.maybe(self.pick(&[true, false], 13), 14),
            }),
            ToCore::AllSent(AllSent {}),
            ToCore::OpenQuestions(OpenQuestions {
                counter,
                open: (0..self.choices % 5)
                    .map(|_| OpenQuestion { id: self.text(2), to: self.maybe(self.text(3), 15) })
                    .collect(),
                whole: self.pick(&[true, false], 16),
            }),
            ToCore::Echo(Echo { token: credit }),
            ToCore::AuthenticateInline(AuthenticateInline {
                authenticate: Authenticate {
                    counter,
                    slot,
                    epoch,
                    domain,
                    peer,
                    security,
                    binding: ChannelBinding { tls_exporter: None, tls_server_end_point: self.maybe(self.bytes(1), 2) },
                    mechanism: self.text(2),
                    initial: self.maybe(self.bytes(2), 3),
                },
                from: self.maybe(self.text(3), 4),
                agent: self.maybe(self.agent(), 7),
                fast: self.maybe(Fast { count: self.maybe(number, 8), invalidate: self.pick(&[true, false], 1) }, 9),
                request_token: self.maybe(self.text(0), 10),
            }),
            ToCore::Certificate(Certificate { counter, addresses: vec![self.text(1); self.pick(&[0, 1, 16], 3)] }),
            ToCore::Recent(Recent { counter, logs: vec![number; self.pick(&[0, 1, 1024], 17)] }),
        ]
    }

    pub(crate) fn to_edge(&self) -> Vec<ToEdge<'_>> {
        let [counter, _, number, credit] = self.numbers;
        let (slot, epoch, shard, generation) = (self.slot(), self.numbers[1], self.short(), self.generation());
        let targets = self.choices % 70;
        vec![
            ToEdge::Welcome(Welcome { version: 1, shards: shard, slot_key: SlotKey([7; 16]), link_credit: credit }),
            ToEdge::Heartbeat(Heartbeat {}),
            ToEdge::LinkCredit(LinkCredit { bytes: credit }),
            ToEdge::SlotOwner(SlotOwner { first: slot, last: Slot::new(4095).unwrap(), epoch, shard }),
            ToEdge::Domain(Domain {
                domain: self.text(0),
                features_clear: self.bytes(0),
                features_tls: self.bytes(1),
                features_tls_end_point: self.bytes(2),
                features_tls_exporter: self.bytes(3),
                features_tls_bound: self.bytes(0),
                features_authenticated: self.bytes(1),
            }),
            ToEdge::DomainGone(DomainGone { domain: self.text(0) }),
            ToEdge::AuthChallenge(AuthChallenge { counter, data: self.bytes(0) }),
            ToEdge::AuthSuccess(AuthSuccess { counter, account: self.text(1), data: self.maybe(self.bytes(1), 1) }),
            ToEdge::AuthFailure(AuthFailure { counter, condition: self.pick(SaslCondition::ALL, 2), last: true }),
            ToEdge::Moved(Moved { counter, slot }),
            ToEdge::Bound(Bound { counter, stream: StreamId([9; 16]), generation, jid: self.text(2), credit }),
            ToEdge::BindRefused(BindRefused { counter, condition: self.pick(StanzaCondition::ALL, 3) }),
            ToEdge::Settled(Settled { counter, generation, number, credit }),
            ToEdge::Deliver(Deliver { target: self.target(counter), stanza: self.bytes(2) }),
            ToEdge::Multicast(Multicast {
                targets: (0..targets).map(|n| self.target(n)).collect(),
                stanza: self.bytes(1),
            }),
            ToEdge::Close(Close {
                counter,
                generation: self.maybe(generation, 4),
                condition: self.maybe(self.pick(StreamCondition::ALL, 5), 6),
                text: self.text(3),
            }),
            ToEdge::PreAuthReply(PreAuthReply { counter, stanza: self.bytes(0) }),
            ToEdge::Capsule(Capsule { counter, generation, sealed: self.bytes(3) }),
            ToEdge::Refused(Refused { reason: self.text(0) }),
            ToEdge::SmEnabled(SmEnabled {
                counter,
                generation,
                entry: number,
                previd: self.maybe(self.text(1), 7),
                max_s: u32::from(shard),
            }),
            ToEdge::Resumed(Resumed {
                counter,
                stream: StreamId([9; 16]),
                generation,
                jid: self.text(2),
                number,
                sm_number: epoch,
                entry: counter,
                sm_entry: number,
                credit,
            }),
            ToEdge::ResumeFailed(ResumeFailed {
                counter,
                condition: self.pick(StanzaCondition::ALL, 8),
                h: self.maybe(u32::from(shard), 9),
            }),
            ToEdge::Attached(Attached {
                counter,
                before: Generation { epoch, counter: number },
                generation,
                received: number,
                settled: epoch,
                credit,
            }),
            ToEdge::DeliverLogged(DeliverLogged {
                log: number,
                deliver: Deliver { target: self.target(counter), stanza: self.bytes(3) },
            }),
            ToEdge::MulticastLogged(MulticastLogged {
                log: number,
                multicast: Multicast { targets: (0..targets).map(|n| self.target(n)).collect(), stanza: self.bytes(0) },
            }),
            ToEdge::AskedBefore(AskedBefore {
                counter,
                generation,
                open: (0..epoch % 3)
                    .map(|_| OpenQuestion { id: self.text(2), to: self.maybe(self.text(3), 15) })
                    .collect(),
                whole: number % 2 == 0,
            }),
            ToEdge::Echo(Echo { token: credit }),
            ToEdge::Authentication(Authentication {
                domain: self.text(0),
                tls: self.bytes(0),
                tls_end_point: self.bytes(1),
                tls_exporter: self.bytes(2),
                tls_bound: self.bytes(3),
            }),
            ToEdge::FastToken(FastToken { counter, token: self.bytes(2), expires_ms: number }),
            ToEdge::Certified(Certified {
                domain: self.text(0),
                features_tls: self.bytes(0),
                features_tls_end_point: self.bytes(1),
                features_tls_exporter: self.bytes(2),
                features_tls_bound: self.bytes(3),
            }),
            ToEdge::Stored(Stored { counter, generation, entry: number }),
        ]
    }
}
