//! Test accounts for load tests, straight into a store at the speed of the disk, or as files for other servers.
//!
//! ```text
//!  args ──▶ People, a Person at a time ──┬─▶ store    slot by slot, many to a commit
//!           │ graph       whose contact  └─▶ xep0227  in the order of numbers
//!           │ vcard, png  what others see of them
//! ```
//! Users are `user0`, `user1`, … with one password and one salt: PBKDF2 runs once here, and once in the load
//! program. All but a new store's secrets follows from the seed.

mod args;
mod graph;
mod limits;
mod people;
mod png;
mod store;
#[cfg(test)]
mod tests;
mod vcard;
mod xep0227;

pub use args::{Args, Graph, Split};

use indicatif::{ProgressBar, ProgressStyle};
use people::{People, Person};
use std::time::{Duration, Instant};

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeded {
    pub totals: Totals,
    pub graph: Graph,
    pub took: Duration,
}

/// Sums over all accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub accounts: u32,
    pub roster_items: u64,
    /// Of the account with fewest.
    pub contacts_least: usize,
    /// Of the account with most.
    pub contacts_most: usize,
    pub vcards: u32,
    /// Bytes of the pictures in them.
    pub photo_bytes: u64,
}

impl Totals {
    fn count(&mut self, person: &Person) {
        let contacts = person.contacts.len();
        self.contacts_least = if self.accounts == 0 { contacts } else { self.contacts_least.min(contacts) };
        self.contacts_most = self.contacts_most.max(contacts);
        self.accounts += 1;
        self.roster_items += contacts as u64;
        if let Some(card) = &person.card {
            self.vcards += 1;
            self.photo_bytes += card.photo.len() as u64;
        }
    }
}

impl Seeded {
    /// A sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Totals { accounts, roster_items, contacts_least, contacts_most, vcards, photo_bytes } = self.totals;
        let mut text = format!("{accounts} accounts, {roster_items} roster items");
        if roster_items > 0 {
            text += &format!(" ({contacts_least} to {contacts_most} each)");
        }
        if vcards > 0 {
            text += &format!(", {vcards} vCards with {} KiB of pictures", photo_bytes / 1024);
        }
        text + &format!(" in {:.1} s", self.took.as_secs_f64())
    }

    /// One line for programs.
    #[must_use]
    pub fn json(&self) -> String {
        let totals = &self.totals;
        serde_json::json!({
            "accounts": totals.accounts,
            "graph": self.graph.name(),
            "roster_items": totals.roster_items,
            "contacts_least": totals.contacts_least,
            "contacts_most": totals.contacts_most,
            "vcards": totals.vcards,
            "photo_bytes": totals.photo_bytes,
            "seconds": (self.took.as_secs_f64() * 1e3).round() / 1e3,
        })
        .to_string()
    }
}

/// Runs the seeder.
///
/// # Errors
/// One line for the operator.
pub fn run(args: &Args) -> Result<Seeded, String> {
    args.check()?;
    let started = Instant::now();
    let people = People::new(args)?;
    let totals = match (&args.data, &args.xep0227) {
        (Some(data), None) => store::write(data, &people)?,
        (None, Some(path)) => xep0227::write(path, args, &people)?,
        (None, None) | (Some(_), Some(_)) => return Err(args::WHERE_TO.into()),
    };
    Ok(Seeded { totals, graph: args.graph, took: started.elapsed() })
}

/// How many accounts are done; shown on a terminal only.
fn bar(accounts: u64) -> ProgressBar {
    let bar = ProgressBar::new(accounts).with_message("seeding");
    match ProgressStyle::with_template("{msg:>12} {wide_bar} {pos}/{len} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
