//! What an engine must do. Calls block; the runtime makes them on threads of their own.

use crate::listing::{Found, Search};
use crate::{Blob, Boot, Change, LogId, LogRecord, NewRecord, Refusal, Snapshot, StoreError};
use hearth_wire::BareJid;
use hearth_wire::ids::{Slot, SlotEpoch, SlotKey};

/// Changes that are applied together or not at all, as one shard asked for them.
#[derive(Clone, Debug)]
pub struct ChangeSet {
    pub slot: Slot,
    pub epoch: SlotEpoch,
    pub changes: Vec<Change>,
}

/// One message on its way into the log, as one shard asked for it.
#[derive(Clone, Debug)]
pub struct Append {
    pub slot: Slot,
    pub epoch: SlotEpoch,
    pub record: NewRecord,
}

/// Why one item of a batch had no effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Denied {
    /// A precondition did not hold.
    Refused(Refusal),
    /// The world failed.
    Failed(StoreError),
}

impl From<StoreError> for Denied {
    fn from(error: StoreError) -> Denied {
        Denied::Failed(error)
    }
}

/// Random bytes for a store that does not exist yet; an existing store keeps its own.
#[derive(Clone)]
pub struct Fresh {
    pub slot_key: SlotKey,
    pub secret: [u8; 32],
    /// Names the data directory for life.
    pub store_id: [u8; 16],
}

/// Accounts, credentials, rosters, requests, marks, blobs, domains, and what a core needs to start.
///
/// One writer and any number of readers call at the same time. A read sees every batch that
/// [`SmallStore::apply`] returned before it began.
pub trait SmallStore: Send + Sync + 'static {
    /// Raises and stores the epoch of this start; older epochs are fenced from here on.
    fn boot(&self) -> Result<Boot, StoreError>;

    /// Applies the sets in order and makes all of them durable with one commit. One outcome for
    /// each: a refused set leaves the others alone; where the commit fails, all of them failed.
    /// Accounts created here have no log records up to `born_at`.
    fn apply(&self, sets: &[ChangeSet], born_at: LogId) -> Vec<Result<(), Denied>>;

    /// What is stored of an account, `log_above_mark` left false, and where its log begins.
    fn load(&self, slot: Slot, account: &BareJid) -> Result<Option<Snapshot>, StoreError>;

    /// Id after which the account's records in the log begin; `None`: no such account.
    fn born_at(&self, slot: Slot, account: &BareJid) -> Result<Option<LogId>, StoreError>;

    fn load_blob(&self, slot: Slot, account: &BareJid, blob: Blob) -> Result<Option<Vec<u8>>, StoreError>;

    /// Accounts of a domain with address > `after`, in order, at most `limit`.
    fn list_accounts(&self, domain: &str, after: Option<&BareJid>, limit: u32) -> Result<Vec<BareJid>, StoreError>;

    /// Who of a domain lists what begins so.
    fn search(&self, search: &Search) -> Result<Found, StoreError>;

    /// Whether a change could be made durable now; changes nothing.
    fn probe(&self) -> Result<(), StoreError>;

    /// Closes files. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> Result<(), StoreError>;
}

/// Whether an append was made before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Made {
    No,
    /// Under this id.
    Yes(LogId),
    /// No, but one that the same stream asked for later was.
    LaterOne,
}

/// Messages.
///
/// One thread appends, any number read at the same time. A read sees every record whose append
/// returned before it began, and none whose append has not.
pub trait LogStore: Send + Sync + 'static {
    /// Appends the batch in order and makes it durable with one sync. Ids grow in that order and
    /// over the life of the store.
    fn append(&self, batch: &[Append]) -> Vec<Result<LogId, Denied>>;

    /// Work that can wait until a batch is answered.
    fn tidy(&self) {}

    /// Records of an account with id > `after`, oldest first, at most `limit`, cut to
    /// [`READ_BYTES_MAX`](crate::limits::READ_BYTES_MAX) (but never to none).
    fn read(&self, account: &BareJid, after: LogId, limit: u32) -> Result<Vec<LogRecord>, StoreError>;

    /// Looks for the account's record with id > `after` that has the ingest id and the stanza of `record` among
    /// the newest, as [`Ask::AppendAgain`](crate::Ask::AppendAgain) bounds them.
    fn find(&self, record: &NewRecord, after: LogId) -> Result<Made, StoreError>;

    /// Whether the account has a record with id > `mark`. May rarely say yes where there is none,
    /// never the other way round.
    fn any_above(&self, account: &BareJid, mark: LogId) -> Result<bool, StoreError>;

    /// Every id given out so far is at most this, every later one is greater.
    fn head(&self) -> LogId;

    /// Refuses appends to `slot` (`None`: to any) under an epoch older than this from here on; one
    /// under way is waited for.
    fn fence(&self, slot: Option<Slot>, epoch: SlotEpoch);

    /// Drops whole old segments: those whose every record was received before `before_ms`
    /// (milliseconds since 1970, UTC). Answers how many.
    fn drop_older(&self, before_ms: u64) -> Result<usize, StoreError>;

    /// Whether an append could be made durable now; appends nothing.
    fn probe(&self) -> Result<(), StoreError>;

    /// Closes files. Later appends fail with [`StoreError::Closed`].
    fn close(&self) -> Result<(), StoreError>;
}

/// The newest epoch known of each slot. One that was never taken on its own has the boot's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fences {
    pub(crate) boot: SlotEpoch,
    /// Only slots taken since the boot, in no order; a move is rare, so this stays short.
    pub(crate) taken: std::collections::BTreeMap<Slot, SlotEpoch>,
}

impl Fences {
    pub(crate) fn epoch(&self, slot: Slot) -> SlotEpoch {
        self.taken.get(&slot).copied().unwrap_or(0).max(self.boot)
    }

    /// Whether this was news.
    pub(crate) fn raise(&mut self, slot: Option<Slot>, epoch: SlotEpoch) -> bool {
        let known = slot.map_or(self.boot, |slot| self.epoch(slot));
        if epoch <= known {
            return false;
        }
        match slot {
            Some(slot) => {
                self.taken.insert(slot, epoch);
            }
            None => self.boot = epoch,
        }
        true
    }
}
