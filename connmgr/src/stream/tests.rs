//! The machine by transcripts: what a client sends as XML, what the core answers as inputs, what comes out as text.

mod hostile;
mod managed;
mod sasl2;

use super::*;
use crate::directory::Domain;
use crate::tls::{EndPoint, Version};
use crate::xml::{Framer, Limits, Piece, Scope, Scratch, XmlError, parse_close, parse_element, parse_header};
use hearth_wire::ids::{Generation, StreamId};
use hearth_wire::to_edge;
use hearth_wire::tree::{self, Builder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const HEADER: &str = "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
const BARE_TLS: Protection = Protection { version: Version::Tls12, exporter: None, end_point: None };
const BOUND_TLS: Protection = Protection { version: Version::Tls13, exporter: Some([7; 32]), end_point: None };

/// A stream with a framer before it and all output as one text.
struct Rig {
    stream: Stream,
    framer: Framer,
    scope: Scope,
    domains: Vec<Domain>,
    core_there: bool,
    text: String,
    rest: Vec<Output>,
    /// Frames of a bound session.
    link: Vec<u8>,
}

fn domain(name: &str) -> Domain {
    let offer = |name: &str| {
        let mut tree = Builder::new();
        tree.leaf(Some("urn:x"), "offer", name);
        tree.open(Some("http://jabber.org/features/iq-register"), "register").close();
        tree.finish()
    };
    let frame = to_edge::Domain {
        domain: name,
        features_clear: &offer("clear"),
        features_tls: &offer("tls"),
        features_tls_end_point: &offer("end-point"),
        features_tls_exporter: &offer("exporter"),
        features_tls_bound: &offer("both"),
        features_authenticated: &{
            let mut tree = Builder::new();
            tree.raw(&offer("authenticated")).open(Some("urn:xmpp:sm:3"), "sm").close();
            tree.finish()
        },
    };
    Domain::new(&frame, sasl2::announced().as_ref(), None).unwrap()
}

impl Rig {
    fn new(clear_login: bool) -> Rig {
        Rig {
            stream: Stream::new(Facts { clear_login, id: [9; 16] }),
            framer: Framer::new(),
            scope: Scope::default(),
            domains: vec![domain("a.example"), domain("b.example")],
            core_there: true,
            text: String::new(),
            rest: Vec::new(),
            link: Vec::new(),
        }
    }

    /// Inside TLS, with the features of a stranger.
    fn secured() -> Rig {
        let mut rig = Rig::new(false);
        rig.input(Input::TlsReady(BOUND_TLS));
        rig.send(HEADER);
        rig.forget()
    }

    /// Authenticated as `user@a.example`, with the features that come then.
    fn authenticated() -> Rig {
        let mut rig = Rig::secured();
        rig.send(&auth("PLAIN", "AHVzZXIAeA=="));
        rig.input(Input::Success { account: "user@a.example", data: None });
        rig.send(HEADER);
        rig.forget()
    }

    fn bound() -> Rig {
        let mut rig = Rig::authenticated();
        rig.send(BIND);
        rig.input(Input::Bound(&bound_frame()));
        rig.forget()
    }

    fn forget(mut self) -> Rig {
        self.text.clear();
        self.rest.clear();
        self
    }

    fn input(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.stream.handle(input, Now::default(), &mut out);
        for output in out {
            match output {
                Output::Write(bytes) => self.text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Output::NewStream => {
                    self.framer.restart();
                    self.rest.push(Output::NewStream);
                }
                other => self.rest.push(other),
            }
        }
    }

    fn hosted(&self, to: Option<&str>) -> usize {
        self.domains.iter().position(|domain| Some(&*domain.name) == to).unwrap_or(usize::MAX)
    }

    /// Bytes of the client, as long as they are read.
    fn send(&mut self, bytes: &str) {
        let mut bytes = bytes.as_bytes();
        while self.stream.reads() && !bytes.is_empty() {
            let (piece, len) = match self.framer.next(bytes, &Limits::PRE_AUTH) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(error) => return self.refuse(error),
            };
            let (head, tail) = bytes.split_at(len);
            bytes = tail;
            match piece {
                Piece::Blank | Piece::Declaration => {}
                Piece::Header => match parse_header(head) {
                    Ok((header, scope)) => {
                        self.scope = scope;
                        let at = self.hosted(header.to.as_deref());
                        let domains = std::mem::take(&mut self.domains);
                        let domain = match domains.get(at) {
                            _ if !self.core_there => Hosted::Waiting,
                            Some(domain) => Hosted::Known(domain),
                            None => Hosted::Unknown,
                        };
                        self.input(Input::Header { header: &header, domain, id: [5; 16] });
                        self.domains = domains;
                    }
                    Err(error) => self.refuse(error),
                },
                Piece::Close => match parse_close(head, &self.scope) {
                    Ok(()) => self.input(Input::Close),
                    Err(error) => self.refuse(error),
                },
                Piece::Element => {
                    let mut encoded = Vec::new();
                    let mut scratch = Scratch::default();
                    match parse_element(head, &self.scope, &Limits::PRE_AUTH, &mut scratch, &mut encoded) {
                        Ok(()) => {
                            let Some(tree::Node::Element(element)) = tree::nodes(&encoded, "jabber:client").next()
                            else {
                                panic!("an element");
                            };
                            match &mut self.stream {
                                Stream::Bound(session) if !session.is_own(&element) => {
                                    let taken =
                                        session.on_element(1, &element, u64::MAX, &mut Vec::new(), &mut self.link);
                                    assert_eq!(taken, Ok(crate::session::Taken::Sent));
                                }
                                _ => self.input(Input::Element { element, more: !bytes.is_empty() }),
                            }
                        }
                        Err(error) => self.refuse(error),
                    }
                }
            }
        }
    }

    fn refuse(&mut self, error: XmlError) {
        self.input(Input::Refused { condition: error.condition(), text: error.text() });
    }

    #[track_caller]
    fn says(&mut self, wanted: &str) {
        assert!(self.text.contains(wanted), "wanted {wanted}\ngot {}", self.text);
    }

    /// The stream ended with this error, behind a header of ours, and we wait for the client's end.
    #[track_caller]
    fn ends_with(&mut self, condition: &str) {
        let error = format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>");
        self.says(&error);
        assert!(self.text.ends_with("</stream:error></stream:stream>"), "{}", self.text);
        assert_eq!(self.rest.last(), Some(&Output::End { clean: false, linger: true }));
        assert!(matches!(self.stream, Stream::Ended(_)));
    }

    #[track_caller]
    fn asks(&mut self) -> Question {
        match self.rest.pop() {
            Some(Output::Ask(question)) => question,
            other => panic!("no question but {other:?}; said {}", self.text),
        }
    }
}

fn auth(mechanism: &str, payload: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{payload}</auth>")
}

fn response(payload: &str) -> String {
    format!("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{payload}</response>")
}

fn bound_frame() -> Bound<'static> {
    Bound {
        counter: 1,
        stream: StreamId([1; 16]),
        generation: Generation { epoch: 1, counter: 1 },
        jid: "user@a.example/r",
        credit: 1000,
    }
}

#[test]
fn headers_are_answered_or_refused_with_their_condition() {
    let ns = "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";
    let rows = [
        (format!("<stream:stream to='c.example' version='1.0' {ns}>"), "host-unknown"),
        (format!("<stream:stream version='1.0' {ns}>"), "improper-addressing"),
        (format!("<stream:stream to='a.example' {ns}>"), "unsupported-version"),
        (format!("<stream:stream to='a.example' version='0.9' {ns}>"), "unsupported-version"),
        (format!("<stream:stream to='a.example' version='x' {ns}>"), "unsupported-version"),
        (format!("<stream:stream to='a.example' version='1.0' from='a@@b' {ns}>"), "invalid-from"),
        (
            "<stream:stream to='a.example' version='1.0' xmlns='jabber:client' xmlns:stream='urn:other'>".to_owned(),
            "invalid-namespace",
        ),
        (
            "<stream:stream to='a.example' version='1.0' xmlns='jabber:server' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
                .to_owned(),
            "invalid-namespace",
        ),
        ("<!DOCTYPE a>".to_owned(), "restricted-xml"),
        ("<a>".to_owned(), "bad-format"),
        ("<stream:stream <".to_owned(), "not-well-formed"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "not-well-formed"),
    ];
    for (header, condition) in rows {
        let mut rig = Rig::new(false);
        rig.send(&header);
        // RFC 6120 §4.9.1.2: our header comes first.
        assert!(rig.text.starts_with("<?xml version='1.0'?><stream:stream "), "{header}\n{}", rig.text);
        let text = rig.text.clone();
        assert!(text.contains(&format!("<{condition} xmlns=")), "{header}\nwanted {condition}\n{text}");
        assert!(text.ends_with("</stream:error></stream:stream>"), "{text}");
    }
}

#[test]
fn a_good_header_is_answered_by_rule() {
    let mut rig = Rig::new(false);
    rig.send(
        "<?xml version='1.0'?><stream:stream to='a.example' from='me@a.example/x' version='1.7' xml:lang='de' \
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    for part in ["from='a.example'", "to='me@a.example'", "version='1.0'", "id='0505", "xml:lang='en'"] {
        rig.says(part);
    }
    assert!(!rig.text.contains("/x'"), "{}", rig.text);
    let mut again = Rig::new(false);
    again.send(HEADER);
    assert!(!again.text.contains(" to='"), "{}", again.text);
}

#[test]
fn features_follow_the_transport() {
    let (_, pem) = include_str!("../tls/end_point.pem").split_once("\necdsa-sha256 ").unwrap();
    let end_point = EndPoint::of(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    let rows: [(bool, Option<Protection>, &str, &str); 6] = [
        (false, None, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>", "offer"),
        (true, None, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><offer xmlns='urn:x'>clear<", "required"),
        (false, Some(BOUND_TLS), "<offer xmlns='urn:x'>exporter<", "starttls"),
        (false, Some(Protection { end_point, ..BOUND_TLS }), "<offer xmlns='urn:x'>both<", "starttls"),
        (false, Some(Protection { end_point, ..BARE_TLS }), "<offer xmlns='urn:x'>end-point<", "starttls"),
        (false, Some(BARE_TLS), "<offer xmlns='urn:x'>tls<", "exporter"),
    ];
    for (clear, protection, there, absent) in rows {
        let mut rig = Rig::new(clear);
        if let Some(protection) = protection {
            rig.input(Input::TlsReady(protection));
        }
        rig.send(HEADER);
        rig.says(there);
        assert!(!rig.text.contains(absent), "{}", rig.text);
        rig.says("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>8192</max-bytes></limits></stream:features>");
    }
}

// Before TLS nothing but starttls; compression nowhere.
#[test]
fn threat_011_012_in_the_clear_nothing_but_starttls_is_accepted() {
    let rows = [
        (auth("PLAIN", "AA=="), "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/>"),
        (response("AA=="), "<malformed-request/>"),
        ("<message/>".to_owned(), "<not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"),
        ("<presence/>".to_owned(), "<not-authorized "),
        (BIND.to_owned(), "<not-authorized "),
        (
            "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>".to_owned(),
            "<not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>",
        ),
        (
            "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>".to_owned(),
            "<not-authorized ",
        ),
        ("<enable xmlns='urn:xmpp:sm:3'/>".to_owned(), "<not-authorized "),
    ];
    for (bytes, wanted) in rows {
        let mut rig = Rig::new(false);
        rig.send(HEADER);
        rig.send(&bytes);
        rig.says(wanted);
        assert!(!rig.rest.iter().any(|output| matches!(output, Output::Ask(_))), "{bytes}: {:?}", rig.rest);
    }
    let mut rig = Rig::authenticated();
    rig.send("<compress xmlns='http://jabber.org/protocol/compress'/>");
    rig.ends_with("unsupported-stanza-type");
}

#[test]
fn threat_013_starttls_has_nothing_behind_it_and_comes_once() {
    let mut rig = Rig::new(false);
    rig.send(HEADER);
    rig.send(STARTTLS);
    rig.says("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(rig.rest, [Output::StartTls]);
    rig.input(Input::TlsReady(BOUND_TLS));
    rig.framer.restart();
    rig.send(HEADER);
    rig.text.clear();
    rig.send(STARTTLS);
    rig.says("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");

    let mut rig = Rig::new(false);
    rig.send(HEADER);
    rig.send(&format!("{STARTTLS}<a/>"));
    rig.says("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>");
    assert!(matches!(rig.stream, Stream::Ended(_)) && !rig.text.contains("proceed"));
}

/// RFC 6120 §4.9.3.19, and only where nobody has logged in unless it is asked for.
#[test]
fn a_stopping_edge_may_name_another() {
    let named = |after_login| Elsewhere { host: Some("edge2.example:5222"), after_login };
    let other = "<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>edge2.example:5222</see-other-host>";
    let opened = || {
        let mut rig = Rig::new(false);
        rig.send(HEADER);
        rig.forget()
    };
    for (state, logged_in) in [(opened as fn() -> Rig, false), (Rig::authenticated, true), (Rig::bound, true)] {
        for after_login in [false, true] {
            let mut rig = state();
            rig.input(Input::Shutdown(named(after_login)));
            let named = rig.text.contains(other);
            assert_eq!(named, after_login || !logged_in, "{}", rig.text);
            assert_eq!(rig.text.contains("system-shutdown"), !named);
            assert!(rig.text.ends_with("</stream:stream>"), "{}", rig.text);
        }
    }
}

#[test]
fn a_failing_handshake_says_nothing_in_xml() {
    for input in [Input::Eof, Input::Deadline(Deadline::Login), Input::Shutdown(Elsewhere::default())] {
        let mut rig = Rig::new(false);
        rig.send(HEADER);
        rig.send(STARTTLS);
        rig.text.clear();
        rig.input(input);
        assert_eq!((rig.text.as_str(), rig.rest.last()), ("", Some(&Output::End { clean: false, linger: false })));
    }
}

#[test]
fn sasl_is_relayed_turn_by_turn() {
    let mut rig = Rig::secured();
    rig.send(&auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA=="));
    let Question::Authenticate { at, auth } = rig.asks() else { panic!() };
    assert_eq!(at, At::Entity("user@a.example".to_owned()));
    assert_eq!((auth.mechanism.as_str(), auth.protection), ("SCRAM-SHA-1", Some(BOUND_TLS)));
    assert_eq!(auth.initial.as_deref(), Some(&b"n,,n=user,r=x"[..]));
    assert!(!rig.stream.reads(), "one question at a time");
    rig.input(Input::Challenge(b"r=xy"));
    rig.says("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14eQ==</challenge>");
    rig.send(&response("Yz1iaXdz"));
    assert_eq!(rig.asks(), Question::Respond(b"c=biws".to_vec()));
    rig.input(Input::Success { account: "user@a.example", data: Some(b"v=1") });
    rig.says("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj0x</success>");
    assert_eq!(rig.rest, [Output::Authenticated, Output::NewStream]);
    rig.text.clear();
    rig.send(HEADER);
    rig.says("<offer xmlns='urn:x'>authenticated<");
}

#[test]
fn sasl_payloads_are_base64_or_refused() {
    let rows = [
        (auth("PLAIN", "!"), "incorrect-encoding"),
        (auth("PLAIN", "AA"), "incorrect-encoding"),
        (auth("PLAIN", " AA=="), "incorrect-encoding"),
        (auth("PLAIN", "A==="), "incorrect-encoding"),
        (auth("PLAIN", "<a/>"), "malformed-request"),
        (auth("", "AA=="), "invalid-mechanism"),
        (auth("plain", "AA=="), "invalid-mechanism"),
        (auth("A-NAME-THAT-IS-TOO-LONG", "AA=="), "invalid-mechanism"),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(), "invalid-mechanism"),
        (response("AA=="), "malformed-request"),
        ("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(), "aborted"),
    ];
    for (bytes, condition) in rows {
        let mut rig = Rig::secured();
        rig.send(&bytes);
        rig.says(&format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/></failure>"));
        assert!(rig.rest.is_empty() && rig.stream.reads(), "{bytes}");
    }
    for (payload, initial) in [("", None), ("=", Some(vec![])), ("AA==", Some(vec![0]))] {
        let mut rig = Rig::secured();
        rig.send(&auth("X-ANY", payload));
        let Question::Authenticate { at, auth } = rig.asks() else { panic!() };
        assert_eq!((at, auth.initial), (At::Entity("a.example".to_owned()), initial));
    }
}

#[test]
fn aborts_failures_and_late_answers() {
    let mut rig = Rig::secured();
    rig.send(&auth("X-ANY", ""));
    rig.input(Input::Challenge(b""));
    rig.rest.clear();
    rig.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    rig.says("<aborted/>");
    assert_eq!(rig.asks(), Question::Abort);
    rig.text.clear();
    // The core may answer the abort, or not; the client was told.
    rig.input(Input::Failure { condition: SaslCondition::Aborted, last: false });
    rig.input(Input::Challenge(b"late"));
    rig.input(Input::Success { account: "user@a.example", data: None });
    rig.input(Input::Bound(&bound_frame()));
    rig.input(Input::BindRefused(StanzaCondition::Conflict));
    rig.input(Input::Reply(b"<iq/>"));
    assert_eq!(rig.text, "");
    // Another attempt in the middle of one ends that one.
    rig.send(&auth("X-ANY", ""));
    rig.input(Input::Challenge(b""));
    rig.rest.clear();
    rig.send(&auth("X-ANY", ""));
    assert_eq!(rig.asks(), Question::Abort);
    rig.says("<malformed-request/>");
    // A failure is told, the last one ends the stream.
    rig.send(&auth("X-ANY", ""));
    rig.input(Input::Failure { condition: SaslCondition::NotAuthorized, last: false });
    rig.says("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
    rig.send(&auth("X-ANY", ""));
    rig.input(Input::Failure { condition: SaslCondition::NotAuthorized, last: true });
    rig.ends_with("policy-violation");
}

#[test]
fn an_account_elsewhere_is_asked_for_there() {
    let slot = Slot::new(77).unwrap();
    let mut rig = Rig::secured();
    rig.send(&auth("PLAIN", "AHVzZXIAeA=="));
    let Question::Authenticate { auth: first, .. } = rig.asks() else { panic!() };
    rig.input(Input::Moved(slot));
    assert_eq!(rig.asks(), Question::Authenticate { at: At::Slot(slot), auth: first });
    // Whoever named no one at first did so in answer to the empty challenge.
    let mut rig = Rig::secured();
    rig.send(&auth("PLAIN", ""));
    rig.input(Input::Challenge(b""));
    rig.send(&response("AHVzZXIAeA=="));
    assert_eq!(rig.asks(), Question::Respond(b"\0user\0x".to_vec()));
    rig.input(Input::Moved(slot));
    let Question::Authenticate { at, auth: first } = rig.asks() else { panic!() };
    assert_eq!((at, first.initial.as_deref()), (At::Slot(slot), Some(&b"\0user\0x"[..])));
    // Who was challenged by the account's owner begins anew when the account moves meanwhile.
    let mut rig = Rig::secured();
    rig.send(&auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA=="));
    rig.input(Input::Challenge(b"r=xy"));
    rig.send(&response("Yz1iaXdz"));
    rig.rest.clear();
    rig.input(Input::Moved(slot));
    rig.says("<temporary-auth-failure/>");
    assert!(rig.rest.is_empty() && rig.stream.reads());
}

#[test]
fn who_is_authenticated_stays_with_that_domain_and_name() {
    let restart = |header: &str| {
        let mut rig = Rig::secured();
        rig.send(&auth("PLAIN", "AHVzZXIAeA=="));
        rig.input(Input::Success { account: "user@a.example", data: None });
        rig.text.clear();
        rig.send(header);
        rig
    };
    restart(&HEADER.replace("a.example", "b.example")).ends_with("not-authorized");
    restart(&HEADER.replace("a.example", "c.example")).ends_with("host-unknown");
    restart(&HEADER.replace("to=", "from='other@a.example' to=")).ends_with("invalid-from");
    restart(&HEADER.replace("to=", "from='user@a.example' to=")).says("authenticated");
    // Before authentication another domain is as good.
    let mut rig = Rig::new(false);
    rig.send(HEADER);
    rig.send(STARTTLS);
    rig.input(Input::TlsReady(BOUND_TLS));
    rig.framer.restart();
    rig.text.clear();
    rig.send(&HEADER.replace("a.example", "b.example"));
    rig.says("from='b.example'");
}

#[test]
fn before_bind_only_bind() {
    let rows = [
        ("<message to='a.example'/>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        ("<iq type='get' id='1' to='other@a.example'><q xmlns='urn:q'/></iq>", "not-authorized"),
        ("<foo xmlns='urn:foo'/>", "unsupported-stanza-type"),
        ("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>", "policy-violation"),
    ];
    for (bytes, condition) in rows {
        let mut rig = Rig::authenticated();
        rig.send(bytes);
        rig.ends_with(condition);
    }
    let rows = [
        ("<iq type='get' id='1'><q xmlns='urn:q'/></iq>", "unexpected-request"),
        ("<iq type='set' id='1' to='a.example'><q xmlns='urn:q'/></iq>", "unexpected-request"),
        ("<iq type='get' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "bad-request"),
        ("<iq type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "bad-request"),
    ];
    for (bytes, condition) in rows {
        let mut rig = Rig::authenticated();
        rig.send(bytes);
        rig.says(&format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"));
        assert!(rig.rest.is_empty());
    }
}

#[test]
fn binding_is_asked_for_and_told() {
    let mut rig = Rig::authenticated();
    rig.send(&BIND.replace(
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
        "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>desk</resource></bind>",
    ));
    assert_eq!(rig.asks(), Question::Bind { resource: Some("desk".to_owned()) });
    assert!(!rig.stream.reads());
    rig.input(Input::BindRefused(StanzaCondition::Conflict));
    rig.says("type='error'");
    rig.says("<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>");
    rig.text.clear();
    rig.send(BIND);
    assert_eq!(rig.asks(), Question::Bind { resource: None });
    rig.input(Input::Bound(&bound_frame()));
    rig.says("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>user@a.example/r</jid></bind></iq>");
    assert_eq!(rig.rest, [Output::Bound]);
    let Stream::Bound(session) = &rig.stream else { panic!() };
    assert_eq!(session.jid(), "user@a.example/r");
}

#[test]
fn registration_only_where_it_is_offered() {
    let get = "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>";
    let set = "<iq type='set' id='r'><query xmlns='jabber:iq:register'><username>New</username></query></iq>";
    let mut rig = Rig::secured();
    rig.send(get);
    let Question::Register { at, .. } = rig.asks() else { panic!() };
    assert_eq!(at, At::Entity("a.example".to_owned()));
    rig.input(Input::Reply(b"<iq type='result' id='r'/>"));
    rig.says("<iq type='result' id='r'/>");
    rig.send(set);
    let Question::Register { at, .. } = rig.asks() else { panic!() };
    assert_eq!(at, At::Entity("a.example".to_owned()));
    rig.input(Input::LinkLost);
    rig.ends_with("remote-connection-failed");
    let mut rig = Rig::secured();
    rig.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    rig.ends_with("not-authorized");
}

#[test]
fn without_a_core_clients_are_held_for_a_while() {
    let mut rig = Rig::new(false);
    rig.core_there = false;
    rig.send(HEADER);
    assert!(rig.text.is_empty() && !rig.stream.reads());
    let Stream::Negotiating(negotiation) = &rig.stream else { panic!() };
    assert_eq!(negotiation.held_for(), Some("a.example"));
    rig.input(Input::Directory { domain: Hosted::Waiting });
    assert!(rig.text.is_empty());
    let known = domain("a.example");
    rig.input(Input::Directory { domain: Hosted::Known(&known) });
    rig.says("<required/>");
    for (input, condition) in [
        (Input::Directory { domain: Hosted::Unknown }, "host-unknown"),
        (Input::Deadline(Deadline::Login), "remote-connection-failed"),
    ] {
        let mut rig = Rig::new(false);
        rig.core_there = false;
        rig.send(HEADER);
        rig.input(input);
        rig.ends_with(condition);
    }
}

#[test]
fn a_lost_link_is_told_by_what_it_takes_away() {
    let mut rig = Rig::secured();
    rig.input(Input::LinkLost);
    assert!(rig.text.is_empty(), "nothing was asked");
    rig.send(&auth("X-ANY", ""));
    rig.input(Input::LinkLost);
    rig.says("<temporary-auth-failure/>");
    assert!(rig.stream.reads());
    let mut rig = Rig::authenticated();
    rig.input(Input::LinkLost);
    rig.ends_with("reset");
    let mut rig = Rig::bound();
    rig.input(Input::LinkLost);
    rig.ends_with("reset");
}

// Every end, in every state, once.
#[test]
fn threat_017_every_state_ends_as_it_should() {
    let states: [fn() -> Rig; 5] = [
        || Rig::new(false),
        || {
            let mut rig = Rig::new(false);
            rig.send(HEADER);
            rig.forget()
        },
        Rig::secured,
        Rig::authenticated,
        Rig::bound,
    ];
    for (at, state) in states.iter().enumerate() {
        for (input, condition) in [
            (Input::Deadline(Deadline::Login), "connection-timeout"),
            (Input::Deadline(Deadline::Unanswered), "connection-timeout"),
            (Input::Shutdown(Elsewhere::default()), "system-shutdown"),
            (Input::Refused { condition: StreamCondition::NotWellFormed, text: "" }, "not-well-formed"),
            (Input::CoreClose { condition: Some(StreamCondition::Conflict), text: "" }, "conflict"),
            (Input::CoreClose { condition: Some(StreamCondition::HostGone), text: "" }, "host-gone"),
        ] {
            let mut rig = state();
            rig.input(input);
            rig.ends_with(condition);
            let before = (rig.text.clone(), rig.rest.len());
            for late in [
                Input::Close,
                Input::Eof,
                Input::Shutdown(Elsewhere::default()),
                Input::LinkLost,
                Input::Challenge(b""),
            ] {
                rig.input(late);
            }
            assert_eq!((rig.text.clone(), rig.rest.len()), before, "state {at}: an end is the end");
        }
        let mut rig = state();
        rig.input(Input::Close);
        assert!(rig.text.ends_with("</stream:stream>") && !rig.text.contains("error"), "{}", rig.text);
        assert_eq!(rig.rest, [Output::End { clean: true, linger: false }]);
        let mut rig = state();
        rig.input(Input::CoreClose { condition: None, text: "" });
        assert_eq!(rig.rest, [Output::End { clean: false, linger: true }]);
        let mut rig = state();
        rig.input(Input::Eof);
        assert_eq!((rig.text.as_str(), rig.rest.as_slice()), ("", &[Output::End { clean: false, linger: false }][..]));
    }
    for nested in ["<message><stream:stream/></message>", "<stream:features/>"] {
        let mut rig = Rig::authenticated();
        rig.send(nested);
        assert!(matches!(rig.stream, Stream::Ended(_)), "{nested}: {}", rig.text);
    }
    for state in [Rig::secured, Rig::authenticated, Rig::bound] {
        let mut rig = state();
        rig.send("<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
        assert!(matches!(rig.stream, Stream::Ended(_)));
        assert_eq!(rig.text, "</stream:stream>", "an error is not answered with another");
    }
}

#[test]
fn threat_002_strangers_get_few_words() {
    let mut rig = Rig::secured();
    for _ in 0..crate::limits::PRE_AUTH_ELEMENTS_MAX {
        assert!(matches!(rig.stream, Stream::Negotiating(_)));
        rig.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    }
    rig.text.clear();
    rig.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    rig.ends_with("policy-violation");
}

/// What was said is not kept behind its answer: a stranger costs what it says, once (threats, row 1).
#[test]
fn threat_001_nothing_said_is_kept_behind_its_answer() {
    let kept = |rig: &Rig| match &rig.stream {
        Stream::Negotiating(negotiation) => negotiation.asked.is_some(),
        Stream::Bound(_) | Stream::Ended(_) => false,
    };
    let mut rig = Rig::secured();
    rig.send(&auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9eA=="));
    assert!(kept(&rig));
    rig.input(Input::Challenge(b"r=xy"));
    assert!(!kept(&rig), "behind a challenge");
    let mut rig = Rig::secured();
    rig.send("<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>");
    assert!(kept(&rig));
    rig.input(Input::Reply(b"<iq/>"));
    assert!(!kept(&rig), "behind a registration");
}
