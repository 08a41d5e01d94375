//! What a message is: decided once, here, and never again. Later features read the answer.

use hearth_wire::stanza::{Stanza, StanzaType};
use hearth_wire::tree::{self, Element};

/// What the rest of the server does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Class {
    /// Kept in the recipient's log, and for a recipient who is not there (XEP-0160 §3).
    pub log: bool,
    /// Copied to the account's other clients (XEP-0280 §6.1).
    pub carbon: bool,
    /// Worth waking a phone for (XEP-0357 §6).
    pub push: bool,
    /// Worth interrupting a client that said it is inactive (XEP-0352 §5).
    pub urgent: bool,
}

impl Class {
    /// Passes to whoever is there, and leaves no trace.
    const EPHEMERAL: Class = Class { log: false, carbon: false, push: false, urgent: false };
    /// Typing and the like: one's other clients follow it.
    const STATE: Class = Class { carbon: true, ..Class::EPHEMERAL };
    /// Belongs to the conversation, but nobody needs to look up: receipts, reactions, unknown things.
    const KEPT: Class = Class { log: true, ..Class::STATE };
    /// Something for a person to read or answer.
    const READ: Class = Class { push: true, urgent: true, ..Class::KEPT };

    /// The stronger of two in every respect.
    const fn or(self, other: Class) -> Class {
        Class {
            log: self.log || other.log,
            carbon: self.carbon || other.carbon,
            push: self.push || other.push,
            urgent: self.urgent || other.urgent,
        }
    }
}

/// Decides by type and payload, then by the hints of XEP-0334.
pub fn classify(message: &Stanza<'_>) -> Class {
    if !matches!(message.ty, StanzaType::Normal | StanzaType::Chat) {
        return Class::EPHEMERAL;
    }
    let mut class = tree::children(message.payload).map(|element| of(&element)).fold(Class::EPHEMERAL, Class::or);
    let hint = |name| tree::child(message.payload, "urn:xmpp:hints", name).is_some();
    class.log |= hint("store");
    // The stronger wish wins. The log is archive and offline store in one, so that what may not be stored for
    // good is not stored at all; where nobody is there its sender is told.
    if hint("no-store") || hint("no-permanent-store") {
        class = Class { log: false, push: false, ..class };
    }
    class.carbon &= !hint("no-copy");
    if tree::child(message.payload, "urn:xmpp:carbons:2", "private").is_some() {
        class.carbon = false;
    }
    class
}

/// What one payload makes of a chat or normal message. An unknown one is kept: silence about a
/// message that was acknowledged is worse than a record too many.
fn of(element: &Element<'_>) -> Class {
    match (element.ns(), element.name()) {
        (tree::CLIENT, "body") => Class::READ,
        (tree::CLIENT, "subject" | "thread") => Class::EPHEMERAL,
        // Encrypted without a body for those who cannot read it (XEP-0384, 0373).
        ("eu.siacs.conversations.axolotl" | "urn:xmpp:omemo:1" | "urn:xmpp:omemo:2", "encrypted") => Class::READ,
        ("urn:xmpp:openpgp:0", "openpgp") => Class::READ,
        // Invitations (XEP-0249; XEP-0045 §7.8.2).
        ("jabber:x:conference", "x") => Class::READ,
        ("http://jabber.org/protocol/muc#user", "x") => Class::READ,
        // Call signalling (XEP-0353): ringing begins, ringing ends elsewhere, the rest is history.
        ("urn:xmpp:jingle-message:0" | "urn:xmpp:jingle-message:1", "propose" | "retract") => Class::READ,
        ("urn:xmpp:jingle-message:0" | "urn:xmpp:jingle-message:1", _) => Class { urgent: true, ..Class::KEPT },
        ("http://jabber.org/protocol/chatstates", _) => Class::STATE,
        // Events of nodes (XEP-0060 §7.1): the node has the item.
        ("http://jabber.org/protocol/pubsub#event", "event") => Class::EPHEMERAL,
        // Says something about the message, is not the message (0334, 0280, 0203, 0359, 0380, 0428, 0184 request).
        ("urn:xmpp:hints" | "urn:xmpp:carbons:2" | "urn:xmpp:delay" | "urn:xmpp:sid:0" | "urn:xmpp:eme:0", _)
        | ("urn:xmpp:fallback:0", _)
        | ("urn:xmpp:receipts", "request")
        | ("urn:xmpp:chat-markers:0", "markable") => Class::EPHEMERAL,
        _ => Class::KEPT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stanza;

    const BODY: &str = "<body>hi</body>";

    fn check(attributes: &str, payload: &str, expected: Class) {
        let message = stanza(&format!("<message {attributes}>{payload}</message>"));
        assert_eq!(classify(&message.view()), expected, "{attributes} {payload}");
    }

    #[test]
    fn one_row_per_payload() {
        let no_store = Class { log: false, push: false, ..Class::READ };
        let rows: &[(&str, &str, Class)] = &[
            ("type='chat'", BODY, Class::READ),
            ("", BODY, Class::READ),
            ("type='chat'", "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", Class::READ),
            ("type='chat'", "<encrypted xmlns='urn:xmpp:omemo:2'/><store xmlns='urn:xmpp:hints'/>", Class::READ),
            ("type='chat'", "<openpgp xmlns='urn:xmpp:openpgp:0'/>", Class::READ),
            ("type='chat'", "<received xmlns='urn:xmpp:receipts' id='1'/>", Class::KEPT),
            ("type='chat'", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", Class::KEPT),
            ("type='chat'", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", Class::STATE),
            ("type='chat'", "<body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/>", Class::READ),
            ("type='chat'", "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", Class::KEPT),
            ("type='chat'", "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>", Class::KEPT),
            ("", "<x xmlns='jabber:x:conference' jid='room@x'/>", Class::READ),
            ("", "<x xmlns='http://jabber.org/protocol/muc#user'><invite/></x>", Class::READ),
            ("type='chat'", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", Class::READ),
            (
                "type='chat'",
                "<accept xmlns='urn:xmpp:jingle-message:0' id='1'/>",
                Class { urgent: true, ..Class::KEPT },
            ),
            ("type='headline'", BODY, Class::EPHEMERAL),
            ("type='groupchat'", BODY, Class::EPHEMERAL),
            ("type='error'", BODY, Class::EPHEMERAL),
            ("type='chat'", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>", no_store),
            ("type='chat'", "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>", no_store),
            ("type='chat'", "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>", Class { carbon: false, ..Class::READ }),
            (
                "type='chat'",
                "<body>x</body><private xmlns='urn:xmpp:carbons:2'/>",
                Class { carbon: false, ..Class::READ },
            ),
            (
                "type='chat'",
                "<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>",
                Class::KEPT,
            ),
            // Whatever the order of contradicting hints.
            (
                "type='chat'",
                "<body>x</body><no-store xmlns='urn:xmpp:hints'/><store xmlns='urn:xmpp:hints'/>",
                no_store,
            ),
            (
                "type='chat'",
                "<body>x</body><store xmlns='urn:xmpp:hints'/><no-store xmlns='urn:xmpp:hints'/>",
                no_store,
            ),
            ("type='headline'", "<body>x</body><store xmlns='urn:xmpp:hints'/>", Class::EPHEMERAL),
            ("type='error'", "<body>x</body><store xmlns='urn:xmpp:hints'/>", Class::EPHEMERAL),
            // XEP-0085: each state alone.
            ("type='chat'", "<active xmlns='http://jabber.org/protocol/chatstates'/>", Class::STATE),
            ("type='chat'", "<paused xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>", Class::STATE),
            ("type='chat'", "<gone xmlns='http://jabber.org/protocol/chatstates'/>", Class::STATE),
            ("", "<inactive xmlns='http://jabber.org/protocol/chatstates'/>", Class::STATE),
            // XEP-0184, XEP-0333: asking for one is no message, giving one is.
            ("", "<received xmlns='urn:xmpp:receipts' id='1'/>", Class::KEPT),
            ("type='chat'", "<body>x</body><request xmlns='urn:xmpp:receipts'/>", Class::READ),
            ("type='chat'", "<markable xmlns='urn:xmpp:chat-markers:0'/>", Class::EPHEMERAL),
            ("type='chat'", "<received xmlns='urn:xmpp:chat-markers:0' id='1'/>", Class::KEPT),
            (
                "type='chat'",
                "<received xmlns='urn:xmpp:receipts' id='1'/><no-store xmlns='urn:xmpp:hints'/>",
                Class { log: false, ..Class::KEPT },
            ),
            ("", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", Class::EPHEMERAL),
            ("type='chat'", "<request xmlns='urn:xmpp:receipts'/>", Class::EPHEMERAL),
            ("type='chat'", "<subject>only</subject>", Class::EPHEMERAL),
            ("type='chat'", "<unheard-of xmlns='urn:example:new'/>", Class::KEPT),
            ("type='chat'", "", Class::EPHEMERAL),
        ];
        for (attributes, payload, expected) in rows {
            check(attributes, payload, *expected);
        }
    }
}
