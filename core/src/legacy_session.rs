//! The session of RFC 3921 §3, which RFC 6121 dropped: offered as optional, answered, without effect.

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use hearth_storage::DomainRecord;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::Builder;

const NS: &str = "urn:ietf:params:xml:ns:xmpp-session";

pub const FEATURE: Feature = Feature {
    spec: Spec::Rfc(3921),
    iq: &[IqHandler { ns: NS, element: "session", scopes: &[Scope::Server, Scope::Account], run: answer }],
    stream_features: Some(offer),
    ..Feature::EMPTY
};

fn offer(_domain: &DomainRecord, tree: &mut Builder) {
    tree.open(Some(NS), "session").open(None, "optional").close().close();
}

fn answer(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if !iq.is_set() {
        return Err(StanzaCondition::BadRequest);
    }
    iq.reply(cx, &[]);
    Ok(())
}
