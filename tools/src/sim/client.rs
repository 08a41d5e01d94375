//! A client: logs in, says things, remembers what it waits for. One that manages its stream (XEP-0198) counts, keeps
//! what is not acknowledged, and comes back to its session by whatever event loop it reaches.

mod managed;
mod resource;

use super::check::{Checks, Rule, Stamp, Value};
use base64::Engine;
use hearth_connmgr::xml::{self, Framer, Limits, Piece, Scope, Scratch};
use hearth_core::questions::ANSWER_LOST;
use hearth_wire::tree::{self, Element};
use managed::Managed;
use resource::Resource;
use std::collections::VecDeque;

/// The namespace of stream management.
const SM: &str = "urn:xmpp:sm:3";

/// The contact that every account's sessions give names to.
pub(super) const PAL: &str = "pal@example.org";

/// What it makes of stream management.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// It acknowledges, and wants acknowledgements.
    Managed,
    /// It resumes, too.
    Resuming,
}

/// Where a client stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Away,
    /// Its header is sent; features come.
    Opening,
    Authenticating,
    /// The second header is sent.
    Reopening,
    Resuming,
    Binding,
    Bound,
    /// Has closed its stream, or got a stream error.
    Leaving,
}

/// See the module.
pub(super) struct Client {
    pub(super) user: usize,
    pub(super) kind: Kind,
    /// It loses its connection more often than others.
    pub(super) flaky: bool,
    /// It reads little at a time, and acknowledges late.
    pub(super) slow: bool,
    pub(super) life: Life,
    /// Its connection: event loop and counter.
    pub(super) at: Option<(usize, u64)>,
    framer: Framer,
    scope: Scope,
    input: Vec<u8>,
    /// Bytes on their way to the edge.
    pub(super) output: Vec<u8>,
    /// Does not read.
    pub(super) stalled: bool,
    /// Its session, with all its resumptions.
    pub(super) resource: Resource,
    /// The number of the session that begins if that cannot be resumed.
    fresh: u64,
    /// To whom it said something that was not acknowledged in a session that is over: it says it again.
    pub(super) again: VecDeque<String>,
    pub(super) answered: u64,
    pub(super) resumed: u64,
}

impl Client {
    pub(super) fn new(user: usize, kind: Kind) -> Client {
        Client {
            user,
            kind,
            flaky: false,
            slow: false,
            life: Life::Away,
            at: None,
            framer: Framer::new(),
            scope: Scope::default(),
            input: Vec::new(),
            output: Vec::new(),
            stalled: false,
            resource: Resource::default(),
            fresh: 0,
            again: VecDeque::new(),
            answered: 0,
            resumed: 0,
        }
    }

    /// Opens a stream on a fresh connection: for its session if it can be resumed, else for session `fresh`.
    pub(super) fn connect(&mut self, at: (usize, u64), fresh: u64, priority: i8) {
        self.disconnected();
        self.at = Some(at);
        self.fresh = fresh;
        if !self.is_resumable() {
            self.resource = Resource::new(fresh, priority);
        }
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

    /// What it was sent of a stanza that is not whole.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.input
    }

    fn disconnected(&mut self) {
        self.life = Life::Away;
        self.at = None;
        (self.framer, self.scope) = (Framer::new(), Scope::default());
        self.input.clear();
        self.output.clear();
        self.stalled = false;
    }

    /// Whether it would ask for its session when it comes back.
    pub(super) fn is_resumable(&self) -> bool {
        self.previd().is_some()
    }

    /// By what it would ask for it.
    pub(super) fn previd(&self) -> Option<&str> {
        self.resource.managed.as_ref().filter(|_| !self.resource.over)?.previd.as_deref()
    }

    /// Sends one stanza of a bound session.
    pub(super) fn stanza(&mut self, text: &str) {
        self.send(text, None);
    }

    fn send(&mut self, text: &str, message: Option<(u64, &str)>) {
        self.output.extend_from_slice(text.as_bytes());
        self.resource.number += 1;
        if let Some((id, _)) = message {
            self.resource.unsettled.insert(self.resource.number, id);
        }
        if let Some(managed) = &mut self.resource.managed {
            managed.sent(text, message);
        }
    }

    /// Sends a chat message.
    pub(super) fn message(&mut self, id: u64, to: &str) {
        let text = format!("<message type='chat' id='m{id}' to='{to}'><body>&lt;{id}&gt;</body></message>");
        self.send(&text, Some((id, to)));
    }

    /// Asks something that must be answered.
    pub(super) fn ask(&mut self, to: &str, payload: &str) {
        let to = if to.is_empty() { String::new() } else { format!(" to='{to}'") };
        let id = self.resource.next_iq();
        self.stanza(&format!("<iq type='get' id='{id}'{to}>{payload}</iq>"));
    }

    /// Gives the contact that all sessions of the account name another name.
    pub(super) fn rename(&mut self, checks: &mut Checks) {
        let id = self.resource.next_iq();
        let value = self.resource.next_value(&id);
        checks.rosters.written(value);
        let name = value.text();
        self.stanza(&format!(
            "<iq type='set' id='{id}'><query xmlns='jabber:iq:roster'><item jid='{PAL}' name='{name}'/></query></iq>"
        ));
    }

    /// Says that it is available, with its priority.
    pub(super) fn available(&mut self) {
        let (priority, stamp) = (self.resource.priority, self.resource.stamp().text());
        self.stanza(&format!("<presence><priority>{priority}</priority><status>{stamp}</status></presence>"));
        self.resource.receives(priority >= 0);
    }

    pub(super) fn unavailable(&mut self) {
        self.resource.times += 1;
        self.stanza("<presence type='unavailable'/>");
        self.resource.receives(false);
    }

    /// Asks how many of its stanzas are handled.
    pub(super) fn request(&mut self) {
        if self.resource.managed.is_some() {
            self.output.extend_from_slice(format!("<r xmlns='{SM}'/>").as_bytes());
        }
    }

    /// Says how many it has handled, if it counts.
    pub(super) fn acknowledge(&mut self) {
        if let Some(handled) = self.resource.managed.as_ref().and_then(|managed| managed.handled) {
            self.output.extend_from_slice(format!("<a xmlns='{SM}' h='{handled}'/>").as_bytes());
        }
    }

    /// Closes its stream properly.
    pub(super) fn leave(&mut self) {
        self.output.extend_from_slice(b"</stream:stream>");
        self.over();
    }

    /// Nothing more comes of the stream; a session that was bound on it is over.
    fn over(&mut self) {
        self.resource.over |= self.life == Life::Bound;
        self.life = Life::Leaving;
    }

    /// Its connection is gone.
    pub(super) fn gone(&mut self) {
        self.disconnected();
        if !self.is_resumable() {
            self.resource = Resource::default();
        }
    }

    /// It does not come back to its session.
    pub(super) fn forget(&mut self) {
        self.disconnected();
        self.resource = Resource::default();
    }

    /// Bytes of the server.
    pub(super) fn read(&mut self, bytes: &[u8], checks: &mut Checks) -> Result<(), Rule> {
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
                Piece::Close => self.over(),
                Piece::Element => {
                    let (limits, mut encoded) = (&Limits::AUTHENTICATED, Vec::new());
                    xml::parse_element(&bytes, &self.scope, limits, &mut Scratch::default(), &mut encoded)
                        .map_err(|_| not_xml(self))?;
                    if let Some(tree::Node::Element(element)) = tree::nodes(&encoded, tree::CLIENT).next() {
                        self.element(&element, checks)?;
                    }
                }
            }
        }
    }

    pub(super) fn name(&self) -> String {
        if self.resource.jid.is_empty() {
            format!("user{}", self.user)
        } else {
            format!("{} (session {})", self.resource.jid, self.resource.session)
        }
    }

    fn element(&mut self, element: &Element<'_>, checks: &mut Checks) -> Result<(), Rule> {
        match (self.life, element.name()) {
            (_, "error") => self.stream_error(element),
            (_, "r" | "a" | "enabled" | "resumed" | "failed") if element.ns() == SM => self.on_sm(element, checks),
            (Life::Bound | Life::Leaving, "iq" | "message" | "presence") => {
                if let Some(managed) = &mut self.resource.managed {
                    managed.got();
                }
                self.on_stanza(element, checks)
            }
            (_, name) => {
                self.negotiate(name, element);
                Ok(())
            }
        }
    }

    fn stream_error(&mut self, error: &Element<'_>) -> Result<(), Rule> {
        let condition = error.children().next().map(|e| e.name().to_owned()).unwrap_or_default();
        self.over();
        // What faults of the run make the server say.
        let explained = ["reset", "conflict", "resource-constraint", "connection-timeout", "system-shutdown"];
        if explained.contains(&condition.as_str()) || condition == "remote-connection-failed" {
            return Ok(());
        }
        Err(Rule::StreamError { client: self.name(), condition })
    }

    /// Up to the bound resource.
    fn negotiate(&mut self, name: &str, element: &Element<'_>) {
        match (self.life, name) {
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
            (Life::Reopening, "features") if self.is_resumable() => self.resume(),
            (Life::Reopening, "features") => self.bind(),
            (Life::Binding, "iq") if element.attr("type") == Some("result") => {
                let jid = element.children().next().and_then(|bind| bind.children().next()).map(|jid| jid.text());
                self.resource.jid = jid.unwrap_or_default();
                self.life = Life::Bound;
                self.begin();
            }
            (Life::Binding, "iq") => self.leave(),
            _ => {}
        }
    }

    fn bind(&mut self) {
        self.resource = Resource::new(self.fresh, self.resource.priority);
        let resource = self.fresh % 3;
        self.output.extend_from_slice(
            format!(
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <resource>r{resource}</resource></bind></iq>"
            )
            .as_bytes(),
        );
        self.life = Life::Binding;
    }

    /// What it says first; some count from the first stanza, some from a later one.
    fn begin(&mut self) {
        let early = self.resource.session.is_multiple_of(2);
        if early {
            self.enable();
        }
        self.ask("", "<query xmlns='jabber:iq:roster'/>");
        self.available();
        if !early {
            self.enable();
        }
    }

    fn enable(&mut self) {
        let resume = match self.kind {
            Kind::Plain => return,
            Kind::Managed => "",
            // Some have little patience, so that sessions end while they are parked.
            Kind::Resuming if self.resource.session.is_multiple_of(5) => " resume='1' max='7'",
            Kind::Resuming => " resume='true'",
        };
        self.output.extend_from_slice(format!("<enable xmlns='{SM}'{resume}/>").as_bytes());
        self.resource.managed = Some(Managed::new(self.resource.number));
        self.resource.uncounted();
    }

    fn resume(&mut self) {
        let Some(managed) = &self.resource.managed else { return };
        let (previd, h) = (managed.previd.clone().unwrap_or_default(), managed.handled.unwrap_or(0));
        self.output.extend_from_slice(format!("<resume xmlns='{SM}' previd='{previd}' h='{h}'/>").as_bytes());
        self.life = Life::Resuming;
    }

    fn on_sm(&mut self, element: &Element<'_>, checks: &mut Checks) -> Result<(), Rule> {
        let h = element.attr("h").and_then(|h| h.parse().ok());
        match element.name() {
            "r" if self.slow => {}
            "r" => self.acknowledge(),
            "a" => self.handled(h.unwrap_or_default(), checks)?,
            "enabled" => {
                if let Some(managed) = &mut self.resource.managed {
                    managed.enabled(element.attr("id"));
                }
            }
            "resumed" if self.life == Life::Resuming => {
                self.handled(h.unwrap_or_default(), checks)?;
                self.resumed += 1;
                self.resource.resumed();
                self.life = Life::Bound;
                self.say_the_rest(checks);
            }
            "failed" if self.life == Life::Resuming => {
                if let Some(h) = h {
                    self.handled(h, checks)?;
                }
                let retry = element.children().any(|condition| condition.name() == "resource-constraint");
                if retry {
                    self.leave();
                } else {
                    let rest = self.resource.managed.as_ref().map(Managed::messages).unwrap_or_default();
                    self.again.extend(rest);
                    self.bind();
                }
            }
            // The core was not there when it asked.
            _ => {}
        }
        Ok(())
    }

    fn handled(&mut self, h: u32, checks: &mut Checks) -> Result<(), Rule> {
        let client = self.name();
        let Some(managed) = &mut self.resource.managed else { return Ok(()) };
        for id in managed.handled_up_to(h, &client)? {
            checks.messages.acknowledged(id);
        }
        Ok(())
    }

    /// Sends again what the server did not handle; its numbers follow those that it did.
    fn say_the_rest(&mut self, checks: &mut Checks) {
        self.resource.unsettled.clear();
        let Some(managed) = self.resource.managed.take() else { return };
        self.resource.number = managed.number();
        for (text, message) in managed.rest() {
            self.output.extend_from_slice(text.as_bytes());
            self.resource.number += 1;
            if let Some(id) = message {
                self.resource.unsettled.insert(self.resource.number, id);
            }
            if question(text).is_some_and(|id| self.resource.ask_again(id)) {
                checks.rosters.may_come_late(self.resource.session);
            }
        }
        self.resource.managed = Some(managed);
    }

    fn on_stanza(&mut self, stanza: &Element<'_>, checks: &mut Checks) -> Result<(), Rule> {
        match stanza.name() {
            "iq" => self.on_iq(stanza, checks),
            "message" if stanza.attr("type") != Some("error") => {
                let id = stanza.attr("id").and_then(|id| id.strip_prefix('m')).and_then(|id| id.parse().ok());
                let live = !stanza.children().any(|e| e.ns() == "urn:xmpp:delay");
                let Some(id) = id else { return Ok(()) };
                let text = stanza.children().find(|child| child.name() == "body").map(|body| body.text());
                let (session, text) = (self.resource.session, text.unwrap_or_default());
                let name = stanza.children().find(|child| child.name() == "stanza-id");
                let name = name.and_then(|name| name.attr("id"));
                checks.messages.delivered(id, session, &self.name(), live, &text, (&address(self.user), name))
            }
            "presence" => {
                self.on_presence(stanza, checks);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Of itself and of the user whose contact it is for life.
    fn on_presence(&self, presence: &Element<'_>, checks: &mut Checks) {
        let from = presence.attr("from").unwrap_or_default();
        let watched = [self.user, friend(self.user)];
        if !watched.iter().any(|user| from.split_once('/').is_some_and(|(bare, _)| bare == address(*user))) {
            return;
        }
        let status = presence.children().find(|child| child.name() == "status").map(|status| status.text());
        match (presence.attr("type"), status.as_deref().and_then(Stamp::parse)) {
            (None, Some(stamp)) => checks.presences.available(self.resource.session, from, stamp),
            (Some("unavailable"), _) => checks.presences.unavailable(self.resource.session, from),
            _ => {}
        }
    }

    fn on_iq(&mut self, iq: &Element<'_>, checks: &mut Checks) -> Result<(), Rule> {
        let id = iq.attr("id").unwrap_or_default().to_owned();
        let client = self.name();
        match iq.attr("type") {
            Some(ty @ ("result" | "error")) => {
                self.answered += u64::from(self.resource.answered(&id, &client)?);
                if iq.children().any(|error| error.children().any(|e| e.text() == ANSWER_LOST)) {
                    self.resource.may_answer_late(&id);
                }
                match self.resource.value_of(&id) {
                    Some(value) if ty == "result" => checks.rosters.acknowledged(&address(self.user), value),
                    Some(_) => self.resource.refused(&id),
                    None => {}
                }
            }
            // Others' questions are answered as a good client answers them.
            Some(_) if self.life == Life::Bound => {
                let to = iq.attr("from").map(|from| format!(" to='{from}'")).unwrap_or_default();
                self.stanza(&format!("<iq type='result' id='{}'{to}/>", escape(&id)));
                if let Some(value) = pushed(iq) {
                    checks.rosters.pushed(self.resource.session, &client, value)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The value in a roster push.
fn pushed(iq: &Element<'_>) -> Option<Value> {
    let item = iq.child("jabber:iq:roster", "query")?.children().next()?;
    (item.attr("jid") == Some(PAL)).then(|| item.attr("name").and_then(Value::parse))?
}

/// The id of a stanza of ours, if it is a question.
fn question(text: &str) -> Option<&str> {
    text.strip_prefix("<iq type='get' id='").or(text.strip_prefix("<iq type='set' id='"))?.split('\'').next()
}

/// Users are contacts in pairs.
pub(super) fn friend(user: usize) -> usize {
    user ^ 1
}

/// The bare JID of a user.
pub(super) fn address(user: usize) -> String {
    format!("user{user}@example.org")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
