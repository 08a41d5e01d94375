//! What crosses between an edge and a core: ids, addresses, stanzas as trees, frames.
//!
//! Nothing else in the workspace is serialised for a peer process. Every decoder here takes any
//! bytes, never panics and never allocates more than the bytes it was given justify.
//!
//! ```text
//!  a link connection, edge to core; core to edge the same without preamble
//!  ┌──────────┬──────────────┬───────┬───────┬─────
//!  │ "HEARTH" │ shard: u16le │ frame │ frame │ …
//!  └──────────┴──────────────┴───────┴───────┴─────
//!
//!  frame     len: u32le   kind: u8   body: the struct of the kind   trailing bytes, ignored
//!            └ counts kind, body and trailing bytes; at most FRAME_BYTES_MAX
//!
//!  body      postcard: the fields in order, nothing between them
//!              u8 … as it is           u16, u32, u64   varint
//!              bool     0 | 1          Option          0 | 1 value
//!              [u8; N]  N bytes        str, bytes, Vec len:varint elements
//!              enum     place of the variant:varint its fields
//!
//!  stanza    kind type id? to? from? lang? payload:bytes   (a struct as above; bytes behind it ignored)
//!
//!  payload   node*                      within the namespace `jabber:client`
//!  node      element | text
//!  element   01 body_len:u24le  ns:ref name:ref attr_count:varint attr* node*
//!               └ counts all to its right; attr_count at most 127
//!  attr      ns:ref name:ref len:varint utf8
//!  text      02 len:varint utf8
//!  ref       00 len:varint utf8         spelt out
//!            1 + number:varint          in the dictionary; number 0, so ref 01, only as an element's
//!                                       namespace: that of what it stands in
//!  varint    seven bits a byte, least significant first, 80 set on all but the last; in a payload
//!            at most five bytes, and no more than the number takes
//!
//!  <body>hi</body>     01 07 00 00   01     2b           00      02 02 68 69
//!                      │  body_len   same   name: `body`  no      text of two bytes
//!                      element       ns     is number 42  attrs
//! ```
//!
//! | to the core | | to the edge | |
//! |---|---|---|---|
//! | 1 | [`Hello`](to_core::ToCore::Hello) | 1 | [`Welcome`](to_edge::ToEdge::Welcome) |
//! | 2 | [`Heartbeat`](to_core::ToCore::Heartbeat) | 2 | [`Heartbeat`](to_edge::ToEdge::Heartbeat) |
//! | 3 | [`LinkCredit`](to_core::ToCore::LinkCredit) | 3 | [`LinkCredit`](to_edge::ToEdge::LinkCredit) |
//! | 4 | [`Authenticate`](to_core::ToCore::Authenticate) | 4 | [`SlotOwner`](to_edge::ToEdge::SlotOwner) |
//! | 5 | [`AuthResponse`](to_core::ToCore::AuthResponse) | 5 | [`Domain`](to_edge::ToEdge::Domain) |
//! | 6 | [`AuthAbort`](to_core::ToCore::AuthAbort) | 6 | [`DomainGone`](to_edge::ToEdge::DomainGone) |
//! | 7 | [`Bind`](to_core::ToCore::Bind) | 7 | [`AuthChallenge`](to_edge::ToEdge::AuthChallenge) |
//! | 8 | [`Stanza`](to_core::ToCore::Stanza) | 8 | [`AuthSuccess`](to_edge::ToEdge::AuthSuccess) |
//! | 9 | [`Written`](to_core::ToCore::Written) | 9 | [`AuthFailure`](to_edge::ToEdge::AuthFailure) |
//! | 10 | [`Closed`](to_core::ToCore::Closed) | 10 | [`Moved`](to_edge::ToEdge::Moved) |
//! | 11 | [`PreAuthIq`](to_core::ToCore::PreAuthIq) | 11 | [`Bound`](to_edge::ToEdge::Bound) |
//! | 12 | [`Drained`](to_core::ToCore::Drained) | 12 | [`BindRefused`](to_edge::ToEdge::BindRefused) |
//! | 13 | [`StanzaAgain`](to_core::ToCore::StanzaAgain) | 13 | [`Settled`](to_edge::ToEdge::Settled) |
//! | 14 | [`SmEnable`](to_core::ToCore::SmEnable) | 14 | [`Deliver`](to_edge::ToEdge::Deliver) |
//! | 15 | [`Resume`](to_core::ToCore::Resume) | 15 | [`Multicast`](to_edge::ToEdge::Multicast) |
//! | 16 | [`Attach`](to_core::ToCore::Attach) | 16 | [`Close`](to_edge::ToEdge::Close) |
//! | 17 | [`AllSent`](to_core::ToCore::AllSent) | 17 | [`PreAuthReply`](to_edge::ToEdge::PreAuthReply) |
//! | 18 | [`OpenQuestions`](to_core::ToCore::OpenQuestions) | 18 | [`Capsule`](to_edge::ToEdge::Capsule) |
//! | 19 | [`Echo`](to_core::ToCore::Echo) | 19 | [`Refused`](to_edge::ToEdge::Refused) |
//! | 20 | [`AuthenticateInline`](to_core::ToCore::AuthenticateInline) | 20 | [`SmEnabled`](to_edge::ToEdge::SmEnabled) |
//! | 21 | [`Certificate`](to_core::ToCore::Certificate) | 21 | [`Resumed`](to_edge::ToEdge::Resumed) |
//! | 22 | [`Recent`](to_core::ToCore::Recent) | 22 | [`ResumeFailed`](to_edge::ToEdge::ResumeFailed) |
//! | | | 23 | [`Attached`](to_edge::ToEdge::Attached) |
//! | | | 24 | [`DeliverLogged`](to_edge::ToEdge::DeliverLogged) |
//! | | | 25 | [`MulticastLogged`](to_edge::ToEdge::MulticastLogged) |
//! | | | 26 | [`AskedBefore`](to_edge::ToEdge::AskedBefore) |
//! | | | 27 | [`Echo`](to_edge::ToEdge::Echo) |
//! | | | 28 | [`Authentication`](to_edge::ToEdge::Authentication) |
//! | | | 29 | [`FastToken`](to_edge::ToEdge::FastToken) |
//! | | | 30 | [`Certified`](to_edge::ToEdge::Certified) |
//! | | | 31 | [`Stored`](to_edge::ToEdge::Stored) |
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
pub mod date_time;
pub mod dictionary;
pub mod ids;
pub mod jid;
pub mod limits;
pub mod look_alike;
pub mod prep;
pub mod stanza;
pub mod to_core;
pub mod to_edge;
pub mod tree;
pub mod xml;

pub use condition::{SaslCondition, StanzaCondition, StreamCondition};
pub use jid::{BareJid, FullJid, Jid};

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation above, line by line.
    fn documentation() -> impl Iterator<Item = &'static str> {
        include_str!("lib.rs").lines().map_while(|line| line.strip_prefix("//!"))
    }

    #[test]
    fn the_drawn_element_is_drawn_right() {
        let drawn = documentation().find_map(|line| line.split_once("<body>hi</body>")).unwrap().1;
        let drawn: Vec<u8> = drawn.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let mut tree = tree::Builder::new();
        tree.leaf(None, "body", "hi");
        assert_eq!(tree.finish(), drawn);
    }

    #[test]
    fn the_table_lists_all_kinds() {
        let rows = documentation().filter_map(|line| line.strip_prefix(" | ")).filter(|row| row.contains("::"));
        let cells: Vec<String> = rows.flat_map(|row| row.split('|')).map(|cell| cell.trim().to_owned()).collect();
        let listed = |direction: &str| -> Vec<(u8, String)> {
            let pairs = cells.windows(2).filter(|pair| pair[1].contains(direction));
            pairs.map(|pair| (pair[0].parse().unwrap(), pair[1].split('`').nth(1).unwrap().to_owned())).collect()
        };
        let known =
            |kinds: &[(u8, &str)]| -> Vec<(u8, String)> { kinds.iter().map(|(k, n)| (*k, (*n).to_owned())).collect() };
        assert_eq!(listed("ToCore"), known(to_core::ToCore::KINDS));
        assert_eq!(listed("ToEdge"), known(to_edge::ToEdge::KINDS));
    }
}
