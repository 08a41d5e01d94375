//! A client and a core that say anything to one stream: STARTTLS, both SASL profiles (XEP-0388), resource binding, and
//! stream management (XEP-0198) with counts around 2^32.

use hearth_connmgr::directory::{Authentication, Domain, Hosted};
use hearth_connmgr::session::Session;
use hearth_connmgr::stream::{Deadline, Elsewhere, Facts, Input, Now, Output, Question, Stream};
use hearth_connmgr::tls::{Protection, Version};
use hearth_connmgr::xml::{Framer, Limits, Piece, Scope, Scratch, parse_close, parse_element, parse_header};
use hearth_wire::ids::{Generation, Slot, StreamId};
use hearth_wire::to_edge::{self, Bound, Resumed, Settled, SmEnabled};
use hearth_wire::tree::{self, Builder, Node};
use hearth_wire::{SaslCondition, StanzaCondition, StreamCondition};
use std::sync::LazyLock;

const ACCOUNT: &str = "ada@a.example";
const GENERATION: Generation = Generation { epoch: 1, counter: 1 };
const TLS: Protection = Protection { version: Version::Tls13, exporter: Some([7; 32]), end_point: None };

static DOMAIN: LazyLock<Domain> = LazyLock::new(|| {
    let mut tree = Builder::new();
    tree.open(Some("http://jabber.org/features/iq-register"), "register").close();
    let stranger = tree.finish();
    let mut tree = Builder::new();
    tree.open(Some("urn:xmpp:sm:3"), "sm").close();
    let frame = to_edge::Domain {
        domain: "a.example",
        features_clear: &stranger,
        features_tls: &stranger,
        features_tls_end_point: &stranger,
        features_tls_exporter: &stranger,
        features_tls_bound: &stranger,
        features_authenticated: &tree.finish(),
    };
    let mut tree = Builder::new();
    tree.open(Some("urn:xmpp:sasl:2"), "authentication").leaf(None, "mechanism", "PLAIN").close();
    let tree = tree.finish();
    let inline = to_edge::Authentication {
        domain: "a.example",
        tls: &tree,
        tls_end_point: &tree,
        tls_exporter: &tree,
        tls_bound: &tree,
    };
    Domain::new(&frame, Authentication::new(&inline).as_ref(), None).expect("trees")
});

/// What clients say; `%` stands for a number of the input.
const WORDS: [&str; 24] = [
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>",
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='b.example' version='1.0' \
     from='ada@a.example'>",
    "</stream:stream>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFkYQBzZWNyZXQ=</auth>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'/>",
    "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGFkYQBzZWNyZXQ=</response>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>AGFkYQBzZWNyZXQ=</initial-response>\
     <resume xmlns='urn:xmpp:sm:3' previd='p' h='%'/></authenticate>",
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='HT-SHA-256-NONE'><initial-response>=</initial-response>\
     <user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>S</software></user-agent>\
     <fast xmlns='urn:xmpp:fast:0' count='%'/></authenticate>",
    "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'>\
     <request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-EXPR'/></authenticate>",
    "<response xmlns='urn:xmpp:sasl:2'>eA==</response>",
    "<abort xmlns='urn:xmpp:sasl:2'><text>x</text></abort>",
    "<next xmlns='urn:xmpp:sasl:2' task='x'/>",
    "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r%</resource></bind></iq>",
    "<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>",
    "<enable xmlns='urn:xmpp:sm:3' resume='true' max='%'/>",
    "<resume xmlns='urn:xmpp:sm:3' previd='p' h='%'/>",
    "<r xmlns='urn:xmpp:sm:3'/>",
    "<a xmlns='urn:xmpp:sm:3' h='%'/>",
    "<message to='ada@a.example/r' id='%'><body>x</body></message>",
    "<presence/>",
    "<stream:error/>",
    " ",
];

/// First byte: bit 0, TLS from the start; bit 1, login in the clear is allowed. Then steps, one byte each and what it
/// takes: below 0x80 the client says one of the words, or raw XML behind its length; from there on the core, the
/// transport or a clock says something.
///
/// Nothing panics; before TLS, and where the clear is not allowed, nobody is asked about and nobody gets in; behind the end
/// nothing is said; what the client has acknowledged never goes back and is never more than it was sent.
pub fn stream(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let mut talk = Talk::new(first & 2 != 0);
    if first & 1 != 0 {
        talk.input(Input::TlsReady(TLS));
    }
    while let Some((op, behind)) = rest.split_first() {
        rest = behind;
        match op {
            0x7f => {
                let len = usize::try_from(take(&mut rest, 1)).unwrap_or(0);
                let (said, behind) = rest.split_at(len.min(rest.len()));
                rest = behind;
                talk.say(said);
            }
            0..0x7f => {
                let word = WORDS[usize::from(*op) % WORDS.len()];
                let number = if word.contains('%') { take(&mut rest, 4).to_string() } else { String::new() };
                talk.say(word.replace('%', &number).as_bytes());
            }
            _ => talk.happens(op & 0x7f, &mut rest),
        }
        if talk.ended {
            break;
        }
    }
}

/// A number of so many bytes.
fn take(rest: &mut &[u8], len: usize) -> u64 {
    let (bytes, behind) = rest.split_at(len.min(rest.len()));
    *rest = behind;
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

struct Talk {
    stream: Stream,
    framer: Framer,
    scope: Scope,
    buffer: Vec<u8>,
    secured: bool,
    authenticated: bool,
    clear: bool,
    ended: bool,
    /// Entries sent, and the settled mark.
    settled: u64,
    link: Vec<u8>,
}

impl Talk {
    fn new(clear: bool) -> Talk {
        Talk {
            stream: Stream::new(Facts { clear_login: clear, id: [9; 16] }),
            framer: Framer::new(),
            scope: Scope::default(),
            buffer: Vec::new(),
            secured: false,
            authenticated: false,
            clear,
            ended: false,
            settled: 0,
            link: Vec::new(),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        if let Input::TlsReady(_) = input {
            self.secured = true;
            self.framer.restart();
        }
        let mut out = Vec::new();
        self.stream.handle(input, Now::default(), &mut out);
        for output in out {
            assert!(!self.ended, "{output:?} behind the end");
            match output {
                Output::Write(bytes) => assert!(std::str::from_utf8(&bytes).is_ok()),
                Output::NewStream => {
                    self.framer.restart();
                    self.scope = Scope::default();
                }
                Output::Ask(question) => {
                    assert!(self.secured || self.clear, "asked in the clear: {question:?}");
                    let stranger = matches!(question, Question::Bind { .. } | Question::SmEnable { .. });
                    assert!(!stranger || self.authenticated, "nobody is authenticated: {question:?}");
                }
                Output::Authenticated => self.authenticated = true,
                Output::StartTls => assert!(!self.secured, "TLS in TLS"),
                Output::Bound => assert!(self.authenticated),
                Output::Asked => {}
                Output::End { .. } => self.ended = true,
            }
        }
    }

    /// Bytes of the client, as far as they are read.
    fn say(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while !self.ended && self.stream.reads() && !self.buffer.is_empty() {
            let refused = |error: hearth_connmgr::xml::XmlError| (error.condition(), error.text());
            let done = match self.framer.next(&self.buffer, &Limits::PRE_AUTH) {
                Ok(None) => return,
                Ok(Some((piece, len))) => {
                    let bytes: Vec<u8> = self.buffer.drain(..len).collect();
                    self.piece(piece, &bytes).map_err(refused)
                }
                Err(error) => Err(refused(error)),
            };
            if let Err((condition, text)) = done {
                self.input(Input::Refused { condition, text });
            }
        }
    }

    fn piece(&mut self, piece: Piece, bytes: &[u8]) -> Result<(), hearth_connmgr::xml::XmlError> {
        match piece {
            Piece::Blank | Piece::Declaration => {}
            Piece::Header => {
                let (header, scope) = parse_header(bytes)?;
                self.scope = scope;
                let known = header.to.as_deref() == Some("a.example");
                let domain = if known { Hosted::Known(&DOMAIN) } else { Hosted::Unknown };
                self.input(Input::Header { header: &header, domain, id: [5; 16] });
            }
            Piece::Close => {
                parse_close(bytes, &self.scope)?;
                self.input(Input::Close);
            }
            Piece::Element => {
                let mut encoded = Vec::new();
                parse_element(bytes, &self.scope, &Limits::PRE_AUTH, &mut Scratch::default(), &mut encoded)?;
                let Some(Node::Element(element)) = tree::nodes(&encoded, tree::CLIENT).next() else { return Ok(()) };
                match &mut self.stream {
                    Stream::Bound(session) if !session.is_own(&element) => {
                        let taken = session.on_element(1, &element, u64::MAX, &mut Vec::new(), &mut self.link);
                        if let Err(condition) = taken {
                            self.input(Input::Refused { condition, text: "" });
                        }
                    }
                    _ => self.input(Input::Element { element, more: !self.buffer.is_empty() }),
                }
            }
        }
        Ok(())
    }

    /// Something that is not the client's.
    fn happens(&mut self, op: u8, rest: &mut &[u8]) {
        // Close to where counts of 32 bits begin anew.
        let far = |rest: &mut &[u8]| (1u64 << 32).wrapping_sub(8).wrapping_add(take(rest, 1));
        match op % 20 {
            0 => self.input(Input::Challenge(b"r=x")),
            1 => self.input(Input::Success { account: ACCOUNT, data: Some(b"v=x") }),
            2 => self.input(Input::Success { account: ACCOUNT, data: None }),
            3 => self.input(Input::Failure { condition: SaslCondition::NotAuthorized, last: op & 0x40 != 0 }),
            4 => self.input(Input::Moved(Slot::new(7).expect("a slot"))),
            5 => {
                let jid = "ada@a.example/r";
                let bound = Bound { counter: 1, stream: StreamId([1; 16]), generation: GENERATION, jid, credit: 4096 };
                self.input(Input::Bound(&bound));
                self.settled = 0;
            }
            6 => self.input(Input::BindRefused(StanzaCondition::Conflict)),
            7 => {
                let (number, entry) = (far(rest), far(rest));
                let (sm_number, sm_entry) = (number.saturating_sub(take(rest, 1)), entry.saturating_sub(take(rest, 1)));
                let (stream, jid, credit) = (StreamId([1; 16]), "ada@a.example/r", u64::MAX);
                let resumed = Resumed {
                    counter: 1,
                    stream,
                    generation: GENERATION,
                    jid,
                    number,
                    sm_number,
                    entry,
                    sm_entry,
                    credit,
                };
                self.input(Input::Resumed(&resumed));
                self.settled = number;
            }
            8 => self.input(Input::ResumeFailed { condition: StanzaCondition::ItemNotFound, h: Some(7) }),
            9 => {
                let previd = (op & 0x40 != 0).then_some("p");
                let enabled = SmEnabled { counter: 1, generation: GENERATION, entry: 0, previd, max_s: 60 };
                self.input(Input::SmEnabled { enabled: &enabled, location: None });
            }
            10 => self.input(Input::Token { token: "t", expires_ms: take(rest, 4) }),
            11 => self.input(Input::Reply(b"<iq type='result' id='r'/>")),
            12 => self.input(Input::LinkLost),
            13 => self.input(Input::Detached),
            14 => self.input(Input::CoreClose { condition: Some(StreamCondition::Conflict), text: "" }),
            15 => self
                .input(Input::Deadline([Deadline::Stanza, Deadline::Idle, Deadline::Unanswered][usize::from(op) % 3])),
            16 => self.input(Input::Shutdown(Elsewhere::default())),
            17 => self.input(Input::TlsReady(TLS)),
            18 => self.input(Input::Directory { domain: Hosted::Known(&DOMAIN) }),
            _ => self.settle(),
        }
    }

    /// One more stanza of the session is settled.
    fn settle(&mut self) {
        let Some(session) = self.stream.session_mut().filter(|session| session.unsettled() > 0) else { return };
        let number = session.settled().saturating_add(1);
        let before = Session::settled(session);
        session.on_settled(&Settled { counter: 1, generation: GENERATION, number, credit: u64::MAX });
        assert!(session.settled() >= before, "the mark moves forward");
        session.on_second();
        session.on_written();
        session.report(1, &mut self.link);
        self.settled = number;
    }
}
