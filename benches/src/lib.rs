//! What the benches share.
//!
//! ```text
//! pieces/    one call of each hot path, by name ──▶ benches/pieces.rs        nanoseconds, allocations
//! world.rs   shards without threads or sockets      tests/allocations.rs     what allocates nothing must not begin to
//! counting.rs  an allocator that counts             bin/instructions.rs      instructions, beside a stored baseline
//! ```

pub mod counting;
pub mod instructions;
pub mod pieces;
pub mod world;
