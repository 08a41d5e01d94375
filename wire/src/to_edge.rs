//! Frames a shard sends to an edge.

use crate::codec::{bounded, frames};
use crate::condition::{SaslCondition, StanzaCondition, StreamCondition};
use crate::ids::{Generation, ShardIndex, Slot, SlotEpoch, SlotKey, StreamId};
use crate::stanza::Overlay;
use serde::{Deserialize, Deserializer, Serialize};

pub use crate::limits::MULTICAST_TARGETS_MAX;
pub use crate::to_core::{Counter, Echo, Heartbeat, LinkCredit};
use crate::to_core::{OpenQuestion, open_questions};

frames! {
    /// Shard to edge.
    ToEdge {
        1 => Welcome(Welcome),
        2 => Heartbeat(Heartbeat),
        3 => LinkCredit(LinkCredit),
        4 => SlotOwner(SlotOwner),
        5 => Domain(Domain<'a>),
        6 => DomainGone(DomainGone<'a>),
        7 => AuthChallenge(AuthChallenge<'a>),
        8 => AuthSuccess(AuthSuccess<'a>),
        9 => AuthFailure(AuthFailure),
        10 => Moved(Moved),
        11 => Bound(Bound<'a>),
        12 => BindRefused(BindRefused),
        13 => Settled(Settled),
        14 => Deliver(Deliver<'a>),
        15 => Multicast(Multicast<'a>),
        16 => Close(Close<'a>),
        17 => PreAuthReply(PreAuthReply<'a>),
        18 => Capsule(Capsule<'a>),
        19 => Refused(Refused<'a>),
        20 => SmEnabled(SmEnabled<'a>),
        21 => Resumed(Resumed<'a>),
        22 => ResumeFailed(ResumeFailed),
        23 => Attached(Attached),
        24 => DeliverLogged(DeliverLogged<'a>),
        25 => MulticastLogged(MulticastLogged<'a>),
        /// Right behind a session's `Resumed`; an edge from before it passes it over.
        26 => AskedBefore(AskedBefore<'a>),
        /// What came with `Echo`, which no edge from before it sends.
        27 => Echo(Echo),
        /// Ahead of a domain's `Domain`; an edge from before it passes it over, and offers no XEP-0388.
        28 => Authentication(Authentication<'a>),
        /// Right ahead of the `AuthSuccess` that it belongs to.
        29 => FastToken(FastToken<'a>),
        /// Ahead of the `Domain` of one that takes client certificates; an edge from before it passes it over, and asks for none.
        30 => Certified(Certified<'a>),
        /// An edge from before it passes it over, and forgets in its own time.
        31 => Stored(Stored),
    }
}

/// Answer to `Hello`. Domains and slots follow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The version both sides speak on this link.
    pub version: u16,
    /// How many shards this core has: the edge opens one link to each from every event loop.
    pub shards: ShardIndex,
    pub slot_key: SlotKey,
    /// Bytes of frames the edge may send before the first `LinkCredit`.
    pub link_credit: u64,
}

/// The core will not talk to this edge; the connection closes behind it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused<'a> {
    pub reason: &'a str,
}

/// From now on `shard` owns these slots, each under `epoch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotOwner {
    pub first: Slot,
    /// Inclusive.
    pub last: Slot,
    pub epoch: SlotEpoch,
    pub shard: ShardIndex,
}

/// A domain this core serves and what its streams advertise, as ready payload trees (children of
/// `<stream:features/>`). The edge adds `<starttls/>` and nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Domain<'a> {
    pub domain: &'a str,
    /// Before authentication, on a stream without TLS where clear login is allowed; empty if it is not.
    #[serde(with = "serde_bytes")]
    pub features_clear: &'a [u8],
    /// Before authentication, inside TLS, channel binding not available.
    #[serde(with = "serde_bytes")]
    pub features_tls: &'a [u8],
    /// Before authentication, inside TLS, with `tls-server-end-point` data only (RFC 5929).
    #[serde(with = "serde_bytes")]
    pub features_tls_end_point: &'a [u8],
    /// Before authentication, inside TLS, with `tls-exporter` data only (RFC 9266).
    #[serde(with = "serde_bytes")]
    pub features_tls_exporter: &'a [u8],
    /// Before authentication, inside TLS, with data of both.
    #[serde(with = "serde_bytes")]
    pub features_tls_bound: &'a [u8],
    /// After authentication.
    #[serde(with = "serde_bytes")]
    pub features_authenticated: &'a [u8],
}

/// What streams of a domain advertise before authentication beyond what [`Domain`] says: `<authentication/>`
/// (XEP-0388 §2.1), by channel binding as there. Only ever inside TLS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authentication<'a> {
    pub domain: &'a str,
    #[serde(with = "serde_bytes")]
    pub tls: &'a [u8],
    #[serde(with = "serde_bytes")]
    pub tls_end_point: &'a [u8],
    #[serde(with = "serde_bytes")]
    pub tls_exporter: &'a [u8],
    #[serde(with = "serde_bytes")]
    pub tls_bound: &'a [u8],
}

/// What [`Domain`] and [`Authentication`] say for streams whose client has shown a certificate of an address of this domain
/// (XEP-0178 §2): `EXTERNAL` is offered too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certified<'a> {
    pub domain: &'a str,
    /// Instead of those of [`Domain`], by channel binding as there.
    #[serde(with = "serde_bytes")]
    pub features_tls: &'a [u8],
    #[serde(with = "serde_bytes")]
    pub features_tls_end_point: &'a [u8],
    #[serde(with = "serde_bytes")]
    pub features_tls_exporter: &'a [u8],
    #[serde(with = "serde_bytes")]
    pub features_tls_bound: &'a [u8],
}

/// A token with which the client may authenticate next time (XEP-0484 §3.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FastToken<'a> {
    pub counter: u64,
    /// Printable ASCII.
    #[serde(with = "serde_bytes")]
    pub token: &'a [u8],
    /// Milliseconds since 1970, UTC.
    pub expires_ms: u64,
}

/// The domain is no longer served: its streams end with `host-gone`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DomainGone<'a> {
    pub domain: &'a str,
}

/// `<challenge/>` (RFC 6120 §6.4.3), not yet base64.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthChallenge<'a> {
    pub counter: u64,
    #[serde(with = "serde_bytes")]
    pub data: &'a [u8],
}

/// `<success/>` (RFC 6120 §6.4.6). The socket belongs to this account from now on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthSuccess<'a> {
    pub counter: u64,
    pub account: &'a str,
    /// Additional data with success, not yet base64.
    pub data: Option<&'a [u8]>,
}

/// `<failure/>` (RFC 6120 §6.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthFailure {
    pub counter: u64,
    pub condition: SaslCondition,
    /// No more attempts on this stream: the edge closes it with `policy-violation` behind the failure.
    pub last: bool,
}

/// The account lives in this slot: send what you sent again to the shard that owns it. For an
/// `Authenticate` whose first message named no one, the answer to the empty challenge goes along.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moved {
    pub counter: u64,
    pub slot: Slot,
}

/// The session exists. `<iq type='result'/>` with `jid` is the edge's to write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bound<'a> {
    pub counter: u64,
    pub stream: StreamId,
    pub generation: Generation,
    pub jid: &'a str,
    /// Absolute bytes of encoded stanzas that this session may have sent (`StanzaIn::stanza`).
    pub credit: u64,
}

/// Binding failed (RFC 6120 §7.6.2, §7.7.2); the client may try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BindRefused {
    pub counter: u64,
    pub condition: StanzaCondition,
}

/// Inbound stanzas up to `number` are settled, and the session's credit is restated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settled {
    pub counter: u64,
    pub generation: Generation,
    pub number: u64,
    /// Absolute bytes of encoded stanzas that this session may have sent.
    pub credit: u64,
}

/// One recipient of a stanza.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target<'a> {
    pub counter: u64,
    pub generation: Generation,
    /// The core's number of this entry in the session's outbound list, from 1.
    pub entry: u64,
    #[serde(borrow)]
    pub overlay: Overlay<'a>,
}

impl Target<'_> {
    /// At most so many bytes of a frame: for whoever fills a [`Multicast`] up to its limit.
    pub fn bytes_max(&self) -> usize {
        // Four numbers of 64 bits, and the overlay's two or three tags; then each text behind its length.
        let overlay = &self.overlay;
        let delay = overlay.delay.map_or(0, |delay| delay.from.len().saturating_add(2 * VARINT_BYTES_MAX));
        let stanza_id = overlay.stanza_id.map_or([0; 2], |id| [id.id, id.by].map(text_bytes_max));
        let carbon = overlay.carbon.map_or([0; 2], |carbon| [carbon.from, carbon.to].map(text_bytes_max));
        let parts = [5 * VARINT_BYTES_MAX, overlay.to.map_or(0, text_bytes_max), delay];
        parts.into_iter().chain(stanza_id).chain(carbon).fold(0, usize::saturating_add)
    }
}

/// Bytes of the longest varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;

fn text_bytes_max(text: &str) -> usize {
    text.len().saturating_add(VARINT_BYTES_MAX)
}

/// A stanza for one session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deliver<'a> {
    #[serde(borrow)]
    pub target: Target<'a>,
    #[serde(with = "serde_bytes")]
    pub stanza: &'a [u8],
}

/// One stanza for many sessions of one event loop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Multicast<'a> {
    /// At most [`MULTICAST_TARGETS_MAX`].
    #[serde(borrow, deserialize_with = "targets")]
    pub targets: Vec<Target<'a>>,
    #[serde(with = "serde_bytes")]
    pub stanza: &'a [u8],
}

fn targets<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Target<'a>>, D::Error> {
    bounded::<Target<'a>, D, MULTICAST_TARGETS_MAX>(deserializer)
}

/// Close the stream, with a stream error if there is a condition, behind all that was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Close<'a> {
    pub counter: u64,
    /// `None`: whatever this socket is; else only if it still is this generation.
    pub generation: Option<Generation>,
    pub condition: Option<StreamCondition>,
    pub text: &'a str,
}

/// Answer to `PreAuthIq`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PreAuthReply<'a> {
    pub counter: u64,
    #[serde(with = "serde_bytes")]
    pub stanza: &'a [u8],
}

/// Sealed record with which a restarted core adopts this session; kept and returned verbatim.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Capsule<'a> {
    pub counter: u64,
    pub generation: Generation,
    #[serde(with = "serde_bytes")]
    pub sealed: &'a [u8],
}

/// Answer to `SmEnable`: the edge writes `<enabled/>` (XEP-0198 §3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SmEnabled<'a> {
    pub counter: u64,
    pub generation: Generation,
    /// The last entry before it: the client counts those behind it.
    pub entry: u64,
    /// What names the session in `<resume/>`; `None` if it cannot be resumed.
    pub previd: Option<&'a str>,
    /// For so many seconds.
    pub max_s: u32,
}

/// The session goes on at this socket (XEP-0198 §5). `<resumed/>` is the edge's to write; the entries that the
/// client did not have follow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resumed<'a> {
    pub counter: u64,
    pub stream: StreamId,
    pub generation: Generation,
    pub jid: &'a str,
    /// Inbound: the last stanza that the core has, all of them settled, and the one its client counts from.
    pub number: u64,
    pub sm_number: u64,
    /// Outbound: the last entry that the client has, and the one it counts from.
    pub entry: u64,
    pub sm_entry: u64,
    /// Bytes of encoded stanzas that this session may send from now on.
    pub credit: u64,
}

/// What the client has had of its account's log up to this entry is stored: no later core has to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stored {
    pub counter: u64,
    pub generation: Generation,
    pub entry: u64,
}

/// Questions that the client of a resumed session asked at an earlier socket, and whose answers it has not
/// acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AskedBefore<'a> {
    pub counter: u64,
    pub generation: Generation,
    #[serde(borrow, deserialize_with = "open_questions")]
    pub open: Vec<OpenQuestion<'a>>,
    /// There are no others.
    pub whole: bool,
}

/// The session cannot be resumed (XEP-0198 §5); the client may bind a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ResumeFailed {
    pub counter: u64,
    pub condition: StanzaCondition,
    /// How many of the client's stanzas were handled, if that is still known.
    pub h: Option<u32>,
}

/// Answer to `Attach`: frames of the session name this generation from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attached {
    pub counter: u64,
    /// Of the attachment that was lost, as `Attach` had it.
    pub before: Generation,
    pub generation: Generation,
    /// Inbound stanzas up to this one need not be sent again.
    pub received: u64,
    pub settled: u64,
    /// Bytes of encoded stanzas behind `settled` that this session may have sent.
    pub credit: u64,
}

/// [`Deliver`], of a record of the account's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeliverLogged<'a> {
    pub log: u64,
    #[serde(borrow)]
    pub deliver: Deliver<'a>,
}

/// [`Multicast`] to sessions of one account, of a record of its log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MulticastLogged<'a> {
    pub log: u64,
    #[serde(borrow)]
    pub multicast: Multicast<'a>,
}
