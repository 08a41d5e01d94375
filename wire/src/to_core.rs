//! Frames an edge sends to a shard.

use crate::codec::{bounded, frames};
use crate::ids::{EdgeIncarnation, Generation, ShardIndex, Slot, SlotEpoch, StreamId};
use crate::limits::{CERTIFICATE_ADDRESSES_MAX, OPEN_QUESTIONS_MAX, RECENT_ATTACH_MAX, RECENT_MAX, UNWRITTEN_MAX};
use crate::stanza::StanzaFault;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::IpAddr;

/// First bytes on a fresh link connection, before any frame: magic, then the shard it is for.
/// The core's acceptor reads exactly these and hands the connection to the shard's thread.
pub const PREAMBLE_MAGIC: [u8; 6] = *b"HEARTH";
/// Magic and a little-endian [`ShardIndex`].
pub const PREAMBLE_BYTES: usize = 8;

/// Link protocol versions this build speaks, oldest and newest.
pub const VERSION_MIN: u16 = 1;
pub const VERSION_MAX: u16 = 2;
/// From this version on sessions outlive their link: kinds 13 to 18 to the core, 20 to 26 to the edge.
pub const VERSION_ATTACH: u16 = 2;

frames! {
    /// Edge to shard.
    ToCore {
        1 => Hello(Hello<'a>),
        2 => Heartbeat(Heartbeat),
        3 => LinkCredit(LinkCredit),
        4 => Authenticate(Authenticate<'a>),
        5 => AuthResponse(AuthResponse<'a>),
        6 => AuthAbort(Counter),
        7 => Bind(Bind<'a>),
        8 => Stanza(StanzaIn<'a>),
        9 => Written(Written),
        10 => Closed(Closed),
        11 => PreAuthIq(PreAuthIq<'a>),
        12 => Drained(Drained),
        /// As `Stanza`, of a session that was attached anew: its effects may have happened already.
        13 => StanzaAgain(StanzaIn<'a>),
        14 => SmEnable(SmEnable),
        15 => Resume(Resume<'a>),
        16 => Attach(Attach<'a>),
        17 => AllSent(AllSent),
        /// Right ahead of a session's `Attach`; a core from before it passes it over, and an edge from before it sends none.
        18 => OpenQuestions(OpenQuestions<'a>),
        /// Answered by `Echo`; a core from before it passes it over.
        19 => Echo(Echo),
        /// As `Authenticate`, by XEP-0388; only to a core that has announced `Authentication`.
        20 => AuthenticateInline(AuthenticateInline<'a>),
        /// Right ahead of the client's `Authenticate` or `AuthenticateInline`; only to a core that has announced `Certified`.
        21 => Certificate(Certificate<'a>),
        /// Right ahead of a session's `Attach`, if there are so many; a core from before it passes it over.
        22 => Recent(Recent),
    }
}

/// The edge introduces itself; first frame of every link.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello<'a> {
    pub version_min: u16,
    pub version_max: u16,
    /// The edge's name; over TCP it must be the name bound to its key.
    #[serde(borrow)]
    pub edge: &'a str,
    pub incarnation: EdgeIncarnation,
    /// Which of the edge's event loops this is, and how many it has.
    pub event_loop: u16,
    pub event_loops: u16,
    pub shard: ShardIndex,
    /// Bytes of frames the core may send before the first `LinkCredit`.
    pub link_credit: u64,
}

/// Nothing else was sent for a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {}

/// To be sent back as it is, in its turn among the other frames: what a round trip takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// The sender's own; nobody else reads anything into it.
    pub token: u64,
}

/// All the bytes of credited frames that the receiver of this frame may ever have sent on this
/// link: absolute and cumulative. Credited are `Stanza`, `Deliver` and `Multicast`, prefix included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkCredit {
    pub bytes: u64,
}

/// A frame that says nothing but which socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counter {
    pub counter: u64,
}

/// What protects the client's stream, as facts of its transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Security {
    /// No TLS, on a listener where the operator allows clear login, from a loopback address.
    ClearLoopback,
    Tls12,
    Tls13,
}

/// Channel binding data of the client's TLS connection (RFC 5056).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChannelBinding<'a> {
    /// RFC 9266 `tls-exporter`.
    #[serde(borrow)]
    pub tls_exporter: Option<&'a [u8]>,
    /// RFC 5929 `tls-server-end-point`.
    #[serde(borrow)]
    pub tls_server_end_point: Option<&'a [u8]>,
}

/// `<auth/>` (RFC 6120 §6.4.2), sent to the shard that owns the slot of the untrusted hint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authenticate<'a> {
    pub counter: u64,
    /// Slot of the account the client seems to mean ([`crate::jid::routing_hint`]), else of the domain.
    pub slot: Slot,
    pub epoch: SlotEpoch,
    pub domain: &'a str,
    pub peer: IpAddr,
    pub security: Security,
    #[serde(borrow)]
    pub binding: ChannelBinding<'a>,
    pub mechanism: &'a str,
    /// Decoded from base64; `Some(&[])` for `=`.
    #[serde(borrow)]
    pub initial: Option<&'a [u8]>,
}

/// `<authenticate/>` (XEP-0388 §2.4): the exchange's beginning and what came along with it. A session to resume is
/// asked for by `Resume` once the exchange succeeded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthenticateInline<'a> {
    #[serde(borrow)]
    pub authenticate: Authenticate<'a>,
    /// Bare JID that the client called itself in the stream's header, prepared.
    pub from: Option<&'a str>,
    #[serde(borrow)]
    pub agent: Option<UserAgent<'a>>,
    /// `<fast/>` (XEP-0484 §3.4): the client proves a token.
    pub fast: Option<Fast>,
    /// `<request-token/>` (XEP-0484 §3.2): for which mechanism.
    pub request_token: Option<&'a str>,
}

/// The client has shown a certificate that its edge verified, and the private key of it (XEP-0178 §2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate<'a> {
    pub counter: u64,
    /// Its addresses of the stream's domain (`id-on-xmppAddr`, RFC 6120 §13.7.1.4), bare and prepared.
    #[serde(borrow, deserialize_with = "addresses")]
    pub addresses: Vec<&'a str>,
}

fn addresses<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'a str>, D::Error> {
    bounded::<&'a str, D, CERTIFICATE_ADDRESSES_MAX>(deserializer)
}

/// An installation of a client (XEP-0388 §2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserAgent<'a> {
    /// UUID of version 4.
    pub id: [u8; 16],
    /// Cut to [`AGENT_TEXT_BYTES_MAX`](crate::limits::AGENT_TEXT_BYTES_MAX).
    pub software: Option<&'a str>,
    pub device: Option<&'a str>,
}

/// What a client says of the token it proves (XEP-0484 §3.4, §3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fast {
    /// Grows with every use of the token.
    pub count: Option<u64>,
    /// The token is to end.
    pub invalidate: bool,
}

/// `<response/>` (RFC 6120 §6.4.3), decoded from base64.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthResponse<'a> {
    pub counter: u64,
    #[serde(with = "serde_bytes")]
    pub data: &'a [u8],
}

/// Resource binding (RFC 6120 §7). The edge writes the iq result itself when `Bound` comes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bind<'a> {
    pub counter: u64,
    /// As the client sent it, if it did; prepared by the core.
    pub resource: Option<&'a str>,
    /// Absolute bytes of delivered stanzas that the core may send to this session.
    pub credit: u64,
}

/// One stanza of a bound session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StanzaIn<'a> {
    pub counter: u64,
    pub generation: Generation,
    /// From 1 at bind, one more each, never reset.
    pub number: u64,
    pub fault: Option<StanzaFault>,
    /// [`crate::stanza::Stanza`], encoded.
    #[serde(with = "serde_bytes")]
    pub stanza: &'a [u8],
}

/// Outbound entries up to `entry` were written to the socket (or, with XEP-0198, acknowledged by
/// the client), and the session's credit is restated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Written {
    pub counter: u64,
    pub generation: Generation,
    pub entry: u64,
    /// Absolute bytes of delivered stanzas that the core may send to this session.
    pub credit: u64,
}

/// The client's stream or socket ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Closed {
    pub counter: u64,
    /// `None` before bind.
    pub generation: Option<Generation>,
    /// The client closed its stream properly (RFC 6120 §4.4).
    pub clean: bool,
}

/// An iq before authentication: in-band registration only (XEP-0077 §3.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreAuthIq<'a> {
    pub counter: u64,
    pub slot: Slot,
    pub epoch: SlotEpoch,
    pub domain: &'a str,
    pub peer: IpAddr,
    pub security: Security,
    #[serde(with = "serde_bytes")]
    pub stanza: &'a [u8],
}

/// The edge takes no new clients on this event loop (shutdown began), or does again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Drained {
    pub draining: bool,
}

/// `<enable/>` (XEP-0198 §3) of a bound session. Answered by `SmEnabled`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SmEnable {
    pub counter: u64,
    pub generation: Generation,
    /// Number of the last stanza before it: the client counts those behind it.
    pub number: u64,
    /// The client wants to be able to resume, and for how many seconds at most.
    pub resume: bool,
    pub max_s: Option<u32>,
}

/// `<resume/>` (XEP-0198 §5) of an authenticated socket, sent to the shard that authenticated it. Answered by
/// `Resumed` or `ResumeFailed`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resume<'a> {
    pub counter: u64,
    pub previd: &'a str,
    /// Stanzas the client handled, modulo 2^32.
    pub h: u32,
    /// Absolute bytes of delivered stanzas that the core may send to this session.
    pub credit: u64,
}

/// A bound session whose link was lost, or whose core: the edge has its socket still, or had it until some
/// moment of the outage. Answered by `Attached`, else by `Close`. Sent before anything else of the session, to
/// the owner of its account's slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attach<'a> {
    pub counter: u64,
    pub stream: StreamId,
    /// Of the attachment that was lost.
    pub generation: Generation,
    /// The last [`Capsule`](crate::to_edge::Capsule), verbatim.
    #[serde(with = "serde_bytes")]
    pub sealed: &'a [u8],
    /// Inbound: the settled mark as the edge has it, and the number of its last stanza.
    pub settled: u64,
    pub number: u64,
    /// Outbound: the last entry the edge has, and the last that is written (with XEP-0198: acknowledged).
    pub entry: u64,
    pub written: u64,
    /// Bytes of all stanzas up to `entry`, and how many the core may send in all.
    pub delivered_bytes: u64,
    pub credit: u64,
    /// The greatest log id among the entries up to `entry`; 0 if there was none.
    pub log: u64,
    /// Entries behind `written` that lie in the log.
    #[serde(deserialize_with = "unwritten")]
    pub unwritten: Vec<LoggedEntry>,
    /// The latest log ids that were written, and of which no core has said that this is stored.
    #[serde(deserialize_with = "recent_attach")]
    pub recent: Vec<u64>,
    /// The socket has ended since; whether by the client's closing tag (RFC 6120 §4.4).
    pub closed: Option<bool>,
}

/// Earlier ones than [`Attach::recent`] of a session that is attached next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recent {
    pub counter: u64,
    #[serde(deserialize_with = "recent")]
    pub logs: Vec<u64>,
}

/// Questions of a session that is attached next: up to `settled`, and without an answer up to `entry`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenQuestions<'a> {
    pub counter: u64,
    /// Oldest first.
    #[serde(borrow, deserialize_with = "open_questions")]
    pub open: Vec<OpenQuestion<'a>>,
    /// There are no others.
    pub whole: bool,
}

/// A question (RFC 6120 §8.2.3) whose answer its client waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenQuestion<'a> {
    pub id: &'a str,
    /// As it was sent; absent: the client's own account.
    pub to: Option<&'a str>,
}

pub(crate) fn open_questions<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<OpenQuestion<'a>>, D::Error> {
    bounded::<OpenQuestion<'a>, D, OPEN_QUESTIONS_MAX>(deserializer)
}

/// An outbound entry that is a record of the account's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoggedEntry {
    pub entry: u64,
    pub log: u64,
}

fn unwritten<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LoggedEntry>, D::Error> {
    bounded::<LoggedEntry, D, UNWRITTEN_MAX>(deserializer)
}

fn recent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    bounded::<u64, D, RECENT_MAX>(deserializer)
}

fn recent_attach<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    bounded::<u64, D, RECENT_ATTACH_MAX>(deserializer)
}

/// Every session that the edge has of an earlier link to this shard's slots has been attached on this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AllSent {}
