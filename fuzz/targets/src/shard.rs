//! One shard, between an honest edge and one that says whatever the input spells.
//!
//! ```text
//!  honest edge: ann, bob  ──link 0──▶ ┌───────┐ ◀──link 1, 2, …── hostile edge: eve, mallory
//!                                     │ Shard │ ◀──▶ store in memory
//! ```
//! The hostile edge has a key of its own, a session of its own and a socket that has logged in: all that an edge has by
//! right. Frames are made of bytes piece by piece, mostly of values that mean something at this moment, so that few inputs are
//! lost to the first check. Nothing may panic; only eve and mallory are ever at its links; the honest link is not closed, and
//! what ann says reaches bob, as it was said and by her.

mod frames;
mod world;

use frames::Bytes;
use world::World;

/// Turns that one input may ask for: enough for what takes several, and an input of one byte each ends.
const STEPS_MAX: usize = 600;

/// The bytes are read as steps, see [`frames::step`].
pub fn shard(data: &[u8]) {
    let mut world = World::new();
    let mut bytes = Bytes(data);
    for _ in 0..STEPS_MAX {
        if bytes.0.is_empty() {
            break;
        }
        frames::step(&mut world, &mut bytes);
        world.check();
    }
    world.turn();
    world.check();
    world.ann_reaches_bob();
}
