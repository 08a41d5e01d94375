//! Broadcast presence: initial, subsequent, unavailable (RFC 6121 §4.2, §4.4, §4.5).

use super::*;

#[test]
fn initial_presence_goes_to_who_is_subscribed() {
    each(|core, ada, grace| {
        for (subscription, sees) in [
            (Subscription::None, false),
            (Subscription::To, false),
            (Subscription::From, true),
            (Subscription::Both, true),
        ] {
            let user = format!("{subscription:?}{ada}").to_lowercase();
            core.contact(&user, grace, subscription);
            let phone = online(core, &format!("{grace}/phone"));
            let desk = core.login(&format!("{user}/desk"));
            core.send(desk, "<presence id='p' xml:lang='en'><show>away</show><x xmlns='urn:x'/></presence>");
            let full = format!(
                "<presence id='p' from='{user}/desk' to='{grace}' xml:lang='en'><show>away</show><x xmlns='urn:x'/></presence>"
            );
            let want = if sees { vec![full] } else { vec![] };
            let got: Vec<_> = core.take(phone).into_iter().filter(|got| !got.contains("unsubscribed")).collect();
            assert_eq!(got, want, "{subscription:?}");
            assert_eq!(core.unsettled(desk), 0);
        }
    });
}

#[test]
fn a_client_hears_itself_and_sees_its_other_resources() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let quiet = core.login("ada@example.org/quiet");
    let phone = core.login("ada@example.org/phone");
    core.send(phone, "<presence id='p'/>");
    let new = "<presence id='p' from='ada@example.org/phone' to='ada@example.org'/>";
    assert_eq!(core.take(phone), [new, &available("ada@example.org/desk", ADA)]);
    assert_eq!(core.take(desk), [new]);
    assert_eq!(core.take(quiet), NOTHING);
}

// §4.3.1: who we see is asked; each of their resources answers; only to the resource that asks.
#[test]
fn initial_presence_brings_the_contacts_presence() {
    each(|core, ada, grace| {
        for (subscription, theirs, sees) in [
            (Subscription::Both, Subscription::Both, true),
            (Subscription::To, Subscription::From, true),
            (Subscription::From, Subscription::To, false),
            (Subscription::From, Subscription::Both, false),
            (Subscription::None, Subscription::None, false),
        ] {
            let (user, friend) = (ada, grace);
            let mut core = Core::new(u16::try_from(core.shards.len()).unwrap());
            core.contact(user, friend, subscription);
            core.contact(friend, user, theirs);
            online(&mut core, &format!("{friend}/phone"));
            let tablet = core.login(&format!("{friend}/tablet"));
            core.send(tablet, "<presence id='t'><show>dnd</show></presence>");
            core.login(&format!("{friend}/quiet"));
            let before = online(&mut core, &format!("{user}/before"));
            core.forget();
            let desk = core.login(&format!("{user}/desk"));
            core.send(desk, "<presence/>");
            let got = core.take(desk);
            assert_eq!(
                got[..2],
                [available(&format!("{user}/desk"), user), available(&format!("{user}/before"), user)]
            );
            let to = format!("{user}/desk");
            let tablet = format!("<presence id='t' from='{friend}/tablet' to='{to}'><show>dnd</show></presence>");
            let want = if sees { vec![available(&format!("{friend}/phone"), &to), tablet] } else { vec![] };
            assert_eq!(got[2..], want, "{subscription:?}");
            assert_eq!(core.take(before), [available(&format!("{user}/desk"), user)]);
        }
    });
}

#[test]
fn nobody_is_loaded_for_presence() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let desk = online(core, &format!("{ada}/desk"));
        core.send(desk, "<presence><show>away</show></presence>");
        core.send(desk, &format!("<presence to='{grace}'/>"));
        core.close(desk, true);
        assert!(core.loaded(grace).is_none());
    });
}

// The promise behind the fan-out: one message per shard, one frame per link, answers in one message.
#[test]
fn a_login_is_one_message_per_shard_each_way() {
    let mut core = Core::new(3);
    let ada = core.name_on(0, "ada");
    let mut phones = Vec::new();
    for n in 0..30 {
        let friend = core.name_on(n % 3, &format!("friend{n}x"));
        core.friends(&ada, &friend);
        phones.push((online(&mut core, &format!("{friend}/phone")), friend));
    }
    let desk = core.login(&format!("{ada}/desk"));
    core.forget();
    core.send(desk, "<presence/>");
    // Out to two other shards, answers back from both.
    assert_eq!(core.peer_messages, 4);
    // One frame for each shard's contacts, one for the echo, thirty answers.
    assert_eq!(core.stanza_frames, 3 + 1 + 30);
    for (phone, friend) in &phones {
        assert_eq!(core.take(*phone), [available(&format!("{ada}/desk"), friend)]);
    }
    assert_eq!(core.take(desk).len(), 31);
    core.forget();
    core.send(desk, "<presence><show>away</show></presence>");
    assert_eq!((core.peer_messages, core.stanza_frames), (2, 4));
}

// §4.2 with §5 of XEP-0160: waiting messages come with the first presence of priority 0 or more.
#[test]
fn waiting_messages_come_at_the_first_non_negative_priority() {
    let mut core = Core::new(1);
    core.account(GRACE);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &format!("<message type='chat' to='{GRACE}'><body>hello</body></message>"));
    let phone = core.login("grace@example.org/phone");
    core.send(phone, "<presence><priority>-1</priority></presence>");
    assert_eq!(core.take(phone).len(), 1);
    core.send(phone, "<presence/>");
    assert!(core.take(phone)[1].contains("<body>hello</body>"));
    core.send(phone, "<presence/>");
    assert_eq!(core.take(phone).len(), 1);
}

#[test]
fn subsequent_presence_is_broadcast_without_probes() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        let other = online(core, &format!("{ada}/other"));
        let quiet = [core.login(&format!("{ada}/quiet")), core.login(&format!("{grace}/quiet"))];
        core.forget();
        core.send(desk, "<presence><priority>5</priority></presence>");
        let stanza = |to: &str| format!("<presence from='{ada}/desk' to='{to}'><priority>5</priority></presence>");
        assert_eq!(core.take(phone), [stanza(grace)]);
        assert_eq!(core.take(desk), [stanza(ada)]);
        assert_eq!(core.take(other), [stanza(ada)]);
        assert_eq!(quiet.map(|client| core.take(client).len()), [0, 0]);
        assert_eq!(core.session(desk).unwrap().priority, 5);
    });
}

// §4.7.2.3
#[test]
fn a_priority_is_an_integer_of_one_byte() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    for (text, priority) in [("-128", -128), ("127", 127), (" 1\n", 1), ("+3", 3), ("0", 0)] {
        core.send(desk, &format!("<presence><priority>{text}</priority></presence>"));
        assert_eq!(core.session(desk).unwrap().priority, priority);
    }
    core.take(desk);
    core.send(desk, "<presence><priority>7</priority></presence>");
    core.take(desk);
    for text in ["128", "-129", "1.5", "", "high", "1</priority><priority>1"] {
        core.send(desk, &format!("<presence id='p'><priority>{text}</priority></presence>"));
        let got = core.take(desk);
        assert!(got.len() == 1 && got[0].starts_with("<presence type='error' id='p'"), "{got:?}");
        assert!(got[0].contains("<bad-request "), "{got:?}");
        assert_eq!((core.session(desk).unwrap().priority, core.unsettled(desk)), (7, 0));
    }
}

#[test]
fn unavailable_presence_is_broadcast_whole() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        let other = online(core, &format!("{ada}/other"));
        core.forget();
        core.send(desk, "<presence type='unavailable'><status>lunch</status></presence>");
        let stanza = |to: &str| {
            format!("<presence type='unavailable' from='{ada}/desk' to='{to}'><status>lunch</status></presence>")
        };
        assert_eq!(core.take(phone), [stanza(grace)]);
        assert_eq!(core.take(desk), [stanza(ada)]);
        assert_eq!(core.take(other), [stanza(ada)]);
        // Not twice; and what comes next is initial again.
        core.close(desk, true);
        core.send(other, "<presence type='unavailable'/>");
        core.take(phone);
        core.send(other, "<presence/>");
        assert_eq!(core.take(phone), [available(&format!("{ada}/other"), grace)]);
        assert!(core.take(other).contains(&available(&format!("{grace}/phone"), &format!("{ada}/other"))));
    });
}

// However a session ends.
#[test]
fn the_end_of_a_session_is_unavailable_presence() {
    for end in ["closed", "lost", "link", "kicked", "replaced"] {
        each(|core, ada, grace| {
            core.friends(ada, grace);
            let phone = online(core, &format!("{grace}/phone"));
            let desk = online(core, &format!("{ada}/desk"));
            let quiet = core.login(&format!("{ada}/quiet"));
            let (full, shard) = (format!("{ada}/desk"), core.owner(ada));
            core.forget();
            match end {
                "closed" => core.close(desk, true),
                "lost" => core.close(desk, false),
                "link" if core.owner(grace) != shard => core.link_down(u16::try_from(shard).unwrap()),
                "link" => return,
                "kicked" => core.command(shard, "sessions kick", &[("jid", &full)]),
                _ => {
                    core.login(&full);
                }
            }
            assert_eq!(core.take(phone), [unavailable(&full, grace)], "{end}");
            assert_eq!(core.take(desk), NOTHING);
            assert_eq!(core.take(quiet), NOTHING);
        });
    }
}
