//! Sessions that lost their link, on the next one: `Attach` for each, behind the last `AllSent` on every new link.
//! Before that, whoever waits too long is given up. What is attached, and in which order, is in `detached.rs`.

use crate::client::Client;
use crate::dispatch::find;
use crate::limits::{ATTACHES_PER_TURN, DRAIN_STEP_MS};
use crate::shared::Shared;
use crate::slab::Slab;
use hearth_wire::ids::ShardIndex;
use hearth_wire::to_core::{AllSent, ToCore};
use hearth_wire::to_edge::Attached;

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// Nothing is to be done until something happens.
    Done,
    /// The next turn goes on.
    More,
}

/// The link to `shard` is gone. `stay`: its sessions wait for another, else they end.
pub(crate) fn on_link_lost(shard: ShardIndex, stay: bool, clients: &mut Slab<Client>, cx: &mut Shared) {
    cx.detached.on_link_lost(shard);
    for place in 0..clients.bound() {
        if let Some(client) = clients.get_mut(place).filter(|client| client.shard() == Some(shard)) {
            client.on_link_lost(stay, cx);
            client.touch(cx);
        }
    }
}

/// A turn: names the next sessions if every shard can be asked.
pub(crate) fn turn(clients: &mut Slab<Client>, cx: &mut Shared) -> Progress {
    let due = |cx: &Shared| cx.links.iter().any(|link| link.attaches() && !link.all_sent);
    if (cx.detached.is_empty() && !due(cx)) || !cx.links_ready() || !cx.directory.is_complete() {
        return Progress::Done;
    }
    for _ in 0..ATTACHES_PER_TURN {
        let Some(counter) = cx.detached.first() else {
            for link in cx.links.iter_mut().filter(|link| link.attaches() && !link.all_sent) {
                link.all_sent = link.send(&ToCore::AllSent(AllSent {}));
            }
            return Progress::Done;
        };
        if !attach(counter, clients, cx) {
            // Its link takes no more now: when it does there is another turn.
            return Progress::Done;
        }
    }
    Progress::More
}

/// Names one session, or notes that it cannot be; false if it has to wait.
fn attach(counter: u64, clients: &mut Slab<Client>, cx: &mut Shared) -> bool {
    let mut client = find(counter, clients);
    let on_socket = client.as_mut().and_then(|client| client.away());
    let Some(session) = on_socket.as_deref().or(cx.detached.session(counter)) else {
        cx.detached.done(counter);
        return true;
    };
    let owner = cx.directory.locate(session.bare()).1;
    let Some((shard, link)) = owner.and_then(|(_, shard)| Some((shard, cx.links.get_mut(usize::from(shard))?))) else {
        return false;
    };
    if link.is_full() {
        return false;
    }
    if !link.attaches() {
        // An older core: to it the session is over.
        give_up(counter, clients, cx);
    } else if !cx.detached.attach(counter, shard, link.out())
        && let Some(client) = client
    {
        client.attach(shard, cx);
    }
    cx.detached.done(counter);
    true
}

/// The core has a session again.
pub(crate) fn on_attached(shard: ShardIndex, attached: &Attached, clients: &mut Slab<Client>, cx: &mut Shared) {
    if cx.detached.on_attached(attached) {
        on_room(shard, cx);
    } else if let Some(client) = find(attached.counter, clients) {
        client.on_attached(attached, cx);
    }
}

/// The link to `shard` has room: for what sockets that ended have left.
pub(crate) fn on_room(shard: ShardIndex, cx: &mut Shared) {
    if cx.detached.tombs() == 0 {
        return;
    }
    if let Some(link) = cx.links.get_mut(usize::from(shard)) {
        let credit = link.credit();
        let used = cx.detached.go_on(shard, credit, link.out());
        link.charge(used);
    }
}

fn give_up(counter: u64, clients: &mut Slab<Client>, cx: &mut Shared) {
    cx.detached.forget(counter);
    if let Some(client) = find(counter, clients) {
        client.give_up(cx);
        client.touch(cx);
    }
}

/// For how long sessions have waited for a core.
#[derive(Default)]
pub(crate) struct Patience {
    /// When the next of them are given up.
    at_ms: Option<u64>,
    /// The first of them are.
    over: bool,
}

impl Patience {
    /// Gives up some of those that waited too long.
    pub(crate) fn turn(&mut self, clients: &mut Slab<Client>, cx: &mut Shared) {
        if cx.detached.is_empty() || cx.links_ready() {
            *self = Patience::default();
            return;
        }
        let now_ms = cx.now.mono_ms;
        let wait_ms = u64::from(cx.config.timeouts.core_away_s).saturating_mul(1000);
        if now_ms < *self.at_ms.get_or_insert(now_ms.saturating_add(wait_ms)) {
            return;
        }
        if !std::mem::replace(&mut self.over, true) {
            tracing::warn!(event = "core_away", after_s = cx.config.timeouts.core_away_s, "sessions end");
        }
        let per_s = u64::from(cx.config.drain.streams_per_s);
        for _ in 0..per_s.saturating_mul(DRAIN_STEP_MS).div_ceil(1000) {
            let Some(counter) = cx.detached.first() else { break };
            give_up(counter, clients, cx);
        }
        self.at_ms = Some(now_ms.saturating_add(DRAIN_STEP_MS));
    }

    /// When [`Patience::turn`] has something to do at the latest.
    pub(crate) fn next_ms(&self) -> u64 {
        self.at_ms.unwrap_or(u64::MAX)
    }
}
