//! Authentication by XEP-0388: one request that says and asks everything, one answer to it, no new stream behind.
//!
//! What came along is asked for in its order once the exchange succeeded: a session to go on with (XEP-0198 §9.2) by
//! the question that a client could have put itself. Only then the client hears of both. A resource it binds as ever:
//! there is no Bind 2 (XEP-0386) here.

use super::negotiation::{Negotiation, State};
use super::sasl::{ONE_PROFILE, Payload};
use super::{Agent, Inline, Output, Question, write};
use crate::directory::Domain;
use crate::limits::PREVID_BYTES_MAX;
use crate::{render, sm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearth_wire::limits::AGENT_TEXT_BYTES_MAX;
use hearth_wire::to_core::Fast;
use hearth_wire::tree::{Element, Node};
use hearth_wire::{SaslCondition, StanzaCondition, StreamCondition};
use std::sync::Arc;

pub(super) const NS: &str = "urn:xmpp:sasl:2";
const FAST_NS: &str = "urn:xmpp:fast:0";

/// XEP-0388 on one stream that offers it.
#[derive(Debug)]
pub(super) struct Sasl2 {
    /// What is offered behind success.
    features: Arc<[u8]>,
    /// The client chose this profile.
    pub(super) chosen: bool,
    /// Of the exchange under way: the session to go on with.
    resume: Option<Resume>,
    token: Option<Token>,
    /// The exchange has succeeded; the client hears so when the session is had, or is not.
    pub(super) success: Option<Success>,
}

#[derive(Debug)]
enum Resume {
    Session {
        previd: String,
        h: u32,
    },
    /// It says nothing that could be asked for.
    Refused(StanzaCondition),
}

#[derive(Debug)]
struct Token {
    token: String,
    expires_ms: u64,
}

/// What `<success/>` says, whatever came along.
#[derive(Debug)]
pub(super) struct Success {
    data: Option<Vec<u8>>,
    token: Option<Token>,
}

impl Sasl2 {
    /// The exchange is over; whether there was one.
    pub(super) fn fail(&mut self) -> bool {
        (self.resume, self.token) = (None, None);
        self.chosen
    }
}

impl Success {
    /// For the bare or full JID that the client is by now, and what `also` writes.
    fn write(&self, jid: &str, also: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        let token = self.token.as_ref().map(|token| (token.token.as_str(), token.expires_ms));
        render::sasl2_success(self.data.as_deref(), jid, token, also, out);
    }

    /// The session goes on: no features follow (XEP-0198 §9.2).
    pub(super) fn resumed(&self, jid: &str, previd: &str, h: u32, out: &mut Vec<u8>) {
        self.write(jid, |bytes| render::sm_resumed(previd, h, bytes), out);
    }
}

impl Negotiation {
    /// For a stream that was just opened: inside TLS, and not authenticated yet.
    pub(super) fn offers_sasl2(&self, domain: &Domain) -> Option<Box<Sasl2>> {
        let offered = domain.sasl2 && self.protection.is_some() && self.account.is_none();
        let features = Arc::clone(&domain.features_authenticated);
        offered.then(|| Box::new(Sasl2 { features, chosen: false, resume: None, token: None, success: None }))
    }

    /// An exchange by this profile is under way.
    pub(super) fn authenticates_by_sasl2(&self) -> bool {
        matches!(self.state, State::Asked | State::Challenged) && self.sasl2.as_ref().is_some_and(|sasl2| sasl2.chosen)
    }

    pub(super) fn on_sasl2(&mut self, name: &str, element: &Element<'_>, out: &mut Vec<Output>) {
        // §2.8: once is enough.
        if self.account.is_some() {
            return self.fault(StreamCondition::PolicyViolation, "already authenticated", out);
        }
        if self.sasl1 {
            return self.fault(StreamCondition::PolicyViolation, ONE_PROFILE, out);
        }
        let Some(sasl2) = &mut self.sasl2 else { return };
        sasl2.chosen = true;
        match name {
            "authenticate" => self.on_authenticate(element, out),
            "response" => self.on_response(data(element).map(Payload::Data), out),
            "abort" => self.on_abort(out),
            // `<next/>` and `<task-data/>` answer what is never asked here.
            _ => self.fault(StreamCondition::PolicyViolation, "not while authenticating", out),
        }
    }

    /// §2.4
    fn on_authenticate(&mut self, element: &Element<'_>, out: &mut Vec<Output>) {
        let said = inline(element, self.from.as_deref())
            .and_then(|inline| Ok((element.child(NS, "initial-response").as_ref().map(data).transpose()?, inline)));
        // Of an exchange that this one would interrupt nothing is left either.
        if let (Some(sasl2), true) = (&mut self.sasl2, self.state == State::Features) {
            sasl2.resume = element.child(sm::NS, "resume").map(|resume| session(&resume, self.sm));
        }
        self.begin(element, said.map(|(initial, inline)| (initial, Some(Box::new(inline)))), out);
    }

    /// The core has made a token; `<success/>` will tell.
    pub(super) fn on_token(&mut self, token: &str, expires_ms: u64) {
        if let (Some(sasl2), true) = (&mut self.sasl2, self.state == State::Asked) {
            sasl2.token = Some(Token { token: token.to_owned(), expires_ms });
        }
    }

    /// §2.6.1: what came along is done now, and the answer tells of all.
    pub(super) fn on_sasl2_success(&mut self, account: &str, data: Option<&[u8]>, out: &mut Vec<Output>) {
        let Some(sasl2) = &mut self.sasl2 else { return };
        let success = Success { data: data.map(<[u8]>::to_vec), token: sasl2.token.take() };
        self.account = Some(account.into());
        (self.asked, self.state) = (None, State::Features);
        out.push(Output::Authenticated);
        match sasl2.resume.take() {
            Some(Resume::Session { previd, h }) => {
                sasl2.success = Some(success);
                self.state = State::Resuming { previd: previd.clone() };
                out.push(Output::Ask(Question::Resume { previd, h }));
            }
            Some(Resume::Refused(condition)) => {
                self.welcome(&success, |bytes| render::sm_failed(condition, None, bytes), out);
            }
            None => self.welcome(&success, |_| {}, out),
        }
    }

    /// `<success/>`, and what the stream offers from now on.
    pub(super) fn welcome(&self, success: &Success, also: impl FnOnce(&mut Vec<u8>), out: &mut Vec<Output>) {
        let (Some(account), Some(sasl2)) = (self.account.as_deref(), &self.sasl2) else { return };
        write(out, |bytes| {
            success.write(account, also, bytes);
            bytes.extend_from_slice(&sasl2.features);
        });
    }
}

/// What came along with the exchange's beginning. What nobody here knows is passed over (§2.4).
fn inline(element: &Element<'_>, from: Option<&str>) -> Result<Inline, SaslCondition> {
    let agent = element.child(NS, "user-agent").as_ref().map(agent).transpose()?.flatten();
    let fast = element.child(FAST_NS, "fast").as_ref().map(fast).transpose()?;
    let request_token = element.child(FAST_NS, "request-token");
    let request_token = request_token.and_then(|request| request.attr("mechanism")).map(Into::into);
    Ok(Inline { from: from.map(Into::into), agent, fast, request_token })
}

/// §2.4: its id is a UUID of version 4. Without one it says nothing that is of use here.
fn agent(element: &Element<'_>) -> Result<Option<Agent>, SaslCondition> {
    let Some(id) = element.attr("id") else { return Ok(None) };
    let id = uuid(id).ok_or(SaslCondition::MalformedRequest)?;
    let text = |name| element.child(NS, name).map(|child| cut(&child.text()).into());
    Ok(Some(Agent { id, software: text("software"), device: text("device") }))
}

/// The bytes of a UUID of version 4 (RFC 9562 §5.4).
fn uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let digits = groups.concat();
    if lengths != [8, 4, 4, 4, 12] || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let id = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    let [.., version, _, variant, _, _, _, _, _, _, _] = id;
    (version >> 4 == 4 && variant >> 6 == 0b10).then_some(id)
}

fn cut(text: &str) -> &str {
    let end = (0..=AGENT_TEXT_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).filter(|_| text.len() > AGENT_TEXT_BYTES_MAX).unwrap_or(text)
}

/// XEP-0484 §3.4, §3.6.
fn fast(element: &Element<'_>) -> Result<Fast, SaslCondition> {
    let malformed = SaslCondition::MalformedRequest;
    let count = element.attr("count").map(|count| count.parse().map_err(|_| malformed)).transpose()?;
    let invalidate = match element.attr("invalidate") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(malformed),
    };
    Ok(Fast { count, invalidate })
}

/// XEP-0198 §5.
fn session(resume: &Element<'_>, offered: bool) -> Resume {
    let previd = resume.attr("previd").filter(|previd| !previd.is_empty() && previd.len() <= PREVID_BYTES_MAX);
    match (previd, resume.attr("h").and_then(sm::unsigned)) {
        _ if !offered => Resume::Refused(StanzaCondition::FeatureNotImplemented),
        (Some(previd), Some(h)) => Resume::Session { previd: previd.to_owned(), h },
        _ => Resume::Refused(StanzaCondition::BadRequest),
    }
}

/// §2.2: base64 without anything else; nothing is data of no bytes.
fn data(element: &Element<'_>) -> Result<Vec<u8>, SaslCondition> {
    if element.nodes().any(|node| matches!(node, Node::Element(_))) {
        return Err(SaslCondition::MalformedRequest);
    }
    STANDARD.decode(element.text()).map_err(|_| SaslCondition::IncorrectEncoding)
}
