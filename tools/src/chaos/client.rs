//! One client: its login, its stream management, and what it makes of a lost socket. No socket in here: elements in,
//! bytes and a [`Step`] out.
//!
//! ```text
//! Features ─▶ Challenge ─▶ Success ─▶ Features ──(Resume, and a session to resume)──▶ Resuming ──▶ Live
//!                                        └──▶ Bind ──▶ (Enabling) ──▶ Live ◀───────────── failed ──┘
//! ```

use super::ledger::{Cause, Class, Ledger};
use crate::load::scan::Element;
use crate::load::scram::{Authenticator, Exchange};
use std::collections::VecDeque;
use std::io::Write as _;
use std::mem::take;

const NS: &str = "urn:xmpp:sm:3";
/// Id of the question by which a client that has gone silent is told from one that is stuck.
const ALIVE: &str = "alive";

/// What a connection does after an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Wait,
    /// A new stream begins with the header just written.
    Restart,
    /// The session is there, bound or resumed.
    Live,
    /// Its message has arrived, or another question was answered.
    News,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Features,
    Challenge(Exchange),
    Success(Exchange),
    Resuming,
    Bind,
    Enabling,
    Live,
}

/// A stanza that the server may not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Message(u32),
    Presence,
    Question,
}

/// What all clients of a run share.
pub(super) struct Shared<'a> {
    pub(super) domain: &'a str,
    pub(super) auth: &'a mut Authenticator,
    pub(super) ledger: &'a mut Ledger,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: u32,
    pub(super) class: Class,
    /// The edge that its socket is at, or was.
    pub(super) edge: usize,
    /// Its socket will be lost, or is, for this.
    pub(super) doomed: Option<Cause>,
    stage: Stage,
    authenticated: bool,
    /// Names its session among those of all clients.
    session: u32,
    /// What the server called its session, for resumption.
    previd: Option<Vec<u8>>,
    /// XEP-0198 §4: stanzas handled, and of what was sent how many are acknowledged, modulo 2^32.
    handled: u32,
    acknowledged: u32,
    /// Sent behind those. Without XEP-0198: the messages of this socket.
    unacknowledged: VecDeque<Sent>,
    /// The last question was answered.
    pub(super) answered: bool,
}

impl Client {
    pub(super) fn new(user: u32, class: Class) -> Client {
        Client {
            user,
            class,
            edge: 0,
            doomed: None,
            stage: Stage::Features,
            authenticated: false,
            session: 0,
            previd: None,
            handled: 0,
            acknowledged: 0,
            unacknowledged: VecDeque::new(),
            answered: false,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Live)
    }

    /// Where its login is.
    pub(super) fn place(&self) -> &'static str {
        match self.stage {
            Stage::Features => "waiting for features",
            Stage::Challenge(_) | Stage::Success(_) => "authenticating",
            Stage::Resuming => "resuming",
            Stage::Bind => "binding",
            Stage::Enabling => "enabling stream management",
            Stage::Live => "live",
        }
    }

    /// What it sent is acknowledged as far as it can be.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_live() && (self.class == Class::Plain || self.unacknowledged.is_empty())
    }

    /// A socket of its is connected: a stream begins.
    pub(super) fn connected(&mut self, edge: usize, domain: &str, out: &mut Vec<u8>) {
        (self.edge, self.doomed, self.authenticated) = (edge, None, false);
        self.stage = Stage::Features;
        header(domain, out);
    }

    /// Its socket is gone. True if a session was on it.
    pub(super) fn lost(&mut self) -> bool {
        let was_live = self.is_live();
        self.stage = Stage::Features;
        if self.class == Class::Plain {
            self.unacknowledged.clear(); // nobody knows
        }
        was_live
    }

    /// It ended its stream by the closing tag and the server agreed: nothing is left to resume or repeat.
    pub(super) fn ended(&mut self, ledger: &mut Ledger) {
        self.settle(ledger);
        self.stage = Stage::Features;
        self.previd = None;
        self.unacknowledged.clear();
    }

    /// Of a client without XEP-0198: what went out on this socket has had its time.
    pub(super) fn settle(&mut self, ledger: &mut Ledger) {
        if self.class == Class::Plain && self.is_live() {
            for sent in take(&mut self.unacknowledged) {
                if let Sent::Message(number) = sent {
                    ledger.acknowledged(number);
                }
            }
        }
    }

    /// Writes a new message to `to`.
    pub(super) fn say(&mut self, to: u32, cx: &mut Shared<'_>, out: &mut Vec<u8>) {
        let number = cx.ledger.sent(self.user, to);
        self.send(Sent::Message(number), cx, out);
        self.ask(out);
    }

    /// Asks the server for a sign of life.
    pub(super) fn question(&mut self, cx: &mut Shared<'_>, out: &mut Vec<u8>) {
        self.answered = false;
        self.send(Sent::Question, cx, out);
        self.ask(out);
    }

    fn ask(&self, out: &mut Vec<u8>) {
        if self.class != Class::Plain {
            let _ = write!(out, "<r xmlns='{NS}'/>");
        }
    }

    fn send(&mut self, sent: Sent, cx: &Shared<'_>, out: &mut Vec<u8>) {
        render(sent, cx, out);
        if self.class != Class::Plain || matches!(sent, Sent::Message(_)) {
            self.unacknowledged.push_back(sent);
        }
    }

    /// # Errors
    /// Why the connection is to be given up.
    pub(super) fn on_element(
        &mut self,
        element: Element<'_>,
        cx: &mut Shared<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Step, String> {
        let name = element.name();
        if matches!(name, b"failure" | b"stream:error") {
            return Err(String::from_utf8_lossy(element.0).into_owned());
        }
        match (take(&mut self.stage), name) {
            (Stage::Live, _) => {
                self.stage = Stage::Live;
                self.on_stanza(element, cx, out)
            }
            (Stage::Features, b"stream:features") if !self.authenticated => {
                let exchange = cx.auth.begin(self.user, out);
                Ok(self.go(Stage::Challenge(exchange)))
            }
            (Stage::Features, b"stream:features") => Ok(self.begin_session(cx, out)),
            (Stage::Challenge(mut exchange), b"challenge") => {
                cx.auth.answer(&mut exchange, element.text_of("challenge").unwrap_or_default(), out)?;
                Ok(self.go(Stage::Success(exchange)))
            }
            (Stage::Success(exchange), b"success") => {
                cx.auth.verify(&exchange, element.text_of("success").unwrap_or_default())?;
                self.authenticated = true;
                header(cx.domain, out);
                Ok(Step::Restart)
            }
            (Stage::Resuming, b"resumed") => {
                let h = count(element, "h").ok_or("resumed without h")?;
                self.on_acknowledged(h, cx.ledger)?;
                cx.ledger.resumed(self.user);
                for sent in &self.unacknowledged {
                    render(*sent, cx, out);
                }
                self.ask(out);
                self.stage = Stage::Live;
                Ok(Step::Live)
            }
            (Stage::Resuming, b"failed") => self.on_failed(element, cx, out),
            (Stage::Bind, b"iq") if element.attribute("type") == Some(b"result") => Ok(self.on_bound(cx, out)),
            (Stage::Enabling, b"enabled") => {
                self.previd = element.attribute("id").filter(|_| self.class == Class::Resume).map(<[u8]>::to_vec);
                (self.handled, self.acknowledged) = (0, 0);
                self.stage = Stage::Live;
                Ok(Step::Live)
            }
            (stage, _) => {
                self.stage = stage;
                Err(format!("{} was answered by {}", self.place(), String::from_utf8_lossy(element.0)))
            }
        }
    }

    fn go(&mut self, stage: Stage) -> Step {
        self.stage = stage;
        Step::Wait
    }

    fn begin_session(&mut self, cx: &mut Shared<'_>, out: &mut Vec<u8>) -> Step {
        if let Some(previd) = &self.previd {
            cx.ledger.resuming(self.user);
            let _ = write!(out, "<resume xmlns='{NS}' h='{}' previd='", self.handled);
            out.extend_from_slice(previd);
            out.extend_from_slice(b"'/>");
            return self.go(Stage::Resuming);
        }
        out.extend_from_slice(
            b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>chaos</resource></bind></iq>",
        );
        self.go(Stage::Bind)
    }

    /// §5: the session cannot be resumed, now or ever.
    fn on_failed(&mut self, failed: Element<'_>, cx: &mut Shared<'_>, out: &mut Vec<u8>) -> Result<Step, String> {
        if failed.contains("<resource-constraint") {
            return Err("the server asks to resume later".to_owned());
        }
        if let Some(h) = count(failed, "h") {
            self.on_acknowledged(h, cx.ledger)?;
        }
        self.previd = None;
        Ok(self.begin_session(cx, out))
    }

    /// A new session: what the one before may not have brought there is sent again.
    fn on_bound(&mut self, cx: &mut Shared<'_>, out: &mut Vec<u8>) -> Step {
        self.session = cx.ledger.logged_in(self.user);
        let again = take(&mut self.unacknowledged);
        let resume = match self.class {
            Class::Resume => " resume='true'",
            Class::Anew | Class::Plain => "",
        };
        if self.class != Class::Plain {
            let _ = write!(out, "<enable xmlns='{NS}'{resume}/>");
        }
        self.send(Sent::Presence, cx, out);
        for sent in again {
            if let Sent::Message(number) = sent {
                cx.ledger.repeated(number);
                self.send(sent, cx, out);
            }
        }
        self.ask(out);
        if self.class == Class::Plain {
            self.stage = Stage::Live;
            return Step::Live;
        }
        self.go(Stage::Enabling)
    }

    fn on_stanza(&mut self, element: Element<'_>, cx: &mut Shared<'_>, out: &mut Vec<u8>) -> Result<Step, String> {
        match element.name() {
            b"r" => {
                let _ = write!(out, "<a xmlns='{NS}' h='{}'/>", self.handled);
                return Ok(Step::Wait);
            }
            b"a" => {
                let h = count(element, "h").ok_or("an <a/> without h")?;
                self.on_acknowledged(h, cx.ledger)?;
                return Ok(Step::Wait);
            }
            _ => self.handled = self.handled.wrapping_add(1),
        }
        let (kind, id) = (element.attribute("type").unwrap_or_default(), element.attribute("id").unwrap_or_default());
        match (element.name(), number_of(id)) {
            (b"message", Some(number)) if kind == b"error" => cx.ledger.refused(number),
            (b"message", Some(number)) => cx.ledger.came(self.user, self.session, number),
            (b"iq", _) if matches!(kind, b"get" | b"set") => {
                let text = String::from_utf8_lossy(id);
                let _ = write!(out, "<iq type='result' id='{text}'/>");
                if self.class != Class::Plain {
                    self.unacknowledged.push_back(Sent::Question);
                }
                return Ok(Step::Wait);
            }
            (b"iq", _) => self.answered |= id == ALIVE.as_bytes(),
            _ => return Ok(Step::Wait),
        }
        Ok(Step::News)
    }

    /// The server has handled `h` stanzas.
    fn on_acknowledged(&mut self, h: u32, ledger: &mut Ledger) -> Result<(), String> {
        let more = h.wrapping_sub(self.acknowledged);
        if more as usize > self.unacknowledged.len() {
            let (was, sent) = (self.acknowledged, self.unacknowledged.len());
            let what = format!("h='{h}' after {was}, with {sent} sent since");
            ledger.violation(self.user, &what);
            return Err(what);
        }
        self.acknowledged = h;
        for sent in self.unacknowledged.drain(..more as usize) {
            if let Sent::Message(number) = sent {
                ledger.acknowledged(number);
            }
        }
        Ok(())
    }
}

fn header(domain: &str, out: &mut Vec<u8>) {
    let _ = write!(
        out,
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='{domain}'>"
    );
}

fn render(sent: Sent, cx: &Shared<'_>, out: &mut Vec<u8>) {
    let domain = cx.domain;
    let _ = match sent {
        Sent::Presence => write!(out, "<presence/>"),
        Sent::Question => {
            write!(out, "<iq type='get' id='{ALIVE}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        }
        Sent::Message(number) => {
            let to = cx.ledger.receiver(number);
            write!(
                out,
                "<message type='chat' id='n{number:x}' to='user{to}@{domain}'><body>message {number}</body></message>"
            )
        }
    };
}

/// `n` and a hexadecimal number.
fn number_of(id: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(id.strip_prefix(b"n")?).ok()?, 16).ok()
}

fn count(element: Element<'_>, name: &str) -> Option<u32> {
    std::str::from_utf8(element.attribute(name)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::ledger::Mix;
    use crate::load::scram::Mechanism;

    struct World {
        auth: Authenticator,
        ledger: Ledger,
    }

    fn mix() -> Mix {
        "1:1:1".parse().unwrap()
    }

    impl World {
        fn new() -> World {
            let auth = Authenticator::new(Mechanism::ScramSha1, "p", None).unwrap();
            World { auth, ledger: Ledger::new(mix(), 3) }
        }

        fn with<T>(&mut self, work: impl FnOnce(&mut Shared<'_>, &mut Vec<u8>) -> T) -> (T, String) {
            let mut out = Vec::new();
            let mut cx = Shared { domain: "localhost", auth: &mut self.auth, ledger: &mut self.ledger };
            let done = work(&mut cx, &mut out);
            (done, String::from_utf8(out).unwrap())
        }

        fn hears(&mut self, client: &mut Client, xml: &str) -> (Result<Step, String>, String) {
            self.with(|cx, out| client.on_element(Element(xml.as_bytes()), cx, out))
        }

        /// A client that is authenticated, at the features that follow.
        fn authenticated(&mut self, client: &mut Client) -> String {
            client.connected(0, "localhost", &mut Vec::new());
            client.authenticated = true;
            self.hears(client, "<stream:features><bind/><sm/></stream:features>").1
        }

        fn live(&mut self, user: u32) -> Client {
            let mut client = Client::new(user, mix().class(user));
            assert!(self.authenticated(&mut client).contains("<bind"));
            let (_, said) = self.hears(&mut client, "<iq type='result' id='bind'/>");
            assert!(said.contains("<presence/>"));
            if client.class != Class::Plain {
                assert_eq!(said.contains("resume='true'"), client.class == Class::Resume);
                self.hears(&mut client, "<enabled xmlns='urn:xmpp:sm:3' id='abc' resume='true'/>").0.unwrap();
            }
            assert!(client.is_live());
            client
        }
    }

    #[test]
    fn it_resumes_and_sends_again_what_was_not_handled() {
        let mut world = World::new();
        let mut client = world.live(0);
        for _ in 0..2 {
            world.with(|cx, out| client.say(1, cx, out));
        }
        world.hears(&mut client, "<message id='n0' type='chat'/>").0.unwrap();
        assert_eq!(world.hears(&mut client, "<r xmlns='urn:xmpp:sm:3'/>").1, "<a xmlns='urn:xmpp:sm:3' h='1'/>");
        assert!(client.lost());
        let said = world.authenticated(&mut client);
        assert_eq!(said, "<resume xmlns='urn:xmpp:sm:3' h='1' previd='abc'/>");
        // Presence and the first message.
        let (step, said) = world.hears(&mut client, "<resumed xmlns='urn:xmpp:sm:3' h='2' previd='abc'/>");
        assert!(step == Ok(Step::Live) && said.contains("id='n1'") && !said.contains("id='n0'"), "{said}");
        assert_eq!((client.acknowledged, client.unacknowledged.len()), (2, 1));
        world.hears(&mut client, "<a xmlns='urn:xmpp:sm:3' h='3'/>").0.unwrap();
        assert!(client.is_at_rest());
        assert!(world.hears(&mut client, "<a xmlns='urn:xmpp:sm:3' h='4'/>").0.is_err());
        assert_eq!(world.ledger.lost(), 2); // acknowledged, never came to user1
    }

    #[test]
    fn what_cannot_be_resumed_is_repeated_in_a_new_session() {
        let mut world = World::new();
        let mut client = world.live(0);
        for _ in 0..2 {
            world.with(|cx, out| client.say(1, cx, out));
        }
        client.lost();
        world.authenticated(&mut client);
        let (step, said) = world.hears(&mut client, "<failed xmlns='urn:xmpp:sm:3' h='2'><item-not-found/></failed>");
        assert!(step == Ok(Step::Wait) && said.contains("<bind"), "{said}");
        let (_, said) = world.hears(&mut client, "<iq type='result' id='bind'/>");
        assert!(said.contains("id='n1'") && !said.contains("id='n0'"), "{said}");
        assert!(!world.hears(&mut client, "<enabled id='d' xmlns='urn:xmpp:sm:3'/>").1.contains("resume"));
        assert_eq!(client.previd.as_deref(), Some(&b"d"[..]));
    }

    #[test]
    fn asked_to_wait_it_tries_again() {
        let mut world = World::new();
        let mut client = world.live(0);
        client.lost();
        world.authenticated(&mut client);
        assert!(world.hears(&mut client, "<failed xmlns='urn:xmpp:sm:3'><resource-constraint/></failed>").0.is_err());
        assert!(!client.lost());
        assert!(world.authenticated(&mut client).contains("<resume "));
    }

    #[test]
    fn without_0198_only_a_socket_that_lived_makes_it_sure() {
        let mut world = World::new();
        let mut client = world.live(2);
        world.with(|cx, out| client.say(1, cx, out));
        client.lost();
        let mut client = world.live(2);
        let (_, said) = world.with(|cx, out| client.say(1, cx, out));
        assert!(!said.contains("<r "), "{said}");
        client.settle(&mut world.ledger);
        assert_eq!((world.ledger.lost(), world.ledger.under_way()), (1, 2));
    }

    #[test]
    fn it_answers_and_is_answered() {
        let mut world = World::new();
        let mut client = world.live(2);
        let (_, said) = world.hears(&mut client, "<iq type='get' id='x'><ping xmlns='urn:xmpp:ping'/></iq>");
        assert_eq!(said, "<iq type='result' id='x'/>");
        world.with(|cx, out| client.question(cx, out));
        assert!(!client.answered);
        world.hears(&mut client, "<iq type='result' id='alive'/>").0.unwrap();
        assert!(client.answered);
        assert!(world.hears(&mut client, "<stream:error><reset/></stream:error>").0.unwrap_err().contains("reset"));
    }
}
