//! Accounts into a store, slot by slot, in the order of the tables' keys.

use super::limits::{BATCH, CACHE_BYTES, UNDER_WAY_MAX};
use super::people::{CONTACT_GROUP, People, Person, contact_name};
use super::{Totals, bar};
use aws_lc_rs::rand;
use hearth_core::random::Random;
use hearth_storage::{
    Answer, Answered, Ask, Blob, Boot, Change, Fresh, Question, RosterItem, Storage, StorageConfig, StorageHandle,
    Subscription,
};
use hearth_wire::ids::{Slot, SlotKey};
use indicatif::ProgressBar;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// Writes all of them into the store of this folder.
pub(super) fn write(data: &Path, people: &People) -> Result<Totals, String> {
    let mut config = StorageConfig::new(data, fresh());
    config.redb.cache_bytes = CACHE_BYTES;
    let (storage, boot) = Storage::open(&config).map_err(|error| format!("{}: {error}", data.display()))?;
    let slot = |user: u32| (boot.slot_key.slot(&people.address(user)), user);
    let mut accounts: Vec<(Slot, u32)> = people.users.clone().map(slot).collect();
    accounts.sort_unstable();

    let (deliver, answers) = channel();
    let handle = storage
        .start(1, move |_, answered| {
            let _ = deliver.send(answered); // the run may have ended with an error
        })
        .map_err(|error| error.to_string())?;
    let mut writer = Writer { handle, answers, under_way: 0, bar: bar(accounts.len() as u64) };
    let filled = fill(people, &boot, &accounts, &mut writer);
    writer.bar.finish_and_clear();
    let closed = writer.handle.shutdown();
    let totals = filled?;
    closed.map_err(|error| error.to_string())?;
    Ok(totals)
}

/// Writes the accounts in this order.
fn fill(people: &People, boot: &Boot, accounts: &[(Slot, u32)], writer: &mut Writer) -> Result<Totals, String> {
    let mut totals = Totals::default();
    for batch in accounts.chunks(BATCH) {
        let mut questions = Vec::with_capacity(batch.len());
        for (slot, user) in batch {
            let person = people.person(*user);
            totals.count(&person);
            let ask = Ask::Apply { changes: changes(people, person)? };
            questions.push(Question { id: (*user).into(), slot: *slot, epoch: boot.epoch, ask });
        }
        writer.write(questions)?;
    }
    writer.wait_below(1)?;
    Ok(totals)
}

struct Writer {
    handle: StorageHandle,
    answers: Receiver<Vec<Answered>>,
    under_way: usize,
    bar: ProgressBar,
}

impl Writer {
    fn write(&mut self, questions: Vec<Question>) -> Result<(), String> {
        self.wait_below(UNDER_WAY_MAX)?;
        self.under_way += questions.len();
        self.handle.ask(0, questions).map_err(|refused| refused.error.to_string())
    }

    fn wait_below(&mut self, limit: usize) -> Result<(), String> {
        while self.under_way >= limit {
            let answers = self.answers.recv().map_err(|_| "the store has ended")?;
            self.under_way = self.under_way.saturating_sub(answers.len());
            self.bar.inc(answers.len() as u64);
            for Answered { id, answer } in answers {
                match answer {
                    Answer::Applied => {}
                    Answer::Refused(why) => return Err(format!("user{id}: {why:?}; seed an empty store")),
                    Answer::Failed(error) => return Err(error.to_string()),
                    other @ (Answer::Loaded(_)
                    | Answer::Blob(_)
                    | Answer::Appended(_)
                    | Answer::Already(_)
                    | Answer::Overtaken
                    | Answer::Records(_)
                    | Answer::Accounts(_)
                    | Answer::Found(_)) => return Err(format!("user{id}: answered {other:?}")),
                }
            }
        }
        Ok(())
    }
}

/// The account, its roster and the roster's version, its vCard, which lists nobody in the directory.
fn changes(people: &People, person: Person) -> Result<Vec<Change>, String> {
    let account = people.jid(person.user)?;
    let mut changes = Vec::with_capacity(person.contacts.len() + 3);
    changes.push(Change::CreateAccount { account: account.clone(), credentials: people.credentials.clone() });
    if !person.contacts.is_empty() {
        changes.push(Change::PutRosterVersion { account: account.clone(), version: 1 });
    }
    for contact in person.contacts {
        let item = RosterItem {
            contact: people.address(contact).into(),
            name: Some(contact_name(contact).into()),
            groups: vec![CONTACT_GROUP.into()],
            subscription: Subscription::Both,
            ask: false,
            approved: false,
        };
        changes.push(Change::PutRosterItem { account: account.clone(), item });
    }
    if let Some(card) = person.card {
        changes.push(Change::PutBlob { account, blob: Blob::VCard, bytes: Some(card.tree()) });
    }
    Ok(changes)
}

/// A new store's secrets: these do not follow from the seed.
pub(super) fn fresh() -> Fresh {
    let mut fresh = Fresh { slot_key: SlotKey([0; 16]), secret: [0; 32], store_id: [0; 16] };
    System.fill_bytes(&mut fresh.slot_key.0);
    System.fill_bytes(&mut fresh.secret);
    System.fill_bytes(&mut fresh.store_id);
    fresh
}

/// The operating system's randomness.
struct System;

impl Random for System {
    #[expect(clippy::expect_used, reason = "without randomness no store can be made")]
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        rand::fill(bytes).expect("the system has randomness");
    }
}
