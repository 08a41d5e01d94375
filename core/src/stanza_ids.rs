//! Unique and stable stanza ids (XEP-0359). Edges write them into what comes from an account's log:
//! [`SlotKey::stanza_id`](hearth_wire::ids::SlotKey::stanza_id). Whoever gets a message again, in another session or by
//! another device, knows it by that.

use crate::features::{Feature, Spec};

pub const FEATURE: Feature =
    Feature { spec: Spec::Xep(359, "0.7.0"), disco_account: &["urn:xmpp:sid:0"], ..Feature::EMPTY };
