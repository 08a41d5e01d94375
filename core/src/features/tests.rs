//! What is advertised is served, what is served is advertised, and no answer tells a stranger which
//! accounts there are.

use super::*;
use crate::testing::Core;

/// Advertised without a handler of their own, and why.
const NO_HANDLER: &[(&str, &str)] = &[
    ("http://jabber.org/protocol/caps", "announced in the stream features"),
    ("http://jabber.org/protocol/rsm", "a part of other questions"),
    ("urn:xmpp:sid:0", "edges write ids into messages"),
];

/// Handled without being advertised, and why.
const NOT_ADVERTISED: &[(&str, &str)] = &[
    ("jabber:iq:roster", "RFC 6121 §2: every server of an account has it"),
    ("urn:ietf:params:xml:ns:xmpp-session", "a stream feature of old"),
];

/// A core whose domain has what can be switched on.
fn with_every_feature(shards: u16) -> Core {
    let mut domain = DomainRecord::new("example.org");
    for switch in ALL.iter().filter_map(|feature| feature.switch) {
        domain.set(switch.name, true);
    }
    Core::with_domains(shards, &[domain])
}

fn handlers() -> impl Iterator<Item = &'static IqHandler> {
    ALL.iter().flat_map(|feature| feature.iq)
}

#[test]
fn what_is_advertised_is_served() {
    let server = ALL.iter().flat_map(|feature| feature.disco_server).map(|ns| (*ns, true));
    let account = ALL.iter().flat_map(|feature| feature.disco_account).map(|ns| (*ns, false));
    for (ns, server) in server.chain(account) {
        // A server speaks for its accounts too: what they have it may advertise (XEP-0030 §3).
        let fits = |scope: &Scope| server || *scope != Scope::Server;
        let handled = handlers().any(|handler| handler.ns == ns && handler.scopes.iter().any(fits));
        let reason = NO_HANDLER.iter().any(|(other, _)| *other == ns);
        assert!(handled != reason, "{ns} (of the server: {server}): handler {handled}, reason {reason}");
    }
}

#[test]
fn what_is_served_is_advertised() {
    for handler in handlers() {
        let lists = |feature: &&Feature| [feature.disco_server, feature.disco_account].concat().contains(&handler.ns);
        let advertised = ALL.iter().any(lists);
        let reason = NOT_ADVERTISED.iter().any(|(ns, _)| *ns == handler.ns);
        assert!(advertised != reason, "{}: advertised {advertised}, reason {reason}", handler.ns);
    }
}

/// Each handler is reached where its scopes say, and nowhere else.
#[test]
fn handlers_answer_where_they_are_said_to() {
    let mut core = with_every_feature(2);
    let ada = core.login("ada@example.org/desk");
    for handler in handlers() {
        for (scope, to) in [(Scope::Server, "example.org"), (Scope::Account, "ada@example.org")] {
            let mut reached = false;
            for ty in ["get", "set"] {
                let (element, ns) = (handler.element, handler.ns);
                core.send(ada, &format!("<iq type='{ty}' id='1' to='{to}'><{element} xmlns='{ns}'/></iq>"));
                let answers = core.take(ada);
                let answer =
                    answers.iter().find(|answer| answer.contains(" id='1'")).unwrap_or_else(|| panic!("{ns} {ty}"));
                reached |= !answer.contains("service-unavailable");
            }
            let same = handlers().filter(|other| (other.ns, other.element) == (handler.ns, handler.element));
            let said = same.flat_map(|other| other.scopes).any(|other| *other == scope);
            assert_eq!(reached, said, "{} at {to}", handler.ns);
        }
    }
}

/// XEP-0030 §8 and others: to a stranger an account is as one that does not exist.
#[test]
fn strangers_do_not_learn_which_accounts_there_are() {
    let mut core = with_every_feature(2);
    let (eve, _bob) = (core.login("eve@example.org/x"), core.login("bobby@example.org/phone"));
    for handler in handlers() {
        for (ty, resource) in [("get", ""), ("set", ""), ("get", "/phone"), ("get", "/gone")] {
            let (element, ns) = (handler.element, handler.ns);
            let mut ask = |name: &str| {
                let to = format!("{name}@example.org{resource}");
                core.send(eve, &format!("<iq type='{ty}' id='1' to='{to}'><{element} xmlns='{ns}'/></iq>"));
                core.take(eve).concat().replace(name, "somebody")
            };
            let (there, absent) = (ask("bobby"), ask("nobod"));
            assert!(!there.is_empty(), "{ns} {ty}");
            assert_eq!(there, absent, "{ns} {ty}{resource}");
        }
    }
}

#[test]
fn every_specification_is_named_once_with_its_version() {
    let mut seen = std::collections::BTreeSet::new();
    for feature in ALL {
        if let Spec::Xep(number, version) = feature.spec {
            let parts: Vec<&str> = version.split('.').collect();
            assert!(
                (2..=3).contains(&parts.len()) && parts.iter().all(|part| part.parse::<u16>().is_ok()),
                "{version}"
            );
            // XEP-0077 is two: what a domain may switch off, and what it may not.
            assert!(seen.insert((number, feature.switch.is_some())), "XEP-{number:04} twice");
        }
    }
}
