//! The machines without sockets, threads or chance: transcripts are played against them as they are
//! against the daemons.

use super::edge::EdgeLoop;
use crate::transcript::{PASSWORD, Session, World};
use crate::xml::{self, Item, Reader};
use base64::Engine;
use hearth_core::Now;
use hearth_core::domain::Domains;
use hearth_core::link::LinkId;
use hearth_core::outputs::Outputs;
use hearth_core::random::SeededRandom;
use hearth_core::sasl::crypto::{Hash, Secret};
use hearth_core::shard::{Input, Settings, Shard};
use hearth_storage::{Ask, Boot, Change, Credentials, DomainRecord, Question, Storage, StoreError};
use hearth_wire::codec;
use hearth_wire::to_core::{ToCore, VERSION_MAX};
use hearth_wire::to_edge::ToEdge;
use hearth_wire::{BareJid, jid};

/// Shards and event loops: two of each, so that stanzas cross.
const SHARDS: u16 = 2;
const LOOPS: u16 = 2;

/// One edge and one core, with every answer given at once.
pub struct Machines {
    shards: Vec<Shard>,
    edges: Vec<EdgeLoop>,
    storage: Storage,
    boot: Boot,
    out: Outputs,
    now: Now,
    clients: Vec<Option<SimClient>>,
}

struct SimClient {
    edge: usize,
    counter: u64,
    reader: Reader,
}

impl Machines {
    /// A core that serves `domains`, with these switches on.
    pub fn new(domains: &[&str], with: &[String]) -> Result<Machines, StoreError> {
        let (storage, boot) = Storage::memory()?;
        let record = |domain: &&str| {
            let mut record = DomainRecord::new(*domain);
            with.iter().for_each(|switch| record.set(switch, true));
            record
        };
        let domains = Domains::new(domains.iter().map(record).collect());
        let shards = (0..SHARDS).map(|index| {
            let settings = Settings {
                index,
                shards: SHARDS,
                slot_key: boot.slot_key,
                secret: boot.secret,
                epoch: boot.epoch,
                clear_login: true,
                limits: Default::default(),
                link_version: VERSION_MAX,
                edges_before: Vec::new(),
                restored: 0,
                settled: 0,
            };
            Shard::new(settings, domains.clone(), &[], Box::new(SeededRandom::new(u64::from(index))))
        });
        let mut machines = Machines {
            shards: shards.collect(),
            edges: (0..LOOPS)
                .map(|index| EdgeLoop::new(index, LOOPS, SHARDS, 64 * 1024, u64::from(index) + 100))
                .collect(),
            storage,
            boot,
            out: Outputs::default(),
            now: Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 },
            clients: Vec::new(),
        };
        for shard in 0..machines.shards.len() {
            for edge in 0..machines.edges.len() {
                machines.feed(shard, Input::LinkUp(link_of(edge)));
                if let Some(edge) = machines.edges.get_mut(edge) {
                    edge.dial(u16::try_from(shard).unwrap_or(0));
                }
            }
        }
        machines.pump();
        Ok(machines)
    }

    /// Makes an account whose password is [`PASSWORD`].
    pub fn add(&mut self, account: &str) {
        if let Ok(account) = BareJid::parse(account) {
            self.store(vec![create(&account)]);
        }
    }

    /// Puts changes of one account, that is not in memory, straight into the store.
    pub fn store(&mut self, changes: Vec<Change>) {
        answer(&self.storage, &self.boot, changes);
    }

    fn feed(&mut self, shard: usize, input: Input<'_>) {
        if let Some(machine) = self.shards.get_mut(shard) {
            machine.handle(input, self.now, &mut self.out);
            machine.handle(Input::EndOfTurn, self.now, &mut self.out);
        }
        self.perform(shard);
    }

    /// Does what a shard asked for; storage and key derivation answer at once.
    fn perform(&mut self, shard: usize) {
        loop {
            let questions = std::mem::take(&mut self.out.questions);
            let derive = std::mem::take(&mut self.out.derive);
            if questions.is_empty() && derive.is_empty() {
                break;
            }
            let Some(machine) = self.shards.get_mut(shard) else { return };
            for question in questions {
                machine.handle(Input::Answer(self.storage.answer(question)), self.now, &mut self.out);
            }
            for (id, task) in derive {
                machine.handle(Input::Derived { id, derived: task.run() }, self.now, &mut self.out);
            }
            machine.handle(Input::EndOfTurn, self.now, &mut self.out);
        }
        self.out.events.clear();
        let index = u16::try_from(shard).unwrap_or(0);
        for edge in 0..self.edges.len() {
            let Some(frames) = self.out.to_edges.get_mut(usize::from(link_of(edge).0)).map(std::mem::take) else {
                continue;
            };
            let Some(edge) = self.edges.get_mut(edge) else { continue };
            let mut rest = frames.as_slice();
            while let Ok(Some((frame, used))) = codec::split(rest, codec::FRAME_BYTES_MAX) {
                if let Ok(Some(frame)) = ToEdge::decode(frame) {
                    edge.frame(index, &frame, used);
                }
                rest = rest.get(used..).unwrap_or_default();
            }
        }
        let peers: Vec<_> = self.out.to_shards.iter_mut().map(std::mem::take).enumerate().collect();
        for (to, messages) in peers {
            for message in messages {
                self.feed(to, Input::Peer { from: index, message });
            }
        }
    }

    /// Until nobody has anything to say.
    fn pump(&mut self) {
        loop {
            let mut quiet = true;
            for edge in 0..self.edges.len() {
                for shard in 0..self.shards.len() {
                    let link = self.edges.get_mut(edge).and_then(|edge| edge.links.get_mut(shard));
                    let bytes = link.map(|link| std::mem::take(&mut link.out)).unwrap_or_default();
                    let mut rest = bytes.as_slice();
                    while let Ok(Some((frame, used))) = codec::split(rest, codec::FRAME_BYTES_MAX) {
                        quiet = false;
                        if let Ok(Some(frame)) = ToCore::decode(frame) {
                            self.feed(shard, Input::Frame { link: link_of(edge), frame, bytes: used });
                        }
                        rest = rest.get(used..).unwrap_or_default();
                    }
                }
            }
            for client in self.clients.iter_mut().flatten() {
                let Some(edge) = self.edges.get_mut(client.edge) else { continue };
                let Some(conn) = edge.conns.get_mut(&client.counter) else { continue };
                let ended = conn.ended;
                let bytes = std::mem::take(&mut conn.output);
                if !bytes.is_empty() || ended {
                    quiet = false;
                    client.reader.push(&bytes);
                    edge.written(client.counter);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn client(&mut self, who: usize) -> Result<&mut SimClient, String> {
        self.clients.get_mut(who).and_then(Option::as_mut).ok_or_else(|| "is not logged in".to_owned())
    }

    fn say(&mut self, who: usize, text: &str) -> Result<(), String> {
        let client = self.client(who)?;
        let (edge, counter) = (client.edge, client.counter);
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.bytes(counter, text.as_bytes());
        }
        self.pump();
        Ok(())
    }

    fn next(&mut self, who: usize) -> Result<Item, String> {
        let client = self.client(who)?;
        client.reader.next_item().map_err(|error| error.0)?.ok_or_else(|| "nothing comes".to_owned())
    }

    /// Skips to the element that answers.
    fn wait_for(&mut self, who: usize, name: &str) -> Result<xml::Element, String> {
        loop {
            match self.next(who)? {
                Item::Element(element) if element.name == name => return Ok(element),
                Item::Element(element) if element.name == "failure" => return Err(element.to_string()),
                Item::Open(_) | Item::Element(_) => {}
                Item::Close => return Err("the stream ended".to_owned()),
            }
        }
    }
}

/// The change that makes an account whose password is [`PASSWORD`], quick to log in to.
pub fn create(account: &BareJid) -> Change {
    let password = Secret::new(PASSWORD);
    let credentials = Credentials {
        generation: 1,
        sha1: Hash::Sha1.keys(password.expose(), &[1; 16], 1),
        sha256: Hash::Sha256.keys(password.expose(), &[2; 16], 1),
        sha512: Hash::Sha512.keys(password.expose(), &[3; 16], 1),
    };
    Change::CreateAccount { account: account.clone(), credentials }
}

/// Asks a store that no thread runs to apply changes of one account.
pub fn answer(storage: &Storage, boot: &Boot, changes: Vec<Change>) {
    let Some(account) = changes.first().and_then(Change::account) else { return };
    let slot = boot.slot_key.slot(account.as_str());
    storage.answer(Question { id: 0, slot, epoch: boot.epoch, ask: Ask::Apply { changes } });
}

/// The link of an event loop, at every shard.
fn link_of(edge: usize) -> LinkId {
    LinkId(u16::try_from(edge).unwrap_or(0))
}

impl World for Machines {
    fn log_in(&mut self, who: usize, session: &Session) -> Result<String, String> {
        if self.clients.len() <= who {
            self.clients.resize_with(who + 1, || None);
        }
        let edge = who % self.edges.len();
        let Some(counter) = self.edges.get_mut(edge).map(EdgeLoop::accept) else { return Err("no edge".to_owned()) };
        if let Some(slot) = self.clients.get_mut(who) {
            *slot = Some(SimClient { edge, counter, reader: Reader::default() });
        }
        let (local, domain, _) = jid::split(&session.account);
        let header = format!(
            "<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.say(who, &header)?;
        self.wait_for(who, "features")?;
        let secret = format!("\0{}\0{PASSWORD}", local.unwrap_or_default());
        let secret = base64::engine::general_purpose::STANDARD.encode(secret);
        let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
        self.say(who, &format!("<auth xmlns='{ns}' mechanism='PLAIN'>{secret}</auth>"))?;
        self.wait_for(who, "success")?;
        self.client(who)?.reader = Reader::default();
        self.say(who, &header)?;
        self.wait_for(who, "features")?;
        let resource = session.resource.as_deref().map(|r| format!("<resource>{}</resource>", xml::escape(r)));
        let bind = format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{}</bind>", resource.unwrap_or_default());
        self.say(who, &format!("<iq type='set' id='bind'>{bind}</iq>"))?;
        let answer = self.wait_for(who, "iq")?;
        let jid = answer.children().next().and_then(|bind| bind.children().next()).map(xml::Element::text);
        jid.ok_or_else(|| answer.to_string())
    }

    fn send(&mut self, who: usize, xml: &str) -> Result<(), String> {
        self.say(who, xml)
    }

    fn hear(&mut self, who: usize) -> Result<Item, String> {
        self.next(who)
    }

    fn log_out(&mut self, who: usize) -> Result<(), String> {
        self.say(who, "</stream:stream>")?;
        let heard = self.next(who)?;
        self.cut(who)?;
        if heard == Item::Close { Ok(()) } else { Err(format!("heard more before its stream ended: {heard:?}")) }
    }

    fn cut(&mut self, who: usize) -> Result<(), String> {
        let client = self.clients.get_mut(who).and_then(Option::take).ok_or("is not logged in")?;
        if let Some(edge) = self.edges.get_mut(client.edge) {
            edge.vanish(client.counter);
        }
        self.pump();
        Ok(())
    }
}
