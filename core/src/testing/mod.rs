//! A whole core for unit tests: shards over the memory store, one edge with a link to each, clients
//! that are bound without SASL. No threads and no time but what a test makes pass.
//!
//! ```ignore
//! let mut core = Core::new(2);
//! let desk = core.login("ada@example.org/desk");         // the account is created if need be
//! core.send(desk, "<presence/>");                        // and everything that follows from it
//! assert_eq!(core.take(desk), ["<presence from='ada@example.org/desk' …/>"]);
//! ```
//!
//! Stanzas go in and come out as a small XML of our own (`xml.rs`): enough for tests, no parser.

#![allow(dead_code, reason = "a rig offers more than the tests of one day use")]

pub(crate) mod edge;
mod strangers;
mod xml;

use crate::Now;
use crate::account::{AccountKey, State};
use crate::commands::{self, Arguments, Call, ControlId, Reply, Run};
use crate::cx::Cx;
use crate::derive::Task;
use crate::domain::Domains;
use crate::limits;
use crate::link::LinkId;
use crate::login::Login;
use crate::outputs::{DerivationId, Event, Outputs};
use crate::random::SeededRandom;
use crate::route::PeerMessage;
use crate::sasl::crypto::Hash;
use crate::session::{OwnedOverlay, SessionKey};
use crate::shard::{Input, Settings, Shard, pin};
use hearth_storage::{
    Answer, Answered, Ask, Change, Credentials, DomainRecord, Question, RosterItem, ScramKeys, Snapshot, Storage,
    Subscription,
};
use hearth_wire::ids::{Generation, ShardIndex};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaFault};
use hearth_wire::to_core::{self, ToCore};
use hearth_wire::to_edge::{Bound, Close, Target, ToEdge};
use hearth_wire::{BareJid, StreamCondition, codec};
use std::collections::{BTreeSet, VecDeque};

/// The link every shard has.
pub(crate) const LINK: LinkId = LinkId(0);

/// Sockets from this number on are not bound by [`Core::bind`]: what they get is kept as it comes.
pub(crate) const SOCKETS: u64 = 1 << 32;

/// Credit that no test uses up.
const PLENTY: u64 = 1 << 40;

/// Shards, their store, their clients.
pub(crate) struct Core {
    pub(crate) shards: Vec<Shard>,
    pub(crate) storage: Storage,
    pub(crate) now: Now,
    /// The link every shard has now.
    pub(crate) link: LinkId,
    /// Questions wait until [`Core::answer`] instead of being answered at once.
    pub(crate) holding: bool,
    /// Writes and appends are answered `Failed`.
    pub(crate) failing: bool,
    /// Reads are answered `Failed`.
    pub(crate) unreadable: bool,
    /// Absolute bytes a session may be sent, said at bind and with every acknowledgement.
    pub(crate) credit: u64,
    /// What the edge gets is written to the socket at once.
    pub(crate) writing: bool,
    /// Whose sockets take nothing but what [`Core::reads`] says.
    pub(crate) stalled: BTreeSet<Client>,
    pub(crate) events: Vec<Event>,
    pub(crate) replies: Vec<(ControlId, Reply)>,
    /// Messages between shards, `Room` left out.
    pub(crate) peer_messages: usize,
    /// `Deliver` and `Multicast` frames.
    pub(crate) stanza_frames: usize,
    /// Frames for sockets that are no [`Client`], encoded, prefix stripped: see [`SOCKETS`].
    pub(crate) sockets: Vec<Vec<u8>>,
    held: VecDeque<(usize, Question)>,
    held_derivations: VecDeque<(usize, DerivationId, Task)>,
    inboxes: Vec<VecDeque<Queued>>,
    outputs: Vec<Outputs>,
    clients: Vec<ClientState>,
}

/// One bound client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Client(usize);

struct ClientState {
    shard: usize,
    counter: u64,
    jid: String,
    generation: Generation,
    sent: u64,
    settled: u64,
    entry: u64,
    closed: Option<Option<StreamCondition>>,
    inbox: Vec<(SharedStanza, OwnedOverlay)>,
    /// What the edge keeps to attach or resume it.
    kept: edge::Kept,
}

enum Queued {
    Peer { from: ShardIndex, message: PeerMessage },
    Answer(Answered),
    Call(Call),
}

impl Core {
    /// A core that serves `example.org` and `example.net`; the edge's links are up.
    pub(crate) fn new(shards: ShardIndex) -> Core {
        Core::with_registration(shards, false)
    }

    /// As [`Core::new`], with in-band registration open or not.
    pub(crate) fn with_registration(shards: ShardIndex, registration: bool) -> Core {
        let domain = |name| {
            let mut domain = DomainRecord::new(name);
            domain.set(crate::register::REGISTRATION.name, registration);
            domain
        };
        Core::with_domains(shards, &["example.net", "example.org"].map(domain))
    }

    /// As [`Core::new`], with an edge of the release before.
    pub(crate) fn with_old_edges(shards: ShardIndex) -> Core {
        let mut core = Core::new(shards);
        for shard in &mut core.shards {
            shard.settings.link_version = to_core::VERSION_ATTACH - 1;
        }
        core.relink();
        core.advance(limits::LINK_GRACE_MS);
        core
    }

    /// As [`Core::new`], serving these domains.
    pub(crate) fn with_domains(shards: ShardIndex, domains: &[DomainRecord]) -> Core {
        let (storage, boot) = Storage::memory().unwrap();
        let shard = |index| {
            let settings = Settings {
                index,
                shards,
                slot_key: boot.slot_key,
                secret: boot.secret,
                epoch: boot.epoch,
                clear_login: false,
                limits: Default::default(),
                link_version: to_core::VERSION_ATTACH,
                edges_before: boot.edge_runs.clone(),
                restored: boot.restored,
                settled: boot.settled,
            };
            let random = SeededRandom::new(u64::from(index).wrapping_add(1));
            Shard::new(settings, Domains::new(domains.to_vec()), &[], Box::new(random))
        };
        let count = usize::from(shards);
        let mut core = Core {
            shards: (0..shards).map(shard).collect(),
            storage,
            now: Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 },
            link: LINK,
            holding: false,
            failing: false,
            unreadable: false,
            credit: PLENTY,
            writing: true,
            stalled: BTreeSet::new(),
            events: Vec::new(),
            replies: Vec::new(),
            peer_messages: 0,
            stanza_frames: 0,
            sockets: Vec::new(),
            held: VecDeque::new(),
            held_derivations: VecDeque::new(),
            inboxes: std::iter::repeat_with(VecDeque::new).take(count).collect(),
            outputs: std::iter::repeat_with(Outputs::default).take(count).collect(),
            clients: Vec::new(),
        };
        for shard in 0..shards {
            core.link_up(shard);
        }
        core
    }

    /// Connects the edge to a shard.
    pub(crate) fn link_up(&mut self, shard: ShardIndex) {
        self.greet(shard);
        self.run();
    }

    fn greet(&mut self, shard: ShardIndex) {
        let hello = to_core::Hello {
            version_min: to_core::VERSION_MIN,
            version_max: to_core::VERSION_ATTACH,
            edge: "edge",
            incarnation: 1,
            event_loop: 0,
            event_loops: 1,
            shard,
            link_credit: PLENTY,
        };
        self.input(usize::from(shard), Input::LinkUp(self.link));
        self.frame(usize::from(shard), &ToCore::Hello(hello));
    }

    /// The link to a shard breaks, and the edge does not come back in time.
    pub(crate) fn link_down(&mut self, shard: ShardIndex) {
        self.input(usize::from(shard), Input::LinkDown(self.link));
        self.run();
        self.advance(limits::LINK_GRACE_MS);
    }

    // ---- accounts and sessions --------------------------------------------------------------

    /// Creates an account in the store if it is not there.
    pub(crate) fn account(&mut self, jid: &str) -> BareJid {
        let account = BareJid::parse(jid).unwrap();
        let keys = ScramKeys { iterations: 4096, salt: vec![1], stored_key: vec![2], server_key: vec![3] };
        let credentials = Credentials { generation: 1, sha1: keys.clone(), sha256: keys.clone(), sha512: keys };
        self.ask_store(
            &account,
            Ask::Apply { changes: vec![Change::CreateAccount { account: account.clone(), credentials }] },
        );
        account
    }

    /// Puts a contact into an account's stored roster, both accounts created if need be. Not for an
    /// account that is in memory.
    pub(crate) fn contact(&mut self, account: &str, contact: &str, subscription: Subscription) {
        assert!(self.loaded(account).is_none(), "{account} would not notice");
        let account = self.account(account);
        let contact = self.account(contact);
        let item = RosterItem { subscription, ..crate::roster::new_item(&contact) };
        let answer =
            self.ask_store(&account.clone(), Ask::Apply { changes: vec![Change::PutRosterItem { account, item }] });
        assert!(matches!(answer, Answer::Applied), "{answer:?}");
    }

    /// Two accounts that see each other.
    pub(crate) fn friends(&mut self, one: &str, other: &str) {
        self.contact(one, other, Subscription::Both);
        self.contact(other, one, Subscription::Both);
    }

    /// What lies in the store of an account.
    pub(crate) fn stored(&mut self, account: &str) -> Snapshot {
        let account = BareJid::parse(account).unwrap();
        match self.ask_store(&account.clone(), Ask::Load { account }) {
            Answer::Loaded(Some(snapshot)) => *snapshot,
            other => panic!("{other:?}"),
        }
    }

    /// Creates an account that SASL lets in; few iterations, so that tests are quick.
    pub(crate) fn account_with_password(&mut self, jid: &str, password: &str) {
        let account = BareJid::parse(jid).unwrap();
        let keys = |hash: Hash| hash.keys(password.as_bytes(), &[9; 16], 10);
        let credentials = Credentials {
            generation: 1,
            sha1: keys(Hash::Sha1),
            sha256: keys(Hash::Sha256),
            sha512: keys(Hash::Sha512),
        };
        let create = Change::CreateAccount { account: account.clone(), credentials };
        let answer = self.ask_store(&account, Ask::Apply { changes: vec![create] });
        assert!(matches!(answer, Answer::Applied), "{answer:?}");
    }

    /// Asks the store past the shards: to prepare or look at what lies there.
    pub(crate) fn ask_store(&mut self, account: &BareJid, ask: Ask) -> Answer {
        let slot = self.shards[0].settings.slot_key.slot(account.as_str());
        let epoch = self.shards.iter().map(|shard| shard.slots.epoch(slot)).max().unwrap();
        self.storage.answer(Question { id: 0, slot, epoch, ask }).answer
    }

    /// The shard that owns an account.
    pub(crate) fn owner(&self, bare: &str) -> usize {
        usize::from(self.shards[0].owner(bare))
    }

    /// An address at `example.org` that this shard owns: `name`, or `name2`, `name3`, …
    pub(crate) fn name_on(&self, shard: usize, name: &str) -> String {
        (2..).map(|n| format!("{name}{n}@example.org")).find(|jid| self.owner(jid) == shard).unwrap()
    }

    /// Binds a resource for an account, which is created if need be. Panics if it is refused.
    pub(crate) fn login(&mut self, full: &str) -> Client {
        let client = self.bind(full);
        assert_ne!(self.state(client).jid, "", "{full} was not bound");
        client
    }

    /// Begins to bind a resource; [`Core::jid`] is empty as long as the core has not answered.
    pub(crate) fn bind(&mut self, full: &str) -> Client {
        let shard = self.owner(full.split_once('/').unwrap().0);
        self.bind_at(full, shard)
    }

    /// As [`Core::login`], where not all shards agree who owns the account.
    pub(crate) fn login_at(&mut self, full: &str, shard: usize) -> Client {
        let client = self.bind_at(full, shard);
        assert_ne!(self.state(client).jid, "", "{full} was not bound");
        client
    }

    fn bind_at(&mut self, full: &str, shard: usize) -> Client {
        let (bare, resource) = full.split_once('/').unwrap();
        let client = self.authenticated_at(bare, shard);
        self.bind_there(client, resource);
        client
    }

    /// A socket that has logged in asks for a resource.
    pub(crate) fn bind_there(&mut self, client: Client, resource: &str) {
        let (shard, counter) = (self.state(client).shard, self.state(client).counter);
        self.frame(shard, &ToCore::Bind(to_core::Bind { counter, resource: Some(resource), credit: self.credit }));
        self.run();
    }

    /// A socket that has logged in to an account.
    fn authenticated(&mut self, bare: &str) -> Client {
        let shard = self.owner(bare);
        self.authenticated_at(bare, shard)
    }

    fn authenticated_at(&mut self, bare: &str, shard: usize) -> Client {
        let jid = self.account(bare);
        let link = self.link;
        let client = Client(self.clients.len());
        let counter = client.0 as u64 + 1;
        self.clients.push(ClientState {
            shard,
            counter,
            jid: String::new(),
            generation: Generation { epoch: 0, counter: 0 },
            sent: 0,
            settled: 0,
            entry: 0,
            closed: None,
            inbox: Vec::new(),
            kept: edge::Kept::default(),
        });
        self.with_cx(shard, |cx| {
            cx.with_account(&jid, move |cx, account| {
                pin(cx, account.unwrap());
                cx.shard.logins.insert((link, counter), Login::authenticated(account.unwrap()));
            });
        });
        self.run();
        client
    }

    /// The address the core gave.
    pub(crate) fn jid(&self, client: Client) -> &str {
        &self.state(client).jid
    }

    /// The client's session as its shard has it; `None` once it ended.
    pub(crate) fn session(&self, client: Client) -> Option<&crate::session::Session> {
        let state = self.state(client);
        let shard = &self.shards[state.shard];
        let key: SessionKey = *shard.by_socket.get(&(self.link, state.counter))?;
        shard.sessions.get(key.0)
    }

    /// An account in memory of its shard.
    pub(crate) fn loaded(&self, bare: &str) -> Option<&crate::account::Account> {
        let shard = &self.shards[self.owner(bare)];
        let key: AccountKey = shard.accounts.find(bare)?;
        shard.accounts.get(key).filter(|account| account.state != State::Loading)
    }

    // ---- stanzas ----------------------------------------------------------------------------

    /// A client sends these stanzas, and everything happens that follows from it.
    pub(crate) fn send(&mut self, client: Client, stanzas: &str) {
        self.put(client, stanzas);
        self.run();
    }

    /// A client sends these stanzas; only its own shard has seen them yet.
    pub(crate) fn put(&mut self, client: Client, stanzas: &str) {
        for stanza in xml::stanzas(stanzas) {
            self.put_encoded(client, &stanza, None);
        }
    }

    /// As [`Core::put`], for what XML cannot say.
    pub(crate) fn put_encoded(&mut self, client: Client, stanza: &[u8], fault: Option<StanzaFault>) {
        let state = &mut self.clients[client.0];
        state.sent += 1;
        let frame = to_core::StanzaIn {
            counter: state.counter,
            generation: state.generation,
            number: state.sent,
            fault,
            stanza,
        };
        let shard = state.shard;
        state.kept.sent.push(stanza.to_vec());
        self.frame(shard, &ToCore::Stanza(frame));
    }

    /// What the client got since the last time, as XML.
    pub(crate) fn take(&mut self, client: Client) -> Vec<String> {
        self.take_stanzas(client).iter().map(|(stanza, overlay)| xml::render(&stanza.view(), &overlay.view())).collect()
    }

    /// What the client got since the last time.
    pub(crate) fn take_stanzas(&mut self, client: Client) -> Vec<(SharedStanza, OwnedOverlay)> {
        std::mem::take(&mut self.clients[client.0].inbox)
    }

    /// Forgets what clients got so far, and the counts.
    pub(crate) fn forget(&mut self) {
        for client in &mut self.clients {
            client.inbox.clear();
        }
        self.events.clear();
        self.peer_messages = 0;
        self.stanza_frames = 0;
    }

    /// How many of the client's stanzas are not settled.
    pub(crate) fn unsettled(&self, client: Client) -> u64 {
        self.state(client).sent - self.state(client).settled
    }

    /// How the core closed the client's stream, if it did.
    pub(crate) fn closed(&self, client: Client) -> Option<Option<StreamCondition>> {
        self.state(client).closed
    }

    /// What the core last made known of the client's session.
    pub(crate) fn edge(&self, client: Client) -> &edge::Kept {
        &self.state(client).kept
    }

    /// The client's stream ends: properly, or by loss of its connection.
    pub(crate) fn close(&mut self, client: Client, clean: bool) {
        self.put_closed(client, clean);
        self.run();
    }

    /// The same, and the turn goes on.
    pub(crate) fn put_closed(&mut self, client: Client, clean: bool) {
        let state = self.state(client);
        let closed = to_core::Closed { counter: state.counter, generation: Some(state.generation), clean };
        self.frame(state.shard, &ToCore::Closed(closed));
    }

    /// The operator's command, to one shard.
    pub(crate) fn command(&mut self, shard: usize, name: &str, parameters: &[(&str, &str)]) {
        self.command_after(shard, name, parameters, None);
    }

    /// The same, for the page of a list behind this row.
    pub(crate) fn command_after(
        &mut self,
        shard: usize,
        name: &str,
        parameters: &[(&str, &str)],
        after: Option<String>,
    ) {
        let command = commands::find(name).unwrap();
        let json = |value: &str| if value == "true" { true.into() } else { value.into() };
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect();
        let mut arguments = Arguments::parse(command, &parameters).unwrap();
        arguments.after = after;
        let (of, run) = match command.run {
            Run::Owner(of, run) | Run::OwnerOrAll(of, run) => (arguments.owner_key(of), run),
            Run::All(run) | Run::First(run) => (None, run),
            Run::Process(_) | Run::Here => panic!("{name} does not run on a shard"),
        };
        let slot = of.map(|of| self.shards[shard].settings.slot_key.slot(of.as_str()));
        self.input(shard, Input::Control(Call::new(slot, run, arguments)));
        self.run();
    }

    // ---- making things happen ---------------------------------------------------------------

    /// Answers what waits in storage, and goes on.
    pub(crate) fn answer(&mut self) {
        for (shard, question) in std::mem::take(&mut self.held) {
            let answered = self.answered(question);
            self.inboxes[shard].push_back(Queued::Answer(answered));
        }
        self.run();
    }

    /// Answers the oldest question that waits in storage; false if there is none.
    pub(crate) fn answer_one(&mut self) -> bool {
        let Some((shard, question)) = self.held.pop_front() else { return false };
        let answered = self.answered(question);
        self.inboxes[shard].push_back(Queued::Answer(answered));
        self.run();
        true
    }

    /// Questions that wait in storage.
    pub(crate) fn asked(&self) -> usize {
        self.held.len()
    }

    /// The oldest question that waits is stored, and the answer is lost.
    pub(crate) fn store_one(&mut self) {
        let (_, question) = self.held.pop_front().unwrap();
        self.answered(question);
    }

    /// The oldest question that waits in storage fails.
    pub(crate) fn fail_one(&mut self) {
        let (shard, question) = self.held.pop_front().unwrap();
        let answer = Answer::Failed(hearth_storage::StoreError::Full);
        self.inboxes[shard].push_back(Queued::Answer(Answered { id: question.id, answer }));
        self.run();
    }

    /// Of what waits in storage only the last question does not fail; how many did.
    pub(crate) fn fail_all_but_one(&mut self) -> usize {
        let failed = self.held.len().saturating_sub(1);
        (0..failed).for_each(|_| self.fail_one());
        failed
    }

    /// Does the oldest derivation that waits; false if there is none.
    pub(crate) fn derive_one(&mut self) -> bool {
        let Some((shard, id, task)) = self.held_derivations.pop_front() else { return false };
        self.input(shard, Input::Derived { id, derived: task.run() });
        self.run();
        true
    }

    /// The core stops: every shard stores what it put off.
    pub(crate) fn stop(&mut self) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::Stop);
        }
        self.run();
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.utc_ms += ms;
        for shard in 0..self.shards.len() {
            self.input(shard, Input::WakeUp);
        }
        self.run();
    }

    /// Shard `to` tells shard `from` that it handled so many bytes.
    pub(crate) fn room(&mut self, from: usize, to: ShardIndex, bytes: u64) {
        self.input(from, Input::Peer { from: to, message: PeerMessage::Room { bytes } });
        self.run();
    }

    /// Calls into a shard as a handler would.
    pub(crate) fn with_cx<R>(&mut self, shard: usize, f: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        f(&mut Cx { shard: &mut self.shards[shard], out: &mut self.outputs[shard], now: self.now })
    }

    /// Turns of all shards until nobody has anything to do.
    pub(crate) fn run(&mut self) {
        for turn in 0.. {
            assert!(turn < 100_000, "the shards do not come to rest");
            let mut idle = true;
            for shard in 0..self.shards.len() {
                while let Some(queued) = self.inboxes[shard].pop_front() {
                    idle = false;
                    match queued {
                        Queued::Peer { from, message } => self.input(shard, Input::Peer { from, message }),
                        Queued::Answer(answered) => self.input(shard, Input::Answer(answered)),
                        Queued::Call(call) => self.input(shard, Input::Control(call)),
                    }
                }
                if self.outputs[shard].wake_at_ms.take_if(|at_ms| *at_ms <= self.now.mono_ms).is_some() {
                    self.input(shard, Input::WakeUp);
                }
                self.input(shard, Input::EndOfTurn);
                idle &= !self.drain(shard);
            }
            if idle {
                return;
            }
        }
    }

    fn state(&self, client: Client) -> &ClientState {
        &self.clients[client.0]
    }

    /// One input to one shard; not yet what follows from it: [`Core::run`].
    pub(crate) fn input(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].handle(input, self.now, &mut self.outputs[shard]);
    }

    /// A frame of the edge, as bytes and back; not yet what follows from it: [`Core::run`].
    pub(crate) fn frame(&mut self, shard: usize, frame: &ToCore<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let (body, used) = codec::split(&bytes, codec::FRAME_BYTES_MAX).unwrap().unwrap();
        let frame = ToCore::decode(body).unwrap().unwrap();
        self.input(shard, Input::Frame { link: self.link, frame, bytes: used });
    }

    fn answered(&self, question: Question) -> Answered {
        let writes = matches!(question.ask, Ask::Apply { .. } | Ask::Append { .. } | Ask::AppendAgain { .. });
        if (self.failing && writes) || (self.unreadable && !writes) {
            return Answered { id: question.id, answer: Answer::Failed(hearth_storage::StoreError::Full) };
        }
        self.storage.answer(question)
    }

    /// Brings a shard's outputs where they belong; whether there were any.
    fn drain(&mut self, shard: usize) -> bool {
        let out = &mut self.outputs[shard];
        let (frames, peers) = (std::mem::take(&mut out.to_edges), std::mem::take(&mut out.to_shards));
        let (questions, derive) = (std::mem::take(&mut out.questions), std::mem::take(&mut out.derive));
        self.events.append(&mut out.events);
        self.replies.append(&mut out.replies);
        let passed_on = std::mem::take(&mut out.passed_on);
        let mut any = out.wake_at_ms.is_some_and(|at_ms| at_ms <= self.now.mono_ms);
        for (to, messages) in peers.into_iter().enumerate() {
            for message in messages {
                any = true;
                self.peer_messages += usize::from(!matches!(message, PeerMessage::Room { .. }));
                let from = ShardIndex::try_from(shard).unwrap();
                self.inboxes[to].push_back(Queued::Peer { from, message });
            }
        }
        any |= !passed_on.is_empty();
        for (to, call) in passed_on {
            self.inboxes[usize::from(to)].push_back(Queued::Call(call));
        }
        for question in questions {
            if self.holding {
                self.held.push_back((shard, question));
            } else {
                any = true;
                let answered = self.answered(question);
                self.inboxes[shard].push_back(Queued::Answer(answered));
            }
        }
        for (id, task) in derive {
            if self.holding {
                self.held_derivations.push_back((shard, id, task));
                continue;
            }
            any = true;
            self.input(shard, Input::Derived { id, derived: task.run() });
        }
        for bytes in frames {
            any |= !bytes.is_empty();
            self.receive(shard, &bytes);
        }
        any
    }

    /// The edge's side of a link.
    fn receive(&mut self, shard: usize, mut bytes: &[u8]) {
        while let Some((body, used)) = codec::split(bytes, codec::FRAME_BYTES_MAX).unwrap() {
            match ToEdge::decode(body).unwrap().unwrap() {
                ToEdge::AuthChallenge(_)
                | ToEdge::AuthSuccess(_)
                | ToEdge::AuthFailure(_)
                | ToEdge::FastToken(_)
                | ToEdge::Moved(_)
                | ToEdge::BindRefused(_)
                | ToEdge::PreAuthReply(_) => self.sockets.push(body.to_vec()),
                ToEdge::Bound(Bound { counter, .. }) | ToEdge::Close(Close { counter, .. }) if counter >= SOCKETS => {
                    self.sockets.push(body.to_vec());
                }
                ToEdge::Settled(settled) if settled.counter >= SOCKETS => {}
                ToEdge::Bound(bound) => {
                    let client = self.by_counter(bound.counter);
                    client.jid = bound.jid.to_owned();
                    client.generation = bound.generation;
                    client.kept.stream = Some(bound.stream);
                }
                ToEdge::Settled(settled) => {
                    let client = self.by_counter(settled.counter);
                    assert!(settled.number >= client.settled && settled.number <= client.sent);
                    client.settled = settled.number;
                }
                ToEdge::Close(close) => self.by_counter(close.counter).closed = Some(close.condition),
                ToEdge::Deliver(deliver) => {
                    self.stanza_frames += 1;
                    self.deliver(shard, &deliver.target, deliver.stanza);
                }
                ToEdge::Multicast(multicast) => {
                    self.stanza_frames += 1;
                    assert!(multicast.targets.len() > 1);
                    multicast.targets.iter().for_each(|target| self.deliver(shard, target, multicast.stanza));
                }
                ToEdge::DeliverLogged(logged) => {
                    self.stanza_frames += 1;
                    self.logged(&logged.deliver.target, logged.log);
                    self.deliver(shard, &logged.deliver.target, logged.deliver.stanza);
                }
                ToEdge::MulticastLogged(logged) => {
                    self.stanza_frames += 1;
                    for target in &logged.multicast.targets {
                        self.logged(target, logged.log);
                        self.deliver(shard, target, logged.multicast.stanza);
                    }
                }
                frame => self.kept(&frame),
            }
            bytes = &bytes[used..];
        }
        assert_eq!(bytes, [0u8; 0]);
    }

    fn by_counter(&mut self, counter: u64) -> &mut ClientState {
        &mut self.clients[usize::try_from(counter - 1).unwrap()]
    }

    fn deliver(&mut self, shard: usize, target: &Target<'_>, stanza: &[u8]) {
        let (mut writing, credit) = (self.writing, self.credit);
        writing &= !self.stalled.iter().any(|client| self.state(*client).counter == target.counter);
        let client = self.by_counter(target.counter);
        assert_eq!((client.shard, client.generation), (shard, target.generation), "sent to somebody else");
        assert_eq!(client.closed, None, "sent to a closed stream");
        assert_eq!(target.entry, client.entry + 1, "entries are numbered one by one");
        client.entry = target.entry;
        let Overlay { carbon, .. } = &target.overlay;
        assert!(carbon.is_none());
        client.inbox.push((SharedStanza::from_bytes(stanza).unwrap(), OwnedOverlay::of(&target.overlay)));
        if writing {
            let written = to_core::Written {
                counter: target.counter,
                generation: target.generation,
                entry: target.entry,
                credit,
            };
            self.frame(shard, &ToCore::Written(written));
        }
    }
}

/// An encoded stanza, written as in [`Core::take`].
pub(crate) fn text(encoded: &[u8]) -> String {
    xml::render(&Stanza::decode(encoded).unwrap(), &Overlay::default())
}

/// The payload of one stanza written as in [`Core::send`].
pub(crate) fn stanza(text: &str) -> SharedStanza {
    let encoded = xml::stanzas(text);
    assert_eq!(encoded.len(), 1, "{text}");
    SharedStanza::new(&Stanza::decode(&encoded[0]).unwrap())
}

#[test]
fn stanzas_reach_a_client_and_settle() {
    let mut core = Core::new(2);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<iq type='get' id='a' xml:lang='en'><unknown xmlns='urn:x' a='&lt;'>text<b/></unknown></iq>");
    assert_eq!(
        core.take(desk),
        ["<iq type='error' id='a' to='ada@example.org/desk'><unknown xmlns='urn:x' a='&lt;'>text<b/></unknown>\
          <error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"]
    );
    assert_eq!(core.unsettled(desk), 0);
    core.close(desk, true);
    assert!(core.session(desk).is_none());
}
