//! A deterministic run of the machines that ship: the edge's framer, parser, [`Stream`] and session, the
//! link's frames, the core's [`Shard`]s, over the memory store. One seed decides everything: who does
//! what, how bytes are cut, in which order channels deliver, what fails and when time jumps.
//!
//! ```text
//!  clients ──bytes, any cut──▶ edge loops ──frames──▶ shards ──questions──▶ store
//!     ▲                           ▲                    │  ▲ └──peers──▶ shards
//!     └────────── XML ────────────┴────── frames ──────┘  └──answers, keys
//! ```
//! Every arrow is a first-in-first-out lane; each step delivers from one of them or lets someone act.
//! [`check`] holds what must be true; a failure names seed, step and rule.
//!
//! [`Stream`]: hearth_connmgr::stream::Stream
//! [`Shard`]: hearth_core::shard::Shard

mod check;
mod client;
mod edge;
pub mod machines;
mod sweep;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use check::Rule;
pub use machines::Machines;
pub use sweep::sweep;
pub use trace::Trace;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub shards: u16,
    pub event_loops: u16,
    pub users: usize,
    /// Links break, clients vanish, storage fails.
    pub faults: bool,
    /// Every limit that can be is at its smallest: channels of size 1.
    pub tight: bool,
    /// Slots move from shard to shard, some by force.
    pub moves: bool,
    /// The core dies or stops, and is started again.
    pub crashes: bool,
    /// Sessions outlive their links (link version 2).
    pub attach: bool,
    /// Storage fences nobody: a run with moves must fail.
    pub unfenced: bool,
    /// Tells on standard error what happens.
    pub verbose: bool,
    /// Loses a delivered stanza now and then: the run must fail, or the checks are blind.
    pub canary: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            shards: 2,
            event_loops: 2,
            users: 6,
            faults: true,
            tight: false,
            moves: true,
            crashes: true,
            attach: true,
            unfenced: false,
            verbose: false,
            canary: false,
        }
    }
}

impl Options {
    /// Shapes differ from seed to seed, so that a sweep covers small and wide worlds.
    pub fn of_seed(seed: u64) -> Options {
        let pick = |shift: u32, most: u64| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) % most;
        Options {
            shards: u16::try_from(pick(8, 3)).unwrap_or(0) + 1,
            event_loops: u16::try_from(pick(16, 2)).unwrap_or(0) + 1,
            users: usize::try_from(pick(24, 6)).unwrap_or(0) + 2,
            faults: pick(32, 4) > 0,
            tight: pick(48, 3) == 0,
            moves: pick(40, 4) > 0,
            crashes: pick(36, 4) > 0,
            attach: pick(44, 6) > 0,
            unfenced: false,
            verbose: false,
            canary: false,
        }
    }
}

/// A rule that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub seed: u64,
    pub step: u32,
    pub rule: Rule,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {} step {}: {}", self.seed, self.step, self.rule)
    }
}

/// Runs `steps` steps from `seed`, lets everything come to rest, and checks what must have happened.
pub fn run(seed: u64, steps: u32, options: Options) -> Result<Trace, Failure> {
    let mut world = world::World::new(seed, options);
    for step in 0..steps {
        world.step().map_err(|rule| Failure { seed, step, rule })?;
    }
    world.rest().map_err(|rule| Failure { seed, step: steps, rule })
}
