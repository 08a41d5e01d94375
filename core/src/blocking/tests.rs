use super::*;
use crate::testing::{Client, Core};
use hearth_storage::Subscription;

const ADA: &str = "ada@example.org";
const EVE: &str = "eve@example.org";
const NOTHING: [&str; 0] = [];

fn each(test: impl Fn(&mut Core, &str, &str)) {
    test(&mut Core::new(1), ADA, EVE);
    let mut core = Core::new(2);
    let (ada, eve) = (core.name_on(0, "ada"), core.name_on(1, "eve"));
    test(&mut core, &ada, &eve);
}

fn online(core: &mut Core, full: &str) -> Client {
    let client = core.login(full);
    core.send(client, "<presence/>");
    core.take(client);
    client
}

/// Sends a command; returns what comes back.
fn command(core: &mut Core, client: Client, name: &str, items: &[&str]) -> Vec<String> {
    let items: String = items.iter().map(|item| format!("<item jid='{item}'/>")).collect();
    core.send(client, &format!("<iq type='set' id='c'><{name} xmlns='urn:xmpp:blocking'>{items}</{name}></iq>"));
    assert_eq!(core.unsettled(client), 0);
    core.take(client)
}

fn done(full: &str) -> String {
    format!("<iq type='result' id='c' to='{full}'/>")
}

// XEP-0191 §6.
#[test]
fn addresses_match_by_resource_account_and_domain() {
    let rows: &[(&str, &[&str], &[&str])] = &[
        ("eve@example.com/x", &["eve@example.com/x"], &["eve@example.com", "eve@example.com/y", "example.com"]),
        ("eve@example.com", &["eve@example.com", "eve@example.com/x"], &["bob@example.com", "example.com"]),
        ("example.com/x", &["example.com/x"], &["example.com", "example.com/y", "eve@example.com/x"]),
        ("example.com", &["example.com", "example.com/x", "eve@example.com", "eve@example.com/x"], &["a.example.com"]),
    ];
    for (item, matching, others) in rows {
        let list = BlockList::new(vec![(*item).into()]).unwrap();
        assert!(matching.iter().all(|address| list.matches(address)), "{item}");
        assert!(!others.iter().any(|address| list.matches(address)), "{item}");
    }
}

// §3.2 to §3.5: the list, the answers, the pushes, and that it is stored.
#[test]
fn the_list_is_kept_and_pushed_to_who_asked_for_it() {
    let mut core = Core::new(1);
    let (desk, phone) = (core.login("ada@example.org/desk"), core.login("ada@example.org/phone"));
    let get = "<iq type='get' id='g'><blocklist xmlns='urn:xmpp:blocking'/></iq>";
    core.send(phone, get);
    let empty = "<blocklist xmlns='urn:xmpp:blocking'/>";
    assert_eq!(core.take(phone), [format!("<iq type='result' id='g' to='ada@example.org/phone'>{empty}</iq>")]);
    assert_eq!(command(&mut core, desk, "block", &["EVE@example.org", "spam.example"]), [done("ada@example.org/desk")]);
    let got = core.take(phone).concat();
    let items = "<item jid='eve@example.org'/><item jid='spam.example'/>";
    assert!(got.starts_with("<iq type='set' id='block-") && got.contains("to='ada@example.org/phone'"), "{got}");
    assert!(got.contains(&format!("<block xmlns='urn:xmpp:blocking'>{items}</block>")), "{got}");
    core.send(phone, get);
    assert!(core.take(phone).concat().contains(&format!("<blocklist xmlns='urn:xmpp:blocking'>{items}</blocklist>")));
    assert_eq!(core.stored(ADA).blocked, ["eve@example.org", "spam.example"].map(Box::from));
    // Both results and pushes come to the one that changes it.
    let got = command(&mut core, phone, "unblock", &["spam.example", "x@y"]);
    assert_eq!(got[0], done("ada@example.org/phone"));
    assert!(
        got[1].contains("<unblock xmlns='urn:xmpp:blocking'><item jid='spam.example'/><item jid='x@y'/></unblock>")
    );
    command(&mut core, desk, "unblock", &[]);
    assert!(core.take(phone).concat().contains("<unblock xmlns='urn:xmpp:blocking'/>"));
    assert_eq!(core.stored(ADA).blocked, []);
    assert!(core.loaded(ADA).unwrap().blocked.is_none());
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    for (name, items, condition) in [
        ("block", &[][..], "bad-request"),
        ("block", &["a@@b"], "jid-malformed"),
        ("block", &["eve@example.org", "ada@example.org"], "not-allowed"),
        ("block", &["ada@example.org/phone"], "not-allowed"),
        ("unblock", &["@"], "jid-malformed"),
        ("blocklist", &[], "bad-request"),
    ] {
        let got = command(&mut core, desk, name, items).concat();
        assert!(got.contains(&format!("<{condition} ")), "{name} {items:?}: {got}");
    }
    core.send(
        desk,
        "<iq type='get' id='c'><block xmlns='urn:xmpp:blocking'><item jid='eve@example.org'/></block></iq>",
    );
    assert!(core.take(desk).concat().contains("<bad-request "));
    core.send(desk, "<iq type='get' id='c' to='eve@example.org'><blocklist xmlns='urn:xmpp:blocking'/></iq>");
    assert!(core.take(desk).concat().contains("<service-unavailable "));
    core.failing = true;
    assert!(command(&mut core, desk, "block", &["eve@example.org"]).concat().contains("<resource-constraint "));
    core.failing = false;
    assert!(core.stored(ADA).blocked.is_empty() && core.loaded(ADA).unwrap().blocked.is_none());
}

#[test]
fn the_list_has_limits() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    let many: Vec<String> = (0..limits::BLOCKED_MAX).map(|n| format!("s{n}@example.org")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(command(&mut core, desk, "block", &many[1..]), [done("ada@example.org/desk")]);
    assert_eq!(command(&mut core, desk, "block", &many), [done("ada@example.org/desk")]);
    assert!(command(&mut core, desk, "block", &["one@more"]).concat().contains("<resource-constraint "));
    command(&mut core, desk, "unblock", &[]);
    let long: Vec<String> = (0..200).map(|n| format!("{}@x/{n}{}", "l".repeat(400), "r".repeat(400))).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    assert!(command(&mut core, desk, "block", &long).concat().contains("<resource-constraint "));
    assert_eq!(core.stored(ADA).blocked, []);
}

// §3.3: what comes from who is blocked, and what it looks like there; nothing of it is stored.
#[test]
fn nothing_passes_from_who_is_blocked() {
    each(|core, ada, eve| {
        core.friends(ada, eve);
        let desk = online(core, &format!("{ada}/desk"));
        let x = online(core, &format!("{eve}/x"));
        command(core, desk, "block", &[eve]);
        core.forget();
        for resource in ["", "/desk", "/gone"] {
            let to = format!("{ada}{resource}");
            for ty in ["", " type='unavailable'", " type='probe'", " type='unsubscribe'", " type='error'"] {
                core.send(x, &format!("<presence{ty} id='p' to='{to}'/>"));
                let pushes = core.take(x).iter().filter(|got| !got.starts_with("<iq type='set'")).count();
                assert_eq!(pushes, 0, "{ty}");
            }
            for (ty, refused) in [("chat", true), ("normal", true), ("groupchat", true), ("headline", false)] {
                core.send(x, &format!("<message type='{ty}' id='m' to='{to}'><body>b</body></message>"));
                let got = core.take(x).concat();
                assert_eq!(got.contains("<service-unavailable "), refused, "{ty} {got}");
            }
            for (ty, refused) in [("get", true), ("set", true), ("result", false), ("error", false)] {
                core.send(x, &format!("<iq type='{ty}' id='i' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"));
                let got = core.take(x).concat();
                assert_eq!(got.contains("<service-unavailable "), refused, "{ty} {got}");
            }
        }
        core.send(x, "<presence><show>away</show></presence><presence type='unavailable'/><presence/>");
        assert_eq!((core.take(desk), core.unsettled(x)), (vec![], 0));
        assert!(core.take(x).iter().all(|got| !got.contains(ada)), "it sees nobody");
        assert!(core.loaded(ada).unwrap().undelivered() == 0);
        assert_eq!(core.stored(ada).roster[0].subscription, Subscription::Both);
    });
}

// §3.3: what goes to who is blocked.
#[test]
fn nothing_passes_to_who_is_blocked() {
    each(|core, ada, eve| {
        core.friends(ada, eve);
        let desk = online(core, &format!("{ada}/desk"));
        let x = online(core, &format!("{eve}/x"));
        command(core, desk, "block", &[eve]);
        core.forget();
        let refusal = "<not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                       <blocked xmlns='urn:xmpp:blocking:errors'/></error>";
        for stanza in [
            "<message type='chat' id='o' to='EVE'><body>b</body></message>",
            "<message id='o' to='EVE/x'><body>b</body></message>",
            "<iq type='get' id='o' to='EVE/x'><q xmlns='x'/></iq>",
            "<iq type='set' id='o' to='EVE'><q xmlns='x'/></iq>",
            "<presence id='o' to='EVE'/>",
            "<presence id='o' type='unavailable' to='EVE/x'/>",
            "<presence id='o' type='subscribe' to='EVE'/>",
            "<presence id='o' type='probe' to='EVE'/>",
        ] {
            core.send(desk, &stanza.replace("EVE", eve));
            let got = core.take(desk).concat();
            assert!(got.contains("type='error' id='o'") && got.contains(refusal), "{stanza}: {got}");
        }
        for stanza in ["<message type='error' to='EVE'/>", "<iq type='result' id='o' to='EVE/x'/>"] {
            core.send(desk, &stanza.replace("EVE", eve));
        }
        core.send(desk, "<presence><show>away</show></presence>");
        core.take(desk);
        core.send(desk, "<presence type='unavailable'/><presence/>");
        assert!(core.take(desk).iter().all(|got| !got.contains(eve)), "nor is it probed");
        core.close(desk, false);
        assert_eq!((core.take(x), core.unsettled(x)), (vec![], 0));
    });
}

// §3.3, §3.4: who is blocked sees every resource go, once, by whatever way it saw it; and come back.
#[test]
fn presence_goes_with_a_block_and_comes_back() {
    for item in ["bare", "domain", "resource"] {
        each(|core, ada, eve| {
            core.friends(ada, eve);
            let x = online(core, &format!("{eve}/x"));
            let desk = online(core, &format!("{ada}/desk"));
            let hidden = core.login(&format!("{ada}/hidden"));
            core.send(hidden, &format!("<presence to='{eve}/x'/><presence to='{eve}'/>"));
            core.send(desk, &format!("<presence to='{eve}/x'/>"));
            core.forget();
            let blocked = match item {
                "bare" => eve.to_owned(),
                "domain" => "example.org".to_owned(),
                _ => format!("{eve}/x"),
            };
            let mut got = command(core, desk, "block", &[&blocked]);
            assert_eq!(got.remove(0), done(&format!("{ada}/desk")), "{got:?}");
            let mut gone: Vec<String> = core.take(x);
            gone.sort();
            let from = |resource: &str| format!("<presence type='unavailable' from='{ada}/{resource}' to='{eve}");
            assert_eq!(gone.len(), 2, "{item} {gone:?}");
            assert!(gone[0].starts_with(&from("desk")) && gone[1].starts_with(&from("hidden")), "{item} {gone:?}");
            core.close(hidden, true);
            if item != "resource" {
                assert_eq!(core.take(x), NOTHING);
            }
            let got = command(core, desk, "unblock", &[&blocked]);
            if item != "resource" {
                assert_eq!(got[1..], [format!("<presence from='{eve}/x' to='{ada}/desk'/>")], "it is seen again");
            }
            let back =
                core.take(x).iter().filter(|got| got.starts_with(&format!("<presence from='{ada}/desk'"))).count();
            assert_eq!(back, 1, "{item}");
        });
    }
}

// §6: a resource that is blocked alone sees none of what the others of its account see.
#[test]
fn a_blocked_resource_is_passed_by() {
    each(|core, ada, eve| {
        core.friends(ada, eve);
        let (x, y) = (online(core, &format!("{eve}/x")), online(core, &format!("{eve}/y")));
        let desk = online(core, &format!("{ada}/desk"));
        // Longer names that come between in the list, and one that only begins like it.
        command(core, desk, "block", &[&format!("{eve}/x"), &format!("{eve}/xy"), &format!("{eve}.org"), "eve@a/x"]);
        assert!(core.take(x).iter().any(|got| got.contains("type='unavailable'")));
        core.forget();
        let shows = |got: Vec<String>| got.iter().filter(|got| got.contains(&format!("from='{ada}/desk'"))).count();
        core.send(desk, "<presence><show>away</show></presence>");
        assert_eq!((shows(core.take(x)), shows(core.take(y))), (0, 1));
        // While the account waits for its store.
        core.holding = true;
        core.put(y, "<iq type='set' id='v'><vCard xmlns='vcard-temp'/></iq>");
        core.run();
        core.put(desk, "<presence><show>dnd</show></presence>");
        core.run();
        assert_eq!((shows(core.take(x)), shows(core.take(y))), (0, 0));
        core.holding = false;
        core.answer();
        assert_eq!((shows(core.take(x)), shows(core.take(y))), (0, 1));
        // Nor what is said to a contact that may see the account (again), nor that it goes.
        core.send(desk, &format!("<presence type='unsubscribed' to='{eve}'/>"));
        core.send(y, &format!("<presence type='subscribe' to='{ada}'/>"));
        core.send(desk, &format!("<presence type='subscribed' to='{eve}'/>"));
        assert_eq!((shows(core.take(x)), shows(core.take(y))), (0, 2));
        core.close(desk, false);
        assert_eq!((shows(core.take(x)), shows(core.take(y))), (0, 1));
    });
}

// Who never saw the account is not told by a block that there is one.
#[test]
fn strangers_are_told_nothing() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let x = online(&mut core, "eve@example.org/x");
    command(&mut core, desk, "block", &[EVE]);
    command(&mut core, desk, "unblock", &[]);
    assert_eq!(core.take(x), NOTHING);
}

// One's own resources and server are never cut off, whatever domain is blocked.
#[test]
fn a_blocked_domain_does_not_cut_oneself_off() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let phone = online(&mut core, "ada@example.org/phone");
    core.take(desk);
    command(&mut core, desk, "block", &["example.org"]);
    core.send(phone, "<message to='ada@example.org/desk' id='m' type='chat'><body>b</body></message>");
    core.send(phone, "<presence><show>away</show></presence>");
    assert_eq!(core.take(desk).len(), 2);
    core.take(phone);
    core.send(phone, "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert!(core.take(phone).concat().contains("type='result' id='p'"));
}

// What waited before a block does not come after it: messages are dropped, a request waits until the unblock.
#[test]
fn what_waited_is_not_delivered_while_blocked() {
    let mut core = Core::new(1);
    core.account(ADA);
    let x = core.login("eve@example.org/x");
    core.send(x, "<message to='ada@example.org' id='m' type='chat'><body>b</body></message>");
    core.send(x, "<presence type='subscribe' id='s' to='ada@example.org'/>");
    let desk = core.login("ada@example.org/desk");
    command(&mut core, desk, "block", &[EVE]);
    core.send(desk, "<presence/>");
    assert_eq!(core.take(desk), ["<presence from='ada@example.org/desk' to='ada@example.org'/>"]);
    assert_eq!(core.loaded(ADA).unwrap().undelivered(), 0);
    command(&mut core, desk, "unblock", &[EVE]);
    core.send(desk, "<presence type='unavailable'/><presence/>");
    let got = core.take(desk).concat();
    assert!(got.contains("type='subscribe' id='s'") && !got.contains("<message"), "{got}");
}
