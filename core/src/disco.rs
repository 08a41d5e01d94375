//! Service Discovery (XEP-0030) and the server's Entity Capabilities (XEP-0115), both from the list
//! of features.

use crate::contact::Contact;
use crate::cx::Cx;
use crate::features::{self, Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::route::bare;
use aws_lc_rs::digest;
use base64::Engine;
use hearth_storage::DomainRecord;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::Builder;

const INFO: &str = "http://jabber.org/protocol/disco#info";
const ITEMS: &str = "http://jabber.org/protocol/disco#items";
const CAPS: &str = "http://jabber.org/protocol/caps";
/// Names this software in capabilities (XEP-0115 §4).
const NODE: &str = "urn:hearth:server";

const SCOPES: &[Scope] = &[Scope::Server, Scope::Account, Scope::AccountOfOther];

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(30, "2.5.0"),
    disco_server: &[INFO, ITEMS],
    disco_account: &[INFO, ITEMS],
    iq: &[
        IqHandler { ns: INFO, element: "query", scopes: SCOPES, run: info },
        IqHandler { ns: ITEMS, element: "query", scopes: SCOPES, run: items },
    ],
    ..Feature::EMPTY
};

pub const CAPS_FEATURE: Feature = Feature {
    spec: Spec::Xep(115, "1.6.0"),
    disco_server: &[CAPS],
    stream_features: Some(offer_caps),
    ..Feature::EMPTY
};

/// Category, type and name (XEP-0030 §3.1).
type Identity = (&'static str, &'static str, &'static str);

const SERVER: Identity = ("server", "im", "Hearth");
const ACCOUNT: Identity = ("account", "registered", "");

/// XEP-0030 §3.
fn info(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    may_ask(cx, iq)?;
    let server = iq.account.is_none();
    let node = iq.question.attr("node");
    let known =
        node.is_none_or(|node| server && node.strip_prefix(NODE) == Some(format!("#{}", verification()).as_str()));
    if !known {
        return Err(StanzaCondition::ItemNotFound);
    }
    let (identity, features) = if server { (SERVER, server_features()) } else { (ACCOUNT, account_features()) };
    let mut tree = Builder::new();
    tree.open(Some(INFO), "query");
    if let Some(node) = node {
        tree.attr("node", node);
    }
    let (category, kind, name) = identity;
    tree.open(None, "identity").attr("category", category).attr("type", kind);
    if !name.is_empty() {
        tree.attr("name", name);
    }
    tree.close();
    for feature in features {
        tree.open(None, "feature").attr("var", feature).close();
    }
    iq.reply(cx, &tree.finish());
    Ok(())
}

/// XEP-0030 §4: this server has no items of its own yet.
fn items(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    may_ask(cx, iq)?;
    if iq.question.attr("node").is_some() {
        return Err(StanzaCondition::ItemNotFound);
    }
    let mut tree = Builder::new();
    tree.open(Some(ITEMS), "query").close();
    iq.reply(cx, &tree.finish());
    Ok(())
}

/// XEP-0030 §8: an account answers only those who may see its presence; to others it is as if it
/// did not exist.
fn may_ask(cx: &Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    let (Some(account), None) = (iq.account, iq.asker) else { return Ok(()) };
    let asker = iq.stanza.from.map(bare).unwrap_or_default();
    let seen = cx.account(account).and_then(|account| account.contact(asker)).is_some_and(Contact::sees_us);
    if seen { Ok(()) } else { Err(StanzaCondition::ServiceUnavailable) }
}

fn sorted(features: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut all: Vec<&str> = features.collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn server_features() -> Vec<&'static str> {
    sorted(features::ALL.iter().flat_map(|feature| feature.disco_server.iter().copied()))
}

fn account_features() -> Vec<&'static str> {
    sorted(features::ALL.iter().flat_map(|feature| feature.disco_account.iter().copied()))
}

/// XEP-0115 §5.1 of what [`info`] says of the server.
fn verification() -> String {
    let (category, kind, name) = SERVER;
    let mut text = format!("{category}/{kind}//{name}<");
    for feature in server_features() {
        text.push_str(feature);
        text.push('<');
    }
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash.as_ref())
}

/// XEP-0115 §6.3.
fn offer_caps(_domain: &DomainRecord, tree: &mut Builder) {
    tree.open(Some(CAPS), "c").attr("hash", "sha-1").attr("node", NODE).attr("ver", &verification()).close();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Core;

    #[test]
    fn the_server_says_what_it_can() {
        let mut core = Core::new(1);
        let ada = core.login("ada@example.org/desk");
        core.send(ada, &format!("<iq type='get' id='1' to='example.org'><query xmlns='{INFO}'/></iq>"));
        let answer = core.take(ada).concat();
        assert!(answer.contains("category='server'") && answer.contains("var='urn:xmpp:ping'"), "{answer}");
        let node = format!("{NODE}#{}", verification());
        core.send(ada, &format!("<iq type='get' id='2' to='example.org'><query xmlns='{INFO}' node='{node}'/></iq>"));
        assert!(core.take(ada).concat().contains(&node));
        core.send(ada, &format!("<iq type='get' id='3' to='example.org'><query xmlns='{INFO}' node='x'/></iq>"));
        assert!(core.take(ada).concat().contains("item-not-found"));
        core.send(ada, &format!("<iq type='get' id='4' to='example.org'><query xmlns='{ITEMS}'/></iq>"));
        assert!(core.take(ada).concat().contains("type='result'"));
    }

    #[test]
    fn a_stranger_learns_nothing_of_an_account() {
        let mut core = Core::new(2);
        let (ada, _bob) = (core.login("ada@example.org/desk"), core.login("bob@example.org/phone"));
        let ask = |core: &mut Core, to: &str| {
            core.send(ada, &format!("<iq type='get' id='1' to='{to}'><query xmlns='{INFO}'/></iq>"));
            core.take(ada).concat().replace(to, "X")
        };
        let bob = ask(&mut core, "bob@example.org");
        let nobody = ask(&mut core, "nobody@example.org");
        assert!(bob.contains("service-unavailable"), "{bob}");
        assert_eq!(bob, nobody);
        core.send(ada, &format!("<iq type='get' id='1'><query xmlns='{INFO}'/></iq>"));
        assert!(core.take(ada).concat().contains("category='account'"));
    }
}
