//! Login by XEP-0388 over real sockets, by both doors, and what may come along with it.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Hearth, Options, PASSWORD, eventually, wait};
use hearth_tools::client::inline::{NS, NS_FAST, NS_SM, Token};
use hearth_tools::client::{Client, ClientError, Server, Tls};
use hearth_tools::scram::{Binding, Hash};
use hearth_tools::xml::{CLIENT, Element};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Pen</software></user-agent>";
const USE: &str = "<fast xmlns='urn:xmpp:fast:0'/>";

/// Logs ada in by her password, for a token of this mechanism.
fn token(hearth: &Hearth, password: &str, mechanism: &str) -> Token {
    let mut client = stranger(&hearth.server());
    let along = format!("{AGENT}<request-token xmlns='{NS_FAST}' mechanism='{mechanism}'/>");
    let success = client.authenticate_inline(Hash::Sha256, ("ada", password), &Binding::None, &along);
    Token::of(&success.expect("logs in")).expect("a token")
}

fn by_token(server: &Server, mechanism: &str, token: &str, along: &str) -> Result<(Client, Element), ClientError> {
    let mut client = stranger(server);
    let binding = match mechanism {
        "HT-SHA-256-EXPR" => client.tls_exporter()?,
        "HT-SHA-256-ENDP" => client.tls_server_end_point()?,
        _ => Binding::None,
    };
    let success = client.authenticate_by_token(mechanism, ("ada", token), &binding, &format!("{AGENT}{USE}{along}"))?;
    Ok((client, success))
}

fn refused(outcome: Result<(Client, Element), ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused(condition)) => condition,
        Err(other) => panic!("{other}"),
        Ok((_, success)) => panic!("let in: {success}"),
    }
}

/// Whatever it is bound to, by either door, and behind a restart.
#[test]
fn a_token_is_as_good_as_the_password() {
    let hearth = started();
    let mut tokens = Vec::new();
    for mechanism in ["HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"] {
        let Token { token, expiry } = token(&hearth, PASSWORD, mechanism);
        assert!(expiry.ends_with('Z') && expiry.contains('T'), "{expiry}");
        for server in [hearth.server(), hearth.server_direct()] {
            let (mut client, success) = by_token(&server, mechanism, &token, "").expect("logs in");
            assert_eq!(identifier(&success), "ada@example.org");
            assert_eq!(client.bind(Some("desk")).expect("binds"), "ada@example.org/desk");
        }
        tokens.push(token);
    }
    // Each was in the place of the one before; the last is good behind a restart.
    assert_eq!(refused(by_token(&hearth.server(), "HT-SHA-256-EXPR", &tokens[0], "")), "not-authorized");
    let (_, data, folder) = hearth.end(15);
    let hearth = Hearth::start_in(data, folder, &Options::default());
    by_token(&hearth.server(), "HT-SHA-256-NONE", &tokens[2], "").expect("logs in");
    // A token of one mechanism is none of another.
    assert_eq!(refused(by_token(&hearth.server(), "HT-SHA-256-EXPR", &tokens[2], "")), "not-authorized");
}

/// A client that lost its socket is back in one round trip: who it is, and where it was.
#[test]
fn a_token_and_a_session_in_one_request() {
    let hearth = started();
    let Token { token, .. } = token(&hearth, PASSWORD, "HT-SHA-256-EXPR");
    let (mut client, _) = by_token(&hearth.server(), "HT-SHA-256-EXPR", &token, "").expect("logs in");
    client.bind(Some("desk")).expect("binds");
    client.send(&format!("<enable xmlns='{NS_SM}' resume='true'/>")).expect("sends");
    let previd = client.receive_element().expect("enabled").attr("id").expect("an id").to_owned();
    drop(client);
    let resume = format!("<resume xmlns='{NS_SM}' previd='{previd}' h='0'/>");
    let (client, success) = by_token(&hearth.server(), "HT-SHA-256-EXPR", &token, &resume).expect("logs in");
    assert!(success.child(NS_SM, "resumed").is_some(), "{success}");
    assert_eq!(client.jid(), "ada@example.org/desk");
}

/// Another edge of a server, a process of its own with a door of its own.
struct SecondEdge {
    child: Child,
    server: Server,
}

impl SecondEdge {
    fn start(hearth: &Hearth) -> SecondEdge {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|door| door.local_addr()).expect("a port");
        let folder = hearth.data.join("second");
        std::fs::create_dir(&folder).expect("a folder");
        let (file, core) = (folder.join("connmgr.toml"), hearth.data.join("link.sock"));
        let configuration = format!(
            "name = \"second\"\nevent_loops = 1\ncore = \"unix:{}\"\n[[listen]]\naddress = \"{free}\"\ntls = \"starttls\"\n\
             [self_signed]\nfolder = {folder:?}\ndomains = [\"example.org\"]\n",
            core.display()
        );
        std::fs::write(&file, configuration).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
        command.arg("edge").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("an edge starts");
        let server = Server::new(free, "example.org", Tls::Starttls(folder.join("self-signed.pem")));
        let edge = SecondEdge { child, server };
        eventually("the second edge takes clients", || Client::login(&edge.server, "grace", PASSWORD, None).ok());
        let status = hearth.ctl(&["status", "--json"], "");
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("JSON");
        let edges = status["edges"].as_array().expect("names");
        assert!(edges.len() == 2 && edges.contains(&"second".into()), "{status}");
        edge
    }
}

impl Drop for SecondEdge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        wait(&mut self.child);
    }
}

/// Sessions and tokens end at every door of every edge within a second, and stay ended.
#[test]
fn threat_040_what_is_revoked_is_gone_within_a_second() {
    const HT: &str = "HT-SHA-256-NONE";
    let hearth = started();
    let second = SecondEdge::start(&hearth);
    let mut password = PASSWORD.to_owned();
    let ends: [(&[&str], &str); 4] = [
        (&["sessions", "kick", "ada@example.org", "--revoke"], ""),
        (&["user", "password", "ada@example.org", "--password-stdin"], "another one"),
        (&["user", "disable", "ada@example.org"], ""),
        (&["user", "delete", "ada@example.org", "--yes"], ""),
    ];
    for (command, input) in ends {
        let Token { token, .. } = token(&hearth, &password, HT);
        let (mut one, _) = by_token(&hearth.server(), HT, &token, "").expect("logs in");
        one.bind(Some("one")).expect("binds");
        let (mut two, _) = by_token(&hearth.server_direct(), HT, &token, "").expect("logs in");
        two.bind(Some("two")).expect("binds");
        let (mut three, _) = by_token(&second.server, HT, &token, "").expect("logs in");
        three.bind(Some("three")).expect("binds");
        // One that only asks, and has no session yet.
        let (mut four, _) = by_token(&second.server, HT, &token, "").expect("logs in");
        let began = Instant::now();
        let done = hearth.ctl(command, input);
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        for client in [&mut one, &mut two, &mut three, &mut four] {
            let said = client.receive_element().expect("the end").to_string();
            assert!(said.contains("not-authorized"), "{command:?}: {said}");
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{command:?}: {:?}", began.elapsed());
        let deleted = command.contains(&"delete");
        for server in [hearth.server(), second.server.clone()] {
            let why = refused(by_token(&server, HT, &token, ""));
            assert_eq!(why, if deleted { "not-authorized" } else { "credentials-expired" }, "{command:?}");
        }
        if !input.is_empty() {
            input.clone_into(&mut password);
        }
        if command.contains(&"disable") {
            assert!(hearth.ctl(&["user", "enable", "ada@example.org"], "").status.success());
            assert_eq!(refused(by_token(&hearth.server(), HT, &token, "")), "credentials-expired");
        }
    }
    // A plain kick is not that.
    hearth.add("ada@example.org");
    let Token { token, .. } = token(&hearth, PASSWORD, HT);
    let (mut one, _) = by_token(&hearth.server(), HT, &token, "").expect("logs in");
    one.bind(Some("one")).expect("binds");
    assert!(hearth.ctl(&["sessions", "kick", "ada@example.org"], "").status.success());
    by_token(&hearth.server(), HT, &token, "").expect("logs in");
}
