//! Entity Time: what the server's clock says. Its users' are theirs to ask their clients for.

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use hearth_wire::StanzaCondition;
use hearth_wire::date_time;
use hearth_wire::tree::Builder;

const NS: &str = "urn:xmpp:time";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(202, "2.0"),
    disco_server: &[NS],
    iq: &[IqHandler { ns: NS, element: "time", scopes: &[Scope::Server], run: answer }],
    ..Feature::EMPTY
};

/// XEP-0202 §2. The offset is none: where the machine stands is nobody's business (XEP-0082 §6).
fn answer(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    let utc = date_time::text(cx.now.utc_ms);
    let mut tree = Builder::new();
    tree.open(Some(NS), "time").leaf(None, "tzo", "+00:00").leaf(None, "utc", &utc).close();
    iq.reply(cx, &tree.finish());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Core;

    #[test]
    fn the_server_tells_its_time() {
        let mut core = Core::new(1);
        let ada = core.login("ada@example.org/desk");
        core.now.utc_ms = 1_166_551_115_250;
        core.send(ada, "<iq type='get' id='t' to='example.org'><time xmlns='urn:xmpp:time'/></iq>");
        let time = "<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2006-12-19T17:58:35.250Z</utc></time>";
        assert!(core.take(ada).concat().contains(time));
    }
}
