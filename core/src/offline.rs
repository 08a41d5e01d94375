//! Messages that waited (XEP-0160): read from the log at the first available presence of
//! non-negative priority, delivered once with their delay stamps (XEP-0203), live ones behind them,
//! at the pace at which the client reads. The same for a session that does not keep up with live ones.
//!
//! ```text
//!  the account's log   1 2 3 4 5 6 7 8 9 │ 10      on its way in: dealt with when its append is answered
//!                          ▲     ▲     ▲
//!                      after   from   heard        Behind, of one session; AccountLog::heard
//!
//!  up to after    need not be read
//!  up to from     what nobody has, and what is owed by name
//!  up to heard    all that is for the session, whoever else has it
//! ```

use crate::account::{Absent, Account, AccountKey, State};
use crate::cx::Cx;
use crate::limits::{self, Limits};
use crate::outputs::Event;
use crate::session::{Behind, Session, SessionKey};
use hearth_storage::{Answer, Ask, LogId, LogRecord};
use hearth_wire::ids::StreamId;
use hearth_wire::stanza::{Delay, Overlay};

/// How many messages may wait for the account: no limit while someone is there to have them.
pub fn room(account: &Account, limits: &Limits) -> usize {
    if account.sessions.is_empty() { limits::OFFLINE_MESSAGES_MAX } else { limits::PENDING_MAX.max(limits.pending) }
}

/// Whether a message of so many bytes may wait beside `waiting` others: [`limits::OFFLINE_BYTES`].
pub fn fits(account: &Account, waiting: usize, bytes: usize) -> bool {
    !account.sessions.is_empty() || bytes.saturating_mul(waiting) <= limits::OFFLINE_BYTES
}

/// A session became available with non-negative priority, or there is something more that nobody has: it gets that,
/// and what is owed to it. What others had before it came is not for it.
pub fn read_again(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(heard) = heard(cx, key) else { return };
    let Some(session) = cx.session(key) else { return };
    let waiting = cx.account(session.account).and_then(|account| account.log.marks.undelivered.first());
    let first = waiting.into_iter().chain(session.outbound.owed.first()).min().copied();
    if let Some(first) = first
        && let Some(session) = cx.session_mut(key)
    {
        session.outbound.go_back(LogId(first.0.saturating_sub(1)), heard);
    }
    read_on(cx, key);
}

/// The session has lost its socket with these records, which only the log has.
pub fn owe_again(cx: &mut Cx<'_>, key: SessionKey, owed: &[LogId]) {
    let (Some(heard), Some(first)) = (heard(cx, key), owed.iter().min()) else { return };
    let Some(session) = cx.session_mut(key) else { return };
    session.outbound.go_back(LogId(first.0.saturating_sub(1)), heard);
    if let Some(account) = cx.session(key).map(|session| session.account).and_then(|account| cx.account_mut(account)) {
        owed.iter().for_each(|id| account.log.inflight_done(*id, false));
    }
}

/// A session that comes from the core before this one is owed what the log has for it behind `from`.
pub fn bring_back(cx: &mut Cx<'_>, key: SessionKey, from: LogId) {
    let (Some(heard), Some(session)) = (heard(cx, key), cx.session(key)) else { return };
    let waiting = cx.account(session.account).and_then(|account| account.log.marks.undelivered.first());
    let first = waiting.into_iter().chain(session.outbound.owed.first()).min();
    let after = first.map_or(from, |first| LogId(first.0.saturating_sub(1)).min(from));
    if after < heard
        && let Some(session) = cx.session_mut(key)
    {
        session.outbound.behind = Some(Behind { after, from, asked: false, anew: false });
    }
}

fn heard(cx: &Cx<'_>, key: SessionKey) -> Option<LogId> {
    Some(cx.account(cx.session(key)?.account)?.log.heard)
}

/// After a crash the log may hold records above the stored mark: nobody was seen to have them, so they
/// count as undelivered. The account is ready when all are known, so that none is taken for one that
/// comes only now.
pub fn recover(cx: &mut Cx<'_>, key: AccountKey) {
    let Some(account) = cx.account(key) else { return };
    if account.state == State::Ready {
        return cx.drain(key);
    }
    let (slot, account, after) = (account.slot, account.jid.clone(), account.log.marks.low_water);
    let ask = Ask::ReadLog { account, after, limit: cx.shard.settings.limits.flush_page };
    cx.ask(slot, ask, Box::new(move |cx, answer| recovered(cx, key, answer)));
}

fn recovered(cx: &mut Cx<'_>, key: AccountKey, answer: Answer) {
    let Some(account) = cx.account_mut(key) else { return };
    if account.moved.is_some() {
        cx.shard.accounts.remove(key);
        return;
    }
    match answer {
        Answer::Records(records) => {
            // A page may be short because its records are long: only an empty one is the end.
            if records.is_empty() {
                account.state = State::Ready;
            }
            records.iter().for_each(|record| account.log.found(record.id));
            recover(cx, key);
        }
        Answer::Failed(error) => {
            cx.event(Event::StorageFailed { doing: "read waiting messages", cause: error.to_string() });
            cx.forget(key, &Absent::Failed(error));
        }
        _ => cx.forget(key, &Absent::Busy),
    }
}

/// Goes on reading for a session that is behind, if its client has room; one that has been read all for is not
/// behind any more.
pub fn read_on(cx: &mut Cx<'_>, key: SessionKey) {
    let Some(Session { account, stream, outbound, .. }) = cx.session(key) else { return };
    let Some(behind) = outbound.behind.filter(|behind| !behind.asked) else { return };
    if !outbound.held.is_empty() || outbound.detached || cx.is_away(key) || cx.is_unstored(key) {
        return;
    }
    let (stream, account) = (*stream, *account);
    let Some(account) = cx.account(account).filter(|account| account.moved.is_none()) else { return };
    let heard = account.log.heard;
    if behind.after >= heard {
        return caught_up(cx, key);
    }
    let limit = cx.shard.settings.limits.flush_page;
    let ask = Ask::ReadLog { account: account.jid.clone(), after: behind.after, limit };
    let slot = account.slot;
    if let Some(behind) = behind_mut(cx, key) {
        behind.asked = true;
    }
    cx.ask(slot, ask, Box::new(move |cx, answer| page(cx, (key, stream), heard, answer)));
}

fn behind_mut<'c>(cx: &'c mut Cx<'_>, key: SessionKey) -> Option<&'c mut Behind> {
    cx.session_mut(key)?.outbound.behind.as_mut()
}

/// From here on live messages come as they come.
fn caught_up(cx: &mut Cx<'_>, key: SessionKey) {
    if let Some(session) = cx.session_mut(key) {
        session.outbound.behind = None;
        // Whatever of it was not found was dropped from the log.
        session.outbound.owed = Vec::new();
    }
    cx.release_later(key, None);
}

/// A page that was asked for when the account had dealt with all up to `end`.
fn page(cx: &mut Cx<'_>, (key, stream): (SessionKey, StreamId), end: LogId, answer: Answer) {
    if cx.session(key).is_none_or(|session| session.stream != stream) {
        return;
    }
    let Some(behind) = behind_mut(cx, key) else { return };
    behind.asked = false;
    let anew = std::mem::take(&mut behind.anew);
    match answer {
        Answer::Records(_) if anew => {}
        Answer::Records(records) => {
            // A page may be short because its records are long: the end is where nothing is, or what is on its way in,
            // and has its turn when it is dealt with.
            let at_end = records.first().is_none_or(|first| first.id > end);
            for record in records.iter().take_while(|record| record.id <= end) {
                if !give(cx, key, record) {
                    break;
                }
            }
            if at_end && let Some(behind) = behind_mut(cx, key) {
                behind.after = behind.after.max(end);
            }
        }
        other => {
            if let Answer::Failed(error) = other {
                cx.event(Event::StorageFailed { doing: "read waiting messages", cause: error.to_string() });
            }
            // What waits is the client's: it is asked for again with the next sweep.
            return cx.shard.unread.push(key);
        }
    }
    read_on(cx, key);
}

/// Gives a record that was read to the session, if it is for it. False: there is no room for now.
fn give(cx: &mut Cx<'_>, key: SessionKey, record: &LogRecord) -> bool {
    if cx.is_away(key) || cx.is_unstored(key) {
        return false;
    }
    if is_for(cx, key, record) {
        cx.release_later(key, Some(record.id));
        let nothing_held = cx.session(key).is_some_and(|session| session.outbound.held.is_empty());
        if !nothing_held && !cx.takes_logged(key, &record.stanza) {
            return false;
        }
        let Some(session) = cx.session_mut(key).filter(|session| !session.outbound.detached) else { return false };
        session.outbound.owed.retain(|id| *id != record.id);
        let domain = session.jid.domainpart().to_owned();
        let delay = Some(Delay { from: &domain, stamp_ms: record.received_ms });
        cx.deliver(key, &record.stanza, &Overlay { delay, ..Overlay::default() }, Some(record.id));
    }
    if let Some(behind) = behind_mut(cx, key) {
        behind.after = record.id;
    }
    true
}

/// Whether a session that is behind gets this record: what it is owed, what came for it since, and what nobody has.
fn is_for(cx: &mut Cx<'_>, key: SessionKey, record: &LogRecord) -> bool {
    let view = record.stanza.view();
    let (from, to) = (view.from.unwrap_or_default(), view.to.unwrap_or_default());
    let Some(session) = cx.session(key) else { return false };
    let Some(account) = cx.account(session.account) else { return false };
    let (own, bare) = (to == session.jid.as_str(), !to.contains('/'));
    let since = session.outbound.behind.is_some_and(|behind| record.id > behind.from);
    let had = session.earlier.as_ref().is_some_and(|earlier| account.log.had(record.id, earlier));
    // Of another resource that is there it is that resource's, however slow it is.
    let others = !own && !bare && cx.session_of(session.account, to).is_some();
    let waits = account.log.nobody_has(record.id) && !had && !others && (own || session.receives_bare());
    let gets = session.outbound.owed.binary_search(&record.id).is_ok()
        || (since && (own || (bare && session.receives_bare())))
        || waits;
    if !gets || !account.blocks(from) {
        return gets;
    }
    // It came before its sender was blocked, and is not delivered any more (XEP-0191 §3.3).
    let (owner, id, nobody) = (session.account, record.id, account.log.nobody_has(record.id));
    if let Some(account) = cx.account_mut(owner).filter(|_| nobody) {
        account.log.delivered(id);
    }
    false
}

#[cfg(test)]
mod slow;
#[cfg(test)]
mod tests {
    use crate::limits;
    use crate::testing::Core;
    use hearth_storage::{Answer, Ask, NewRecord};
    use hearth_wire::stanza::StanzaKind;
    use hearth_wire::to_core::{ToCore, Written};

    #[test]
    fn long_messages_that_waited_all_come() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let grace = core.login("grace@example.org/phone");
        let long = "x".repeat(100 * 1024);
        for n in 0..8 {
            core.send(
                grace,
                &format!("<message to='ada@example.org' id='{n}' type='chat'><body>{long}</body></message>"),
            );
        }
        let ada = core.login("ada@example.org/desk");
        core.send(ada, "<presence/>");
        let waited = core.take(ada).into_iter().filter(|stanza| stanza.starts_with("<message")).count();
        assert_eq!(waited, 8);
    }

    /// Far more waits than a session may have held back: it comes at the client's pace, and what
    /// arrives meanwhile comes behind it.
    #[test]
    fn messages_that_waited_come_as_fast_as_they_are_read() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let grace = core.login("grace@example.org/phone");
        let long = "x".repeat(20 * 1024);
        let message =
            |n: usize| format!("<message to='ada@example.org' id='{n}' type='chat'><body>{long}</body></message>");
        for n in 0..80 {
            core.send(grace, &message(n));
        }
        (core.writing, core.credit) = (false, 100 * 1024);
        let ada = core.login("ada@example.org/desk");
        core.send(ada, "<presence/>");
        core.send(grace, &message(80));
        let mut came = 0;
        let mut credit = core.credit;
        while came < 81 {
            let stanzas = core.take_stanzas(ada);
            assert!(!stanzas.is_empty(), "stuck behind {came}");
            for (stanza, _) in stanzas {
                let stanza = stanza.view();
                if stanza.kind == StanzaKind::Message {
                    assert_eq!(stanza.id, Some(came.to_string().as_str()));
                    came += 1;
                }
            }
            let session = core.session(ada).expect("it is not detached");
            assert!(session.outbound.held_bytes <= limits::HELD_BYTES_MAX);
            let (counter, generation, entry) = (session.counter, session.generation, session.outbound.last);
            credit += 100 * 1024;
            core.frame(0, &ToCore::Written(Written { counter, generation, entry, credit }));
            core.run();
        }
    }

    /// A session that dies while its messages are read does not stand in the way of the next one.
    #[test]
    fn a_session_that_dies_in_the_middle_leaves_the_rest() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let grace = core.login("grace@example.org/phone");
        let long = "x".repeat(20 * 1024);
        for n in 0..60 {
            core.send(
                grace,
                &format!("<message to='ada@example.org' id='{n}' type='chat'><body>{long}</body></message>"),
            );
        }
        (core.writing, core.credit) = (false, 50 * 1024);
        let slow = core.login("ada@example.org/slow");
        core.send(slow, "<presence/>");
        core.close(slow, false);
        (core.writing, core.credit) = (true, 1 << 40);
        let ada = core.login("ada@example.org/desk");
        core.send(ada, "<presence/>");
        let came = core.take(ada).into_iter().filter(|stanza| stanza.starts_with("<message")).count();
        assert_eq!(came, 60);
    }

    /// A page that cannot be read is asked for again: the client need not say once more that it is there.
    #[test]
    fn a_page_that_cannot_be_read_comes_later() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let grace = core.login("grace@example.org/phone");
        let message = |id: u32| format!("<message to='ada@example.org' id='{id}' type='chat'><body>b</body></message>");
        core.send(grace, &message(1));
        let ada = core.login("ada@example.org/desk");
        core.unreadable = true;
        core.send(ada, "<presence/>");
        core.send(grace, &message(2));
        core.unreadable = false;
        core.advance(limits::MARKS_STORE_MS);
        let stanzas = core.take_stanzas(ada);
        let came: Vec<&str> = stanzas.iter().filter_map(|(stanza, _)| stanza.view().id).collect();
        assert_eq!(came, ["1", "2"]);
    }

    /// After a crash the log holds what no mark tells of. What comes while that is being found out is not
    /// taken for a part of it: everything comes once, in order.
    #[test]
    fn what_comes_during_recovery_comes_once() {
        let mut core = Core::new(1);
        let jid = core.account("ada@example.org");
        let message = |id: u32| format!("<message to='ada@example.org' id='{id}' type='chat'><body>b</body></message>");
        let stanza = crate::testing::stanza(&message(1));
        let record = NewRecord { account: jid.clone(), ingest: None, received_ms: 1, stanza };
        assert!(matches!(core.ask_store(&jid, Ask::Append { record }), Answer::Appended(_)));
        let grace = core.login("grace@example.org/phone");
        core.holding = true;
        core.put(grace, &message(2));
        core.run();
        assert!(core.answer_one(), "the account is loaded; what its log holds is still to be read");
        core.put(grace, &message(3));
        core.run();
        core.holding = false;
        core.answer();
        let ada = core.login("ada@example.org/desk");
        core.send(ada, "<presence/>");
        let came: Vec<String> =
            core.take_stanzas(ada).iter().filter_map(|(stanza, _)| stanza.view().id.map(str::to_owned)).collect();
        assert_eq!(came, ["1", "2", "3"]);
        assert_eq!(core.unsettled(grace), 0);
    }

    /// Without knowing what waits nothing may raise the mark above it.
    #[test]
    fn an_account_whose_log_cannot_be_read_is_not_served() {
        let mut core = Core::new(1);
        let jid = core.account("ada@example.org");
        let text = "<message to='ada@example.org' id='1' type='chat'><body>b</body></message>";
        let stanza = crate::testing::stanza(text);
        let record = NewRecord { account: jid.clone(), ingest: None, received_ms: 1, stanza };
        assert!(matches!(core.ask_store(&jid, Ask::Append { record }), Answer::Appended(_)));
        let grace = core.login("grace@example.org/phone");
        core.holding = true;
        core.put(grace, text);
        core.run();
        assert!(core.answer_one());
        core.holding = false;
        core.fail_one();
        assert!(core.loaded("ada@example.org").is_none());
        let [error] = &core.take(grace)[..] else { panic!("one answer") };
        assert!(error.contains("resource-constraint"), "{error}");
    }
}
