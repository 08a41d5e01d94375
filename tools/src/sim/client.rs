//! A client: logs in, says things, remembers what it waits for.

use super::check::{Messages, Rule};
use base64::Engine;
use hearth_connmgr::xml::{self, Framer, Limits, Piece, Scope, Scratch};
use hearth_wire::tree::{self, Element};
use std::collections::{BTreeMap, BTreeSet};

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Away,
    /// Its header is sent; features come.
    Opening,
    Authenticating,
    /// The second header is sent.
    Reopening,
    Binding,
    Bound,
    /// Has closed its stream, or got a stream error.
    Leaving,
}

/// See the module.
pub(super) struct Client {
    pub(super) user: usize,
    pub(super) life: Life,
    /// Its connection: event loop and counter.
    pub(super) at: Option<(usize, u64)>,
    /// Names this session among all of the run.
    pub(super) session: u64,
    pub(super) jid: String,
    framer: Framer,
    scope: Scope,
    input: Vec<u8>,
    /// Bytes on their way to the edge.
    pub(super) output: Vec<u8>,
    /// Messages by their stanza number in this session, until settled.
    pub(super) unsettled: BTreeMap<u64, u64>,
    /// Stanzas sent since bind.
    pub(super) number: u64,
    /// Questions that wait for their answer.
    pub(super) waiting: BTreeMap<String, usize>,
    /// Those of them whose answer is up to another client.
    hopes: BTreeSet<String>,
    next_iq: u64,
    /// Does not read.
    pub(super) stalled: bool,
    pub(super) answered: u64,
    pub(super) priority: i8,
}

impl Client {
    pub(super) fn new(user: usize) -> Client {
        Client {
            user,
            life: Life::Away,
            at: None,
            session: 0,
            jid: String::new(),
            framer: Framer::new(),
            scope: Scope::default(),
            input: Vec::new(),
            output: Vec::new(),
            unsettled: BTreeMap::new(),
            number: 0,
            waiting: BTreeMap::new(),
            hopes: BTreeSet::new(),
            next_iq: 0,
            stalled: false,
            answered: 0,
            priority: 0,
        }
    }

    /// Opens a stream on a fresh connection.
    pub(super) fn connect(&mut self, at: (usize, u64), session: u64, priority: i8) {
        *self = Client { at: Some(at), session, priority, answered: self.answered, ..Client::new(self.user) };
        self.header();
        self.life = Life::Opening;
    }

    fn header(&mut self) {
        self.framer.restart();
        self.output.extend_from_slice(
            b"<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xml:lang='en' xmlns='jabber:client' \
              xmlns:stream='http://etherx.jabber.org/streams'>",
        );
    }

    /// Sends one stanza of a bound session.
    pub(super) fn stanza(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.number += 1;
    }

    /// Asks something that must be answered.
    pub(super) fn ask(&mut self, to: &str, payload: &str) {
        self.next_iq += 1;
        let id = format!("q{}-{}", self.session, self.next_iq);
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        self.waiting.insert(id.clone(), 0);
        self.stanza(&format!("<iq type='get' id='{id}'{to}>{payload}</iq>"));
    }

    /// Asks another client, which may leave without answering.
    pub(super) fn wonder(&mut self, to: &str, payload: &str) {
        self.ask(to, payload);
        self.hopes.insert(format!("q{}-{}", self.session, self.next_iq));
    }

    /// A question of this client that needs an answer and does not have exactly one.
    pub(super) fn unanswered(&self) -> Option<(&String, usize)> {
        let mut wrong = self.waiting.iter().filter(|(id, count)| **count != 1 && !self.hopes.contains(*id));
        wrong.next().map(|(id, count)| (id, *count))
    }

    /// Closes its stream properly.
    pub(super) fn leave(&mut self) {
        self.output.extend_from_slice(b"</stream:stream>");
        self.life = Life::Leaving;
    }

    /// Its connection is gone.
    pub(super) fn gone(&mut self) {
        let answered = self.answered;
        *self = Client { answered, ..Client::new(self.user) };
    }

    /// Bytes of the server.
    pub(super) fn read(&mut self, bytes: &[u8], messages: &mut Messages) -> Result<(), Rule> {
        self.input.extend_from_slice(bytes);
        let not_xml = |client: &Client| Rule::NotXml { client: client.name() };
        loop {
            if self.input.is_empty() {
                return Ok(());
            }
            let next = self.framer.next(&self.input, &Limits::AUTHENTICATED).map_err(|_| not_xml(self))?;
            let Some((piece, len)) = next else { return Ok(()) };
            let bytes: Vec<u8> = self.input.drain(..len).collect();
            match piece {
                Piece::Declaration | Piece::Blank => {}
                Piece::Header => {
                    let (_, scope) = xml::parse_header(&bytes).map_err(|_| not_xml(self))?;
                    self.scope = scope;
                }
                Piece::Close => self.life = Life::Leaving,
                Piece::Element => {
                    let mut encoded = Vec::new();
                    xml::parse_element(
                        &bytes,
                        &self.scope,
                        &Limits::AUTHENTICATED,
                        &mut Scratch::default(),
                        &mut encoded,
                    )
                    .map_err(|_| not_xml(self))?;
                    if let Some(tree::Node::Element(element)) = tree::nodes(&encoded, tree::CLIENT).next() {
                        self.element(&element, messages)?;
                    }
                }
            }
        }
    }

    pub(super) fn name(&self) -> String {
        if self.jid.is_empty() {
            format!("user{}", self.user)
        } else {
            format!("{} (session {})", self.jid, self.session)
        }
    }

    fn element(&mut self, element: &Element<'_>, messages: &mut Messages) -> Result<(), Rule> {
        match (self.life, element.name()) {
            (_, "error") => {
                let condition = element.children().next().map(|e| e.name().to_owned()).unwrap_or_default();
                self.life = Life::Leaving;
                // What faults of the run make the server say.
                let explained = ["reset", "conflict", "resource-constraint", "connection-timeout", "system-shutdown"];
                if !explained.contains(&condition.as_str()) {
                    return Err(Rule::StreamError { client: self.name(), condition });
                }
            }
            (Life::Opening, "features") => {
                let secret = format!("\0user{}\0secret", self.user);
                let secret = base64::engine::general_purpose::STANDARD.encode(secret);
                let auth = format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>");
                self.output.extend_from_slice(auth.as_bytes());
                self.life = Life::Authenticating;
            }
            (Life::Authenticating, "success") => {
                self.header();
                self.life = Life::Reopening;
            }
            (Life::Authenticating, "failure") => self.leave(),
            (Life::Reopening, "features") => {
                let resource = self.session % 3;
                self.output.extend_from_slice(
                    format!(
                        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                         <resource>r{resource}</resource></bind></iq>"
                    )
                    .as_bytes(),
                );
                self.life = Life::Binding;
            }
            (Life::Binding, "iq") if element.attr("type") == Some("result") => {
                let jid = element.children().next().and_then(|bind| bind.children().next()).map(|jid| jid.text());
                self.jid = jid.unwrap_or_default();
                self.life = Life::Bound;
                self.ask("", "<query xmlns='jabber:iq:roster'/>");
                let priority = self.priority;
                self.stanza(&format!("<presence><priority>{priority}</priority></presence>"));
            }
            (Life::Binding, "iq") => self.leave(),
            (Life::Bound | Life::Leaving, "iq") => self.iq(element)?,
            (Life::Bound | Life::Leaving, "message") if element.attr("type") != Some("error") => {
                let id = element.attr("id").and_then(|id| id.strip_prefix('m')).and_then(|id| id.parse().ok());
                let live = !element.children().any(|e| e.ns() == "urn:xmpp:delay");
                if let Some(id) = id {
                    messages.delivered(id, self.session, &self.name(), live)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn iq(&mut self, iq: &Element<'_>) -> Result<(), Rule> {
        let id = iq.attr("id").unwrap_or_default().to_owned();
        match iq.attr("type") {
            Some("result" | "error") => {
                if let Some(count) = self.waiting.get_mut(&id) {
                    *count += 1;
                    self.answered += 1;
                    let count = *count;
                    // A client that dies between its answer and the report of what it read is answered for.
                    if count > 1 && !self.hopes.contains(&id) {
                        return Err(Rule::Answers { client: self.name(), id, count });
                    }
                }
            }
            // Others' questions are answered as a good client answers them.
            Some(_) if self.life == Life::Bound => {
                let to = iq.attr("from").map(|from| format!(" to='{from}'")).unwrap_or_default();
                self.stanza(&format!("<iq type='result' id='{}'{to}/>", escape(&id)));
            }
            _ => {}
        }
        Ok(())
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
