//! Directed presence (RFC 6121 §4.6) and what reaches whom (§8.5).

use super::*;

#[test]
fn directed_presence_reaches_one_address_and_ends_with_the_session() {
    for (to, end) in [("", "close"), ("/phone", "close"), ("", "unavailable"), ("/phone", "unavailable")] {
        each(|core, ada, grace| {
            let phone = online(core, &format!("{grace}/phone"));
            let desk = online(core, &format!("{ada}/desk"));
            let to = format!("{grace}{to}");
            core.send(desk, &format!("<presence to='{to}'><show>chat</show></presence>"));
            assert_eq!(
                core.take(phone),
                [format!("<presence from='{ada}/desk' to='{to}'><show>chat</show></presence>")]
            );
            // §4.6.3: later broadcasts are not for them.
            core.send(desk, "<presence><show>away</show></presence>");
            assert_eq!(core.take(phone), NOTHING);
            match end {
                "close" => core.close(desk, false),
                _ => core.send(desk, "<presence type='unavailable'/>"),
            }
            assert_eq!(core.take(phone), [unavailable(&format!("{ada}/desk"), &to)]);
            if end == "unavailable" {
                core.close(desk, true);
                assert_eq!(core.take(phone), NOTHING);
            }
        });
    }
}

// §4.6.3, case 3: also from who is not available.
#[test]
fn directed_presence_needs_no_initial_presence() {
    let mut core = Core::new(1);
    core.friends(ADA, GRACE);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &format!("<presence to='{GRACE}'/>"));
    assert_eq!(core.take(phone), [available("ada@example.org/desk", GRACE)]);
    assert!(!core.session(desk).unwrap().available());
    core.close(desk, true);
    assert_eq!(core.take(phone), [unavailable("ada@example.org/desk", GRACE)]);
}

// §4.6.3, case 1: a subscriber hears the end once.
#[test]
fn directed_presence_to_a_subscriber_changes_nothing() {
    let mut core = Core::new(1);
    core.friends(ADA, GRACE);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &format!("<presence to='{GRACE}'/><presence/>"));
    core.send(desk, &format!("<presence to='{GRACE}'><show>chat</show></presence>"));
    assert_eq!(core.take(phone).len(), 3);
    let again = online(&mut core, "ada@example.org/again");
    core.send(again, &format!("<presence to='{GRACE}'><show>chat</show></presence>"));
    assert!(core.session(again).unwrap().directed.is_none());
    core.take(phone);
    core.close(desk, true);
    assert_eq!(core.take(phone), [unavailable("ada@example.org/desk", GRACE)]);
}

#[test]
fn who_was_told_of_the_end_is_not_told_again() {
    let mut core = Core::new(1);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence to='grace@example.org/phone'/>");
    core.send(desk, "<presence type='unavailable' to='grace@example.org/phone'/>");
    assert_eq!(core.take(phone)[1..], [unavailable("ada@example.org/desk", "grace@example.org/phone")]);
    assert!(core.session(desk).unwrap().directed.is_none());
    // §4.6.1: nor who has gone first.
    core.send(phone, "<presence to='ada@example.org/desk'/>");
    core.send(desk, "<presence to='grace@example.org/phone'/>");
    core.send(phone, "<presence type='unavailable' to='ada@example.org/desk'/>");
    assert!(core.session(desk).unwrap().directed.is_none());
    core.take(phone);
    core.close(desk, true);
    assert_eq!(core.take(phone), NOTHING);
}

// §4.6.1: a broadcast says it too.
#[test]
fn a_subscription_that_says_goodbye_is_not_told_either() {
    each(|core, ada, grace| {
        core.contact(grace, ada, Subscription::From);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        core.send(desk, &format!("<presence to='{grace}/phone'/>"));
        core.send(phone, "<presence type='unavailable'/>");
        assert!(core.session(desk).unwrap().directed.is_none());
    });
}

#[test]
fn threat_074_directed_presence_has_a_limit() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    for n in 0..limits::DIRECTED_MAX {
        core.put(desk, &format!("<presence to='c{n}@example.org'/>"));
    }
    core.run();
    assert_eq!(core.take(desk), NOTHING);
    core.send(desk, "<presence id='over' to='over@example.org'/><presence to='c5@example.org'/>");
    let got = core.take(desk);
    assert!(got.len() == 1 && got[0].contains("id='over'") && got[0].contains("<resource-constraint "), "{got:?}");
    core.send(desk, "<presence type='unavailable' to='c5@example.org'/><presence to='over@example.org'/>");
    assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 0));
}

#[test]
fn presence_to_a_domain_that_is_not_served_is_an_error() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence id='join' to='room@muc.example.com/ada'/>");
    let got = core.take(desk);
    assert!(got.len() == 1 && got[0].contains("<remote-server-not-found "), "{got:?}");
    core.send(desk, "<presence to='example.org'/>");
    assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 0));
}

#[test]
fn presence_to_a_bare_jid_reaches_available_resources_and_to_a_full_one_that_resource() {
    each(|core, ada, grace| {
        let phone = online(core, &format!("{grace}/phone"));
        let low = core.login(&format!("{grace}/low"));
        core.send(low, "<presence><priority>-1</priority></presence>");
        let quiet = core.login(&format!("{grace}/quiet"));
        let desk = core.login(&format!("{ada}/desk"));
        core.forget();
        core.send(desk, &format!("<presence to='{grace}'/>"));
        let got = [phone, low, quiet].map(|client| core.take(client).len());
        assert_eq!(got, [1, 1, 0]);
        core.send(desk, &format!("<presence to='{grace}/quiet'/>"));
        assert_eq!(core.take(quiet), [available(&format!("{ada}/desk"), &format!("{grace}/quiet"))]);
        core.send(desk, &format!("<presence to='{grace}/none'/>"));
        for client in [phone, low, quiet, desk] {
            assert_eq!(core.take(client), NOTHING);
        }
    });
}

// §8.5: presence that cannot be delivered, and errors, are never answered.
#[test]
fn presence_is_never_bounced() {
    each(|core, ada, grace| {
        let desk = core.login(&format!("{ada}/desk"));
        for ty in ["", " type='unavailable'", " type='error'", " type='probe'", " type='subscribed'"] {
            for to in [grace.to_owned(), format!("{grace}/none")] {
                core.send(desk, &format!("<presence{ty} to='{to}'/>"));
            }
            core.send(desk, &format!("<presence{ty} to='nobody-{grace}'/>"));
        }
        core.send(desk, "<presence type='error'/><presence type='probe'/>");
        let got = core.take(desk);
        assert_eq!((got, core.unsettled(desk)), (vec![], 0));
    });
}

#[test]
fn presence_errors_are_delivered() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let phone = core.login("grace@example.org/phone");
    for to in ["ada@example.org", "ada@example.org/desk"] {
        core.send(phone, &format!("<presence type='error' id='e' to='{to}'/>"));
        assert_eq!(
            core.take(desk),
            [format!("<presence type='error' id='e' from='grace@example.org/phone' to='{to}'/>")]
        );
    }
}

/// Where directed presence goes, whether the one it goes to is available, may see the sender anyway, when the
/// sender broadcasts, and how it ends.
#[derive(Clone, Copy, Debug)]
struct Case {
    to: &'static [&'static str],
    available: bool,
    subscriber: bool,
    broadcast: &'static str,
    end: &'static str,
}

fn invisible_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for to in [&[""][..], &["/phone"], &["", "/phone"]] {
        for (available, subscriber) in [(true, true), (true, false), (false, true), (false, false)] {
            for broadcast in ["never", "before", "after", "between"] {
                for end in ["unavailable", "close", "cut", "link", "cancel"] {
                    cases.push(Case { to, available, subscriber, broadcast, end });
                }
            }
        }
    }
    cases
}

// §4.6.3, §4.6.1: whoever was told that a resource is there is told once that it is gone; who was not told
// hears nothing; messages for the account wait until it is there for all.
#[test]
fn invisible_by_directed_presence() {
    for case in invisible_cases() {
        each(|core, ada, grace| {
            if case.subscriber {
                core.contact(ada, grace, Subscription::From);
                core.contact(grace, ada, Subscription::To);
            }
            let phone = core.login(&format!("{grace}/phone"));
            if case.available {
                core.send(phone, "<presence/>");
            }
            let desk = core.login(&format!("{ada}/desk"));
            core.forget();
            if case.broadcast == "before" || case.broadcast == "between" {
                core.send(desk, "<presence/>");
            }
            if case.broadcast == "between" {
                core.send(desk, "<presence type='unavailable'/>");
                core.forget();
            }
            for to in case.to {
                core.send(desk, &format!("<presence to='{grace}{to}'/>"));
            }
            // A message waits for whoever is not there for all; a reply to the resource arrives.
            core.take(desk);
            core.send(phone, &format!("<message to='{ada}' type='chat' id='w'><body>b</body></message>"));
            core.send(phone, &format!("<message to='{ada}/desk' type='chat' id='r'><body>b</body></message>"));
            let ids = |got: &[String]| {
                let is = |id: &str| got.iter().any(|got| got.contains(&format!("id='{id}'")));
                [is("w"), is("r")]
            };
            assert_eq!(ids(&core.take(desk)), [case.broadcast == "before", true], "{case:?}");
            if case.broadcast == "after" {
                core.send(desk, "<presence/>");
                assert_eq!(ids(&core.take(desk)), [true, false], "{case:?}");
            }
            let heard = core.take(phone);
            let told = heard.iter().any(|got| got.starts_with("<presence from="));
            let expected = case.to.contains(&"/phone")
                || case.available && (case.to.contains(&"") || case.subscriber && case.broadcast == "before");
            assert!(told == expected || (told && case.broadcast == "after"), "{case:?} {heard:?}");
            let mut gone = 0;
            let mut count = |core: &mut Core| {
                let heard = core.take(phone);
                gone += heard.iter().filter(|got| got.starts_with("<presence type='unavailable'")).count();
            };
            match case.end {
                "unavailable" => core.send(desk, "<presence type='unavailable'/>"),
                "close" => core.close(desk, true),
                "cut" => core.close(desk, false),
                "cancel" => core.send(desk, &format!("<presence type='unsubscribed' to='{grace}'/>")),
                _ => {
                    let shard = core.owner(ada);
                    if core.owner(grace) == shard {
                        return;
                    }
                    core.link_down(u16::try_from(shard).unwrap());
                }
            }
            count(core);
            core.close(desk, false);
            count(core);
            assert_eq!(gone, usize::from(told), "{case:?}");
        });
    }
}
