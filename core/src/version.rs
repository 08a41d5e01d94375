//! Software Version.

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::Builder;

const NS: &str = "jabber:iq:version";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(92, "1.1"),
    disco_server: &[NS],
    iq: &[IqHandler { ns: NS, element: "query", scopes: &[Scope::Server], run: answer }],
    ..Feature::EMPTY
};

/// XEP-0092 §2. The operating system is nobody's business (§4).
fn answer(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    let mut tree = Builder::new();
    tree.open(Some(NS), "query").leaf(None, "name", "Hearth").leaf(None, "version", env!("CARGO_PKG_VERSION")).close();
    iq.reply(cx, &tree.finish());
    Ok(())
}
