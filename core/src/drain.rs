//! The core stops, and what is under way comes to its end. Sessions that the next core can adopt notice nothing:
//! what their clients send from here on is left to it. Other clients are told by `system-shutdown` (RFC 6120
//! §4.9.3.20) behind what they were sent; their sessions end as if they had gone themselves, so what was written
//! is known to be, and the rest waits for them.

use crate::cx::Cx;
use crate::limits;
use crate::link::{Link, LinkId};
use crate::session::{Session, SessionKey};
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
        if let Some(session) = cx.session(SessionKey(next)).filter(|session| !outlives(cx.shard, session)) {
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

/// Whether a session goes on without this core: its edge will attach it to the next one. One that is parked has
/// nobody to tell.
fn outlives(shard: &Shard, session: &Session) -> bool {
    session.is_parked() || shard.links.get(&session.link).is_some_and(Link::attaches)
}

/// Whether stanzas of a link are not heard any more: the edge will send them to the next core.
pub fn leaves_to_the_next(cx: &Cx<'_>, link: LinkId) -> bool {
    cx.shard.draining.is_some() && cx.shard.links.get(&link).is_some_and(Link::attaches)
}

/// Whether nothing is left to wait for.
pub fn is_done(shard: &Shard) -> bool {
    shard.draining.is_some()
        && shard.sessions.iter().all(|(_, session)| outlives(shard, session))
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
        let mut core = Core::with_old_edges(2);
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

    #[test]
    fn who_can_be_adopted_notices_nothing_and_goes_on_with_the_next_core() {
        let mut core = Core::new(2);
        let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/desk"));
        core.send(grace, "<presence/>");
        core.forget();
        for shard in [0, 1] {
            core.input(shard, Input::Drain);
        }
        core.send(ada, "<message to='grace@example.org' id='1' type='chat'><body>late</body></message>");
        assert!(core.shards.iter().all(is_done));
        assert_eq!((core.unsettled(ada), core.closed(ada), core.closed(grace)), (1, None, None));
        core.stop();
        core.crash();
        core.attach(&[ada, grace]);
        core.all_sent();
        assert_eq!((core.unsettled(ada), core.take(grace).len()), (0, 1));
    }
}
