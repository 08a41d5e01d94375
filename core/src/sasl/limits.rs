//! Limits of authentication.

/// PBKDF2 iterations of new credentials, and of the pretence for unknown accounts (RFC 5802 §5.1
/// asks for 4,096 at least). A client pays them at each login, the server at PLAIN and password
/// changes only.
pub const ITERATIONS: u32 = 10_000;

/// Bytes of a salt, drawn per account and hash.
pub const SALT_BYTES: usize = 16;

/// Random bytes of the server's part of a SCRAM nonce, before base64.
pub const NONCE_BYTES: usize = 18;

/// Bytes of one message of a client, decoded from base64; longer is `malformed-request`. Longer
/// than any edge forwards before authentication, short enough to hash without thought.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Failures on one stream; the last of them closes it (RFC 6120 §6.4.5).
pub const FAILURES_PER_STREAM_MAX: u32 = 5;

/// Failures for one account from one source prefix within [`ATTEMPTS_WINDOW_MS`]; beyond, each
/// attempt is `temporary-auth-failure`, right password or not. A client that tries every
/// mechanism on each of its reconnects uses five at a time.
pub const ATTEMPTS_MAX: u32 = 20;

/// How long a failure counts, milliseconds from the first of its row.
pub const ATTEMPTS_WINDOW_MS: u64 = 5 * 60 * 1000;

/// Rows of [`super::attempts::Attempts`], one per account and source prefix that failed lately.
/// About 100 bytes each; when full, the row that began longest ago makes room.
pub const ATTEMPTS_ROWS_MAX: usize = 16 * 1024;

/// Derivations that wait for a worker, per pool: at 1.3 ms each, what two workers finish in
/// about two thirds of a second. Beyond, a login is `temporary-auth-failure`.
pub const DERIVE_QUEUE_MAX: usize = 1024;
