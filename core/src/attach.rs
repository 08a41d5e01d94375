//! Sessions that outlive their link: an edge names those that it still has, on its next link to this core or to
//! the next one.
//!
//! ```text
//!  link lost          Attach: known here            marks and numbers of both sides are compared, each sends again
//!  ──────────▶ lost ──────────────────────▶ attached    what the other did not get
//!               │ AllSent, a later run, or the grace passed: parked if it may be resumed, else it ends
//!
//!  core lost          Attach: of an older epoch     the capsule says what the session was, the edge what it has;
//!  ──────────▶  ──  ──────────────────────▶ adopted     nothing is broadcast
//! ```

use crate::account::{Absent, AccountKey};
use crate::capsule::{self, Contents, Place};
use crate::cx::Cx;
use crate::executed;
use crate::limits;
use crate::link::{Link, LinkId};
use crate::offline;
use crate::outputs::Event;
use crate::questions;
use crate::recovery;
use crate::session::{Earlier, Inbound, Outbound, Session, SessionKey, Visibility};
use crate::sm;
use hearth_storage::LogId;
use hearth_wire::StreamCondition;
use hearth_wire::ids::Generation;
use hearth_wire::to_core::{Attach, LoggedEntry, Recent};
use hearth_wire::to_edge::{Attached, Close, ToEdge};

#[cfg(test)]
mod tests;

/// What an edge says of a session of which this core knows nothing; owned, since its account may have to be loaded.
struct Returned {
    link: LinkId,
    counter: u64,
    generation: Generation,
    since: Generation,
    contents: Vec<u8>,
    settled: u64,
    number: u64,
    entry: u64,
    written: u64,
    delivered_bytes: u64,
    credit: u64,
    log: LogId,
    unwritten: Vec<LoggedEntry>,
    recent: Vec<u64>,
    open: questions::Open,
}

/// Keeps what is said of a session for the `Attach` that follows.
pub fn on_recent(cx: &mut Cx<'_>, link: LinkId, frame: &Recent) {
    if let Some(link) = cx.shard.links.get_mut(&link) {
        link.recent = Some((frame.counter, frame.logs.clone()));
    }
}

/// An edge has a session of a link that was lost.
pub fn on_attach(cx: &mut Cx<'_>, link: LinkId, frame: &Attach<'_>) {
    let Some(said) = cx.shard.links.get_mut(&link) else { return };
    let open = of(said.questions.take(), frame.counter);
    let ahead = of(said.recent.take(), frame.counter);
    let Some(this) = cx.shard.links.get(&link) else { return };
    let lost = |(id, other): (&LinkId, &Link)| (!other.up && other.is_of(this)).then_some((*id, frame.counter));
    let known = cx.shard.links.iter().filter_map(lost).find_map(|socket| cx.shard.by_socket.get(&socket).copied());
    let same = |session: &Session| {
        // One that is about to end does so.
        let known = [session.generation, session.before].contains(&frame.generation);
        session.stream == frame.stream && known && !session.outbound.detached
    };
    match known.filter(|key| cx.session(*key).is_some_and(same)) {
        Some(key) => attach(cx, link, key, frame),
        None => adopt(cx, link, frame, ahead, open),
    }
}

/// What was said ahead, if it was of this session.
fn of<T: Default>(said: Option<(u64, T)>, counter: u64) -> T {
    said.filter(|(of, _)| *of == counter).map(|(_, said)| said).unwrap_or_default()
}

/// The link is another; the session is here.
fn attach(cx: &mut Cx<'_>, link: LinkId, key: SessionKey, frame: &Attach<'_>) {
    let (counter, window) = (frame.counter, cx.shard.settings.limits.session_window_bytes);
    let Some(account) = cx.session(key).map(|session| session.account) else { return };
    let Some(slot) = cx.account(account).map(|account| account.slot) else { return };
    let generation = cx.next_generation(slot);
    cx.shard.change_inbound(key, Inbound::forget_waiting);
    let Some(session) = cx.session_mut(key) else { return };
    let before = frame.generation;
    (session.before, session.generation) = (before, generation);
    let old = (std::mem::replace(&mut session.link, link), counter);
    session.outbound.waits_for_link = false;
    session.inbound.count_bytes_anew();
    // What was settled meanwhile may have been refused, and the errors stand in what is sent behind this: the mark
    // follows them.
    session.inbound.dirty = true;
    let (received, settled) = (session.inbound.received(), frame.settled);
    let written = session.outbound.written(frame.written);
    // The frame that said what is stored was lost with the link, or is yet to be sent.
    let remembers = !frame.recent.is_empty();
    session.outbound.unstored |= remembers;
    let back = |session: &mut Session| session.outbound.back_to(&session.jid, frame.entry);
    let owed = cx.shard.change_held(key, back).unwrap_or_default();
    let Some(session) = cx.session_mut(key) else { return };
    (session.outbound.sent_bytes, session.outbound.credit_bytes) = (frame.delivered_bytes, frame.credit);
    cx.shard.by_socket.remove(&old);
    cx.shard.by_socket.insert((link, counter), key);
    if let Some(account) = cx.account_mut(account) {
        written.into_iter().for_each(|id| account.log.inflight_done(id, true));
        account.log.dirty |= remembers;
    }
    offline::owe_again(cx, key, &owed);
    let attached = Attached { counter, before, generation, received, settled, credit: window };
    cx.out.frame(link, &ToEdge::Attached(attached));
    capsule::changed(cx, key);
    sm::back_again(cx, key);
    cx.shard.dirty_sessions.push(key);
}

/// The edge has named every session it has.
pub fn on_all_sent(cx: &mut Cx<'_>, link: LinkId) {
    recovery::on_all_sent(cx, link);
    let Some(this) = cx.shard.links.get(&link) else { return };
    let lost = |(_, other): &(&LinkId, &Link)| !other.up && other.lost_until_ms.is_some() && other.is_of(this);
    let left: Vec<LinkId> = cx.shard.links.iter().filter(lost).map(|(id, _)| *id).collect();
    left.into_iter().for_each(|id| crate::edges::give_up(cx, id));
}

fn refuse(cx: &mut Cx<'_>, link: LinkId, counter: u64, generation: Generation, condition: StreamCondition) {
    let (generation, condition) = (Some(generation), Some(condition));
    cx.out.frame(link, &ToEdge::Close(Close { counter, generation, condition, text: "" }));
}

/// The session was an earlier core's, if its capsule is good. What has ended here is not adopted.
fn adopt(cx: &mut Cx<'_>, link: LinkId, frame: &Attach<'_>, ahead: Vec<u64>, open: questions::Open) {
    let (counter, generation) = (frame.counter, frame.generation);
    let Some(this) = cx.shard.links.get(&link) else { return };
    let place = Place { edge: &this.edge, incarnation: this.incarnation, counter, generation };
    let contents = capsule::open(&cx.shard.settings.secret, &place, frame.sealed);
    let jid = contents.as_deref().and_then(Contents::read).and_then(|contents| contents.full_jid());
    let (Some(contents), Some(jid)) = (contents, jid) else {
        return refuse(cx, link, counter, generation, StreamCondition::Reset);
    };
    let slot = cx.shard.settings.slot_key.slot(jid.bare_str());
    // A slot that has moved since this core started is served by who knows nothing of what happened to its sessions.
    let (settings, slots) = (&cx.shard.settings, &cx.shard.slots);
    let before = settings.restored < generation.epoch && generation.epoch < settings.epoch;
    let ours = before && slots.owner(slot) == settings.index && slots.epoch(slot) == settings.epoch;
    let entries = frame.entry.saturating_sub(frame.written);
    if !ours || entries > limits::ENTRIES_MAX as u64 {
        return refuse(cx, link, counter, generation, StreamCondition::Reset);
    }
    // Resumed elsewhere since: this is the socket it was resumed from.
    let on_record = cx.shard.recovery.as_ref().and_then(|recovery| recovery.on_record(frame.stream));
    if on_record.is_none() && generation.epoch < cx.shard.settings.settled {
        return refuse(cx, link, counter, generation, StreamCondition::Reset);
    }
    let since = on_record.unwrap_or_default();
    if since > generation {
        return refuse(cx, link, counter, generation, StreamCondition::Conflict);
    }
    let returned = Returned {
        link,
        counter,
        generation,
        since,
        contents,
        settled: frame.settled,
        number: frame.number,
        entry: frame.entry,
        written: frame.written,
        delivered_bytes: frame.delivered_bytes,
        credit: frame.credit,
        log: LogId(frame.log),
        unwritten: frame.unwritten.clone(),
        recent: [ahead, frame.recent.clone()].concat(),
        open,
    };
    if let Some(recovery) = &mut cx.shard.recovery {
        recovery.adopting = recovery.adopting.saturating_add(1);
    }
    cx.with_account_or_why(&jid.bare(), move |cx, account| {
        let (link, counter, generation) = (returned.link, returned.counter, returned.generation);
        if let Err(condition) = adopt_into(cx, account, returned) {
            refuse(cx, link, counter, generation, condition);
        }
        if let Some(recovery) = &mut cx.shard.recovery {
            recovery.adopting = recovery.adopting.saturating_sub(1);
        }
    });
}

fn adopt_into(cx: &mut Cx<'_>, account: Result<AccountKey, Absent>, returned: Returned) -> Result<(), StreamCondition> {
    let account = account.map_err(|why| match why {
        // XEP-0077 §3.2: removed, by its owner or the operator.
        Absent::NoAccount => StreamCondition::NotAuthorized,
        Absent::Busy | Absent::Failed(_) => StreamCondition::Reset,
    })?;
    let contents = Contents::read(&returned.contents).ok_or(StreamCondition::Reset)?;
    let jid = contents.full_jid().ok_or(StreamCondition::Reset)?;
    let known = cx.account(account).ok_or(StreamCondition::Reset)?;
    let slot = known.slot;
    let told = cx.shard.settings.slot_key.hash(jid.as_str());
    if cx.shard.too_late.contains(&contents.stream) || cx.shard.told_gone.contains(&told) {
        return Err(StreamCondition::Reset);
    }
    // Disabled or re-keyed since: whoever holds the socket proved something that does not hold any more.
    if known.disabled.is_some() || !executed::may_go_on(known, contents.stream, contents.credentials) {
        return Err(StreamCondition::NotAuthorized);
    }
    let taken = cx.shard.by_socket.contains_key(&(returned.link, returned.counter));
    if taken || !cx.shard.links.get(&returned.link).is_some_and(|link| link.up) {
        return Err(StreamCondition::Reset);
    }
    if let Some(other) = cx.session_of(account, jid.as_str()) {
        // It was returned before, and goes on elsewhere.
        if cx.session(other).is_some_and(|other| other.stream == contents.stream) {
            return Err(StreamCondition::Reset);
        }
        // Of two sockets for one full JID the later bind is meant.
        if cx.session(other).is_some_and(|other| other.bound > contents.bound) {
            return Err(StreamCondition::Conflict);
        }
        // Who was told of it was told of its end, too, when its resource was bound anew.
        if let Some(other) = cx.session_mut(other) {
            (other.presence, other.directed) = (None, None);
        }
        cx.close_session(other, Some(StreamCondition::Conflict), "replaced by a newer session");
    }
    let generation = cx.next_generation(slot);
    let unwritten: Vec<_> = returned.unwritten.iter().map(|logged| (logged.entry, LogId(logged.log))).collect();
    let outbound = Outbound::of_earlier(returned.entry, returned.written, &unwritten, returned.log.max(contents.log));
    let mut session = Session {
        account,
        jid: jid.clone(),
        stream: contents.stream,
        generation,
        before: returned.generation,
        since: returned.since,
        bound: contents.bound,
        link: returned.link,
        counter: returned.counter,
        inbound: Inbound::adopted(returned.settled),
        outbound: Outbound {
            sent_bytes: returned.delivered_bytes,
            credit_bytes: returned.credit,
            // What is owed goes ahead of what is younger: of what the socket got, that is not.
            unstored: !returned.recent.is_empty(),
            owed: contents.owed.iter().copied().filter(|id| *id > returned.log).collect(),
            ..outbound
        },
        sm: None,
        capsule_due: false,
        on_record: true,
        earlier: Some(Box::new(earlier(&returned, &contents))),
        presence: None,
        priority: 0,
        visibility: Visibility::Visible,
        said_unavailable: false,
        interested: false,
        blocklist_asked: false,
        directed: None,
        questions: None,
    };
    contents.restore(&mut session);
    let key = SessionKey(cx.shard.sessions.insert(session));
    cx.shard.by_socket.insert((returned.link, returned.counter), key);
    if let Some(account) = cx.account_mut(account) {
        account.sessions.push(key);
        returned.recent.iter().for_each(|id| account.log.found_delivered(LogId(*id)));
    }
    cx.store_if_much(account);
    cx.track_unwritten(key, &unwritten);
    questions::on_adopted(cx, key, returned.open);
    let (counter, before, settled) = (returned.counter, returned.generation, returned.settled);
    let credit = cx.shard.settings.limits.session_window_bytes;
    let attached = Attached { counter, before, generation, received: settled, settled, credit };
    cx.out.frame(returned.link, &ToEdge::Attached(attached));
    cx.event(Event::SessionAdopted { jid: jid.as_str().to_owned() });
    if let Some(recovery) = &mut cx.shard.recovery {
        recovery.returned(contents.stream);
    }
    capsule::changed(cx, key);
    offline::bring_back(cx, key, contents.from.max(contents.log).max(returned.log));
    offline::read_on(cx, key);
    Ok(())
}

/// What the edge says of that.
fn earlier(returned: &Returned, contents: &Contents<'_>) -> Earlier {
    Earlier {
        log: returned.log.max(contents.log),
        again_until: returned.number.max(contents.again_until),
        missed_presence: false,
    }
}
