//! Messages (RFC 6121 §5, §8.5): who gets them, and when. What is kept goes to the recipient's log
//! first and is delivered as the append is answered, in order; the rest stands behind it.

use crate::account::{Account, AccountKey, Pending, State};
use crate::classify::classify;
use crate::cx::Cx;
use crate::degraded;
use crate::domain::Switch;
use crate::offline;
use crate::outputs::Event;
use crate::session::{Origin, SessionKey};
use crate::slots::handover;
use hearth_storage::{Answer, Ask, LogId, NewRecord, QuestionId, Refusal};
use hearth_wire::StanzaCondition;
use hearth_wire::ids::IngestId;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};

/// For pure relays, and for measuring what durability costs.
pub const LOG_OFF: Switch = Switch {
    name: "log_off",
    default: false,
    help: "messages for available sessions are not stored first: they can be lost",
};

/// An append has no record: the account's slot is another shard's by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fenced;

/// What came of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Appended {
    Done(LogId),
    /// It is there since it came first; nothing more is to be done.
    Already,
    Fenced,
    /// Storage could not, or it would come behind what its sender sent later.
    Failed,
}

/// Whether this stanza is a message that goes to the log first.
pub fn logged(stanza: &SharedStanza) -> bool {
    let view = stanza.view();
    view.kind == StanzaKind::Message && classify(&view).log
}

/// First stop. Without `to` it is for the sender's own account (RFC 6120 §10.3.1).
pub fn outbound(cx: &mut Cx<'_>, key: SessionKey, stanza: &Stanza<'_>) {
    let own = cx.session(key).map(|session| session.jid.bare_str().to_owned());
    let stanza = Stanza { to: stanza.to.or(own.as_deref()), ..*stanza };
    // Errors, too, are on the client's credit.
    let origin = cx.defer();
    cx.route(SharedStanza::new(&stanza), origin);
}

/// Second stop.
pub fn inbound(cx: &mut Cx<'_>, account: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
    let view = stanza.view();
    let recipients = recipients(cx, account, &view);
    if recipients.is_empty() {
        match nobody_there(&view) {
            Absent::Keep => {}
            Absent::Drop => return cx.settle(origin),
            Absent::Refuse => return cx.refuse(&stanza, origin, StanzaCondition::ServiceUnavailable),
        }
    }
    let log_off = cx.account(account).is_some_and(|account| cx.shard.domains.is_on(account.jid.domainpart(), &LOG_OFF));
    if logged(&stanza) && (recipients.is_empty() || !log_off) {
        append(cx, account, stanza, origin);
    } else {
        cx.multicast_in_turn(&recipients, &stanza, &Overlay::default());
        cx.settle(origin);
    }
}

/// What becomes of a message that no session gets now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absent {
    /// It is stored (XEP-0160 §3).
    Keep,
    /// Nobody misses it.
    Drop,
    /// Its sender is told (`service-unavailable`).
    Refuse,
}

/// The last column of RFC 6121 §8.5.4's rows without a delivery: for the bare JID, and for a full one that
/// names nobody (§8.5.2.2.1, §8.5.3.2.1). Only chat then goes on as to the bare JID. What a person may read is
/// never dropped silently: where it cannot be stored (XEP-0334 §4.2) its sender is told; what only clients
/// read, such as a chat state, is dropped without a word (XEP-0160 §3).
pub fn nobody_there(message: &Stanza<'_>) -> Absent {
    let class = classify(message);
    let keeps = message.ty == StanzaType::Chat || is_bare(message);
    match message.ty {
        StanzaType::Groupchat => Absent::Refuse,
        _ if class.log && keeps => Absent::Keep,
        _ if class.log || class.urgent => Absent::Refuse,
        _ => Absent::Drop,
    }
}

fn is_bare(message: &Stanza<'_>) -> bool {
    !message.to.unwrap_or_default().contains('/')
}

/// The sessions that get a message now (RFC 6121 §8.5). All resources of non-negative priority are equally the
/// "most available": a person has several devices, and none of them misses a message.
fn recipients(cx: &Cx<'_>, account: AccountKey, message: &Stanza<'_>) -> Vec<SessionKey> {
    let to = message.to.unwrap_or_default();
    if !is_bare(message)
        && let Some(session) = cx.session_of(account, to)
        && !cx.session(session).is_some_and(|session| session.outbound.detached)
    {
        return vec![session];
    }
    // §8.5.2.1.1 for the bare JID; §8.5.3.2.1: a chat message to a resource that is gone goes the same way.
    let all = match message.ty {
        StanzaType::Chat => true,
        StanzaType::Normal | StanzaType::Headline => is_bare(message),
        _ => false,
    };
    let Some(account) = cx.account(account).filter(|_| all) else { return Vec::new() };
    account.sessions.iter().copied().filter(|key| cx.session(*key).is_some_and(|s| s.receives_bare())).collect()
}

/// Puts a message into the account's log; it is delivered and settled once it is durable there.
fn append(cx: &mut Cx<'_>, key: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
    let limits = cx.shard.settings.limits;
    // What is sent again may be there.
    let again = origin.is_some_and(|origin| origin.again);
    if degraded::takes_no_messages(cx) && !again {
        return cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
    }
    let Some(account) = cx.account(key) else { return };
    let waiting = account.undelivered().saturating_add(account.log.pending.len());
    let full = account.log.pending.len() >= limits.pending
        || waiting >= offline::room(account, &limits)
        || !offline::fits(account, waiting, stanza.bytes().len());
    if full {
        return cx.refuse(&stanza, origin, StanzaCondition::ServiceUnavailable);
    }
    let received_ms = cx.now.utc_ms;
    let record = NewRecord {
        account: account.jid.clone(),
        ingest: origin.map(|origin| IngestId { stream: origin.stream, number: origin.number }),
        received_ms,
        stanza: stanza.clone(),
    };
    let slot = account.slot;
    let ask = if again { Ask::AppendAgain { record } } else { Ask::Append { record } };
    let question = cx.ask(slot, ask, Box::new(|_, _| {}));
    cx.shard.questions.insert(question, Box::new(move |cx, answer| appended(cx, key, question, answer)));
    if let Some(account) = cx.account_mut(key) {
        account.log.pending.push_back(Pending::Append { question, stanza, origin, received_ms, done: None });
    }
}

fn appended(cx: &mut Cx<'_>, key: AccountKey, id: QuestionId, answer: Answer) {
    let outcome = match answer {
        Answer::Appended(log) => Appended::Done(log),
        // The account knows the record since it was appended, or found it when it was loaded.
        Answer::Already(_) => Appended::Already,
        Answer::Failed(error) => {
            cx.event(Event::StorageFailed { doing: "log a message", cause: error.to_string() });
            Appended::Failed
        }
        Answer::Refused(Refusal::Fenced) => Appended::Fenced,
        _ => Appended::Failed,
    };
    let logged = u64::from(matches!(outcome, Appended::Done(_)));
    cx.shard.stats.messages_logged = cx.shard.stats.messages_logged.wrapping_add(logged);
    note_appended(cx, key, id, outcome);
    if outcome == Appended::Fenced {
        cx.on_fenced(key);
    }
    advance(cx, key);
}

/// Notes the outcome of an append. Its sender hears at once, whenever it can be delivered: what settles a stanza
/// must not wait for what some client reads, or two clients could wait for each other.
fn note_appended(cx: &mut Cx<'_>, key: AccountKey, id: QuestionId, outcome: Appended) {
    let Some(account) = cx.account_mut(key) else { return };
    let is_it = |p: &Pending| matches!(p, Pending::Append { question, .. } if *question == id);
    let Some(at) = account.log.pending.iter().position(is_it) else { return };
    match outcome {
        Appended::Done(id) => {
            let Some(Pending::Append { done, origin, .. }) = account.log.pending.get_mut(at) else { return };
            *done = Some(Ok(id));
            let origin = origin.take();
            cx.settle(origin);
        }
        // A moved account's are sent on in their order.
        Appended::Fenced => {
            let Some(Pending::Append { done, .. }) = account.log.pending.get_mut(at) else { return };
            *done = Some(Err(Fenced));
        }
        Appended::Already | Appended::Failed => {
            let Some(Pending::Append { stanza, origin, .. }) = account.log.pending.remove(at) else { return };
            if outcome == Appended::Already {
                cx.settle(origin);
            } else {
                cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
            }
        }
    }
}

/// Goes on with what the account is owed, in order, until something is not answered yet.
pub fn advance(cx: &mut Cx<'_>, key: AccountKey) {
    if cx.account(key).is_some_and(|account| account.moved.is_some()) {
        return handover::advance_moved(cx, key);
    }
    loop {
        let Some(account) = cx.account_mut(key).filter(|account| account.state == State::Ready) else { return };
        match account.log.pending.front_mut() {
            None => {
                account.log.pending = std::collections::VecDeque::new();
                return;
            }
            Some(Pending::Append { done: None, .. }) => return,
            Some(Pending::Append { .. } | Pending::Stanza { .. }) => {}
        }
        match account.log.pending.pop_front() {
            Some(Pending::Append { stanza, origin, done: Some(Ok(log)), .. }) => deliver(cx, key, &stanza, origin, log),
            Some(Pending::Append { stanza, origin, .. }) => {
                cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint)
            }
            Some(Pending::Stanza { stanza, origin }) => cx.dispatch(key, stanza, origin),
            None => return,
        }
    }
}

/// The message is durable: to whoever is there now, or to the account's undelivered ones. Who does not keep up finds
/// it in the log, and keeps nobody else waiting.
fn deliver(cx: &mut Cx<'_>, key: AccountKey, stanza: &SharedStanza, origin: Option<Origin>, log: LogId) {
    let keeps_up = |cx: &Cx<'_>, key: SessionKey| {
        cx.session(key).is_some_and(|session| session.outbound.behind.is_none()) && cx.takes_logged(key, stanza)
    };
    let (mut ready, mut slow) = (recipients(cx, key, &stanza.view()), Vec::new());
    ready.retain(|session| {
        keeps_up(cx, *session) || {
            slow.push(*session);
            false
        }
    });
    cx.multicast(&ready, stanza, &Overlay::default(), Some(log));
    let Some(account) = cx.account_mut(key) else { return };
    if ready.is_empty() {
        account.log.undelivered(log);
    }
    let before = std::mem::replace(&mut account.log.heard, log);
    for session in slow {
        if let Some(session) = cx.session_mut(session) {
            session.outbound.fall_behind(before);
        }
        offline::read_on(cx, session);
    }
    cx.settle(origin);
}

/// Whether messages to the bare JID have somewhere to go now.
pub fn anyone_there(cx: &Cx<'_>, account: &Account) -> bool {
    account.sessions.iter().any(|key| cx.session(*key).is_some_and(|session| session.receives_bare()))
}
