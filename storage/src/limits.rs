//! Every bound of this crate: unit, reason, and what happens when it is reached.

/// Questions that may wait for one of the three threads. Reached when the disk stalls for seconds;
/// what comes after is refused with [`StoreError::Busy`](crate::StoreError::Busy), before anything
/// was done for it.
pub const QUEUE_QUESTIONS_MAX: usize = 16_384;

/// Bytes that the questions waiting for one thread may hold. Same consequence.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Calls of `ask` that may wait for one thread, so that the channel's memory is fixed (some 200 KB
/// for all three). Same consequence.
pub const QUEUE_BATCHES_MAX: usize = 2_048;

/// Reads answered before their answers leave together.
pub const READS_PER_TURN_MAX: usize = 64;

/// Change sets in one commit of small state. More wait for the next commit, so that the first of
/// them is not kept waiting for the last. What is stored late comes by the thousand and lies close together: the more
/// of it a commit takes, the fewer pages each costs.
pub const COMMIT_SETS_MAX: usize = 8_192;

/// Bytes of changes in one commit of small state. Same consequence.
pub const COMMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Appends in one write and sync of the log. More wait for the next.
pub const APPEND_RECORDS_MAX: usize = 4_096;

/// Bytes of appends in one write and sync of the log. Same consequence.
pub const APPEND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records of an account that are looked through, newest first, for one that is appended again. Between an
/// append and its being asked for again lies a restart or a lost link, and what the account received
/// meanwhile: seconds' worth. Reached: it counts as not there, and is appended. Looked at is the head of each,
/// some 20 ms for all of them.
pub const AGAIN_RECORDS_MAX: usize = 10_000;

/// Milliseconds that such a record may be older than the one appended again: a day, longer than any edge
/// waits for its core. Same consequence.
pub const AGAIN_AGE_MS: u64 = 24 * 60 * 60 * 1000;

/// Segments whose indexes are asked for it, 64 GiB of messages unless configured. Same consequence.
pub const AGAIN_SEGMENTS_MAX: usize = 1_024;

/// Milliseconds an append may be kept waiting for others to share its sync, and only while
/// [`GATHER_RECORDS_MIN`] are expected within that time: a sync costs some 40 µs of CPU however
/// many records it covers.
pub const GATHER_MS: u64 = 2;

/// Appends expected within [`GATHER_MS`] that make waiting worth it. Below, each is synced at once.
pub const GATHER_RECORDS_MIN: f64 = 1.5;

/// Milliseconds over which appends are counted to know what to expect.
pub const GATHER_COUNTED_MS: u64 = 16;

/// Stanza bytes in one answer to `ReadLog`, unless the first record alone is longer. The rest is
/// asked for with the next page. Below what a session may have unread, so that a page never
/// breaks one.
pub const READ_BYTES_MAX: usize = 256 * 1024;

/// Records in one answer to `ReadLog`, accounts in one to `ListAccounts`, whatever was asked.
pub const READ_RECORDS_MAX: u32 = 1_000;

/// Bytes of one stanza in the log or of a stored subscription request. The edge admits 256 KiB of
/// XML, which stays under half of this as a tree. Longer ones fail with `TooLarge`.
pub const STANZA_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one blob: a vCard of 256 KiB of XML as a tree. Longer ones fail with `TooLarge`.
pub const BLOB_BYTES_MAX: usize = 512 * 1024;

/// Bytes of one field that somebody may be found by; the shard's own limit is lower. Longer ones fail with
/// `TooLarge`.
pub const LISTED_FIELD_BYTES_MAX: usize = 1024;

/// Entries of the directory that one search looks at, a millisecond or two. Reached: those found so far are
/// the answer.
pub const SEARCH_KEYS_MAX: u32 = 2_000;

/// Accounts in one answer to `Search`, whatever was asked.
pub const FOUND_MAX: u32 = 100;

/// Bytes of a last status; the shard's own limit is lower. Longer ones fail with `TooLarge`.
pub const STATUS_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the reason why an account is disabled; as long as an operator's command may carry. Longer
/// ones fail with `TooLarge`.
pub const REASON_BYTES_MAX: usize = 4 * 1024;

/// Bytes of what a client says of its software, and of its device; edges cut what is longer. Longer ones fail with
/// `TooLarge`.
pub const DEVICE_TEXT_BYTES_MAX: usize = 128;

/// Undelivered ids in one account's marks; the shard's own limit is lower. More fail with `TooLarge`.
pub const UNDELIVERED_MAX: usize = 65_536;

/// Stanzas of one session kept as executed; the shard's own limit is lower. More fail with `TooLarge`.
pub const EXECUTED_MAX: usize = 1_024;

/// From this size of `hearth.redb` on, commits save the allocator's state. Below, opening after a
/// crash walks the file, at about a second per gigabyte.
pub const QUICK_REPAIR_FROM_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes written to `hearth.redb` since its last sync of which a copy is kept; more are synced early.
pub const UNSYNCED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Memory for that copy that stays between commits.
pub const UNSYNCED_BYTES_KEPT: usize = 256 * 1024;

/// What must fit on a device that was full before redb is bothered again: more than a commit of
/// ordinary size writes.
pub const PROBE_BYTES: usize = 1024 * 1024;

/// Milliseconds that a change or an append may wait; longer, and the store counts as slow. Sound disks sync
/// in a tenth of it with all queues full, and a client that waits longer thinks its connection dead.
pub const SLOW_MS: u64 = 5_000;

/// Milliseconds between looks whether something waits too long.
pub const WATCH_MS: u64 = 500;

/// Milliseconds between probes of a store that is not well.
pub const PROBE_PAUSE_MS: u64 = 1_000;

/// Probes in a row that must go well before it counts as well again.
pub const PROBES_GOOD: u32 = 3;

/// How many times faster than [`SLOW_MS`] a probe must be to have gone well.
pub const PROBE_SLACK: u32 = 10;

/// Bytes kept free for urgent changes, the log of operators' commands, and the pages of `hearth.redb` that a
/// failed commit left: some hundred changes. Messages get nothing of it.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes that must be free beside the reserve before it is made again on a device that was full.
pub const RESERVE_SPARE_BYTES: u64 = 4 * 1024 * 1024;

/// Milliseconds between attempts to open a `hearth.redb` that fails to open.
pub const REOPEN_PAUSE_MS: u64 = 100;

/// Bytes after which a segment of the log is sealed, unless configured. Its index is in memory until
/// then: 12 bytes a record and some 20 an account.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Most that may be configured: offsets have 32 bits, and one batch may come on top.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Milliseconds of received messages after which a segment is sealed, unless configured, so that
/// whole segments can be dropped by age: a day.
pub const SEGMENT_PERIOD_MS: u64 = 24 * 60 * 60 * 1000;

/// Memory for a batch of appends that stays between batches.
pub const APPEND_BUFFER_KEPT: usize = 256 * 1024;

/// Memory for pages of `hearth.redb`, unless configured. A login reads one or two pages that are
/// not in it; more memory helps only where the whole file nearly fits.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Segments sealed before the log's list of accounts (8 bytes each) is written again. A start after
/// a crash reads as many indexes, at most.
pub const LATEST_SAVED_EVERY: u32 = 16;

/// Bytes of a session's contents on record: presence, and where directed presence went. Longer ones are refused;
/// the core makes none.
pub const SESSION_BYTES_MAX: usize = 128 * 1024;

/// Names in ASCII that a name with more than ASCII may look like: each is looked for when it is registered. 256 are five
/// letters `l`, which are also `1` and `|`; a name that looks like more is refused as if one of them existed.
pub const LOOK_ALIKES_MAX: usize = 256;

/// Names of a directory that are looked at before their rows are written, when look-alikes are listed anew.
pub const LOOK_ALIKE_PAGE: usize = 4_096;

/// Megabytes (of a million bytes) a second that a backup copies, unless told otherwise: less than half of what a
/// plain SATA disk reads, so that logins and appends hardly notice.
pub const BACKUP_MB_PER_S: u64 = 50;

/// Most that may be asked for: faster than any disk, so that it is no limit.
pub const BACKUP_MB_PER_S_MAX: u64 = 100_000;

/// Bytes that a backup or a restore reads and writes at a time. After each the rate is kept, and whether to go on
/// is looked at.
pub const COPY_CHUNK_BYTES: usize = 256 * 1024;

/// Bytes of small state that a backup reads, and commits to its copy, at a time.
pub const COPY_SMALL_BYTES: usize = 1024 * 1024;

/// Bytes of a copy after which it is synced, so that the device never has much at once to write before the
/// log's next append.
pub const COPY_SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// Memory for pages of a copy of `hearth.redb` while it is written in the order of its keys.
pub const COPY_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Milliseconds a copy sleeps at most before it looks whether to go on.
pub const COPY_SLEEP_MS: u64 = 50;

/// Milliseconds between two words about how far a copy is.
pub const PROGRESS_MS: u64 = 500;

/// Bytes of a backup's manifest: some 150 for each segment, so that it lists tens of terabytes. A longer one is
/// refused as damaged.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
