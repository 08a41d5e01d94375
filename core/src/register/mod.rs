//! In-band registration (XEP-0077): accounts made before login where a domain allows it, passwords
//! changed and accounts removed by their owners.
//!
//! A request with a password in it is never sent back with its error (§3.3).

mod query;
mod rules;
#[cfg(test)]
mod tests;

use crate::cx::Cx;
use crate::domain::Switch;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::{Iq, Waiting};
use crate::limits;
use crate::link::LinkId;
use crate::provision::{self, LookAlikes, Outcome};
use crate::reply;
use crate::route::bare;
use crate::slots::handover;
use crate::tally::Bounds;
use hearth_wire::stanza::{SharedStanza, Stanza};
use hearth_wire::to_core::{PreAuthIq, Security};
use hearth_wire::to_edge::{Moved, PreAuthReply, ToEdge};
use hearth_wire::tree::{self, Builder};
use hearth_wire::{BareJid, StanzaCondition};
pub use query::{Request, Submitted, write_feature, write_fields};
pub use rules::Refusal;

/// Namespace of the questions.
pub const NS_REGISTER: &str = "jabber:iq:register";
/// Namespace of the stream feature.
pub const NS_FEATURE: &str = "http://jabber.org/features/iq-register";

/// Whether a domain takes them.
pub const REGISTRATION: Switch =
    Switch { name: "registration", default: false, help: "anybody may create an account (XEP-0077)" };
/// Of [`crate::shard::Shard::registrations`]; how many is the domain's to say.
pub const BOUNDS: Bounds = Bounds {
    events_max: limits::REGISTRATIONS_MAX,
    window_ms: limits::REGISTRATIONS_WINDOW_MS,
    rows_max: limits::REGISTRATIONS_ROWS_MAX,
};

/// Before login: answered in [`on_pre_auth_iq`], its stream feature written with those of SASL.
pub const NEW_ACCOUNTS: Feature = Feature { spec: Spec::Xep(77, "2.4"), switch: Some(&REGISTRATION), ..Feature::EMPTY };

/// After login: what is on file, another password, no account any more.
pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(77, "2.4"),
    disco_server: &[NS_REGISTER],
    iq: &[IqHandler { ns: NS_REGISTER, element: "query", scopes: &[Scope::Server, Scope::Account], run: on_iq }],
    ..Feature::EMPTY
};

fn on_iq(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let asker = iq.asker.and_then(|key| cx.session(key).map(|session| session.jid.bare()));
    let Some(own) = asker else { return Err(StanzaCondition::NotAllowed) };
    if iq.stanza.to.is_some_and(|to| bare(to) != own.as_str() && to != own.domainpart()) {
        // Another domain of this server has no account of the asker.
        iq.wait(cx).refuse_bare(cx, StanzaCondition::NotAllowed, None);
        return Ok(());
    }
    match Request::parse(iq.is_set(), &iq.question) {
        Ok(Request::Fields) => {
            let mut fields = Builder::new();
            write_fields(Some(&own), &mut fields);
            iq.reply(cx, &fields.finish());
        }
        Ok(Request::Submit(submitted)) => {
            let waiting = iq.wait(cx);
            let password = submitted.into_password(&own).map_err(Refusal::from);
            let checked = password
                .and_then(|password| rules::check_password(&cx.shard.domains, &own, &password).map(|()| password));
            match checked {
                Ok(password) => {
                    let by = waiting.origin();
                    let then = Box::new(move |cx: &mut Cx<'_>, outcome| settle(cx, waiting, &outcome));
                    provision::set_password(cx, own, password, by, then);
                }
                Err(refusal) => waiting.refuse_bare(cx, refusal.condition, refusal.text.as_deref()),
            }
        }
        Ok(Request::Remove) => {
            let waiting = iq.wait(cx);
            provision::remove(cx, own, Box::new(move |cx, outcome| settle(cx, waiting, &outcome)));
        }
        Err(condition) => iq.wait(cx).refuse_bare(cx, condition, None),
    }
    Ok(())
}

fn settle(cx: &mut Cx<'_>, waiting: Waiting, outcome: &Outcome) {
    match refusal(outcome) {
        None => waiting.reply(cx, &[]),
        Some(refusal) => waiting.refuse_bare(cx, refusal.condition, refusal.text.as_deref()),
    }
}

fn refusal(outcome: &Outcome) -> Option<Refusal> {
    let (condition, text) = match outcome {
        Outcome::Done => return None,
        // One answer for both, so that nobody is told more of who there is.
        Outcome::Exists | Outcome::LooksLike(_) => {
            (StanzaCondition::Conflict, "This name is taken. Please choose another.")
        }
        Outcome::NoAccount => (StanzaCondition::RegistrationRequired, "There is no such account."),
        // Both may go better later: type `wait`.
        Outcome::Busy | Outcome::Failed(_) => {
            (StanzaCondition::ResourceConstraint, "The server is busy. Please try again in a moment.")
        }
    };
    Some(Refusal::new(condition, text))
}

/// An iq before authentication came (§3.1): from anybody, so every step is bounded.
pub fn on_pre_auth_iq(cx: &mut Cx<'_>, link: LinkId, frame: &PreAuthIq<'_>) {
    let Ok(stanza) = Stanza::decode(frame.stanza) else { return };
    if !stanza.is_request() || tree::validate(stanza.payload, tree::DEPTH_MAX).is_err() {
        return;
    }
    let counter = frame.counter;
    let answered = match pre_auth(cx, link, frame, &stanza) {
        Ok(Some(payload)) => Some(reply::result(&stanza, &payload)),
        Ok(None) => None,
        Err(refusal) => Some(reply::bare_error(&stanza, refusal.condition, refusal.text.as_deref())),
    };
    if let Some(answer) = answered {
        send(cx, link, counter, &answer);
    }
}

fn send(cx: &mut Cx<'_>, link: LinkId, counter: u64, answer: &SharedStanza) {
    cx.out.frame(link, &ToEdge::PreAuthReply(PreAuthReply { counter, stanza: answer.bytes() }));
}

/// The answer's payload, or `None` if it comes later.
fn pre_auth(
    cx: &mut Cx<'_>,
    link: LinkId,
    frame: &PreAuthIq<'_>,
    stanza: &Stanza<'_>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let open = cx.shard.domains.is_on(frame.domain, &REGISTRATION);
    let question = reply::question(stanza)?;
    if !open || !question.is(NS_REGISTER, "query") || stanza.to.is_some_and(|to| to != frame.domain) {
        return Err(StanzaCondition::ServiceUnavailable.into());
    }
    if frame.security == Security::ClearLoopback && !cx.shard.settings.clear_login {
        return Err(StanzaCondition::NotAuthorized.into());
    }
    match Request::parse(stanza.ty == hearth_wire::stanza::StanzaType::Set, &question)? {
        Request::Fields => {
            let mut fields = Builder::new();
            write_fields(None, &mut fields);
            Ok(Some(fields.finish()))
        }
        // §3.2: there is nobody yet who could leave.
        Request::Remove => Err(StanzaCondition::UnexpectedRequest.into()),
        Request::Submit(submitted) => {
            let (account, password) = submitted.into_account(frame.domain)?;
            rules::check_name(&cx.shard.domains, &account)?;
            rules::check_password(&cx.shard.domains, &account, &password)?;
            register(cx, link, frame, stanza, account, password).map(|()| None)
        }
    }
}

fn register(
    cx: &mut Cx<'_>,
    link: LinkId,
    frame: &PreAuthIq<'_>,
    stanza: &Stanza<'_>,
    account: BareJid,
    password: crate::sasl::crypto::Secret,
) -> Result<(), Refusal> {
    let counter = frame.counter;
    rules::count(cx, frame.domain, frame.peer)?;
    let slot = cx.shard.settings.slot_key.slot(account.as_str());
    let owner = cx.shard.slot_owner(slot);
    if !handover::is_known(owner) {
        return Err(StanzaCondition::ResourceConstraint.into());
    }
    if owner != cx.shard.settings.index {
        cx.out.frame(link, &ToEdge::Moved(Moved { counter, slot }));
        return Ok(());
    }
    // The answer needs the envelope only.
    let envelope = SharedStanza::new(&Stanza { payload: &[], ..*stanza });
    provision::create(
        cx,
        account,
        password,
        LookAlikes::Refused,
        Box::new(move |cx, outcome| {
            let answer = match refusal(&outcome) {
                None => reply::result(&envelope.view(), &[]),
                Some(refusal) => reply::bare_error(&envelope.view(), refusal.condition, refusal.text.as_deref()),
            };
            send(cx, link, counter, &answer);
        }),
    );
    Ok(())
}
