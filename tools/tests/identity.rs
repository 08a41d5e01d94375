//! Who somebody is, over real sockets: `from` forged on every stanza, addresses in every form that gives trouble.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Hearth, Options};
use hearth_tools::client::Client;
use hearth_tools::xml::{Element, Item};

const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

fn started() -> Hearth {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    hearth.add("grace@example.org");
    hearth
}

/// Every kind and type of stanza, for Grace.
fn stanzas(from: &str) -> Vec<String> {
    let mut all = Vec::new();
    for ty in ["chat", "normal", "groupchat", "headline", "error"] {
        all.push(format!(
            "<message type='{ty}' from='{from}' to='grace@example.org/lab'><body>forged</body></message>"
        ));
    }
    all.push(format!("<presence from='{from}' to='grace@example.org/lab'/>"));
    all.push(format!("<presence from='{from}'/>"));
    for ty in ["unavailable", "probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "error"] {
        all.push(format!("<presence type='{ty}' from='{from}' to='grace@example.org'/>"));
    }
    for ty in ["get", "set", "result", "error"] {
        all.push(format!("<iq type='{ty}' id='i' from='{from}' to='grace@example.org/lab'><x xmlns='urn:x'/></iq>"));
    }
    all.push(format!("<iq type='set' id='i' from='{from}'><query xmlns='jabber:iq:roster'/></iq>"));
    all
}

/// RFC 6120 §8.1.2.1, §4.9.3.9.
#[test]
fn threat_053_from_is_ones_own_on_every_stanza_or_the_stream_ends() {
    let hearth = started();
    let mut grace = hearth.login("grace", "lab");
    grace.send("<presence/>").expect("sent");
    grace.receive_element().expect("her presence");
    let forged = [
        "grace@example.org",
        "grace@example.org/lab",
        "ada@example.org/phone",
        "example.org",
        "",
        "@",
        "x@other.example",
    ];
    for (n, from) in forged.iter().enumerate() {
        for stanza in stanzas(from) {
            let mut ada = hearth.login("ada", &format!("desk{n}"));
            ada.send(&stanza).expect("sent");
            let said = ada.receive_until_closed().expect("an end");
            let ended =
                said.iter().any(|item| matches!(item, Item::Element(e) if e.to_string().contains("invalid-from")));
            assert!(ended, "{stanza}: {said:?}");
        }
    }
    // Nothing of it came through: what she hears next is what comes next.
    let mut ada = hearth.login("ada", "desk");
    for from in ["ada@example.org/desk", "ada@example.org", "ADA@Example.org/desk", "ada@example.org."] {
        let from = if from.ends_with('.') { "ada@example.org" } else { from };
        ada.send(&format!(
            "<message type='chat' from='{from}' to='grace@example.org/lab'><body>{from}</body></message>"
        ))
        .expect("sent");
        let heard = grace.receive_element().expect("a message");
        assert_eq!((heard.name.as_str(), heard.attr("from")), ("message", Some("ada@example.org/desk")), "{heard}");
        assert_eq!(heard.child("jabber:client", "body").map(Element::text).as_deref(), Some(from));
    }
}

/// One iq and the condition of its answer; `None` for a result.
fn ask(client: &mut Client, iq: &str) -> Option<String> {
    client.send(iq).expect("sent");
    loop {
        let answer = client.receive_element().expect("an answer");
        if answer.attr("id") != Some("j") {
            continue; // A push.
        }
        let error = answer.children().find(|child| child.name == "error").cloned();
        let condition = error.and_then(|error| error.children().find(|child| child.ns == NS_STANZAS).cloned());
        return condition.map(|condition| condition.name);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('\'', "&apos;").replace('<', "&lt;").replace('\t', "&#9;").replace('\n', "&#10;")
}

/// RFC 7622: what is no address.
fn malformed() -> Vec<String> {
    let long = |n: usize| "a".repeat(n);
    let mut all: Vec<String> = [
        "",
        "@",
        "/",
        "@/",
        "@example.org",
        "grace@",
        "grace@/x",
        "/x",
        "grace@example.org/",
        "a@b@example.org",
        "grace@@example.org",
        " @example.org",
        "gr ace@example.org",
        "gr\u{a0}ace@example.org",
        "gr\tace@example.org",
        "gr\nace@example.org",
        // RFC 7622 §3.3.1
        "gr\"ace@example.org",
        "gr&ace@example.org",
        "gr'ace@example.org",
        "gr:ace@example.org",
        "gr<ace@example.org",
        "gr>ace@example.org",
        // Unassigned, private, invisible, directional; a digit of the other direction beside letters of this one.
        "gr\u{378}ace@example.org",
        "gr\u{e000}ace@example.org",
        "gr\u{200b}ace@example.org",
        "gr\u{202e}ace@example.org",
        "gr\u{2060}ace@example.org",
        "a\u{5d0}@example.org",
        "\u{5d0}a@example.org",
        "grace\u{300}\u{200d}@example.org",
        "\u{2163}@example.org",
        "gr\u{2665}ace@example.org",
        "\u{1f600}@example.org",
        "gr\u{fffd}ace@example.org",
        "grace@exa mple.org",
        "grace@exam_ple..org",
        "grace@.example.org",
        "grace@..",
        "grace@-example.org",
        "grace@\u{378}.org",
        "grace@[::1",
        "grace@[::g]",
        "grace@[127.0.0.1]",
        "grace@example.org:5222",
        "grace@example.org/a\u{0378}",
        "grace@example.org/\u{e000}",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("{}@example.org", long(1024)));
    all.push(format!("grace@example.org/{}", long(1024)));
    all.push(format!("grace@{}.org", long(64)));
    all.push(format!("grace@{}", vec![long(63); 17].join(".")));
    // 1,024 bytes of 512 characters.
    all.push(format!("{}@example.org", "\u{e9}".repeat(512)));
    all
}

/// Row 54, 21: they are refused wherever they stand, and nothing of them is stored.
#[test]
fn threat_021_054_what_is_no_address_is_refused_everywhere_and_stored_nowhere() {
    let hearth = started();
    let mut ada = hearth.login("ada", "desk");
    for address in malformed() {
        let to = escaped(&address);
        for stanza in [
            format!("<message id='j' type='chat' to='{to}'><body>x</body></message>"),
            format!("<iq id='j' type='get' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>"),
            format!("<iq id='j' type='set'><query xmlns='jabber:iq:roster'><item jid='{to}'/></query></iq>"),
            format!("<iq id='j' type='set'><block xmlns='urn:xmpp:blocking'><item jid='{to}'/></block></iq>"),
            format!("<presence id='j' to='{to}'/>"),
            format!("<presence id='j' type='subscribe' to='{to}'/>"),
        ] {
            assert_eq!(ask(&mut ada, &stanza).as_deref(), Some("jid-malformed"), "{address:?}: {stanza}");
        }
    }
    let mut stored = |question: &str, answer: &str| {
        ada.send(&format!("<iq id='s' type='get'>{question}</iq>")).expect("sent");
        let all = ada.receive_element().expect("an answer");
        assert!(all.to_string().contains(answer), "{all}");
        assert!(!all.to_string().contains("<item"), "{all}");
    };
    stored("<query xmlns='jabber:iq:roster'/>", "jabber:iq:roster");
    stored("<blocklist xmlns='urn:xmpp:blocking'/>", "urn:xmpp:blocking");
}

/// What is an address in more than one form has one: case, width, composition, dots; a resource keeps its case.
#[test]
fn threat_054_one_address_has_one_form() {
    let hearth = started();
    let mut ada = hearth.login("ada", "desk");
    let local = "l".repeat(1023);
    let longest = format!("{local}@example.org");
    let rows = [
        ("GRACE@EXAMPLE.ORG", "grace@example.org"),
        ("\u{ff27}race@example.org", "grace@example.org"),
        ("grace@example.org.", "grace@example.org"),
        ("Gr\u{e4}ce@example.org", "gr\u{e4}ce@example.org"),
        ("gra\u{308}ce@example.org", "gr\u{e4}ce@example.org"),
        ("\u{412}\u{430}\u{441}\u{44f}@example.org", "\u{432}\u{430}\u{441}\u{44f}@example.org"),
        ("\u{5d0}\u{5d1}@example.org", "\u{5d0}\u{5d1}@example.org"),
        ("gr%20ace@example.org", "gr%20ace@example.org"),
        ("gr\\20ace@example.org", "gr\\20ace@example.org"),
        // UTS #46 leaves out of names what nobody sees.
        ("grace@ex\u{200b}ample.org", "grace@example.org"),
        ("grace@192.0.2.1", "grace@192.0.2.1"),
        ("grace@[2001:DB8::1]", "grace@[2001:db8::1]"),
        ("grace@xn--bcher-kva.example", "grace@b\u{fc}cher.example"),
        ("grace@B\u{dc}CHER.example", "grace@b\u{fc}cher.example"),
        (longest.as_str(), longest.as_str()),
    ];
    for (said, one) in rows {
        let set = format!(
            "<iq id='j' type='set'><query xmlns='jabber:iq:roster'><item jid='{}'/></query></iq>",
            escaped(said)
        );
        assert_eq!(ask(&mut ada, &set), None, "{said}");
        ada.send("<iq id='s' type='get'><query xmlns='jabber:iq:roster'/></iq>").expect("sent");
        let roster = loop {
            let heard = ada.receive_element().expect("a roster");
            if heard.attr("id") == Some("s") {
                break heard;
            }
        };
        let items: Vec<_> = roster
            .child("jabber:iq:roster", "query")
            .expect("a roster")
            .children()
            .map(|item| item.attr("jid"))
            .collect();
        assert_eq!(items, [Some(one)], "{said}");
        let remove = format!(
            "<iq id='j' type='set'><query xmlns='jabber:iq:roster'><item jid='{one}' subscription='remove'/></query></iq>"
        );
        assert_eq!(ask(&mut ada, &remove), None);
    }
}
