//! SASL as the stream sees it (RFC 6120 §6): base64 and turns. What a mechanism means is the core's to judge.
//! The other profile (XEP-0388) is in `sasl2.rs`; what both do is here.

use super::negotiation::{Negotiation, State};
use super::{At, Auth, Inline, Output, Question, write};
use crate::limits::MECHANISM_BYTES_MAX;
use crate::render;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hearth_wire::jid;
use hearth_wire::tree::{Element, Node};
use hearth_wire::{SaslCondition, StreamCondition};

impl Negotiation {
    pub(super) fn on_sasl(&mut self, name: &str, element: &Element<'_>, out: &mut Vec<Output>) {
        // §6.3.5: once is enough.
        if self.account.is_some() {
            return self.fault(StreamCondition::PolicyViolation, "already authenticated", out);
        }
        // Threats, row 30: what one profile refused, the other is not asked again.
        if self.sasl2.as_ref().is_some_and(|sasl2| sasl2.chosen) {
            return self.fault(StreamCondition::PolicyViolation, ONE_PROFILE, out);
        }
        self.sasl1 = true;
        match name {
            "auth" => self.on_auth(element, out),
            "response" => self.on_response(payload(element), out),
            "abort" => self.on_abort(out),
            _ => self.fault(StreamCondition::NotAuthorized, "", out),
        }
    }

    /// §6.4.2
    fn on_auth(&mut self, element: &Element<'_>, out: &mut Vec<Output>) {
        let initial = match payload(element) {
            Ok(Payload::Nothing) => Ok(None),
            Ok(Payload::Data(data)) => Ok(Some(data)),
            Err(condition) => Err(condition),
        };
        self.begin(element, initial.map(|initial| (initial, None)), out);
    }

    /// An exchange begins, by either profile; `said` is what its element holds, or what is wrong with that.
    pub(super) fn begin(&mut self, element: &Element<'_>, said: Result<Said, SaslCondition>, out: &mut Vec<Output>) {
        if self.state == State::Challenged {
            out.push(Output::Ask(Question::Abort));
            return self.refuse(SaslCondition::MalformedRequest, out);
        }
        if self.protection.is_none() && !self.clear_login {
            return self.refuse(SaslCondition::EncryptionRequired, out);
        }
        let mechanism = element.attr("mechanism").unwrap_or_default();
        let named = !mechanism.is_empty() && mechanism.len() <= MECHANISM_BYTES_MAX;
        // RFC 4422 §3.1
        if !named || !mechanism.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_')) {
            return self.refuse(SaslCondition::InvalidMechanism, out);
        }
        let (initial, inline) = match said {
            Ok(said) => said,
            Err(condition) => return self.refuse(condition, out),
        };
        let Some(domain) = self.domain.clone() else {
            return self.refuse(SaslCondition::TemporaryAuthFailure, out);
        };
        let (mechanism, addresses) = (mechanism.to_owned(), self.addresses.clone());
        let auth = Auth { domain, protection: self.protection, mechanism, initial, addresses, inline };
        self.authenticate(auth, out);
    }

    /// §6.4.4
    pub(super) fn on_abort(&mut self, out: &mut Vec<Output>) {
        if self.state == State::Challenged {
            out.push(Output::Ask(Question::Abort));
        }
        self.refuse(SaslCondition::Aborted, out);
    }

    fn authenticate(&mut self, auth: Auth, out: &mut Vec<Output>) {
        let hint = auth.initial.as_deref().and_then(|initial| jid::routing_hint(&auth.mechanism, initial));
        let entity = match &auth.addresses[..] {
            // Which of several is meant, the core finds out.
            [only] if auth.mechanism == "EXTERNAL" => only.to_string(),
            _ => hint.map_or_else(|| auth.domain.to_string(), |name| format!("{name}@{}", auth.domain)),
        };
        self.state = State::Asked;
        self.ask(Question::Authenticate { at: At::Entity(entity), auth }, out);
    }

    /// §6.4.3
    pub(super) fn on_response(&mut self, payload: Result<Payload, SaslCondition>, out: &mut Vec<Output>) {
        if self.state != State::Challenged {
            return self.refuse(SaslCondition::MalformedRequest, out);
        }
        let data = match payload {
            Ok(Payload::Nothing) => Vec::new(),
            Ok(Payload::Data(data)) => data,
            Err(condition) => {
                out.push(Output::Ask(Question::Abort));
                return self.refuse(condition, out);
            }
        };
        // The answer to the empty challenge is the first message after all: it goes along if the core then
        // says that the account lives elsewhere.
        if let Some(Question::Authenticate { auth, .. }) = &mut self.asked
            && auth.initial.is_none()
        {
            auth.initial = Some(data.clone());
        }
        self.state = State::Asked;
        out.push(Output::Ask(Question::Respond(data)));
    }

    pub(super) fn on_challenge(&mut self, data: &[u8], out: &mut Vec<Output>) {
        if self.state == State::Asked {
            self.state = State::Challenged;
            // Who challenges owns the account, unless it does not know yet which: nothing is kept to be asked elsewhere.
            let named =
                |question: &Question| matches!(question, Question::Authenticate { auth, .. } if auth.initial.is_some());
            self.asked.take_if(|question| named(question));
            let sasl2 = self.authenticates_by_sasl2();
            write(
                out,
                |bytes| if sasl2 { render::sasl2_challenge(data, bytes) } else { render::sasl_challenge(data, bytes) },
            );
        }
    }

    /// §6.4.6: what follows is a new stream.
    pub(super) fn on_success(&mut self, account: &str, data: Option<&[u8]>, out: &mut Vec<Output>) {
        if self.state != State::Asked {
            return;
        }
        if self.authenticates_by_sasl2() {
            self.on_sasl2_success(account, data, out);
        } else {
            self.restart();
            self.account = Some(account.into());
            write(out, |bytes| render::sasl_success(data, bytes));
            out.push(Output::Authenticated);
            out.push(Output::NewStream);
        }
    }

    pub(super) fn on_failure(&mut self, condition: SaslCondition, last: bool, out: &mut Vec<Output>) {
        // `aborted` answers an abort, and the client was told at once.
        if self.state == State::Asked && condition != SaslCondition::Aborted {
            self.refuse(condition, out);
        }
        // §6.4.5: after a few attempts there is no other.
        if last {
            self.fault(StreamCondition::PolicyViolation, "too many failed logins", out);
        }
    }

    pub(super) fn on_core_away(&mut self, out: &mut Vec<Output>) {
        self.refuse(SaslCondition::TemporaryAuthFailure, out);
    }

    /// §6.4.5: the exchange is over, the stream goes on.
    fn refuse(&mut self, condition: SaslCondition, out: &mut Vec<Output>) {
        self.state = State::Features;
        self.asked = None;
        let sasl2 = self.sasl2.as_mut().is_some_and(|sasl2| sasl2.fail());
        write(out, |bytes| {
            if sasl2 { render::sasl2_failure(condition, bytes) } else { render::sasl_failure(condition, "", bytes) }
        });
    }
}

/// The client's first message, and what came along with it.
pub(super) type Said = (Option<Vec<u8>>, Option<Box<Inline>>);

/// Said to a client that tries both profiles on one stream.
pub(super) const ONE_PROFILE: &str = "one SASL profile for each stream";

/// Content of `<auth/>` and `<response/>`.
pub(super) enum Payload {
    Nothing,
    Data(Vec<u8>),
}

/// §6.4.2: base64 without anything else (RFC 4648 §4); a single equals sign is data of no bytes.
fn payload(element: &Element<'_>) -> Result<Payload, SaslCondition> {
    if element.nodes().any(|node| matches!(node, Node::Element(_))) {
        return Err(SaslCondition::MalformedRequest);
    }
    match element.text().as_str() {
        "" => Ok(Payload::Nothing),
        "=" => Ok(Payload::Data(Vec::new())),
        text => STANDARD.decode(text).map(Payload::Data).map_err(|_| SaslCondition::IncorrectEncoding),
    }
}
