//! Every bound of this crate, with its unit, its reason and what happens at it.

/// Bytes of one part of an address (RFC 7622 §3.2–3.4), before and after preparation. The standard
/// bounds the prepared text only; bounding what comes in as well keeps the context rules of
/// RFC 5892, quadratic in the length of a part, under a millisecond. Longer: `jid-malformed`.
pub const PART_BYTES_MAX: usize = 1023;

/// Octets of one domain label, counted as an A-label (RFC 5890 §2.3.2.1, RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Times a PRECIS profile is applied again until the text stays as it is (RFC 8264 §7); text that
/// still changes is refused.
pub const PREPARE_AGAIN_MAX: usize = 3;

/// Bytes of a password before SASLprep; longer ones are refused. PBKDF2 hashes a key of any length
/// first, so only the preparation's work is at stake.
pub const PASSWORD_BYTES_MAX: usize = 1023;

/// Deepest element of a payload, counted from 1; enforced by the edge on what clients send and by
/// [`tree::validate`](crate::tree::validate) on what a peer process sends.
pub const DEPTH_MAX: usize = 64;

/// Attributes of one element: their count takes one byte. Edges refuse far fewer; [`tree::Builder`](crate::tree::Builder)
/// drops what is more, and [`tree::validate`](crate::tree::validate) refuses it.
pub const ATTRIBUTES_MAX: usize = 127;

/// Bytes of one element behind its length field, which has three. No frame carries half as much.
pub const BODY_BYTES_MAX: usize = 0xff_ffff;

/// Bytes of one frame behind its length prefix, so that neither side buffers more than this for one
/// peer. A stanza of 256 KiB of XML stays under 512 KiB as a tree. Longer: the link is closed.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Targets of one `Multicast`; more recipients take more frames. A frame with more does not decode.
/// With long addresses fewer fit ([`FRAME_BYTES_MAX`], [`Target::bytes_max`](crate::to_edge::Target::bytes_max)).
pub const MULTICAST_TARGETS_MAX: usize = 4096;

/// Logged entries of one session that its edge has sent on and the client has not acknowledged: the core holds
/// back what would be more. A frame with more does not decode.
pub const UNWRITTEN_MAX: usize = 4096;

/// Log ids of one session that an edge remembers as written until the core has stored that ([`Stored`]). The core sends
/// no more of the log than that, what is not written included; of an older core, which knows no such bound, the latest
/// are kept. A frame with more does not decode.
///
/// [`Stored`]: crate::to_edge::Stored
pub const RECENT_MAX: usize = 1024;

/// Those of them that [`Attach`](crate::to_core::Attach) itself takes, the latest; the others go ahead of it. A frame with
/// more does not decode.
pub const RECENT_ATTACH_MAX: usize = 64;

/// Questions of one client that an edge remembers as settled and not answered; of more the oldest are forgotten. Clients
/// that wait for so many at once are rare. A frame with more does not decode.
pub const OPEN_QUESTIONS_MAX: usize = 32;

/// Bytes of a question's id, for it to be remembered so: with two addresses each they fill a tenth of a frame.
pub const OPEN_QUESTION_ID_BYTES_MAX: usize = 256;

/// Bytes of what a client says of its software, and of its device. An edge cuts what is longer: operators read it, nothing
/// depends on it.
pub const AGENT_TEXT_BYTES_MAX: usize = 128;

/// XMPP addresses of one client certificate: people have few. An edge takes no certificate with more for anybody's. A frame
/// with more does not decode.
pub const CERTIFICATE_ADDRESSES_MAX: usize = 16;

/// Elements of a list that a frame may make its reader allocate room for before it has shown one: what a
/// frame says of itself is not yet true.
pub const ELEMENTS_UNSEEN_MAX: usize = 16;
