//! The accounts: who they are, their contacts and their keys.

use super::args::{Args, Graph};
use super::graph::{Friends, PowerLaw};
use super::limits::contacts_max;
use super::vcard::Card;
use hearth_core::derive::{Derived, Task};
use hearth_core::random::SeededRandom;
use hearth_core::sasl::prepare_password;
use hearth_storage::Credentials;
use hearth_wire::BareJid;
use std::ops::Range;

/// Group of a roster that all contacts are in.
pub(super) const CONTACT_GROUP: &str = "Friends";

/// Name of a contact in a roster.
pub(super) fn contact_name(user: u32) -> String {
    format!("User {user}")
}

pub(super) struct People {
    /// Prepared.
    domain: String,
    pub(super) users: Range<u32>,
    pub(super) credentials: Credentials,
    friends: Friends,
    /// What vCards follow from; `None` for none.
    cards: Option<u64>,
}

/// One account.
pub(super) struct Person {
    pub(super) user: u32,
    pub(super) contacts: Vec<u32>,
    pub(super) card: Option<Card>,
}

impl People {
    pub(super) fn new(args: &Args) -> Result<People, String> {
        let any = BareJid::new(Some("user0"), &args.domain).map_err(|_| format!("{} is no domain", args.domain))?;
        let credentials = credentials(&args.password, &mut source(args.seed, Use::Salt, 0))?;
        let friends = match (args.contacts, args.graph) {
            (0, _) => Friends::Nobody,
            (contacts, Graph::Groups) => Friends::Groups(contacts.saturating_add(1)),
            (contacts, Graph::PowerLaw) => {
                let most = contacts_max(&args.domain);
                let mut random = source(args.seed, Use::Graph, 0);
                Friends::PowerLaw(PowerLaw::grow(args.users, contacts, most, &mut random))
            }
        };
        let users = args.first_user..args.first_user.saturating_add(args.users);
        Ok(People {
            domain: any.domainpart().to_owned(),
            users,
            credentials,
            friends,
            cards: args.vcards.then_some(args.seed),
        })
    }

    pub(super) fn person(&self, user: u32) -> Person {
        let card = |seed| Card::of(user, &self.address(user), &mut source(seed, Use::Card, user));
        Person { user, contacts: self.friends.of(user, &self.users), card: self.cards.map(card) }
    }

    /// Prepared.
    pub(super) fn domain(&self) -> &str {
        &self.domain
    }

    /// Text of a user's bare JID, prepared.
    pub(super) fn address(&self, user: u32) -> String {
        format!("user{user}@{}", self.domain)
    }

    pub(super) fn jid(&self, user: u32) -> Result<BareJid, String> {
        let address = self.address(user);
        BareJid::parse(&address).map_err(|_| format!("{address} is no address"))
    }
}

/// What the seed is used for: each has numbers of its own.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Salt = 1,
    Graph,
    Card,
}

/// The numbers for one use of the seed, and one user where they are the user's.
pub(super) fn source(seed: u64, what: Use, user: u32) -> SeededRandom {
    let mixed = SeededRandom::new(seed).next_u64() ^ ((what as u64) << 32 | u64::from(user));
    SeededRandom::new(SeededRandom::new(mixed).next_u64())
}

fn credentials(password: &str, random: &mut SeededRandom) -> Result<Credentials, String> {
    let prepared = prepare_password(password).ok_or("the password cannot be used (SASLprep)")?;
    match Task::store(prepared, random).run() {
        Derived::All { sha1, sha256, sha512 } => Ok(Credentials { generation: 1, sha1, sha256, sha512 }),
        Derived::Keys(_) | Derived::Busy => Err("the password's keys were not derived".into()),
    }
}
