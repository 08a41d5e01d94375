//! What only servers say: by these elements and pushes a server vouches for something, so none crosses from a client.
//! Clients that believe them of anybody have let strangers put words into others' mouths.
//!
//! Elements are taken out of messages and presence, however many there are; what a stanza carries deeper inside says
//! nothing of that stanza. Iqs go on as they are: an answer speaks for its sender, and the pushes are refused.

use crate::blocking;
use crate::domain::Domains;
use crate::roster;
use crate::route::bare;
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{self, Builder, CLIENT, Element, Node};
use hearth_wire::{StanzaCondition, jid};

#[cfg(test)]
mod tests;

/// Namespaces of the iq sets by which a server tells clients of changes (RFC 6121 §2.1.6, XEP-0191 §3.3).
const PUSHES: &[&str] = &[roster::NS, blocking::NS];

/// The payload of a client's stanza without what only servers say; `None` if there is nothing of that in it. `from`
/// is stamped.
pub fn strip(domains: &Domains, stanza: &Stanza<'_>) -> Option<Vec<u8>> {
    let sender = bare(stanza.from.unwrap_or_default());
    let ours = |element: &Element<'_>| is_ours(domains, sender, element);
    if stanza.kind == StanzaKind::Iq || !tree::children(stanza.payload).any(|child| ours(&child)) {
        return None;
    }
    let mut kept = Builder::new();
    for node in tree::nodes(stanza.payload, CLIENT) {
        match node {
            Node::Element(element) if ours(&element) => {}
            Node::Element(element) => {
                kept.raw(element.bytes());
            }
            Node::Text(text) => {
                kept.text(text);
            }
        }
    }
    Some(kept.finish())
}

/// Whether a client's iq pretends to be a push: those are for a resource, and no resource takes one from another.
pub fn refuses(stanza: &Stanza<'_>) -> Option<StanzaCondition> {
    let to_resource = stanza.to.is_some_and(|to| to.contains('/'));
    let pushes = || tree::children(stanza.payload).any(|child| PUSHES.contains(&child.ns()));
    (stanza.kind == StanzaKind::Iq && stanza.ty == StanzaType::Set && to_resource && pushes())
        .then_some(StanzaCondition::Forbidden)
}

fn is_ours(domains: &Domains, sender: &str, element: &Element<'_>) -> bool {
    match (element.ns(), element.name()) {
        // XEP-0359 §6: of the domains served here nobody else gives ids.
        ("urn:xmpp:sid:0", "stanza-id") => {
            element.attr("by").is_none_or(|by| jid::prepare(by).is_ok_and(|by| domains.contains(jid::split(&by).1)))
        }
        // XEP-0203 §2: a client may say that it delayed a stanza itself. Without a `from` clients read the server's.
        ("urn:xmpp:delay", "delay") | ("jabber:x:delay", "x") => {
            element.attr("from").and_then(|from| jid::prepare(from).ok()).is_none_or(|from| bare(&from) != sender)
        }
        ("urn:xmpp:occupant-id:0", _) => true,
        (ns, name) => ns.strip_prefix("urn:xmpp:").is_some_and(|ns| match ns.split_once(':') {
            // XEP-0280 §7, XEP-0313 §5, of whichever version; XEP-0198 is of the stream.
            Some(("carbons", _)) => matches!(name, "sent" | "received"),
            Some(("mam", _)) => matches!(name, "result" | "fin" | "archived"),
            Some(("sm", _)) => true,
            _ => false,
        }),
    }
}
