//! A stream before its resource is bound: headers, STARTTLS, resource binding. SASL is in `sasl.rs` and `sasl2.rs`.

use super::sasl2::{self, Sasl2};
use super::{At, Deadline, Facts, Input, Output, Question, Stream, write};
use crate::directory::{Domain, Hosted, TLS_NS};
use crate::limits::{BIND_ID_BYTES_MAX, LANG_BYTES_MAX, PRE_AUTH_ELEMENTS_MAX, PREVID_BYTES_MAX};
use crate::render::{self, StreamHeader};
use crate::session::Session;
use crate::sm;
use crate::tls::Protection;
use crate::xml::{self, Header};
use hearth_wire::ids::StreamId;
use hearth_wire::jid;
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::to_edge::{Bound, Resumed};
use hearth_wire::tree::{Builder, Element};
use hearth_wire::{StanzaCondition, StreamCondition};

const BIND_NS: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const STANZAS_NS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
const REGISTER_NS: &str = "jabber:iq:register";
pub(super) const SASL_NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// Where the negotiation stands; the paths are drawn in the module above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    AwaitHeader,
    /// A good header came, the core did not yet.
    Held {
        to: String,
    },
    Features,
    StartingTls,
    /// The core is to answer about SASL.
    Asked,
    /// The client is to answer a challenge.
    Challenged,
    /// The core is to answer about a registration.
    Registering,
    /// The core is to answer about a resource; the iq's id.
    Binding {
        id: String,
    },
    /// The core is to answer about a session to go on with.
    Resuming {
        previd: String,
    },
}

/// What a stream needs before bind, and frees then.
#[derive(Debug)]
pub struct Negotiation {
    pub(super) state: State,
    id: [u8; 16],
    /// Our header of this stream is written.
    opened: bool,
    /// `None`: not encrypted.
    pub(super) protection: Option<Protection>,
    pub(super) clear_login: bool,
    /// Bare JIDs of the client's certificate.
    certified: Vec<Box<str>>,
    /// Those that the stream is offered `EXTERNAL` for (XEP-0178 §2).
    pub(super) addresses: Vec<Box<str>>,
    /// This stream's domain, once it is known.
    pub(super) domain: Option<Box<str>>,
    /// Bare JID, once the core has said so.
    pub(super) account: Option<Box<str>>,
    /// Bare JID that the client calls itself (RFC 6120 §4.7.1).
    pub(super) from: Option<Box<str>>,
    lang: Option<Box<str>>,
    registration: bool,
    /// The domain offers XEP-0198.
    pub(super) sm: bool,
    /// Elements seen, over all restarts.
    elements: u16,
    /// What was asked last, to be asked again elsewhere.
    pub(super) asked: Option<Question>,
    /// The stream offers XEP-0388 ([`sasl2::Offer`]), and how far the client went with it.
    pub(super) sasl2: Option<Box<Sasl2>>,
    /// The client began to authenticate by RFC 6120 and does not change its mind.
    pub(super) sasl1: bool,
}

impl Negotiation {
    pub(super) fn new(facts: Facts) -> Negotiation {
        Negotiation {
            state: State::AwaitHeader,
            id: facts.id,
            opened: false,
            protection: None,
            clear_login: facts.clear_login,
            certified: Vec::new(),
            addresses: Vec::new(),
            domain: None,
            account: None,
            from: None,
            lang: None,
            registration: false,
            sm: false,
            elements: 0,
            asked: None,
            sasl2: None,
            sasl1: false,
        }
    }

    pub(super) fn reads(&self) -> bool {
        match self.state {
            State::AwaitHeader | State::Features | State::StartingTls | State::Challenged => true,
            State::Held { .. } | State::Asked | State::Registering => false,
            State::Binding { .. } | State::Resuming { .. } => false,
        }
    }

    /// The `to` of a header that waits for the core.
    pub fn held_for(&self) -> Option<&str> {
        match &self.state {
            State::Held { to } => Some(to),
            _ => None,
        }
    }

    /// The stream's domain, once its header is accepted.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Bare JID of the client, once authenticated.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(super) fn handle(&mut self, input: Input<'_>, out: &mut Vec<Output>) -> Option<Stream> {
        match input {
            Input::Header { header, domain, id } => self.on_header(header, domain, id, out),
            Input::Directory { domain } => self.on_directory(domain, out),
            Input::Element { element, more } => self.on_element(&element, more, out),
            Input::Close => self.close(true, out),
            Input::Refused { condition, text } => self.fault(condition, text, out),
            Input::Eof => out.push(Output::End { clean: false, linger: false }),
            Input::TlsReady(protection) => {
                self.protection = Some(protection);
                self.restart();
            }
            Input::Certified(addresses) => self.certified = addresses,
            Input::Challenge(data) => self.on_challenge(data, out),
            Input::Success { account, data } => self.on_success(account, data, out),
            Input::Token { token, expires_ms } => self.on_token(token, expires_ms),
            Input::Failure { condition, last } => self.on_failure(condition, last, out),
            Input::Moved(slot) => self.on_moved(slot, out),
            Input::Bound(bound) => return self.on_bound(bound, out),
            Input::BindRefused(condition) => self.on_bind_refused(condition, out),
            Input::Resumed(resumed) => return self.on_resumed(resumed, out),
            Input::ResumeFailed { condition, h } => self.on_resume_failed(condition, h, out),
            // It answers what only a bound session asks.
            Input::SmEnabled { .. } => {}
            Input::Reply(stanza) => {
                if self.state == State::Registering {
                    (self.state, self.asked) = (State::Features, None);
                    out.push(Output::Write(stanza.to_vec()));
                }
            }
            Input::CoreClose { condition: Some(condition), text } => self.fault(condition, text, out),
            Input::CoreClose { condition: None, .. } => self.close(false, out),
            Input::LinkLost | Input::Detached => self.on_link_lost(out),
            Input::Deadline(Deadline::Login | Deadline::Stanza | Deadline::Idle | Deadline::Unanswered) => {
                let condition = match self.state {
                    State::Held { .. } => StreamCondition::RemoteConnectionFailed,
                    _ => StreamCondition::ConnectionTimeout,
                };
                self.fault(condition, "", out);
            }
            Input::Shutdown(elsewhere) => {
                let logged_in = self.account.is_some();
                self.end_with(|bytes| elsewhere.refer(logged_in, bytes), out);
            }
        }
        None
    }

    /// RFC 6120 §4.3.3: everything said before is forgotten, but who and how secret.
    pub(super) fn restart(&mut self) {
        self.state = State::AwaitHeader;
        self.opened = false;
        self.asked = None;
        self.from = None;
        self.lang = None;
        self.sasl2 = None;
    }

    /// RFC 6120 §4.7, §4.8.
    fn on_header(&mut self, header: &Header<'_>, domain: Hosted<'_>, id: [u8; 16], out: &mut Vec<Output>) {
        if self.state != State::AwaitHeader {
            return self.fault(StreamCondition::BadFormat, "", out);
        }
        self.id = id;
        if let Some(condition) = header.namespace_fault() {
            return self.fault(condition, "", out);
        }
        // §4.7.5: a higher version is answered with ours; one below 1.0, or none, is not spoken here.
        let major = header.version.as_deref().and_then(|version| version.split_once('.')).map(|(major, _)| major);
        if major.and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major < 1) {
            return self.fault(StreamCondition::UnsupportedVersion, "", out);
        }
        let Some(to) = header.to.as_deref() else {
            return self.fault(StreamCondition::ImproperAddressing, "a client's stream needs 'to'", out);
        };
        self.from = match header.from.as_deref().map(jid::prepare) {
            Some(Ok(from)) => Some(jid::bare_str(&from).into()),
            Some(Err(_)) => return self.fault(StreamCondition::InvalidFrom, "", out),
            None => None,
        };
        self.lang = header.lang.as_deref().filter(|lang| is_language(lang)).map(Into::into);
        match domain {
            Hosted::Waiting => self.state = State::Held { to: to.to_owned() },
            Hosted::Unknown => self.fault(StreamCondition::HostUnknown, "", out),
            Hosted::Known(domain) => self.open(domain, out),
        }
    }

    fn on_directory(&mut self, domain: Hosted<'_>, out: &mut Vec<Output>) {
        match (&self.state, domain) {
            (State::Held { .. }, Hosted::Unknown) => self.fault(StreamCondition::HostUnknown, "", out),
            (State::Held { .. }, Hosted::Known(domain)) => self.open(domain, out),
            _ => {}
        }
    }

    /// Answers a good header with ours and the features.
    fn open(&mut self, domain: &Domain, out: &mut Vec<Output>) {
        if let Some(account) = self.account.as_deref() {
            // Who proved to be someone of one domain does not speak to another (threats, row 25).
            if jid::split(account).1 != &*domain.name {
                return self.fault(StreamCondition::NotAuthorized, "not the domain that was authenticated to", out);
            }
            if self.from.as_deref().is_some_and(|from| from != account) {
                return self.fault(StreamCondition::InvalidFrom, "", out);
            }
        }
        self.domain = Some(domain.name.clone());
        self.addresses.clone_from(&self.certified);
        self.addresses.retain(|address| domain.certified.is_some() && jid::split(address).1 == &*domain.name);
        let mut bytes = Vec::with_capacity(1024);
        self.write_header(&mut bytes);
        bytes.extend_from_slice(self.features(domain));
        self.sm = domain.sm;
        self.sasl2 = self.offers_sasl2(domain);
        self.registration = self.account.is_none()
            && match self.protection {
                Some(_) => domain.registration_tls,
                None => self.clear_login && domain.registration_clear,
            };
        self.state = State::Features;
        out.push(Output::Write(bytes));
    }

    fn features<'a>(&self, domain: &'a Domain) -> &'a [u8] {
        match (&self.account, self.protection) {
            (Some(_), _) => &domain.features_authenticated,
            (None, Some(protection)) => domain.features_in_tls(&protection, !self.addresses.is_empty()),
            (None, None) => match &domain.features_clear {
                Some(clear) if self.clear_login => clear,
                Some(_) | None => &domain.features_starttls,
            },
        }
    }

    fn write_header(&mut self, bytes: &mut Vec<u8>) {
        self.opened = true;
        let id = StreamId(self.id).to_string();
        let header =
            StreamHeader { from: self.domain.as_deref(), to: self.from.as_deref(), id: &id, lang: "en", version: true };
        render::stream_header(&header, bytes);
    }

    /// Ends the stream with an error; §4.9.1.2: behind a header of ours, if there was none.
    pub(super) fn fault(&mut self, condition: StreamCondition, text: &str, out: &mut Vec<Output>) {
        self.end_with(|bytes| render::stream_error(condition, text, bytes), out);
    }

    /// Ends the stream with the error that `render` writes.
    fn end_with(&mut self, render: impl FnOnce(&mut Vec<u8>), out: &mut Vec<Output>) {
        // In the middle of a TLS handshake nobody would understand it.
        if self.state == State::StartingTls {
            out.push(Output::End { clean: false, linger: false });
            return;
        }
        let mut bytes = Vec::new();
        if !self.opened {
            self.write_header(&mut bytes);
        }
        render(&mut bytes);
        render::stream_close(&mut bytes);
        out.push(Output::Write(bytes));
        out.push(Output::End { clean: false, linger: true });
    }

    fn close(&mut self, clean: bool, out: &mut Vec<Output>) {
        if self.state != State::StartingTls {
            let mut bytes = Vec::new();
            if !self.opened {
                self.write_header(&mut bytes);
            }
            render::stream_close(&mut bytes);
            out.push(Output::Write(bytes));
        }
        out.push(Output::End { clean, linger: !clean });
    }

    fn on_element(&mut self, element: &Element<'_>, more: bool, out: &mut Vec<Output>) {
        self.elements = self.elements.saturating_add(1);
        if self.elements > PRE_AUTH_ELEMENTS_MAX {
            return self.fault(StreamCondition::PolicyViolation, "too many elements before login", out);
        }
        match (element.ns(), element.name()) {
            (TLS_NS, "starttls") => self.on_starttls(more, out),
            (SASL_NS, name) => self.on_sasl(name, element, out),
            (sasl2::NS, name) if self.sasl2.is_some() => self.on_sasl2(name, element, out),
            // XEP-0388 §2.5: nothing else while it is under way.
            _ if self.authenticates_by_sasl2() => {
                self.fault(StreamCondition::PolicyViolation, "not while authenticating", out);
            }
            (sm::NS, name) if self.account.is_some() => self.on_sm(name, element, out),
            // The client ends its stream with an error of its own (§4.9.1.1).
            (xml::STREAMS, "error") => self.close(false, out),
            (xml::CLIENT, "iq") if self.account.is_some() => self.on_iq(element, out),
            (xml::CLIENT, "iq") if self.registration && self.state == State::Features => {
                self.on_registration(element, out)
            }
            // §4.9.3.12 before authentication, §7.1 before a resource is bound.
            (xml::CLIENT, "message" | "presence") => self.fault(StreamCondition::NotAuthorized, "", out),
            _ if self.account.is_none() => self.fault(StreamCondition::NotAuthorized, "", out),
            _ => self.fault(StreamCondition::UnsupportedStanzaType, "", out),
        }
    }

    /// RFC 6120 §5.4.2.
    fn on_starttls(&mut self, more: bool, out: &mut Vec<Output>) {
        let mut bytes = Vec::new();
        // What lies behind it in the clear would be taken for what came encrypted (threats, row 13).
        if self.protection.is_some() || self.account.is_some() || self.state != State::Features || more {
            render::tls_failure(&mut bytes);
            render::stream_close(&mut bytes);
            out.push(Output::Write(bytes));
            out.push(Output::End { clean: false, linger: true });
            return;
        }
        render::tls_proceed(&mut bytes);
        self.state = State::StartingTls;
        out.push(Output::Write(bytes));
        out.push(Output::StartTls);
    }

    /// XEP-0198: before a resource is bound a session may be gone on with, and nothing else (§3).
    fn on_sm(&mut self, name: &str, element: &Element<'_>, out: &mut Vec<Output>) {
        let previd = element.attr("previd").filter(|previd| !previd.is_empty() && previd.len() <= PREVID_BYTES_MAX);
        let condition = match (name, previd, element.attr("h").and_then(sm::unsigned)) {
            ("resume", ..) if !self.sm => StanzaCondition::FeatureNotImplemented,
            ("resume", Some(previd), Some(h)) => {
                let previd = previd.to_owned();
                self.state = State::Resuming { previd: previd.clone() };
                return out.push(Output::Ask(Question::Resume { previd, h }));
            }
            ("resume", ..) => StanzaCondition::BadRequest,
            ("enable" | "r" | "a", ..) => StanzaCondition::UnexpectedRequest,
            _ => return self.fault(StreamCondition::UnsupportedStanzaType, "", out),
        };
        write(out, |bytes| render::sm_failed(condition, None, bytes));
    }

    fn on_resumed(&mut self, resumed: &Resumed<'_>, out: &mut Vec<Output>) -> Option<Stream> {
        let State::Resuming { previd } = &self.state else { return None };
        let session = Session::resumed(resumed, self.lang.as_deref());
        let success = self.sasl2.as_mut().and_then(|sasl2| sasl2.success.take());
        write(out, |bytes| match success {
            Some(success) => success.resumed(resumed.jid, previd, session.handled(), bytes),
            None => render::sm_resumed(previd, session.handled(), bytes),
        });
        out.push(Output::Bound);
        Some(Stream::Bound(Box::new(session)))
    }

    fn on_resume_failed(&mut self, condition: StanzaCondition, h: Option<u32>, out: &mut Vec<Output>) {
        if matches!(self.state, State::Resuming { .. }) {
            self.state = State::Features;
            let succeeded = self.sasl2.as_mut().and_then(|sasl2| sasl2.success.take());
            match succeeded {
                Some(success) => self.welcome(&success, |bytes| render::sm_failed(condition, h, bytes), out),
                None => write(out, |bytes| render::sm_failed(condition, h, bytes)),
            }
        }
    }

    /// RFC 6120 §7: before a resource is bound, that is all an iq may ask.
    fn on_iq(&mut self, iq: &Element<'_>, out: &mut Vec<Output>) {
        if let Some(to) = iq.attr("to") {
            let ours = jid::prepare(to)
                .is_ok_and(|to| Some(&*to) == self.account.as_deref() || Some(&*to) == self.domain.as_deref());
            if !ours {
                return self.fault(StreamCondition::NotAuthorized, "bind a resource first", out);
            }
        }
        let id = iq.attr("id").unwrap_or_default();
        let bind = iq.child(BIND_NS, "bind");
        match (iq.attr("type"), bind) {
            (Some("set"), Some(bind)) if !id.is_empty() && id.len() <= BIND_ID_BYTES_MAX => {
                let resource = bind.child(BIND_NS, "resource").map(|r| r.text()).filter(|r| !r.is_empty());
                self.state = State::Binding { id: id.to_owned() };
                out.push(Output::Ask(Question::Bind { resource }));
            }
            (_, Some(_)) => self.iq_error(id, StanzaCondition::BadRequest, out),
            (Some("get" | "set"), None) => self.iq_error(id, StanzaCondition::UnexpectedRequest, out),
            // Answers to nothing.
            _ => {}
        }
    }

    fn on_bound(&mut self, bound: &Bound<'_>, out: &mut Vec<Output>) -> Option<Stream> {
        let State::Binding { id } = &self.state else { return None };
        let mut tree = Builder::new();
        tree.open(Some(BIND_NS), "bind").leaf(None, "jid", bound.jid).close();
        let payload = tree.finish();
        let iq = Stanza { id: Some(id), payload: &payload, ..Stanza::new(StanzaKind::Iq, StanzaType::Result) };
        out.push(Output::Write(render::own(&iq)));
        out.push(Output::Bound);
        Some(Stream::Bound(Box::new(Session::new(bound, self.lang.as_deref(), self.sm))))
    }

    fn on_bind_refused(&mut self, condition: StanzaCondition, out: &mut Vec<Output>) {
        if let State::Binding { id } = &mut self.state {
            let id = std::mem::take(id);
            self.state = State::Features;
            self.iq_error(&id, condition, out);
        }
    }

    fn iq_error(&mut self, id: &str, condition: StanzaCondition, out: &mut Vec<Output>) {
        let mut tree = Builder::new();
        tree.open(None, "error").attr("type", condition.error_type().attribute());
        tree.open(Some(STANZAS_NS), condition.element()).close().close();
        let payload = tree.finish();
        let id = Some(id).filter(|id| !id.is_empty());
        let iq = Stanza { id, payload: &payload, ..Stanza::new(StanzaKind::Iq, StanzaType::Error) };
        out.push(Output::Write(render::own(&iq)));
    }

    /// XEP-0077 §3.1: the only stanza before authentication, where the domain offers it.
    fn on_registration(&mut self, iq: &Element<'_>, out: &mut Vec<Output>) {
        let ty = StanzaType::parse(StanzaKind::Iq, iq.attr("type"));
        let query = iq.child(REGISTER_NS, "query").is_some();
        let (StanzaType::Get | StanzaType::Set, true, Some(domain)) = (ty, query, self.domain.clone()) else {
            return self.fault(StreamCondition::NotAuthorized, "", out);
        };
        // It begins at the domain, which counts them, wherever the account will live.
        let entity = domain.to_string();
        let stanza = Stanza { id: iq.attr("id"), payload: iq.content(), ..Stanza::new(StanzaKind::Iq, ty) }.encode();
        self.state = State::Registering;
        self.ask(Question::Register { at: At::Entity(entity), domain, protection: self.protection, stanza }, out);
    }

    /// Asks, and remembers what in case the core says that it lives elsewhere.
    pub(super) fn ask(&mut self, question: Question, out: &mut Vec<Output>) {
        self.asked = Some(question.clone());
        out.push(Output::Ask(question));
    }

    /// The shard that was asked does not own the account: ask the one that does.
    fn on_moved(&mut self, slot: hearth_wire::ids::Slot, out: &mut Vec<Output>) {
        if !matches!(self.state, State::Asked | State::Registering) {
            return;
        }
        match self.asked.as_mut() {
            Some(Question::Authenticate { at, .. } | Question::Register { at, .. }) => *at = At::Slot(slot),
            // The account moved in the middle of the exchange: it begins anew.
            _ => return self.on_core_away(out),
        }
        out.extend(self.asked.clone().map(Output::Ask));
    }

    /// Whoever waits for the core's answer gets one; who is authenticated has lost that.
    fn on_link_lost(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Asked | State::Challenged => self.on_core_away(out),
            State::Registering => {
                self.fault(StreamCondition::RemoteConnectionFailed, "", out);
            }
            _ if self.account.is_some() => self.fault(StreamCondition::Reset, "", out),
            // Only who is authenticated asks for those.
            State::Binding { .. } | State::Resuming { .. } => {}
            State::AwaitHeader | State::Held { .. } | State::Features | State::StartingTls => {}
        }
    }
}

/// Looks like RFC 5646 and is short: what else stands there is not worth keeping or repeating.
fn is_language(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= LANG_BYTES_MAX && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
