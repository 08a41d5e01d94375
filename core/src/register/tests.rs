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
    assert_eq!(ask(&mut core, 0, HERE, &submit("Ada", "pencil")), [DONE]);
    let ada = BareJid::parse("ada@example.org").unwrap();
    let Answer::Loaded(Some(snapshot)) = core.ask_store(&ada, Ask::Load { account: ada.clone() }) else {
        panic!("not stored");
    };
    let Credentials { sha1, sha256, sha512, .. } = &snapshot.credentials;
    for (keys, hash) in [(sha1, Hash::Sha1), (sha256, Hash::Sha256), (sha512, Hash::Sha512)] {
        assert_eq!((keys.iterations, keys.salt.len()), (10_000, 16));
        assert!(*keys == hash.keys(b"pencil", &keys.salt, keys.iterations));
    }
    assert!(sha1.salt != sha256.salt && sha256.salt != sha512.salt && sha512.salt != sha1.salt);
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "other")), error("cancel", "conflict"));
}

#[test]
fn a_domain_without_registration_has_none() {
    let mut core = Core::new(1);
    let unavailable = error("cancel", "service-unavailable");
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "pencil")), unavailable);
    assert!(ask(&mut core, 0, HERE, FIELDS)[0].contains("service-unavailable"));
    let mut core = Core::with_registration(1, true);
    let other = "<iq type='get' id='s'><ping xmlns='urn:xmpp:ping'/></iq>";
    assert_eq!(ask(&mut core, 0, HERE, other), unavailable);
}

#[test]
fn what_is_missing_or_wrong_is_refused() {
    let mut core = Core::with_registration(1, true);
    for request in [submit("", "pencil"), submit("ada", ""), submit("a da", "pencil"), submit("ada", "\u{ad}")] {
        assert_eq!(ask(&mut core, 0, HERE, &request), error("modify", "not-acceptable"), "{request}");
    }
    let remove = "<iq type='set' id='s'><query xmlns='jabber:iq:register'><remove/></query></iq>";
    assert_eq!(ask(&mut core, 0, HERE, remove), error("wait", "unexpected-request"));
    let two = "<iq type='set' id='s'><query xmlns='jabber:iq:register'/><query xmlns='jabber:iq:register'/></iq>";
    assert_eq!(ask(&mut core, 0, HERE, two), error("modify", "bad-request"));
    assert_eq!(ask(&mut core, 0, HERE, "<iq type='result' id='s'/>"), [""; 0]);
    assert_eq!(ask(&mut core, 0, HERE, "<message><body>hi</body></message>"), [""; 0]);
    core.failing = true;
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "pencil")), error("wait", "resource-constraint"));
    core.failing = false;
    assert_eq!(ask(&mut core, 0, HERE, &submit("ada", "pencil")), [DONE]);
}

/// Names that are taken count too: asking is also a way to learn who is there.
#[test]
fn sources_are_limited() {
    let mut core = Core::with_registration(1, true);
    for index in 0..limits::REGISTRATIONS_MAX {
        let name = format!("user{}", index / 2);
        let answer = ask(&mut core, 0, HERE, &submit(&name, "pencil"));
        assert_eq!(answer == [DONE], index % 2 == 0, "{answer:?}");
    }
    assert_eq!(ask(&mut core, 0, HERE, &submit("late", "pencil")), error("wait", "resource-constraint"));
    let neighbour = IpAddr::from([192, 0, 2, 99]);
    assert_eq!(ask(&mut core, 0, neighbour, &submit("late", "pencil")), error("wait", "resource-constraint"));
    assert!(ask(&mut core, 0, HERE, FIELDS)[0].contains("type='result'"), "looking costs nothing");
    let elsewhere = IpAddr::from([198, 51, 100, 1]);
    assert_eq!(ask(&mut core, 0, elsewhere, &submit("other", "pencil")), [DONE]);
    core.advance(limits::REGISTRATIONS_WINDOW_MS);
    assert_eq!(ask(&mut core, 0, HERE, &submit("late", "pencil")), [DONE]);
}

#[test]
fn another_shard_makes_its_own_accounts() {
    let mut core = Core::with_registration(4, true);
    let jid = core.name_on(2, "ada");
    let name = jid.split('@').next().unwrap();
    let slot = core.shards[0].settings.slot_key.slot(&jid).index();
    assert_eq!(ask(&mut core, 1, HERE, &submit(name, "pencil")), [format!("moved {slot}")]);
    assert_eq!(ask(&mut core, 2, HERE, &submit(name, "pencil")), [DONE]);
}
