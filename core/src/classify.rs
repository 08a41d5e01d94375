//! What a message is: decided once, here, and never again (one row per payload kind in the tests).

use hearth_wire::stanza::{Stanza, StanzaType};
use hearth_wire::tree;

/// What the rest of the server does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Kept in the recipient's log, and for a recipient who is not there (XEP-0160 §3).
    pub log: bool,
}

/// Decides by type and payload.
pub fn classify(message: &Stanza<'_>) -> Class {
    let log = match message.ty {
        StanzaType::Normal | StanzaType::Chat => tree::child(message.payload, tree::CLIENT, "body").is_some(),
        StanzaType::Groupchat
        | StanzaType::Headline
        | StanzaType::Error
        | StanzaType::Available
        | StanzaType::Unavailable
        | StanzaType::Subscribe
        | StanzaType::Subscribed
        | StanzaType::Unsubscribe
        | StanzaType::Unsubscribed
        | StanzaType::Probe
        | StanzaType::Get
        | StanzaType::Set
        | StanzaType::Result
        | StanzaType::Unknown => false,
    };
    Class { log }
}
