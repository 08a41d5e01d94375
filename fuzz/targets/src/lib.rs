//! What is fuzzed: one function per target, given any bytes. It returns, or it panics and has found something.
//!
//! The programs that let libFuzzer call these are in the folder above; `tests/corpus.rs` calls them
//! with every file of `fuzz/corpus`, so that what was found once stays found by `cargo test`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a target that panics has found something"
)]

mod config;
mod differential;
mod framing;
mod jid;
mod link;
mod proxy;
mod sasl;
mod shard;
mod stream;
mod tree;

pub use config::config;
pub use differential::{CLOSE, HEADER, Inside, Tree, accepted, differential, ours};
pub use framing::framing;
pub use jid::jid;
pub use link::link;
pub use proxy::proxy;
pub use sasl::sasl;
pub use shard::shard;
pub use stream::stream;
pub use tree::tree;

/// A target: its name, which is that of its program and its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 10] = [
    ("config", config),
    ("differential", differential),
    ("framing", framing),
    ("jid", jid),
    ("link", link),
    ("proxy", proxy),
    ("sasl", sasl),
    ("shard", shard),
    ("stream", stream),
    ("tree", tree),
];
