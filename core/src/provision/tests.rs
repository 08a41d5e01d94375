//! Accounts re-keyed and removed, by their owners and by the operator.

use super::*;
use crate::commands::{Done, RefusedKind, Reply};
use crate::limits;
use crate::testing::{Client, Core, SOCKETS};
use hearth_storage::Subscription;
use hearth_wire::SaslCondition;
use hearth_wire::to_core::{Authenticate, ChannelBinding, Security, ToCore};
use hearth_wire::to_edge::ToEdge;
use std::net::IpAddr;

const ADA: &str = "ada@example.org";

/// Ada at two desks, her password `graphite pencil`.
fn core() -> (Core, Client, Client) {
    let mut core = Core::new(2);
    core.account_with_password(ADA, "graphite pencil");
    let desk = core.login("ada@example.org/desk");
    let phone = core.login("ada@example.org/phone");
    (core, desk, phone)
}

fn change(id: &str, password: &str) -> String {
    format!(
        "<iq type='set' id='{id}' to='example.org'><query xmlns='jabber:iq:register'>\
         <username>ada</username><password>{password}</password></query></iq>"
    )
}

const REMOVE: &str = "<iq type='set' id='r'><query xmlns='jabber:iq:register'><remove/></query></iq>";

/// Whether PLAIN lets Ada in; leaves an authenticated socket behind if it does.
fn enters(core: &mut Core, counter: u64, password: &str) -> bool {
    tries(core, counter, password).is_ok()
}

/// What PLAIN says to Ada.
fn tries(core: &mut Core, counter: u64, password: &str) -> Result<(), SaslCondition> {
    let shard = core.owner(ADA);
    let initial = format!("\0ada\0{password}");
    let frame = Authenticate {
        counter: SOCKETS + counter,
        slot: core.shards[0].settings.slot_key.slot(ADA),
        epoch: 1,
        domain: "example.org",
        peer: IpAddr::from([192, 0, 2, 1]),
        security: Security::Tls13,
        binding: ChannelBinding { tls_exporter: None, tls_server_end_point: None },
        mechanism: "PLAIN",
        initial: Some(initial.as_bytes()),
    };
    core.frame(shard, &ToCore::Authenticate(frame));
    core.run();
    let sockets = std::mem::take(&mut core.sockets);
    let answer = sockets.iter().find_map(|body| match ToEdge::decode(body) {
        Ok(Some(ToEdge::AuthSuccess(_))) => Some(Ok(())),
        Ok(Some(ToEdge::AuthFailure(failure))) => Some(Err(failure.condition)),
        _ => None,
    });
    answer.unwrap()
}

/// XEP-0077 §3.3, and nobody who holds the old password stays.
#[test]
fn a_new_password_ends_the_other_streams() {
    let (mut core, desk, phone) = core();
    assert!(enters(&mut core, 1, "graphite pencil"));
    core.send(desk, &change("c", "broad brush"));
    assert_eq!(core.take(desk), ["<iq type='result' id='c' from='example.org' to='ada@example.org/desk'/>"]);
    assert_eq!((core.closed(desk), core.closed(phone)), (None, Some(Some(StreamCondition::NotAuthorized))));
    let closed = std::mem::take(&mut core.sockets);
    assert!(matches!(ToEdge::decode(&closed[0]), Ok(Some(ToEdge::Close(close)))
        if close.counter == SOCKETS + 1 && close.condition == Some(StreamCondition::NotAuthorized)));
    assert_eq!(core.unsettled(desk), 0);
    assert!(!enters(&mut core, 2, "graphite pencil"));
    assert!(enters(&mut core, 3, "broad brush"));
    // And it is stored: another shard of memory knows it too.
    core.send(desk, &change("d", "graphite pencil"));
    assert!(enters(&mut core, 4, "graphite pencil") && core.closed(desk).is_none());
}

/// An error never shows the password again.
#[test]
fn errors_keep_the_password_to_themselves() {
    let (mut core, desk, phone) = core();
    let named = |name: &str| change("c", "broad brush").replace(">ada<", &format!(">{name}<"));
    for (request, condition) in [
        (named("grace"), "<error type='cancel'><not-allowed"),
        (change("c", ""), "<error type='modify'><bad-request"),
        (change("c", "\u{ad}"), "<error type='modify'><not-acceptable"),
        (change("c", "broad brush").replace("username>", "name>"), "<error type='modify'><bad-request"),
    ] {
        core.send(desk, &request);
        let answer = core.take(desk).pop().unwrap();
        assert!(answer.contains(condition) && !answer.contains("query"), "{answer}");
    }
    core.failing = true;
    core.send(desk, &change("c", "broad brush"));
    let answer = core.take(desk).pop().unwrap();
    assert!(answer.contains("<error type='wait'><resource-constraint") && !answer.contains("broad brush"), "{answer}");
    core.failing = false;
    assert!(enters(&mut core, 1, "graphite pencil") && core.closed(phone).is_none(), "nothing was changed");
}

/// Two changes at a time could end in either order: the second waits for the client to ask again.
#[test]
fn one_change_at_a_time() {
    let (mut core, desk, _) = core();
    core.holding = true;
    core.send(desk, &(change("c", "broad brush") + &change("d", "white chalk")));
    let answers = core.take(desk);
    assert!(answers[0].contains("id='d'") && answers[0].contains("resource-constraint"), "{answers:?}");
    while core.derive_one() || core.answer_one() {}
    assert_eq!(core.take(desk), ["<iq type='result' id='c' from='example.org' to='ada@example.org/desk'/>"]);
    core.holding = false;
    assert!(enters(&mut core, 1, "broad brush"));
    assert!(core.shards.iter().all(|shard| shard.rekeying.is_empty()));
}

#[test]
fn what_is_on_file() {
    let (mut core, desk, _) = core();
    core.send(desk, "<iq type='get' id='f'><query xmlns='jabber:iq:register'/></iq>");
    assert_eq!(
        core.take(desk),
        ["<iq type='result' id='f' to='ada@example.org/desk'><query xmlns='jabber:iq:register'><registered/>\
          <instructions>Give your username and a new password.</instructions><username>ada</username><password/>\
          </query></iq>"]
    );
}

/// XEP-0077 §3.2: the answer first, then every stream ends and nothing is left.
#[test]
fn a_removed_account_is_gone() {
    let (mut core, desk, phone) = core();
    let grace = core.login("grace@example.org/lab");
    assert!(enters(&mut core, 1, "graphite pencil"));
    core.send(
        desk,
        "<iq type='set' id='x'><query xmlns='jabber:iq:register'><remove/><username>ada</username></query></iq>",
    );
    assert!(core.take(desk)[0].contains("bad-request"));
    core.send(desk, REMOVE);
    assert_eq!(core.take(desk), ["<iq type='result' id='r' to='ada@example.org/desk'/>"]);
    let ended = Some(Some(StreamCondition::NotAuthorized));
    assert_eq!((core.closed(desk), core.closed(phone)), (ended, ended));
    assert_eq!(core.sockets.len(), 1, "the one that was not bound yet ends too");
    let jid = BareJid::parse(ADA).unwrap();
    assert!(matches!(core.ask_store(&jid, Ask::Load { account: jid.clone() }), Answer::Loaded(None)));
    core.sockets.clear();
    assert!(!enters(&mut core, 2, "graphite pencil"));
    core.send(grace, "<message to='ada@example.org' type='chat' id='m'><body>there?</body></message>");
    assert_eq!((core.take(grace), core.unsettled(grace)), (vec![], 0), "as to any name that nobody has");
    core.advance(limits::ACCOUNT_IDLE_MS + limits::MARKS_STORE_MS);
    core.advance(limits::MARKS_STORE_MS);
    assert!(core.shards.iter().all(|shard| shard.accounts.len() <= 1), "only grace is in memory");
    // Somebody else may take the name and finds nothing of it.
    core.account_with_password(ADA, "chalk");
    assert!(!enters(&mut core, 3, "graphite pencil") && enters(&mut core, 4, "chalk"));
}

#[test]
fn a_removal_that_fails_removes_nothing() {
    let (mut core, desk, phone) = core();
    core.failing = true;
    core.send(desk, REMOVE);
    assert!(core.take(desk)[0].contains("<error type='wait'><resource-constraint"));
    core.failing = false;
    assert_eq!((core.closed(desk), core.closed(phone)), (None, None));
    assert!(enters(&mut core, 1, "graphite pencil"));
}

/// What was under way for the account when it went is answered and refers to nobody else's.
#[test]
fn what_waits_for_a_removed_account_is_refused() {
    let (mut core, desk, _) = core();
    let grace = core.login("grace@example.org/lab");
    core.holding = true;
    core.send(desk, REMOVE);
    core.send(grace, "<message to='ada@example.org' type='groupchat' id='m'><body>there?</body></message>");
    core.send(grace, "<message to='ada@example.org' type='chat' id='n'><body>there?</body></message>");
    assert_eq!(core.take(grace), [""; 0]);
    core.holding = false;
    core.answer();
    let [answer] = &core.take(grace)[..] else { panic!("a chat message to nobody is ignored") };
    assert!(answer.contains("id='m'") && answer.contains("service-unavailable"));
    assert_eq!(core.unsettled(grace), 0);
}

#[test]
fn the_operator_does_the_same() {
    let (mut core, desk, phone) = core();
    let shard = core.owner(ADA);
    let command = |core: &mut Core, name: &str, password: Option<&str>| {
        let parameters = [("account", Some(ADA)), ("password", password)];
        let given: Vec<_> = parameters.iter().filter_map(|(name, value)| value.map(|value| (*name, value))).collect();
        core.command(shard, name, &given);
        core.replies.pop().unwrap().1
    };
    let done = |what: &str| Reply::Ok(Done::did(ADA, what));
    let refused = |reply| matches!(reply, Reply::Error(refused) if refused.kind == RefusedKind::Exists);
    assert!(refused(command(&mut core, "user add", Some("chalk"))));
    assert_eq!(command(&mut core, "user password", Some("broad brush")), done("password changed"));
    let ended = Some(Some(StreamCondition::NotAuthorized));
    assert_eq!((core.closed(desk), core.closed(phone)), (ended, ended));
    assert!(enters(&mut core, 1, "broad brush") && !enters(&mut core, 2, "graphite pencil"));
    assert_eq!(command(&mut core, "user delete", None), done("deleted"));
    let absent = |reply| matches!(reply, Reply::Error(refused) if refused.kind == RefusedKind::NotFound);
    assert!(absent(command(&mut core, "user delete", None)));
    assert!(absent(command(&mut core, "user password", Some("x"))));
    assert_eq!(command(&mut core, "user add", Some("chalk")), done("added"));
    assert!(enters(&mut core, 3, "chalk"));
}

fn operator(core: &mut Core, name: &str, more: &[(&str, &str)]) -> Reply {
    let parameters = [&[("account", ADA)], more].concat();
    core.command(core.owner(ADA), name, &parameters);
    core.replies.pop().unwrap().1
}

/// RFC 6120 §6.5.2: who proves the password learns why, who does not learns nothing; nobody stays.
#[test]
fn a_disabled_account_lets_nobody_in() {
    let (mut core, desk, phone) = core();
    core.account_with_password("grace@example.org", "graphite pencil");
    assert!(enters(&mut core, 1, "graphite pencil"));
    assert_eq!(operator(&mut core, "user disable", &[("reason", "left")]), Reply::Ok(Done::did(ADA, "disabled")));
    let ended = Some(Some(StreamCondition::NotAuthorized));
    assert_eq!((core.closed(desk), core.closed(phone)), (ended, ended));
    let closed = std::mem::take(&mut core.sockets);
    assert!(matches!(ToEdge::decode(&closed[0]), Ok(Some(ToEdge::Close(close)))
        if close.counter == SOCKETS + 1 && close.text == "account disabled"));
    assert_eq!(tries(&mut core, 2, "graphite pencil"), Err(SaslCondition::AccountDisabled));
    assert_eq!(tries(&mut core, 3, "broad brush"), Err(SaslCondition::NotAuthorized));
    // A change of the password is not what enables it.
    assert_eq!(
        operator(&mut core, "user password", &[("password", "broad brush")]),
        Reply::Ok(Done::did(ADA, "password changed"))
    );
    assert_eq!(tries(&mut core, 4, "broad brush"), Err(SaslCondition::AccountDisabled));
    // It is stored: so does a core that knows the account from its disk only.
    core.advance(limits::ACCOUNT_IDLE_MS + limits::MARKS_STORE_MS);
    core.advance(limits::MARKS_STORE_MS);
    assert!(core.loaded(ADA).is_none());
    assert_eq!(tries(&mut core, 5, "broad brush"), Err(SaslCondition::AccountDisabled));
    assert_eq!(core.stored(ADA).disabled.and_then(|disabled| disabled.reason).as_deref(), Some("left"));
    assert_eq!(operator(&mut core, "user enable", &[]), Reply::Ok(Done::did(ADA, "enabled")));
    assert!(enters(&mut core, 6, "broad brush") && core.stored(ADA).disabled.is_none());
    assert_eq!(operator(&mut core, "user enable", &[]), Reply::Ok(Done::did(ADA, "enabled")), "it is already");
}

/// To all others it is an account that is offline.
#[test]
fn a_disabled_account_is_one_that_is_offline() {
    let mut core = Core::new(2);
    core.friends(ADA, "grace@example.org");
    let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/lab"));
    core.send(grace, "<presence/>");
    core.send(ada, "<presence/>");
    core.take(grace);
    operator(&mut core, "user disable", &[]);
    assert_eq!(core.take(grace), ["<presence type='unavailable' from='ada@example.org/desk' to='grace@example.org'/>"]);
    core.send(grace, "<message to='ada@example.org' type='chat' id='m'><body>there?</body></message>");
    core.send(grace, "<iq to='ada@example.org' type='get' id='v'><vCard xmlns='vcard-temp'/></iq>");
    let heard = core.take(grace).concat();
    assert!(heard.contains("id='v'") && !heard.contains("id='m'"), "{heard}");
    operator(&mut core, "user enable", &[]);
    let ada = core.login("ada@example.org/desk");
    core.send(ada, "<presence/>");
    assert!(core.take(ada).concat().contains("there?"));
}

/// Disabling waits its turn like any change, and one that fails changes nothing.
#[test]
fn disabling_that_fails_and_disabling_twice() {
    let (mut core, desk, _) = core();
    core.failing = true;
    let failed = operator(&mut core, "user disable", &[]);
    assert!(matches!(failed, Reply::Error(refused) if refused.kind == RefusedKind::Unavailable));
    core.failing = false;
    assert!(core.closed(desk).is_none() && enters(&mut core, 1, "graphite pencil"));
    operator(&mut core, "user disable", &[("reason", "spam")]);
    let first = core.stored(ADA).disabled.unwrap();
    core.advance(1000);
    operator(&mut core, "user disable", &[("reason", "more spam")]);
    let second = core.stored(ADA).disabled.unwrap();
    assert_eq!((second.since_ms, second.reason.as_deref()), (first.since_ms, Some("more spam")));
    let Reply::Ok(Done::Record(shown)) = operator(&mut core, "user show", &[]) else { panic!("not shown") };
    assert_eq!((&shown["disabled_since"], &shown["disabled_reason"]), (&first.since_ms.into(), &"more spam".into()));
    let absent = operator(&mut Core::new(1), "user disable", &[]);
    assert!(matches!(absent, Reply::Error(refused) if refused.kind == RefusedKind::NotFound));
}

/// An exchange that began before the account was disabled ends after it.
#[test]
fn a_login_under_way_does_not_slip_in() {
    let (mut core, _, _) = core();
    core.holding = true;
    let shard = core.owner(ADA);
    let frame = Authenticate {
        counter: SOCKETS + 1,
        slot: core.shards[0].settings.slot_key.slot(ADA),
        epoch: 1,
        domain: "example.org",
        peer: IpAddr::from([192, 0, 2, 1]),
        security: Security::Tls13,
        binding: ChannelBinding { tls_exporter: None, tls_server_end_point: None },
        mechanism: "PLAIN",
        initial: Some(b"\0ada\0graphite pencil"),
    };
    core.frame(shard, &ToCore::Authenticate(frame));
    core.run();
    // Its credentials are read, and its keys being derived, when the operator's word comes.
    while core.answer_one() {}
    core.command(shard, "user disable", &[("account", ADA)]);
    while core.derive_one() {}
    core.run();
    while core.answer_one() || core.derive_one() {}
    core.run();
    let conditions: Vec<_> = std::mem::take(&mut core.sockets)
        .iter()
        .filter_map(|body| match ToEdge::decode(body) {
            Ok(Some(ToEdge::AuthFailure(failure))) => Some(failure.condition),
            Ok(Some(ToEdge::AuthSuccess(_))) => panic!("slipped in"),
            _ => None,
        })
        .collect();
    assert_eq!(conditions, [SaslCondition::AccountDisabled]);
}

fn roster_of(core: &mut Core, bare: &str) -> Vec<(String, Subscription, bool)> {
    let jid = BareJid::parse(bare).unwrap();
    let Answer::Loaded(Some(snapshot)) = core.ask_store(&jid, Ask::Load { account: jid.clone() }) else {
        panic!("{bare} is not there");
    };
    snapshot.roster.iter().map(|item| (item.contact.to_string(), item.subscription, item.ask)).collect()
}

/// XEP-0077 §3.2: contacts see the account go, and their rosters no longer count on it.
#[test]
fn subscriptions_end_with_the_account() {
    let (mut core, desk, _) = core();
    let grace = core.login("grace@example.org/lab");
    let alan = core.login("alan@example.org/bletchley");
    for client in [desk, grace, alan] {
        core.send(client, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>");
    }
    core.send(desk, "<presence type='subscribe' to='grace@example.org'/>");
    core.send(
        grace,
        "<presence type='subscribed' to='ada@example.org'/><presence type='subscribe' to='ada@example.org'/>",
    );
    core.send(desk, "<presence type='subscribed' to='grace@example.org'/>");
    // Ada has not answered Alan.
    core.send(alan, "<presence type='subscribe' to='ada@example.org'/>");
    assert_eq!(roster_of(&mut core, "grace@example.org"), [(ADA.to_owned(), Subscription::Both, false)]);
    core.take(grace);
    core.take(alan);
    core.send(desk, REMOVE);
    let heard = core.take(grace).join("\n");
    for word in ["type='unavailable' from='ada@example.org/desk'", "type='unsubscribe' from='ada@example.org'"] {
        assert!(heard.contains(word), "{word}: {heard}");
    }
    assert_eq!(roster_of(&mut core, "grace@example.org"), [(ADA.to_owned(), Subscription::None, false)]);
    assert_eq!(roster_of(&mut core, "alan@example.org"), [(ADA.to_owned(), Subscription::None, false)]);
}
