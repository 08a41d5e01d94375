//! Virtual hosts against real processes: added, switched and removed while both run, and strangers to one
//! another whatever one of them tries.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{Hearth, Options, PASSWORD, eventually};
use hearth_tools::client::{Client, ClientError, Server, Tls};
use hearth_tools::xml::{CLIENT, Element, Item};
use serde_json::Value;
use std::process::Output;

const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

fn code(done: &Output) -> i32 {
    done.status.code().unwrap_or(-1)
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn json(done: &Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(done)))
}

/// A server of several shards whose clients need no certificate.
fn start(domain: &str, more: &[&str]) -> Hearth {
    let arguments = [&["--allow-clear-login", "--core-shards", "2", "--event-loops", "2"], more].concat();
    Hearth::start(&Options { domain, arguments: &arguments })
}

fn at(hearth: &Hearth, domain: &str) -> Server {
    Server::new(hearth.starttls, domain, Tls::Clear)
}

fn login(hearth: &Hearth, user: &str, domain: &str, resource: &str) -> Client {
    Client::login(&at(hearth, domain), user, PASSWORD, Some(resource))
        .unwrap_or_else(|e| panic!("{user}@{domain}: {e}"))
}

/// The answer to a question; what else comes meanwhile is skipped.
fn ask(client: &mut Client, id: &str, iq: &str) -> Element {
    client.send(iq).expect("sends");
    loop {
        let element = client.receive_element().expect("an answer");
        if element.is(CLIENT, "iq") && element.attr("id") == Some(id) && element.attr("type") != Some("set") {
            return element;
        }
    }
}

fn condition(stanza: &Element) -> String {
    let error = stanza.child(CLIENT, "error").unwrap_or_else(|| panic!("no error: {stanza}"));
    error.children().find(|child| child.ns == NS_STANZAS).map(|child| child.name.clone()).expect("a condition")
}

/// Ada of the domain that comes and goes, Grace of the one that stays.
#[test]
fn a_domain_comes_goes_and_comes_again() {
    let hearth = start("stays.example", &[]);
    let unknown = Client::login(&at(&hearth, "new.example"), "ada", PASSWORD, None);
    assert!(unknown.is_err());
    let added = hearth.ctl(&["domain", "add", "New.Example"], "");
    assert!(code(&added) == 0 && text(&added).contains("certificate") && text(&added).contains("_xmpp-client"));
    assert_eq!(code(&hearth.ctl(&["domain", "add", "new.example"], "")), 4);
    assert_eq!(text(&hearth.ctl(&["domain", "list"], "")).lines().count(), 3);
    hearth.add("ada@new.example");
    hearth.add("grace@stays.example");
    let mut ada = login(&hearth, "ada", "new.example", "desk");
    let mut grace = login(&hearth, "grace", "stays.example", "lab");
    let roster = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";
    assert_eq!(ask(&mut ada, "r", roster).attr("type"), Some("result"));
    assert_eq!(ask(&mut grace, "r", roster).attr("type"), Some("result"));

    // They see each other, by the operator's word.
    let both =
        ["roster", "add", "ada@new.example", "grace@stays.example", "--both", "--name", "Grace", "--group", "Work"];
    assert_eq!(code(&hearth.ctl(&both, "")), 0);
    for (client, contact) in [(&mut ada, "grace@stays.example"), (&mut grace, "ada@new.example")] {
        let push = client.receive_element().expect("a push");
        let item = push.child("jabber:iq:roster", "query").and_then(|query| query.child("jabber:iq:roster", "item"));
        let item = item.expect("an item");
        assert_eq!((item.attr("jid"), item.attr("subscription")), (Some(contact), Some("both")));
    }
    let shown = json(&hearth.ctl(&["roster", "show", "ada@new.example", "--json"], ""));
    assert_eq!((&shown[0]["name"], &shown[0]["groups"][0]), (&Value::from("Grace"), &Value::from("Work")));
    ada.send("<presence/>").expect("sends");
    ada.receive_element().expect("her own presence");
    grace.send("<presence/>").expect("sends");
    let mut seen: Vec<_> =
        (0..2).map(|_| grace.receive_element().expect("presence").attr("from").expect("from").to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["ada@new.example/desk", "grace@stays.example/lab"]);

    // Removed: Ada's stream ends, Grace sees her go, and her address is one of elsewhere.
    assert_eq!(code(&hearth.ctl(&["domain", "remove", "new.example"], "")), 2, "nobody to ask");
    let removed = hearth.ctl(&["domain", "remove", "new.example", "--yes"], "");
    assert_eq!((code(&removed), text(&removed).lines().next()), (0, Some("new.example: removed, 1 session ended")));
    let end = ada.receive_until_closed().expect("the stream ends");
    let [.., Item::Element(error), Item::Close] = end.as_slice() else { panic!("{end:?}") };
    assert_eq!(error.children().next().map(|child| child.name.as_str()), Some("host-gone"));
    let gone = grace.receive_element().expect("presence");
    assert_eq!((gone.attr("from"), gone.attr("type")), (Some("ada@new.example/desk"), Some("unavailable")));
    grace.send("<message to='ada@new.example' id='m' type='chat'><body>there?</body></message>").expect("sends");
    let refused = grace.receive_element().expect("an error");
    assert_eq!((refused.attr("id"), condition(&refused).as_str()), (Some("m"), "remote-server-not-found"));
    assert!(Client::login(&at(&hearth, "new.example"), "ada", PASSWORD, None).is_err());
    assert_eq!(code(&hearth.ctl(&["user", "show", "ada@new.example"], "")), 5);
    assert_eq!(code(&hearth.ctl(&["domain", "show", "new.example"], "")), 5);
    assert_eq!(json(&hearth.ctl(&["status", "--json"], ""))["sessions"], 1);

    // And again, with all she had.
    assert_eq!(code(&hearth.ctl(&["domain", "add", "new.example"], "")), 0);
    let mut ada = login(&hearth, "ada", "new.example", "desk");
    let again = ask(&mut ada, "r", roster);
    assert!(again.to_string().contains("grace@stays.example"), "{again}");
    drop(ada);
    // Unless it is deleted.
    let deleted = hearth.ctl(&["domain", "remove", "new.example", "--delete-data", "--yes"], "");
    assert!(code(&deleted) == 0 && text(&deleted).contains("1 account deleted"), "{}", text(&deleted));
    // What was there is gone, and whoever asks again hears that.
    let again = json(&hearth.ctl(&["domain", "remove", "new.example", "--delete-data", "--yes", "--json"], ""));
    assert_eq!((&again["deleted"], &again["left"]), (&0.into(), &0.into()), "{again}");
    assert_eq!(code(&hearth.ctl(&["domain", "add", "new.example"], "")), 0);
    assert_eq!(text(&hearth.ctl(&["user", "list", "new.example"], "")), "");
    let shown = json(&hearth.ctl(&["roster", "show", "grace@stays.example", "--json"], ""));
    assert_eq!((&shown[0]["contact"], &shown[0]["subscription"]), (&"ada@new.example".into(), &"none".into()));
}

#[test]
fn contacts_of_an_operator_are_removed_as_a_user_would() {
    let hearth = start("a.example", &[]);
    hearth.add("ada@a.example");
    hearth.add("grace@a.example");
    assert_eq!(code(&hearth.ctl(&["roster", "add", "ada", "nobody@a.example", "--both"], "")), 5);
    assert_eq!(code(&hearth.ctl(&["roster", "add", "ada", "ada@a.example"], "")), 6);
    assert_eq!(code(&hearth.ctl(&["roster", "add", "ada", "grace@a.example", "--both"], "")), 0);
    let mut grace = login(&hearth, "grace", "a.example", "lab");
    grace.send("<presence/>").expect("sends");
    grace.receive_element().expect("her own presence");
    let _ada = {
        let mut ada = login(&hearth, "ada", "a.example", "desk");
        ada.send("<presence/>").expect("sends");
        ada
    };
    assert_eq!(grace.receive_element().expect("presence").attr("from"), Some("ada@a.example/desk"));
    assert_eq!(code(&hearth.ctl(&["roster", "remove", "ada", "grace@a.example"], "")), 0);
    let gone = grace.receive_element().expect("presence");
    assert_eq!((gone.attr("from"), gone.attr("type")), (Some("ada@a.example/desk"), Some("unavailable")));
    assert_eq!(code(&hearth.ctl(&["roster", "remove", "ada", "grace@a.example"], "")), 5);
    let left = eventually("it ends on her side too", || {
        let shown = json(&hearth.ctl(&["roster", "show", "grace", "--json"], ""));
        (shown[0]["subscription"] == "none").then_some(shown)
    });
    assert_eq!(left[0]["contact"], "ada@a.example");
}

#[test]
fn switches_are_switched_and_the_configuration_is_respected() {
    let hearth = start("a.example", &[]);
    let offered = |hearth: &Hearth| {
        let mut client = Client::connect(&at(hearth, "a.example")).expect("connects");
        client.open().expect("opens");
        client.features().expect("features").child("http://jabber.org/features/iq-register", "register").is_some()
    };
    assert!(!offered(&hearth));
    assert_eq!(code(&hearth.ctl(&["domain", "set", "a.example", "registration", "on"], "")), 0);
    eventually("registration is offered", || offered(&hearth).then_some(()));
    let shown = json(&hearth.ctl(&["domain", "show", "a.example", "--json"], ""));
    assert!(shown["on"].as_array().is_some_and(|on| on.contains(&"registration".into())), "{shown}");
    assert_eq!(code(&hearth.ctl(&["domain", "set", "a.example", "registratoin", "on"], "")), 5);
    assert_eq!(code(&hearth.ctl(&["domain", "set", "b.example", "registration", "on"], "")), 5);
    assert_eq!(code(&hearth.ctl(&["domain", "set", "a.example", "registration", "maybe"], "")), 6);
    // It stands on the command line, as in a file.
    assert_eq!(code(&hearth.ctl(&["domain", "remove", "a.example", "--yes"], "")), 6);
    assert_eq!(code(&hearth.ctl(&["domain", "add", "b.example"], "")), 0);
    // What was done lasts.
    let (status, data, folder) = hearth.end(15);
    assert_eq!(status.code(), Some(0));
    let options = Options { domain: "a.example", arguments: &["--allow-clear-login"] };
    let hearth = Hearth::start_in(data, folder, &options);
    assert!(offered(&hearth));
    assert!(text(&hearth.ctl(&["domain", "list"], "")).contains("b.example"));
}

/// Ada of one domain tries everything on Ada of the other.
#[test]
fn users_of_one_domain_are_strangers_on_the_other() {
    let hearth = start("a.example", &["--domain", "b.example"]);
    assert_eq!(code(&hearth.ctl(&["domain", "set", "b.example", "registration", "on"], "")), 0);
    hearth.add("ada@a.example");
    let other = hearth.ctl(&["user", "add", "ada@b.example", "--password-stdin"], "another");
    assert_eq!(code(&other), 0, "{}", String::from_utf8_lossy(&other.stderr));
    // Login with the other's password.
    for (domain, password) in [("a.example", "another"), ("b.example", PASSWORD)] {
        let refused = Client::login(&at(&hearth, domain), "ada", password, None);
        assert!(matches!(refused, Err(ClientError::Refused(_))), "{domain}");
    }
    let mut victim = Client::login(&at(&hearth, "b.example"), "ada", "another", Some("desk")).expect("logs in");
    let mut ada = login(&hearth, "ada", "a.example", "desk");
    let mut put = |what: &str| {
        let iq = format!("<iq type='set' id='p'>{what}</iq>");
        ask(&mut victim, "p", &iq)
    };
    for what in [
        "<query xmlns='jabber:iq:roster'><item jid='secret@b.example'/></query>",
        "<vCard xmlns='vcard-temp'><FN>Secret</FN></vCard>",
    ] {
        assert_eq!(put(what).attr("type"), Some("result"), "{what}");
    }
    // XEP-0049, where it is served.
    put("<query xmlns='jabber:iq:private'><x xmlns='urn:notes'>Secret</x></query>");

    // Reading what the other has: one's own place is empty, the other's is refused.
    for (what, own) in [
        ("<query xmlns='jabber:iq:roster'/>", true),
        ("<vCard xmlns='vcard-temp'/>", true),
        ("<query xmlns='jabber:iq:private'><x xmlns='urn:notes'/></query>", true),
        ("<query xmlns='jabber:iq:roster'/>", false),
        ("<query xmlns='jabber:iq:private'><x xmlns='urn:notes'/></query>", false),
    ] {
        for to in if own { &["", "to='ada@a.example'"][..] } else { &["to='ada@b.example'", "to='b.example'"] } {
            let answer = ask(&mut ada, "g", &format!("<iq type='get' id='g' {to}>{what}</iq>"));
            assert!(!answer.to_string().to_lowercase().contains("secret"), "{what} {to}: {answer}");
            assert!(own || answer.attr("type") == Some("error"), "{what} {to}: {answer}");
        }
    }
    // Changing it, by way of the other's address or its server.
    for to in ["ada@b.example", "b.example"] {
        for what in [
            "<query xmlns='jabber:iq:roster'><item jid='eve@a.example'/></query>",
            "<vCard xmlns='vcard-temp'><FN>Eve</FN></vCard>",
            "<query xmlns='jabber:iq:private'><x xmlns='urn:notes'>Eve</x></query>",
            "<query xmlns='jabber:iq:register'><username>ada</username><password>eve</password></query>",
            "<query xmlns='jabber:iq:register'><remove/></query>",
        ] {
            let answer = ask(&mut ada, "s", &format!("<iq type='set' id='s' to='{to}'>{what}</iq>"));
            assert_eq!(answer.attr("type"), Some("error"), "{to} {what}: {answer}");
        }
    }
    // Learning who is there.
    for to in ["b.example", "ada@b.example"] {
        let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
        let answer = ask(&mut ada, "i", &format!("<iq type='get' id='i' to='{to}'>{items}</iq>"));
        assert!(!answer.to_string().contains("ada@b.example/"), "{answer}");
    }
    assert_eq!(text(&hearth.ctl(&["user", "list", "a.example"], "")), "ada@a.example\n");
    // A message for one is the other's neither now nor later.
    drop(victim);
    eventually("she is gone", || {
        let listed = text(&hearth.ctl(&["sessions", "list", "ada@b.example"], ""));
        listed.is_empty().then_some(())
    });
    ada.send("<presence/><message to='ada@b.example' type='chat'><body>for b</body></message>").expect("sends");
    assert_eq!(ada.receive_element().expect("her own presence").attr("from"), Some("ada@a.example/desk"));
    let here = ask(&mut ada, "q", "<iq type='get' id='q'><query xmlns='jabber:iq:roster'/></iq>");
    assert!(!here.to_string().contains("for b"));
    let mut victim =
        Client::login(&at(&hearth, "b.example"), "ada", "another", Some("desk")).expect("the old password");
    victim.send("<presence/>").expect("sends");
    victim.receive_element().expect("her own presence");
    assert!(victim.receive_element().expect("what waited").to_string().contains("for b"));
    // A stream is of one domain: neither `from` nor an identity of the other.
    ada.send("<message from='ada@b.example/desk' to='ada@b.example'><body>forged</body></message>").expect("sends");
    let end = ada.receive_until_closed().expect("the stream ends");
    assert!(format!("{end:?}").contains("invalid-from"), "{end:?}");
    strangers_before_login(&hearth);
}

/// What a stream to one domain may try before anybody is logged in.
fn strangers_before_login(hearth: &Hearth) {
    let opened = || {
        let mut client = Client::connect(&at(hearth, "a.example")).expect("connects");
        client.open().expect("opens");
        client
    };
    // authzid ada@b.example, authcid ada, password of ada@a.example.
    let mut client = opened();
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    client
        .send(&format!("<auth xmlns='{sasl}' mechanism='PLAIN'>YWRhQGIuZXhhbXBsZQBhZGEAc2VjcmV0</auth>"))
        .expect("sends");
    let failure = client.receive_element().expect("a failure");
    assert_eq!(failure.children().next().map(|child| child.name.as_str()), Some("invalid-authzid"), "{failure}");
    // Registration on the domain that allows it, by a stream to the one that does not.
    for to in ["", "to='b.example'", "to='a.example'"] {
        let mut client = opened();
        let fields = "<query xmlns='jabber:iq:register'><username>eve</username><password>eve</password></query>";
        client.send(&format!("<iq type='set' id='e' {to}>{fields}</iq>")).expect("sends");
        // The stream ends, for nothing of the kind was offered, or the question is refused.
        let answered = client.receive_element();
        assert!(!answered.is_ok_and(|answer| answer.attr("type") == Some("result")), "{to}");
    }
    assert_eq!(text(&hearth.ctl(&["user", "list"], "")), "ada@a.example\nada@b.example\n");
}
