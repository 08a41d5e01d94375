//! Sessions over real sockets: what no machine in memory shows. Slow readers, many at once, TLS, clear login.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Hearth, Options, PASSWORD, eventually};
use hearth_tools::client::{Client, ClientError, Server, Tls};
use hearth_tools::scram::{Binding, Hash};
use hearth_tools::xml::{CLIENT, Element, Item, STREAM};

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

fn body(message: &Element) -> Option<String> {
    message.child(CLIENT, "body").map(Element::text)
}

/// Mechanisms a stream offers.
fn mechanisms(client: &Client) -> Vec<String> {
    let offered = client.features().and_then(|features| features.child(NS_SASL, "mechanisms"));
    offered.map(|offered| offered.children().map(Element::text).collect()).unwrap_or_default()
}

fn ping(client: &mut Client, id: &str) {
    let ping = format!("<iq type='get' id='{id}' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>");
    client.send(&ping).expect("sends");
    loop {
        let element = client.receive_element().expect("an answer");
        if element.attr("id") == Some(id) {
            assert_eq!(element.attr("type"), Some("result"), "{element}");
            return;
        }
    }
}

/// XEP-0368: both doors are the same server.
#[test]
fn both_doors_lead_to_one_server() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let mut one = hearth.login("ada", "starttls");
    let mut two = Client::login(&hearth.server_direct(), "ada", PASSWORD, Some("direct")).expect("direct TLS");
    one.send("<message to='ada@example.org/direct'><body>across</body></message>").expect("sends");
    let message = two.receive_element().expect("a message");
    assert_eq!((message.attr("from"), body(&message).as_deref()), (Some("ada@example.org/starttls"), Some("across")));
    let mut secured = Client::connect(&hearth.server_direct()).expect("connects");
    secured.open().expect("opens");
    let offered = mechanisms(&secured);
    for mechanism in [
        "SCRAM-SHA-1",
        "SCRAM-SHA-256",
        "SCRAM-SHA-512",
        "SCRAM-SHA-1-PLUS",
        "SCRAM-SHA-256-PLUS",
        "SCRAM-SHA-512-PLUS",
        "PLAIN",
    ] {
        assert!(offered.iter().any(|offer| offer == mechanism), "{mechanism} in {offered:?}");
    }
}

/// RFC 6120 §4.4: both sides close; what was sent before the end is not lost by it.
#[test]
fn a_stream_ends_properly() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    hearth.add("grace@example.org");
    let mut ada = hearth.login("ada", "desk");
    let mut grace = hearth.login("grace", "lab");
    for number in 0..50 {
        ada.send(&format!("<message to='grace@example.org/lab'><body>{number}</body></message>")).expect("sends");
    }
    ada.close().expect("the stream ends");
    for number in 0..50 {
        let message = grace.receive_element().expect("a message");
        assert_eq!(body(&message), Some(number.to_string()));
    }
    eventually("her session is gone", || {
        let list = hearth.ctl(&["sessions", "list", "ada@example.org"], "");
        list.stdout.is_empty().then_some(())
    });
}

#[test]
fn clear_login_only_where_it_is_allowed() {
    let strict = Hearth::start(&Options::default());
    let clear = |hearth: &Hearth| Server::new(hearth.starttls, "example.org", Tls::Clear);
    let mut client = Client::connect(&clear(&strict)).expect("connects");
    client.open().expect("opens");
    assert!(mechanisms(&client).is_empty());

    let open = Hearth::start(&Options { arguments: &["--allow-clear-login"], ..Options::default() });
    open.add("ada@example.org");
    let mut ada = Client::login(&clear(&open), "ada", PASSWORD, Some("clear")).expect("logs in without TLS");
    ping(&mut ada, "p");
    // TLS is still there for who wants it, and binds channels.
    open.login("ada", "starttls");
    let mut client = Client::connect(&clear(&open)).expect("connects");
    client.open().expect("opens");
    let offered = mechanisms(&client);
    assert!(!offered.is_empty() && !offered.iter().any(|name| name.ends_with("-PLUS")), "{offered:?}");
    let forged = Binding::Data { name: "tls-exporter", data: vec![0; 32] };
    let refused = client.authenticate(Hash::Sha256, "ada", PASSWORD, &forged);
    assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
}

/// A client that does not read costs itself: others talk on, its session ends at some point, and what it had not
/// read by then waits for it.
#[test]
fn a_client_that_does_not_read_hurts_nobody() {
    let hearth = Hearth::start(&Options::default());
    for user in ["ada", "grace", "eve"] {
        hearth.add(&format!("{user}@example.org"));
    }
    let mut ada = hearth.login("ada", "desk");
    let mut grace = hearth.login("grace", "lab");
    let mut eve = hearth.login("eve", "x");
    grace.send("<presence/>").expect("sends");
    grace.receive_element().expect("her presence");
    // Eight megabytes: more than sockets, edge and core hold for one session together.
    const MESSAGES: usize = 800;
    let padding = "x".repeat(10 * 1024);
    let number_of = |message: &Element| -> Option<usize> { body(message)?.split(' ').next()?.parse().ok() };
    for number in 0..MESSAGES {
        let body = format!("{number} {padding}");
        ada.send(&format!("<message type='chat' to='grace@example.org'><body>{body}</body></message>")).expect("sends");
        if number % 100 == 0 {
            ping(&mut eve, &format!("p{number}"));
        }
    }
    ping(&mut ada, "all-sent");
    ping(&mut eve, "still-served");
    // Messages in order, then perhaps the end of the stream with its reason.
    let read = |client: &mut Client, until: usize| {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&until) {
            match client.receive() {
                Ok(Item::Element(element)) if element.is(CLIENT, "message") => {
                    numbers.push(number_of(&element).expect("a number"));
                }
                Ok(Item::Element(element)) if element.is(CLIENT, "presence") => {}
                Ok(Item::Element(error)) => {
                    let condition = error.children().next().map(|c| c.name.clone());
                    assert_eq!(condition.as_deref(), Some("resource-constraint"), "{error}");
                }
                Ok(_) | Err(ClientError::Closed) => break,
                Err(error) => panic!("{error} behind {:?}", numbers.last()),
            }
        }
        assert!(numbers.is_sorted(), "{numbers:?}");
        numbers
    };
    let mut all = read(&mut grace, MESSAGES - 1);
    if all.last() != Some(&(MESSAGES - 1)) {
        let mut again = hearth.login("grace", "lab");
        again.send("<presence/>").expect("sends");
        all.extend(read(&mut again, MESSAGES - 1));
    }
    all.sort_unstable();
    all.dedup();
    let missing: Vec<usize> = (0..MESSAGES).filter(|number| !all.contains(number)).collect();
    assert!(missing.is_empty(), "lost: {missing:?}");
}

/// RFC 6120 §10.1: between two parties the order holds, whatever the machine does.
#[test]
fn many_at_once_keep_their_order() {
    let hearth =
        Hearth::start(&Options { arguments: &["--core-shards", "2", "--event-loops", "2"], ..Options::default() });
    const USERS: usize = 6;
    const MESSAGES: usize = 200;
    for user in 0..USERS {
        hearth.add(&format!("user{user}@example.org"));
    }
    let clients: Vec<Client> = (0..USERS).map(|user| hearth.login(&format!("user{user}"), "x")).collect();
    std::thread::scope(|scope| {
        for (user, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let to = (user + 1 + number % (USERS - 1)) % USERS;
                    let stanza = format!("<message to='user{to}@example.org/x' id='{number}'><body>b</body></message>");
                    client.send(&stanza).expect("sends");
                }
                let mut last = [None; USERS];
                for _ in 0..MESSAGES {
                    let message = client.receive_element().expect("a message");
                    let from = message.attr("from").unwrap_or_default();
                    let from: usize =
                        from["user".len()..].split('@').next().expect("a number").parse().expect("a number");
                    let number: usize = message.attr("id").unwrap_or_default().parse().expect("a number");
                    assert!(last[from].is_none_or(|last| last < number), "{number} from {from} behind {last:?}");
                    last[from] = Some(number);
                }
            });
        }
    });
}

/// RFC 6120 §7.7.2.2, from the side of those who watch: gone before the new one comes.
#[test]
fn a_resource_that_is_taken_over_is_unavailable_first() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let mut watcher = hearth.login("ada", "watcher");
    watcher.send("<presence/>").expect("sends");
    watcher.receive_element().expect("her own presence");
    let mut old = hearth.login("ada", "desk");
    old.send("<presence/>").expect("sends");
    let seen = watcher.receive_element().expect("presence");
    assert_eq!((seen.attr("from"), seen.attr("type")), (Some("ada@example.org/desk"), None));
    let mut new = hearth.login("ada", "desk");
    new.send("<presence/>").expect("sends");
    let seen = watcher.receive_element().expect("presence");
    assert_eq!((seen.attr("from"), seen.attr("type")), (Some("ada@example.org/desk"), Some("unavailable")));
    let seen = watcher.receive_element().expect("presence");
    assert_eq!((seen.attr("from"), seen.attr("type")), (Some("ada@example.org/desk"), None));
    let end = old.receive_until_closed().expect("the old one ends");
    let [.., Item::Element(error), Item::Close] = end.as_slice() else { panic!("{end:?}") };
    assert!(error.is(STREAM, "error"));
    assert_eq!(error.children().next().map(|c| c.name.as_str()), Some("conflict"));
}
