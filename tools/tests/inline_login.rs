//! Login by XEP-0388 over real sockets, by both doors, and what may come along with it.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Hearth, Options, PASSWORD};
use hearth_tools::client::inline::{NS, NS_FAST, NS_SM};
use hearth_tools::client::{Client, ClientError, Server};
use hearth_tools::scram::{Binding, Hash};
use hearth_tools::xml::{CLIENT, Element};

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

fn started() -> Hearth {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    hearth.add("grace@example.org");
    hearth
}

/// A stream inside TLS, of a stranger.
fn stranger(server: &Server) -> Client {
    let mut client = Client::connect(server).expect("connects");
    client.open().expect("opens");
    if let hearth_tools::client::Tls::Starttls(_) = server.tls {
        client.starttls().expect("STARTTLS");
    }
    client
}

fn names(client: &Client, ns: &str, list: &str) -> Vec<String> {
    let list = client.features().and_then(|features| features.child(ns, list)).expect("offered");
    list.children().filter(|child| child.is(ns, "mechanism")).map(Element::text).collect()
}

fn ada(client: &mut Client, along: &str) -> Result<Element, ClientError> {
    client.authenticate_inline(Hash::Sha256, ("ada", PASSWORD), &Binding::None, along)
}

fn identifier(success: &Element) -> String {
    success.child(NS, "authorization-identifier").map(Element::text).expect("an identifier")
}

#[test]
fn by_both_doors_and_every_binding() {
    let hearth = started();
    for server in [hearth.server(), hearth.server_direct()] {
        let client = stranger(&server);
        let offered = names(&client, NS, "authentication");
        assert_eq!(offered, names(&client, NS_SASL, "mechanisms"), "the same by either profile");
        assert!(offered.iter().all(|name| !name.starts_with("HT-")), "{offered:?}");
        let inline = client.features().and_then(|features| features.child(NS, "authentication"));
        let inline = inline.and_then(|offer| offer.child(NS, "inline")).expect("inline");
        assert!(inline.child(NS_SM, "sm").is_some());
        assert!(inline.children().all(|child| child.is(NS_SM, "sm") || child.is(NS_FAST, "fast")), "{inline}");
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
            let unbound: fn(&Client) -> Result<Binding, ClientError> = |_| Ok(Binding::None);
            for binding in [unbound, Client::tls_exporter, Client::tls_server_end_point] {
                let mut client = stranger(&server);
                let binding = binding(&client).expect("data");
                let success = client.authenticate_inline(hash, ("ada", PASSWORD), &binding, "").expect("logs in");
                assert_eq!(identifier(&success), "ada@example.org");
                // On the same stream, at once.
                let jid = client.bind(Some("desk")).expect("binds");
                assert_eq!(jid, "ada@example.org/desk");
                client.close().expect("closes");
            }
        }
    }
}

#[test]
fn a_wrong_password_leaves_the_stream_as_it_was() {
    let hearth = started();
    let mut client = stranger(&hearth.server());
    for (user, password) in [("ada", "wrong"), ("nobody", PASSWORD)] {
        let refused = client.authenticate_inline(Hash::Sha256, (user, password), &Binding::None, "");
        assert!(matches!(&refused, Err(ClientError::Refused(why)) if why == "not-authorized"), "{refused:?}");
    }
    ada(&mut client, "").expect("logs in");
}

/// One round trip for both: the old socket is gone, what came meanwhile follows at once.
#[test]
fn a_session_goes_on_within_the_login() {
    let hearth = started();
    let mut grace = hearth.login("grace", "lab");
    let mut client = stranger(&hearth.server());
    ada(&mut client, "").expect("logs in");
    client.bind(Some("desk")).expect("binds");
    client.send(&format!("<enable xmlns='{NS_SM}' resume='true'/>")).expect("sends");
    let previd = client.receive_element().expect("enabled").attr("id").expect("an id").to_owned();
    client.send("<presence/>").expect("sends");
    client.receive_element().expect("her presence");
    drop(client);
    grace.send("<message to='ada@example.org/desk' type='chat'><body>meanwhile</body></message>").expect("sends");

    let mut client = stranger(&hearth.server_direct());
    let success = ada(&mut client, &format!("<resume xmlns='{NS_SM}' previd='{previd}' h='1'/>")).expect("logs in");
    let resumed = success.child(NS_SM, "resumed").expect("resumed");
    assert_eq!((resumed.attr("previd"), resumed.attr("h")), (Some(&*previd), Some("1")));
    assert_eq!(identifier(&success), "ada@example.org/desk");
    let message = client.receive_element().expect("the message");
    assert_eq!(message.child(CLIENT, "body").map(Element::text).as_deref(), Some("meanwhile"));
    client.close().expect("closes");

    // It has ended: who asks for it hears so, and binds.
    let mut client = stranger(&hearth.server());
    let success = ada(&mut client, &format!("<resume xmlns='{NS_SM}' previd='{previd}' h='2'/>")).expect("logs in");
    let failed = success.child(NS_SM, "failed").expect("failed");
    assert!(failed.child(NS_STANZAS, "item-not-found").is_some() && failed.attr("h") == Some("1"), "{failed}");
    client.bind(Some("desk")).expect("binds");
}
