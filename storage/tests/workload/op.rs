//! What the child asks, as a line of text between the processes.

use crate::suite::{credentials, device, executed, item, jid, message, slot};
use hearth_storage::{Answer, Ask, Blob, Change, DomainRecord, Listing, LogId, LogMarks, NewRecord, Question, Refusal};
use hearth_wire::BareJid;
use hearth_wire::ids::{IngestId, StreamId};

pub(crate) const ACCOUNTS: u64 = 9;
pub(crate) const SLOTS: u64 = 3;

/// One question: what, of which account or domain, under which epoch, and a number that says the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Op {
    pub(crate) id: u64,
    pub(crate) what: What,
    pub(crate) account: u64,
    pub(crate) epoch: u64,
    pub(crate) value: u64,
    /// Of an append: the id it had when it was asked first.
    pub(crate) first: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Create,
    Rekey,
    Delete,
    /// Two contacts, the version, and whose stanza it was, which never part.
    Fill,
    Unfill,
    Marks,
    Blob,
    Unblob,
    Domain,
    Undomain,
    Take,
    Append,
    /// Of a message that may be there.
    Again,
}

pub(crate) const ALL: [What; 13] = [
    What::Create,
    What::Rekey,
    What::Delete,
    What::Fill,
    What::Unfill,
    What::Marks,
    What::Blob,
    What::Unblob,
    What::Domain,
    What::Undomain,
    What::Take,
    What::Append,
    What::Again,
];

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Applied,
    Appended(u64),
    Already(u64),
    Overtaken,
    Exists,
    NoAccount,
    Fenced,
}

pub(crate) fn account(number: u64) -> BareJid {
    jid(&format!("user{number}@example.org"))
}

pub(crate) fn contact(number: u64) -> String {
    format!("contact{number}@example.net")
}

pub(crate) fn domain(number: u64) -> String {
    format!("domain{number}.example")
}

pub(crate) fn slot_of(account: u64) -> hearth_wire::ids::Slot {
    slot(u16::try_from(account % SLOTS).unwrap())
}

/// How many streams send messages.
pub(crate) const STREAMS: u64 = 251;

pub(crate) fn body(op: &Op) -> String {
    format!("{}.{} {}", op.value, op.first, "x".repeat(usize::try_from(op.value % 3_000).unwrap()))
}

pub(crate) fn blob(value: u64) -> Vec<u8> {
    vec![u8::try_from(value % 251).unwrap(); usize::try_from(value % 40_000).unwrap()]
}

/// What a blob comes with in the directory.
pub(crate) fn nick(value: u64) -> String {
    format!("nick{value}")
}

/// Above every place of the log, so that what is stored is what was put.
pub(crate) fn marks(value: u64) -> LogMarks {
    let low = 1 << 60 | value;
    LogMarks { low_water: LogId(low), undelivered: (1..=value % 5).rev().map(|n| LogId(low - n)).collect() }
}

impl Op {
    pub(crate) fn is_append(&self) -> bool {
        matches!(self.what, What::Append | What::Again)
    }

    pub(crate) fn question(&self) -> Question {
        let Op { id, account: number, epoch, value, .. } = *self;
        let account = || account(number);
        let changes = match self.what {
            What::Append | What::Again => {
                let stream = StreamId([u8::try_from(value % STREAMS).unwrap(); 16]);
                let ingest = Some(IngestId { stream, number: self.first });
                let record = NewRecord { account: account(), ingest, received_ms: 1_000, stanza: message(&body(self)) };
                let again = self.what == What::Again;
                let ask = if again { Ask::AppendAgain { record } } else { Ask::Append { record } };
                return Question { id, slot: slot_of(number), epoch, ask };
            }
            What::Create => vec![Change::CreateAccount { account: account(), credentials: credentials(value) }],
            What::Rekey => vec![Change::SetCredentials { account: account(), credentials: credentials(value) }],
            What::Delete => vec![Change::DeleteAccount { account: account() }],
            What::Fill => {
                let put = |n| Change::PutRosterItem { account: account(), item: item(&contact(n)) };
                let version = Change::PutRosterVersion { account: account(), version: value };
                let executed = Change::PutExecuted { account: account(), executed: executed(5, &[value]) };
                let device = Change::PutDevice { account: account(), device: device(6, value) };
                vec![put(value % 7), version, executed, device, put(value % 11)]
            }
            What::Unfill => {
                let remove = |n| Change::RemoveRosterItem { account: account(), contact: jid(&contact(n)) };
                vec![
                    remove(value % 7),
                    remove(value % 11),
                    Change::PutRosterVersion { account: account(), version: value },
                ]
            }
            What::Marks => vec![Change::PutMarks { account: account(), marks: marks(value) }],
            What::Blob => {
                let bytes = Some(blob(value));
                let listing = Some(Listing { nick: Some(nick(value).into()), ..Listing::default() });
                vec![
                    Change::PutBlob { account: account(), blob: Blob::VCard, bytes },
                    Change::PutListing { account: account(), listing },
                ]
            }
            What::Unblob => vec![
                Change::PutBlob { account: account(), blob: Blob::VCard, bytes: None },
                Change::PutListing { account: account(), listing: None },
            ],
            What::Domain => vec![Change::PutDomain { domain: DomainRecord::new(domain(value % 5)) }],
            What::Undomain => vec![Change::RemoveDomain { domain: domain(value % 5) }],
            What::Take => Vec::new(),
        };
        Question { id, slot: slot_of(number), epoch, ask: Ask::Apply { changes } }
    }

    pub(crate) fn line(&self) -> String {
        let what = ALL.iter().position(|what| *what == self.what).unwrap();
        format!("q {} {what} {} {} {} {}", self.id, self.account, self.epoch, self.value, self.first)
    }

    /// `None`: not a whole line of this kind.
    pub(crate) fn parse(line: &str) -> Option<Op> {
        let fields: Vec<u64> = line.strip_prefix("q ")?.split(' ').map_while(|field| field.parse().ok()).collect();
        let [id, what, account, epoch, value, first] = fields[..] else { return None };
        Some(Op { id, what: *ALL.get(usize::try_from(what).ok()?)?, account, epoch, value, first })
    }
}

impl Outcome {
    pub(crate) fn of(answer: &Answer) -> Outcome {
        match answer {
            Answer::Applied => Outcome::Applied,
            Answer::Appended(LogId(id)) => Outcome::Appended(*id),
            Answer::Already(LogId(id)) => Outcome::Already(*id),
            Answer::Overtaken => Outcome::Overtaken,
            Answer::Refused(Refusal::Exists) => Outcome::Exists,
            Answer::Refused(Refusal::NoAccount) => Outcome::NoAccount,
            Answer::Refused(Refusal::Fenced) => Outcome::Fenced,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn line(self, id: u64) -> String {
        match self {
            Outcome::Applied => format!("a {id} applied 0"),
            Outcome::Appended(at) => format!("a {id} appended {at}"),
            Outcome::Already(at) => format!("a {id} already {at}"),
            Outcome::Overtaken => format!("a {id} overtaken 0"),
            Outcome::Exists => format!("a {id} exists 0"),
            Outcome::NoAccount => format!("a {id} absent 0"),
            Outcome::Fenced => format!("a {id} fenced 0"),
        }
    }

    pub(crate) fn parse(line: &str) -> Option<(u64, Outcome)> {
        let fields: Vec<&str> = line.strip_prefix("a ")?.split(' ').collect();
        let [id, what, at] = fields[..] else { return None };
        let outcome = match what {
            "applied" => Outcome::Applied,
            "appended" => Outcome::Appended(at.parse().ok()?),
            "already" => Outcome::Already(at.parse().ok()?),
            "overtaken" => Outcome::Overtaken,
            "exists" => Outcome::Exists,
            "absent" => Outcome::NoAccount,
            "fenced" => Outcome::Fenced,
            _ => return None,
        };
        Some((id.parse().ok()?, outcome))
    }
}
