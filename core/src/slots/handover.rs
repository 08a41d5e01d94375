//! A slot moves from one shard to another.
//!
//! ```text
//!  old owner                      every other shard             new owner
//!  told to move, or hears of it
//!   ├─ SlotOwner ────────────────▶ map, edges told ◀──────────── (same)
//!   │  its accounts end            └─ SlotHeard ─▶ old owner     what comes waits: what the old owner
//!   │  what comes is forwarded ────────────────────────────────▶ forwards first, the rest behind it
//!   └─ all heard, all forwarded,
//!      marks stored: SlotYielded ──────────────────────────────▶ fences the old epoch in storage,
//!                                                                then reads and serves
//! ```
//! So nothing overtakes: whoever has heard sends to the new owner, what was sent before went through the old
//! one, and the new owner takes that first. An owner that does not answer is waited for a bounded time
//! ([`limits::SLOT_WAIT_MS`]); what it forwards later is refused, for it could come out of order.
//!
//! A slot may also be taken by force ([`crate::shard::Input::SlotOwner`]: whoever leases slots says so). Then
//! storage is fenced at once, whatever the old owner still believes: its writes and appends are refused, by
//! which it learns that it has lost the slot ([`lose`]), and it keeps what was refused until it hears to whom.
//!
//! For its sessions a slot that moves is a core that restarted: their streams end with `reset`, what they had
//! not written waits in the log. (When cores adopt sessions by their capsules the new owner will adopt
//! them here instead, and edges will drop frames of the old epoch.)

use super::NOBODY;
use crate::account::{Absent, AccountKey, Pending, State, Work};
use crate::cx::Cx;
use crate::limits;
use crate::message;
use crate::outputs::Event;
use crate::route::{PeerMessage, bare};
use crate::session::Origin;
use hearth_storage::{Answer, Ask, Question, Refusal};
use hearth_wire::ids::{ShardIndex, Slot, SlotEpoch};
use hearth_wire::stanza::{SharedStanza, StanzaKind};
use hearth_wire::to_edge::{SlotOwner, ToEdge};
use hearth_wire::{StanzaCondition, StreamCondition};
use std::collections::{BTreeSet, VecDeque};

/// A stanza on its way to the owner of a slot.
type Stray = (SharedStanza, Option<Origin>, u8);

/// A slot that comes to this shard.
pub(crate) struct Taking {
    epoch: SlotEpoch,
    /// The old owner has said that it is done, or was waited for long enough.
    yielded: bool,
    /// Storage was asked to fence the old epoch; it did.
    asked: bool,
    fenced: bool,
    /// When to ask storage (again), or to wait no longer.
    at_ms: u64,
    /// What was asked of storage meanwhile: accounts that are loading.
    pub(crate) questions: Vec<Question>,
    /// What did not come through the old owner.
    direct: VecDeque<(SharedStanza, Option<Origin>)>,
}

/// A slot that this shard gave up.
pub(crate) struct Giving {
    /// `None`: it was lost, and to whom is not known yet.
    to: Option<(ShardIndex, SlotEpoch)>,
    /// Its accounts that are not at rest yet.
    accounts: Vec<AccountKey>,
    /// Marks on their way to storage.
    storing: usize,
    /// Shards that may still send here what is for the new owner.
    unheard: BTreeSet<ShardIndex>,
    /// To be forwarded: first what the accounts had before them, then what came since.
    first: VecDeque<Stray>,
    behind: VecDeque<Stray>,
    /// What waits for a slot lost to nobody known is refused from then on.
    refuse_at_ms: u64,
}

// ---- news -----------------------------------------------------------------------------------

/// This shard is told to give a slot to another. Nothing happens if it does not serve the slot.
pub fn on_move(cx: &mut Cx<'_>, slot: Slot, to: ShardIndex) {
    let (index, shards) = (cx.shard.settings.index, cx.shard.settings.shards);
    let slots = &cx.shard.slots;
    if slots.owner(slot) == index && to != index && to < shards && !slots.taking.contains_key(&slot) {
        let epoch = slots.epoch(slot).saturating_add(1);
        on_owner(cx, slot, epoch, to, false);
    }
}

/// From now on `owner` owns the slot under `epoch`. `forced`: it does not wait for this shard's word.
pub fn on_owner(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch, owner: ShardIndex, forced: bool) {
    let index = cx.shard.settings.index;
    let (before, old_epoch) = (cx.shard.slots.owner(slot), cx.shard.slots.epoch(slot));
    if !cx.shard.slots.learn(slot, epoch, owner) {
        return;
    }
    announce(cx, slot, epoch, owner);
    cx.event(Event::SlotMoved { slot, epoch, shard: owner });
    if before == index {
        give_up(cx, slot, old_epoch);
    }
    if owner == index {
        let now_ms = cx.now.mono_ms;
        let taking = Taking {
            epoch,
            yielded: false,
            asked: false,
            fenced: false,
            at_ms: now_ms.saturating_add(limits::SLOT_WAIT_MS),
            questions: Vec::new(),
            direct: VecDeque::new(),
        };
        cx.shard.slots.taking.insert(slot, taking);
        if forced {
            fence(cx, slot);
        }
    }
    // Lost or given up just now: whoever still sends to this shard hears where to.
    let others: BTreeSet<ShardIndex> = (0..cx.shard.settings.shards).filter(|shard| *shard != index).collect();
    if let Some(giving) = cx.shard.slots.giving_mut(slot).filter(|giving| giving.to.is_none()) {
        giving.to = Some((owner, epoch));
        giving.unheard.clone_from(&others);
        for other in others {
            cx.send_peer(other, PeerMessage::SlotOwner { slot, epoch, shard: owner });
        }
        advance(cx);
    }
}

/// The old owner of a slot says whose it is; once this is answered nothing for the slot goes there.
pub fn on_told(cx: &mut Cx<'_>, from: ShardIndex, slot: Slot, epoch: SlotEpoch, owner: ShardIndex) {
    on_owner(cx, slot, epoch, owner, false);
    cx.send_peer(from, PeerMessage::SlotHeard { slot, epoch });
}

/// Another shard has heard.
pub fn on_heard(cx: &mut Cx<'_>, from: ShardIndex, slot: Slot, epoch: SlotEpoch) {
    for ((_, _), giving) in cx.shard.slots.giving.range_mut((slot, 0)..=(slot, SlotEpoch::MAX)) {
        if giving.to.is_some_and(|(_, to)| to == epoch) {
            giving.unheard.remove(&from);
        }
    }
}

/// The old owner is done with the slot.
pub fn on_yielded(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch) {
    let Some(taking) = cx.shard.slots.taking.get_mut(&slot).filter(|taking| taking.epoch == epoch) else { return };
    taking.yielded = true;
    fence(cx, slot);
    serve(cx, slot);
}

fn announce(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch, shard: ShardIndex) {
    let links: Vec<_> = cx.shard.links.iter().filter(|(_, link)| link.greeted && link.up).map(|(id, _)| *id).collect();
    for link in links {
        cx.out.frame(link, &ToEdge::SlotOwner(SlotOwner { first: slot, last: slot, epoch, shard }));
    }
}

// ---- the old owner --------------------------------------------------------------------------

/// Storage says that the slot is fenced: it is somebody else's, who that is will be heard.
pub fn lose(cx: &mut Cx<'_>, slot: Slot) {
    if cx.shard.slots.owner(slot) == cx.shard.settings.index {
        let epoch = cx.shard.slots.epoch(slot);
        cx.shard.slots.forget(slot);
        cx.event(Event::SlotLost { slot, epoch });
        give_up(cx, slot, epoch);
    }
}

/// Ends all that this shard has of a slot.
fn give_up(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch) {
    let accounts = cx.shard.accounts.of_slot(slot);
    let giving = Giving {
        to: None,
        accounts: accounts.clone(),
        storing: 0,
        unheard: BTreeSet::new(),
        first: VecDeque::new(),
        behind: VecDeque::new(),
        refuse_at_ms: cx.now.mono_ms.saturating_add(limits::SLOT_WAIT_MS),
    };
    let taking = cx.shard.slots.taking.remove(&slot);
    cx.shard.slots.giving.insert((slot, epoch), giving);
    for key in accounts {
        give_up_account(cx, key, epoch);
    }
    // It had not been served here yet.
    if let Some(Taking { questions, direct, .. }) = taking {
        for (stanza, origin) in direct {
            keep(cx, slot, stanza, origin, 0);
        }
        for question in questions {
            cx.answered(question.id, Answer::Refused(Refusal::Fenced));
        }
    }
    cx.out.wake_at(cx.now.mono_ms);
}

/// As if the core had restarted: nobody finds the account here any more, its streams end, what waits for it
/// goes to its new owner.
fn give_up_account(cx: &mut Cx<'_>, key: AccountKey, epoch: SlotEpoch) {
    cx.shard.accounts.unlist(key);
    let Some(account) = cx.account_mut(key) else { return };
    account.moved = Some(epoch);
    let (slot, sessions, queue) = (account.slot, account.sessions.clone(), std::mem::take(&mut account.queue));
    crate::login::close_all(cx, key, StreamCondition::Reset, "");
    for session in sessions {
        cx.close_later(session, StreamCondition::Reset, "its slot moved");
    }
    message::advance(cx, key);
    for work in queue {
        match work {
            Work::Inbound { stanza, origin } => keep(cx, slot, stanza, origin, 0),
            Work::Call(f) => f(cx, Err(Absent::Busy)),
            // Its stream has ended, and it was not settled.
            Work::FromSession { .. } => {}
        }
    }
}

/// Goes on with what a given up account was owed: what is durable waits in the log, the rest is forwarded.
/// As [`message::advance`], which calls it.
pub fn advance_moved(cx: &mut Cx<'_>, key: AccountKey) {
    loop {
        let Some(account) = cx.account_mut(key) else { return };
        let (slot, epoch) = (account.slot, account.moved.unwrap_or_default());
        match account.log.pending.front() {
            None | Some(Pending::Append { done: None, .. }) => return,
            Some(Pending::Append { .. } | Pending::Stanza { .. }) => {}
        }
        let (stanza, origin) = match account.log.pending.pop_front() {
            Some(Pending::Append { origin, done: Some(Ok(id)), .. }) => {
                account.log.undelivered(id);
                cx.settle(origin);
                continue;
            }
            Some(Pending::Append { stanza, origin, .. } | Pending::Stanza { stanza, origin }) => (stanza, origin),
            None => return,
        };
        match cx.shard.slots.giving.get_mut(&(slot, epoch)) {
            Some(giving) => giving.first.push_back((stanza, origin, 0)),
            None => keep(cx, slot, stanza, origin, 0),
        }
        cx.out.wake_at(cx.now.mono_ms);
    }
}

/// A stanza for a slot that is not this shard's (any more): behind what goes there already.
pub fn keep(cx: &mut Cx<'_>, slot: Slot, stanza: SharedStanza, origin: Option<Origin>, hops: u8) {
    match cx.shard.slots.giving_mut(slot) {
        Some(giving) if giving.behind.len() < limits::SLOT_STANZAS_MAX => {
            giving.behind.push_back((stanza, origin, hops));
            cx.out.wake_at(cx.now.mono_ms);
        }
        Some(_) => cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint),
        None => {
            let owner = cx.shard.slots.owner(slot);
            cx.relay(owner, stanza, origin, hops.saturating_add(1));
        }
    }
}

/// End of a turn, while moves are under way.
pub fn advance(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    for (slot, epoch) in cx.shard.slots.giving.keys().copied().collect::<Vec<_>>() {
        rest_accounts(cx, slot, epoch);
        forward(cx, slot, epoch);
        let Some(giving) = cx.shard.slots.giving.get_mut(&(slot, epoch)) else { continue };
        if giving.to.is_none() && now_ms >= giving.refuse_at_ms {
            let strays = giving.first.drain(..).chain(giving.behind.drain(..));
            for (stanza, origin, _) in strays.collect::<Vec<_>>() {
                cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
            }
        } else if let Some((to, epoch_there)) = giving.to
            && giving.accounts.is_empty()
            && giving.storing == 0
            // What waits for the end of the recovery may be for the slot.
            && cx.shard.recovery.is_none()
            && giving.unheard.is_empty()
            && giving.first.is_empty()
            && giving.behind.is_empty()
        {
            cx.shard.slots.giving.remove(&(slot, epoch));
            if to == cx.shard.settings.index {
                on_yielded(cx, slot, epoch_there);
            } else {
                cx.send_peer(to, PeerMessage::SlotYielded { slot, epoch: epoch_there });
            }
        }
    }
    for slot in cx.shard.slots.taking.keys().copied().collect::<Vec<_>>() {
        let Some(taking) = cx.shard.slots.taking.get_mut(&slot) else { continue };
        if now_ms >= taking.at_ms && !taking.fenced {
            taking.yielded = true;
            fence(cx, slot);
        } else if now_ms >= taking.at_ms {
            taking.yielded = true;
            serve(cx, slot);
        }
    }
    if cx.shard.slots.busy() {
        cx.out.wake_at(now_ms.saturating_add(limits::SLOT_TICK_MS));
    }
}

/// Stores the marks of accounts that are at rest, under the epoch that was this shard's.
fn rest_accounts(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch) {
    let Some(giving) = cx.shard.slots.giving.get_mut(&(slot, epoch)) else { return };
    let mut left = std::mem::take(&mut giving.accounts);
    let mut storing = 0usize;
    left.retain(|key| {
        let Some(account) = cx.account_mut(*key).filter(|account| account.moved == Some(epoch)) else { return false };
        if account.state == State::Ready && account.sessions.is_empty() && account.log.pending.is_empty() {
            storing = storing.saturating_add(usize::from(store_marks(cx, *key, epoch)));
            return false;
        }
        true
    });
    if let Some(giving) = cx.shard.slots.giving.get_mut(&(slot, epoch)) {
        giving.accounts = left;
        giving.storing = giving.storing.saturating_add(storing);
    }
}

/// Whether there was anything to store. If it fails the new owner finds the same in the log.
fn store_marks(cx: &mut Cx<'_>, key: AccountKey, epoch: SlotEpoch) -> bool {
    let Some(account) = cx.account_mut(key) else { return false };
    let (slot, (changes, _)) = (account.slot, account.late_changes());
    if changes.is_empty() {
        return false;
    }
    cx.ask_under(
        slot,
        epoch,
        Ask::Apply { changes },
        Box::new(move |cx, _| {
            if let Some(giving) = cx.shard.slots.giving.get_mut(&(slot, epoch)) {
                giving.storing = giving.storing.saturating_sub(1);
            }
        }),
    );
    true
}

/// Sends on what waits, as there is room: what came since the slot was given up only when nothing before it
/// can come any more.
fn forward(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch) {
    let index = cx.shard.settings.index;
    loop {
        let Some(giving) = cx.shard.slots.giving.get(&(slot, epoch)) else { return };
        let Some((to, _)) = giving.to else { return };
        let answered = giving.accounts.iter().all(|key| {
            cx.account(*key).is_none_or(|account| account.moved != Some(epoch) || account.log.pending.is_empty())
        });
        let next = if giving.first.is_empty() && answered { giving.behind.front() } else { giving.first.front() };
        let Some((stanza, _, hops)) = next else { return };
        if to != index && !cx.shard.outbox_has_room(to, PeerMessage::route_bytes(stanza)) {
            return;
        }
        let hops = hops.saturating_add(1);
        let Some(giving) = cx.shard.slots.giving.get_mut(&(slot, epoch)) else { return };
        let Some((stanza, origin, _)) = giving.first.pop_front().or_else(|| giving.behind.pop_front()) else { return };
        if to == index {
            on_forwarded(cx, stanza, origin, hops);
        } else {
            cx.relay(to, stanza, origin, hops);
        }
    }
}

// ---- the new owner --------------------------------------------------------------------------

/// Has storage refuse whatever the old owner still asks.
fn fence(cx: &mut Cx<'_>, slot: Slot) {
    let now_ms = cx.now.mono_ms;
    let Some(taking) = cx.shard.slots.taking.get_mut(&slot).filter(|taking| !taking.asked) else { return };
    taking.asked = true;
    let epoch = taking.epoch;
    taking.at_ms = now_ms.saturating_add(limits::SLOT_WAIT_MS);
    let changes = Vec::new();
    cx.ask_under(slot, epoch, Ask::Apply { changes }, Box::new(move |cx, answer| fenced(cx, slot, epoch, answer)));
}

fn fenced(cx: &mut Cx<'_>, slot: Slot, epoch: SlotEpoch, answer: Answer) {
    let now_ms = cx.now.mono_ms;
    let Some(taking) = cx.shard.slots.taking.get_mut(&slot).filter(|taking| taking.epoch == epoch) else { return };
    match answer {
        Answer::Applied => {
            taking.fenced = true;
            serve(cx, slot);
        }
        Answer::Failed(error) => {
            // Nobody waits longer for a store that fails; it is asked again.
            taking.asked = false;
            taking.at_ms = now_ms.saturating_add(limits::SLOT_RETRY_MS);
            let questions = std::mem::take(&mut taking.questions);
            cx.event(Event::StorageFailed { doing: "take a slot", cause: error.to_string() });
            for question in questions {
                cx.answered(question.id, Answer::Failed(error.clone()));
            }
            cx.out.wake_at(now_ms.saturating_add(limits::SLOT_RETRY_MS));
        }
        // Taken by another since.
        _ => lose(cx, slot),
    }
}

/// Serves the slot, if the old owner is done and shut out.
fn serve(cx: &mut Cx<'_>, slot: Slot) {
    if !cx.shard.slots.taking.get(&slot).is_some_and(|taking| taking.yielded && taking.fenced) {
        return;
    }
    let Some(Taking { questions, direct, .. }) = cx.shard.slots.taking.remove(&slot) else { return };
    cx.out.questions.extend(questions);
    for (stanza, origin) in direct {
        cx.inbound(stanza, origin);
    }
}

/// While a slot moves: a stanza that comes by the direct way waits behind the forwarded ones, and one for a
/// slot given up goes on. Gives the stanza back if neither is so.
pub fn divert(cx: &mut Cx<'_>, stanza: SharedStanza, origin: Option<Origin>) -> Option<(SharedStanza, Option<Origin>)> {
    let Some(to) = stanza.view().to.map(bare) else { return Some((stanza, origin)) };
    let slot = cx.shard.settings.slot_key.slot(to);
    let index = cx.shard.settings.index;
    if let Some(taking) = cx.shard.slots.taking.get_mut(&slot) {
        if taking.direct.len() < limits::SLOT_STANZAS_MAX {
            taking.direct.push_back((stanza, origin));
        } else {
            cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
        }
        None
    } else if cx.shard.slots.owner(slot) != index && cx.shard.slots.giving_mut(slot).is_some() {
        keep(cx, slot, stanza, origin, 0);
        None
    } else {
        Some((stanza, origin))
    }
}

/// A stanza that another shard sent on.
pub fn on_forwarded(cx: &mut Cx<'_>, stanza: SharedStanza, origin: Option<Origin>, hops: u8) {
    let Some(to) = stanza.view().to.map(bare) else { return cx.settle(origin) };
    let slot = cx.shard.settings.slot_key.slot(to);
    if cx.shard.slots.owner(slot) != cx.shard.settings.index {
        if hops < limits::HOPS_MAX {
            keep(cx, slot, stanza, origin, hops);
        } else {
            cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
        }
        return;
    }
    let late = !cx.shard.slots.taking.contains_key(&slot);
    if late && (stanza.view().is_request() || stanza.view().kind == StanzaKind::Message) {
        // Younger ones may have come by the direct way.
        cx.refuse(&stanza, origin, StanzaCondition::ResourceConstraint);
    } else {
        cx.second_stop(stanza, origin);
    }
}

/// Whether something a session sent is of an ownership that is over: its stream is, too, and whoever adopts
/// the session sends it again.
pub fn is_old(cx: &Cx<'_>, slot: Slot, epoch: SlotEpoch) -> bool {
    epoch < cx.shard.slots.epoch(slot)
}

/// The epoch under which this shard may write to a slot now; 0, which every store refuses, if it may not.
pub fn epoch_to_ask_under(cx: &Cx<'_>, slot: Slot) -> SlotEpoch {
    let slots = &cx.shard.slots;
    if slots.owner(slot) == cx.shard.settings.index { slots.epoch(slot) } else { 0 }
}

/// Whether the slot's owner is known.
pub fn is_known(owner: ShardIndex) -> bool {
    owner != NOBODY
}
