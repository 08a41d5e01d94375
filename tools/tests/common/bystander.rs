//! Hostile clients at the doors of a `hearth`, and somebody beside them who must not notice.

use super::Hearth;
use hearth_tools::client::{Client, Server, Tls};
use hearth_tools::xml::{Item, STREAM};

const NS_ERROR: &str = "urn:ietf:params:xml:ns:xmpp-streams";
pub(crate) const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(crate) const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      to='example.org' version='1.0'>";
pub(crate) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// Somebody who is connected all the time and must not notice anything.
pub(crate) struct Bystander(Client);

impl Bystander {
    pub(crate) fn new(hearth: &Hearth) -> Bystander {
        hearth.add("grace@example.org");
        Bystander(hearth.login("grace", "bystander"))
    }

    pub(crate) fn is_served(&mut self, after: &str) {
        let ping = "<iq type='get' id='still' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>";
        self.0.send(ping).unwrap_or_else(|e| panic!("after {after}: {e}"));
        let answer = self.0.receive_element().unwrap_or_else(|e| panic!("after {after}: {e}"));
        assert_eq!((answer.attr("id"), answer.attr("type")), (Some("still"), Some("result")), "after {after}");
    }
}

/// A client that said nothing yet, on the STARTTLS door.
pub(crate) fn fresh(hearth: &Hearth) -> Client {
    let clear = Server::new(hearth.starttls, "example.org", Tls::Clear);
    Client::connect(&clear).expect("connects")
}

/// Inside TLS, stream open, nobody authenticated.
pub(crate) fn secured(hearth: &Hearth) -> Client {
    let mut client = Client::connect(&hearth.server_direct()).expect("connects");
    client.open().expect("opens");
    client
}

/// The condition of the stream error that ends this stream; the end must be proper.
pub(crate) fn ends_with(client: &mut Client, name: &str) -> String {
    let items = client.receive_until_closed().unwrap_or_else(|e| panic!("{name}: {e}"));
    let [.., Item::Element(error), Item::Close] = items.as_slice() else {
        panic!("{name}: no stream error and end of stream: {items:?}")
    };
    assert!(error.is(STREAM, "error"), "{name}: {error}");
    let condition = error.children().next().unwrap_or_else(|| panic!("{name}: {error}"));
    assert_eq!(condition.ns, NS_ERROR, "{name}");
    condition.name.clone()
}

/// Plays each row (name, bytes, condition) at a door and collects what differs.
pub(crate) fn table(
    hearth: &Hearth,
    bystander: &mut Bystander,
    door: fn(&Hearth) -> Client,
    rows: &[(&str, &[u8], &str)],
) {
    let mut wrong = Vec::new();
    for (name, bytes, wanted) in rows {
        let mut client = door(hearth);
        // The server may close before it has read all of it.
        let _ = client.send_bytes(bytes);
        let got = ends_with(&mut client, name);
        if got != *wanted {
            wrong.push(format!("{name}: {got}, not {wanted}"));
        }
        bystander.is_served(name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
