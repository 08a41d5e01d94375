//! Messages that waited (XEP-0160): read from the log at the first available presence of
//! non-negative priority, delivered once with their delay stamps (XEP-0203), live ones behind them,
//! at the pace at which the client reads.

use crate::account::{Account, AccountKey, Pending};
use crate::cx::Cx;
use crate::limits;
use crate::message;
use crate::outputs::Event;
use crate::session::SessionKey;
use hearth_storage::{Answer, Ask, LogId, LogRecord};
use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Delay, Overlay};

/// How many messages may wait for the account: no limit while someone is there to have them.
pub fn room(account: &Account) -> usize {
    if account.sessions.is_empty() { limits::OFFLINE_MESSAGES_MAX } else { limits::PENDING_MAX }
}

/// A session became available with non-negative priority.
pub fn on_available(cx: &mut Cx<'_>, session: SessionKey) {
    let Some((account, generation)) = cx.session(session).map(|s| (s.account, s.generation)) else { return };
    let Some(state) = cx.account_mut(account) else { return };
    let log = &state.log;
    // Known ones, and those that are still being looked for above the mark after a crash.
    let known = log.marks.undelivered.first().map(|first| LogId(first.0.saturating_sub(1)));
    let looking = log.pending.iter().any(|pending| matches!(pending, Pending::Read { to: None, .. }));
    let Some(after) = known.into_iter().chain(looking.then_some(log.marks.low_water)).min() else { return };
    let read = Pending::Read { to: Some((session, generation)), after, asked: false };
    // Before what is on its way in: that is younger. Reads under way keep their place.
    let at = state.log.pending.iter().take_while(|pending| matches!(pending, Pending::Read { .. })).count();
    state.log.pending.insert(at, read);
    message::advance(cx, account);
}

/// Whether the [`Pending::Read`] for this session must wait until its client has read more. `None`:
/// the session is gone.
pub fn must_wait(cx: &mut Cx<'_>, to: Option<(SessionKey, Generation)>) -> Option<bool> {
    let Some((key, generation)) = to else { return Some(false) };
    let session = cx.session_at(key, generation)?;
    let outbound = &mut session.outbound;
    outbound.flush_waits = !outbound.held.is_empty();
    (!outbound.detached).then_some(outbound.flush_waits)
}

/// After a crash the log may hold records above the stored mark: nobody was seen to have them, so
/// they count as undelivered. Called once when the account is loaded, before anything else.
pub fn on_loaded(cx: &mut Cx<'_>, account: AccountKey) {
    let Some(state) = cx.account_mut(account).filter(|state| state.log.unread) else { return };
    state.log.unread = false;
    let after = state.log.marks.low_water;
    state.log.pending.push_front(Pending::Read { to: None, after, asked: false });
    message::advance(cx, account);
}

/// Reads the next page for the [`Pending::Read`] in front.
pub fn read_on(cx: &mut Cx<'_>, key: AccountKey) {
    let Some(account) = cx.account(key) else { return };
    let Some(Pending::Read { after, .. }) = account.log.pending.front() else { return };
    let ask = Ask::ReadLog { account: account.jid.clone(), after: *after, limit: limits::FLUSH_PAGE };
    let slot = account.slot;
    cx.ask(slot, ask, Box::new(move |cx, answer| page(cx, key, answer)));
}

fn page(cx: &mut Cx<'_>, key: AccountKey, answer: Answer) {
    let records = match answer {
        Answer::Records(records) => records,
        Answer::Failed(error) => {
            cx.event(Event::StorageFailed { doing: "read waiting messages", cause: error.to_string() });
            Vec::new()
        }
        _ => Vec::new(),
    };
    // What was shelved meanwhile is part of the page.
    if let Some(Pending::Read { asked, .. }) = cx.account_mut(key).and_then(|account| account.log.pending.front_mut()) {
        *asked = false;
    }
    message::shelve(cx, key);
    let Some(Pending::Read { to, after, .. }) = cx.account(key).and_then(|account| account.log.pending.front()) else {
        return;
    };
    // A page may be short because its records are long: only an empty one is the end.
    let (to, mut read_to, more) = (*to, *after, !records.is_empty());
    for record in records {
        match to {
            Some((session, generation)) => {
                if not_heard_of(cx, key, &record) {
                    break;
                }
                if cx.session_at(session, generation).is_some() {
                    deliver(cx, key, session, &record);
                }
            }
            None => {
                if let Some(account) = cx.account_mut(key) {
                    account.log.undelivered(record.id);
                }
            }
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
            && !account.log.is_inflight(record.id)
            && account.log.pending.iter().any(|pending| matches!(pending, Pending::Append { done: None, .. }))
    })
}

fn deliver(cx: &mut Cx<'_>, key: AccountKey, session: SessionKey, record: &LogRecord) {
    let Some(account) = cx.account_mut(key) else { return };
    // Delivered meanwhile, or on its way to a session: should that die, it comes again.
    if account.log.marks.undelivered.binary_search(&record.id).is_err() || account.log.is_inflight(record.id) {
        return;
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

    /// After a crash the log holds what no mark tells of. Who logs in while that is being found out
    /// gets it too.
    #[test]
    fn a_login_is_not_faster_than_what_waits() {
        let mut core = Core::new(1);
        let jid = core.account("ada@example.org");
        let stanza =
            crate::testing::stanza("<message to='ada@example.org' id='m' type='chat'><body>b</body></message>");
        let record = NewRecord { account: jid.clone(), ingest: None, received_ms: 1, stanza };
        assert!(matches!(core.ask_store(&jid, Ask::Append { record }), Answer::Appended(_)));
        core.holding = true;
        let loaded = jid.clone();
        core.with_cx(0, |cx| cx.with_account(&loaded, |_, _| {}));
        core.run();
        assert!(core.answer_one(), "the account is loaded; what its log holds is still to be read");
        let ada = core.login("ada@example.org/desk");
        core.put(ada, "<presence/>");
        core.run();
        while core.answer_one() {}
        let came = core.take(ada).into_iter().filter(|stanza| stanza.starts_with("<message")).count();
        assert_eq!(came, 1);
    }
}
