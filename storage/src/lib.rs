//! What survives a restart: a question in, an answer out, never a blocking call for a shard.
//!
//! ```text
//!  shard ──Question──▶ reader thread ──▶ redb snapshot reads, log reads ──Answer──▶ shard
//!        ──Question──▶ writer thread ──▶ redb, one commit for all that waits ──Answer──▶
//!        ──Question──▶ log thread    ──▶ segment append, one fdatasync for all that waits ──Answer──▶
//! ```
//!
//! Promises: an answer other than `Failed` to a write means it is durable; writes of one account are
//! applied in the order they were asked; a read sees every write whose answer was given before it was
//! asked; kill -9 at any point loses nothing that was answered. Stored tables are keyed by slot, never
//! by shard. Records are postcard structs behind a version byte.

use hearth_wire::BareJid;
use hearth_wire::ids::{IngestId, Slot, SlotEpoch, SlotKey};
use hearth_wire::stanza::SharedStanza;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a question among those of one shard; the answer repeats it.
pub type QuestionId = u64;

/// One question of a shard.
#[derive(Clone, Debug)]
pub struct Question {
    pub id: QuestionId,
    pub slot: Slot,
    /// Under which ownership the shard asks; a write under an older epoch than the slot's is fenced.
    pub epoch: SlotEpoch,
    pub ask: Ask,
}

/// What a shard may ask.
#[derive(Clone, Debug)]
pub enum Ask {
    /// All working state of an account, in one read → `Loaded`.
    Load { account: BareJid },
    /// All of it or nothing, in one commit shared with whoever else waits → `Applied`, or `Refused`
    /// when a precondition ([`Change::CreateAccount`]) does not hold.
    Apply { changes: Vec<Change> },
    /// → `Blob`.
    LoadBlob { account: BareJid, blob: Blob },
    /// → `Appended`, once durable. Records of one account get growing ids in the order asked.
    Append { record: NewRecord },
    /// Records of an account with id > `after`, oldest first, at most `limit` → `Records`.
    ReadLog { account: BareJid, after: LogId, limit: u32 },
    /// Accounts of a domain with address > `after`, in order, at most `limit` → `Accounts`.
    ListAccounts { domain: String, after: Option<BareJid>, limit: u32 },
}

/// One change of small state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Refused with [`Refusal::Exists`] if the account exists.
    CreateAccount {
        account: BareJid,
        credentials: Credentials,
    },
    /// Refused with [`Refusal::NoAccount`] if it does not exist.
    SetCredentials {
        account: BareJid,
        credentials: Credentials,
    },
    /// Removes everything stored of the account, log marks and blobs included.
    DeleteAccount {
        account: BareJid,
    },
    PutRosterItem {
        account: BareJid,
        item: RosterItem,
    },
    RemoveRosterItem {
        account: BareJid,
        contact: BareJid,
    },
    PutRosterVersion {
        account: BareJid,
        version: u64,
    },
    /// A subscription request that waits for the user's answer, kept whole (RFC 6121 §3.1.3).
    PutRequest {
        account: BareJid,
        request: StoredRequest,
    },
    RemoveRequest {
        account: BareJid,
        contact: BareJid,
    },
    PutMarks {
        account: BareJid,
        marks: LogMarks,
    },
    /// `None` removes it.
    PutBlob {
        account: BareJid,
        blob: Blob,
        bytes: Option<Vec<u8>>,
    },
    PutDomain {
        domain: DomainRecord,
    },
    RemoveDomain {
        domain: String,
    },
}

/// Larger things that no login needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Blob {
    /// XEP-0054, the `<vCard/>` element as an encoded tree.
    VCard,
}

/// The answer to one question.
#[derive(Clone, Debug)]
pub struct Answered {
    pub id: QuestionId,
    pub answer: Answer,
}

#[derive(Clone, Debug)]
pub enum Answer {
    /// `None`: no such account.
    Loaded(Option<Box<Snapshot>>),
    Applied,
    Refused(Refusal),
    Blob(Option<Vec<u8>>),
    Appended(LogId),
    Records(Vec<LogRecord>),
    Accounts(Vec<BareJid>),
    /// Nothing was changed. The message is for the operator.
    Failed(StoreError),
}

/// A precondition did not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    Exists,
    NoAccount,
    /// Another shard owns the slot by now.
    Fenced,
}

/// Everything a shard needs of an account to serve it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    pub credentials: Credentials,
    pub roster: Vec<RosterItem>,
    pub roster_version: u64,
    pub requests: Vec<StoredRequest>,
    pub marks: LogMarks,
    /// Whether the log holds any record of the account above `marks.low_water`.
    pub log_above_mark: bool,
}

/// Keys that prove a password without being it (RFC 5802 §3); the password itself is never stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Grows with every change, so that sessions and tokens of an older password are told apart.
    pub generation: u64,
    pub sha1: ScramKeys,
    pub sha256: ScramKeys,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials {{ generation: {}, .. }}", self.generation)
    }
}

/// RFC 5802 §3 for one hash function.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramKeys {
    pub iterations: u32,
    #[serde(with = "serde_bytes")]
    pub salt: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub stored_key: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub server_key: Vec<u8>,
}

/// RFC 6121 §2.1.2.5, without the pending-in states, which are [`StoredRequest`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Subscription {
    #[default]
    None,
    To,
    From,
    Both,
}

/// RFC 6121 §2.1.2.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RosterItem {
    pub contact: BareJidText,
    pub name: Option<Box<str>>,
    pub groups: Vec<Box<str>>,
    pub subscription: Subscription,
    /// `ask='subscribe'` (§2.1.2.2): a request of ours is under way.
    pub ask: bool,
    /// Pre-approved (§3.4).
    pub approved: bool,
}

/// A bare JID in a record: prepared when written.
pub type BareJidText = Box<str>;

/// A subscription request as it came (RFC 6121 §3.1.3).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredRequest {
    pub contact: BareJidText,
    /// The presence stanza, encoded.
    #[serde(with = "serde_bytes")]
    pub stanza: Vec<u8>,
    pub received_ms: u64,
}

/// Place of a record in the log; grows with time, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LogId(pub u64);

/// What of an account's log was delivered: everything up to `low_water` but `undelivered`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogMarks {
    pub low_water: LogId,
    pub undelivered: Vec<LogId>,
}

/// A message on its way into the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// Whose log: the recipient's.
    pub account: BareJid,
    /// Which client stanza it was, to recognise it when an edge sends it again.
    pub ingest: Option<IngestId>,
    /// Milliseconds since 1970, UTC, when the core received it.
    pub received_ms: u64,
    pub stanza: SharedStanza,
}

/// A message in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    pub id: LogId,
    pub ingest: Option<IngestId>,
    pub received_ms: u64,
    pub stanza: SharedStanza,
}

/// A domain is data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DomainRecord {
    pub domain: String,
    /// Messages for available sessions are settled when handed over, only offline ones are stored.
    pub log_off: bool,
    /// XEP-0077 registration of accounts by anybody.
    pub registration: bool,
}

/// What a core reads once when it starts, before any shard runs.
#[derive(Clone, Debug)]
pub struct Boot {
    pub slot_key: SlotKey,
    /// Secret behind fake salts and sealed capsules; made when the store was created.
    pub secret: [u8; 32],
    /// Epoch of this start: higher than any before, already stored.
    pub epoch: SlotEpoch,
    pub domains: Vec<DomainRecord>,
}

/// The world failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The files are of a schema this build does not know.
    UnknownVersion {
        found: u32,
        known: u32,
    },
    /// Another process has the store open.
    Locked {
        path: String,
    },
    Io {
        doing: &'static str,
        cause: String,
    },
    Corrupt {
        what: String,
    },
    Full,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::UnknownVersion { found, known } => write!(
                f,
                "the store has schema version {found}, this build knows {known}: install the release that wrote it, or a later one"
            ),
            StoreError::Locked { path } => write!(f, "{path} is in use by another process: stop it first"),
            StoreError::Io { doing, cause } => write!(f, "{doing}: {cause}"),
            StoreError::Corrupt { what } => write!(f, "damaged: {what}; restore a backup"),
            StoreError::Full => f.write_str("no space left on the device of the store"),
        }
    }
}

impl std::error::Error for StoreError {}
