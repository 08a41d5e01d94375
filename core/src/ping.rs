//! XMPP Ping.

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use hearth_wire::StanzaCondition;

const NS: &str = "urn:xmpp:ping";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(199, "2.0.1"),
    disco_server: &[NS],
    disco_account: &[NS],
    iq: &[IqHandler { ns: NS, element: "ping", scopes: &[Scope::Server, Scope::Account], run: answer }],
    ..Feature::EMPTY
};

/// XEP-0199 §4.2: a client that pings the server or its own account.
fn answer(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::BadRequest);
    }
    iq.reply(cx, &[]);
    Ok(())
}
