//! Every limit of the edge: unit, reason, and what happens when it is reached.

use crate::xml::Limits;
use hearth_wire::tree::DEPTH_MAX;

impl Limits {
    /// What a stream may send before it is authenticated: enough for any SASL exchange and bind request.
    /// Reached: `policy-violation`, so that a stranger never holds more than these bytes of memory.
    pub const PRE_AUTH: Limits =
        Limits { bytes: 8 * 1024, depth: 8, elements: 32, attributes: 16, namespaces: 16, tree_bytes: 16 * 1024 };

    /// What an authenticated client may send in one stanza: avatars and key bundles pass.
    /// Reached: `policy-violation`. The tree of a stanza stays under [`hearth_wire::codec::FRAME_BYTES_MAX`] with room
    /// for its envelope; it can only be larger than its XML when long namespace names are used again and again.
    pub const AUTHENTICATED: Limits = Limits {
        bytes: 256 * 1024,
        depth: DEPTH_MAX,
        elements: 4096,
        attributes: 64,
        namespaces: 64,
        tree_bytes: 512 * 1024,
    };
}
