//! Presence (RFC 6121 §4): who is there, who is told. Subscriptions are `subscription.rs`, how it
//! gets to many is `fanout.rs`.
//!
//! ```text
//!            <presence/>: broadcast, probes,          <presence/>: broadcast
//!            own resources, requests, messages            ┌───┐
//!  connected ───────────────────────────────▶ available ──┘◀──┘
//!      ▲                                          │
//!      └── <presence type='unavailable'/>, or the session ends: broadcast, and to everyone who
//!          got directed presence
//! ```

pub mod fanout;

#[cfg(test)]
mod tests;

use crate::account::{Account, AccountKey};
use crate::capsule;
use crate::contact::Contact;
use crate::cx::Cx;
use crate::last_activity;
use crate::limits;
use crate::offline;
use crate::route::bare;
use crate::session::{Origin, Session, SessionKey, Visibility};
use crate::subscription::{self, state::Action, state::Half};
use fanout::{Want, receiving, sight};
use hearth_storage::LastSeen;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{self, Builder, CLIENT};
use hearth_wire::{BareJid, StanzaCondition, date_time, jid};
use std::collections::BTreeSet;

// ---- out of a session -----------------------------------------------------------------------

/// A presence stanza of one of this shard's sessions; `from` is its full JID.
pub fn outbound(cx: &mut Cx<'_>, key: SessionKey, stanza: &Stanza<'_>) {
    let done = match (stanza.ty, stanza.to) {
        (StanzaType::Available, None) => on_available(cx, key, stanza),
        (StanzaType::Unavailable, None) => {
            become_unavailable(cx, key, &SharedStanza::new(stanza), true);
            Ok(())
        }
        (StanzaType::Available | StanzaType::Unavailable, Some(to)) => direct(cx, key, stanza, to),
        // §4.3: a client need not probe, but may; §8: errors go where they are sent.
        (StanzaType::Probe, Some(to)) => {
            probe(cx, key, stanza, to);
            Ok(())
        }
        (StanzaType::Error, Some(_)) => {
            cx.route(SharedStanza::new(stanza), None);
            Ok(())
        }
        (ty, _) => match Action::of(ty) {
            Some(action) => subscription::outbound(cx, key, stanza, action),
            None => Ok(()),
        },
    };
    capsule::changed(cx, key);
    if let Err(condition) = done {
        cx.refuse_to(key, stanza, condition);
    }
}

/// A client need not probe, but may (§4.3). Of an account that has not answered a request of ours it learns
/// nothing, not even that there is one, and `unsubscribed` would end the request: the answer is ours, the
/// `unavailable` with which §3.1.3 lets requests be acknowledged. A probe may have an account loaded: it is
/// settled, and its bytes are credited, when it is answered.
fn probe(cx: &mut Cx<'_>, key: SessionKey, stanza: &Stanza<'_>, to: &str) {
    let account = cx.session(key).and_then(|session| cx.account(session.account));
    let asked = account.and_then(|account| account.contact(bare(to))).is_some_and(Contact::ask);
    if asked && to.contains('/') {
        return; // Who has no answer yet has not been told of resources either.
    }
    if asked {
        let answer = vec![mere(to, StanzaType::Unavailable, stanza.id)];
        return fanout::answer(cx, cx.shard.settings.index, stanza.from.unwrap_or_default(), answer);
    }
    let origin = cx.defer();
    cx.route(SharedStanza::new(stanza), origin);
}

/// §4.7.2.3: at most one integer from -128 to 127; 0 if there is none.
fn priority(stanza: &Stanza<'_>) -> Result<i8, StanzaCondition> {
    let mut all = tree::children(stanza.payload).filter(|child| child.is(CLIENT, "priority"));
    match (all.next(), all.next()) {
        (None, _) => Ok(0),
        (Some(one), None) => one.text().trim().parse().map_err(|_| StanzaCondition::BadRequest),
        (Some(_), Some(_)) => Err(StanzaCondition::BadRequest),
    }
}

/// Initial (§4.2.2) and subsequent (§4.4.2) presence.
fn on_available(cx: &mut Cx<'_>, key: SessionKey, stanza: &Stanza<'_>) -> Result<(), StanzaCondition> {
    let priority = priority(stanza)?;
    let presence = SharedStanza::new(stanza);
    let Some(session) = cx.session_mut(key) else { return Ok(()) };
    let (initial, received) = (!session.available(), session.receives_bare());
    session.said_unavailable = false;
    if session.visibility != Visibility::Visible {
        session.priority = priority;
        session.visibility = Visibility::Invisible;
        if !received && priority >= 0 {
            offline::read_again(cx, key);
        }
        return Ok(());
    }
    session.presence = Some(presence.clone());
    session.priority = priority;
    let account = session.account;
    tell_own(cx, account, &presence, None);
    if initial {
        see_own(cx, account, key);
    }
    fanout::broadcast(cx, key, &presence, initial, false);
    if initial {
        subscription::deliver_requests(cx, key);
    }
    if !received && priority >= 0 {
        offline::read_again(cx, key);
    }
    Ok(())
}

/// Everybody is subscribed to their own resources, the one that speaks included.
fn tell_own(cx: &mut Cx<'_>, key: AccountKey, presence: &SharedStanza, also: Option<SessionKey>) {
    let Some(account) = cx.account(key) else { return };
    let mut sessions = receiving(cx, account);
    sessions.extend(also.filter(|also| !sessions.contains(also)));
    let to = account.jid.clone();
    cx.multicast(&sessions, presence, &Overlay { to: Some(to.as_str()), ..Overlay::default() }, None);
}

/// The account's other available resources, as the new one sees them.
fn see_own(cx: &mut Cx<'_>, key: AccountKey, new: SessionKey) {
    let Some(account) = cx.account(key).filter(|account| account.sessions.len() > 1) else { return };
    let others = account.sessions.iter().filter(|session| **session != new);
    let presences: Vec<SharedStanza> = others.filter_map(|key| cx.session(*key)?.presence.clone()).collect();
    let to = account.jid.clone();
    for presence in presences {
        cx.deliver(new, &presence, &Overlay { to: Some(to.as_str()), ..Overlay::default() }, None);
    }
}

/// The resource is not available any more (§4.5.2), nor to whom it sent directed presence (§4.6.3).
/// A client that says so itself hears itself.
fn become_unavailable(cx: &mut Cx<'_>, key: SessionKey, stanza: &SharedStanza, alive: bool) {
    let Some(session) = cx.session_mut(key) else { return };
    let was_available = session.presence.take().is_some();
    session.said_unavailable |= was_available;
    let directed = session.directed.take();
    session.priority = 0;
    if session.visibility == Visibility::Invisible {
        session.visibility = Visibility::InvisibleAway;
    }
    let account = session.account;
    if was_available {
        tell_own(cx, account, stanza, alive.then_some(key));
        fanout::broadcast(cx, key, stanza, false, !alive);
        last_activity::on_unavailable(cx, account, &stanza.view());
    }
    let Some(directed) = directed else { return };
    // Everybody is told once, whatever way they were told before.
    let wants: Vec<(Want, &str)> = directed
        .iter()
        .filter_map(|to| {
            let broadcast = was_available && cx.account(account).is_some_and(|account| sees(account, bare(to)));
            match (broadcast, to.contains('/')) {
                (true, false) => None,
                (true, true) => Some((Want::NotifyHidden, to.as_ref())),
                (false, true) if directed.contains(bare(to)) => Some((Want::NotifyHidden, to.as_ref())),
                (false, _) => Some((Want::Notify, to.as_ref())),
            }
        })
        .collect();
    fanout::send_to(cx, stanza, wants.into_iter());
}

/// Whether broadcasts of the account reach this bare JID.
fn sees(account: &Account, address: &str) -> bool {
    address == account.jid.as_str() || account.contact(address).is_some_and(|contact| contact.sees_us())
}

/// XEP-0186 §3.1: unavailable for all who see the session; it hears as before, or from now on.
pub fn become_invisible(cx: &mut Cx<'_>, key: SessionKey, probe: bool) {
    let Some(session) = cx.session(key) else { return };
    let (account, priority) = (session.account, session.priority);
    let (heard, received) = (session.receives_presence(), session.receives_bare());
    if session.available() {
        let gone = fanout::unavailable(session.jid.as_str());
        become_unavailable(cx, key, &gone, true);
    }
    if let Some(session) = cx.session_mut(key) {
        session.visibility = Visibility::Invisible;
        session.said_unavailable = false;
        session.priority = priority;
    }
    capsule::changed(cx, key);
    if !heard {
        see_own(cx, account, key);
        subscription::deliver_requests(cx, key);
    }
    if probe {
        fanout::probe_all(cx, key);
    }
    if !received && priority >= 0 {
        offline::read_again(cx, key);
    }
}

/// XEP-0186 §3.3: as before initial presence; whom the session told directly is told of its end.
pub fn end_invisibility(cx: &mut Cx<'_>, key: SessionKey) {
    if let Some(session) = cx.session_mut(key).filter(|session| session.visibility != Visibility::Visible) {
        session.visibility = Visibility::Visible;
        session.priority = 0;
    }
    capsule::changed(cx, key);
}

/// The session ends: tells whoever was told that it is available (§4.5, §4.6.3).
pub fn on_session_end(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(session) = cx.session(key) else { return };
    let (available, stanza) = (session.available(), fanout::unavailable(session.jid.as_str()));
    // What it said last may still wait for room: its farewell, if it is not available any more.
    fanout::end_due(cx, key, !available);
    become_unavailable(cx, key, &stanza, false);
}

/// Directed presence (§4.6.3): to one address, whatever the roster says.
fn direct(cx: &mut Cx<'_>, key: SessionKey, stanza: &Stanza<'_>, to: &str) -> Result<(), StanzaCondition> {
    let (localpart, domainpart, _) = jid::split(to);
    if !cx.shard.domains.contains(domainpart) {
        return Err(StanzaCondition::RemoteServerNotFound);
    }
    if localpart.is_none() {
        return Ok(());
    }
    let owner = cx.shard.owner(bare(to));
    let bytes = (stanza.payload.len() as u64).saturating_add(256);
    if owner != cx.shard.settings.index && !cx.shard.outbox_has_room(owner, bytes) {
        return Err(StanzaCondition::ResourceConstraint);
    }
    if stanza.ty == StanzaType::Unavailable {
        fanout::forget_directed(cx, key, to);
    } else {
        remember_directed(cx, key, to)?;
    }
    cx.route(SharedStanza::new(stanza), None);
    Ok(())
}

/// Who must be told when the session ends. A contact that every broadcast reaches need not be kept.
fn remember_directed(cx: &mut Cx<'_>, key: SessionKey, to: &str) -> Result<(), StanzaCondition> {
    let Some(session) = cx.session(key) else { return Ok(()) };
    let broadcast = session.available() && cx.account(session.account).is_some_and(|account| sees(account, to));
    let Some(session) = cx.session_mut(key).filter(|_| !broadcast) else { return Ok(()) };
    let directed: &mut BTreeSet<Box<str>> = session.directed.get_or_insert_default();
    if !directed.contains(to) {
        if directed.len() >= limits::DIRECTED_MAX {
            return Err(StanzaCondition::ResourceConstraint);
        }
        directed.insert(to.into());
    }
    Ok(())
}

// ---- into an account ------------------------------------------------------------------------

/// A presence stanza for an account of this shard that is ready (§8.5).
pub fn inbound(cx: &mut Cx<'_>, account: AccountKey, stanza: SharedStanza, origin: Option<Origin>) {
    let view = stanza.view();
    if let Some(action) = Action::of(view.ty) {
        return subscription::inbound(cx, account, stanza, action, origin);
    }
    match view.ty {
        StanzaType::Available | StanzaType::Unavailable | StanzaType::Error => deliver(cx, account, &stanza),
        StanzaType::Probe => answer_probe(cx, account, &view),
        _ => {}
    }
    cx.settle(origin);
}

/// §8.5.2.1.2: to the bare JID, every available resource; to a full JID, that resource if it is
/// connected. Nobody there is nobody told.
fn deliver(cx: &mut Cx<'_>, key: AccountKey, stanza: &SharedStanza) {
    let view = stanza.view();
    let (Some(to), Some(account)) = (view.to, cx.account(key)) else { return };
    let sessions = if to.contains('/') { Vec::from_iter(cx.session_of(key, to)) } else { receiving(cx, account) };
    if view.ty == StanzaType::Unavailable
        && let Some(from) = view.from
    {
        sessions.iter().for_each(|session| fanout::forget_directed(cx, *session, from));
    }
    cx.multicast_in_turn(&sessions, stanza, &Overlay::default());
}

/// A probe by a client (§4.3.2, §4.6.6); what a login asks about all contacts at once is answered in
/// [`fanout::receive`], and by those alone who are there.
///
/// Who may see the account has each available resource's presence, or that there is none, with the time and the
/// status of the last ([`LastSeen`]); of a full JID only whether that resource is there. Who was told of a
/// resource by directed presence may ask whether it still is. Whose request waits for its answer has none here
/// either (see [`probe`]). Strangers get `unsubscribed`, which mends rosters that disagree and is what an account
/// that does not exist says ([`answer_for_nobody`]).
fn answer_probe(cx: &mut Cx<'_>, key: AccountKey, probe: &Stanza<'_>) {
    let (Some(from), Some(to), Some(account)) = (probe.from, probe.to, cx.account(key)) else { return };
    let asker = cx.shard.owner(bare(from));
    let sight = sight(account, bare(from));
    let resource = if to.contains('/') { cx.session_of(key, to).and_then(|key| cx.session(key)) } else { None };
    let told = resource.is_some_and(|session| session.told(from));
    let found = match (sight, to.contains('/')) {
        (Half::Yes, true) if resource.is_some_and(Session::available) => vec![mere(to, StanzaType::Available, None)],
        (_, true) if told => vec![mere(to, StanzaType::Available, None)],
        (Half::Yes, true) => vec![mere(to, StanzaType::Unavailable, probe.id)],
        (Half::Yes, false) => {
            let found: Vec<_> = account.sessions.iter().filter_map(|key| cx.session(*key)?.presence.clone()).collect();
            if found.is_empty() { vec![last_unavailable(account, probe.id)] } else { found }
        }
        (Half::Pending, _) => return,
        (Half::No, _) => {
            let refusal = subscription::bare_stanza(Action::Unsubscribed, &account.jid, bare(from), probe.id);
            return cx.route(refusal, None);
        }
    };
    fanout::answer(cx, asker, from, found);
}

/// A session has missed what its contacts said: each is probed, and who is not there any more is shown to be gone
/// (§4.3). Of a contact that is still there by another resource only that one is heard of.
pub fn ask_anew(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(session) = cx.session(key).filter(|session| session.receives_presence()) else { return };
    let (jid, Some(account)) = (session.jid.clone(), cx.account(session.account)) else { return };
    let seen = account.roster.iter().filter(|contact| contact.seen_by_us() && !account.blocks(contact.address()));
    let probes: Vec<_> = seen
        .map(|contact| {
            let (from, to) = (Some(jid.as_str()), Some(contact.address()));
            SharedStanza::new(&Stanza { from, to, ..Stanza::new(StanzaKind::Presence, StanzaType::Probe) })
        })
        .collect();
    probes.into_iter().for_each(|probe| cx.route(probe, None));
}

/// What a probe of an account that does not exist is answered (§4.3.2 rule 1), as by one that is not shared with the asker.
pub fn answer_for_nobody(cx: &mut Cx<'_>, probe: &Stanza<'_>) {
    let Some(account) = probe.to.and_then(|to| BareJid::parse(bare(to)).ok()) else { return };
    let Some(from) = probe.from else { return };
    cx.route(subscription::bare_stanza(Action::Unsubscribed, &account, bare(from), probe.id), None);
}

/// §4.3.2 rule 3: of the account as such, with what is known of its last presence.
fn last_unavailable(account: &Account, id: Option<&str>) -> SharedStanza {
    let mut tree = Builder::new();
    if let Some(LastSeen { at_ms, status }) = account.last_seen.as_deref() {
        if let Some(status) = status {
            tree.leaf(None, "status", status);
        }
        tree.open(Some("urn:xmpp:delay"), "delay").attr("stamp", &date_time::text(*at_ms)).close();
    }
    let (from, payload) = (Some(account.jid.as_str()), tree.finish());
    let stanza = Stanza::new(StanzaKind::Presence, StanzaType::Unavailable);
    SharedStanza::new(&Stanza { id, from, payload: &payload, ..stanza })
}

/// Whether it is there, and nothing else of it.
fn mere(from: &str, ty: StanzaType, id: Option<&str>) -> SharedStanza {
    SharedStanza::new(&Stanza { id, from: Some(from), ..Stanza::new(StanzaKind::Presence, ty) })
}
