//! Presence (RFC 6121 §3, §4).

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::session::{Origin, SessionKey};
use hearth_wire::stanza::{SharedStanza, Stanza};

/// A presence stanza of one of this shard's sessions; `from` is its full JID.
pub fn outbound(_cx: &mut Cx<'_>, _key: SessionKey, _stanza: &Stanza<'_>) {}

/// A presence stanza for an account of this shard that is ready.
pub fn inbound(cx: &mut Cx<'_>, _account: AccountKey, _stanza: SharedStanza, origin: Option<Origin>) {
    cx.settle(origin);
}

/// The session ends: tells whoever was told that it is available (§4.5, §4.6.3).
pub fn on_session_end(_cx: &mut Cx<'_>, _key: SessionKey) {}
