//! Probes (RFC 6121 §4.3, §4.6.6).

use super::*;

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
        core.send(desk, &format!("<presence type='probe' to='grace@example.org/{other}'/>"));
        assert_eq!(core.take(desk), NOTHING);
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

#[test]
fn a_probe_does_not_answer_a_request_that_waits() {
    let mut core = Core::new(1);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = online(&mut core, "ada@example.org/desk");
    core.send(desk, &format!("<presence type='subscribe' to='{GRACE}'/>"));
    core.send(desk, &format!("<presence type='probe' to='{GRACE}'/>"));
    assert_eq!(core.take(desk), NOTHING);
    assert!(core.stored(ADA).roster[0].ask);
    assert_eq!(core.take(phone).len(), 1);
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
