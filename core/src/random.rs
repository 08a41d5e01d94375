//! Randomness is handed in: secure in the daemon, seeded in the simulator.

/// A source of random bytes.
pub trait Random {
    /// Fills all of `out`.
    fn fill_bytes(&mut self, out: &mut [u8]);
}
