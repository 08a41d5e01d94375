//! Iq stanzas: to the handler of the question, or to the resource they name (RFC 6121 §8.5).

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::features::{self, Scope};
use crate::presence::fanout::sight;
use crate::questions;
use crate::reply;
use crate::route::bare;
use crate::session::{Origin, SessionKey};
use crate::subscription::state::Half;
use crate::{disco, last_activity, private_storage, roster, vcard};
use hearth_wire::StanzaCondition;
use hearth_wire::jid;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaType};
use hearth_wire::tree::{Builder, Element};

/// A question for a handler.
#[derive(Clone, Copy)]
pub struct Iq<'a> {
    /// `from` is stamped; `to` is as the client wrote it (absent: its own account).
    pub stanza: Stanza<'a>,
    /// The one child element.
    pub question: Element<'a>,
    /// The session that asks, if it is of this shard.
    pub asker: Option<SessionKey>,
    /// The account that is asked: the asker's own, or the one `to` names; `None` for the server.
    pub account: Option<AccountKey>,
    /// To be settled with the answer, when the question came from another account.
    pub origin: Option<Origin>,
}

/// A question whose answer comes later. Whoever holds it must answer it exactly once.
pub struct Waiting {
    stanza: SharedStanza,
    asker: Option<SessionKey>,
    origin: Option<Origin>,
}

impl Iq<'_> {
    pub fn is_set(&self) -> bool {
        self.stanza.ty == StanzaType::Set
    }

    /// Keeps the question for an answer after a write or read; the client's stanza is unsettled
    /// until then.
    pub fn wait(&self, cx: &mut Cx<'_>) -> Waiting {
        let origin = self.origin.or_else(|| cx.defer());
        Waiting { stanza: SharedStanza::new(&self.stanza), asker: self.asker, origin }
    }

    /// Answers with a result carrying `payload` (RFC 6120 §8.2.3).
    pub fn reply(&self, cx: &mut Cx<'_>, payload: &[u8]) {
        send(cx, self.asker, self.origin, reply::result(&self.stanza, payload));
    }

    /// Answers with an error.
    pub fn refuse(&self, cx: &mut Cx<'_>, condition: StanzaCondition) {
        match reply::error(&self.stanza, condition, None) {
            Some(error) => send(cx, self.asker, self.origin, error),
            None => cx.settle(self.origin),
        }
    }
}

impl Waiting {
    /// The client's stanza that it is.
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The question again.
    pub fn stanza(&self) -> Stanza<'_> {
        self.stanza.view()
    }

    /// Answers with a result.
    pub fn reply(self, cx: &mut Cx<'_>, payload: &[u8]) {
        send(cx, self.asker, self.origin, reply::result(&self.stanza.view(), payload));
    }

    /// Answers with an error that does not repeat the question, and a text for people.
    pub fn refuse_bare(self, cx: &mut Cx<'_>, condition: StanzaCondition, text: Option<&str>) {
        send(cx, self.asker, self.origin, reply::bare_error(&self.stanza.view(), condition, text));
    }

    /// Answers with an error.
    pub fn refuse(self, cx: &mut Cx<'_>, condition: StanzaCondition) {
        match reply::error(&self.stanza.view(), condition, None) {
            Some(error) => send(cx, self.asker, self.origin, error),
            None => cx.settle(self.origin),
        }
    }
}

/// To the session whose stanza it answers; to the asking session while that is not settled yet; else
/// by its address.
fn send(cx: &mut Cx<'_>, asker: Option<SessionKey>, origin: Option<Origin>, answer: SharedStanza) {
    if let Some(origin) = origin {
        return cx.answer(origin, answer);
    }
    let to = answer.view().to;
    match asker.filter(|key| cx.session(*key).is_some_and(|session| Some(session.jid.as_str()) == to)) {
        Some(key) => cx.deliver(key, &answer, &Overlay::default(), None),
        None => cx.route(answer, None),
    }
}

/// First stop: the client's own account and the server answer here, everything else is relayed.
pub fn outbound(cx: &mut Cx<'_>, key: SessionKey, stanza: &Stanza<'_>) {
    let Some(session) = cx.session(key) else { return };
    let account = session.account;
    let own = session.jid.bare_str().to_owned();
    let scope = match stanza.to {
        None => Some(Scope::Account),
        Some(to) if to == own => Some(Scope::Account),
        Some(to) if jid::split(to).0.is_none() && cx.shard.domains.contains(bare(to)) => Some(Scope::Server),
        Some(_) => None,
    };
    let Some(scope) = scope else {
        // Answers, too, are on the client's credit.
        let origin = cx.defer();
        if stanza.is_request() {
            questions::on_asked(cx, key, stanza, origin.is_some_and(|origin| origin.again));
        } else {
            questions::on_answer(cx, key, stanza);
        }
        cx.route(SharedStanza::new(stanza), origin);
        return;
    };
    if stanza.is_request() {
        let account = (scope == Scope::Account).then_some(account);
        answer(cx, stanza, Some(key), account, scope, None);
    }
}

/// Second stop: for a resource, or for the account as such.
pub fn inbound(cx: &mut Cx<'_>, account: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
    let view = stanza.view();
    let Some(to) = view.to else { return cx.settle(origin) };
    if to.contains('/') {
        if !last_activity::may_reach_resource(cx, account, &view) {
            return cx.refuse(&stanza, origin, StanzaCondition::Forbidden);
        }
        let session = cx.session_of(account, to);
        match session.filter(|session| !view.is_request() || may_ask(cx, account, *session, &view)) {
            Some(session) if questions::had_answer(cx, session, &view, origin) => cx.settle(origin),
            Some(session) => {
                if view.is_request() {
                    questions::on_delivered(cx, session, &view);
                }
                cx.deliver_in_turn(session, &stanza, &Overlay::default());
                cx.settle(origin);
            }
            // RFC 6121 §8.5.3.2.3, and the same to whom nothing is told (§8.5.3.1).
            None if view.is_request() => cx.refuse(&stanza, origin, StanzaCondition::ServiceUnavailable),
            None => cx.settle(origin),
        }
    } else if view.is_request() {
        answer(cx, &view, None, Some(account), Scope::AccountOfOther, origin);
    } else {
        cx.settle(origin);
    }
}

/// Answers a stranger's question about an account that does not exist as it would be answered if the
/// account did, so that nobody learns which there are.
pub fn answer_absent(cx: &mut Cx<'_>, stanza: &SharedStanza, origin: Option<Origin>) {
    let view = stanza.view();
    let resource = view.to.is_some_and(|to| to.contains('/'));
    let condition = match reply::question(&view).map(|question| (question.ns(), view.ty)) {
        Err(condition) if !resource => condition,
        Ok((ns, _)) if resource && ns != last_activity::NS => StanzaCondition::ServiceUnavailable,
        Ok((disco::ITEMS, StanzaType::Get)) => {
            let mut tree = Builder::new();
            tree.open(Some(disco::ITEMS), "query").close();
            return send(cx, None, origin, reply::result(&view, &tree.finish()));
        }
        Ok((disco::ITEMS | disco::INFO, StanzaType::Set)) => StanzaCondition::NotAllowed,
        Ok((last_activity::NS | private_storage::NS | roster::NS, _)) => StanzaCondition::Forbidden,
        Ok((vcard::NS, StanzaType::Set)) => StanzaCondition::Forbidden,
        _ => StanzaCondition::ServiceUnavailable,
    };
    cx.refuse(stanza, origin, condition);
}

/// RFC 6121 §8.5.3.1: a resource is asked only by whom its presence is shared with, by subscription or directly.
/// Who is invisible stays so.
fn may_ask(cx: &Cx<'_>, account: AccountKey, session: SessionKey, question: &Stanza<'_>) -> bool {
    let asker = question.from.unwrap_or_default();
    cx.account(account).is_some_and(|account| sight(account, bare(asker)) == Half::Yes)
        || cx.session(session).is_some_and(|session| session.told(asker))
}

/// Finds the handler of the question; without one it is `service-unavailable` (RFC 6120 §8.4).
fn answer(
    cx: &mut Cx<'_>,
    stanza: &Stanza<'_>,
    asker: Option<SessionKey>,
    account: Option<AccountKey>,
    scope: Scope,
    origin: Option<Origin>,
) {
    let question = match reply::question(stanza) {
        Ok(question) => question,
        Err(condition) => {
            return match reply::error(stanza, condition, None) {
                Some(error) => send(cx, asker, origin, error),
                None => cx.settle(origin),
            };
        }
    };
    let iq = Iq { stanza: *stanza, question, asker, account, origin };
    let domain = match account.and_then(|key| cx.account(key)) {
        Some(account) => account.jid.domainpart(),
        None => stanza.to.map(bare).unwrap_or_default(),
    };
    let domain = cx.shard.domains.get(domain);
    let run = domain.and_then(|domain| features::handler(question.ns(), question.name(), scope, domain));
    let done = match run {
        Some(run) => run(cx, &iq),
        None => Err(StanzaCondition::ServiceUnavailable),
    };
    if let Err(condition) = done {
        iq.refuse(cx, condition);
    }
}
