//! The brain: accounts, sessions, presence, routing. It never sees XML text.
//!
//! [`shard::Shard`] is a pure machine: [`shard::Input`] and the time go in, [`outputs::Outputs`] come
//! out; it knows no clock, socket, thread or random source. `runtime.rs` runs one per thread over
//! links, channels and storage answers; the simulator runs the same code.
//!
//! ```text
//!  edges ──frames──▶ link ──▶ Shard::handle ──▶ login (SASL, bind)
//!                                │            ├▶ route::outbound ─▶ features, or the recipient's shard
//!  storage ──answers────────────▶│            ├▶ route::inbound ──▶ delivery to the account's sessions
//!  shards ──peer messages───────▶│            └▶ settlement of what the edge numbered
//!  hearthctl ──commands─────────▶│
//! ```

pub mod account;
pub mod accounts;
pub mod attach;
pub mod audit;
pub mod bind;
pub mod blocking;
pub mod capsule;
pub mod classify;
pub mod commands;
pub mod config;
pub mod contact;
pub mod control;
pub mod cx;
pub mod degraded;
pub mod delivery;
pub mod derive;
pub mod disco;
pub mod domain;
pub mod drain;
pub mod edges;
pub mod entity_time;
pub mod executed;
#[cfg(test)]
mod exhaustion;
pub mod fast;
pub mod fate;
pub mod features;
pub mod forms;
pub mod held;
pub mod invisible;
pub mod iq;
pub mod jid_escaping;
pub mod last_activity;
pub mod late;
pub mod legacy_session;
pub mod limits;
pub mod link;
pub mod logging;
pub mod login;
pub mod message;
pub mod offline;
pub mod outputs;
pub mod owned;
pub mod ping;
pub mod presence;
pub mod private_storage;
pub mod process;
pub mod provision;
pub mod questions;
pub mod random;
pub mod records;
pub mod recovery;
pub mod register;
pub mod reply;
pub mod result_sets;
pub mod roster;
pub mod route;
pub mod runtime;
pub mod sasl;
pub mod search;
pub mod server_info;
pub mod session;
pub mod shard;
pub mod slab;
pub mod slots;
pub mod sm;
pub mod stanza_ids;
pub mod stream_features;
pub mod subscription;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod total;
pub mod under_way;
pub mod vcard;
pub mod version;

/// The time as a machine sees it: monotonic for timers, UTC for stamps. Milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono_ms: u64,
    pub utc_ms: u64,
}
