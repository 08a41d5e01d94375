//! The subscription handshake (RFC 6121 §3): a user's stanza and a contact's, each with its change of
//! the roster, stored before anybody is told.
//!
//! ```text
//!  ada's shard                                   grace's shard
//!  outbound ─▶ store item (ask) ─▶ push ─▶ subscribe ─▶ inbound ─▶ store request ─▶ deliver
//!  inbound ◀─ subscribed ◀─ push ◀─ store item (from), request gone ◀─ outbound ◀─ grace
//!     └─▶ store item (to) ─▶ deliver, push
//! ```
//! Which states there are and what moves them is `state.rs`. A stanza's origin travels to its last
//! effect, so that a client's request is settled when both rosters are durable. So the server need not send
//! requests again on its own, as §3.1.2 asks for contacts whose servers may have lost them: here that is known.

pub mod state;

#[cfg(test)]
mod tests;

use crate::account::AccountKey;
use crate::contact::Contact;
use crate::cx::Cx;
use crate::limits;
use crate::presence::fanout;
use crate::reply;
use crate::roster::{self, Edit, NotStored};
use crate::route::bare;
use crate::session::{Origin, SessionKey};
use crate::tally::Bounds;
use hearth_storage::{RosterItem, StoredRequest};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::{BareJid, StanzaCondition, jid};
use state::{Action, Half, State};

// ---- the user's own stanzas -----------------------------------------------------------------

/// A subscription stanza of one of this shard's sessions (§3.1.2, §3.1.5, §3.2.2, §3.3.2, §3.4.2).
/// An error goes back to the session alone.
pub fn outbound(
    cx: &mut Cx<'_>,
    session: SessionKey,
    stanza: &Stanza<'_>,
    action: Action,
) -> Result<(), StanzaCondition> {
    let to = bare(stanza.to.ok_or(StanzaCondition::BadRequest)?);
    let key = cx.session(session).map(|session| session.account).ok_or(StanzaCondition::InternalServerError)?;
    let slots = cx.shard.settings.slot_key;
    let account = cx.account(key).ok_or(StanzaCondition::InternalServerError)?;
    if to == account.jid.as_str() {
        // Everybody sees their own resources as it is (§4.2.2).
        return Err(StanzaCondition::NotAllowed);
    }
    let (localpart, domainpart, _) = jid::split(to);
    if !cx.shard.domains.contains(domainpart) {
        return Err(StanzaCondition::RemoteServerNotFound);
    }
    if localpart.is_none() {
        // The server itself has no presence.
        return Err(StanzaCondition::ServiceUnavailable);
    }
    let contact = BareJid::parse(to).map_err(|_| StanzaCondition::JidMalformed)?;
    let old = account.contact(to).map(Contact::item);
    let request = account.request(to).is_some();
    let before = State::new(old.as_ref(), request);
    let step = before.outbound(action);
    let edit = edit(old.as_ref(), step.state, step.approved, &contact);
    if let Some(item) = edit.item().filter(|_| old.is_none())
        && !roster::has_room(account, item, &slots)
    {
        return Err(StanzaCondition::ResourceConstraint);
    }
    if action == Action::Subscribe && step.route && !may_ask(cx, key) {
        return Err(StanzaCondition::ResourceConstraint);
    }
    let answered = before.from == Half::Pending && step.state.from != Half::Pending;
    let edit = if answered { edit.without_request(contact.clone()) } else { edit };
    let origin = cx.defer();
    let sent = Sent {
        account: key,
        stanza: SharedStanza::new(stanza),
        contact,
        route: step.route,
        pushed: edit.item().is_some(),
        shown: before.from != Half::Yes && step.state.from == Half::Yes,
        hidden: before.from == Half::Yes && step.state.from != Half::Yes,
        origin,
    };
    if edit.is_empty() {
        sent.go_on(cx);
        return Ok(());
    }
    roster::store(cx, key, edit, move |cx, stored| match stored {
        Ok(()) => sent.go_on(cx),
        Err(NotStored) => refuse(cx, &sent.stanza, StanzaCondition::ResourceConstraint, sent.origin),
    });
    Ok(())
}

/// Of [`crate::shard::Shard::subscriptions`].
pub const BOUNDS: Bounds = Bounds {
    events_max: limits::SUBSCRIPTIONS_MAX,
    window_ms: limits::SUBSCRIPTIONS_WINDOW_MS,
    rows_max: limits::SUBSCRIPTIONS_ROWS_MAX,
};

/// Whether the account has not asked too many of late; it asks once more.
fn may_ask(cx: &mut Cx<'_>, key: AccountKey) -> bool {
    let now_ms = cx.now.mono_ms;
    let Some(jid) = cx.account(key).map(|account| account.jid.clone()) else { return false };
    let may = cx.shard.subscriptions.may(&jid, now_ms);
    if may {
        cx.shard.subscriptions.count(jid, now_ms);
    }
    may
}

/// A subscription stanza whose change of the user's roster is stored. Its contact may not have got it: what holds
/// still goes on, and is nothing new to who has it (Appendix A.3). What was taken back since, by another
/// resource or by the contact, does not: it would undo what the contact was told or said after it.
pub fn outbound_again(cx: &mut Cx<'_>, key: AccountKey, stanza: &Stanza<'_>, action: Action) {
    let contact = stanza.to.map(bare).and_then(|to| BareJid::parse(to).ok());
    let (Some(contact), Some(account)) = (contact, cx.account(key)) else { return };
    let item = account.contact(contact.as_str());
    let state = State::of_contact(item, account.request(contact.as_str()).is_some());
    let (route, pushed) = (state.holds(action), item.is_some());
    let sent = Sent {
        account: key,
        stanza: SharedStanza::new(stanza),
        contact,
        route,
        pushed,
        shown: route && action == Action::Subscribed,
        // Whether it saw the user before is not known any more.
        hidden: false,
        origin: cx.defer(),
    };
    sent.go_on(cx);
}

/// The change of the roster item that a new state means; nothing if it looks the same, or if there is
/// no item and nothing to say in one (§3.1.3: a request alone adds nobody).
fn edit(old: Option<&RosterItem>, state: State, approved: Option<bool>, contact: &BareJid) -> Edit {
    let before = old.cloned().unwrap_or_else(|| roster::new_item(contact));
    let item = RosterItem {
        subscription: state.subscription(),
        ask: state.ask(),
        approved: approved.unwrap_or(before.approved),
        ..before.clone()
    };
    if item == before { Edit::default() } else { Edit::put(item) }
}

/// A user's subscription stanza whose change is stored.
struct Sent {
    account: AccountKey,
    /// As the client sent it, `from` stamped.
    stanza: SharedStanza,
    contact: BareJid,
    route: bool,
    pushed: bool,
    /// The contact sees the user from now on, or no longer.
    shown: bool,
    hidden: bool,
    origin: Option<Origin>,
}

impl Sent {
    fn go_on(self, cx: &mut Cx<'_>) {
        let Sent { account: key, stanza, contact, route, pushed, shown, hidden, origin } = self;
        let Some(own) = cx.account(key).map(|account| account.jid.clone()) else { return cx.settle(origin) };
        if hidden {
            // §3.2.2: while the contact is still subscribed.
            fanout::tell_unavailable(cx, key, &contact);
        }
        if route {
            let routed = Stanza { from: Some(own.as_str()), to: Some(contact.as_str()), ..stanza.view() };
            cx.route(SharedStanza::new(&routed), origin);
        } else {
            cx.settle(origin);
        }
        if pushed {
            roster::push(cx, key, contact.as_str());
        }
        if shown {
            // §3.1.5
            fanout::tell_available(cx, key, &contact);
        }
    }
}

/// What a removed contact is told (§2.5.2), each with its part of the roster set's settlement.
pub struct Farewell {
    said: Vec<(Action, Option<Origin>)>,
    hidden: bool,
}

impl Farewell {
    /// From the item before its removal.
    pub fn new(cx: &mut Cx<'_>, key: AccountKey, old: &RosterItem) -> Farewell {
        let request = cx.account(key).is_some_and(|account| account.request(&old.contact).is_some());
        let state = State::new(Some(old), request);
        let mut said = Vec::new();
        if state.to != Half::No {
            said.push((Action::Unsubscribe, cx.defer()));
        }
        if state.from != Half::No {
            said.push((Action::Unsubscribed, cx.defer()));
        }
        Farewell { said, hidden: state.from == Half::Yes }
    }

    /// The removal is stored.
    pub fn say(self, cx: &mut Cx<'_>, key: AccountKey, contact: &BareJid) {
        let own = cx.account(key).map(|account| account.jid.clone());
        if self.hidden {
            fanout::tell_unavailable(cx, key, contact);
        }
        for (action, origin) in self.said {
            match &own {
                Some(own) => cx.route(bare_stanza(action, own, contact.as_str(), None), origin),
                None => cx.settle(origin),
            }
        }
    }

    /// The removal failed.
    pub fn forget(self, cx: &mut Cx<'_>) {
        self.said.into_iter().for_each(|(_, origin)| cx.settle(origin));
    }
}

/// A subscription stanza that the server sends on an account's behalf.
pub fn bare_stanza(action: Action, from: &BareJid, to: &str, id: Option<&str>) -> SharedStanza {
    SharedStanza::new(&Stanza {
        id,
        from: Some(from.as_str()),
        to: Some(to),
        ..Stanza::new(StanzaKind::Presence, action.stanza_type())
    })
}

// ---- the contact's stanzas ------------------------------------------------------------------

/// A subscription stanza for an account of this shard (§3.1.3, §3.1.6, §3.2.3, §3.3.3). Its effects
/// are on the account as such, whatever resource `to` names.
pub fn inbound(cx: &mut Cx<'_>, key: AccountKey, stanza: SharedStanza, action: Action, origin: Option<Origin>) {
    let view = stanza.view();
    let Some(contact) = view.from.map(bare).and_then(|from| BareJid::parse(from).ok()) else {
        return cx.settle(origin);
    };
    let Some(account) = cx.account(key) else { return cx.settle(origin) };
    if contact == account.jid {
        return cx.settle(origin);
    }
    let old = account.contact(contact.as_str()).map(Contact::item);
    let request = account.request(contact.as_str()).is_some();
    let before = State::new(old.as_ref(), request);
    let step = before.inbound(action, old.as_ref().is_some_and(|item| item.approved));
    let mut edit = edit(old.as_ref(), step.state, None, &contact);
    if step.state.from == Half::Pending && before.from != Half::Pending {
        if let Err(condition) = room_for_request(account.requests.len(), &stanza) {
            return refuse(cx, &stanza, condition, origin);
        }
        let kept = Stanza { from: Some(contact.as_str()), to: Some(account.jid.as_str()), ..view };
        let received_ms = cx.now.utc_ms;
        edit =
            edit.with_request(StoredRequest { contact: contact.as_str().into(), stanza: kept.encode(), received_ms });
    } else if before.from == Half::Pending && step.state.from != Half::Pending {
        edit = edit.without_request(contact.clone());
    }
    let received = Received {
        account: key,
        action,
        stanza: stanza.clone(),
        contact,
        deliver: step.deliver,
        pushed: edit.item().is_some(),
        hidden: before.from == Half::Yes && step.state.from != Half::Yes,
        reply: step.reply,
        origin,
    };
    if edit.is_empty() {
        return received.go_on(cx);
    }
    roster::store(cx, key, edit, move |cx, stored| match stored {
        Ok(()) => received.go_on(cx),
        Err(NotStored) => refuse(cx, &received.stanza, StanzaCondition::ResourceConstraint, received.origin),
    });
}

fn room_for_request(kept: usize, stanza: &SharedStanza) -> Result<(), StanzaCondition> {
    if stanza.bytes().len() > limits::REQUEST_BYTES_MAX {
        return Err(StanzaCondition::PolicyViolation);
    }
    if kept >= limits::REQUESTS_MAX {
        return Err(StanzaCondition::ResourceConstraint);
    }
    Ok(())
}

/// Unlike other presence this is answered: a request that is not kept would otherwise wait for ever. The
/// session that sent it gets the error, ahead of its settlement.
fn refuse(cx: &mut Cx<'_>, stanza: &SharedStanza, condition: StanzaCondition, origin: Option<Origin>) {
    match (reply::error(&stanza.view(), condition, None), origin) {
        (Some(error), Some(origin)) => cx.answer(origin, error),
        (Some(error), None) => cx.route(error, None),
        (None, origin) => cx.settle(origin),
    }
}

/// A contact's subscription stanza whose change is stored.
struct Received {
    account: AccountKey,
    action: Action,
    stanza: SharedStanza,
    contact: BareJid,
    deliver: bool,
    pushed: bool,
    /// The contact no longer sees the user.
    hidden: bool,
    reply: Option<Action>,
    origin: Option<Origin>,
}

impl Received {
    fn go_on(self, cx: &mut Cx<'_>) {
        let Received { account: key, action, stanza, contact, deliver, pushed, hidden, reply, origin } = self;
        let Some(account) = cx.account(key) else { return cx.settle(origin) };
        let own = account.jid.clone();
        if deliver {
            // A request is for whom the user can be asked at (§3.1.3), what changes the roster for who
            // watches the roster, ahead of the push (§3.1.6).
            let recipients = match action {
                Action::Subscribe => fanout::receiving(cx, account),
                Action::Subscribed | Action::Unsubscribe | Action::Unsubscribed => roster::interested(cx, account),
            };
            let overlay = Overlay { to: Some(own.as_str()), ..Overlay::default() };
            cx.multicast(&recipients, &stanza, &overlay, None);
        }
        if pushed {
            roster::push(cx, key, contact.as_str());
        }
        if hidden {
            fanout::tell_unavailable(cx, key, &contact);
        }
        match reply {
            Some(reply) => {
                cx.route(bare_stanza(reply, &own, contact.as_str(), stanza.view().id), origin);
                if reply == Action::Subscribed {
                    // The contact sees the user already, or from now on; either way it may have missed it.
                    fanout::tell_available(cx, key, &contact);
                }
            }
            None => cx.settle(origin),
        }
    }
}

/// §3.1.3: requests that wait for an answer go to each resource that becomes available.
pub fn deliver_requests(cx: &mut Cx<'_>, session: SessionKey) {
    let Some(account) = cx.session(session).and_then(|session| cx.account(session.account)) else { return };
    let waiting: Vec<SharedStanza> = account
        .requests
        .iter()
        .filter(|request| !account.blocks(&request.contact))
        .filter_map(|request| SharedStanza::from_bytes(&request.stanza).ok())
        .collect();
    for request in waiting {
        debug_assert_eq!(request.view().ty, StanzaType::Subscribe);
        cx.deliver(session, &request, &Overlay::default(), None);
    }
}
