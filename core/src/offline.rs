//! Messages that waited (XEP-0160): read from the log at the first available presence of
//! non-negative priority, delivered once with their delay stamps (XEP-0203), live ones behind them,
//! at the pace at which the client reads.

use crate::account::{Absent, Account, AccountKey, Pending, State};
use crate::cx::Cx;
use crate::limits::{self, Limits};
use crate::message;
use crate::outputs::Event;
use crate::session::SessionKey;
use hearth_storage::{Answer, Ask, LogId, LogRecord};
use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Delay, Overlay};

/// How many messages may wait for the account: no limit while someone is there to have them.
pub fn room(account: &Account, limits: &Limits) -> usize {
    if account.sessions.is_empty() { limits::OFFLINE_MESSAGES_MAX } else { limits::PENDING_MAX.max(limits.pending) }
}

/// A session became available with non-negative priority.
pub fn on_available(cx: &mut Cx<'_>, session: SessionKey) {
    let Some((account, generation)) = cx.session(session).map(|s| (s.account, s.generation)) else { return };
    if is_away(cx, session) {
        return;
    }
    // It reads from the beginning: what else was to be read for it is part of that.
    read_no_more(cx, account, session);
    let Some(state) = cx.account_mut(account) else { return };
    let Some(after) = state.log.marks.undelivered.first().map(|first| LogId(first.0.saturating_sub(1))) else { return };
    let read = Pending::Read { to: (session, generation), after, asked: false };
    // Before what is on its way in: that is younger. Reads under way keep their place.
    let at = state.log.pending.iter().take_while(|pending| matches!(pending, Pending::Read { .. })).count();
    state.log.pending.insert(at, read);
    message::advance(cx, account);
}

/// Whether something is being read for a session, in whichever attachment.
pub fn is_reading(cx: &Cx<'_>, account: AccountKey, session: SessionKey) -> bool {
    let is_its = |pending: &Pending| matches!(pending, Pending::Read { to: (other, _), .. } if *other == session);
    cx.account(account).is_some_and(|account| account.log.pending.iter().any(is_its))
}

/// Nothing more is read for a session, but for what is asked for already.
pub fn read_no_more(cx: &mut Cx<'_>, account: AccountKey, session: SessionKey) {
    let Some(account) = cx.account_mut(account) else { return };
    account.log.pending.retain(|pending| match pending {
        Pending::Read { to: (other, _), asked, .. } => *asked || *other != session,
        Pending::Append { .. } | Pending::Stanza { .. } => true,
    });
}

/// A session that has no socket for now is read for when it has one.
fn is_away(cx: &mut Cx<'_>, key: SessionKey) -> bool {
    let Some(session) = cx.session(key) else { return true };
    let away = !cx.shard.links.get(&session.link).is_some_and(|link| link.up);
    if away && let Some(session) = cx.session_mut(key) {
        session.outbound.log_waits = true;
    }
    away
}

/// Whether the [`Pending::Read`] for this session must wait until its client has read more. `None`:
/// the session is gone.
pub fn must_wait(cx: &mut Cx<'_>, (key, generation): (SessionKey, Generation)) -> Option<bool> {
    cx.session_at(key, generation)?;
    if is_away(cx, key) {
        return None;
    }
    let session = cx.session_mut(key)?;
    let outbound = &mut session.outbound;
    outbound.flush_waits = !outbound.held.is_empty();
    (!outbound.detached).then_some(outbound.flush_waits)
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

/// Reads the next page for the [`Pending::Read`] in front.
pub fn read_on(cx: &mut Cx<'_>, key: AccountKey) {
    let Some(account) = cx.account(key) else { return };
    let Some(Pending::Read { after, .. }) = account.log.pending.front() else { return };
    let ask = Ask::ReadLog { account: account.jid.clone(), after: *after, limit: cx.shard.settings.limits.flush_page };
    let slot = account.slot;
    cx.ask(slot, ask, Box::new(move |cx, answer| page(cx, key, answer)));
}

fn page(cx: &mut Cx<'_>, key: AccountKey, answer: Answer) {
    // What was shelved meanwhile is part of the page.
    if let Some(Pending::Read { asked, .. }) = cx.account_mut(key).and_then(|account| account.log.pending.front_mut()) {
        *asked = false;
    }
    let records = match answer {
        Answer::Records(records) => records,
        Answer::Failed(error) => {
            cx.event(Event::StorageFailed { doing: "read waiting messages", cause: error.to_string() });
            // What waits is the client's: it is asked for again with the next sweep, and what follows waits.
            cx.shard.unread.push(key);
            return;
        }
        _ => Vec::new(),
    };
    message::shelve(cx, key);
    let Some(Pending::Read { to: (session, generation), after, .. }) =
        cx.account(key).and_then(|account| account.log.pending.front())
    else {
        return;
    };
    let (session, generation, mut read_to, more) = (*session, *generation, *after, !records.is_empty());
    for record in records {
        if not_heard_of(cx, key, &record) {
            break;
        }
        if cx.session_at(session, generation).is_some() {
            deliver(cx, key, session, &record);
        }
        read_to = record.id;
    }
    let Some(account) = cx.account_mut(key) else { return };
    match account.log.pending.front_mut() {
        Some(Pending::Read { after, .. }) if more => *after = read_to,
        _ => {
            account.log.pending.pop_front();
        }
    }
    message::advance(cx, key);
}

/// The log has it, but its append is not answered here yet: it is read again when it is, so that
/// nothing younger comes before it.
fn not_heard_of(cx: &Cx<'_>, key: AccountKey, record: &LogRecord) -> bool {
    cx.account(key).is_some_and(|account| {
        account.log.marks.undelivered.binary_search(&record.id).is_err()
            && !account.log.was_sent(record.id)
            && account.log.pending.iter().any(|pending| matches!(pending, Pending::Append { done: None, .. }))
    })
}

fn deliver(cx: &mut Cx<'_>, key: AccountKey, session: SessionKey, record: &LogRecord) {
    let earlier = cx.session(session).and_then(|session| session.earlier.clone());
    let Some(account) = cx.account_mut(key) else { return };
    // Delivered meanwhile, or on its way to a session: should that die, it comes again.
    if account.log.marks.undelivered.binary_search(&record.id).is_err() || account.log.is_inflight(record.id) {
        return;
    }
    if earlier.is_some_and(|earlier| account.log.had(record.id, &earlier)) {
        return;
    }
    // It came before its sender was blocked, and is not delivered any more (XEP-0191 §3.3).
    if record.stanza.view().from.is_some_and(|from| account.blocks(from)) {
        return account.log.delivered(record.id);
    }
    let domain = account.jid.domainpart().to_owned();
    let overlay = Overlay { delay: Some(Delay { from: &domain, stamp_ms: record.received_ms }), ..Overlay::default() };
    cx.deliver(session, &record.stanza, &overlay, Some(record.id));
}

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
