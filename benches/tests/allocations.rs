//! No piece of the hot path allocates more than its line in the list says.

use hearth_benches::counting::{Counting, allocations};
use hearth_benches::pieces;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A multiple of what pieces do only every so many calls.
const CALLS: u32 = 400;

#[test]
fn pieces_allocate_what_they_may() {
    let (mut none, mut found) = (0, Vec::new());
    for piece in pieces::all() {
        let mut work = (piece.make)();
        (0..pieces::WARM_UP).for_each(|_| work());
        let before = allocations();
        (0..CALLS).for_each(|_| work());
        let made = (allocations() - before) as f64 / f64::from(CALLS);
        if made > piece.allocations {
            found.push(format!("{}: {made} allocations, at most {}", piece.name, piece.allocations));
        }
        none += u32::from(piece.allocations == 0.0);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(none >= 12, "only {none} pieces are held to allocate nothing");
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    let mut bytes = vec![1u8; 10];
    bytes.extend_from_slice(&[0; 100]);
    assert_eq!(allocations() - before, 2, "made, and grown");
}
