//! Probes (RFC 6121 §4.3, §4.6.6).

use super::*;
use hearth_storage::{Ask, Change, RosterItem};
use hearth_wire::BareJid;

#[test]
fn a_probe_by_a_client_is_answered_if_it_may_see() {
    each(|core, ada, grace| {
        core.contact(grace, ada, Subscription::From);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = core.login(&format!("{ada}/desk"));
        core.send(desk, &format!("<presence type='probe' to='{grace}'/>"));
        assert_eq!(core.take(desk), [available(&format!("{grace}/phone"), &format!("{ada}/desk"))]);
        assert_eq!(core.take(phone), NOTHING);
        assert_eq!(core.unsettled(desk), 0);
    });
}

#[test]
fn a_client_may_probe_its_own_account() {
    let mut core = Core::new(1);
    online(&mut core, "ada@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence type='probe' to='ada@example.org'/>");
    assert_eq!(core.take(desk), [available("ada@example.org/phone", "ada@example.org/desk")]);
}

// §4.3.2: of one resource only that it is there, and of no other anything.
#[test]
fn a_probe_of_a_full_jid_learns_availability_only() {
    let mut core = Core::new(1);
    core.contact(GRACE, ADA, Subscription::From);
    let phone = core.login("grace@example.org/phone");
    core.send(phone, "<presence id='p'><show>dnd</show></presence>");
    core.login("grace@example.org/quiet");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence type='probe' to='grace@example.org/phone'/>");
    assert_eq!(core.take(desk), [available("grace@example.org/phone", "ada@example.org/desk")]);
    for other in ["quiet", "none"] {
        core.send(desk, &format!("<presence type='probe' id='p' to='grace@example.org/{other}'/>"));
        let from = format!("grace@example.org/{other}");
        let gone = format!("<presence type='unavailable' id='p' from='{from}' to='ada@example.org/desk'/>");
        assert_eq!(core.take(desk), [gone]);
    }
}

// §4.3.2 rule 3: nobody is there; the account is not even in memory.
#[test]
fn a_probe_of_who_is_away_learns_since_when() {
    each(|core, ada, grace| {
        core.contact(grace, ada, Subscription::From);
        let desk = core.login(&format!("{ada}/desk"));
        core.send(desk, &format!("<presence type='probe' id='p' to='{grace}'/>"));
        let gone = format!("<presence type='unavailable' id='p' from='{grace}' to='{ada}/desk'");
        assert_eq!((core.take(desk), core.unsettled(desk)), (vec![format!("{gone}/>")], 0));
        let phone = online(core, &format!("{grace}/phone"));
        core.send(phone, "<presence type='unavailable'><show>xa</show><status>Bye</status></presence>");
        core.close(phone, true);
        for _ in 0..3 {
            core.advance(limits::ACCOUNT_IDLE_MS);
        }
        assert!(core.loaded(grace).is_none());
        core.take(desk);
        core.send(desk, &format!("<presence type='probe' id='p' to='{grace}'/>"));
        let known = "<status>Bye</status><delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20.000Z'/>";
        assert_eq!(core.take(desk), [format!("{gone}>{known}</presence>")]);
    });
}

// §4.3.2 rule 1: an account that does not exist ends subscriptions to it as a stranger does, whether or not
// there is anybody in memory.
#[test]
fn a_probe_of_nobody_ends_a_subscription_to_it() {
    for (nobody, resource) in [(false, ""), (false, "/phone"), (true, "")] {
        each(|core, ada, grace| {
            let contact = if nobody { format!("nobody-{grace}") } else { grace.to_owned() };
            let (account, item) = (core.account(ada), BareJid::parse(&contact).unwrap());
            if !nobody {
                core.account(grace);
            }
            let item = RosterItem { subscription: Subscription::To, ..crate::roster::new_item(&item) };
            core.ask_store(&account.clone(), Ask::Apply { changes: vec![Change::PutRosterItem { account, item }] });
            let desk = core.login(&format!("{ada}/desk"));
            core.send(desk, &format!("<presence type='probe' id='p' to='{contact}{resource}'/>"));
            assert_eq!(core.unsettled(desk), 0);
            assert_eq!(core.stored(ada).roster[0].subscription, Subscription::None, "{contact}{resource}");
        });
    }
}

// §4.3.2: rosters that disagree are mended by the answer to the probe.
#[test]
fn a_probe_by_a_stranger_ends_its_subscription() {
    each(|core, ada, grace| {
        core.contact(ada, grace, Subscription::Both);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = core.login(&format!("{ada}/desk"));
        core.send(desk, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        core.take(desk);
        core.send(desk, "<presence/>");
        let got = core.take(desk);
        assert!(got.contains(&format!("<presence type='unsubscribed' from='{grace}' to='{ada}'/>")), "{got:?}");
        assert_eq!(core.stored(ada).roster[0].subscription, Subscription::From);
        assert_eq!(core.take(phone), [available(&format!("{ada}/desk"), grace)]);
    });
}

// Nor does it tell whether there is anybody.
#[test]
fn a_probe_does_not_answer_a_request_that_waits() {
    each(|core, ada, grace| {
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        for to in [grace.to_owned(), format!("nobody-{grace}")] {
            core.send(desk, &format!("<presence type='subscribe' to='{to}'/>"));
            core.send(desk, &format!("<presence type='probe' id='p' to='{to}'/>"));
            let acknowledged = format!("<presence type='unavailable' id='p' from='{to}' to='{ada}/desk'/>");
            assert_eq!(core.take(desk), [acknowledged]);
            for resource in ["phone", "none"] {
                core.send(desk, &format!("<presence type='probe' id='p' to='{to}/{resource}'/>"));
                assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 0), "{to}/{resource}");
            }
        }
        assert!(core.stored(ada).roster.iter().all(|item| item.ask));
        assert_eq!(core.take(phone).len(), 1);
    });
}

// §4.6.6
#[test]
fn who_got_directed_presence_may_probe_that_resource() {
    let mut core = Core::new(1);
    let phone = core.login("grace@example.org/phone");
    core.send(phone, "<presence to='ada@example.org/desk'><show>chat</show></presence>");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence type='probe' to='grace@example.org/phone'/>");
    assert_eq!(core.take(desk), [available("grace@example.org/phone", "ada@example.org/desk")]);
    core.send(phone, "<presence type='unavailable' to='ada@example.org/desk'/>");
    core.take(desk);
    core.send(desk, "<presence type='probe' to='grace@example.org/phone'/>");
    assert_eq!(core.take(desk), NOTHING);
}
