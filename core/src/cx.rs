//! The context every handler gets: the shard, its outputs, the time. Accounts, storage and
//! settlement are here; routing is in `route.rs`, sending to sessions in `delivery.rs`.

use crate::Now;
use crate::account::{Absent, Account, AccountKey, State, Then, Work};
use crate::degraded;
use crate::derive::Task;
use crate::executed;
use crate::message;
use crate::outputs::{Event, Outputs};
use crate::presence;
use crate::route::PeerMessage;
use crate::session::{Origin, Session, SessionKey};
use crate::shard::{Shard, ThenDerived};
use crate::slots::handover;
use hearth_storage::{Answer, Ask, Change, Credentials, Device, Question, QuestionId, Refusal};
use hearth_wire::ids::{Generation, SLOTS, Slot, SlotEpoch};
use hearth_wire::stanza::{SharedStanza, StanzaKind, StanzaType};
use hearth_wire::{BareJid, StanzaCondition, StreamCondition};
use std::collections::VecDeque;

/// One input's context.
pub struct Cx<'a> {
    pub shard: &'a mut Shard,
    pub out: &'a mut Outputs,
    pub now: Now,
}

/// Storage could not answer; the operator was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StorageFailed;

impl Cx<'_> {
    // ---- settlement -------------------------------------------------------------------------

    /// Takes one part of the client stanza being handled along to where its effect happens; it is
    /// settled when every part came back by [`Cx::settle`]. `None` outside a client's stanza.
    pub fn defer(&mut self) -> Option<Origin> {
        let current = self.shard.current.as_mut()?;
        current.parts = current.parts.saturating_add(1);
        Some(current.origin)
    }

    /// The effect that took `origin` along is durable, or was refused and its error sent.
    pub fn settle(&mut self, origin: Option<Origin>) {
        let Some(origin) = origin else { return };
        if origin.shard != self.shard.settings.index {
            self.out.peer(origin.shard, PeerMessage::Settled { origin });
            return;
        }
        if let Some(current) = self.shard.current.as_mut().filter(|current| current.origin == origin) {
            current.parts = current.parts.saturating_sub(1);
            return;
        }
        if self.session_of_origin(&origin).is_some() {
            self.shard.change_inbound(origin.session, |inbound| inbound.part_done(origin.number));
        }
    }

    // ---- sessions ---------------------------------------------------------------------------

    /// The session, if it is there.
    pub fn session(&self, key: SessionKey) -> Option<&Session> {
        self.shard.sessions.get(key.0)
    }

    /// The session, if it is there.
    pub fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.shard.sessions.get_mut(key.0)
    }

    /// The session, if it still is this generation.
    pub fn session_at(&mut self, key: SessionKey, generation: Generation) -> Option<&mut Session> {
        self.shard.sessions.get_mut(key.0).filter(|session| session.generation == generation)
    }

    /// The session that sent a stanza, however often it was attached anew since.
    pub fn session_of_origin(&mut self, origin: &Origin) -> Option<&mut Session> {
        self.shard.sessions.get_mut(origin.session.0).filter(|session| session.stream == origin.stream)
    }

    /// The account's session with this full address.
    pub fn session_of(&self, account: AccountKey, full_jid: &str) -> Option<SessionKey> {
        let account = self.account(account)?;
        account.sessions.iter().copied().find(|key| self.session(*key).is_some_and(|s| s.jid.as_str() == full_jid))
    }

    // ---- accounts ---------------------------------------------------------------------------

    /// An account in memory.
    pub fn account(&self, key: AccountKey) -> Option<&Account> {
        self.shard.accounts.get(key)
    }

    /// An account in memory.
    pub fn account_mut(&mut self, key: AccountKey) -> Option<&mut Account> {
        self.shard.accounts.get_mut(key)
    }

    /// As [`Cx::with_account_or_why`], for those to whom one absence is as good as another.
    pub fn with_account(&mut self, jid: &BareJid, f: impl FnOnce(&mut Cx<'_>, Option<AccountKey>) + Send + 'static) {
        self.with_account_or_why(jid, |cx, key| f(cx, key.ok()));
    }

    /// Runs `f` with the account when it is ready: at once if it is, else after its load or write,
    /// in order.
    pub fn with_account_or_why(
        &mut self,
        jid: &BareJid,
        f: impl FnOnce(&mut Cx<'_>, Result<AccountKey, Absent>) + Send + 'static,
    ) {
        match self.shard.accounts.find(jid.as_str()) {
            Some(key) => {
                if self.account(key).is_some_and(|account| account.state == State::Ready) {
                    f(self, Ok(key));
                } else {
                    self.enqueue(key, Work::Call(Box::new(f)));
                }
            }
            // Another shard's by now.
            None if self.shard.slots.moved() && self.shard.owner(jid.as_str()) != self.shard.settings.index => {
                f(self, Err(Absent::Busy));
            }
            None => {
                let key = self.load(jid);
                self.enqueue(key, Work::Call(Box::new(f)));
            }
        }
    }

    /// The account of this address in memory, its load begun if it was not there.
    pub fn load(&mut self, jid: &BareJid) -> AccountKey {
        if let Some(key) = self.shard.accounts.find(jid.as_str()) {
            return key;
        }
        let (key, slot) = self.insert_loading(jid);
        self.ask(slot, Ask::Load { account: jid.clone() }, Box::new(move |cx, answer| cx.loaded(key, answer)));
        key
    }

    fn insert_loading(&mut self, jid: &BareJid) -> (AccountKey, Slot) {
        let slot = self.shard.settings.slot_key.slot(jid.as_str());
        let mut account = Account::loading(jid.clone(), slot);
        account.used_ms = self.now.mono_ms;
        (self.shard.accounts.insert(account), slot)
    }

    /// Reads an account's credentials, and who has tokens of it, for a login: `None` if there is no such account, an error if
    /// storage failed. The same read brings the account into memory if it was not there, so that a
    /// login costs one.
    pub fn load_credentials(
        &mut self,
        jid: &BareJid,
        then: impl FnOnce(&mut Cx<'_>, Result<Option<(Credentials, Vec<Device>)>, StorageFailed>) + Send + 'static,
    ) {
        let slot = self.shard.settings.slot_key.slot(jid.as_str());
        let loading = self.shard.accounts.find(jid.as_str()).is_none().then(|| self.insert_loading(jid).0);
        self.ask(
            slot,
            Ask::Load { account: jid.clone() },
            Box::new(move |cx, answer| {
                let credentials = match &answer {
                    Answer::Loaded(found) => {
                        Ok(found.as_ref().map(|snapshot| (snapshot.credentials.clone(), snapshot.devices.clone())))
                    }
                    _ => Err(StorageFailed),
                };
                if let Some(key) = loading {
                    cx.loaded(key, answer);
                } else if let Answer::Failed(error) = answer {
                    cx.event(Event::StorageFailed { doing: "read credentials", cause: error.to_string() });
                }
                then(cx, credentials);
            }),
        );
    }

    fn loaded(&mut self, key: AccountKey, answer: Answer) {
        if self.account(key).is_some_and(|account| account.moved.is_some()) {
            self.shard.accounts.remove(key);
            return;
        }
        match answer {
            Answer::Loaded(Some(snapshot)) => {
                let (slots, now_ms) = (self.shard.settings.slot_key, self.now.mono_ms);
                if let Some(account) = self.account_mut(key) {
                    account.install(*snapshot, &slots, now_ms);
                }
                crate::offline::recover(self, key);
            }
            Answer::Failed(error) => {
                self.event(Event::StorageFailed { doing: "load an account", cause: error.to_string() });
                self.forget(key, &Absent::Failed(error));
            }
            Answer::Loaded(None)
            | Answer::Applied
            | Answer::Refused(_)
            | Answer::Blob(_)
            | Answer::Appended(_)
            | Answer::Already(_)
            | Answer::Overtaken
            | Answer::Records(_)
            | Answer::Accounts(_)
            | Answer::Found(_) => self.forget(key, &Absent::NoAccount),
        }
    }

    /// Answers all that waits for an account that is not there, and drops it.
    pub fn forget(&mut self, key: AccountKey, why: &Absent) {
        if let Some(account) = self.shard.accounts.remove(key) {
            self.answer_absent(account.queue, why);
        }
    }

    /// The account was removed from storage: nothing finds it any more, what waits for it is
    /// answered. It leaves memory when what still refers to it is answered too.
    pub fn retire(&mut self, key: AccountKey) {
        self.shard.accounts.unlist(key);
        let Some(account) = self.account_mut(key) else { return };
        account.gone = true;
        (account.log.dirty, account.seen_dirty) = (false, false);
        let queue = std::mem::take(&mut account.queue);
        self.answer_absent(queue, &Absent::NoAccount);
    }

    fn answer_absent(&mut self, queue: VecDeque<Work>, why: &Absent) {
        let condition = match why {
            Absent::NoAccount => StanzaCondition::ServiceUnavailable,
            Absent::Busy | Absent::Failed(_) => StanzaCondition::ResourceConstraint,
        };
        for work in queue {
            match work {
                Work::Call(f) => f(self, Err(why.clone())),
                Work::Inbound { stanza, origin } if ignored(&stanza, condition) => self.settle(origin),
                Work::Inbound { stanza, origin } => {
                    let absent = condition == StanzaCondition::ServiceUnavailable;
                    if absent && stanza.view().ty == StanzaType::Probe {
                        presence::answer_for_nobody(self, &stanza.view());
                    }
                    if absent && stanza.view().is_request() {
                        crate::iq::answer_absent(self, &stanza, origin);
                    } else {
                        self.refuse(&stanza, origin, condition);
                    }
                }
                Work::FromSession { .. } => {}
            }
        }
    }

    /// Puts work behind what the account already waits for.
    pub fn enqueue(&mut self, key: AccountKey, work: Work) {
        let room =
            self.account(key).is_some_and(|account| account.queue_has_room(self.shard.settings.limits.account_queue));
        if room {
            if let Some(account) = self.account_mut(key) {
                account.queue.push_back(work);
            }
            return;
        }
        match work {
            Work::Call(f) => f(self, Err(Absent::Busy)),
            Work::Inbound { stanza, origin } => self.no_room(key, stanza, origin),
            // A session's own credit bounds what it can put here; past that its edge is broken.
            Work::FromSession { session, .. } => {
                self.close_session(session, Some(StreamCondition::ResourceConstraint), "queue full");
            }
        }
    }

    /// Goes on with what waits, until the account is busy again.
    pub fn drain(&mut self, key: AccountKey) {
        loop {
            let now_ms = self.now.mono_ms;
            let Some(account) = self.account_mut(key) else { return };
            if account.state != State::Ready {
                return;
            }
            account.used_ms = now_ms;
            let Some(work) = account.queue.pop_front() else {
                account.queue = VecDeque::new();
                // A write may have kept what the account is owed waiting.
                return message::advance(self, key);
            };
            match work {
                Work::Call(f) => f(self, Ok(key)),
                Work::Inbound { stanza, origin } => self.inbound_ready(key, stanza, origin),
                Work::FromSession { session, generation, from, stanza } => {
                    if self.session_at(session, generation).is_some() {
                        self.shard.change_inbound(session, |inbound| inbound.goes_on(from.bytes));
                    }
                    self.from_session(session, generation, from, &stanza);
                }
            }
        }
    }

    // ---- storage ----------------------------------------------------------------------------

    /// Asks storage; `then` runs with the answer.
    pub fn ask(&mut self, slot: Slot, ask: Ask, then: Then) -> QuestionId {
        let epoch = handover::epoch_to_ask_under(self, slot);
        let id = self.question(then);
        let question = Question { id, slot, epoch, ask };
        // What the old owner still writes comes first.
        match self.shard.slots.taking.get_mut(&slot) {
            Some(taking) => taking.questions.push(question),
            None => self.out.questions.push(question),
        }
        id
    }

    /// As [`Cx::ask`], under an epoch of the slot that is not the one it is served under.
    pub fn ask_under(&mut self, slot: Slot, epoch: SlotEpoch, ask: Ask, then: Then) {
        let id = self.question(then);
        self.out.questions.push(Question { id, slot, epoch, ask });
    }

    fn question(&mut self, then: Then) -> QuestionId {
        let id = self.shard.next_question;
        self.shard.next_question = id.wrapping_add(1);
        self.shard.questions.insert(id, then);
        id
    }

    /// Changes the account's stored state. The account is busy until `then` ran with `Applied`,
    /// `Refused` or `Failed`; only then may it change memory, answer, push. A stanza of the account's own that is
    /// being executed is stored with it as done.
    pub fn write(
        &mut self,
        key: AccountKey,
        changes: Vec<Change>,
        then: impl FnOnce(&mut Cx<'_>, Answer) + Send + 'static,
    ) {
        let by = executed::cause(self, key);
        self.write_by(key, by, changes, then);
    }

    /// As [`Cx::write`], for a stanza whose execution has had to wait for something else.
    pub fn write_by(
        &mut self,
        key: AccountKey,
        by: Option<Origin>,
        mut changes: Vec<Change>,
        then: impl FnOnce(&mut Cx<'_>, Answer) + Send + 'static,
    ) {
        let Some(account) = self.account_mut(key) else { return };
        if account.moved.is_some() {
            return then(self, Answer::Refused(Refusal::Fenced));
        }
        debug_assert_eq!(account.state, State::Ready);
        if let Some(error) = degraded::unstorable(self, &changes) {
            return then(self, Answer::Failed(error));
        }
        let executed = executed::note(self, key, by, &mut changes);
        let Some(account) = self.account_mut(key) else { return };
        account.state = State::Writing;
        let slot = account.slot;
        self.ask(
            slot,
            Ask::Apply { changes },
            Box::new(move |cx, answer| {
                if let Some(account) = cx.account_mut(key) {
                    account.state = State::Ready;
                    if matches!(answer, Answer::Applied) && executed.is_some() {
                        account.executed = executed;
                    }
                }
                match &answer {
                    Answer::Failed(error) => {
                        let cause = error.to_string();
                        cx.event(Event::StorageFailed { doing: "store a change", cause });
                    }
                    Answer::Refused(Refusal::Fenced) => cx.on_fenced(key),
                    _ => {}
                }
                then(cx, answer);
                cx.drain(key);
            }),
        );
    }

    /// Reads something of the account that is about to be written: it is busy meanwhile, so that no
    /// other change comes between. `then` writes, if it will.
    pub fn read_then_write(
        &mut self,
        key: AccountKey,
        ask: Ask,
        then: impl FnOnce(&mut Cx<'_>, Answer) + Send + 'static,
    ) {
        let Some(account) = self.account_mut(key) else { return };
        if account.moved.is_some() {
            return then(self, Answer::Refused(Refusal::Fenced));
        }
        debug_assert_eq!(account.state, State::Ready);
        account.state = State::Writing;
        let slot = account.slot;
        let by = executed::cause(self, key);
        self.ask(
            slot,
            ask,
            Box::new(move |cx, answer| {
                if let Some(account) = cx.account_mut(key) {
                    account.state = State::Ready;
                }
                if let Answer::Failed(error) = &answer {
                    let cause = error.to_string();
                    cx.event(Event::StorageFailed { doing: "read what is to be changed", cause });
                }
                cx.shard.executing = by;
                then(cx, answer);
                cx.shard.executing = None;
                cx.drain(key);
            }),
        );
    }

    /// Has keys derived off the shard; `then` runs with the answer.
    pub fn derive(&mut self, task: Task, then: ThenDerived) {
        let id = self.shard.next_derivation;
        self.shard.next_derivation = id.wrapping_add(1);
        self.shard.derivations.insert(id, then);
        self.out.derive.push((id, task));
    }

    /// Storage answered.
    pub fn answered(&mut self, id: QuestionId, answer: Answer) {
        // A late or repeated answer finds nothing.
        if let Some(then) = self.shard.questions.remove(&id) {
            then(self, answer);
        }
    }

    /// Storage refused a write of the account because its slot is another shard's by now.
    pub fn on_fenced(&mut self, key: AccountKey) {
        if let Some(slot) = self.account(key).filter(|account| account.moved.is_none()).map(|account| account.slot) {
            handover::lose(self, slot);
        }
    }

    // ---- the rest ---------------------------------------------------------------------------

    /// A slot of this shard's that does not move, for what is of no slot.
    pub fn own_slot(&self) -> Option<Slot> {
        let slots = &self.shard.slots;
        let ours = |slot: &Slot| slots.owner(*slot) == self.shard.settings.index && !slots.is_moving(*slot);
        (0..SLOTS).filter_map(Slot::new).find(ours)
    }

    /// Tells the operator.
    pub fn event(&mut self, event: Event) {
        self.out.events.push(event);
    }

    /// A fresh generation of a session in this slot of the shard's.
    pub fn next_generation(&mut self, slot: Slot) -> Generation {
        self.shard.generations = self.shard.generations.wrapping_add(1);
        Generation { epoch: self.shard.slots.epoch(slot), counter: self.shard.generations }
    }

    /// Random bytes from the shard's own source.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.shard.random.fill_bytes(&mut bytes);
        bytes
    }

    /// Forgets logins that nobody goes on with, and reads on for sessions that could not be read for.
    pub fn sweep(&mut self) {
        crate::login::sweep(self);
        for key in std::mem::take(&mut self.shard.unread) {
            crate::offline::read_on(self, key);
        }
    }
}

/// RFC 6121 §8.5.1: what is not answered where there is no account, so that it looks like one nobody is at: there it is
/// kept, or dropped.
fn ignored(stanza: &SharedStanza, condition: StanzaCondition) -> bool {
    let view = stanza.view();
    condition == StanzaCondition::ServiceUnavailable
        && view.kind == StanzaKind::Message
        && message::nobody_there(&view) != message::Absent::Refuse
}
