//! Service Discovery (XEP-0030) and the server's Entity Capabilities (XEP-0115), both from the list
//! of features a domain has.
//!
//! An account answers those who may see its presence, and its owner. To others it is as if it did not
//! exist, and what does not exist answers the same (XEP-0030 §8): disco#info is refused, disco#items
//! has none.

use crate::contact::Contact;
use crate::cx::Cx;
use crate::features::{self, Feature, IqHandler, Scope, Spec};
use crate::forms::Info;
use crate::iq::Iq;
use crate::presence::fanout::available;
use crate::route::bare;
use aws_lc_rs::digest;
use base64::Engine;
use hearth_storage::DomainRecord;
use hearth_wire::StanzaCondition;
use hearth_wire::tree::Builder;

pub const INFO: &str = "http://jabber.org/protocol/disco#info";
pub const ITEMS: &str = "http://jabber.org/protocol/disco#items";
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

/// The server's forms stand in its disco#info.
pub const EXTENSIONS: Feature = Feature { spec: Spec::Xep(128, "1.0.1"), ..Feature::EMPTY };

/// Category, type and name (XEP-0030 §3.1).
type Identity = (&'static str, &'static str, &'static str);

const SERVER: Identity = ("server", "im", "Hearth");
const ACCOUNT: Identity = ("account", "registered", "");

/// XEP-0030 §3.
fn info(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    if !may_ask(cx, iq) {
        return Err(StanzaCondition::ServiceUnavailable);
    }
    let node = iq.question.attr("node");
    let described = match iq.account.and_then(|key| cx.account(key)) {
        Some(account) => {
            Described::account(cx.shard.domains.get(account.jid.domainpart()).ok_or(StanzaCondition::ItemNotFound)?)
        }
        None => {
            let domain = iq.stanza.to.map(bare).unwrap_or_default();
            Described::server(cx.shard.domains.get(domain).ok_or(StanzaCondition::ItemNotFound)?)
        }
    };
    // XEP-0115 §6.2: what the stream features announced. An account announces nothing.
    let announced = |node: &str| {
        iq.account.is_none()
            && node.strip_prefix(NODE).and_then(|rest| rest.strip_prefix('#')) == Some(&described.verification())
    };
    if !node.is_none_or(announced) {
        return Err(StanzaCondition::ItemNotFound);
    }
    let mut tree = Builder::new();
    tree.open(Some(INFO), "query");
    if let Some(node) = node {
        tree.attr("node", node);
    }
    described.write(&mut tree);
    iq.reply(cx, &tree.finish());
    Ok(())
}

/// XEP-0030 §4: an account's available resources; the server has no items yet.
fn items(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    let mut tree = Builder::new();
    tree.open(Some(ITEMS), "query");
    if may_ask(cx, iq) {
        if iq.question.attr("node").is_some() {
            return Err(StanzaCondition::ItemNotFound);
        }
        let account = iq.account.and_then(|key| cx.account(key));
        for resource in account.map(|account| available(cx, account)).unwrap_or_default() {
            if let Some(session) = cx.session(resource) {
                tree.open(None, "item").attr("jid", session.jid.as_str()).close();
            }
        }
    }
    tree.close();
    iq.reply(cx, &tree.finish());
    Ok(())
}

/// XEP-0030 §8: whoever may see the account's presence may ask it; everybody the server.
fn may_ask(cx: &Cx<'_>, iq: &Iq<'_>) -> bool {
    let (Some(account), None) = (iq.account, iq.asker) else { return true };
    let asker = iq.stanza.from.map(bare).unwrap_or_default();
    cx.account(account).and_then(|account| account.contact(asker)).is_some_and(Contact::sees_us)
}

/// What disco#info says of an entity, in the order of XEP-0115 §5.1.
struct Described {
    identity: Identity,
    /// Sorted.
    features: Vec<&'static str>,
    /// Sorted by type.
    forms: Vec<Info>,
}

impl Described {
    fn server(domain: &DomainRecord) -> Described {
        let features = features::of(domain).flat_map(|feature| feature.disco_server.iter().copied());
        let mut forms: Vec<Info> = features::of(domain).filter_map(|feature| (feature.info?)(domain)).collect();
        forms.sort_by_key(|form| form.form_type);
        Described { identity: SERVER, features: sorted(features), forms }
    }

    fn account(domain: &DomainRecord) -> Described {
        let features = features::of(domain).flat_map(|feature| feature.disco_account.iter().copied());
        Described { identity: ACCOUNT, features: sorted(features), forms: Vec::new() }
    }

    fn write(&self, tree: &mut Builder) {
        let (category, kind, name) = self.identity;
        tree.open(None, "identity").attr("category", category).attr("type", kind);
        if !name.is_empty() {
            tree.attr("name", name);
        }
        tree.close();
        for feature in &self.features {
            tree.open(None, "feature").attr("var", feature).close();
        }
        self.forms.iter().for_each(|form| form.write(tree));
        tree.close();
    }

    /// XEP-0115 §5.1.
    fn verification(&self) -> String {
        let (category, kind, name) = self.identity;
        let mut text = format!("{category}/{kind}//{name}<");
        for feature in &self.features {
            text.push_str(feature);
            text.push('<');
        }
        self.forms.iter().for_each(|form| form.verify(&mut text));
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        base64::engine::general_purpose::STANDARD.encode(hash.as_ref())
    }
}

fn sorted(features: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut all: Vec<&str> = features.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// XEP-0115 §6.3.
fn offer_caps(domain: &DomainRecord, tree: &mut Builder) {
    let ver = Described::server(domain).verification();
    tree.open(Some(CAPS), "c").attr("hash", "sha-1").attr("node", NODE).attr("ver", &ver).close();
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
        let node = format!("{NODE}#{}", Described::server(&DomainRecord::new("example.org")).verification());
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

    /// XEP-0115 §5.3, the example with a form.
    #[test]
    fn a_verification_string_is_as_in_the_standard() {
        let form = Info {
            form_type: "urn:xmpp:dataforms:softwareinfo",
            fields: vec![
                ("ip_version", vec!["ipv6".to_owned(), "ipv4".to_owned()]),
                ("os_version", vec!["10.5.1".to_owned()]),
                ("software_version", vec!["0.11".to_owned()]),
                ("software", vec!["Psi".to_owned()]),
                ("os", vec!["Mac".to_owned()]),
            ],
        };
        let mut text = String::new();
        form.verify(&mut text);
        assert_eq!(
            text,
            "urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<os_version<10.5.1<software<Psi<\
             software_version<0.11<"
        );
        let exodus = Described {
            identity: ("client", "pc", "Exodus 0.9.1"),
            features: vec![CAPS, INFO, ITEMS, "http://jabber.org/protocol/muc"],
            forms: Vec::new(),
        };
        assert_eq!(exodus.verification(), "QgayPKawpkPSDYmwT/WM94uAlu0=");
    }

    /// The stream features announce what disco#info says, and something else when that changes.
    #[test]
    fn the_announced_hash_follows_what_the_domain_has() {
        let announced = |domain: &DomainRecord| {
            let mut tree = Builder::new();
            offer_caps(domain, &mut tree);
            let bytes = tree.finish();
            hearth_wire::tree::first(&bytes).unwrap().attr("ver").unwrap().to_owned()
        };
        let plain = DomainRecord::new("example.org");
        let mut other = plain.clone();
        other.contacts.abuse = vec!["mailto:abuse@example.org".to_owned()];
        assert_eq!(announced(&plain), announced(&DomainRecord::new("example.net")));
        assert_ne!(announced(&plain), announced(&other));
        let mut core = Core::with_domains(1, &[other.clone()]);
        let ada = core.login("ada@example.org/desk");
        let ask = format!("<query xmlns='{INFO}' node='{NODE}#{}'/>", announced(&other));
        core.send(ada, &format!("<iq type='get' id='1' to='example.org'>{ask}</iq>"));
        let answer = core.take(ada).concat();
        assert!(answer.contains("<field var='abuse-addresses'><value>mailto:abuse@example.org</value></field></x>"));
        core.send(ada, &format!("<iq type='get' id='2' to='ada@example.org'>{ask}</iq>"));
        assert!(core.take(ada).concat().contains("item-not-found"));
    }

    /// XEP-0030 §4, §8.
    #[test]
    fn resources_are_told_to_those_who_see_them() {
        let mut core = Core::new(2);
        core.contact("bob@example.org", "ada@example.org", hearth_storage::Subscription::From);
        let (ada, eve) = (core.login("ada@example.org/desk"), core.login("eve@example.org/x"));
        let (phone, _silent) = (core.login("bob@example.org/phone"), core.login("bob@example.org/silent"));
        core.send(phone, "<presence/>");
        core.forget();
        let ask = |core: &mut Core, client, to: &str, node: &str| {
            core.send(client, &format!("<iq type='get' id='1' to='{to}'><query xmlns='{ITEMS}'{node}/></iq>"));
            let answer = core.take(client).concat();
            match answer.split_once("<query") {
                Some((_, rest)) if !answer.contains("error") => format!("<query{}", rest.trim_end_matches("</iq>")),
                _ => answer,
            }
        };
        let empty = format!("<query xmlns='{ITEMS}'/>");
        let phone_only = format!("<query xmlns='{ITEMS}'><item jid='bob@example.org/phone'/></query>");
        assert_eq!(ask(&mut core, ada, "bob@example.org", ""), phone_only);
        assert_eq!(ask(&mut core, phone, "bob@example.org", ""), phone_only);
        assert!(ask(&mut core, ada, "bob@example.org", " node='x'").contains("item-not-found"));
        for node in ["", " node='x'"] {
            for to in ["bob@example.org", "nobody@example.org", "ada@example.org"] {
                assert_eq!(ask(&mut core, eve, to, node), empty, "{to}");
            }
        }
        assert_eq!(ask(&mut core, eve, "example.org", ""), empty);
    }
}
