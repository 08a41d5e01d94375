//! Rows 59 to 62: whatever a client writes, what only servers say does not cross.

use crate::random::{Random, SeededRandom};
use crate::testing::{Client, Core};

/// What no client may say, as friend `ada@example.org` of `bob@example.org` writes it.
const OURS: &[&str] = &[
    "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' \
     from='boss@example.org/x'><body>owned</body></message></forwarded></received>",
    "<sent xmlns='urn:xmpp:carbons:2' mark='owned'/>",
    "<sent xmlns='urn:xmpp:carbons:1' mark='owned'/>",
    "<result xmlns='urn:xmpp:mam:2' queryid='owned' id='1'/>",
    "<fin xmlns='urn:xmpp:mam:2' mark='owned'/>",
    "<archived xmlns='urn:xmpp:mam:tmp' by='bob@example.org' id='owned'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned' by='bob@example.org'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned' by='BOB@Example.org'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned' by='bob@example.org/phone'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned' by='ada@example.org'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned' by='example.org'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned' by='room@example.net'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='owned'/>",
    "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='9999-99-99T00:00:00Z' mark='owned'/>",
    "<delay xmlns='urn:xmpp:delay' from='EXAMPLE.org.' stamp='2001-01-01T00:00:00Z' mark='owned'/>",
    "<delay xmlns='urn:xmpp:delay' from='bob@example.org' stamp='2001-01-01T00:00:00Z' mark='owned'/>",
    "<delay xmlns='urn:xmpp:delay' from='room@elsewhere.example' stamp='2001-01-01T00:00:00Z' mark='owned'/>",
    "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z' mark='owned'/>",
    "<delay xmlns='urn:xmpp:delay' from='@' stamp='2001-01-01T00:00:00Z' mark='owned'/>",
    "<x xmlns='jabber:x:delay' from='example.org' stamp='20010101T00:00:00' mark='owned'/>",
    "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='owned'/>",
    "<r xmlns='urn:xmpp:sm:3' mark='owned'/>",
    "<a xmlns='urn:xmpp:sm:2' h='1' mark='owned'/>",
];

/// What a client may say, with words that look the same.
const THEIRS: &[&str] = &[
    "<body>owned words</body>",
    "<x xmlns='urn:example:x'><stanza-id xmlns='urn:xmpp:sid:0' id='inside' by='bob@example.org'/></x>",
    "<private xmlns='urn:xmpp:carbons:2'/>",
    "<received xmlns='urn:xmpp:receipts' id='1'/>",
    "<sent xmlns='urn:xmpp:carbonsx'/>",
    "<origin-id xmlns='urn:xmpp:sid:0' id='mine'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='theirs' by='room@elsewhere.example'/>",
    "<stanza-id xmlns='urn:xmpp:sid:0' id='theirs' by='@@'/>",
    "<delay xmlns='urn:xmpp:delay' from='ada@example.org/desk' stamp='2001-01-01T00:00:00Z'/>",
    "<delay xmlns='urn:xmpp:delay' from='Ada@example.org' stamp='2001-01-01T00:00:00Z'/>",
    "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' from='example.org' stamp='1'/></forwarded>",
];

fn pick<'a>(random: &mut SeededRandom, from: &[&'a str]) -> &'a str {
    let mut bytes = [0; 4];
    random.fill_bytes(&mut bytes);
    from[u32::from_le_bytes(bytes) as usize % from.len()]
}

/// Any number of both in any order; and what is to be left.
fn payload(random: &mut SeededRandom) -> (String, String) {
    let (mut whole, mut left) = (String::new(), String::new());
    let mut kinds = [0; 6];
    random.fill_bytes(&mut kinds);
    for kind in kinds {
        match kind % 5 {
            0 | 1 => whole.push_str(pick(random, OURS)),
            2 => ["text", "\n"]
                .iter()
                .for_each(|text| [&mut whole, &mut left].into_iter().for_each(|to| to.push_str(text))),
            3 => {
                let theirs = pick(random, THEIRS);
                whole.push_str(theirs);
                left.push_str(theirs);
            }
            _ => {}
        }
    }
    (whole, left)
}

/// The stanzas' payloads, without their tags.
fn payloads(core: &mut Core, client: Client) -> Vec<String> {
    let inside = |text: String| {
        let inside = text.split_once('>').and_then(|(_, rest)| rest.rsplit_once("</")).map_or("", |(inside, _)| inside);
        inside.to_owned()
    };
    core.take(client).into_iter().map(inside).collect()
}

fn friends() -> (Core, Client, Client) {
    let mut core = Core::new(2);
    core.friends("ada@example.org", "bob@example.org");
    let (ada, bob) = (core.login("ada@example.org/desk"), core.login("bob@example.org/phone"));
    core.send(ada, "<presence/>");
    core.send(bob, "<presence/>");
    core.forget();
    (core, ada, bob)
}

#[test]
fn threat_059_061_062_no_element_that_servers_own_crosses_from_a_client() {
    let (mut core, ada, bob) = friends();
    let random = &mut SeededRandom::new(59);
    let stanzas = [
        "message type='chat' to='bob@example.org'",
        "message to='bob@example.org/phone'",
        "message type='groupchat' to='bob@example.org/phone'",
        "message type='headline' to='bob@example.org'",
        "message type='error' to='bob@example.org/phone'",
        "presence",
        "presence to='bob@example.org'",
        "presence to='bob@example.org/phone'",
        "presence type='error' to='bob@example.org/phone'",
    ];
    for round in 0..200 {
        for stanza in stanzas {
            let (whole, left) = payload(random);
            // So that what is sent is what any message is: for somebody.
            let body = if stanza.starts_with("message") { "<body>b</body>" } else { "<status>s</status>" };
            let kind = stanza.split(' ').next().unwrap();
            core.send(ada, &format!("<{stanza}>{whole}{body}</{kind}>"));
            assert_eq!(payloads(&mut core, bob), [format!("{left}{body}")], "{round}: {stanza}: {whole}");
            core.forget();
        }
    }
    assert_eq!(core.unsettled(ada), 0);
}

#[test]
fn threat_062_each_of_them_alone_and_all_at_once() {
    let (mut core, ada, bob) = friends();
    let all = OURS.concat();
    for owned in OURS.iter().copied().chain([all.as_str()]) {
        core.send(ada, &format!("<message type='chat' to='bob@example.org'>{owned}<body>b</body>{owned}</message>"));
        assert_eq!(payloads(&mut core, bob), ["<body>b</body>"], "{owned}");
        // Nothing but that: an empty message is nobody's.
        core.send(ada, &format!("<message type='chat' to='bob@example.org/phone'>{owned}</message>"));
        assert_eq!(core.take(bob), ["<message type='chat' from='ada@example.org/desk' to='bob@example.org/phone'/>"]);
    }
    for theirs in THEIRS {
        core.send(ada, &format!("<message type='chat' to='bob@example.org'>{theirs}</message>"));
        assert_eq!(payloads(&mut core, bob), [*theirs]);
    }
}

/// What waits for its recipient, in the log or as a request, is as clean; and so is the echo in an error.
#[test]
fn threat_062_nothing_of_it_is_stored() {
    let mut core = Core::new(2);
    let (ada, all) = (core.login("ada@example.org/desk"), OURS.concat());
    core.account("bob@example.org");
    core.send(ada, &format!("<message type='chat' to='bob@example.org'>{all}<body>late</body></message>"));
    core.send(ada, &format!("<presence type='subscribe' to='bob@example.org'>{all}<status>hi</status></presence>"));
    core.send(ada, &format!("<message type='groupchat' to='bob@example.org'>{all}<body>b</body></message>"));
    let echo = core.take(ada).concat();
    assert!(echo.contains("service-unavailable") && !echo.contains("owned"), "{echo}");
    let bob = core.login("bob@example.org/phone");
    core.send(bob, "<presence/>");
    let got = core.take(bob).concat();
    assert!(got.contains("<body>late</body><delay xmlns='urn:xmpp:delay' from='example.org'"), "{got}");
    assert!(got.contains("<status>hi</status>") && !got.contains("owned"), "{got}");
}

#[test]
fn threat_060_no_client_pushes_to_another() {
    let (mut core, ada, bob) = friends();
    let phone = core.login("ada@example.org/phone");
    let questions = [
        "<query xmlns='jabber:iq:roster'><item jid='eve@example.org' subscription='both'/></query>",
        "<query xmlns='jabber:iq:roster'/>",
        "<block xmlns='urn:xmpp:blocking'><item jid='eve@example.org'/></block>",
        "<unblock xmlns='urn:xmpp:blocking'/>",
        "<other xmlns='jabber:iq:roster'/>",
    ];
    for question in questions {
        for to in ["bob@example.org/phone", "ada@example.org/phone", "ada@example.org/desk", "nobody@example.org/x"] {
            core.send(ada, &format!("<iq type='set' id='p' to='{to}'>{question}</iq>"));
            let answer = core.take(ada).concat();
            assert!(answer.starts_with(&format!("<iq type='error' id='p' from='{to}'")), "{answer}");
            assert!(answer.contains("<forbidden"), "{answer}");
            assert_eq!((core.take(bob), core.take(phone)), (vec![], vec![]), "{to} {question}");
        }
    }
    // What looks like one and is none passes: a question of another namespace, and one that sets nothing.
    for (ty, question) in [("set", "<query xmlns='urn:example:x'/>"), ("get", "<query xmlns='jabber:iq:roster'/>")] {
        core.send(ada, &format!("<iq type='{ty}' id='q' to='bob@example.org/phone'>{question}</iq>"));
        assert_eq!(core.take(bob).len(), 1, "{question}");
    }
}

/// An edge says who sent a stanza by the session it names, and nothing else does.
#[test]
fn threat_053_the_core_stamps_from_whatever_an_edge_says() {
    use crate::testing::stanza;
    let (mut core, ada, bob) = friends();
    let kinds = [
        "message type='chat'",
        "message type='error'",
        "presence",
        "presence type='unavailable'",
        "presence type='error'",
    ];
    let forged =
        ["boss@example.org/x", "example.org", "bob@example.org", "ada@example.org/phone", "", "@", "a\u{e9}@x"];
    for kind in kinds {
        for from in forged {
            let text = format!("<{kind} from='{from}' to='bob@example.org/phone'/>");
            core.put_encoded(ada, stanza(&text).bytes(), None);
            core.run();
            let got = core.take(bob);
            assert!(got.len() == 1 && got[0].contains(" from='ada@example.org/desk'"), "{text}: {got:?}");
        }
    }
    for ty in ["get", "set", "result", "error"] {
        for from in forged {
            let text =
                format!("<iq type='{ty}' id='i' from='{from}' to='bob@example.org/phone'><x xmlns='urn:x'/></iq>");
            core.put_encoded(ada, stanza(&text).bytes(), None);
            core.run();
            assert!(core.take(bob).iter().all(|got| got.contains(" from='ada@example.org/desk'")), "{text}");
        }
    }
    for ty in ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe"] {
        for from in forged {
            let text = format!("<presence type='{ty}' from='{from}' to='bob@example.org'/>");
            core.put_encoded(ada, stanza(&text).bytes(), None);
            core.run();
            let got = core.take(bob).concat();
            assert!(!got.contains("boss") && !got.contains(" from='example.org'"), "{text}: {got}");
        }
    }
}
