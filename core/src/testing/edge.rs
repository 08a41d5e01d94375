//! The edge's part in what outlives links and cores: what it keeps, and what it says of it.

use super::{Client, Core, SOCKETS, xml};
use crate::domain::Domains;
use crate::outputs::Outputs;
use crate::random::SeededRandom;
use crate::shard::{Input, Shard};
use hearth_storage::EdgeRun;
use hearth_wire::StanzaCondition;
use hearth_wire::ids::{Generation, StreamId};
use hearth_wire::limits::RECENT_ATTACH_MAX;
use hearth_wire::to_core::{self, Attach, LoggedEntry, ToCore};
use hearth_wire::to_edge::{Target, ToEdge};

/// What an edge keeps of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) stream: Option<StreamId>,
    pub(crate) sealed: Vec<u8>,
    /// The one before, of the generation before.
    pub(crate) sealed_before: Vec<u8>,
    /// Every stanza sent, from number 1.
    pub(crate) sent: Vec<Vec<u8>>,
    /// Logged entries, in order, but for those of which the core has stored that they are written.
    pub(crate) logged: Vec<LoggedEntry>,
    /// The greatest log id among all of them.
    pub(crate) log: u64,
    /// The last entry that is written, as the edge told or would tell.
    pub(crate) written: u64,
    pub(crate) previd: Option<String>,
    pub(crate) max_s: u32,
    /// `number`, `sm_number`, `entry` and `sm_entry` of the last `Resumed`.
    pub(crate) resumed: Option<[u64; 4]>,
    pub(crate) failed: Option<StanzaCondition>,
    /// `h` beside it.
    pub(crate) handled: Option<u32>,
    pub(crate) attached: bool,
    /// Ids and addresses of its open questions; all there are.
    pub(crate) open: Vec<(String, Option<String>)>,
    /// Its edge is from before those were told.
    pub(crate) tells_no_questions: bool,
}

impl Core {
    pub(super) fn logged(&mut self, target: &Target<'_>, log: u64) {
        let logged = LoggedEntry { entry: target.entry, log };
        let kept = &mut self.by_counter(target.counter).kept;
        kept.logged.push(logged);
        kept.log = kept.log.max(log);
    }

    pub(super) fn kept(&mut self, frame: &ToEdge<'_>) {
        match frame {
            ToEdge::Capsule(f) if f.counter >= SOCKETS => {}
            ToEdge::Capsule(f) => {
                let client = self.by_counter(f.counter);
                assert_eq!(client.generation, f.generation, "a capsule of another attachment");
                client.kept.sealed = f.sealed.to_vec();
            }
            ToEdge::Stored(f) => {
                let client = self.by_counter(f.counter);
                assert_eq!(client.generation, f.generation, "to another attachment");
                client.kept.logged.retain(|logged| logged.entry > f.entry);
            }
            ToEdge::SmEnabled(f) => {
                let client = self.by_counter(f.counter);
                assert_eq!((client.generation, client.entry), (f.generation, f.entry));
                (client.kept.previd, client.kept.max_s) = (f.previd.map(str::to_owned), f.max_s);
            }
            ToEdge::Resumed(f) => {
                let client = self.by_counter(f.counter);
                (client.jid, client.generation) = (f.jid.to_owned(), f.generation);
                (client.entry, client.sent, client.settled) = (f.entry, f.number, f.number);
                client.kept.stream = Some(f.stream);
                client.kept.resumed = Some([f.number, f.sm_number, f.entry, f.sm_entry]);
            }
            ToEdge::AskedBefore(f) => {
                assert!(f.whole);
                let open = f.open.iter().map(|open| (open.id.to_owned(), open.to.map(str::to_owned)));
                self.by_counter(f.counter).kept.open = open.collect();
            }
            ToEdge::ResumeFailed(f) => {
                let kept = &mut self.by_counter(f.counter).kept;
                (kept.failed, kept.handled) = (Some(f.condition), f.h);
            }
            ToEdge::Attached(f) => {
                let client = self.by_counter(f.counter);
                assert_eq!(client.generation, f.before, "an answer to another attachment");
                client.generation = f.generation;
                client.kept.sealed_before = std::mem::take(&mut client.kept.sealed);
                client.kept.attached = true;
                assert!(f.settled <= f.received && f.received <= client.sent);
                // What is sent behind this may answer what was settled meanwhile.
                assert_eq!(f.settled, client.settled);
                client.settled = f.settled;
                self.again(f.counter, f.received + 1);
            }
            _ => {}
        }
    }

    /// Sends a client's stanzas from this number on once more.
    fn again(&mut self, counter: u64, from: u64) {
        let client = self.by_counter(counter);
        let (shard, generation, sent) = (client.shard, client.generation, client.kept.sent.clone());
        for number in from..=client.sent {
            let stanza = &sent[usize::try_from(number - 1).unwrap()];
            let again = to_core::StanzaIn { counter, generation, number, fault: None, stanza };
            self.frame(shard, &ToCore::StanzaAgain(again));
        }
    }

    /// The client's last stanza is another when it is sent again.
    pub(crate) fn said_instead(&mut self, client: Client, stanza: &str) {
        let sent = &mut self.clients[client.0].kept.sent;
        sent.pop();
        sent.extend(xml::stanzas(stanza));
    }

    /// `<enable resume='true'/>`; the token.
    pub(crate) fn enable(&mut self, client: Client, max_s: Option<u32>) -> String {
        let state = self.state(client);
        let enable = to_core::SmEnable {
            counter: state.counter,
            generation: state.generation,
            number: state.sent,
            resume: true,
            max_s,
        };
        self.frame(state.shard, &ToCore::SmEnable(enable));
        self.run();
        self.edge(client).previd.clone().unwrap()
    }

    /// A fresh socket of the account asks for a session.
    pub(crate) fn resume(&mut self, account: &str, previd: &str, h: u32) -> Client {
        let client = self.authenticated(account);
        let (shard, counter, credit) = (self.state(client).shard, self.state(client).counter, self.credit);
        self.frame(shard, &ToCore::Resume(to_core::Resume { counter, previd, h, credit }));
        self.run();
        client
    }

    /// The client acknowledges entries up to this one; without XEP-0198: the socket took them.
    pub(crate) fn written(&mut self, client: Client, entry: u64) {
        let state = self.state(client);
        let (counter, generation, credit) = (state.counter, state.generation, self.credit);
        let shard = state.shard;
        self.clients[client.0].kept.written = entry;
        self.frame(shard, &ToCore::Written(to_core::Written { counter, generation, entry, credit }));
        self.run();
    }

    /// A question that the client's edge will tell of, should the core be lost.
    pub(crate) fn open(&mut self, client: Client, open: Option<(&str, Option<&str>)>) {
        let open = open.map(|(id, to)| (id.to_owned(), to.map(str::to_owned)));
        self.clients[client.0].kept.open.extend(open);
    }

    /// The client's edge is one from before questions were told.
    pub(crate) fn tells_no_questions(&mut self, client: Client) {
        self.clients[client.0].kept.tells_no_questions = true;
    }

    /// The edge has not heard that the client's last stanza is settled.
    pub(crate) fn unsettle(&mut self, client: Client) {
        let client = &mut self.clients[client.0];
        client.settled = client.settled.min(client.sent - 1);
    }

    /// A client has read all that it was sent, and its edge may be sent so many bytes in all.
    pub(crate) fn reads(&mut self, client: Client, credit: u64) {
        let state = self.state(client);
        let (counter, generation, entry) = (state.counter, state.generation, state.entry);
        let shard = state.shard;
        self.clients[client.0].kept.written = entry;
        self.frame(shard, &ToCore::Written(to_core::Written { counter, generation, entry, credit }));
        self.run();
    }

    /// The edge had no entries behind this one when the link was lost.
    pub(crate) fn entry_is(&mut self, client: Client, entry: u64) {
        self.clients[client.0].entry = entry;
    }

    pub(crate) fn generation(&self, client: Client) -> Generation {
        self.state(client).generation
    }

    /// The edge knows the session as it was before it was attached anew.
    pub(crate) fn not_heard(&mut self, client: Client, before: Generation) {
        let client = &mut self.clients[client.0];
        client.generation = before;
        client.kept.sealed = client.kept.sealed_before.clone();
    }

    /// The links come back, and the edge has these clients still. Not yet what follows: [`Core::all_sent`].
    pub(crate) fn attach(&mut self, clients: &[Client]) {
        for client in clients {
            self.attach_as(*client, |_| {});
        }
        self.run();
    }

    /// As [`Core::attach`], of one client whose edge says something else.
    pub(crate) fn attach_as(&mut self, client: Client, change: impl FnOnce(&mut Attach<'_>)) {
        let (writing, credit) = (self.writing, self.credit);
        let state = self.state(client);
        let kept = state.kept.clone();
        let written = if writing && !self.stalled.contains(&client) { state.entry } else { kept.written };
        let mut ahead: Vec<u64> = kept.logged.iter().filter(|l| l.entry <= written).map(|logged| logged.log).collect();
        let recent = ahead.split_off(ahead.len().saturating_sub(RECENT_ATTACH_MAX));
        let mut attach = Attach {
            counter: state.counter,
            stream: kept.stream.unwrap(),
            generation: state.generation,
            sealed: &kept.sealed,
            settled: state.settled,
            number: state.sent,
            entry: state.entry,
            written,
            delivered_bytes: 0,
            credit,
            log: kept.log,
            unwritten: kept.logged.iter().filter(|logged| logged.entry > written).copied().collect(),
            recent,
            closed: None,
        };
        change(&mut attach);
        let shard = state.shard;
        if !kept.tells_no_questions {
            let open = kept.open.iter().map(|(id, to)| to_core::OpenQuestion { id, to: to.as_deref() }).collect();
            let questions = to_core::OpenQuestions { counter: attach.counter, open, whole: true };
            self.frame(shard, &ToCore::OpenQuestions(questions));
        }
        if !ahead.is_empty() {
            self.frame(shard, &ToCore::Recent(to_core::Recent { counter: attach.counter, logs: ahead }));
        }
        self.frame(shard, &ToCore::Attach(attach));
    }

    /// The edge has no more sessions.
    pub(crate) fn all_sent(&mut self) {
        for shard in 0..self.shards.len() {
            self.frame(shard, &ToCore::AllSent(to_core::AllSent {}));
        }
        self.run();
    }

    /// Every link breaks and comes back.
    pub(crate) fn relink(&mut self) {
        for shard in 0..self.shards.len() {
            self.input(shard, Input::LinkDown(self.link));
        }
        self.run();
        self.link.0 += 1;
        for shard in 0..self.shards.len() {
            self.greet(u16::try_from(shard).unwrap());
        }
    }

    /// A link of the release before breaks.
    pub(crate) fn old_link_down(&mut self, shard: usize) {
        self.input(shard, Input::LinkDown(self.link));
        self.run();
    }

    /// The core dies with all that was not stored, and starts again over what was.
    pub(crate) fn crash(&mut self) {
        let boot = self.storage.boot().unwrap();
        let run = EdgeRun { edge: "edge".to_owned(), incarnation: 1, event_loops: 1 };
        let domains = ["example.net", "example.org"].map(hearth_storage::DomainRecord::new).to_vec();
        self.shards = std::mem::take(&mut self.shards)
            .into_iter()
            .map(|shard| {
                let mut settings = shard.settings;
                (settings.epoch, settings.settled) = (boot.epoch, boot.settled);
                settings.edges_before = vec![run.clone()];
                let random = SeededRandom::new(settings.epoch * 1000 + u64::from(settings.index));
                Shard::new(settings, Domains::new(domains.clone()), &boot.sessions, Box::new(random))
            })
            .collect();
        self.outputs.iter_mut().for_each(|out| *out = Outputs::default());
        self.inboxes.iter_mut().for_each(std::collections::VecDeque::clear);
        self.held.clear();
        for shard in 0..self.shards.len() {
            self.greet(u16::try_from(shard).unwrap());
        }
        self.run();
    }
}
