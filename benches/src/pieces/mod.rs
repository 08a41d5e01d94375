//! The hot paths in pieces: one list, measured in three ways (see the crate).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "fixed input")]

mod edge;
mod shard;
mod storage;
mod wire;
mod xml;

pub use shard::presence;

/// One call of a piece, in the steady state: buffers are kept from call to call.
pub type Work = Box<dyn FnMut()>;

pub struct Piece {
    /// `area: what`.
    pub name: &'static str,
    /// Allocations of one call at most, on average. 0: not a single one, ever.
    pub allocations: f64,
    /// Makes its surroundings.
    pub make: fn() -> Work,
}

impl Piece {
    const fn new(name: &'static str, allocations: f64, make: fn() -> Work) -> Piece {
        Piece { name, allocations, make }
    }
}

/// Every piece, in the order of a message's way.
#[must_use]
pub fn all() -> Vec<Piece> {
    let mut all = Vec::from(xml::PIECES);
    all.extend(wire::PIECES);
    all.extend(edge::PIECES);
    all.extend(shard::PIECES);
    all.extend(storage::PIECES);
    all
}

/// Calls before anything is counted, so that buffers have grown.
pub const WARM_UP: u32 = 64;
