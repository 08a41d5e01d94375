//! Stream management (XEP-0198): a session is acknowledged by its client, and outlives its socket.
//!
//! ```text
//!            socket lost                      Resume                   all that was accepted is settled
//!  attached ─────────────▶ parked ──────────────────────────▶ resuming ────────────────▶ attached
//!     │                      │ time is up: it ends                 │ not in time: parked, the client may ask again
//!     └── Resume ────────────┼────────────────────────────────────▶┘ (the old socket gets `conflict`)
//! ```
//! A parked session is available: what comes for it is held, and beyond the limit waits in the log. Counting is
//! the edge's; here is only where counting began.

use crate::account::AccountKey;
use crate::capsule;
use crate::cx::Cx;
use crate::features::{Feature, Spec};
use crate::limits;
use crate::link::LinkId;
use crate::login::Login;
use crate::offline;
use crate::presence;
use crate::questions;
use crate::records;
use crate::session::{Earlier, Entry, Held, Inbound, Session, SessionKey};
use crate::shard::pin;
use hearth_wire::BareJid;
use hearth_wire::to_core::{Resume, SmEnable};
use hearth_wire::to_edge::{Close, ResumeFailed, Resumed, SmEnabled, ToEdge};
use hearth_wire::{StanzaCondition, StreamCondition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[cfg(test)]
mod tests;

const NS: &str = "urn:xmpp:sm:3";

/// Acknowledgement is the edge's work, which counts what its clients send and get.
pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(198, "1.6.3"),
    stream_features: Some(|_, tree| {
        tree.open(Some(NS), "sm").close();
    }),
    // §9.2: the edge asks for it once the client is known.
    inline: Some(|_, tree| {
        tree.open(Some(NS), "sm").close();
    }),
    ..Feature::EMPTY
};

/// What names a session to its client: 128 random bits.
pub type Token = [u8; 16];

/// Stream management of one session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sm {
    /// `None`: it cannot be resumed.
    pub token: Option<Token>,
    pub max_s: u32,
    /// The client's stanza before `<enable/>`, and the last entry before `<enabled/>`: both count from there.
    pub number: u64,
    pub entry: u64,
    pub resuming: Option<Resuming>,
}

/// A socket that waits to have the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resuming {
    credit: u64,
    until_ms: u64,
    /// The new generation is durable: whatever an edge still has of the old one is worth nothing.
    on_record: bool,
}

/// Sessions without a socket, by when their time is up.
#[derive(Default)]
pub struct Parked {
    until_ms: BTreeMap<SessionKey, u64>,
    due: BTreeSet<(u64, SessionKey)>,
}

impl Parked {
    fn insert(&mut self, key: SessionKey, until_ms: u64) {
        self.remove(key);
        self.until_ms.insert(key, until_ms);
        self.due.insert((until_ms, key));
    }

    /// The session has a socket, or is no more.
    pub fn remove(&mut self, key: SessionKey) {
        if let Some(until_ms) = self.until_ms.remove(&key) {
            self.due.remove(&(until_ms, key));
        }
    }

    /// Until when it waits, `Now::mono_ms`.
    pub fn until_ms(&self, key: SessionKey) -> Option<u64> {
        self.until_ms.get(&key).copied()
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    fn first(&self) -> Option<(u64, SessionKey)> {
        self.due.first().copied()
    }
}

/// Sessions that could have been resumed and ended: how much of what their clients sent was handled.
#[derive(Default)]
pub struct Ended {
    handled: BTreeMap<Token, (BareJid, u32)>,
    /// Oldest first.
    order: VecDeque<Token>,
}

impl Ended {
    fn insert(&mut self, token: Token, account: BareJid, h: u32) {
        if self.handled.insert(token, (account, h)).is_none() {
            self.order.push_back(token);
        }
        if self.order.len() > limits::ENDED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.handled.remove(&oldest);
        }
    }

    /// For the account's own client only.
    fn handled(&self, account: &BareJid, previd: &str) -> Option<u32> {
        let (owner, h) = self.handled.get(&token_of(previd)?)?;
        (owner == account).then_some(*h)
    }
}

/// §3: counting begins. An edge that asks again has not had the answer: nothing was sent to its client since.
pub fn on_enable(cx: &mut Cx<'_>, link: LinkId, frame: &SmEnable) {
    let Some(key) = cx.shard.by_socket.get(&(link, frame.counter)).copied() else { return };
    let token = frame.resume.then(|| cx.random());
    let Some(session) = cx.session_at(key, frame.generation) else { return };
    let token = session.sm.as_ref().map_or(token, |sm| sm.token);
    let max_s = frame.max_s.filter(|asked| *asked > 0).unwrap_or(limits::RESUME_S).min(limits::RESUME_S);
    let entry = session.outbound.last;
    session.sm = Some(Box::new(Sm { token, max_s, number: frame.number, entry, resuming: None }));
    let previd = token.map(|token| hex(&token));
    let enabled =
        SmEnabled { counter: frame.counter, generation: frame.generation, entry, previd: previd.as_deref(), max_s };
    cx.out.frame(link, &ToEdge::SmEnabled(enabled));
    capsule::changed(cx, key);
}

/// The text of a token, `previd` (§5).
fn hex(token: &Token) -> String {
    token.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The token of a `previd`.
fn token_of(previd: &str) -> Option<Token> {
    let mut token = [0; 16];
    if previd.len() != 32 || !previd.is_ascii() {
        return None;
    }
    for (at, byte) in token.iter_mut().enumerate() {
        *byte = u8::from_str_radix(previd.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(token)
}

/// The session ends: should its client still ask for it, it hears how much of what it sent was handled. Not where
/// the error that answers a message is lost with the session: then it had better send that again.
pub fn on_end(cx: &mut Cx<'_>, session: &Session) {
    let outbound = &session.outbound;
    let lost = outbound.entries.iter().any(|entry| match entry {
        Entry::Kept(held) => held.is_refusal(),
        Entry::Logged(_) => false,
        // An earlier core knew what it was.
        Entry::Gone => true,
    });
    if outbound.detached || lost || outbound.held_refusals > 0 {
        return;
    }
    let Some((token, number)) = session.sm.as_ref().and_then(|sm| Some((sm.token?, sm.number))) else { return };
    // Modulo 2^32 (§4).
    let h = u32::try_from(session.inbound.settled().saturating_sub(number) & u64::from(u32::MAX)).unwrap_or(0);
    cx.shard.ended.insert(token, session.jid.bare(), h);
}

/// Whether the session may go on without a socket.
pub fn may_park(session: &Session) -> bool {
    session.sm.as_ref().is_some_and(|sm| sm.token.is_some()) && !session.outbound.detached
}

/// The session has no socket any more. It waits for its client, as it is.
pub fn park(cx: &mut Cx<'_>, key: SessionKey) {
    let now_ms = cx.now.mono_ms;
    let Some(session) = cx.session_mut(key) else { return };
    let max_s = session.sm.as_ref().map_or(0, |sm| sm.max_s);
    let socket = (session.link, session.counter);
    session.link = LinkId::NOWHERE;
    if let Some(sm) = &mut session.sm {
        sm.resuming = None;
    }
    cx.shard.by_socket.remove(&socket);
    let until_ms = now_ms.saturating_add(u64::from(max_s).saturating_mul(1000));
    cx.shard.parked.insert(key, until_ms);
    cx.out.wake_at(until_ms);
    records::on_park(cx, key);
}

/// A session of the core before this one, that has no socket, waits so much longer.
pub fn restore(cx: &mut Cx<'_>, key: SessionKey, left_ms: u64) {
    let until_ms = cx.now.mono_ms.saturating_add(left_ms);
    cx.shard.parked.insert(key, until_ms);
    cx.out.wake_at(until_ms);
}

/// §5: an authenticated socket asks for a session of its account.
pub fn on_resume(cx: &mut Cx<'_>, link: LinkId, frame: &Resume<'_>) {
    let counter = frame.counter;
    let account = cx.shard.logins.get(&(link, counter)).and_then(|login| login.account);
    let Some(jid) = account.and_then(|key| cx.account(key)).map(|account| account.jid.clone()) else {
        return fail(cx, link, counter, StanzaCondition::UnexpectedRequest, None);
    };
    let (previd, h, credit) = (frame.previd.to_owned(), frame.h, frame.credit);
    // Behind what its old socket sent and what waits for the account.
    cx.with_account(&jid, move |cx, account| match account {
        Some(account) => resume(cx, link, counter, account, &previd, h, credit),
        None => fail(cx, link, counter, StanzaCondition::InternalServerError, None),
    });
}

fn fail(cx: &mut Cx<'_>, link: LinkId, counter: u64, condition: StanzaCondition, h: Option<u32>) {
    cx.out.frame(link, &ToEdge::ResumeFailed(ResumeFailed { counter, condition, h }));
}

/// There is no such session (any more).
fn not_found(cx: &mut Cx<'_>, link: LinkId, counter: u64, account: AccountKey, previd: &str) {
    let h = cx.account(account).and_then(|account| cx.shard.ended.handled(&account.jid, previd));
    fail(cx, link, counter, StanzaCondition::ItemNotFound, h);
}

fn resume(cx: &mut Cx<'_>, link: LinkId, counter: u64, account: AccountKey, previd: &str, h: u32, credit: u64) {
    // The socket may have closed while the account was busy.
    if !cx.shard.logins.contains_key(&(link, counter)) {
        return;
    }
    let named = |session: &Session| session.sm.as_ref().and_then(|sm| sm.token).is_some_and(|t| hex(&t) == previd);
    let sessions = cx.account(account).map(|account| account.sessions.clone()).unwrap_or_default();
    let in_time = |key| cx.shard.parked.until_ms(key).is_none_or(|until_ms| until_ms > cx.now.mono_ms);
    let found = |key: &SessionKey| cx.session(*key).is_some_and(|s| named(s) && may_park(s)) && in_time(*key);
    let found = sessions.into_iter().find(found);
    let Some(key) = found else { return not_found(cx, link, counter, account, previd) };
    let Some(session) = cx.session(key) else { return };
    let base = session.sm.as_ref().map_or(0, |sm| sm.entry);
    let Some(handled) = entry_of(h, base, &session.outbound) else {
        // §6: more than it was sent.
        let (condition, text) = (Some(StreamCondition::UndefinedCondition), "handled-count-too-high");
        cx.out.frame(link, &ToEdge::Close(Close { counter, generation: None, condition, text }));
        return crate::login::on_closed(cx, link, counter);
    };
    if session.outbound.has_lost(handled) {
        // §5: the client must not take for complete what is not.
        cx.end_session(key, "an earlier core knew what it was sent");
        return not_found(cx, link, counter, account, previd);
    }
    move_to(cx, key, link, counter, account);
    let acknowledged = cx.session_mut(key).map(|session| session.outbound.written(handled)).unwrap_or_default();
    for id in acknowledged {
        if let Some(account) = cx.account_mut(account) {
            account.log.inflight_done(id, true);
        }
    }
    let until_ms = cx.now.mono_ms.saturating_add(limits::RESUME_SETTLE_MS);
    let Some(session) = cx.session_mut(key) else { return };
    // Nothing is sent until the answer is.
    (session.outbound.sent_bytes, session.outbound.credit_bytes) = (0, 0);
    let generation = session.generation;
    let owed = cx.shard.change_held(key, |session| session.outbound.back_to(&session.jid, handled)).unwrap_or_default();
    let Some(session) = cx.session_mut(key) else { return };
    if let Some(sm) = &mut session.sm {
        sm.resuming = Some(Resuming { credit, until_ms, on_record: false });
    }
    offline::owe_again(cx, key, &owed);
    cx.shard.resuming.push(key);
    cx.out.wake_at(until_ms);
    records::put(cx, key, move |cx, durable| {
        let resuming = cx.session_at(key, generation).and_then(|s| s.sm.as_mut()).and_then(|sm| sm.resuming.as_mut());
        if let Some(resuming) = resuming {
            resuming.on_record = durable;
            go_on(cx, key);
        }
    });
}

/// The entry that `h` means: the counter is of 32 bits (§4) and cannot lie outside of what is not acknowledged.
fn entry_of(h: u32, base: u64, outbound: &crate::session::Outbound) -> Option<u64> {
    // Who knows the token has had all that came before `<enabled/>`.
    let first = outbound.last.saturating_sub(outbound.entries.len() as u64).max(base);
    let counted = u32::try_from(first.saturating_sub(base) & u64::from(u32::MAX)).unwrap_or(0);
    let ahead = u64::from(h.wrapping_sub(counted));
    let entry = first.saturating_add(ahead);
    (entry <= outbound.last).then_some(entry)
}

/// Raises the generation: the old socket, if there is one, is closed (§5), and its late frames mean nothing.
fn move_to(cx: &mut Cx<'_>, key: SessionKey, link: LinkId, counter: u64, account: AccountKey) {
    let Some(slot) = cx.account(account).map(|account| account.slot) else { return };
    let generation = cx.next_generation(slot);
    cx.shard.change_inbound(key, Inbound::forget_waiting);
    let Some(session) = cx.session_mut(key) else { return };
    let old = (session.link, session.counter);
    let before = std::mem::replace(&mut session.generation, generation);
    (session.before, session.since) = (generation, generation);
    (session.link, session.counter) = (link, counter);
    session.outbound.waits_for_link = false;
    cx.shard.parked.remove(key);
    cx.shard.by_socket.remove(&old);
    cx.shard.logins.remove(&(link, counter));
    cx.shard.by_socket.insert((link, counter), key);
    if let Some(account) = cx.account_mut(account) {
        account.pins = account.pins.saturating_sub(1);
    }
    let condition = Some(StreamCondition::Conflict);
    let close = Close { counter: old.1, generation: Some(before), condition, text: "resumed by another connection" };
    cx.out.frame(old.0, &ToEdge::Close(close));
}

/// Resumptions go on once their sockets may have the sessions, or are given up.
pub fn advance(cx: &mut Cx<'_>) {
    for key in std::mem::take(&mut cx.shard.resuming) {
        go_on(cx, key);
        let waiting = cx.session(key).and_then(|session| session.sm.as_ref()?.resuming);
        if let Some(resuming) = waiting {
            cx.shard.resuming.push(key);
            cx.out.wake_at(resuming.until_ms);
        }
    }
}

fn go_on(cx: &mut Cx<'_>, key: SessionKey) {
    let (now_ms, window) = (cx.now.mono_ms, cx.shard.settings.limits.session_window_bytes);
    let Some(session) = cx.session(key).filter(|session| !session.outbound.detached) else { return };
    let Some(resuming) = session.sm.as_ref().and_then(|sm| sm.resuming) else { return };
    match readiness(cx, session, &resuming) {
        Readiness::Ready => {}
        // Storage is slow or fails: the client would take for handled what is not. It may ask again.
        Readiness::Waits if now_ms >= resuming.until_ms => return give_up(cx, key),
        Readiness::Waits => return,
        Readiness::Never => {
            let reason = "more is held for it than its new socket takes at once";
            return cx.close_session(key, Some(StreamCondition::ResourceConstraint), reason);
        }
    }
    let Some(session) = cx.session_mut(key) else { return };
    let (link, counter, credit) = (session.link, session.counter, resuming.credit);
    session.inbound.count_bytes_anew();
    session.outbound.credit_bytes = credit;
    let Some(sm) = &mut session.sm else { return };
    sm.resuming = None;
    let (sm_number, sm_entry) = (sm.number, sm.entry);
    let (jid, stream, generation) = (session.jid.clone(), session.stream, session.generation);
    let (number, entry) = (session.inbound.received(), session.outbound.last);
    cx.out.frame(
        link,
        &ToEdge::Resumed(Resumed {
            counter,
            stream,
            generation,
            jid: jid.as_str(),
            number,
            sm_number,
            entry,
            sm_entry,
            credit: window,
        }),
    );
    questions::hand_over(cx, key);
    capsule::changed(cx, key);
    back_again(cx, key);
    let missed = |earlier: &mut Box<Earlier>| std::mem::take(&mut earlier.missed_presence);
    if cx.session_mut(key).is_some_and(|session| session.earlier.as_mut().is_some_and(missed)) {
        presence::ask_anew(cx, key);
    }
}

/// The session waits for another socket; this one may ask again, or bind.
fn give_up(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(Session { account, link, counter, .. }) = cx.session(key) else { return };
    let (account, link, counter) = (*account, *link, *counter);
    park(cx, key);
    if !cx.shard.links.get(&link).is_some_and(|link| link.up) {
        return;
    }
    pin(cx, account);
    cx.shard.logins.insert((link, counter), Login::authenticated(account));
    fail(cx, link, counter, StanzaCondition::ResourceConstraint, None);
}

/// Whether a socket that waits for a session may have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readiness {
    Ready,
    Waits,
    Never,
}

/// What its client hears covers all that it sent. That is settled, and where it was refused the error, if it is held,
/// goes out right behind: should this core die before, nobody could tell it.
fn readiness(cx: &Cx<'_>, session: &Session, resuming: &Resuming) -> Readiness {
    let Session { jid, link, inbound, outbound, .. } = session;
    if !resuming.on_record || inbound.settled() < inbound.received() {
        return Readiness::Waits;
    }
    let Some(last) = outbound.held.iter().rposition(Held::is_refusal) else {
        // Behind what must be read in the log first?
        return if outbound.held_refusals > 0 { Readiness::Never } else { Readiness::Ready };
    };
    let held = || outbound.held.iter().take(last.saturating_add(1));
    let refusals = held().filter(|held| held.is_refusal()).count();
    let bytes: u64 = held().map(|held| held.size() as u64).sum();
    let frames: u64 = held().map(|held| held.framed_len(jid) as u64).sum();
    if refusals < outbound.held_refusals || bytes > resuming.credit || last >= cx.shard.settings.limits.entries {
        Readiness::Never
    } else if cx.link_takes(*link, frames) {
        Readiness::Ready
    } else {
        Readiness::Waits
    }
}

/// A session has a socket again: what was held comes, then what waits in the log.
pub fn back_again(cx: &mut Cx<'_>, key: SessionKey) {
    cx.release_held(key);
}

/// Sessions whose client did not come back in time end, as the other shards have room for what that means.
pub fn expire(cx: &mut Cx<'_>) {
    let mut ended = 0usize;
    while let Some((until_ms, key)) = cx.shard.parked.first() {
        if until_ms > cx.now.mono_ms {
            return cx.out.wake_at(until_ms);
        }
        if ended >= cx.shard.settings.limits.closes_per_turn || !cx.shard.may_go_on(ended) {
            return cx.out.wake_at(cx.now.mono_ms.saturating_add(1));
        }
        cx.end_session(key, "not resumed in time");
        ended = ended.saturating_add(1);
    }
}
