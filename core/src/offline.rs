//! Messages that waited (XEP-0160): read from the log at the first available presence of
//! non-negative priority, delivered once with their delay stamps (XEP-0203), live ones behind them.

use crate::account::{Account, AccountKey, Pending};
use crate::cx::Cx;
use crate::limits;
use crate::message;
use crate::outputs::Event;
use crate::session::SessionKey;
use hearth_storage::{Answer, Ask, LogId, LogRecord};
use hearth_wire::stanza::{Delay, Overlay};

/// How many messages may wait for the account: no limit while someone is there to have them.
pub fn room(account: &Account) -> usize {
    if account.sessions.is_empty() { limits::OFFLINE_MESSAGES_MAX } else { limits::PENDING_MAX }
}

/// A session became available with non-negative priority.
pub fn on_available(cx: &mut Cx<'_>, session: SessionKey) {
    let Some((account, generation)) = cx.session(session).map(|s| (s.account, s.generation)) else { return };
    let Some(state) = cx.account_mut(account) else { return };
    let Some(first) = state.log.marks.undelivered.iter().min() else { return };
    let after = LogId(first.0.saturating_sub(1));
    state.log.pending.push_back(Pending::Read { to: Some((session, generation)), after, asked: false });
    message::advance(cx, account);
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
    let last = records.last().map(|record| record.id);
    // A page may be short because its records are long: only an empty one is the end.
    let more = last.is_some();
    let Some(Pending::Read { to, .. }) = cx.account(key).and_then(|account| account.log.pending.front()) else {
        return;
    };
    let to = *to;
    for record in records {
        match to {
            Some((session, generation)) => {
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
    }
    let alive = to.is_none_or(|(session, generation)| cx.session_at(session, generation).is_some());
    let Some(account) = cx.account_mut(key) else { return };
    match (account.log.pending.front_mut(), last) {
        (Some(Pending::Read { after, .. }), Some(last)) if more && alive => {
            *after = last;
            read_on(cx, key);
        }
        _ => {
            account.log.pending.pop_front();
            message::advance(cx, key);
        }
    }
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
    use crate::testing::Core;

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
}
