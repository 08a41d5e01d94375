//! Every limit of the core: unit, reason, and what happens when it is reached.

use hearth_wire::limits::RECENT_MAX;

/// Those of the limits that a simulation also runs at their smallest: an outbox that takes one message at a
/// time, a client that may have one stanza under way. The defaults are the constants below, where each is
/// explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub outbox_bytes: u64,
    /// At least one stanza, the longest there is.
    pub session_window_bytes: u64,
    /// At least two frames, the longest there are: credit is restated when half of it is used.
    pub link_window_bytes: u64,
    pub under_way_bytes: u64,
    pub held_bytes: usize,
    /// At least what one session may be held.
    pub held_bytes_all: u64,
    pub entries: usize,
    pub unstored: usize,
    pub account_queue: usize,
    pub pending: usize,
    pub flush_page: u32,
    pub closes_per_turn: usize,
    /// The operator's `token_days`.
    pub token_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            outbox_bytes: OUTBOX_BYTES_MAX as u64,
            session_window_bytes: SESSION_WINDOW_BYTES,
            link_window_bytes: LINK_WINDOW_BYTES,
            under_way_bytes: UNDER_WAY_BYTES_MAX,
            held_bytes: HELD_BYTES_MAX,
            held_bytes_all: HELD_BYTES_ALL_MAX,
            entries: ENTRIES_MAX,
            unstored: UNSTORED_MAX,
            account_queue: ACCOUNT_QUEUE_MAX,
            pending: PENDING_MAX,
            flush_page: FLUSH_PAGE,
            closes_per_turn: CLOSES_PER_TURN,
            token_ms: TOKEN_MS,
        }
    }
}

/// Bytes of frames an edge may have on its way to a shard. Bounds what the shard's reader buffers.
pub const LINK_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of stanzas a session may have sent beyond what is settled. Reached: the edge stops reading
/// that client until settlement restates the credit. Twice the largest stanza, so one always fits.
pub const SESSION_WINDOW_BYTES: u64 = 1024 * 1024;

/// Bytes of clients' stanzas that one shard has received and not settled, of all sessions together: a flood of any number
/// of clients is bounded by it and by what links may bring beyond ([`LINK_WINDOW_BYTES`] each). From half of it on, a session
/// that has some under way is granted its share only; reached: edges get no more credit for their links, so that they read
/// no client until enough is settled, which waits for no client.
pub const UNDER_WAY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Bytes held for a session whose client does not read, beyond what the edge took. Logged messages take half of it,
/// one may pass that; more wait in the log. Reached by what is not logged: the session is detached.
pub const HELD_BYTES_MAX: usize = 512 * 1024;

/// Bytes that one shard holds for all its sessions together, a stanza counted for each it is held for. From half of it on a
/// session holds its share of logged messages and the rest waits in the log, and edges are granted no more credit for links that
/// have no room themselves. Reached: until three quarters are left, logged messages go back to the log, then sessions are
/// detached, both beginning with those whose clients do not read and who hold most.
pub const HELD_BYTES_ALL_MAX: u64 = 64 * 1024 * 1024;

/// Entries a session may have sent but not written. Reached: as [`HELD_BYTES_MAX`].
pub const ENTRIES_MAX: usize = 4096;

/// Records of its account's log that a session was sent and of which storage does not yet say that its client has them:
/// what its edge remembers. From half of it on marks are stored at once; reached: more waits in the log until they are.
pub const UNSTORED_MAX: usize = RECENT_MAX;

/// Work that waits while an account loads or writes. Reached: requests are refused with
/// `resource-constraint`, wait.
pub const ACCOUNT_QUEUE_MAX: usize = 1024;

/// Appends and stanzas in order behind them, per account. Reached: as [`ACCOUNT_QUEUE_MAX`].
pub const PENDING_MAX: usize = 8192;

/// Bytes on their way to one other shard; one message fits whatever its size. Reached: requests are refused
/// with `resource-constraint`.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a slot's new owner waits for the old one's word that it is done, and how long what waits for a
/// slot that was lost is kept until it is known to whom, milliseconds. Longer: the slot is served all the
/// same; what waits is refused with `resource-constraint`.
pub const SLOT_WAIT_MS: u64 = 5_000;

/// How long until storage is asked again for a slot it could not give, milliseconds.
pub const SLOT_RETRY_MS: u64 = 1_000;

/// How often moves under way are looked after, milliseconds, beyond what makes them go on by itself.
pub const SLOT_TICK_MS: u64 = 50;

/// Stanzas that wait for one moving slot on one shard. Reached: requests are refused with
/// `resource-constraint`.
pub const SLOT_STANZAS_MAX: usize = 1024;

/// Shards that may send a stanza on, one after the other, while its slot moves. Reached: as above.
pub const HOPS_MAX: u8 = 4;

/// Resources of one account. Reached: binding is refused with `resource-constraint` (RFC 6120 §7.6.2.1).
pub const SESSIONS_PER_ACCOUNT_MAX: usize = 64;

/// Sockets between connection and bind, per shard. Reached: `temporary-auth-failure`.
pub const LOGINS_MAX: usize = 65_536;

/// Failed attempts per stream; the last one closes it (RFC 6120 §6.4.5 recommends 2 to 5).
pub const LOGIN_FAILURES_MAX: u8 = 5;

/// Messages kept for an account nobody is there to read. Reached: `service-unavailable` to the
/// sender (XEP-0160 §2), never a silent drop.
pub const OFFLINE_MESSAGES_MAX: usize = 1000;

/// Bytes of a message for an account nobody is there to read, times the number of messages that wait with it: the fuller,
/// the shorter. One of a hundred may have 80 KiB, the last of a thousand 8; all of them together stay below 64 MiB. Reached:
/// as [`OFFLINE_MESSAGES_MAX`].
pub const OFFLINE_BYTES: usize = 8 * 1024 * 1024;

/// Messages read from the log at once for an offline flush.
pub const FLUSH_PAGE: u32 = 64;

/// Bytes on their way to an edge, about, above which work that nobody waits for is done one piece a turn: what is younger stands
/// behind them, some ten milliseconds' worth of the edge's work.
pub const LINK_CALM_BYTES: u64 = 192 * 1024;

/// Sessions that end per turn when a link dies or many sockets close at once, each with a presence for every contact
/// who is there: so turns stay short, of the edges too. More wait for the next turn.
pub const CLOSES_PER_TURN: usize = 32;

/// How long an account without sessions stays in memory: a burst of messages costs one read.
pub const ACCOUNT_IDLE_MS: u64 = 30_000;

/// Log marks and sessions are stored this late, where the store is well: a crash of core and edge redelivers this much,
/// with the same ids.
pub const MARKS_STORE_MS: u64 = 3_000;

/// Accounts looked at, and sessions stored or removed, in a turn of a round of what is stored late. More wait for
/// the next turn.
pub const LATE_PER_TURN: usize = 512;

/// Changes that are stored late and not answered, of all shards together, about: half of what storage lets wait. A round
/// goes on when some are answered.
pub const LATE_UNDER_WAY_MAX: usize = hearth_storage::limits::QUEUE_QUESTIONS_MAX / 2;

/// How often a shard forgets what nobody goes on with, and reads again what could not be read.
pub const SWEEP_MS: u64 = 750;

/// Bytes of the status text kept of the last presence of an account that is gone (XEP-0012). Longer
/// ones are cut.
pub const LAST_STATUS_BYTES_MAX: usize = 1023;

/// Silence after which a link sends a heartbeat, and after which it is dead.
pub const HEARTBEAT_MS: u64 = 1_000;
pub const LINK_DEAD_MS: u64 = 3_000;

/// How long sessions of a link that was lost wait to be attached anew, and how long a core that starts waits
/// for the edges on record, milliseconds of its own running time. Longer: the sessions are parked or end.
pub const LINK_GRACE_MS: u64 = 10_000;

/// Milliseconds for which a question that a lost core left open may still be answered: half a minute is longer than
/// clients and bots take; an answer that comes later is dropped.
pub const OPEN_QUESTION_MS: u64 = 30_000;

/// Questions of one session that are remembered to want its answer, and of those that it asked. Of more the oldest are
/// forgotten: their answers are their askers' patience.
pub const QUESTIONS_MAX: usize = 64;

/// How long a session without a socket waits for its client (XEP-0198 §5), seconds, unless the client asks
/// for less. Longer: it ends, and what its client did not acknowledge is the account's again.
pub const RESUME_S: u32 = 600;

/// Ended sessions of a shard of which is remembered how much of what their clients sent was handled (XEP-0198 §5).
/// The oldest are forgotten: a client that comes after that sends again what it cannot know of.
pub const ENDED_MAX: usize = 4_096;

/// How long a resumption waits until all is settled that the old socket's stanzas began, milliseconds.
/// Longer: it fails with `resource-constraint`, and the client may try again.
pub const RESUME_SETTLE_MS: u64 = 5_000;

/// How long a stanza that changed its account is remembered after it is settled, milliseconds: until its edge must
/// have heard that it is, or its link is known to be dead.
pub const EXECUTED_KEPT_MS: u64 = LINK_GRACE_MS;

/// How long the stanzas of a session that has ended are remembered, milliseconds from the last of them, or from when
/// its account was loaded: longer than an edge keeps sessions of a core that it cannot reach. After that they go with
/// the account's next change.
pub const EXECUTED_ENDED_MS: u64 = 10 * 60 * 1000;

/// Sessions of an account whose stanzas are remembered so: more than bind in ten minutes. Reached: of those that have ended
/// the one that changed nothing for longest is forgotten.
pub const EXECUTED_SESSIONS_MAX: usize = 64;

/// Such stanzas remembered of one session: more than a client has under way but when it moves in with a whole roster.
/// Reached: the oldest is forgotten; should the core die before the edge hears that it is settled, it is executed
/// again. Each is some eight bytes of every change of the session's.
pub const EXECUTED_MAX: usize = 64;

/// Bytes of a capsule's contents: presence, and where directed presence went. A session with more is not
/// adopted by the next core, its stream ends with `reset`.
pub const CAPSULE_BYTES_MAX: usize = 64 * 1024;

/// Accounts that are loaded at once for sessions of the core before this one. More wait.
pub const RESTORED_AT_ONCE_MAX: usize = 256;

/// Frames and messages of other shards that wait while sessions are adopted. What edges may send is bounded
/// by their links' credit, what shards may by their outboxes; past this number the wait ends.
pub const RECOVERY_WAITING_MAX: usize = 1 << 20;

/// Contacts of one roster. Reached: `resource-constraint` on the set that would pass it.
pub const ROSTER_ITEMS_MAX: usize = 2_000;

/// Bytes of addresses, names and groups of one roster. With the tokens around them the whole roster
/// is one stanza that a session may be sent ([`HELD_BYTES_MAX`]). Reached: as [`ROSTER_ITEMS_MAX`].
pub const ROSTER_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a contact's name or of one group's name. Longer: `not-acceptable` (RFC 6121 §2.3.3).
pub const ROSTER_NAME_BYTES_MAX: usize = 1023;

/// Groups of one contact. More: `not-acceptable`.
pub const ROSTER_ITEM_GROUPS_MAX: usize = 32;

/// Subscription requests kept for an account until it answers (RFC 6121 §3.1.3). Reached:
/// `resource-constraint` to who asks, so that strangers cannot fill an account.
pub const REQUESTS_MAX: usize = 256;

/// Bytes of one kept subscription request: a greeting and a token, no pictures. Longer:
/// `policy-violation` to who asks.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// Addresses an account may ask for their presence within [`SUBSCRIPTIONS_WINDOW_MS`] (RFC 6121 §3.1.2): more than who
/// moves in with a roster, too few to fill a server's accounts with requests. Reached: `resource-constraint`, wait.
pub const SUBSCRIPTIONS_MAX: u32 = 500;

/// How long such a request counts, milliseconds from the first of them.
pub const SUBSCRIPTIONS_WINDOW_MS: u64 = 60 * 60 * 1000;

/// Accounts that asked of late, per shard. Reached: the one that began longest ago makes room.
pub const SUBSCRIPTIONS_ROWS_MAX: usize = 4 * 1024;

/// Addresses an account may block (XEP-0191). Reached: `resource-constraint`.
pub const BLOCKED_MAX: usize = 1_000;

/// Bytes of these addresses: with the tokens around them the list is one stanza that a session may be sent.
/// Reached: as [`BLOCKED_MAX`].
pub const BLOCKED_BYTES_MAX: usize = 128 * 1024;

/// Addresses a session may have sent directed presence to (RFC 6121 §4.6). Reached:
/// `resource-constraint`.
pub const DIRECTED_MAX: usize = 1_024;

/// Addresses that one presence stanza goes to, at most: all contacts, and where directed presence went. Each has at most
/// [`SESSIONS_PER_ACCOUNT_MAX`] resources. It follows from [`ROSTER_ITEMS_MAX`] and [`DIRECTED_MAX`], which refuse what is more.
pub const FANOUT_MAX: usize = ROSTER_ITEMS_MAX + DIRECTED_MAX;

/// Bytes of recipients' addresses in one multicast, so that the frame stays far below the link's
/// longest. More recipients take more frames.
pub const MULTICAST_ADDRESS_BYTES_MAX: usize = 256 * 1024;

/// Event loops of one edge that a core waits for when it starts; more than any edge has.
pub const EVENT_LOOPS_MAX: u16 = 256;

/// Bytes of numbers, lengths and flags in a frame that brings one session one stanza, at most.
pub const FRAME_REST_BYTES_MAX: usize = 64;

/// Links of one shard. Reached: the edge is refused.
pub const LINKS_MAX: usize = 1_024;
/// Names of edges on record as linked. Reached: the next core does not wait for another one's sessions, which end if it is late.
pub const EDGE_RUNS_MAX: usize = 1_024;
/// Bytes that wait to be written to one edge: more than all it grants credit for and says hello to. Reached: the link is closed.
pub const LINK_OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Connections that have not greeted yet: TLS and preamble. Reached: more are closed at once.
pub const LINKS_GREETING_MAX: usize = 2_048;
/// The same from one address: an edge dials from each of its event loops to each shard at once.
pub const LINKS_GREETING_PER_ADDRESS_MAX: usize = 512;
/// How long that may take, milliseconds: some lost packets on a long way. Then the connection is closed.
pub const LINK_GREETING_MS: u64 = 10_000;

/// How long an unauthenticated socket that says nothing more is remembered; longer than any edge
/// lets one live, so it only clears what an edge forgot to report.
pub const LOGIN_IDLE_MS: u64 = 10 * 60 * 1000;

/// PBKDF2 iterations of new credentials, and of the pretence for unknown accounts (RFC 5802 §5.1
/// asks for 4,096 at least). A client pays them at each login, the server at PLAIN and password
/// changes only.
pub const SCRAM_ITERATIONS: u32 = 10_000;

/// Bytes of a salt, drawn per account and hash.
pub const SCRAM_SALT_BYTES: usize = 16;

/// Bytes of a client's part of a SCRAM nonce; those in use have 16 to 64. Reached: `malformed-request`. It is kept three
/// times while an exchange is under way, for strangers.
pub const SCRAM_CLIENT_NONCE_BYTES_MAX: usize = 512;

/// Random bytes of the server's part of a SCRAM nonce, before base64.
pub const SCRAM_NONCE_BYTES: usize = 18;

/// Bytes of one SASL message of a client, decoded from base64. Reached: `malformed-request`. Longer
/// than any edge forwards before authentication, short enough to hash without thought.
pub const SASL_MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Failures for one account from one source prefix within [`ATTEMPTS_WINDOW_MS`]. Reached: each
/// attempt is `temporary-auth-failure`, right password or not. A client that tries every mechanism on
/// each of its reconnects uses seven at a time.
pub const ATTEMPTS_MAX: u32 = 20;

/// How long failures count, milliseconds from the first of them.
pub const ATTEMPTS_WINDOW_MS: u64 = 5 * 60 * 1000;

/// Accounts and source prefixes with failures of late, per shard, about 100 bytes each. Reached: the
/// one that began longest ago makes room.
pub const ATTEMPTS_ROWS_MAX: usize = 16 * 1024;

/// Wrong passwords by PLAIN from one source prefix, whatever the accounts, within
/// [`ATTEMPTS_WINDOW_MS`]: each costs a worker 1.3 ms and the stranger nothing. Reached: PLAIN from
/// there is `temporary-auth-failure`; SCRAM, which costs the client more than the server, goes on.
pub const PLAIN_FAILURES_MAX: u32 = 300;

/// How long a token (XEP-0484) is good for unless the operator says otherwise, milliseconds: 21 days. Then its client
/// needs the password again; one that comes now and then gets another in time.
pub const TOKEN_MS: u64 = 21 * 24 * 60 * 60 * 1000;

/// Most days for a token: a year. More is refused in the configuration.
pub const TOKEN_DAYS_MAX: u32 = 366;

/// Age at which a token that is used is to be replaced, milliseconds: a day, or half its life if that is shorter. Each
/// replacement costs a commit.
pub const TOKEN_RENEW_MS: u64 = 24 * 60 * 60 * 1000;

/// Clients of one account that have tokens, some 300 bytes each while the account is in memory. Reached: the one that
/// used none for longest needs the password again.
pub const DEVICES_PER_ACCOUNT_MAX: usize = 16;

/// Derivations that wait for a worker: at 1.3 ms each, what two workers finish in about two thirds
/// of a second (new passwords: three seconds). Reached: a login is `temporary-auth-failure`.
pub const DERIVE_QUEUE_MAX: usize = 1024;
/// Bytes of a vCard as a tree: a photo in base64 and some lines. Reached: `policy-violation`.
pub const VCARD_BYTES_MAX: usize = 256 * 1024;

/// Fields of a submitted data form (XEP-0004); ours have a handful. More: `bad-request`.
pub const FORM_FIELDS_MAX: usize = 64;

/// Bytes of one element of private storage (XEP-0049) as a tree, of all of an account, and how many
/// elements. Reached: `policy-violation`. What is kept is read and written as one.
pub const PRIVATE_ELEMENT_BYTES_MAX: usize = 64 * 1024;
pub const PRIVATE_BYTES_MAX: usize = 256 * 1024;
pub const PRIVATE_ELEMENTS_MAX: usize = 64;

/// Accounts one IPv4 address or IPv6 /64 may ask for in-band (XEP-0077 §3.1), the refused for
/// conflict among them, within [`REGISTRATIONS_WINDOW_MS`], unless the domain says otherwise.
/// Reached: `resource-constraint`, wait.
pub const REGISTRATIONS_MAX: u32 = 10;

/// Accounts that may be asked for in-band at one domain from everywhere, within the same time,
/// unless the domain says otherwise. Reached: the same.
pub const REGISTRATIONS_PER_DOMAIN_MAX: u32 = 200;

/// Characters of a password that a user chooses, at least (NIST SP 800-63B §5.1.1.1 has 8), unless
/// the domain says otherwise. Fewer: `not-acceptable`.
pub const PASSWORD_CHARS_MIN: u32 = 8;

/// What a domain may ask for at most.
pub const PASSWORD_CHARS_MIN_MAX: u32 = 64;

/// Names that a domain keeps from registration. More are refused in the configuration.
pub const RESERVED_NAMES_MAX: usize = 1_000;

/// Contact addresses of one role of a domain (XEP-0157), bytes of one. More are refused in the
/// configuration: each disco#info of the server carries them.
pub const CONTACTS_MAX: usize = 16;
pub const CONTACT_BYTES_MAX: usize = 1_000;

/// How long a registration counts, milliseconds from the first of them.
pub const REGISTRATIONS_WINDOW_MS: u64 = 60 * 60 * 1000;

/// Source prefixes that registered of late, per shard. Reached: the one that began longest ago
/// makes room.
pub const REGISTRATIONS_ROWS_MAX: usize = 4 * 1024;

/// Bytes of one field that a vCard lists in the directory (XEP-0055): a name, not a story. A longer one is left
/// out.
pub const LISTED_BYTES_MAX: usize = 256;

/// Bytes of one term of a search. Reached: `policy-violation`; nothing that long is listed.
pub const SEARCH_TERM_BYTES_MAX: usize = LISTED_BYTES_MAX;

/// Accounts in one answer to a search. There may be more: the next page (XEP-0059) or a narrower search
/// shows them.
pub const SEARCH_RESULTS_MAX: u32 = 50;

/// Searches of one account, each page for itself, within [`SEARCHES_WINDOW_MS`]: more than a person types,
/// too few to read out a large directory. Reached: `resource-constraint`, wait.
pub const SEARCHES_MAX: u32 = 60;

/// How long a search counts, milliseconds from the first of them.
pub const SEARCHES_WINDOW_MS: u64 = 10 * 60 * 1000;

/// Accounts that searched of late, per shard. Reached: the one that began longest ago makes room.
pub const SEARCHES_ROWS_MAX: usize = 4 * 1024;

/// Bytes of one text among a command's parameters: the longest address, a long password. Reached:
/// the command is refused.
pub const COMMAND_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Values of one parameter that may be repeated. Reached: the command is refused.
pub const COMMAND_MANY_MAX: usize = 64;

/// Rows of one answer to an operator. What is beyond is told apart by narrower questions.
pub const COMMAND_ROWS_MAX: usize = 10_000;

/// Bytes of one file of the audit log: some 60,000 changes. Reached: the next file begins.
pub const AUDIT_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files of the audit log, the current one among them. Reached: the oldest goes.
pub const AUDIT_FILES_MAX: u32 = 8;

/// Accounts, or domains, in one page of a list.
pub const COMMAND_PAGE: u32 = 500;

/// Domains of one core, as many as an edge takes. Reached: `domain add` is refused.
pub const DOMAINS_MAX: usize = 65_536;

/// Removed domains whose accounts are being deleted, a thread each. Reached: `domain remove --delete-data` of one
/// more is refused.
pub const DELETIONS_MAX: usize = 16;

/// Accounts of one removed domain that are being deleted at the same time: their writes share a commit, and what
/// they tell their contacts fits the contacts' queues. Reached: the next ones wait.
pub const DELETIONS_AT_ONCE: usize = 32;

/// How long `domain remove --delete-data` waits for the last account, milliseconds. Longer: it says how far the
/// deletion is, which goes on.
pub const DELETION_WAIT_MS: u64 = 5_000;
