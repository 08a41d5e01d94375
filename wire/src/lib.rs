//! What crosses between an edge and a core: ids, addresses, stanzas as trees, frames.
//!
//! Nothing else in the workspace is serialised for a peer process. Every decoder here takes any
//! bytes, never panics and never allocates more than the bytes it was given justify.
//!
//! ```text
//!  link byte stream                    one frame
//!  ┌───────┬───────┬─────              ┌──────────┬──────────┬───────────────────┬───────────┐
//!  │ frame │ frame │ …                 │ len: u32 │ kind: u8 │ body: postcard    │ trailing  │
//!  └───────┴───────┴─────              │  LE      │          │ (struct of kind)  │ ignored   │
//!                                      └──────────┴──────────┴───────────────────┴───────────┘
//!                                       len counts kind, body and trailing bytes
//!
//!  a stanza inside a body              the payload: a forest of elements and text
//!  ┌───────────────────────────┐       element := 0x01 body_len:u24le ns:ref name:ref
//!  │ kind type id to from lang │                  attr_count:varint attr* child*
//!  │ payload: bytes            │       attr    := ns:ref name:ref value_len:varint value
//!  └───────────────────────────┘       text    := 0x02 len:varint utf8
//!                                      ref     := 0 len:varint utf8 | 1 + number in the dictionary
//! ```
//!
//! A published frame kind never changes: what is new is a new kind, or bytes after the body that
//! an older reader ignores. Unknown kinds are skipped by their length.
//!
//! Driving it:
//! ```
//! use hearth_wire::{codec, stanza::{Stanza, StanzaKind, StanzaType}, to_core::{self, ToCore}, ids::*};
//! let stanza = Stanza { to: Some("grace@example.org"), ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
//! let encoded = stanza.encode();
//! let mut link = Vec::new();
//! let frame = ToCore::Stanza(to_core::StanzaIn {
//!     counter: 7, generation: Generation { epoch: 1, counter: 1 }, number: 1, fault: None, stanza: &encoded });
//! frame.encode(&mut link);
//! let (body, used) = codec::split(&link, codec::FRAME_BYTES_MAX).unwrap().unwrap();
//! assert_eq!(used, link.len());
//! assert_eq!(ToCore::decode(body).unwrap(), Some(frame));
//! ```

pub mod codec;
pub mod condition;
pub mod dictionary;
pub mod ids;
pub mod jid;
pub mod limits;
pub mod prep;
pub mod stanza;
pub mod to_core;
pub mod to_edge;
pub mod tree;
pub mod xml;

pub use condition::{SaslCondition, StanzaCondition, StreamCondition};
pub use jid::{BareJid, FullJid, Jid};
