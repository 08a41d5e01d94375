//! Small state as ordered tables of bytes, and every operation on it, written once for all engines
//! that are such tables (redb, memory).
//!
//! ```text
//!  table       key                                                value
//!  accounts    slot: u16 BE ‖ account ‖ 00 ‖ section ‖ subkey     record of the section
//!  blobs       slot: u16 BE ‖ account ‖ 00 ‖ number of the blob   BlobRecord
//!  devices     slot: u16 BE ‖ account ‖ 00 ‖ UUID: 16 bytes       DeviceRecord: a client and its tokens
//!  directory   domain ‖ 00 ‖ account                              nothing: the listing of a domain
//!  domains     domain                                             DomainRecord
//!  edges       name                                               EdgeRecord
//!  executed    slot: u16 BE ‖ account ‖ 00 ‖ stream id: 16 bytes  ExecutedRecord: stanzas of a session that changed
//!                                                                the account and may be sent again
//!  late        slot: u16 BE ‖ account ‖ 00 ‖ section              record of section 4 or 7
//!  listings    domain ‖ 00 ‖ 00 ‖ account                         Listing: who lets herself be found
//!              domain ‖ 00 ‖ field: u8 ‖ folded ‖ 00 ‖ account    the same Listing, once for each of its fields
//!  looks       domain ‖ 00 ‖ skeleton ‖ 00 ‖ account               nothing: names that are not ASCII alone (UTS #39)
//!  sessions    slot: u16 BE ‖ account ‖ 00 ‖ stream id: 16 bytes  SessionRecord
//!  slots       slot: u16 BE                                       newest epoch, if taken since boot
//!  meta        "schema", "store", "epoch", "commits"              u32, StoreRecord, u64, u64
//!              "restored"                                         u64: epoch at the last restore, if there was one
//!              "looks"                                            what `looks` was last known to be whole with: see
//!                                                                `look_alike.rs`
//!              "run" ‖ 00 ‖ name of an edge                       EdgeRun: it is linked, or was when the core ended
//!              "settled" ‖ 00 ‖ shard: u16 BE                     Settled
//!
//!  section     subkey    record
//!  1 account             AccountRecord: the account exists if this does
//!  2 credentials         Credentials
//!  3 version             u64: of the roster
//!  4 marks               LogMarks
//!  5 roster    contact   RosterItemRecord
//!  6 request   contact   RequestRecord
//!  7 last seen           LastSeen
//!  8 disabled            Disabled: the account may not be used if this is there
//!  9 blocked   address   nothing
//! ```
//!
//! Blobs have a table of their own, so that a login's scan never passes them; a vCard is small enough
//! for it; what sessions executed and devices have some, since a build from before reads no section that it does not know:
//! where such a build re-keys or deletes an account, the generation that a token names tells. What is stored late, for
//! many accounts at once, has one: there it lies close together, so that a commit touches few pages; a store of a build
//! from before has it among the accounts, and what lies in `late` counts. A prepared
//! address holds no 00 (RFC 7622), so an account's keys are one range: one read loads it.

use crate::device::{self, DeviceRecord};
use crate::listing;
use crate::look_alike;
use crate::record::{self, AccountRecord, BlobRecord, ExecutedRecord, RequestRecord, RosterItemRecord, StoreRecord};
use crate::store::{ChangeSet, Denied, Fences, Fresh};
use crate::{
    Blob, Boot, Change, Credentials, Disabled, DomainRecord, EdgeRecord, EdgeRun, LastSeen, LogId, LogMarks, Refusal,
    SessionRecord, Settled, Snapshot, StoreError, limits,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{ShardIndex, Slot, SlotEpoch, SlotKey, StreamId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Of the layout above. A store with another is refused.
pub(crate) const SCHEMA_VERSION: u32 = 2;

const SECTION_ACCOUNT: u8 = 1;
const SECTION_CREDENTIALS: u8 = 2;
const SECTION_VERSION: u8 = 3;
const SECTION_MARKS: u8 = 4;
const SECTION_ROSTER: u8 = 5;
const SECTION_REQUEST: u8 = 6;
const SECTION_LAST_SEEN: u8 = 7;
const SECTION_DISABLED: u8 = 8;
const SECTION_BLOCKED: u8 = 9;

const META_SCHEMA: &[u8] = b"schema";
const META_STORE: &[u8] = b"store";
const META_EPOCH: &[u8] = b"epoch";
const META_COMMITS: &[u8] = b"commits";
const META_RESTORED: &[u8] = b"restored";
pub(crate) const META_LOOKS: &[u8] = b"looks";
/// Followed by the edge's name; ends with 00.
const META_RUN: &[u8] = b"run\x00";
/// Followed by the shard's index; ends with 00.
const META_SETTLED: &[u8] = b"settled\x00";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Table {
    Accounts,
    Blobs,
    Devices,
    Directory,
    Domains,
    Edges,
    Executed,
    Late,
    Listings,
    Looks,
    Sessions,
    Slots,
    Meta,
}

impl Table {
    pub(crate) const COUNT: usize = 13;
    pub(crate) const ALL: [Table; Table::COUNT] = [
        Table::Accounts,
        Table::Blobs,
        Table::Devices,
        Table::Directory,
        Table::Domains,
        Table::Edges,
        Table::Executed,
        Table::Late,
        Table::Listings,
        Table::Looks,
        Table::Sessions,
        Table::Slots,
        Table::Meta,
    ];

    /// What is this table's of one thing for each.
    pub(crate) fn place<T>(self, all: &mut [T; Table::COUNT]) -> &mut T {
        let [
            accounts,
            blobs,
            devices,
            directory,
            domains,
            edges,
            executed,
            late,
            listings,
            looks,
            sessions,
            slots,
            meta,
        ] = all;
        match self {
            Table::Accounts => accounts,
            Table::Blobs => blobs,
            Table::Devices => devices,
            Table::Directory => directory,
            Table::Domains => domains,
            Table::Edges => edges,
            Table::Executed => executed,
            Table::Late => late,
            Table::Listings => listings,
            Table::Looks => looks,
            Table::Sessions => sessions,
            Table::Slots => slots,
            Table::Meta => meta,
        }
    }
}

/// Called with key and value; answers whether to go on.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError>;

/// A consistent view of the tables.
pub(crate) trait Tables {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Keys from `from` up to, without, `to`, in order.
    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;
}

/// A view whose changes are committed together.
pub(crate) trait TablesMut: Tables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
}

/// Start of all keys of an account.
fn account_prefix(slot: Slot, account: &BareJid) -> Vec<u8> {
    let text = account.as_str().as_bytes();
    debug_assert!(!text.contains(&0), "a prepared address");
    let mut key = Vec::with_capacity(text.len().saturating_add(64));
    key.extend_from_slice(&slot.index().to_be_bytes());
    key.extend_from_slice(text);
    key.push(0);
    key
}

fn section_key(slot: Slot, account: &BareJid, section: u8, subkey: &str) -> Vec<u8> {
    let mut key = account_prefix(slot, account);
    key.push(section);
    key.extend_from_slice(subkey.as_bytes());
    key
}

fn blob_key(slot: Slot, account: &BareJid, blob: Blob) -> Vec<u8> {
    let mut key = account_prefix(slot, account);
    key.push(match blob {
        Blob::VCard => 1,
        Blob::Private => 2,
    });
    key
}

fn session_key(slot: Slot, account: &BareJid, stream: StreamId) -> Vec<u8> {
    let mut key = account_prefix(slot, account);
    key.extend_from_slice(&stream.0);
    key
}

fn device_key(slot: Slot, account: &BareJid, id: &[u8; 16]) -> Vec<u8> {
    let mut key = account_prefix(slot, account);
    key.extend_from_slice(id);
    key
}

fn settled_key(shard: ShardIndex) -> Vec<u8> {
    [META_SETTLED, &shard.to_be_bytes()].concat()
}

fn run_key(edge: &str) -> Vec<u8> {
    [META_RUN, edge.as_bytes()].concat()
}

pub(crate) fn directory_key(domain: &str, account: &str) -> Vec<u8> {
    [domain.as_bytes(), &[0], account.as_bytes()].concat()
}

/// End of the range of all keys that begin with `prefix`, whose last byte is the separator 00.
pub(crate) fn range_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = 1;
    }
    end
}

fn text(what: &str, bytes: &[u8]) -> Result<Box<str>, StoreError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(StoreError::Corrupt { what: format!("{what} key") }),
    }
}

/// All that is stored of an account, in one scan; and what sessions executed of late, mostly nothing.
pub(crate) fn load(tables: &mut impl Tables, slot: Slot, account: &BareJid) -> Result<Option<Snapshot>, StoreError> {
    let prefix = account_prefix(slot, account);
    let (mut born_at, mut credentials) = (None, None);
    let (mut roster_version, mut marks, mut disabled, mut last_seen) = (0, LogMarks::default(), None, None);
    let (mut roster, mut requests, mut blocked) = (Vec::new(), Vec::new(), Vec::new());
    tables.scan(Table::Accounts, &prefix, &range_end(&prefix), &mut |key, value| {
        let Some((section, subkey)) = key.get(prefix.len()..).and_then(<[u8]>::split_first) else {
            return Err(StoreError::Corrupt { what: "account key".to_owned() });
        };
        match *section {
            SECTION_ACCOUNT => born_at = Some(record::decode::<AccountRecord>("account", value)?.born_at),
            SECTION_CREDENTIALS => credentials = Some(record::decode::<Credentials>("credentials", value)?),
            SECTION_VERSION => roster_version = record::decode("roster version", value)?,
            SECTION_MARKS => marks = record::decode("marks", value)?,
            SECTION_ROSTER => {
                let item: RosterItemRecord = record::decode("roster item", value)?;
                roster.push(item.with(text("roster item", subkey)?));
            }
            SECTION_REQUEST => {
                let request: RequestRecord = record::decode("request", value)?;
                requests.push(request.with(text("request", subkey)?));
            }
            SECTION_DISABLED => disabled = Some(record::decode::<Disabled>("disabled", value)?),
            SECTION_BLOCKED => blocked.push(text("blocked address", subkey)?),
            SECTION_LAST_SEEN => last_seen = Some(record::decode::<LastSeen>("last seen", value)?),
            other => return Err(StoreError::Corrupt { what: format!("account section {other}") }),
        }
        Ok(true)
    })?;
    let Some(born_at) = born_at.map(LogId) else { return Ok(None) };
    let Some(credentials) = credentials else {
        return Err(StoreError::Corrupt { what: "account without credentials".to_owned() });
    };
    tables.scan(Table::Late, &prefix, &range_end(&prefix), &mut |key, value| {
        match key.get(prefix.len()..) {
            Some([SECTION_MARKS]) => marks = record::decode("marks", value)?,
            Some([SECTION_LAST_SEEN]) => last_seen = Some(record::decode::<LastSeen>("last seen", value)?),
            _ => return Err(StoreError::Corrupt { what: "late key".to_owned() }),
        }
        Ok(true)
    })?;
    // Marks of an earlier account of this name went with it; this holds whatever a shard stored.
    marks.low_water = marks.low_water.max(born_at);
    marks.undelivered.retain(|id| *id > born_at);
    let mut executed = Vec::new();
    tables.scan(Table::Executed, &prefix, &range_end(&prefix), &mut |key, value| {
        let stream = key.get(prefix.len()..).and_then(|stream| <[u8; 16]>::try_from(stream).ok());
        let stream = stream.ok_or_else(|| StoreError::Corrupt { what: "executed key".to_owned() })?;
        executed.push(record::decode::<ExecutedRecord>("executed", value)?.with(StreamId(stream)));
        Ok(true)
    })?;
    let mut devices = Vec::new();
    tables.scan(Table::Devices, &prefix, &range_end(&prefix), &mut |key, value| {
        let id = key.get(prefix.len()..).and_then(|id| <[u8; 16]>::try_from(id).ok());
        let id = id.ok_or_else(|| StoreError::Corrupt { what: "device key".to_owned() })?;
        devices.push(record::decode::<DeviceRecord>("device", value)?.with(id));
        Ok(true)
    })?;
    let log_above_mark = false;
    Ok(Some(Snapshot {
        credentials,
        roster,
        roster_version,
        requests,
        marks,
        disabled,
        last_seen,
        blocked,
        executed,
        devices,
        log_above_mark,
    }))
}

pub(crate) fn born_at(tables: &mut impl Tables, slot: Slot, account: &BareJid) -> Result<Option<LogId>, StoreError> {
    match tables.get(Table::Accounts, &section_key(slot, account, SECTION_ACCOUNT, ""))? {
        Some(bytes) => Ok(Some(LogId(record::decode::<AccountRecord>("account", &bytes)?.born_at))),
        None => Ok(None),
    }
}

pub(crate) fn load_blob(
    tables: &mut impl Tables,
    slot: Slot,
    account: &BareJid,
    blob: Blob,
) -> Result<Option<Vec<u8>>, StoreError> {
    match tables.get(Table::Blobs, &blob_key(slot, account, blob))? {
        Some(bytes) => Ok(Some(record::decode::<BlobRecord>("blob", &bytes)?.bytes)),
        None => Ok(None),
    }
}

pub(crate) fn list_accounts(
    tables: &mut impl Tables,
    domain: &str,
    after: Option<&BareJid>,
    limit: u32,
) -> Result<Vec<BareJid>, StoreError> {
    let prefix = directory_key(domain, "");
    let mut from = directory_key(domain, after.map_or("", BareJid::as_str));
    if after.is_some() {
        from.push(0); // The next possible key.
    }
    let limit = usize::try_from(limit.min(limits::READ_RECORDS_MAX)).unwrap_or(usize::MAX);
    let mut accounts = Vec::new();
    if limit == 0 {
        return Ok(accounts);
    }
    tables.scan(Table::Directory, &from, &range_end(&prefix), &mut |key, _| {
        let account = text("directory", key.get(prefix.len()..).unwrap_or_default())?;
        let corrupt = |_| StoreError::Corrupt { what: "directory key".to_owned() };
        accounts.push(BareJid::parse(&account).map_err(corrupt)?);
        Ok(accounts.len() < limit)
    })?;
    Ok(accounts)
}

/// Applies the sets, those of one slot in order; an error means that the whole view must be thrown away. `fences`
/// holds what the commit will have made of them.
///
/// A commit of thousands touches each page once: all that must be read is read before anything is written, and slot
/// by slot, as the keys lie. An engine may write out what it has changed to make room for what it reads (redb does, once
/// its cache is full), so each read in between could cost a write of a page that is changed again.
pub(crate) fn apply(
    tables: &mut impl TablesMut,
    fences: &mut Fences,
    sets: &[ChangeSet],
    born_at: LogId,
) -> Result<Vec<Result<(), Denied>>, StoreError> {
    let mut order: Vec<(usize, &ChangeSet)> = sets.iter().enumerate().collect();
    // What is of no account may be asked under any slot: a commit with some of it, a rare one, stays in order.
    if sets.iter().flat_map(|set| &set.changes).all(|change| change.account().is_some()) {
        order.sort_by_key(|(_, set)| set.slot);
    }
    let mut existing = Existing::read(tables, &order)?;
    let mut outcomes = Vec::with_capacity(sets.len());
    for (at, set) in order {
        let checked = check(&existing, fences, set);
        let outcome = match checked.and_then(|after| look_alike::check(tables, set).map(|()| after)) {
            Ok(after) => {
                take_slot(tables, fences, set.slot, set.epoch)?;
                for change in &set.changes {
                    write(tables, set.slot, change, born_at)?;
                }
                existing.0.extend(after);
                Ok(())
            }
            Err(denied) => Err(denied),
        };
        outcomes.push((at, outcome));
    }
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Which of the accounts that a commit is about exist.
struct Existing<'s>(Known<'s>);

type Known<'s> = BTreeMap<(Slot, &'s BareJid), bool>;

impl<'s> Existing<'s> {
    fn read(tables: &mut impl Tables, order: &[(usize, &'s ChangeSet)]) -> Result<Existing<'s>, StoreError> {
        let mut existing = BTreeMap::new();
        for (_, set) in order {
            for account in set.changes.iter().filter_map(Change::account) {
                if let Entry::Vacant(place) = existing.entry((set.slot, account)) {
                    place.insert(
                        tables.get(Table::Accounts, &section_key(set.slot, account, SECTION_ACCOUNT, ""))?.is_some(),
                    );
                }
            }
        }
        Ok(Existing(existing))
    }
}

/// Whether every precondition of the set holds, each change seeing those before it; which accounts exist after it.
fn check<'s>(existing: &Existing<'s>, fences: &Fences, set: &'s ChangeSet) -> Result<Known<'s>, Denied> {
    if set.epoch < fences.epoch(set.slot) {
        return Err(Denied::Refused(Refusal::Fenced));
    }
    let mut after = Known::new();
    for change in &set.changes {
        check_size(change).map_err(Denied::Failed)?;
        let Some(account) = change.account() else { continue };
        let key = (set.slot, account);
        let exists = after.get(&key).or_else(|| existing.0.get(&key)).copied().unwrap_or(false);
        match change {
            Change::CreateAccount { .. } if exists => return Err(Denied::Refused(Refusal::Exists)),
            Change::CreateAccount { .. } => drop(after.insert(key, true)),
            Change::MustNotLookAlike { .. } => {}
            _ if !exists => return Err(Denied::Refused(Refusal::NoAccount)),
            Change::DeleteAccount { .. } => drop(after.insert(key, false)),
            _ => {}
        }
    }
    Ok(after)
}

fn check_size(change: &Change) -> Result<(), StoreError> {
    let within = |what, bytes: usize, bytes_max: usize| {
        if bytes <= bytes_max { Ok(()) } else { Err(StoreError::TooLarge { what, bytes_max }) }
    };
    match change {
        Change::PutListing { listing: Some(listing), .. } => {
            within("field of a listing", listing.longest(), limits::LISTED_FIELD_BYTES_MAX)
        }
        Change::PutBlob { bytes: Some(bytes), .. } => within("blob", bytes.len(), limits::BLOB_BYTES_MAX),
        Change::PutRequest { request, .. } => {
            within("subscription request", request.stanza.len(), limits::STANZA_BYTES_MAX)
        }
        Change::PutSession { session, .. } => within("session", session.contents.len(), limits::SESSION_BYTES_MAX),
        Change::PutExecuted { executed, .. } => {
            within("list of executed stanzas", executed.stanzas.len(), limits::EXECUTED_MAX)
        }
        Change::PutDevice { device, .. } if !device::is_short(device) => {
            Err(StoreError::TooLarge { what: "description of a device", bytes_max: limits::DEVICE_TEXT_BYTES_MAX })
        }
        Change::PutMarks { marks, .. } => {
            within("list of undelivered messages", marks.undelivered.len(), limits::UNDELIVERED_MAX)
        }
        Change::PutLastSeen { seen, .. } => {
            within("last status", seen.status.as_deref().map_or(0, str::len), limits::STATUS_BYTES_MAX)
        }
        Change::PutDisabled { disabled: Some(disabled), .. } => {
            within("reason", disabled.reason.as_deref().map_or(0, str::len), limits::REASON_BYTES_MAX)
        }
        Change::CreateAccount { .. }
        | Change::MustNotLookAlike { .. }
        | Change::SetCredentials { .. }
        | Change::PutDisabled { disabled: None, .. }
        | Change::DeleteAccount { .. }
        | Change::PutRosterItem { .. }
        | Change::RemoveRosterItem { .. }
        | Change::PutRosterVersion { .. }
        | Change::RemoveRequest { .. }
        | Change::PutBlocked { .. }
        | Change::RemoveBlocked { .. }
        | Change::RemoveExecuted { .. }
        | Change::PutDevice { .. }
        | Change::RemoveDevice { .. }
        | Change::PutBlob { bytes: None, .. }
        | Change::PutListing { listing: None, .. }
        | Change::PutDomain { .. }
        | Change::RemoveDomain { .. }
        | Change::PutEdge { .. }
        | Change::PutEdgeRun { .. }
        | Change::RemoveEdgeRun { .. }
        | Change::PutSettled { .. }
        | Change::RemoveSession { .. } => Ok(()),
    }
}

/// Stores that a slot is owned under this epoch, the first time it is heard of.
fn take_slot(tables: &mut impl TablesMut, fences: &mut Fences, slot: Slot, epoch: SlotEpoch) -> Result<(), StoreError> {
    if !fences.raise(Some(slot), epoch) {
        return Ok(());
    }
    tables.put(Table::Slots, &slot.index().to_be_bytes(), &record::encode(&epoch))
}

fn write(tables: &mut impl TablesMut, slot: Slot, change: &Change, born_at: LogId) -> Result<(), StoreError> {
    use Table::{Accounts, Blobs, Directory, Domains, Edges, Late};
    match change {
        Change::CreateAccount { account, credentials } => {
            let account_record = AccountRecord { born_at: born_at.0 };
            let key = |section| section_key(slot, account, section, "");
            tables.put(Accounts, &key(SECTION_ACCOUNT), &record::encode(&account_record))?;
            tables.put(Accounts, &key(SECTION_CREDENTIALS), &record::encode(credentials))?;
            look_alike::put(tables, account)?;
            tables.put(Directory, &directory_key(account.domainpart(), account.as_str()), &[])
        }
        Change::MustNotLookAlike { .. } => Ok(()),
        Change::SetCredentials { account, credentials } => {
            let key = section_key(slot, account, SECTION_CREDENTIALS, "");
            tables.put(Accounts, &key, &record::encode(credentials))
        }
        Change::DeleteAccount { account } => {
            remove_all(tables, Accounts, &account_prefix(slot, account))?;
            remove_all(tables, Blobs, &account_prefix(slot, account))?;
            remove_all(tables, Table::Sessions, &account_prefix(slot, account))?;
            remove_all(tables, Table::Executed, &account_prefix(slot, account))?;
            remove_all(tables, Late, &account_prefix(slot, account))?;
            remove_all(tables, Table::Devices, &account_prefix(slot, account))?;
            listing::remove(tables, account)?;
            look_alike::remove(tables, account)?;
            tables.remove(Directory, &directory_key(account.domainpart(), account.as_str()))
        }
        Change::PutRosterItem { account, item } => {
            let key = section_key(slot, account, SECTION_ROSTER, &item.contact);
            tables.put(Accounts, &key, &record::encode(&RosterItemRecord::of(item)))
        }
        Change::RemoveRosterItem { account, contact } => {
            tables.remove(Accounts, &section_key(slot, account, SECTION_ROSTER, contact.as_str()))
        }
        Change::PutRosterVersion { account, version } => {
            tables.put(Accounts, &section_key(slot, account, SECTION_VERSION, ""), &record::encode(version))
        }
        Change::PutRequest { account, request } => {
            let key = section_key(slot, account, SECTION_REQUEST, &request.contact);
            tables.put(Accounts, &key, &record::encode(&RequestRecord::of(request)))
        }
        Change::RemoveRequest { account, contact } => {
            tables.remove(Accounts, &section_key(slot, account, SECTION_REQUEST, contact.as_str()))
        }
        Change::PutMarks { account, marks } => {
            tables.put(Late, &section_key(slot, account, SECTION_MARKS, ""), &record::encode(marks))
        }
        Change::PutBlocked { account, jid } => {
            tables.put(Accounts, &section_key(slot, account, SECTION_BLOCKED, jid), &record::encode(&()))
        }
        Change::RemoveBlocked { account, jid } => {
            tables.remove(Accounts, &section_key(slot, account, SECTION_BLOCKED, jid))
        }
        Change::PutSession { account, session } => {
            tables.put(Table::Sessions, &session_key(slot, account, session.stream), &record::encode(session))
        }
        Change::RemoveSession { account, stream } => {
            tables.remove(Table::Sessions, &session_key(slot, account, *stream))
        }
        Change::PutExecuted { account, executed } => {
            let key = session_key(slot, account, executed.stream);
            tables.put(Table::Executed, &key, &record::encode(&ExecutedRecord::of(executed)))
        }
        Change::RemoveExecuted { account, stream } => {
            tables.remove(Table::Executed, &session_key(slot, account, *stream))
        }
        Change::PutDevice { account, device } => {
            let key = device_key(slot, account, &device.id);
            tables.put(Table::Devices, &key, &record::encode(&DeviceRecord::of(device)))
        }
        Change::RemoveDevice { account, id } => tables.remove(Table::Devices, &device_key(slot, account, id)),
        Change::PutLastSeen { account, seen } => {
            tables.put(Late, &section_key(slot, account, SECTION_LAST_SEEN, ""), &record::encode(seen))
        }
        Change::PutDisabled { account, disabled } => {
            let key = section_key(slot, account, SECTION_DISABLED, "");
            match disabled {
                Some(disabled) => tables.put(Accounts, &key, &record::encode(disabled)),
                None => tables.remove(Accounts, &key),
            }
        }
        Change::PutBlob { account, blob, bytes: Some(bytes) } => {
            let blob_record = BlobRecord { bytes: bytes.clone() };
            tables.put(Blobs, &blob_key(slot, account, *blob), &record::encode(&blob_record))
        }
        Change::PutBlob { account, blob, bytes: None } => tables.remove(Blobs, &blob_key(slot, account, *blob)),
        Change::PutListing { account, listing: Some(listing) } => listing::put(tables, account, listing),
        Change::PutListing { account, listing: None } => listing::remove(tables, account),
        Change::PutDomain { domain } => tables.put(Domains, domain.domain.as_bytes(), &record::encode(domain)),
        Change::RemoveDomain { domain } => tables.remove(Domains, domain.as_bytes()),
        Change::PutEdge { edge } => tables.put(Edges, edge.name.as_bytes(), &record::encode(edge)),
        Change::PutEdgeRun { run } => tables.put(Table::Meta, &run_key(&run.edge), &record::encode(run)),
        Change::RemoveEdgeRun { edge } => tables.remove(Table::Meta, &run_key(edge)),
        Change::PutSettled { shard, settled } => {
            tables.put(Table::Meta, &settled_key(*shard), &record::encode(settled))
        }
    }
}

fn remove_all(tables: &mut impl TablesMut, table: Table, prefix: &[u8]) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    tables.scan(table, prefix, &range_end(prefix), &mut |key, _| {
        keys.push(key.to_vec());
        Ok(true)
    })?;
    keys.iter().try_for_each(|key| tables.remove(table, key))
}

/// Whether this is a store of ours, of a layout this build understands; false: it is empty.
pub(crate) fn schema_exists(tables: &mut impl Tables) -> Result<bool, StoreError> {
    let Some(bytes) = tables.get(Table::Meta, META_SCHEMA)? else { return Ok(false) };
    let Some(found) = bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
        return Err(StoreError::Corrupt { what: "schema version".to_owned() });
    };
    if found == SCHEMA_VERSION {
        return Ok(true);
    }
    Err(StoreError::UnknownVersion { found, known: SCHEMA_VERSION })
}

/// Makes an empty store ours.
pub(crate) fn create(tables: &mut impl TablesMut, fresh: &Fresh) -> Result<(), StoreError> {
    let Fresh { slot_key: SlotKey(slot_key), secret, store_id } = *fresh;
    tables.put(Table::Meta, META_SCHEMA, &SCHEMA_VERSION.to_le_bytes())?;
    tables.put(Table::Meta, META_STORE, &record::encode(&StoreRecord { slot_key, secret, store_id }))
}

/// How many commits were made in the life of the store: the number of the last one.
pub(crate) fn commits(tables: &mut impl Tables) -> Result<u64, StoreError> {
    match tables.get(Table::Meta, META_COMMITS)? {
        Some(bytes) => record::decode("commit counter", &bytes),
        None => Ok(0),
    }
}

pub(crate) fn put_commits(tables: &mut impl TablesMut, commits: u64) -> Result<(), StoreError> {
    tables.put(Table::Meta, META_COMMITS, &record::encode(&commits))
}

/// The record made at creation.
pub(crate) fn store_record(tables: &mut impl Tables) -> Result<StoreRecord, StoreError> {
    match tables.get(Table::Meta, META_STORE)? {
        Some(bytes) => record::decode("store", &bytes),
        None => Err(StoreError::Corrupt { what: "store record".to_owned() }),
    }
}

/// The newest epoch stored, and the keys of slots that were taken since the boot.
pub(crate) fn newest_epoch(tables: &mut impl Tables) -> Result<(SlotEpoch, Vec<Vec<u8>>), StoreError> {
    let mut newest: SlotEpoch = match tables.get(Table::Meta, META_EPOCH)? {
        Some(bytes) => record::decode("epoch", &bytes)?,
        None => 0,
    };
    let mut taken = Vec::new();
    tables.scan(Table::Slots, &[], &[0xff; 3], &mut |key, value| {
        newest = newest.max(record::decode("slot epoch", value)?);
        taken.push(key.to_vec());
        Ok(true)
    })?;
    Ok((newest, taken))
}

/// Makes the store one that goes on from an earlier point. The epoch of its next start is greater than `least`
/// and than every one stored. Sessions of before are forgotten, with what they executed: they went on
/// without it, and name records of the log that it does not have. So are clients' tokens: one that was ended since
/// would live again, and counts would go back.
pub(crate) fn restored(tables: &mut impl TablesMut, least: SlotEpoch) -> Result<(), StoreError> {
    let epoch = record::encode(&newest_epoch(tables)?.0.max(least));
    tables.put(Table::Meta, META_EPOCH, &epoch)?;
    tables.put(Table::Meta, META_RESTORED, &epoch)?;
    remove_all(tables, Table::Meta, META_RUN)?;
    remove_all(tables, Table::Meta, META_SETTLED)?;
    for table in [Table::Devices, Table::Executed, Table::Sessions] {
        let mut keys = Vec::new();
        tables.scan(table, &[], &[0xff; 3], &mut |key, _| {
            keys.push(key.to_vec());
            Ok(true)
        })?;
        keys.iter().try_for_each(|key| tables.remove(table, key))?;
    }
    Ok(())
}

/// Raises the epoch above every one stored, and reads what a core starts with.
pub(crate) fn boot(tables: &mut impl TablesMut, fences: &mut Fences) -> Result<Boot, StoreError> {
    let store = store_record(tables)?;
    let (newest, taken) = newest_epoch(tables)?;
    let epoch = newest.saturating_add(1);
    let before = tables.get(Table::Meta, META_EPOCH)?;
    tables.put(Table::Meta, META_EPOCH, &record::encode(&epoch))?;
    look_alike::renew(tables, before.as_deref(), epoch)?;
    for key in taken {
        tables.remove(Table::Slots, &key)?;
    }
    let mut domains = Vec::new();
    tables.scan(Table::Domains, &[], &[0xff], &mut |_, value| {
        domains.push(record::decode::<DomainRecord>("domain", value)?);
        Ok(true)
    })?;
    let mut edges = Vec::new();
    tables.scan(Table::Edges, &[], &[0xff], &mut |_, value| {
        edges.push(record::decode::<EdgeRecord>("edge", value)?);
        Ok(true)
    })?;
    let restored = match tables.get(Table::Meta, META_RESTORED)? {
        Some(bytes) => record::decode("epoch of the last restore", &bytes)?,
        None => 0,
    };
    let mut edge_runs = Vec::new();
    tables.scan(Table::Meta, META_RUN, &range_end(META_RUN), &mut |_, value| {
        edge_runs.push(record::decode::<EdgeRun>("edge run", value)?);
        Ok(true)
    })?;
    let mut settled = Vec::new();
    tables.scan(Table::Meta, META_SETTLED, &range_end(META_SETTLED), &mut |_, value| {
        settled.push(record::decode::<Settled>("settled", value)?);
        Ok(true)
    })?;
    let settled = settled_by_all(&settled);
    let sessions = take_sessions(tables)?;
    *fences = Fences { boot: epoch, taken: Default::default() };
    let (slot_key, secret) = (SlotKey(store.slot_key), store.secret);
    Ok(Boot { slot_key, secret, epoch, restored, settled, domains, edges, edge_runs, sessions })
}

/// The epoch in which every shard had settled; `shards` is of each in its order.
fn settled_by_all(shards: &[Settled]) -> SlotEpoch {
    // Of a core with more shards there may be some left.
    let Some(newest) = shards.iter().max_by_key(|shard| shard.epoch) else { return 0 };
    let Some(of_all) = shards.get(..usize::from(newest.shards)) else { return 0 };
    let same = of_all.iter().all(|shard| shard.shards == newest.shards);
    of_all.iter().map(|shard| shard.epoch).min().filter(|_| same).unwrap_or(0)
}

/// All sessions on record. Those without an account are forgotten: a build from before there were any deletes accounts
/// and leaves them, and no later change could name them.
fn take_sessions(tables: &mut impl TablesMut) -> Result<Vec<(BareJid, SessionRecord)>, StoreError> {
    let mut found = Vec::new();
    tables.scan(Table::Sessions, &[], &[0xff; 3], &mut |key, value| {
        let account = key.get(2..).and_then(|rest| rest.split(|byte| *byte == 0).next()).unwrap_or_default();
        let corrupt = |_| StoreError::Corrupt { what: "session key".to_owned() };
        let account = BareJid::parse(&text("session", account)?).map_err(corrupt)?;
        found.push((key.to_vec(), account, record::decode::<SessionRecord>("session", value)?));
        Ok(true)
    })?;
    let mut sessions = Vec::with_capacity(found.len());
    for (key, account, session) in found {
        let slot = key.get(..2).unwrap_or_default();
        let account_key = [slot, account.as_str().as_bytes(), &[0, SECTION_ACCOUNT]].concat();
        match tables.get(Table::Accounts, &account_key)? {
            Some(_) => sessions.push((account, session)),
            None => tables.remove(Table::Sessions, &key)?,
        }
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_stay_what_they_are() {
        let slot = Slot::new(0x0203).unwrap();
        let account = BareJid::parse("a@b").unwrap();
        assert_eq!(section_key(slot, &account, SECTION_ACCOUNT, ""), b"\x02\x03a@b\x00\x01");
        assert_eq!(section_key(slot, &account, SECTION_CREDENTIALS, ""), b"\x02\x03a@b\x00\x02");
        assert_eq!(section_key(slot, &account, SECTION_VERSION, ""), b"\x02\x03a@b\x00\x03");
        assert_eq!(section_key(slot, &account, SECTION_MARKS, ""), b"\x02\x03a@b\x00\x04");
        assert_eq!(section_key(slot, &account, SECTION_ROSTER, "c@d"), b"\x02\x03a@b\x00\x05c@d");
        assert_eq!(section_key(slot, &account, SECTION_REQUEST, "c@d"), b"\x02\x03a@b\x00\x06c@d");
        assert_eq!(section_key(slot, &account, SECTION_LAST_SEEN, ""), b"\x02\x03a@b\x00\x07");
        assert_eq!(section_key(slot, &account, SECTION_BLOCKED, "c@d/e"), b"\x02\x03a@b\x00\x09c@d/e");
        assert_eq!(blob_key(slot, &account, Blob::VCard), b"\x02\x03a@b\x00\x01");
        assert_eq!(blob_key(slot, &account, Blob::Private), b"\x02\x03a@b\x00\x02");
        assert_eq!(directory_key("b", "a@b"), b"b\x00a@b");
        assert_eq!(session_key(slot, &account, StreamId([7; 16])), [&b"\x02\x03a@b\x00"[..], &[7; 16]].concat());
        assert_eq!(device_key(slot, &account, &[7; 16]), [&b"\x02\x03a@b\x00"[..], &[7; 16]].concat());
        assert_eq!(run_key("paris"), b"run\x00paris");
        assert_eq!(settled_key(258), b"settled\x00\x01\x02");
        assert_eq!(range_end(b"x\x00"), b"x\x01");
        assert_eq!(
            [META_SCHEMA, META_STORE, META_EPOCH, META_COMMITS, META_RESTORED, META_LOOKS],
            [&b"schema"[..], b"store", b"epoch", b"commits", b"restored", b"looks"]
        );
    }

    #[test]
    fn settled_is_what_every_shard_is() {
        let of = |shards: &[(u64, u16)]| {
            let shards: Vec<_> = shards.iter().map(|&(epoch, shards)| Settled { epoch, shards }).collect();
            settled_by_all(&shards)
        };
        assert_eq!((of(&[]), of(&[(7, 1)]), of(&[(7, 2), (9, 2)])), (0, 7, 7));
        assert_eq!((of(&[(7, 2)]), of(&[(9, 3), (7, 2), (9, 3)])), (0, 0), "one is not, or was of another number");
        assert_eq!((of(&[(9, 1), (7, 2)]), of(&[(9, 0)])), (9, 0));
    }
}
