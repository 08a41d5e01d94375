//! What is stored late and not waited for: marks of the log, when an account was last seen, sessions on record. In
//! rounds, so that one commit serves many accounts, whose entries lie close together in the store.
//!
//! ```text
//!  every MARKS_STORE_MS ─▶ round: all that changed, so many a turn ─▶ storage ─all answered─▶ the next may begin
//! ```
//!
//! A store that is behind has rarer rounds, not longer queues: what changed again meanwhile is stored once, and what is
//! waited for does not stand behind it.

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::limits;
use crate::records;
use hearth_storage::{Answer, Ask, Refusal};

/// A shard's rounds.
#[derive(Default)]
pub struct Late {
    /// When the next may begin, `Now::mono_ms`.
    next_ms: u64,
    /// One goes on.
    busy: bool,
    /// Changes of the round that storage has not answered.
    under_way: usize,
}

/// End of a turn.
pub fn advance(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    let late = &mut cx.shard.late;
    if !late.busy && late.under_way == 0 && now_ms >= late.next_ms {
        (late.busy, late.next_ms) = (true, now_ms.saturating_add(limits::MARKS_STORE_MS));
    }
    let most = limits::LATE_UNDER_WAY_MAX / usize::from(cx.shard.settings.shards).max(1);
    if late.busy && late.under_way < most {
        let more = go_on(cx);
        cx.shard.late.busy = more;
        if more && cx.shard.late.under_way < most {
            cx.out.wake_at(now_ms);
        }
    }
    // An answer is a turn, too.
    if cx.shard.late.under_way == 0 && (!cx.shard.accounts.is_empty() || !cx.shard.records_gone.is_empty()) {
        cx.out.wake_at(cx.shard.late.next_ms);
    }
}

/// A turn's share of a round; whether there is more.
fn go_on(cx: &mut Cx<'_>) -> bool {
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
    let Some(account) = cx.account_mut(key).filter(|account| !account.storing_late && account.moved.is_none()) else {
        return false;
    };
    let (marks, seen) = (account.log.dirty, account.seen_dirty);
    let changes = account.late_changes();
    if account.gone || changes.is_empty() {
        return false;
    }
    account.storing_late = true;
    let slot = account.slot;
    cx.ask(
        slot,
        Ask::Apply { changes },
        Box::new(move |cx, answer| {
            then(cx);
            let Some(account) = cx.account_mut(key) else { return };
            account.storing_late = false;
            match answer {
                Answer::Applied => {}
                Answer::Refused(Refusal::Fenced) => cx.on_fenced(key),
                _ => {
                    account.log.dirty |= marks;
                    account.seen_dirty |= seen;
                }
            }
        }),
    );
    true
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
}
