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
//!
//! ```text
//!  lib.rs      questions and answers        store.rs    SmallStore, LogStore: what an engine must do
//!  engine.rs   a question to its answer     memory.rs   both in memory: simulator, tests
//!  runtime.rs  the threads, group commit    redb.rs     small state on disk, hearth.redb
//!  tables.rs   keys, tables, changes        log/        messages on disk, segments
//!  record.rs   what lies in the tables      faulty.rs   any of them, failing where told
//!  device.rs   clients that prove tokens
//!  listing.rs  who may be found, by what     health.rs  slow, full, failing; reserve.rs  room for then
//!  backup/     a copy of a store in use, and back
//! ```
//!
//! Driving it:
//! ```
//! use hearth_storage::{Answer, Ask, Question, Storage};
//! use hearth_wire::{BareJid, ids::Slot};
//! let (storage, boot) = Storage::memory().unwrap();
//! let (answers, answered) = crossbeam_channel::unbounded();
//! let handle = storage.start(1, move |_shard, batch| answers.send(batch).unwrap()).unwrap();
//! let account = BareJid::parse("ada@example.org").unwrap();
//! let slot = boot.slot_key.slot(account.as_str());
//! handle.ask(0, vec![Question { id: 7, slot, epoch: boot.epoch, ask: Ask::Load { account } }]).unwrap();
//! let batch = answered.recv().unwrap();
//! assert!(batch[0].id == 7 && matches!(batch[0].answer, Answer::Loaded(None)));
//! handle.shutdown().unwrap();
//! ```

pub mod backup;
mod device;
pub mod disk;
mod engine;
pub mod faulty;
mod health;
pub mod limits;
mod listing;
pub mod log;
mod look_alike;
pub mod memory;
mod record;
pub mod redb;
mod reserve;
mod runtime;
mod store;
mod tables;

pub use self::redb::RedbConfig;
pub use device::{Device, TOKEN_BYTES, Token, TokenBinding};
pub use disk::{DirLock, Disk, DiskFaults, Sync};
pub use engine::{Storage, StorageConfig};
pub use health::{COMMIT_BOUNDS_MS, Condition, Health, LaneFigures};
pub use listing::{Found, ListedField, Listing, Search, fold};
pub use log::LogConfig;
pub use runtime::{Refused, StorageHandle};
pub use store::{Append, ChangeSet, Denied, Fresh, LogStore, Made, SmallStore};

use hearth_wire::BareJid;
use hearth_wire::ids::{EdgeIncarnation, Generation, IngestId, ShardIndex, Slot, SlotEpoch, SlotKey, StreamId};
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
    /// when a precondition does not hold: see [`Refusal`]. All accounts named are of the
    /// question's slot. Under an epoch newer than any before (also with no changes at all) it takes
    /// the slot: once answered, every older epoch is fenced, in the log too.
    Apply { changes: Vec<Change> },
    /// → `Blob`.
    LoadBlob { account: BareJid, blob: Blob },
    /// → `Appended`, once durable. Records of one account get growing ids in the order asked.
    Append { record: NewRecord },
    /// An append that may have been made before a crash or the loss of a link → `Already` if the account's log
    /// holds the record: the same ingest id and the same stanza, every append asked before included; `Overtaken` if it
    /// holds only later ones of that stream. Else, and for a record without an ingest id, like `Append`. Looked for are the account's newest records, back to
    /// [`limits::AGAIN_RECORDS_MAX`], [`limits::AGAIN_AGE_MS`] and [`limits::AGAIN_SEGMENTS_MAX`].
    AppendAgain { record: NewRecord },
    /// Records of an account with id > `after`, oldest first, at most `limit` → `Records`. Fewer come
    /// back also where they would pass [`limits::READ_BYTES_MAX`]: only an empty answer is the end.
    /// Records of an earlier account of the same name are never among them.
    ReadLog { account: BareJid, after: LogId, limit: u32 },
    /// Accounts of a domain with address > `after`, in order, at most `limit` → `Accounts`.
    ListAccounts { domain: String, after: Option<BareJid>, limit: u32 },
    /// → `Found`.
    Search { search: Search },
}

/// One change of small state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Refused with [`Refusal::Exists`] if the account exists. Its log begins here: messages are
    /// appended for it only after this was answered.
    CreateAccount {
        account: BareJid,
        credentials: Credentials,
    },
    /// Changes nothing: ahead of the creation of an account it refuses the whole with [`Refusal::LooksLike`] if an account of
    /// the domain looks like it (UTS #39). Names in ASCII alone are never compared with each other.
    MustNotLookAlike {
        account: BareJid,
    },
    /// This and every change below that names an account is refused with [`Refusal::NoAccount`] if
    /// it does not exist.
    SetCredentials {
        account: BareJid,
        credentials: Credentials,
    },
    /// `None` enables it again.
    PutDisabled {
        account: BareJid,
        disabled: Option<Disabled>,
    },
    /// Removes everything stored of the account, log marks, blobs and listing included.
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
    /// Replaces what was known of its last presence.
    PutLastSeen {
        account: BareJid,
        seen: LastSeen,
    },
    /// A session of the account, or what has changed of it.
    PutSession {
        account: BareJid,
        session: SessionRecord,
    },
    RemoveSession {
        account: BareJid,
        stream: StreamId,
    },
    /// An address the account wants nothing of (XEP-0191): a prepared JID of any form.
    PutBlocked {
        account: BareJid,
        jid: Box<str>,
    },
    RemoveBlocked {
        account: BareJid,
        jid: Box<str>,
    },
    /// Stanzas of a session that changed the account, this change among them; takes the place of what was kept of
    /// the session.
    PutExecuted {
        account: BareJid,
        executed: Executed,
    },
    /// Nobody sends stanzas of the session again. Not when it ends: an edge that has not heard may return it to the
    /// next core.
    RemoveExecuted {
        account: BareJid,
        stream: StreamId,
    },
    /// An installation of a client and its tokens, or what has changed of them.
    PutDevice {
        account: BareJid,
        device: Device,
    },
    /// Nobody proves a token of it any more.
    RemoveDevice {
        account: BareJid,
        id: [u8; 16],
    },
    /// `None` removes it.
    PutBlob {
        account: BareJid,
        blob: Blob,
        bytes: Option<Vec<u8>>,
    },
    /// What others may find the account by; `None` takes it out of the directory.
    PutListing {
        account: BareJid,
        listing: Option<Listing>,
    },
    PutDomain {
        domain: DomainRecord,
    },
    RemoveDomain {
        domain: String,
    },
    /// Adds an edge, or replaces what is kept of its name.
    PutEdge {
        edge: EdgeRecord,
    },
    /// This run of an edge is linked; it takes the place of an earlier one.
    PutEdgeRun {
        run: EdgeRun,
    },
    /// No run of the edge is.
    RemoveEdgeRun {
        edge: String,
    },
    /// What a shard knows of its sessions of earlier epochs is stored: see [`Boot::settled`].
    PutSettled {
        shard: ShardIndex,
        settled: Settled,
    },
}

impl Change {
    /// The account it is about, if any.
    pub fn account(&self) -> Option<&BareJid> {
        match self {
            Change::CreateAccount { account, .. }
            | Change::MustNotLookAlike { account }
            | Change::SetCredentials { account, .. }
            | Change::DeleteAccount { account }
            | Change::PutRosterItem { account, .. }
            | Change::RemoveRosterItem { account, .. }
            | Change::PutRosterVersion { account, .. }
            | Change::PutRequest { account, .. }
            | Change::RemoveRequest { account, .. }
            | Change::PutMarks { account, .. }
            | Change::PutLastSeen { account, .. }
            | Change::PutSession { account, .. }
            | Change::RemoveSession { account, .. }
            | Change::PutDisabled { account, .. }
            | Change::PutBlocked { account, .. }
            | Change::RemoveBlocked { account, .. }
            | Change::PutExecuted { account, .. }
            | Change::RemoveExecuted { account, .. }
            | Change::PutDevice { account, .. }
            | Change::RemoveDevice { account, .. }
            | Change::PutBlob { account, .. }
            | Change::PutListing { account, .. } => Some(account),
            Change::PutDomain { .. }
            | Change::RemoveDomain { .. }
            | Change::PutEdge { .. }
            | Change::PutEdgeRun { .. }
            | Change::RemoveEdgeRun { .. }
            | Change::PutSettled { .. } => None,
        }
    }

    /// Whether a store that is not well should still be asked for it: small, and what operators and
    /// deliveries cannot do without. [`limits::RESERVE_BYTES`] is room for these.
    pub fn is_urgent(&self) -> bool {
        match self {
            Change::SetCredentials { .. }
            | Change::PutDisabled { .. }
            | Change::DeleteAccount { .. }
            | Change::PutMarks { .. }
            | Change::PutLastSeen { .. }
            | Change::PutSession { .. }
            | Change::RemoveSession { .. }
            | Change::PutExecuted { .. }
            | Change::RemoveExecuted { .. }
            | Change::RemoveDevice { .. }
            | Change::RemoveDomain { .. }
            | Change::PutEdge { .. }
            | Change::PutEdgeRun { .. }
            | Change::RemoveEdgeRun { .. }
            | Change::PutSettled { .. } => true,
            // Tokens are ended whatever the disk is like; others can wait.
            Change::PutDevice { device, .. } => device.is_ended(),
            Change::CreateAccount { .. }
            | Change::MustNotLookAlike { .. }
            | Change::PutRosterItem { .. }
            | Change::RemoveRosterItem { .. }
            | Change::PutRosterVersion { .. }
            | Change::PutRequest { .. }
            | Change::RemoveRequest { .. }
            | Change::PutBlocked { .. }
            | Change::RemoveBlocked { .. }
            | Change::PutBlob { .. }
            | Change::PutListing { .. }
            | Change::PutDomain { .. } => false,
        }
    }
}

/// Larger things that no login needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Blob {
    /// XEP-0054, the `<vCard/>` element as an encoded tree.
    VCard,
    /// XEP-0049, a forest of elements.
    Private,
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
    /// The log holds the record, durably, under this id; nothing was appended.
    Already(LogId),
    /// The log does not hold the record, but one that its sender sent later; nothing was appended, for it would come out
    /// of order.
    Overtaken,
    Records(Vec<LogRecord>),
    Accounts(Vec<BareJid>),
    Found(Found),
    /// Nothing was changed, as far as the store can know: where a device fails within a commit and
    /// stays away, that commit may be found when it comes back, so what is held of the account
    /// is loaded anew before it is changed again. The message is for the operator; the sender gets a
    /// retryable error.
    Failed(StoreError),
}

/// A precondition did not hold; nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// [`Change::CreateAccount`] of one that exists.
    Exists,
    /// [`Change::MustNotLookAlike`] of one that does: like this one, or like so many names that nobody looks for them all.
    LooksLike(Option<BareJid>),
    /// A change of an account that does not exist.
    NoAccount,
    /// The question's epoch is older than the slot's: another shard owns it by now.
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
    /// `None`: it is enabled.
    pub disabled: Option<Disabled>,
    /// `None`: never was there.
    pub last_seen: Option<LastSeen>,
    /// Addresses the account wants nothing of (XEP-0191), sorted.
    pub blocked: Vec<Box<str>>,
    /// Of sessions that changed the account of late: what of it their edges may send again.
    pub executed: Vec<Executed>,
    /// Clients that have tokens, by id.
    pub devices: Vec<Device>,
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
    pub sha512: ScramKeys,
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

/// When the last available resource of an account went, and what it said (XEP-0012 §3, RFC 6121
/// §4.3.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastSeen {
    /// Milliseconds since 1970, UTC.
    pub at_ms: u64,
    /// Text of the last unavailable presence's `<status/>`, if it had one.
    pub status: Option<Box<str>>,
}

/// That an account may not be used, by the operator's word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disabled {
    /// Milliseconds since 1970, UTC.
    pub since_ms: u64,
    /// For the operators, at most [`limits::REASON_BYTES_MAX`].
    pub reason: Option<Box<str>>,
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

/// A domain is data. `None` stands for the core's own default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DomainRecord {
    pub domain: String,
    /// Switches that somebody set, by name, sorted. The core knows their meaning and what holds for
    /// those that are not here.
    pub switches: Vec<(String, bool)>,
    pub registration_rules: RegistrationRules,
    pub contacts: Contacts,
}

impl DomainRecord {
    /// A domain with nothing set.
    pub fn new(domain: impl Into<String>) -> DomainRecord {
        DomainRecord { domain: domain.into(), ..DomainRecord::default() }
    }

    /// Sets a switch.
    pub fn set(&mut self, name: &str, on: bool) {
        match self.switches.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
            Ok(at) => {
                if let Some(switch) = self.switches.get_mut(at) {
                    switch.1 = on;
                }
            }
            Err(at) => self.switches.insert(at, (name.to_owned(), on)),
        }
    }

    /// A switch, if somebody set it.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.switches.iter().find(|(known, _)| known == name).map(|(_, on)| *on)
    }
}

/// Stanzas of one session that changed its account: sent again, they are not executed again. In the commit of the
/// change, so that they are known if and only if it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    pub stream: StreamId,
    /// Generation of the credentials that the session itself gave the account: it goes on under them, unlike others.
    pub credentials: Option<u64>,
    /// In order, at most [`limits::EXECUTED_MAX`].
    pub stanzas: Vec<ExecutedStanza>,
}

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExecutedStanza {
    /// The edge's count of what its client sent.
    pub number: u64,
    /// Of the stanza: a client that resumes a session may send another under this number.
    pub hash: [u8; 4],
}

/// An edge that may link over TLS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EdgeRecord {
    pub name: String,
    /// Its public key, SubjectPublicKeyInfo in DER.
    #[serde(with = "serde_bytes")]
    pub key: Vec<u8>,
    /// Milliseconds since 1970, UTC.
    pub added_ms: u64,
    /// Since when its key opens nothing any more.
    pub revoked_ms: Option<u64>,
}

/// One run of an edge that is or was linked: it may have sessions for the next core to adopt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EdgeRun {
    pub edge: String,
    pub incarnation: EdgeIncarnation,
    pub event_loops: u16,
}

/// Of one shard: the epoch in which it had stored all that it knew of older sessions, and how many shards there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settled {
    pub epoch: SlotEpoch,
    pub shards: ShardIndex,
}

/// A session that the next core must know of: it will be attached, resumed, or told of as gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    pub stream: StreamId,
    /// At bind, or when it was resumed last.
    pub generation: Generation,
    /// What the session is, in the core's own form: as in its capsule.
    #[serde(with = "serde_bytes")]
    pub contents: Vec<u8>,
    /// It has no socket, and its client may resume it (XEP-0198).
    pub parked: Option<ParkedRecord>,
}

/// Where a session without a socket stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ParkedRecord {
    /// Milliseconds since 1970, UTC: then it ends.
    pub until_ms: u64,
    /// Inbound: the last stanza of its client that is settled.
    pub settled: u64,
    /// Outbound: the last entry it was sent, the last that its client acknowledged, and those between that lie in
    /// the log.
    pub entry: u64,
    pub written: u64,
    pub unwritten: Vec<(u64, LogId)>,
    /// The greatest log id it was sent.
    pub log: LogId,
}

/// What bounds registration and passwords where users choose them in-band (XEP-0077). `None` stands
/// for the core's own default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RegistrationRules {
    /// Accounts from one address (IPv6: one /64) per hour.
    pub per_address: Option<u32>,
    /// Accounts per hour from everywhere.
    pub per_hour: Option<u32>,
    /// Characters of a password, at least.
    pub password_chars_min: Option<u32>,
    /// Localparts that nobody may register, prepared.
    pub reserved: Option<Vec<String>>,
}

/// Addresses of those who run a domain, by role, as URIs (XEP-0157). A configuration may leave roles out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contacts {
    pub abuse: Vec<String>,
    pub admin: Vec<String>,
    pub feedback: Vec<String>,
    pub sales: Vec<String>,
    pub security: Vec<String>,
    pub status: Vec<String>,
    pub support: Vec<String>,
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
    pub edges: Vec<EdgeRecord>,
    /// Runs of edges that were linked to the core before this one.
    pub edge_runs: Vec<EdgeRun>,
    /// Sessions of that core.
    pub sessions: Vec<(BareJid, SessionRecord)>,
    /// Up to this epoch sessions are of before the last restore, and not to be adopted. 0: there was none.
    pub restored: SlotEpoch,
    /// Of sessions of before this epoch all that go on are among `sessions`: the others have ended, whoever still has
    /// them. 0: nothing is known.
    pub settled: SlotEpoch,
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
    /// No space left; works again by itself when there is some.
    Full,
    /// What was asked before waits too long already: see [`Condition::Slow`].
    Slow,
    /// Too many questions wait already ([`limits`]): ask again later.
    Busy,
    /// One value is longer than this store keeps.
    TooLarge {
        what: &'static str,
        bytes_max: usize,
    },
    /// The store was shut down.
    Closed,
    /// A restore into this directory did not come to its end.
    HalfRestored {
        path: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::UnknownVersion { found, known } if found < known => write!(
                f,
                "the store has schema version {found}, this build knows {known}: start a release that knows both first, it brings the store on"
            ),
            StoreError::UnknownVersion { found, known } => write!(
                f,
                "the store has schema version {found}, this build knows {known}: install the release that wrote it, or a later one"
            ),
            StoreError::Locked { path } => write!(f, "{path} is in use by another process: stop it first"),
            StoreError::Io { doing, cause } => write!(f, "{doing}: {cause}"),
            StoreError::Corrupt { what } => write!(f, "damaged: {what}; restore a backup"),
            StoreError::Full => f.write_str("no space left on the device of the store"),
            StoreError::Slow => f.write_str("the store is too slow at present"),
            StoreError::Busy => f.write_str("the store has too much waiting"),
            StoreError::TooLarge { what, bytes_max } => write!(f, "{what} is longer than {bytes_max} bytes"),
            StoreError::Closed => f.write_str("the store is closed"),
            StoreError::HalfRestored { path } => {
                write!(f, "a restore into {path} did not come to its end: empty the folder and restore again")
            }
        }
    }
}

impl std::error::Error for StoreError {}
