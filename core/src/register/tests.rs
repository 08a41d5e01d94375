//! Registration before login, frames in and frames out.

use super::*;
use crate::sasl::crypto::Hash;
use crate::testing::{Core, SOCKETS, stanza};
use hearth_storage::{Answer, Ask, Credentials};
use hearth_wire::to_core::ToCore;
use std::net::{IpAddr, Ipv4Addr};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn ask(core: &mut Core, shard: usize, peer: IpAddr, iq: &str) -> Vec<String> {
    let stanza = stanza(iq);
    let frame = PreAuthIq {
        counter: SOCKETS,
        slot: core.shards[0].settings.slot_key.slot("example.org"),
        epoch: 1,
        domain: "example.org",
        peer,
        security: Security::Tls13,
        stanza: stanza.bytes(),
    };
    core.frame(shard, &ToCore::PreAuthIq(frame));
    core.run();
    let read = |body: &Vec<u8>| match ToEdge::decode(body).unwrap().unwrap() {
        ToEdge::PreAuthReply(reply) => crate::testing::text(reply.stanza),
        ToEdge::Moved(moved) => format!("moved {}", moved.slot.index()),
        other => format!("{other:?}"),
    };
    std::mem::take(&mut core.sockets).iter().map(read).collect()
}

fn submit(name: &str, password: &str) -> String {
    format!(
        "<iq type='set' id='s'><query xmlns='jabber:iq:register'><username>{name}</username>\
         <password>{password}</password></query></iq>"
    )
}

fn error(kind: &str, condition: &str) -> Vec<String> {
    vec![format!(
        "<iq type='error' id='s'><error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )]
}

/// As `ask`, the text for people left out; which there must be.
fn ask_told(core: &mut Core, peer: IpAddr, iq: &str) -> Vec<String> {
    let answers = ask(core, 0, peer, iq);
    let told = |answer: &String| {
        let (before, text) = answer.split_once("<text ").unwrap_or_else(|| panic!("no text: {answer}"));
        format!("{before}{}", text.split_once("</text>").unwrap().1)
    };
    answers.iter().map(told).collect()
}

const FIELDS: &str = "<iq type='get' id='f' to='example.org'><query xmlns='jabber:iq:register'/></iq>";
const DONE: &str = "<iq type='result' id='s'/>";

#[test]
fn an_account_is_made_and_can_log_in() {
    let mut core = Core::with_registration(1, true);
    assert_eq!(
        ask(&mut core, 0, HERE, FIELDS),
        ["<iq type='result' id='f' from='example.org'><query xmlns='jabber:iq:register'>\
          <instructions>Choose a username and a password.</instructions><username/><password/></query></iq>"]
    );
    assert_eq!(ask(&mut core, 0, HERE, &submit("Ada", "graphite pencil")), [DONE]);
    let ada = BareJid::parse("ada@example.org").unwrap();
    let Answer::Loaded(Some(snapshot)) = core.ask_store(&ada, Ask::Load { account: ada.clone() }) else {
        panic!("not stored");
    };
    let Credentials { sha1, sha256, sha512, .. } = &snapshot.credentials;
    for (keys, hash) in [(sha1, Hash::Sha1), (sha256, Hash::Sha256), (sha512, Hash::Sha512)] {
        assert_eq!((keys.iterations, keys.salt.len()), (10_000, 16));
        assert!(*keys == hash.keys(b"graphite pencil", &keys.salt, keys.iterations));
    }
    assert!(sha1.salt != sha256.salt && sha256.salt != sha512.salt && sha512.salt != sha1.salt);
    assert_eq!(ask_told(&mut core, HERE, &submit("ada", "other password")), error("cancel", "conflict"));
}

#[test]
fn a_domain_without_registration_has_none() {
    let mut core = Core::new(1);
    let unavailable = error("cancel", "service-unavailable");
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "graphite pencil")), unavailable);
    assert!(ask(&mut core, 0, HERE, FIELDS)[0].contains("service-unavailable"));
    let mut core = Core::with_registration(1, true);
    let other = "<iq type='get' id='s'><ping xmlns='urn:xmpp:ping'/></iq>";
    assert_eq!(ask(&mut core, 0, HERE, other), unavailable);
}

#[test]
fn what_is_missing_or_wrong_is_refused() {
    let mut core = Core::with_registration(1, true);
    for request in
        [submit("", "graphite pencil"), submit("ada", ""), submit("a da", "graphite pencil"), submit("ada", "\u{ad}")]
    {
        assert_eq!(ask(&mut core, 0, HERE, &request), error("modify", "not-acceptable"), "{request}");
    }
    let remove = "<iq type='set' id='s'><query xmlns='jabber:iq:register'><remove/></query></iq>";
    assert_eq!(ask(&mut core, 0, HERE, remove), error("wait", "unexpected-request"));
    let two = "<iq type='set' id='s'><query xmlns='jabber:iq:register'/><query xmlns='jabber:iq:register'/></iq>";
    assert_eq!(ask(&mut core, 0, HERE, two), error("modify", "bad-request"));
    assert_eq!(ask(&mut core, 0, HERE, "<iq type='result' id='s'/>"), [""; 0]);
    assert_eq!(ask(&mut core, 0, HERE, "<message><body>hi</body></message>"), [""; 0]);
    core.failing = true;
    assert_eq!(ask_told(&mut core, HERE, &submit("ada", "graphite pencil")), error("wait", "resource-constraint"));
    core.failing = false;
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "graphite pencil")), [DONE]);
}

/// Names that are taken count too: asking is also a way to learn who is there.
#[test]
fn threat_074_registrations_of_a_source_are_limited() {
    let mut core = Core::with_registration(1, true);
    for index in 0..limits::REGISTRATIONS_MAX {
        let name = format!("user{}", index / 2);
        let answer = ask(&mut core, 0, HERE, &submit(&name, "graphite pencil"));
        assert_eq!(answer == [DONE], index % 2 == 0, "{answer:?}");
    }
    let refused = error("wait", "resource-constraint");
    assert_eq!(ask_told(&mut core, HERE, &submit("late", "graphite pencil")), refused);
    let clothed = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
    assert_eq!(ask_told(&mut core, clothed, &submit("late", "graphite pencil")), refused);
    let neighbour = IpAddr::from([192, 0, 2, 99]);
    assert_eq!(ask(&mut core, 0, neighbour, &submit("neighbour", "graphite pencil")), [DONE]);
    assert!(ask(&mut core, 0, HERE, FIELDS)[0].contains("type='result'"), "looking costs nothing");
    let elsewhere = IpAddr::from([198, 51, 100, 1]);
    assert_eq!(ask(&mut core, 0, elsewhere, &submit("other", "graphite pencil")), [DONE]);
    core.advance(limits::REGISTRATIONS_WINDOW_MS);
    assert_eq!(ask(&mut core, 0, HERE, &submit("late", "graphite pencil")), [DONE]);
}

#[test]
fn another_shard_makes_its_own_accounts() {
    let mut core = Core::with_registration(4, true);
    let jid = core.name_on(2, "ada");
    let name = jid.split('@').next().unwrap();
    let slot = core.shards[0].settings.slot_key.slot(&jid).index();
    assert_eq!(ask(&mut core, 1, HERE, &submit(name, "graphite pencil")), [format!("moved {slot}")]);
    assert_eq!(ask(&mut core, 2, HERE, &submit(name, "graphite pencil")), [DONE]);
}

fn with_rules(shards: u16, rules: hearth_storage::RegistrationRules) -> Core {
    let mut domain = hearth_storage::DomainRecord::new("example.org");
    domain.set(REGISTRATION.name, true);
    domain.registration_rules = rules;
    Core::with_domains(shards, &[domain])
}

#[test]
fn a_domain_is_limited_and_says_how() {
    let rules = hearth_storage::RegistrationRules { per_hour: Some(3), per_address: Some(2), ..Default::default() };
    let mut core = with_rules(1, rules);
    let v6 = |host: u16, network: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
    let refused = error("wait", "resource-constraint");
    assert_eq!(ask(&mut core, 0, v6(1, 1), &submit("a", "graphite pencil")), [DONE]);
    assert_eq!(ask(&mut core, 0, v6(2, 1), &submit("b", "graphite pencil")), [DONE]);
    assert_eq!(ask_told(&mut core, v6(3, 1), &submit("c", "graphite pencil")), refused, "one /64");
    assert_eq!(ask(&mut core, 0, v6(1, 2), &submit("c", "graphite pencil")), [DONE]);
    assert_eq!(ask_told(&mut core, v6(1, 3), &submit("d", "graphite pencil")), refused, "the domain is full");
    core.advance(limits::REGISTRATIONS_WINDOW_MS);
    assert_eq!(ask(&mut core, 0, v6(1, 3), &submit("d", "graphite pencil")), [DONE]);
}

/// Whatever shard the account will live on: the domain's counts, once.
#[test]
fn the_shard_of_the_domain_counts_for_all() {
    let rules = hearth_storage::RegistrationRules { per_address: Some(4), ..Default::default() };
    let mut core = with_rules(4, rules);
    let first = core.owner("example.org");
    let mut made = 0;
    for n in 0..8 {
        let name = format!("user{n}");
        let answer = ask(&mut core, first, HERE, &submit(&name, "graphite pencil"));
        if answer[0].starts_with("moved") {
            let owner = core.owner(&format!("{name}@example.org"));
            assert_eq!(ask(&mut core, owner, HERE, &submit(&name, "graphite pencil")), [DONE]);
            made += 1;
        } else {
            made += usize::from(answer == [DONE]);
        }
    }
    assert_eq!(made, 4);
}

#[test]
fn names_and_passwords_have_rules() {
    let refused = error("modify", "not-acceptable");
    let mut core = Core::with_registration(1, true);
    for name in ["admin", "Root", "postmaster", "\\20ada", "ada\\20"] {
        assert_eq!(ask_told(&mut core, HERE, &submit(name, "graphite pencil")), refused, "{name}");
    }
    for password in ["pencil", "1234567", "grünes!", "adalovelace"] {
        assert_eq!(ask_told(&mut core, HERE, &submit("adalovelace", password)), refused, "{password}");
    }
    assert_eq!(ask(&mut core, 0, HERE, &submit("adalovelace", "bleistift")), [DONE]);
    assert_eq!(ask(&mut core, 0, HERE, &submit("space\\20cadet", "bleistift")), [DONE]);
    let rules = hearth_storage::RegistrationRules {
        reserved: Some(vec!["boss".to_owned()]),
        password_chars_min: Some(3),
        ..Default::default()
    };
    let mut core = with_rules(1, rules);
    assert_eq!(ask_told(&mut core, HERE, &submit("boss", "graphite pencil")), refused);
    assert_eq!(ask(&mut core, 0, HERE, &submit("admin", "abc")), [DONE]);
    assert_eq!(ask_told(&mut core, HERE, &submit("ada", "ab")), refused);
}

/// UTS #39 §4, §5.2. A name that looks like another's gets the very answer of one that is taken.
#[test]
fn threat_076_names_that_look_like_others_are_not_given() {
    for shards in [1, 3] {
        let mut core = Core::with_registration(shards, true);
        let submit = |core: &mut Core, name: &str| {
            let asked = submit(name, "graphite pencil");
            let first = ask(core, 0, HERE, &asked);
            let Some(slot) = first[0].strip_prefix("moved ") else { return first };
            let slot = hearth_wire::ids::Slot::new(slot.parse().unwrap()).unwrap();
            let owner = usize::from(core.shards[0].slot_owner(slot));
            ask(core, owner, HERE, &asked)
        };
        for name in ["scope", "paypal", "paypa1", "мария", "山田", "émilie"] {
            assert_eq!(submit(&mut core, name), [DONE], "{name}");
        }
        let taken = submit(&mut core, "paypal");
        assert!(taken[0].contains("<conflict"), "{taken:?}");
        // All in Cyrillic; an accent in two ways of writing it is one name.
        for name in ["ѕсоре", "ЅСОРЕ", "мapия", "e\u{301}milie"] {
            let answer = submit(&mut core, name);
            let mixed = name == "мapия";
            assert_eq!(answer == taken, !mixed, "{name}: {answer:?}");
            assert!(!mixed || answer[0].contains("<not-acceptable"), "{answer:?}");
        }
        for name in ["pаypal", "gracε", "adaмария"] {
            let answer = submit(&mut core, name);
            assert!(answer[0].contains("<not-acceptable"), "{name}: {answer:?}");
        }
    }
}

/// §3.3: a password is changed at one's own domain, by the same rules, and never sent back.
#[test]
fn a_change_of_password_has_the_same_rules() {
    let mut core = Core::new(1);
    let ada = core.login("ada@example.org/desk");
    let change = |core: &mut Core, to: &str, password: &str| {
        let fields = format!("<username>ada</username><password>{password}</password>");
        core.send(
            ada,
            &format!("<iq type='set' id='s' to='{to}'><query xmlns='jabber:iq:register'>{fields}</query></iq>"),
        );
        core.take(ada).concat()
    };
    for (to, password, condition) in [
        ("example.org", "pencil", "not-acceptable"),
        ("example.net", "graphite pencil", "not-allowed"),
        ("example.org", "", "bad-request"),
    ] {
        let answer = change(&mut core, to, password);
        assert!(answer.contains(condition) && !answer.contains("<password"), "{answer}");
    }
    assert!(change(&mut core, "example.org", "graphite pencil").contains("type='result'"));
}

/// Every field that is asked for is needed, in both forms of the question, and an empty one is a missing one.
#[test]
fn threat_037_a_missing_field_is_a_failed_registration() {
    let mut core = Core::with_registration(1, true);
    let (name, password) = ("<username>ada</username>", "<password>graphite pencil</password>");
    let (no_name, no_password) = ("<username/>", "<password/>");
    let rows = ["", name, password, no_name, no_password, "<email>a@b</email>"];
    let mut tried = 0;
    for first in rows {
        for second in rows {
            if [first, second] == [name, password] || [first, second] == [password, name] {
                continue;
            }
            let iq = format!("<iq type='set' id='s'><query xmlns='jabber:iq:register'>{first}{second}</query></iq>");
            let answer = ask(&mut core, 0, IpAddr::from([192, 0, 3, tried]), &iq).concat();
            assert!(answer.contains("type='error'"), "{first}{second}: {answer}");
            tried += 1;
        }
    }
    let ada = BareJid::parse("ada@example.org").unwrap();
    assert!(matches!(core.ask_store(&ada, Ask::Load { account: ada.clone() }), Answer::Loaded(None)));
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "graphite pencil")), [DONE], "the whole is taken");
}
