//! What is stored late and not waited for: marks of the log, when an account was last seen, sessions on record. In
//! rounds, so that one commit serves many accounts, whose entries lie close together in the store.
//!
//! ```text
//!  every MARKS_STORE_MS ─▶ round: all that changed, so many a turn ─▶ storage ─all answered─▶ the next may begin
//! ```
//!
//! A store that is behind has rarer rounds, not longer queues: what changed again meanwhile is stored once, and what is
//! waited for does not stand behind it.

use crate::account::{Account, AccountKey};
use crate::cx::Cx;
use crate::limits;
use crate::offline;
use crate::records;
use crate::session::SessionKey;
use hearth_storage::{Answer, Ask, Change, Refusal, Settled};
use hearth_wire::BareJid;
use hearth_wire::ids::StreamId;
use hearth_wire::to_edge::{Stored, ToEdge};
use std::collections::BTreeSet;

/// A shard's rounds.
#[derive(Default)]
pub struct Late {
    /// When the next may begin, `Now::mono_ms`.
    next_ms: u64,
    /// One goes on.
    busy: bool,
    /// Changes of the round that storage has not answered.
    under_way: usize,
    /// The round began when nothing was left of the core before, and all of it was stored.
    whole: bool,
    /// That is on record, or about to be.
    settled: bool,
    /// What could not be stored: it is due with the next round.
    failed: BTreeSet<SessionKey>,
    failed_gone: Vec<(BareJid, StreamId)>,
}

impl Late {
    /// A session could not be stored.
    pub fn on_failed(&mut self, key: SessionKey) {
        self.whole = false;
        self.failed.insert(key);
    }

    /// That a session has ended could not.
    pub fn on_failed_gone(&mut self, account: BareJid, stream: StreamId) {
        self.whole = false;
        self.failed_gone.push((account, stream));
    }

    /// How much waits for the next round only.
    pub fn failed(&self) -> usize {
        self.failed.len().saturating_add(self.failed_gone.len())
    }
}

/// End of a turn.
pub fn advance(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    let whole = cx.shard.recovery.is_none() && cx.shard.not_returned.is_empty() && cx.shard.burying == 0;
    let late = &mut cx.shard.late;
    if !late.busy && late.under_way == 0 && now_ms >= late.next_ms {
        (late.busy, late.next_ms, late.whole) = (true, now_ms.saturating_add(limits::MARKS_STORE_MS), whole);
        cx.shard.records_due.append(&mut late.failed);
        cx.shard.records_gone.extend(std::mem::take(&mut late.failed_gone));
    }
    let most = limits::LATE_UNDER_WAY_MAX / usize::from(cx.shard.settings.shards).max(1);
    if late.busy && late.under_way < most {
        let more = go_on(cx);
        cx.shard.late.busy = more;
        if more && cx.shard.late.under_way < most {
            cx.out.wake_at(now_ms);
        }
    }
    settle(cx);
    // An answer is a turn, too.
    let late = &cx.shard.late;
    let waits = !cx.shard.records_gone.is_empty() || late.failed() > 0 || !late.settled;
    if cx.shard.late.under_way == 0 && (!cx.shard.accounts.is_empty() || waits) {
        cx.out.wake_at(cx.shard.late.next_ms);
    }
}

/// Once all that this core knows of sessions of the one before is stored the next one need not ask an edge that was told
/// nothing: what is older and not on record has ended.
fn settle(cx: &mut Cx<'_>) {
    let late = &cx.shard.late;
    if late.settled || !late.whole || late.busy || late.under_way > 0 {
        return;
    }
    let Some(slot) = cx.own_slot() else { return };
    cx.shard.late.settled = true;
    let settings = &cx.shard.settings;
    let settled = Settled { epoch: settings.epoch, shards: settings.shards };
    let changes = vec![Change::PutSettled { shard: settings.index, settled }];
    let then = |cx: &mut Cx<'_>, answer| {
        let stored = matches!(answer, Answer::Applied);
        // The next round tries again.
        (cx.shard.late.settled, cx.shard.late.whole) = (stored, stored);
    };
    cx.ask(slot, Ask::Apply { changes }, Box::new(then));
}

/// A turn's share of a round; whether there is more.
fn go_on(cx: &mut Cx<'_>) -> bool {
    // Marks first: clients may wait for them.
    let (accounts, all) = cx.shard.accounts.sweep(limits::LATE_PER_TURN);
    for key in accounts {
        if store(cx, key, stored) {
            asked(cx);
        }
        let now_ms = cx.now.mono_ms;
        let gone = cx
            .account(key)
            .is_some_and(|account| account.idle() && now_ms.saturating_sub(account.used_ms) >= limits::ACCOUNT_IDLE_MS);
        if gone {
            cx.shard.accounts.remove(key);
        }
    }
    for _ in 0..limits::LATE_PER_TURN {
        let Some(key) = cx.shard.records_due.pop_first() else { break };
        if records::put(cx, key, |cx, _| stored(cx)) {
            asked(cx);
        }
    }
    let gone = cx.shard.records_gone.len().min(limits::LATE_PER_TURN);
    for (account, stream) in cx.shard.records_gone.drain(..gone).collect::<Vec<_>>() {
        asked(cx);
        records::remove(cx, account, stream, stored);
    }
    !all || !cx.shard.records_due.is_empty() || !cx.shard.records_gone.is_empty()
}

fn asked(cx: &mut Cx<'_>) {
    cx.shard.late.under_way = cx.shard.late.under_way.saturating_add(1);
}

fn stored(cx: &mut Cx<'_>) {
    cx.shard.late.under_way = cx.shard.late.under_way.saturating_sub(1);
}

/// Stores what an account has that may be stored late, if it changed; whether it did. `then` is called when it is
/// answered.
pub fn store(cx: &mut Cx<'_>, key: AccountKey, then: fn(&mut Cx<'_>)) -> bool {
    // Whoever gave an account up stores what is left of it.
    let may = |account: &&Account| !account.storing_late && account.moved.is_none() && !account.gone;
    let Some(slot) = cx.account(key).filter(may).map(|account| account.slot) else { return false };
    let (changes, taken) = take(cx, key);
    let Some(account) = cx.account_mut(key).filter(|_| !changes.is_empty()) else { return false };
    account.storing_late = true;
    cx.ask(
        slot,
        Ask::Apply { changes },
        Box::new(move |cx, answer| {
            then(cx);
            let Some(account) = cx.account_mut(key) else { return };
            account.storing_late = false;
            match answer {
                Answer::Refused(Refusal::Fenced) => cx.on_fenced(key),
                _ => taken.answered(cx, matches!(answer, Answer::Applied)),
            }
        }),
    );
    true
}

/// What of an account is on its way to storage.
pub struct Taken {
    account: AccountKey,
    marks: bool,
    seen: bool,
    /// [`crate::account::AccountLog::stored`]
    count: u32,
    /// Sessions whose clients have had more than their edges know to be stored, and up to which entry.
    had: Vec<(SessionKey, StreamId, u64)>,
}

/// What may be stored late of an account and has changed: from here on it is the caller's, who says what came of it
/// ([`Taken::answered`]).
pub fn take(cx: &mut Cx<'_>, key: AccountKey) -> (Vec<Change>, Taken) {
    let mut taken = Taken { account: key, marks: false, seen: false, count: 0, had: Vec::new() };
    let Some(account) = cx.account_mut(key) else { return (Vec::new(), taken) };
    (taken.marks, taken.seen) = (account.log.dirty, account.seen_dirty);
    let (changes, count) = account.late_changes();
    taken.count = count;
    if taken.marks {
        let unstored = |key| cx.session(key).filter(|session| session.outbound.unstored);
        let had = |key| unstored(key).map(|session| (key, session.stream, session.outbound.mark()));
        taken.had = sessions(cx, taken.account).filter_map(had).collect();
    }
    for (key, ..) in &taken.had {
        if let Some(session) = cx.session_mut(*key) {
            session.outbound.unstored = false;
        }
    }
    (changes, taken)
}

fn sessions<'c>(cx: &'c Cx<'_>, account: AccountKey) -> impl Iterator<Item = SessionKey> + 'c {
    cx.account(account).into_iter().flat_map(|account| account.sessions.iter().copied())
}

impl Taken {
    /// It is stored, and edges may forget it; or it could not be, and is still to be stored.
    pub fn answered(self, cx: &mut Cx<'_>, stored: bool) {
        let Some(account) = cx.account_mut(self.account) else { return };
        account.log.stored(self.count, stored);
        account.log.dirty |= self.marks && !stored;
        account.seen_dirty |= self.seen && !stored;
        for (key, stream, entry) in self.had {
            let Some(session) = cx.session_mut(key).filter(|session| session.stream == stream) else { continue };
            session.outbound.unstored |= !stored;
            let (link, counter, generation) = (session.link, session.counter, session.generation_at_edge());
            // A socket that is to have the session has nothing to forget.
            if let Some(generation) = generation.filter(|_| stored) {
                cx.out.frame(link, &ToEdge::Stored(Stored { counter, generation, entry }));
            }
        }
        // What waits until this is stored.
        let behind = |key: &SessionKey| cx.session(*key).is_some_and(|session| session.outbound.behind.is_some());
        let behind: Vec<_> = sessions(cx, self.account).filter(behind).collect();
        behind.into_iter().for_each(|key| offline::read_on(cx, key));
    }
}

#[cfg(test)]
mod tests {
    use crate::limits;
    use crate::testing::Core;

    #[test]
    fn a_round_goes_on_until_all_is_stored() {
        let mut core = Core::new(1);
        let grace = core.login("grace@example.org/phone");
        let accounts: Vec<_> =
            (0..=limits::LATE_PER_TURN).map(|n| core.account(&format!("user{n}@example.org"))).collect();
        for account in &accounts {
            core.send(grace, &format!("<message to='{account}' type='chat'><body>b</body></message>"));
        }
        core.advance(limits::MARKS_STORE_MS);
        for account in accounts {
            assert_eq!(core.stored(account.as_str()).marks.undelivered.len(), 1, "{account}");
        }
    }

    #[test]
    fn a_round_waits_until_the_one_before_is_stored() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let grace = core.login("grace@example.org/phone");
        core.advance(limits::MARKS_STORE_MS);
        let message = "<message to='ada@example.org' type='chat'><body>b</body></message>";
        core.send(grace, message);
        core.holding = true;
        core.advance(limits::MARKS_STORE_MS);
        assert_eq!(core.asked(), 1, "Ada's marks");
        core.send(grace, "<presence><status>here</status></presence>");
        core.advance(limits::MARKS_STORE_MS);
        assert_eq!(core.asked(), 1, "of Grace's session nothing is asked yet");
        core.answer();
        core.advance(limits::MARKS_STORE_MS);
        assert_eq!(core.asked(), 1, "now it is");
    }
    fn read(core: &mut Core, client: crate::testing::Client) -> usize {
        core.take(client).into_iter().filter(|stanza| stanza.starts_with("<message")).count()
    }

    /// While nothing can be stored a client gets no more of its log than its edge remembers; then it goes on, and what is
    /// read fast is stored at once.
    #[test]
    fn a_client_reads_ahead_of_what_is_stored_only_so_far() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let grace = core.login("grace@example.org/phone");
        let message = "<message to='ada@example.org' type='chat'><body>b</body></message>";
        (0..10).for_each(|_| core.send(grace, message));
        core.advance(limits::MARKS_STORE_MS);
        core.shards[0].settings.limits.unstored = 4;
        core.failing = true;
        let ada = core.login("ada@example.org/desk");
        core.send(ada, "<presence/>");
        core.advance(3 * limits::MARKS_STORE_MS);
        assert_eq!(read(&mut core, ada), 4);
        core.failing = false;
        core.advance(limits::MARKS_STORE_MS);
        assert_eq!(read(&mut core, ada), 6, "all is stored as it is read");
        core.send(grace, message);
        assert_eq!(read(&mut core, ada), 1);
    }

    /// Another resource that does not read is nobody's loss but its own.
    #[test]
    fn a_client_that_does_not_read_does_not_keep_another_from_reading() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        core.shards[0].settings.limits.unstored = 4;
        let (ada, phone) = (core.login("ada@example.org/desk"), core.login("ada@example.org/phone"));
        core.send(ada, "<presence/>");
        core.send(phone, "<presence/>");
        core.forget();
        core.stalled.insert(phone);
        let grace = core.login("grace@example.org/phone");
        let message = "<message to='ada@example.org' type='chat'><body>b</body></message>";
        (0..10).for_each(|_| core.send(grace, message));
        assert_eq!(read(&mut core, ada), 10);
        assert!(read(&mut core, phone) <= 4);
    }
}
