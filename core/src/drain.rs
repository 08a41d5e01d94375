//! The core stops: clients are told by `system-shutdown` (RFC 6120 §4.9.3.20) behind what they were sent, and
//! what is under way comes to its end. Their sessions end as if they had gone themselves, so what was written is
//! known to be, and the rest waits for them.

use crate::cx::Cx;
use crate::limits;
use crate::session::SessionKey;
use crate::shard::Shard;
use hearth_wire::StreamCondition;
use hearth_wire::to_edge::{Close, ToEdge};

/// No new sessions from here on; those that are here are told, share by share.
pub fn begin(cx: &mut Cx<'_>) {
    if cx.shard.draining.is_none() {
        cx.shard.draining = Some(0);
        cx.out.wake_at(cx.now.mono_ms);
    }
}

/// End of a turn: tells the next ones.
pub fn tell_some(cx: &mut Cx<'_>) {
    let Some(start) = cx.shard.draining.filter(|next| *next < cx.shard.sessions.end()) else { return };
    let end = cx.shard.sessions.end();
    let mut next = start;
    let mut told: usize = 0;
    while next < end && told < limits::CLOSES_PER_TURN {
        if let Some(session) = cx.session(SessionKey(next)) {
            let (link, counter, generation) = (session.link, session.counter, session.generation);
            let condition = Some(StreamCondition::SystemShutdown);
            cx.out.frame(link, &ToEdge::Close(Close { counter, generation: Some(generation), condition, text: "" }));
            told = told.saturating_add(1);
        }
        next = next.saturating_add(1);
    }
    cx.shard.draining = Some(next);
    if next < end {
        cx.out.wake_at(cx.now.mono_ms);
    }
}

/// Whether nothing is left to wait for.
pub fn is_done(shard: &Shard) -> bool {
    shard.draining.is_some()
        && shard.sessions.is_empty()
        && shard.questions.is_empty()
        && shard.derivations.is_empty()
        && shard.closing.is_empty()
        && shard.ending.is_empty()
        && shard.presence_due.is_empty()
        && shard.outboxes_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Input;
    use crate::testing::Core;

    #[test]
    fn clients_are_told_and_what_they_sent_counts() {
        let mut core = Core::new(2);
        let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/desk"));
        core.send(grace, "<presence/>");
        core.send(ada, "<message to='grace@example.org' type='chat'><body>before</body></message>");
        core.input(0, Input::Drain);
        core.input(1, Input::Drain);
        core.run();
        for client in [ada, grace] {
            assert_eq!(core.closed(client), Some(Some(StreamCondition::SystemShutdown)));
        }
        assert!(core.take(grace).iter().any(|stanza| stanza.contains("before")), "ahead of the end");
        // They are here until their streams have ended.
        assert!(core.shards.iter().any(|shard| !shard.sessions.is_empty() && !is_done(shard)));
        core.close(ada, false);
        core.close(grace, false);
        assert!(core.shards.iter().all(is_done));
        // Nobody is bound any more.
        let late = core.bind("ada@example.org/late");
        assert_eq!(core.jid(late), "");
    }
}
