//! Bad input at every door of real processes: the right condition (RFC 6120 §4.9.3, §6.5), the stream's end where
//! it ends, and a server that goes on serving somebody else.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::bystander::{Bystander, HEADER, NS_TLS, STARTTLS, fresh, secured, table};
use common::{Hearth, Options};
use hearth_tools::client::{Client, ClientError};
use hearth_tools::scram::{Binding, Hash};
use hearth_tools::xml::{CLIENT, Item, STREAM};
use std::io::{Read, Write};
use std::net::TcpStream;

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

#[test]
fn stream_headers_that_cannot_be() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    let header = |text: &str| format!("<?xml version='1.0'?>{text}");
    let with = |from: &str, to: &str| header(&HEADER.replace(from, to)).into_bytes();
    let unknown = with("to='example.org'", "to='example.net'");
    let nobody = with("to='example.org'", "");
    let malformed = with("to='example.org'", "to='@@'");
    let content = with("'jabber:client'", "'jabber:server'");
    let streams = with("etherx.jabber.org/streams", "etherx.jabber.org/rivers");
    let prefix = with("stream:stream", "flow:stream");
    let name = header(&HEADER.replace("<stream:stream", "<stream:river")).into_bytes();
    let old = with("version='1.0'", "version='0.9'");
    let none = with(" version='1.0'", "");
    let latin = HEADER.replace('<', "<?xml version='1.0' encoding='ISO-8859-1'?><").into_bytes();
    let twice = with("version='1.0'", "version='1.0' version='1.0'");
    table(
        &hearth,
        &mut bystander,
        fresh,
        &[
            ("another domain", &unknown, "host-unknown"),
            ("no domain", &nobody, "improper-addressing"),
            ("a domain that is none", &malformed, "host-unknown"),
            ("another content namespace", &content, "invalid-namespace"),
            ("another stream namespace", &streams, "invalid-namespace"),
            ("an undeclared prefix", &prefix, "not-well-formed"),
            ("another element", &name, "bad-format"),
            ("an old version", &old, "unsupported-version"),
            ("no version", &none, "unsupported-version"),
            ("another encoding", &latin, "unsupported-encoding"),
            ("an attribute twice", &twice, "not-well-formed"),
            ("a web browser", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "not-well-formed"),
            ("TLS on the door for STARTTLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not-well-formed"),
            ("bytes that are no UTF-8", b"<stream:stream \xff\xfe='1'>", "unsupported-encoding"),
            ("a document type", b"<!DOCTYPE x><stream:stream>", "restricted-xml"),
            ("an element without end", &[b'<'; 20_000], "not-well-formed"),
            ("a name without end", &[&b"<"[..], &[b'a'; 20_000]].concat(), "policy-violation"),
        ],
    );
}

#[test]
fn threat_012_013_nothing_but_starttls_before_tls() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    let behind = |text: &str| format!("{HEADER}{text}").into_bytes();
    let message = behind("<message to='grace@example.org'><body>x</body></message>");
    let comment = behind("<!-- hello -->");
    let instruction = behind("<?php echo 1 ?>");
    let entity = behind("<message>&nbsp;</message>");
    let large = behind(&format!("<message><body>{}</body></message>", "x".repeat(9 * 1024)));
    let deep = behind(&"<a>".repeat(100));
    let text = behind("hello");
    table(
        &hearth,
        &mut bystander,
        fresh,
        &[
            ("a message", &message, "not-authorized"),
            ("a comment", &comment, "restricted-xml"),
            ("a processing instruction", &instruction, "restricted-xml"),
            ("an entity", &entity, "restricted-xml"),
            ("more than 8 KiB", &large, "policy-violation"),
            ("a hundred levels", &deep, "policy-violation"),
            ("text between stanzas", &text, "bad-format"),
        ],
    );
    // RFC 6120 §5.4.2.2: what comes behind <starttls/> in the clear must not count as coming inside TLS.
    for pipelined in ["<message to='grace@example.org'/>", "\x16\x03\x01"] {
        let mut client = fresh(&hearth);
        client.send(&format!("{HEADER}{STARTTLS}{pipelined}")).expect("sends");
        let items = client.receive_until_closed().expect("is told and closed");
        let told = items.iter().any(|item| matches!(item, Item::Element(e) if e.is(NS_TLS, "failure")));
        let taken = items.iter().any(|item| matches!(item, Item::Element(e) if e.is(NS_TLS, "proceed")));
        assert!(told && !taken, "{items:?}");
        bystander.is_served("something behind starttls");
    }
    // RFC 6120 §6.5.5: in the clear no mechanism is offered, so none is accepted.
    let mut client = fresh(&hearth);
    let features = client.open().and(Ok(client.features().cloned())).expect("opens").expect("features");
    assert!(features.child(NS_TLS, "starttls").is_some(), "{features}");
    assert!(features.child(NS_SASL, "mechanisms").is_none(), "{features}");
    client.send(&format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>AGdyYWNlAHNlY3JldA==</auth>")).expect("sends");
    let told = client.receive_element().expect("is told");
    assert!(told.is(NS_SASL, "failure"), "{told}");
    assert_eq!(told.children().next().map(|c| c.name.as_str()), Some("encryption-required"));
    bystander.is_served("PLAIN in the clear");
}

/// Some clients end each element with a line break (RFC 6120 §5.3.3 forbids it behind `<starttls/>`, §4.4 allows it
/// elsewhere); it belongs to the stream that ends there, not to the one that follows.
#[test]
fn a_line_break_behind_what_restarts_the_stream() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let mut client = Client::connect(&hearth.server()).expect("connects");
    client.open().expect("opens");
    client.send(&format!("{STARTTLS}\n")).expect("sends");
    let answer = client.receive_element().expect("is told");
    assert!(answer.is(NS_TLS, "proceed"), "{answer}");
    client.handshake().expect("a handshake");
    client.open().expect("opens");
    // "\0ada\0secret"
    client.send(&format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>AGFkYQBzZWNyZXQ=</auth>\n")).expect("sends");
    let answer = client.receive_element().expect("is told");
    assert!(answer.is(NS_SASL, "success"), "{answer}");
    client.open().expect("a declaration behind the line break");
    client.bind(None).expect("binds");
}

#[test]
fn sasl_that_cannot_be() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    let auth = |mechanism: &str, text: &str| format!("<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{text}</auth>");
    // §6.5: the stream lives, and the next attempt may be right.
    for (name, sent, wanted) in [
        ("a mechanism nobody offered", auth("CRAM-MD5", ""), "invalid-mechanism"),
        ("no mechanism", format!("<auth xmlns='{NS_SASL}'/>"), "invalid-mechanism"),
        (
            "a mechanism without its channel binding",
            auth("SCRAM-SHA-256-PLUS", "biwsbj1hLHI9Yg=="),
            "malformed-request",
        ),
        ("no base64", auth("SCRAM-SHA-1", "***"), "incorrect-encoding"),
        ("no SCRAM", auth("SCRAM-SHA-1", "aGVsbG8="), "malformed-request"),
        ("PLAIN without its parts", auth("PLAIN", "aGVsbG8="), "malformed-request"),
        ("PLAIN with a wrong password", auth("PLAIN", "AGdyYWNlAHdyb25n"), "not-authorized"),
        ("PLAIN of a stranger", auth("PLAIN", "AG5vYm9keQBzZWNyZXQ="), "not-authorized"),
        // authzid ada, authcid grace (threats: an authzid other than one's own).
        ("PLAIN for somebody else", auth("PLAIN", "YWRhQGV4YW1wbGUub3JnAGdyYWNlAHNlY3JldA=="), "invalid-authzid"),
    ] {
        let mut client = secured(&hearth);
        client.send(&sent).expect("sends");
        let failure = client.receive_element().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(failure.is(NS_SASL, "failure"), "{name}: {failure}");
        let condition = failure.children().next().expect("a condition");
        assert_eq!(condition.name, wanted, "{name}");
        client.authenticate(Hash::Sha1, "grace", common::PASSWORD, &Binding::None).unwrap_or_else(|e| {
            panic!("the right attempt after {name}: {e}");
        });
        bystander.is_served(name);
    }
    // §6.4.4: an aborted exchange.
    let mut client = secured(&hearth);
    client.send(&auth("SCRAM-SHA-256", "biwsbj1ncmFjZSxyPWFiY2RlZg==")).expect("sends");
    assert!(client.receive_element().expect("a challenge").is(NS_SASL, "challenge"));
    client.send(&format!("<abort xmlns='{NS_SASL}'/>")).expect("sends");
    let aborted = client.receive_element().expect("a failure");
    assert_eq!(aborted.children().next().map(|c| c.name.as_str()), Some("aborted"));
    client.authenticate(Hash::Sha256, "grace", common::PASSWORD, &Binding::None).expect("the right attempt");
    // Nobody guesses for ever on one stream.
    let mut client = secured(&hearth);
    let mut tries = 0;
    let end = loop {
        match client.authenticate(Hash::Sha256, "grace", "wrong", &Binding::None) {
            Err(ClientError::Refused(condition)) if condition == "not-authorized" => tries += 1,
            Err(other) => break other,
            Ok(()) => panic!("a wrong password was right"),
        }
        assert!(tries < 20, "still may guess");
    };
    assert!(tries >= 2, "ended after {tries} tries: {end}");
    bystander.is_served("guessing");
}

#[test]
fn threat_033_channel_binding_binds() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
        let mut client = secured(&hearth);
        let binding = client.tls_exporter().expect("TLS 1.3 has it");
        client.authenticate(hash, "grace", common::PASSWORD, &binding).expect("bound to this connection");
        let mut client = secured(&hearth);
        let binding = client.tls_server_end_point().expect("the certificate's hash");
        client.authenticate(hash, "grace", common::PASSWORD, &binding).expect("bound to the certificate");
        // Of another certificate: somebody who shows his own.
        let Binding::Data { name, mut data } = binding else { unreachable!() };
        data.iter_mut().for_each(|byte| *byte ^= 1);
        let mut client = secured(&hearth);
        let refused = client.authenticate(hash, "grace", common::PASSWORD, &Binding::Data { name, data });
        assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
        // Data of another connection is somebody in between.
        let foreign = secured(&hearth).tls_exporter().expect("TLS 1.3 has it");
        let mut client = secured(&hearth);
        let refused = client.authenticate(hash, "grace", common::PASSWORD, &foreign);
        assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
        // RFC 5802 §6: a client that has channel binding, and was made to believe that we have not.
        let mut client = secured(&hearth);
        let refused = client.authenticate(hash, "grace", common::PASSWORD, &Binding::NotOffered);
        assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
    }
    bystander.is_served("foreign channel bindings");
}

#[test]
fn nothing_but_sasl_before_login() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    let bind = b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    let large = format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{}</auth>", "A".repeat(9 * 1024));
    table(
        &hearth,
        &mut bystander,
        secured,
        &[
            ("a message", b"<message to='grace@example.org/bystander'><body>x</body></message>", "not-authorized"),
            ("presence", b"<presence/>", "not-authorized"),
            ("resource binding", bind, "not-authorized"),
            ("more than 8 KiB", large.as_bytes(), "policy-violation"),
            ("a stream in the stream", HEADER.as_bytes(), "bad-format"),
            ("a closing tag of nothing", b"</message>", "not-well-formed"),
        ],
    );
}

#[test]
fn streams_that_break_after_login() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    hearth.add("ada@example.org");
    let large = format!("<message><body>{}</body></message>", "x".repeat(300 * 1024));
    let wide = format!("<message>{}</message>", "<a/>".repeat(5000));
    let deep = format!("<message>{}{}</message>", "<a>".repeat(70), "</a>".repeat(70));
    table(
        &hearth,
        &mut bystander,
        |hearth| hearth.login("ada", "attacker"),
        &[
            ("tags that do not match", b"<message><body>x</message></body>", "not-well-formed"),
            ("an attribute without quotes", b"<message to=x/>", "not-well-formed"),
            ("an attribute twice", b"<message to='a' to='b'/>", "not-well-formed"),
            ("an undeclared prefix", b"<message><x:y/></message>", "not-well-formed"),
            ("half a character", b"<message><body>\xc3\x28</body></message>", "unsupported-encoding"),
            ("a character XML has not", b"<message><body>&#0;</body></message>", "not-well-formed"),
            ("an entity of one's own", b"<message><body>&lol;</body></message>", "restricted-xml"),
            ("a document type", b"<!DOCTYPE lolz [<!ENTITY lol 'lol'>]>", "restricted-xml"),
            ("a comment", b"<message><!-- x --></message>", "restricted-xml"),
            ("a processing instruction", b"<message><?x y?></message>", "restricted-xml"),
            ("a stanza nobody knows", b"<telegram/>", "unsupported-stanza-type"),
            ("a stanza of another namespace", b"<message xmlns='jabber:server'/>", "invalid-namespace"),
            ("text between stanzas", b"hello", "bad-format"),
            ("somebody else's address", b"<message from='grace@example.org'/>", "invalid-from"),
            ("more than 256 KiB", large.as_bytes(), "policy-violation"),
            ("five thousand elements", wide.as_bytes(), "policy-violation"),
            ("seventy levels", deep.as_bytes(), "policy-violation"),
        ],
    );
}

#[test]
fn noise_on_the_door_for_tls() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    for (name, bytes) in [
        ("XML", HEADER.as_bytes()),
        ("zeroes", &[0; 4096]),
        ("a record that is too long", b"\x16\x03\x01\xff\xff"),
        ("half a greeting", b"\x16\x03\x01\x02\x00\x01\x00"),
    ] {
        let mut socket = TcpStream::connect(hearth.direct).expect("connects");
        socket.set_read_timeout(Some(common::DEADLINE)).expect("a deadline");
        let _ = socket.write_all(bytes);
        if name == "half a greeting" {
            // It may say the rest later; that it is there hurts nobody.
            bystander.is_served(name);
            continue;
        }
        // At most an alert, then the end; a reset will do.
        let mut answer = Vec::new();
        match socket.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.len() < 64, "{name}: {answer:?}"),
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{name}: {e}"),
        }
        bystander.is_served(name);
    }
}

/// RFC 6120 §4.7.5: a client of a version to come is answered with ours.
#[test]
fn a_version_to_come() {
    let hearth = Hearth::start(&Options::default());
    let mut client = fresh(&hearth);
    client.send(&HEADER.replace("version='1.0'", "version='2.7'")).expect("sends");
    let Ok(Item::Open(header)) = client.receive() else { panic!("no stream header") };
    assert_eq!(header.attr("version"), Some("1.0"));
    assert!(client.receive_element().expect("features").is(STREAM, "features"));
}

/// RFC 6120 §4.6.1: white space keeps a connection alive and means nothing; any cut of the bytes reads the same.
#[test]
fn white_space_and_single_bytes() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let mut ada = hearth.login("ada", "slow");
    ada.send(" \n\t ").expect("sends");
    for byte in b"<message to='ada@example.org/slow' id='cut'><body>a &amp; \xc3\xa9</body></message>" {
        ada.send_bytes(&[*byte]).expect("sends");
    }
    let message = ada.receive_element().expect("it comes");
    assert_eq!(message.child(CLIENT, "body").map(|body| body.text()).as_deref(), Some("a & é"));
    let late = ada.close().expect("the stream ends properly");
    assert!(late.is_empty(), "{late:?}");
}

/// Threats, row 39: a resource that the server makes tells nothing of the next one.
#[test]
fn threat_039_resources_of_the_servers_making_cannot_be_guessed() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let mut client = Client::login(&hearth.server_direct(), "ada", common::PASSWORD, None).expect("logs in");
        let resource = client.jid().rsplit_once('/').expect("a resource").1.to_owned();
        assert!(resource.len() >= 32 && resource.bytes().all(|b| b.is_ascii_hexdigit()), "128 bits: {resource}");
        // Two that share their first half would not be random.
        assert!(seen.insert(resource[..16].to_owned()), "{resource} came before");
        client.send("</stream:stream>").expect("sends");
    }
}

/// Threats, row 42: a server that nobody has set up lets nobody in, and shares no secret with another.
#[test]
fn threat_042_no_account_and_no_secret_by_default() {
    let (one, other) = (Hearth::start(&Options::default()), Hearth::start(&Options::default()));
    for user in ["admin", "administrator", "root", "hearth", "focus", "jvb", "test", "user", "operator"] {
        for password in ["", user, "admin", "secret", "password", "changeme", "passw0rd"] {
            let done = Client::login(&one.server_direct(), user, password, None);
            assert!(done.is_err(), "{user} {password}");
        }
    }
    let mut client = secured(&one);
    assert!(client.features().expect("features").child("http://jabber.org/features/iq-register", "register").is_none());
    client.send("<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>").expect("sends");
    assert_eq!(common::bystander::ends_with(&mut client, "registration"), "not-authorized");
    let keys = |hearth: &Hearth| std::fs::read(hearth.data.join("tls/self-signed.key")).expect("a key");
    assert!(!keys(&one).is_empty() && keys(&one) != keys(&other));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&one.data), 0o700);
    assert_eq!(mode(&one.data.join("tls/self-signed.key")), 0o600);
}
