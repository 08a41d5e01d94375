//! Whatever happens in whatever order, every client ends up knowing who is there.

use crate::limits;
use crate::testing::{Client, Core};
use hearth_storage::Subscription;
use hearth_wire::stanza::StanzaType;
use hearth_wire::tree;
use proptest::prelude::*;
use std::collections::BTreeMap;

const USERS: usize = 3;
const RESOURCES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Binds the resource if it is not, else closes it.
    Connect,
    Available,
    Unavailable,
    /// To one of the users' bare JIDs.
    Directed(usize),
    /// A change of the account, so that it is busy while storage is slow.
    Write,
    /// Storage begins to wait, or answers all that waited.
    Storage,
    /// The shards' outboxes to each other are full, or have room again.
    Room,
    Run,
}

fn step() -> impl Strategy<Value = (usize, usize, Step)> {
    let what = prop_oneof![
        2 => Just(Step::Connect),
        4 => Just(Step::Available),
        2 => Just(Step::Unavailable),
        1 => (0..USERS).prop_map(Step::Directed),
        1 => Just(Step::Write),
        1 => Just(Step::Storage),
        1 => Just(Step::Room),
        1 => Just(Step::Run),
    ];
    (0..USERS, 0..RESOURCES, what)
}

/// One client and what it believes: the status of each resource it was told of.
struct Seat {
    client: Option<Client>,
    /// What its last broadcast said; `None` while it is not available.
    status: Option<String>,
    view: BTreeMap<String, String>,
}

struct World {
    core: Core,
    users: Vec<String>,
    seats: Vec<Seat>,
    said: u32,
    full: bool,
}

impl World {
    fn new(shards: u16) -> World {
        let mut core = Core::new(shards);
        let users: Vec<String> =
            (0..USERS).map(|n| core.name_on(n % usize::from(shards), &format!("user{n}x"))).collect();
        // The first two see each other, the last one is only seen by the first.
        core.friends(&users[0], &users[1]);
        core.contact(&users[0], &users[2], Subscription::To);
        core.contact(&users[2], &users[0], Subscription::From);
        let seat = || Seat { client: None, status: None, view: BTreeMap::new() };
        World { core, users, seats: (0..USERS * RESOURCES).map(|_| seat()).collect(), said: 0, full: false }
    }

    fn full(&self, seat: usize) -> String {
        format!("{}/r{}", self.users[seat / RESOURCES], seat % RESOURCES)
    }

    fn step(&mut self, user: usize, resource: usize, step: &Step) {
        let seat = user * RESOURCES + resource;
        let client = self.seats[seat].client;
        match (step, client) {
            (Step::Storage, _) => {
                self.core.holding = !self.core.holding;
                if !self.core.holding {
                    self.core.answer();
                }
            }
            (Step::Room, _) => self.room(),
            (Step::Run, _) => self.core.run(),
            (Step::Connect, None) if !self.core.holding => {
                let full = self.full(seat);
                self.seats[seat].client = Some(self.core.login(&full));
            }
            (Step::Connect, Some(client)) => {
                self.core.close(client, false);
                self.core.take(client);
                self.seats[seat] = Seat { client: None, status: None, view: BTreeMap::new() };
            }
            (_, None) => {}
            (Step::Available, Some(client)) => {
                self.said += 1;
                let status = self.said.to_string();
                self.core.put(client, &format!("<presence><status>{status}</status></presence>"));
                self.seats[seat].status = Some(status);
            }
            (Step::Unavailable, Some(client)) => {
                self.core.put(client, "<presence type='unavailable'/>");
                self.seats[seat].status = None;
            }
            (Step::Directed(user), Some(client)) => {
                // Says what the last broadcast said, so that either may be believed.
                if let Some(status) = self.seats[seat].status.clone() {
                    let to = &self.users[*user];
                    self.core.put(client, &format!("<presence to='{to}'><status>{status}</status></presence>"));
                }
            }
            (Step::Write, Some(client)) => {
                let item = format!("<item jid='somebody@example.net' name='{}'/>", self.said);
                self.core
                    .put(client, &format!("<iq type='set' id='w'><query xmlns='jabber:iq:roster'>{item}</query></iq>"));
            }
        }
    }

    fn room(&mut self) {
        self.full = !self.full;
        let pairs = if self.core.shards.len() > 1 { vec![(0, 1), (1, 0)] } else { Vec::new() };
        for (from, to) in pairs {
            let bytes = limits::OUTBOX_BYTES_MAX as u64;
            if self.full {
                self.core.shards[from].charge_outbox(u16::try_from(to).unwrap(), bytes);
            } else {
                self.core.room(from, u16::try_from(to).unwrap(), bytes);
            }
        }
    }

    fn receive(&mut self) {
        for index in 0..self.seats.len() {
            let own = self.full(index);
            let seat = &mut self.seats[index];
            let Some(client) = seat.client else { continue };
            for (stanza, _) in self.core.take_stanzas(client) {
                let view = stanza.view();
                let from = view.from.unwrap_or_default().to_owned();
                match view.ty {
                    StanzaType::Available => {
                        let status = tree::child(view.payload, tree::CLIENT, "status").unwrap().text();
                        seat.view.insert(from, status);
                    }
                    // Its own echo: what it knew is no longer kept up to date.
                    StanzaType::Unavailable if from == own => seat.view.clear(),
                    StanzaType::Unavailable => {
                        seat.view.remove(&from);
                    }
                    _ => {}
                }
            }
        }
    }

    fn check(mut self) {
        self.core.holding = false;
        self.core.answer();
        if self.full {
            self.room();
        }
        self.core.run();
        self.receive();
        for watcher in 0..self.seats.len() {
            let (Some(client), Some(_)) = (self.seats[watcher].client, &self.seats[watcher].status) else { continue };
            assert_eq!(self.core.unsettled(client), 0);
            for watched in 0..self.seats.len() {
                let (one, other) = (watcher / RESOURCES, watched / RESOURCES);
                let sees = one == other || one == 0 || (one, other) == (1, 0);
                if sees {
                    let full = self.full(watched);
                    let believes = self.seats[watcher].view.get(&full);
                    assert_eq!(believes, self.seats[watched].status.as_ref(), "{} of {full}", self.full(watcher));
                }
            }
        }
        for seat in 0..self.seats.len() {
            if let Some(client) = self.seats[seat].client {
                self.core.close(client, true);
            }
        }
        let shards = &self.core.shards;
        assert!(shards.iter().all(|shard| shard.sessions.is_empty() && shard.presence_due.is_empty()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn everybody_knows_who_is_there(shards in 1..=2u16, steps in prop::collection::vec(step(), 0..40)) {
        let mut world = World::new(shards);
        for (user, resource, what) in &steps {
            world.step(*user, *resource, what);
        }
        world.check();
    }
}
