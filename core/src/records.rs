//! Sessions on record: what the next core must know of, should this one end. Stored late and not waited for; only
//! resumption waits, since it makes what another edge may still have of the session worthless.
//!
//! ```text
//!  bind, change ──late──▶ on record ──▶ end: removed, late
//!                           │ ▲
//!            socket lost    ▼ │ resumed: durable before the answer
//!                         parked: at once
//!
//!  the next core: adopted (attach.rs), restored as parked, or, if nobody returns it, told of as gone, once
//! ```

use crate::account::AccountKey;
use crate::capsule::{self, Contents};
use crate::cx::Cx;
use crate::executed;
use crate::late;
use crate::limits;
use crate::link::LinkId;
use crate::offline;
use crate::questions;
use crate::session::{Earlier, Inbound, Outbound, Session, SessionKey, Visibility};
use crate::sm;
use hearth_storage::{Answer, Ask, Change, LogId, ParkedRecord, SessionRecord};
use hearth_wire::BareJid;
use hearth_wire::ids::StreamId;

#[cfg(test)]
mod tests;

/// A session of the core before this one.
pub type Before = (BareJid, SessionRecord);

/// Stores a session as it is; `then` hears whether it is durable. `false`: there is nothing to store, nor anything to
/// hear.
pub fn put(cx: &mut Cx<'_>, key: SessionKey, then: impl FnOnce(&mut Cx<'_>, bool) + Send + 'static) -> bool {
    let Some(session) = cx.session(key) else { return false };
    let Some(account) = cx.account(session.account).filter(|account| account.moved.is_none() && !account.gone) else {
        return false;
    };
    let (owner, slot, account) = (session.account, account.slot, account.jid.clone());
    let waits = questions::waits(session) || session.outbound.held_refusals > 0;
    let record = SessionRecord {
        stream: session.stream,
        generation: session.since,
        contents: capsule::contents(cx, session),
        // Answers for which its client waits, and errors for its messages, are lost with this core: it must not take for
        // complete what is not.
        parked: cx.shard.parked.until_ms(key).filter(|_| !waits).map(|until_ms| ParkedRecord {
            until_ms: cx.now.utc_ms.saturating_add(until_ms.saturating_sub(cx.now.mono_ms)),
            settled: session.inbound.settled(),
            entry: session.outbound.last,
            written: session.outbound.mark(),
            unwritten: session.outbound.unwritten(),
            log: session.outbound.log,
        }),
    };
    if let Some(session) = cx.session_mut(key) {
        session.on_record = true;
    }
    cx.shard.records_due.remove(&key);
    // Of what its client has had the record does not tell what the account's marks do; and what is on its way to
    // storage may fail.
    if let Some(account) = cx.account_mut(owner).filter(|_| record.parked.is_some()) {
        account.log.dirty = true;
    }
    let (mut changes, taken) = late::take(cx, owner);
    changes.insert(0, Change::PutSession { account, session: record });
    cx.ask(
        slot,
        Ask::Apply { changes },
        Box::new(move |cx, answer| {
            let stored = matches!(answer, Answer::Applied);
            taken.answered(cx, stored);
            // Tried again with the next round; that the store is not well has been said.
            if matches!(answer, Answer::Failed(_)) && cx.session(key).is_some() {
                cx.shard.late.on_failed(key);
            }
            then(cx, stored);
        }),
    );
    true
}

/// The session has lost its socket: on record at once, with all that its client may have had.
pub fn on_park(cx: &mut Cx<'_>, key: SessionKey) {
    put(cx, key, |_, _| {});
}

/// The session ends.
pub fn on_end(cx: &mut Cx<'_>, session: &Session) {
    if let Some(account) = cx.account(session.account).filter(|_| session.on_record) {
        let account = account.jid.clone();
        cx.shard.records_gone.push_back((account, session.stream));
    }
}

/// The next core need not know of it; `then` is called when that is answered.
pub fn remove(cx: &mut Cx<'_>, account: BareJid, stream: StreamId, then: fn(&mut Cx<'_>)) {
    let slot = cx.shard.settings.slot_key.slot(account.as_str());
    let changes = vec![Change::RemoveSession { account: account.clone(), stream }];
    let answered = move |cx: &mut Cx<'_>, answer| {
        then(cx);
        // Its account may be gone, or another shard's: then so is the record, or the next core finds nobody. What failed
        // is tried again; that the store is not well has been said.
        if let Answer::Failed(_) = answer {
            cx.shard.late.on_failed_gone(account, stream);
        }
    };
    cx.ask(slot, Ask::Apply { changes }, Box::new(answered));
}

/// Brings a session of the core before this one back, without a socket: to be resumed until its time is up, or,
/// if nobody can, to end at once, so that all who were told that it is there hear that it is not.
pub fn restore(cx: &mut Cx<'_>, before: Before, then: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
    let (jid, record) = before;
    cx.with_account(&jid.clone(), move |cx, account| {
        if account.is_none_or(|account| restore_into(cx, account, &record).is_none()) {
            cx.shard.records_gone.push_back((jid, record.stream));
        }
        then(cx);
    });
}

/// `None`: there is nothing to bring back.
fn restore_into(cx: &mut Cx<'_>, account: AccountKey, record: &SessionRecord) -> Option<()> {
    let contents = Contents::of_record(&record.contents)?;
    let jid = contents.full_jid()?;
    let known = cx.account(account)?;
    let same = known.disabled.is_none() && executed::may_go_on(known, record.stream, contents.credentials);
    let slot = known.slot;
    // Somebody has bound the resource since.
    if cx.session_of(account, jid.as_str()).is_some() {
        return None;
    }
    cx.shard.told_gone.insert(cx.shard.settings.slot_key.hash(jid.as_str()));
    let generation = cx.next_generation(slot);
    let parked = record.parked.as_ref().filter(|_| same);
    let outbound = parked.map_or_else(
        || Outbound::new(0),
        |parked| Outbound::of_earlier(parked.entry, parked.written, &parked.unwritten, parked.log),
    );
    let earlier = Earlier {
        log: parked.map_or(LogId(0), |parked| parked.log),
        // How much its client had sent is not on record.
        again_until: u64::MAX,
        missed_presence: true,
    };
    let mut session = Session {
        account,
        jid,
        stream: record.stream,
        generation,
        before: generation,
        since: record.generation,
        bound: contents.bound,
        link: LinkId::NOWHERE,
        counter: 0,
        inbound: Inbound::adopted(contents.counted_from().max(parked.map_or(0, |parked| parked.settled))),
        outbound,
        sm: None,
        capsule_due: false,
        on_record: true,
        earlier: Some(Box::new(earlier)),
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
    session.outbound.owed.clone_from(&contents.owed);
    if parked.is_none() {
        // It is here to end. What was handled of it is not on record, and nobody must hear a guess.
        session.sm = None;
    }
    let key = SessionKey(cx.shard.sessions.insert(session));
    let left_ms = parked.map_or(0, |parked| parked.until_ms.saturating_sub(cx.now.utc_ms));
    sm::restore(cx, key, left_ms);
    cx.account_mut(account)?.sessions.push(key);
    if let Some(parked) = parked {
        cx.track_unwritten(key, &parked.unwritten);
        // What came while nobody was there to have it waits in the log.
        offline::bring_back(cx, key, contents.from.max(parked.log));
    }
    Some(())
}

/// End of a turn: those whom nobody returned end, so many at a time.
pub fn bury_some(cx: &mut Cx<'_>) {
    let mut done: usize = 0;
    while cx.shard.burying < limits::RESTORED_AT_ONCE_MAX
        && cx.shard.may_go_on(done)
        && let Some(before) = cx.shard.not_returned.pop_front()
    {
        done = done.saturating_add(1);
        cx.shard.burying = cx.shard.burying.saturating_add(1);
        restore(cx, before, |cx| {
            cx.shard.burying = cx.shard.burying.saturating_sub(1);
            cx.out.wake_at(cx.now.mono_ms);
        });
    }
    if !cx.shard.not_returned.is_empty() {
        cx.out.wake_at(cx.now.mono_ms.saturating_add(1));
    }
}
