//! Every limit of the edge: unit, reason, and what happens when it is reached.

use crate::xml::Limits;
use hearth_wire::tree::DEPTH_MAX;

impl Limits {
    /// What a stream may send before it is authenticated: enough for any SASL exchange and bind request.
    /// Reached: `policy-violation`, so that a stranger never holds more than these bytes of memory.
    pub const PRE_AUTH: Limits = Limits {
        bytes: STRANGER_XML_BYTES_MAX,
        depth: STRANGER_DEPTH_MAX,
        elements: STRANGER_ELEMENTS_MAX,
        attributes: STRANGER_ATTRIBUTES_MAX,
        namespaces: STRANGER_ATTRIBUTES_MAX,
        tree_bytes: STRANGER_TREE_BYTES_MAX,
    };

    /// What an authenticated client may send in one stanza: avatars and key bundles pass.
    /// Reached: `policy-violation`. The tree of a stanza stays under [`hearth_wire::codec::FRAME_BYTES_MAX`] with room
    /// for its envelope; it outgrows its XML when elements are tiny or long namespace names are used again and again.
    pub const AUTHENTICATED: Limits = Limits {
        bytes: STANZA_XML_BYTES_MAX,
        depth: DEPTH_MAX,
        elements: STANZA_ELEMENTS_MAX,
        attributes: STANZA_ATTRIBUTES_MAX,
        namespaces: STANZA_ATTRIBUTES_MAX,
        tree_bytes: STANZA_TREE_BYTES_MAX,
    };
}

/// Bytes of prefixes and namespaces that a stream header declares, which a stream keeps: ten times what clients declare.
/// Reached: `policy-violation`. With [`Limits::PRE_AUTH`] it bounds what a stranger costs (threats, row 1).
pub const HEADER_NAMESPACE_BYTES_MAX: usize = 2 * 1024;

/// Bytes of XML of one piece before login ([`Limits::PRE_AUTH`]). Longer: `policy-violation`.
pub const STRANGER_XML_BYTES_MAX: usize = 8 * 1024;
/// The same: how deep its elements lie in each other.
pub const STRANGER_DEPTH_MAX: usize = 8;
/// The same: its elements.
pub const STRANGER_ELEMENTS_MAX: usize = 32;
/// The same: attributes of one element, and namespaces declared in it.
pub const STRANGER_ATTRIBUTES_MAX: usize = 16;
/// The same: bytes of what it becomes as a tree.
pub const STRANGER_TREE_BYTES_MAX: usize = 16 * 1024;

/// Bytes of XML of one stanza ([`Limits::AUTHENTICATED`]). Longer: `policy-violation`.
pub const STANZA_XML_BYTES_MAX: usize = 256 * 1024;
/// The same: its elements.
pub const STANZA_ELEMENTS_MAX: usize = 4096;
/// The same: attributes of one element, and namespaces declared in it.
pub const STANZA_ATTRIBUTES_MAX: usize = 64;
/// The same: bytes of what it becomes as a tree.
pub const STANZA_TREE_BYTES_MAX: usize = 512 * 1024;

/// Bytes read from one socket before the others get their turn; the rest is read in the next turn.
pub const READ_BYTES_PER_TURN: usize = 64 * 1024;

/// The same at least, of a session whose link has less credit: what a link does not take waits here, in each of its clients'
/// memory, and had better wait with its client. A stanza of usual length, so that a read is worth its system call.
pub const READ_BYTES_MIN: usize = 4 * 1024;

/// Bytes that one client sends to its link before the others that wait for it get their turn: two reads' worth. More, and who says
/// little waits long among those who flood; less, and each of their reads brings less than it costs. Reached: it waits behind them.
pub const LINK_SHARE_BYTES: usize = 8 * 1024;

/// Shared read buffer of a loop: one system call reads at most this. Four TLS records.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The same of a client that is not authenticated: what it sends ahead of our answers is kept, and that is all
/// that is read meanwhile (threats, row 1).
pub const STRANGER_READ_BYTES: usize = 8 * 1024;

/// Bytes of a PROXY header of version 1, its end of line among them, as the protocol has it. Longer: the connection is
/// closed.
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// Bytes of a PROXY header of version 2 with its additional values, which nobody here looks at: room for all that
/// proxies send but certificates. Longer: the connection is closed.
pub const PROXY_HEADER_BYTES_MAX: usize = 2 * 1024;

/// Milliseconds that a trusted proxy has for its header, which it sends at once. Longer: the connection is closed.
pub const PROXY_HEADER_MS: u64 = 5_000;

/// Clients that come or go (until their first presence, and from the end of their sockets on) dealt with in one turn because of their
/// sockets: less than a millisecond. The rest in the next turn, behind those who are there.
pub const PUT_OFF_PER_TURN: usize = 32;

/// Connections accepted per listener and turn, so that a storm of clients does not starve the others.
pub const ACCEPTS_PER_TURN: usize = 32;

/// Newcomers for whom the core has something to do at one time, of each loop: enough to keep it busy, and no more work
/// than a turn can do before the stanzas of those who are there. More wait in order (`entry.rs`).
pub const NEWCOMERS_AT_ONCE: usize = 32;

/// Stanzas that a new session sends as a newcomer, and how long, in milliseconds, unless presence comes before.
pub const NEWCOMER_STANZAS: u8 = 8;
/// See [`NEWCOMER_STANZAS`].
pub const NEWCOMER_MS: u64 = 3_000;

/// Sources (addresses, IPv6 by /64) whose handshakes are counted, of each loop: 4 MB. Reached: further ones share one count.
pub const HANDSHAKE_SOURCES_MAX: usize = 65_536;

/// Milliseconds that a client waits for its turn to begin a handshake at most, less than `login_s` leaves it. Who would
/// have to wait longer is closed at once.
pub const HANDSHAKE_WAIT_MS_MAX: u64 = 15_000;

/// Milliseconds without any newcomer's coming or going after which those inside count no more.
pub const ENTRY_STUCK_MS: u64 = 500;

/// Pending connections the kernel queues per listener; more are dropped by the kernel and retried by the client.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Descriptors that are not client sockets: links, listeners, logs, epoll, those of the runtime.
pub const DESCRIPTORS_RESERVED: u64 = 128;

/// Most connections of one loop: handle counters have 20 bits for the place in the table.
pub const CONNECTIONS_PER_LOOP_MAX: usize = 1 << 20;

/// Most event loops: handle counters have 8 bits for the loop.
pub const EVENT_LOOPS_MAX: u16 = 256;

/// A loop that reached its cap of connections, or that had no descriptor left, accepts again below
/// this share (in tenths) of the cap.
pub const ACCEPT_RESUME_TENTHS: usize = 9;

/// Milliseconds without accepting after the kernel said that there is no descriptor or memory.
pub const ACCEPT_PAUSE_MS: u64 = 200;

/// Whitespace keepalives and everything else kept, a client that has been sent the end of its stream
/// has this many milliseconds to close its side (RFC 6120 §4.4); then the socket is dropped.
pub const LINGER_MS: u64 = 3_000;

/// Bytes read and thrown away while a closing client finishes; then the socket is dropped.
pub const LINGER_BYTES: usize = 256 * 1024;

/// Milliseconds between two shares of streams that are ended, on average.
pub const DRAIN_STEP_MS: u64 = 50;

/// Bytes of a certificate chain's or a key's file that are read.
pub const CERTIFICATE_BYTES_MAX: u64 = 1024 * 1024;

/// Domains whose clients may log in by certificates. More are refused in the configuration: each certificate that a client shows
/// is looked at for all of them.
pub const CLIENT_AUTHORITIES_MAX: usize = 64;

/// Days before a certificate runs out at which a warning is logged, whenever it is read.
pub const CERTIFICATE_WARN_DAYS: u64 = 14;

/// Stream domains for which a loop keeps a TLS configuration (half a kilobyte); then it begins anew.
pub const DOMAIN_TLS_MAX: usize = 4_096;

/// Elements that a client may send before it is bound (`policy-violation`); threats, row 2.
pub const PRE_AUTH_ELEMENTS_MAX: u16 = 32;

/// Longest SASL mechanism name (RFC 4422 §3.1); longer is `invalid-mechanism`.
pub const MECHANISM_BYTES_MAX: usize = 20;

/// Longest stanza `id` that is kept across the question of resource binding; longer is `bad-request`.
pub const BIND_ID_BYTES_MAX: usize = 1024;

/// Longest `xml:lang` that a stream keeps as its default (RFC 5646 §4.4.1); a longer one is ignored.
pub const LANG_BYTES_MAX: usize = 35;

/// Window of delivered stanzas per session, in encoded bytes: what the core may send before the
/// client took any of it. Bounds the output kept for a client that does not read.
pub const SESSION_WINDOW_BYTES: u64 = 128 * 1024;

/// A session's entries are reported as written at the latest when this much of its window is used
/// (see `session.rs`, "Written").
pub const WRITTEN_REPORT_BYTES: u64 = SESSION_WINDOW_BYTES / 4;

/// The same by count: the core holds an entry until it is reported.
pub const WRITTEN_REPORT_ENTRIES: u32 = 256;

/// Milliseconds after which the entries of a quiet session are reported as written.
pub const WRITTEN_REPORT_MS: u64 = 1_000;

/// XEP-0198: milliseconds for which an `<r/>` waits at most for what its client sent to be settled. Reached: it is answered
/// with the mark as it is (§4 allows nothing but a timeout to withhold the answer). Some ten times what a commit takes.
pub const ACK_WAIT_MS: u64 = 20;

/// XEP-0198: stanzas sent since the last `<r/>` after which the client is asked again, if none of them is a message
/// (for which it is asked at once): what is not acknowledged is held in memory on both sides.
pub const ACK_ENTRIES: u16 = 20;

/// XEP-0198: seconds after which a client is asked about stanzas that it was not asked about.
pub const ACK_AFTER_S: u8 = 10;

/// Longest `previd` of a `<resume/>`; ours are far shorter. Longer: `bad-request`.
pub const PREVID_BYTES_MAX: usize = 256;

/// Output kept for one client, rendered; beyond it the core broke the session's window or a
/// negotiation is not read, and the connection is dropped. XML of a window may be larger than its trees.
pub const OUTPUT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of credited frames that a shard may send ahead of what this loop has read.
pub const LINK_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// The link's credit is restated when this much of its window was used: often enough that the shard sees how far behind
/// this loop is, and lets what nobody waits for wait.
pub const LINK_CREDIT_STEP_BYTES: u64 = LINK_WINDOW_BYTES / 64;

/// Bytes read from one link in a turn; the rest is read in the next turn.
pub const LINK_READ_BYTES_PER_TURN: usize = 1024 * 1024;

/// Sessions named on new links in one turn, so that clients are read and written meanwhile; the rest in the next.
pub const ATTACHES_PER_TURN: usize = 256;

/// Sockets that ended while their session had no link, remembered with what the core has not settled: more than end
/// in a restart of the core among 100,000 clients. Reached: the one that connected first is forgotten and logged.
pub const TOMBS_MAX: usize = 4_096;

/// Bytes waiting for one link beyond which its clients are not read.
pub const LINK_OUTPUT_HIGH_BYTES: usize = 1024 * 1024;

/// Milliseconds without other traffic after which a heartbeat goes out.
pub const HEARTBEAT_MS: u64 = 1_000;

/// Milliseconds between two questions on a link of how long a round trip takes, one at a time. An unanswered one is
/// not asked again: the link is from before it, or is about to be dead.
pub const ECHO_MS: u64 = 1_000;

/// Milliseconds of silence after which a link is dead.
pub const LINK_SILENCE_MS: u64 = 3_000;

/// First and longest pause between two dials, milliseconds; doubled each time, less up to half by jitter.
pub const REDIAL_MS_MIN: u64 = 100;
pub const REDIAL_MS_MAX: u64 = 5_000;

/// Longest pause in the first [`REDIAL_SOON_MS`] of an outage, milliseconds: a core that is upgraded is back by then,
/// and every session waits for the dial.
pub const REDIAL_SOON_MS_MAX: u64 = 200;
pub const REDIAL_SOON_MS: u64 = 15_000;

/// Domains a core may announce.
pub const DOMAINS_MAX: usize = 65_536;

/// Shards a core may announce.
pub const SHARDS_MAX: u16 = 1_024;

/// Granularity of timers, milliseconds.
pub const TICK_MS: u64 = 250;

/// Buffers kept for reuse by a loop when no connection needs them, and the largest capacity kept.
pub const POOL_BUFFERS: usize = 32;
pub const POOL_BUFFER_BYTES: usize = 32 * 1024;

/// An unfinished TLS record, or the records of an unfinished handshake message. A record takes 16.3 KiB at most,
/// a hello with post-quantum shares a tenth of that. Reached: the connection is dropped.
pub const TLS_INPUT_BYTES_MAX: usize = 20 * 1024;

/// TLS key updates and other records without data that a client may send more than data makes up for; threats, row 15.
/// Reached: the connection is dropped.
pub const TLS_EMPTY_RECORDS_MAX: u32 = 64;

/// Records with data that make up for one of [`TLS_EMPTY_RECORDS_MAX`], or as many KiB: whoever renews keys by the hour and
/// sends a space now and then is never near it, and a space between two key updates buys nobody more of them.
pub const TLS_DATA_PER_EMPTY_RECORD: u32 = 4;

/// Stack of the thread that reads and makes certificates.
pub const KEEPER_STACK_BYTES: usize = 256 * 1024;

/// Stack of an event loop's thread. Nothing on the stanza path recurses.
pub const LOOP_STACK_BYTES: usize = 512 * 1024;
