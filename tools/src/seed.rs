//! Accounts and rosters straight into a store, at the speed of the disk, for load tests.
//!
//! Users are `user0`, `user1`, … with one password and one salt: PBKDF2 runs once here, and once in the load
//! program. With contacts, users are befriended in closed groups of contacts + 1, as `load roster-setup` does it.
//! Accounts are written slot by slot, in the order of the tables' keys.

use argh::FromArgs;
use aws_lc_rs::rand;
use hearth_core::derive::{Derived, Task};
use hearth_core::random::Random;
use hearth_core::sasl::prepare_password;
use hearth_storage::{
    Answer, Answered, Ask, Boot, Change, Credentials, Fresh, Question, RosterItem, Storage, StorageConfig,
    StorageHandle, Subscription,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotKey};
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Accounts asked for at once; one commit of the store takes about as many.
const BATCH: usize = 1024;

/// Accounts that may be under way, so that one batch is prepared while another is written.
const UNDER_WAY_MAX: usize = 4 * BATCH;

/// Memory for the store's pages meanwhile, bytes: inner pages of a million accounts stay in it.
const CACHE_BYTES: usize = 256 << 20;

/// Most accounts of one run: their order is held in memory.
const USERS_MAX: u32 = 50_000_000;

/// Writes test accounts into the store of a Hearth that is not running.
#[derive(FromArgs, Clone, Debug)]
pub struct Args {
    /// folder of the store, made if it is missing
    #[argh(option)]
    pub data: PathBuf,

    /// domain of the accounts, default localhost
    #[argh(option, default = "String::from(\"localhost\")")]
    pub domain: String,

    /// how many accounts, default 15000
    #[argh(option, default = "15000")]
    pub users: u32,

    /// number of the first, default 0
    #[argh(option, default = "0")]
    pub first_user: u32,

    /// password of all of them, default pencil
    #[argh(option, default = "String::from(\"pencil\")")]
    pub password: String,

    /// mutual contacts of each, in closed groups, default 0
    #[argh(option, default = "0")]
    pub contacts: u32,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeded {
    pub accounts: u32,
    pub roster_items: u64,
    pub took: Duration,
}

/// Runs the seeder.
///
/// # Errors
/// One line for the operator.
pub fn run(args: &Args) -> Result<Seeded, String> {
    let end = args.first_user.checked_add(args.users).ok_or("--first-user and --users are too large together")?;
    if args.users == 0 || args.users > USERS_MAX {
        return Err(format!("--users must be 1 to {USERS_MAX}"));
    }
    let started = Instant::now();
    let credentials = credentials(&args.password)?;
    let mut config = StorageConfig::new(&args.data, fresh());
    config.redb.cache_bytes = CACHE_BYTES;
    let place = args.data.display();
    let (storage, boot) = Storage::open(&config).map_err(|error| format!("{place}: {error}"))?;

    let mut accounts = Vec::new();
    for user in args.first_user..end {
        let jid = jid(user, &args.domain)?;
        accounts.push((boot.slot_key.slot(jid.as_str()), user));
    }
    accounts.sort_unstable();

    let (deliver, answers) = channel();
    let handle = storage
        .start(1, move |_, answered| {
            let _ = deliver.send(answered); // the run may have ended with an error
        })
        .map_err(|error| error.to_string())?;
    let mut writer = Writer { handle, answers, under_way: 0, bar: ProgressBar::new(args.users.into()) };
    let filled = fill(args, end, &boot, &accounts, &credentials, &mut writer);
    writer.bar.finish_and_clear();
    let closed = writer.handle.shutdown();
    let roster_items = filled?;
    closed.map_err(|error| error.to_string())?;
    Ok(Seeded { accounts: args.users, roster_items, took: started.elapsed() })
}

/// Writes the accounts in this order; returns how many roster items they got.
fn fill(
    args: &Args,
    end: u32,
    boot: &Boot,
    accounts: &[(Slot, u32)],
    credentials: &Credentials,
    writer: &mut Writer,
) -> Result<u64, String> {
    let mut roster_items = 0;
    for batch in accounts.chunks(BATCH) {
        let mut questions = Vec::with_capacity(batch.len());
        for (slot, user) in batch {
            let changes = changes(args, end, *user, credentials)?;
            roster_items += changes.iter().filter(|change| matches!(change, Change::PutRosterItem { .. })).count();
            questions.push(question(boot, *slot, *user, changes));
        }
        writer.write(questions)?;
    }
    writer.wait_below(1)?;
    Ok(roster_items as u64)
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
                    | Answer::Records(_)
                    | Answer::Accounts(_)
                    | Answer::Found(_)) => return Err(format!("user{id}: answered {other:?}")),
                }
            }
        }
        Ok(())
    }
}

fn question(boot: &Boot, slot: Slot, user: u32, changes: Vec<Change>) -> Question {
    Question { id: user.into(), slot, epoch: boot.epoch, ask: Ask::Apply { changes } }
}

/// The account, its roster's version, and the other members of its group.
fn changes(args: &Args, end: u32, user: u32, credentials: &Credentials) -> Result<Vec<Change>, String> {
    let account = jid(user, &args.domain)?;
    let mut changes = vec![Change::CreateAccount { account: account.clone(), credentials: credentials.clone() }];
    if args.contacts == 0 {
        return Ok(changes);
    }
    changes.push(Change::PutRosterVersion { account: account.clone(), version: 1 });
    let group = args.contacts.saturating_add(1);
    let first = args.first_user + (user - args.first_user) / group * group;
    for contact in (first..first.saturating_add(group).min(end)).filter(|contact| *contact != user) {
        let item = RosterItem {
            contact: jid(contact, &args.domain)?.as_str().into(),
            name: Some(format!("User {contact}").into()),
            groups: vec!["Friends".into()],
            subscription: Subscription::Both,
            ask: false,
            approved: false,
        };
        changes.push(Change::PutRosterItem { account: account.clone(), item });
    }
    Ok(changes)
}

fn credentials(password: &str) -> Result<Credentials, String> {
    let prepared = prepare_password(password).ok_or("the password cannot be used (SASLprep)")?;
    match Task::store(prepared, &mut System).run() {
        Derived::All { sha1, sha256, sha512 } => Ok(Credentials { generation: 1, sha1, sha256, sha512 }),
        Derived::Keys(_) | Derived::Busy => Err("the password's keys were not derived".into()),
    }
}

fn jid(user: u32, domain: &str) -> Result<BareJid, String> {
    BareJid::new(Some(&format!("user{user}")), domain).map_err(|_| format!("{domain} is no domain"))
}

fn fresh() -> Fresh {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_groups_are_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let args = Args {
            data: dir.path().to_owned(),
            domain: "localhost".into(),
            users: 11,
            first_user: 5,
            password: "pencil".into(),
            contacts: 3,
        };
        let seeded = run(&args).unwrap();
        // Groups 5–8, 9–12 and the rest, 13–15.
        assert_eq!((seeded.accounts, seeded.roster_items), (11, 4 * 3 + 4 * 3 + 3 * 2));
        assert!(run(&args).unwrap_err().contains("Exists"));

        let (storage, boot) = Storage::open(&StorageConfig::new(dir.path(), fresh())).unwrap();
        let account = jid(9, "localhost").unwrap();
        let slot = boot.slot_key.slot(account.as_str());
        let ask = Ask::Load { account };
        let answered = storage.answer(Question { id: 1, slot, epoch: boot.epoch, ask });
        let Answer::Loaded(Some(snapshot)) = answered.answer else { panic!("not loaded: {answered:?}") };
        let contacts: Vec<_> = snapshot.roster.iter().map(|item| &*item.contact).collect();
        assert_eq!(contacts, ["user10@localhost", "user11@localhost", "user12@localhost"]);
        assert!(snapshot.roster.iter().all(|item| item.subscription == Subscription::Both));
        assert_eq!(snapshot.credentials.sha1.iterations, 10_000);
    }
}
