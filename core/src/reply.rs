//! Building answers: iq results, stanza errors (RFC 6120 §8.3), pushes.

use hearth_wire::StanzaCondition;
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{Builder, Element};

/// Namespace of stanza error conditions (RFC 6120 §8.3.2).
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// The `<error/>` element of a condition, appended to `tree`.
pub fn error_element(tree: &mut Builder, condition: StanzaCondition, text: Option<&str>) {
    tree.open(None, "error").attr("type", condition.error_type().attribute());
    tree.open(Some(STANZAS), condition.element()).close();
    if let Some(text) = text {
        tree.open(Some(STANZAS), "text")
            .attr_ns("http://www.w3.org/XML/1998/namespace", "lang", "en")
            .text(text)
            .close();
    }
    tree.close();
}

/// The error that answers `stanza` (RFC 6120 §8.3.1): addresses swapped, same id, original payload
/// kept so that old clients recognise it. `None` where no error may be sent: for errors and results.
pub fn error(stanza: &Stanza<'_>, condition: StanzaCondition, text: Option<&str>) -> Option<SharedStanza> {
    if matches!(stanza.ty, StanzaType::Error | StanzaType::Result) {
        return None;
    }
    let mut tree = Builder::new();
    tree.raw(stanza.payload);
    error_element(&mut tree, condition, text);
    Some(SharedStanza::new(&Stanza {
        kind: stanza.kind,
        ty: StanzaType::Error,
        id: stanza.id,
        to: stanza.from,
        from: stanza.to,
        lang: None,
        payload: &tree.finish(),
    }))
}

/// The error that answers a stanza to an address that its sender's account blocks (XEP-0191 §3.3).
pub fn blocked(stanza: &Stanza<'_>) -> Option<SharedStanza> {
    if matches!(stanza.ty, StanzaType::Error | StanzaType::Result) {
        return None;
    }
    let mut tree = Builder::new();
    tree.raw(stanza.payload).open(None, "error").attr("type", "cancel");
    tree.open(Some(STANZAS), StanzaCondition::NotAcceptable.element()).close();
    tree.open(Some("urn:xmpp:blocking:errors"), "blocked").close();
    tree.close();
    let (to, from, payload) = (stanza.from, stanza.to, tree.finish());
    let error = Stanza { id: stanza.id, to, from, ..Stanza::new(stanza.kind, StanzaType::Error) };
    Some(SharedStanza::new(&Stanza { payload: &payload, ..error }))
}

/// As [`error`], without the original payload: for requests that carry a password. The stanza is a
/// request.
pub fn bare_error(iq: &Stanza<'_>, condition: StanzaCondition, text: Option<&str>) -> SharedStanza {
    let mut tree = Builder::new();
    error_element(&mut tree, condition, text);
    let answer = Stanza { id: iq.id, to: iq.from, from: iq.to, ..Stanza::new(iq.kind, StanzaType::Error) };
    SharedStanza::new(&Stanza { payload: &tree.finish(), ..answer })
}

/// The result that answers an iq (RFC 6120 §8.2.3), with this payload.
pub fn result(iq: &Stanza<'_>, payload: &[u8]) -> SharedStanza {
    SharedStanza::new(&Stanza {
        kind: StanzaKind::Iq,
        ty: StanzaType::Result,
        id: iq.id,
        to: iq.from,
        from: iq.to,
        lang: None,
        payload,
    })
}

/// An iq's question: exactly one child element (RFC 6120 §8.2.3).
pub fn question<'a>(iq: &Stanza<'a>) -> Result<Element<'a>, StanzaCondition> {
    let mut children = hearth_wire::tree::children(iq.payload);
    match (children.next(), children.next()) {
        (Some(element), None) => Ok(element),
        (Some(_) | None, _) => Err(StanzaCondition::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::tree;

    #[test]
    fn errors_swap_addresses_and_never_answer_errors() {
        let ask = Stanza {
            id: Some("1"),
            from: Some("a@x/1"),
            to: Some("b@x"),
            ..Stanza::new(StanzaKind::Iq, StanzaType::Get)
        };
        let answer = error(&ask, StanzaCondition::ServiceUnavailable, None).unwrap();
        let view = answer.view();
        assert_eq!((view.ty, view.id, view.to, view.from), (StanzaType::Error, Some("1"), ask.from, ask.to));
        let element = tree::child(view.payload, tree::CLIENT, "error").unwrap();
        assert_eq!(element.attr("type"), Some("cancel"));
        assert!(element.child(STANZAS, "service-unavailable").is_some());
        assert!(error(&view, StanzaCondition::BadRequest, None).is_none());
    }
}
