//! What lies under the frames of a link: the socket, and the keys by which edge and core know each other.
//!
//! It promises that a TLS link is between the two keys an operator joined, and nobody else's. Keys are raw
//! Ed25519 public keys (RFC 7250) in TLS 1.3, pinned on both ends: the core keeps a list of edges' keys, an
//! edge keeps the core's. There is no certificate, authority or date to get wrong, and a key is revoked by
//! striking it from the list.
//!
//! ```text
//!  edge                                                core
//!  bundle.rs  name, its key, the core's key            key.rs   its own key, made at first use
//!  tls.rs     client_config: pins the core's key  ══▶  tls.rs   server_config: asks a Keyring for the name
//!  socket.rs  Unix, plain TCP (loopback), TLS          socket.rs
//!  output.rs  what waits for it                        output.rs
//!  watch.rs   what its readiness is polled for         watch.rs
//!  pace.rs    how often the loop around it turns       pace.rs
//! ```
//! `metrics.rs` is what both daemons tell whoever collects figures, `purge.rs` how they give back memory.
//!
//! ```
//! use hearth_link::{Bundle, PrivateKey};
//! let (core, edge) = (PrivateKey::generate()?, PrivateKey::generate()?);
//! let bundle = Bundle { name: "paris".into(), core: "core.example.org:5270".into(), key: edge, core_key: core.public()? };
//! assert_eq!(Bundle::parse(&bundle.to_text()).unwrap().name, "paris");
//! # Ok::<(), hearth_link::KeyError>(())
//! ```

mod bundle;
mod key;
pub mod limits;
pub mod metrics;
mod output;
mod pace;
mod purge;
mod socket;
pub mod tls;
mod watch;

pub use bundle::Bundle;
pub use key::{KeyError, PrivateKey, PublicKey, write_secret};
pub use limits::EDGE_NAME_BYTES_MAX;
pub use output::Output;
pub use pace::Pace;
pub use purge::give_back_at_once;
pub use socket::{Socket, TlsSocket};
pub use watch::Watch;

/// Whether this process may do anything on its machine. A daemon that only serves a port has no use for that, and whoever
/// breaks into it has. False where it cannot be known.
pub fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

/// Whether `name` can be an edge's: letters, digits, `.`, `_` and `-`, so that it fits a file's name and a log line.
pub fn is_edge_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=EDGE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
}
