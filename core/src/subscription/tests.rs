use super::state::{Half, State};
use crate::limits;
use crate::testing::{Client, Core};
use hearth_storage::{RosterItem, Subscription};
use proptest::prelude::*;

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const NOTHING: [&str; 0] = [];

/// Available and interested.
fn online(core: &mut Core, full: &str) -> Client {
    let client = core.login(full);
    core.send(client, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>");
    core.take(client);
    client
}

fn each(test: impl Fn(&mut Core, &str, &str)) {
    test(&mut Core::new(1), ADA, GRACE);
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    test(&mut core, &ada, &grace);
}

fn say(core: &mut Core, client: Client, ty: &str, to: &str) {
    core.send(client, &format!("<presence type='{ty}' id='x' to='{to}'/>"));
    assert_eq!(core.unsettled(client), 0);
}

/// A subscription stanza as it arrives: from a bare JID to a bare JID (§3.1.2).
fn said(ty: &str, from: &str, to: &str) -> String {
    format!("<presence type='{ty}' id='x' from='{from}' to='{to}'/>")
}

fn auto(ty: &str, from: &str, to: &str) -> String {
    format!("<presence type='{ty}' from='{from}' to='{to}'/>")
}

/// The item of the one push there must be.
#[track_caller]
fn pushed(got: &[String]) -> String {
    let pushes: Vec<_> = got.iter().filter(|got| got.starts_with("<iq type='set'")).collect();
    assert_eq!(pushes.len(), 1, "{got:?}");
    let (_, item) = pushes[0].split_once("<item ").unwrap();
    item.split_once("/>").unwrap().0.to_owned()
}

#[track_caller]
fn item(core: &mut Core, account: &str) -> Option<(Subscription, bool, bool)> {
    let stored = core.stored(account).roster;
    assert!(stored.len() <= 1);
    let in_memory: Vec<RosterItem> =
        core.loaded(account).map_or(stored.clone(), |account| account.roster.iter().map(|c| c.item()).collect());
    assert_eq!(in_memory, stored);
    stored.first().map(|item| (item.subscription, item.ask, item.approved))
}

// ---- §3.1 the handshake ---------------------------------------------------------------------

#[test]
fn a_handshake_step_by_step() {
    each(|core, ada, grace| {
        let desk = online(core, &format!("{ada}/desk"));
        let phone = online(core, &format!("{grace}/phone"));
        // §3.1.2: a push with ask; the request stamped with bare JIDs, even if sent to a full one.
        say(core, desk, "subscribe", &format!("{grace}/phone"));
        assert_eq!(pushed(&core.take(desk)), format!("jid='{grace}' subscription='none' ask='subscribe'"));
        // §3.1.3: delivered, kept, and nobody in the roster.
        assert_eq!(core.take(phone), [said("subscribe", ada, grace)]);
        assert_eq!((core.stored(grace).requests.len(), item(core, grace)), (1, None));
        // §3.1.5: push, presence to the new subscriber.
        say(core, phone, "subscribed", ada);
        assert_eq!(pushed(&core.take(phone)), format!("jid='{ada}' subscription='from'"));
        // §3.1.6: the approval ahead of the push, then presence.
        let got = core.take(desk);
        assert_eq!(got[0], said("subscribed", grace, ada));
        assert_eq!(pushed(&got[1..2]), format!("jid='{grace}' subscription='to'"));
        assert_eq!(got[2..], [format!("<presence from='{grace}/phone' to='{ada}'/>")]);
        assert!(core.stored(grace).requests.is_empty());
        // The other way round.
        say(core, phone, "subscribe", ada);
        say(core, desk, "subscribed", grace);
        let both = Some((Subscription::Both, false, false));
        assert_eq!((item(core, ada), item(core, grace)), (both, both));
        assert_eq!(core.take(phone).last().unwrap(), &format!("<presence from='{ada}/desk' to='{grace}'/>"));
    });
}

// §3.1.3 rule 4: kept whole, delivered at each initial presence until answered, and once only.
#[test]
fn a_request_waits_until_it_is_answered() {
    each(|core, ada, grace| {
        core.account(grace);
        let desk = online(core, &format!("{ada}/desk"));
        let request = format!(
            "<presence type='subscribe' id='q' from='{ada}' to='{grace}' xml:lang='en'>\
             <status>it is me</status><nick xmlns='http://jabber.org/protocol/nick'>Ada</nick></presence>"
        );
        core.send(desk, &request);
        core.send(desk, &format!("<presence type='subscribe' id='again' to='{grace}'/>"));
        assert_eq!(core.unsettled(desk), 0);
        let phone = core.login(&format!("{grace}/phone"));
        assert_eq!(core.take(phone), NOTHING);
        for resource in ["phone", "tablet"] {
            let client = core.login(&format!("{grace}/{resource}"));
            core.send(client, "<presence/>");
            let got = core.take(client);
            assert_eq!(got.iter().filter(|got| **got == request).count(), 1, "{got:?}");
            core.send(client, "<presence><show>away</show></presence>");
            assert!(core.take(client).iter().all(|got| !got.contains("subscribe")));
            core.send(client, "<presence type='unavailable'/><presence/>");
            assert!(core.take(client).contains(&request));
        }
        // Denied (§3.2): gone, and nothing to push.
        let tablet = online(core, &format!("{grace}/tablet"));
        say(core, tablet, "unsubscribed", ada);
        assert_eq!(core.take(tablet), NOTHING);
        assert!(core.take(desk).contains(&said("unsubscribed", grace, ada)));
        assert_eq!(item(core, ada), Some((Subscription::None, false, false)));
        let phone = core.login(&format!("{grace}/phone"));
        core.send(phone, "<presence/>");
        assert!(core.take(phone).iter().all(|got| !got.contains("subscribe")));
        assert!(core.stored(grace).requests.is_empty());
    });
}

// Available resources are asked, interested ones get what changes the roster.
#[test]
fn requests_and_answers_find_different_resources() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    let only_available = core.login("grace@example.org/available");
    core.send(only_available, "<presence/>");
    let only_interested = core.login("grace@example.org/interested");
    core.send(only_interested, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    core.forget();
    say(&mut core, desk, "subscribe", GRACE);
    assert_eq!((core.take(only_available).len(), core.take(only_interested).len()), (1, 0));
    say(&mut core, only_available, "subscribed", ADA);
    core.forget();
    say(&mut core, desk, "unsubscribe", GRACE);
    let got = core.take(only_interested);
    assert_eq!(got[0], said("unsubscribe", ADA, GRACE));
    assert_eq!(pushed(&got[1..]), "jid='ada@example.org' subscription='none'");
    assert_eq!(core.take(only_available), NOTHING);
}

// §3.1.3 rule 2: who is subscribed already is answered by the server, which mends rosters.
#[test]
fn a_subscriber_that_asks_again_is_answered() {
    each(|core, ada, grace| {
        core.contact(grace, ada, Subscription::From);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        core.take(phone);
        say(core, desk, "subscribe", grace);
        assert_eq!(core.take(phone), NOTHING);
        let got = core.take(desk);
        assert!(got.contains(&said("subscribed", grace, ada)), "{got:?}");
        assert!(got.contains(&format!("<presence from='{grace}/phone' to='{ada}'/>")), "{got:?}");
        assert_eq!(item(core, ada), Some((Subscription::To, false, false)));
    });
}

// ---- §3.2, §3.3 the end ---------------------------------------------------------------------

// §3.2.2, §3.2.3
#[test]
fn cancelling_hides_the_user_first() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let desk = online(core, &format!("{ada}/desk"));
        let phone = online(core, &format!("{grace}/phone"));
        core.forget();
        say(core, phone, "unsubscribed", ada);
        assert_eq!(pushed(&core.take(phone)), format!("jid='{ada}' subscription='to'"));
        let got = core.take(desk);
        assert_eq!(
            got[..2],
            [
                format!("<presence type='unavailable' from='{grace}/phone' to='{ada}'/>"),
                said("unsubscribed", grace, ada)
            ]
        );
        assert_eq!(pushed(&got[2..]), format!("jid='{grace}' subscription='from'"));
        core.send(phone, "<presence><show>away</show></presence>");
        assert_eq!(core.take(desk), NOTHING);
    });
}

// §3.3.2, §3.3.3
#[test]
fn unsubscribing_tells_the_contact_and_hides_it() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let desk = online(core, &format!("{ada}/desk"));
        let phone = online(core, &format!("{grace}/phone"));
        core.forget();
        say(core, desk, "unsubscribe", grace);
        let got = core.take(phone);
        assert_eq!(got[0], said("unsubscribe", ada, grace));
        assert_eq!(pushed(&got[1..]), format!("jid='{ada}' subscription='to'"));
        let got = core.take(desk);
        assert_eq!(pushed(&got), format!("jid='{grace}' subscription='from'"));
        assert!(got.contains(&format!("<presence type='unavailable' from='{grace}/phone' to='{ada}'/>")), "{got:?}");
        assert_eq!(got.len(), 2, "{got:?}");
    });
}

// §3.3.3: a request that is taken back leaves no trace.
#[test]
fn a_request_can_be_taken_back() {
    each(|core, ada, grace| {
        core.account(grace);
        let desk = online(core, &format!("{ada}/desk"));
        say(core, desk, "subscribe", grace);
        say(core, desk, "unsubscribe", grace);
        assert_eq!((core.stored(grace).requests.len(), item(core, grace)), (0, None));
        assert_eq!(item(core, ada), Some((Subscription::None, false, false)));
    });
}

// §2.5.2
#[test]
fn removing_a_contact_ends_both_subscriptions() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let desk = online(core, &format!("{ada}/desk"));
        let phone = online(core, &format!("{grace}/phone"));
        core.forget();
        let item = format!("<item jid='{grace}' subscription='remove'/>");
        core.send(desk, &format!("<iq type='set' id='s'><query xmlns='jabber:iq:roster'>{item}</query></iq>"));
        assert_eq!(core.unsettled(desk), 0);
        let got = core.take(phone);
        assert_eq!(got[0], format!("<presence type='unavailable' from='{ada}/desk' to='{grace}'/>"));
        assert!(got.contains(&auto("unsubscribe", ada, grace)) && got.contains(&auto("unsubscribed", ada, grace)));
        let last = got.iter().rfind(|got| got.starts_with("<iq")).unwrap();
        assert!(last.contains(&format!("jid='{ada}' subscription='none'")), "{got:?}");
        assert_eq!(self::item(core, grace), Some((Subscription::None, false, false)));
        let got = core.take(desk);
        assert!(got[0].starts_with("<iq type='result' id='s'"));
        assert_eq!(pushed(&got[1..2]), format!("jid='{grace}' subscription='remove'"));
        assert!(got.contains(&format!("<presence type='unavailable' from='{grace}/phone' to='{ada}'/>")), "{got:?}");
        assert!(core.stored(ada).roster.is_empty());
    });
}

#[test]
fn removing_takes_back_and_denies_requests() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let phone = online(&mut core, "grace@example.org/phone");
    say(&mut core, desk, "subscribe", GRACE);
    say(&mut core, phone, "subscribe", ADA);
    assert_eq!((core.stored(ADA).requests.len(), core.stored(GRACE).requests.len()), (1, 1));
    core.send(
        desk,
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'>\
         <item jid='grace@example.org' subscription='remove'/></query></iq>",
    );
    assert_eq!((core.stored(ADA).requests.len(), core.stored(GRACE).requests.len()), (0, 0));
    assert_eq!((item(&mut core, ADA), item(&mut core, GRACE)), (None, Some((Subscription::None, false, false))));
    assert_eq!(core.unsettled(desk), 0);
}

// ---- §3.4 pre-approval ----------------------------------------------------------------------

#[test]
fn a_contact_can_be_approved_before_it_asks() {
    each(|core, ada, grace| {
        let desk = online(core, &format!("{ada}/desk"));
        let phone = online(core, &format!("{grace}/phone"));
        say(core, phone, "subscribed", ada);
        assert_eq!(pushed(&core.take(phone)), format!("jid='{ada}' subscription='none' approved='true'"));
        assert_eq!(core.take(desk), NOTHING);
        say(core, desk, "subscribe", grace);
        let got = core.take(phone);
        assert_eq!(pushed(&got), format!("jid='{ada}' subscription='from' approved='true'"));
        assert_eq!(got.len(), 1);
        let got = core.take(desk);
        assert!(got.contains(&said("subscribed", grace, ada)), "{got:?}");
        assert!(got.contains(&format!("<presence from='{grace}/phone' to='{ada}'/>")), "{got:?}");
        assert_eq!(item(core, ada), Some((Subscription::To, false, false)));
        assert!(core.stored(grace).requests.is_empty());
    });
}

#[test]
fn an_approval_can_be_withdrawn() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let phone = online(&mut core, "grace@example.org/phone");
    say(&mut core, phone, "subscribed", ADA);
    core.take(phone);
    say(&mut core, phone, "unsubscribed", ADA);
    assert_eq!(pushed(&core.take(phone)), "jid='ada@example.org' subscription='none'");
    assert_eq!(core.take(desk), NOTHING);
    say(&mut core, desk, "subscribe", GRACE);
    assert_eq!(core.take(phone), [said("subscribe", ADA, GRACE)]);
}

// ---- errors and limits ----------------------------------------------------------------------

#[test]
fn what_cannot_be_asked_is_refused_and_changes_nothing() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    for (to, condition) in [
        (" to='ada@example.org'", "not-allowed"),
        (" to='ada@example.org/desk'", "not-allowed"),
        (" to='bob@example.com'", "remote-server-not-found"),
        (" to='example.org'", "service-unavailable"),
        ("", "bad-request"),
    ] {
        for ty in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
            core.send(desk, &format!("<presence type='{ty}' id='x'{to}/>"));
            let got = core.take(desk);
            assert!(got.len() == 1 && got[0].starts_with("<presence type='error' id='x'"), "{got:?}");
            assert!(got[0].contains(&format!("<{condition} ")), "{got:?}");
        }
    }
    assert!(core.stored(ADA).roster.is_empty());
    assert_eq!(core.unsettled(desk), 0);
}

// §8.5.1: whether an account exists is not told.
#[test]
fn asking_nobody_is_not_answered() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    say(&mut core, desk, "subscribe", "nobody@example.org");
    let got = core.take(desk);
    assert_eq!(
        (pushed(&got), got.len()),
        ("jid='nobody@example.org' subscription='none' ask='subscribe'".to_owned(), 1)
    );
    assert!(core.loaded("nobody@example.org").is_none());
}

#[test]
fn a_change_that_cannot_be_stored_is_refused() {
    each(|core, ada, grace| {
        let desk = online(core, &format!("{ada}/desk"));
        let phone = online(core, &format!("{grace}/phone"));
        core.failing = true;
        core.send(desk, &format!("<presence type='subscribe' id='x' to='{grace}'/>"));
        let got = core.take(desk);
        assert!(got.len() == 1 && got[0].contains("<resource-constraint "), "{got:?}");
        assert_eq!((core.take(phone), core.unsettled(desk)), (vec![], 0));
        core.failing = false;
        say(core, desk, "subscribe", grace);
        core.forget();
        // The user's side is stored, the contact's is not.
        core.failing = true;
        core.send(phone, &format!("<presence type='subscribed' id='x' to='{ada}'/>"));
        let got = core.take(phone);
        assert!(got.len() == 1 && got[0].contains("<resource-constraint "), "{got:?}");
        assert_eq!(core.stored(grace).requests.len(), 1);
    });
}

// The contact's account cannot even be loaded: the request is answered, not lost in silence.
#[test]
fn a_request_to_an_account_that_does_not_load_is_refused() {
    each(|core, ada, grace| {
        core.account(grace);
        let desk = online(core, &format!("{ada}/desk"));
        core.unreadable = true;
        core.send(desk, &format!("<presence type='subscribe' id='x' to='{grace}'/>"));
        let got = core.take(desk);
        assert!(got.iter().any(|got| got.contains("<resource-constraint ")), "{got:?}");
        assert_eq!(core.unsettled(desk), 0);
        core.unreadable = false;
        say(core, desk, "subscribe", grace);
        assert_eq!(core.stored(grace).requests.len(), 1);
    });
}

// Settled only when both rosters are durable.
#[test]
fn a_request_is_settled_when_both_sides_are_stored() {
    each(|core, ada, grace| {
        core.account(grace);
        let desk = online(core, &format!("{ada}/desk"));
        core.holding = true;
        core.send(desk, &format!("<presence type='subscribe' to='{grace}'/>"));
        // The item, the load of the contact's account, the request.
        for step in 0..3 {
            assert_eq!(core.unsettled(desk), 1, "{step}");
            core.answer();
        }
        assert_eq!(core.unsettled(desk), 0);
        assert_eq!(core.stored(grace).requests.len(), 1);
    });
}

#[test]
fn threat_074_requests_have_limits() {
    let mut core = Core::new(1);
    core.account(GRACE);
    let desk = online(&mut core, "ada@example.org/desk");
    let long = "x".repeat(limits::REQUEST_BYTES_MAX);
    core.send(desk, &format!("<presence type='subscribe' to='{GRACE}'><status>{long}</status></presence>"));
    let got = core.take(desk);
    assert!(got.iter().any(|got| got.contains("<policy-violation ")), "{got:?}");
    assert!(core.stored(GRACE).requests.is_empty());
    for n in 0..limits::REQUESTS_MAX {
        let client = core.login(&format!("user{n}@example.org/desk"));
        say(&mut core, client, "subscribe", GRACE);
    }
    say(&mut core, desk, "subscribe", GRACE);
    let got = core.take(desk);
    assert!(got.iter().any(|got| got.contains("<resource-constraint ")), "{got:?}");
    assert_eq!(core.stored(GRACE).requests.len(), limits::REQUESTS_MAX);
}

// ---- both sides agree -----------------------------------------------------------------------

/// The state of `account` towards `contact`, as it is stored.
fn state(core: &mut Core, account: &str, contact: &str) -> State {
    let stored = core.stored(account);
    let item = stored.roster.iter().find(|item| *item.contact == *contact);
    State::new(item, stored.requests.iter().any(|request| *request.contact == *contact))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn both_rosters_agree_after_anything(
        shards in 1..=2u16,
        steps in prop::collection::vec((any::<bool>(), 0..6usize), 0..16),
    ) {
        let mut core = Core::new(shards);
        let users = [core.name_on(0, "ada"), core.name_on(usize::from(shards) - 1, "grace")];
        let clients = [0, 1].map(|n| online(&mut core, &format!("{}/desk", users[n])));
        for (who, what) in steps {
            let (one, other) = (usize::from(who), usize::from(!who));
            let (client, to) = (clients[one], &users[other]);
            match what {
                0..=3 => {
                    let ty = ["subscribe", "subscribed", "unsubscribe", "unsubscribed"][what];
                    core.send(client, &format!("<presence type='{ty}' to='{to}'/>"));
                }
                4 => core.send(
                    client,
                    &format!(
                        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='{to}' subscription='remove'/></query></iq>"
                    ),
                ),
                _ => core.send(client, "<presence type='unavailable'/><presence/>"),
            }
            prop_assert_eq!(core.unsettled(client), 0);
            for (one, other) in [(0, 1), (1, 0)] {
                let (here, there) = (state(&mut core, &users[one], &users[other]), state(&mut core, &users[other], &users[one]));
                prop_assert_eq!(here.to, there.from);
                prop_assert!(here.to != Half::Yes || here.subscription() != Subscription::None);
            }
        }
    }
}
