//! What must be in the store.

use crate::op::{
    ACCOUNTS, Op, Outcome, SLOTS, STREAMS, What, account, blob, body, contact, domain, marks, nick, slot_of,
};
use crate::suite::{device, executed};
use hearth_storage::{
    Answer, Ask, Blob, Boot, Device, Executed, ListedField, LogId, LogMarks, Question, Search, Storage,
};
use std::collections::{BTreeMap, BTreeSet};

/// Small state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Small {
    pub(crate) accounts: BTreeMap<u64, Account>,
    domains: BTreeSet<String>,
    fences: BTreeMap<u64, u64>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Account {
    generation: u64,
    roster: BTreeSet<String>,
    version: u64,
    executed: Vec<Executed>,
    devices: Vec<Device>,
    marks: LogMarks,
    blob: Option<Vec<u8>>,
    /// By what it is found.
    nicks: Vec<String>,
}

impl Small {
    /// As a restored store has it: sessions and tokens went on without it.
    pub(crate) fn restored(&self) -> Small {
        let mut restored = self.clone();
        restored.accounts.values_mut().for_each(|account| (account.executed, account.devices) = Default::default());
        restored
    }

    /// Every slot is owned under the epoch of this start.
    pub(crate) fn boot(&mut self, epoch: u64) {
        assert!(self.fences.values().all(|taken| *taken < epoch), "an epoch came back: {epoch}");
        self.fences = (0..SLOTS).map(|slot| (slot, epoch)).collect();
    }

    /// Does what the store must do, and says what it must answer.
    pub(crate) fn apply(&mut self, op: &Op) -> Outcome {
        let fence = self.fences.entry(op.account % SLOTS).or_default();
        if op.epoch < *fence {
            return Outcome::Fenced;
        }
        match (op.what, self.accounts.contains_key(&op.account)) {
            (What::Create, true) => return Outcome::Exists,
            (What::Create | What::Domain | What::Undomain | What::Take, _) => {}
            (_, false) => return Outcome::NoAccount,
            (_, true) => {}
        }
        *fence = op.epoch;
        let value = op.value;
        match op.what {
            What::Delete => drop(self.accounts.remove(&op.account)),
            What::Domain => drop(self.domains.insert(domain(value % 5))),
            What::Undomain => drop(self.domains.remove(&domain(value % 5))),
            What::Take | What::Append | What::Again => {}
            _ => {
                let account = self.accounts.entry(op.account).or_default();
                match op.what {
                    What::Create | What::Rekey => account.generation = value,
                    What::Fill => {
                        account.roster.extend([contact(value % 7), contact(value % 11)]);
                        account.version = value;
                        account.executed = vec![executed(5, &[value])];
                        account.devices = vec![device(6, value)];
                    }
                    What::Unfill => {
                        account.roster.remove(&contact(value % 7));
                        account.roster.remove(&contact(value % 11));
                        account.version = value;
                    }
                    What::Marks => account.marks = marks(value),
                    What::Blob => (account.blob, account.nicks) = (Some(blob(value)), vec![nick(value)]),
                    What::Unblob => (account.blob, account.nicks) = (None, Vec::new()),
                    _ => {}
                }
            }
        }
        Outcome::Applied
    }

    /// The same, read from a store. Epochs cannot be read: they are what [`Small::boot`] says.
    pub(crate) fn read(storage: &Storage, boot: &Boot) -> Small {
        let mut small = Small::default();
        for number in 0..ACCOUNTS {
            let load = Ask::Load { account: account(number) };
            let Answer::Loaded(found) = ask(storage, number, load) else { panic!("account {number} is unreadable") };
            let Some(snapshot) = found else { continue };
            let load = Ask::LoadBlob { account: account(number), blob: Blob::VCard };
            let Answer::Blob(blob) = ask(storage, number, load) else { panic!("blob of {number} is unreadable") };
            let mut marks = snapshot.marks;
            if marks.low_water.0 < 1 << 60 {
                // Never stored: it begins where the account does.
                marks = LogMarks::default();
            }
            let account = Account {
                generation: snapshot.credentials.generation,
                roster: snapshot.roster.iter().map(|item| item.contact.to_string()).collect(),
                version: snapshot.roster_version,
                executed: snapshot.executed,
                devices: snapshot.devices,
                marks,
                blob,
                nicks: Vec::new(),
            };
            small.accounts.insert(number, account);
        }
        let terms = vec![(ListedField::Nick, "nick".to_owned())];
        let search = Search { domain: "example.org".to_owned(), terms, after: None, limit: u32::MAX };
        let Answer::Found(Some(found)) = ask(storage, 0, Ask::Search { search }) else { panic!("nobody is searched") };
        for (jid, listing) in found {
            let number = (0..ACCOUNTS).find(|number| account(*number) == jid).unwrap();
            let account = small.accounts.get_mut(&number).unwrap_or_else(|| panic!("{jid} is listed and not there"));
            account.nicks.extend(listing.nick.map(String::from));
        }
        small.domains = boot.domains.iter().map(|record| record.domain.clone()).collect();
        small
    }

    /// Whether all but the epochs is the same.
    pub(crate) fn looks_like(&self, other: &Small) -> bool {
        (&self.accounts, &self.domains) == (&other.accounts, &other.domains)
    }
}

fn ask(storage: &Storage, number: u64, ask: Ask) -> Answer {
    storage.answer(Question { id: 0, slot: slot_of(number), epoch: u64::MAX, ask }).answer
}

/// An account's messages, id and text.
pub(crate) fn messages(storage: &Storage, number: u64) -> Vec<(u64, String)> {
    let mut found: Vec<(u64, String)> = Vec::new();
    loop {
        let after = LogId(found.last().map_or(0, |(id, _)| *id));
        match ask(storage, number, Ask::ReadLog { account: account(number), after, limit: 1000 }) {
            Answer::Records(records) if records.is_empty() => return found,
            Answer::Records(records) => {
                found.extend(records.iter().map(|r| (r.id.0, r.stanza.view().id.unwrap().to_owned())));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The messages of all accounts that exist.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) BTreeMap<u64, Vec<(u64, String)>>);

impl Log {
    pub(crate) fn appended(&mut self, op: &Op, id: u64) {
        let mine = self.0.entry(op.account).or_default();
        assert!(mine.last().is_none_or(|(last, _)| *last < id), "ids grow");
        assert!(mine.iter().all(|(_, text)| *text != body(op)), "{op:?} is there twice");
        mine.push((id, body(op)));
    }

    /// The account was made or deleted: a new one has nothing of what was asked before. Another thread of the store may
    /// have answered an append to it already.
    pub(crate) fn forget(&mut self, op: &Op, asked_by: &BTreeMap<u64, u64>) {
        if let Some(mine) = self.0.get_mut(&op.account) {
            mine.retain(|(id, _)| asked_by.get(id).is_some_and(|by| *by > op.id));
        }
    }

    /// It was there, durably.
    pub(crate) fn already(&self, op: &Op, id: u64) {
        let mine = self.0.get(&op.account).map_or(&[][..], Vec::as_slice);
        assert!(mine.contains(&(id, body(op))), "{op:?} was not there");
    }

    /// It was not, but something that its stream asked for later.
    pub(crate) fn overtaken(&self, op: &Op) {
        let mine = self.0.get(&op.account).map_or(&[][..], Vec::as_slice);
        assert!(mine.iter().all(|(_, text)| *text != body(op)), "{op:?} was there");
        let later = mine.iter().any(|(_, text)| {
            let (value, first) = text.split(' ').next().and_then(|name| name.split_once('.')).unwrap();
            value.parse::<u64>().unwrap() % STREAMS == op.value % STREAMS && first.parse::<u64>().unwrap() > op.first
        });
        assert!(later, "nothing came before {op:?}");
    }

    /// Everything acknowledged is found, nothing twice; what else is found was asked for, whole and in the order asked.
    pub(crate) fn check(&self, number: u64, found: &[(u64, String)], unanswered: &[Op]) {
        let mut rest = unanswered.iter().filter(|op| op.is_append() && op.account == number);
        assert!(found.is_sorted_by(|a, b| a.0 < b.0));
        let texts: BTreeSet<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts.len(), found.len(), "user{number} has a message twice");
        let known = self.0.get(&number).map_or(&[][..], Vec::as_slice);
        for message in known {
            assert!(found.contains(message), "user{number} lost {message:?}");
        }
        for message in found.iter().filter(|message| !known.contains(message)) {
            assert!(rest.any(|op| body(op) == message.1), "user{number} has {message:?}, which nobody asked for");
        }
    }
}
