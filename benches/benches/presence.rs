//! What a login costs the shards in presence: 1,000 users on two shards, each with 25 contacts who are
//! all online, presence both ways. CPU time of one thread, links' frames written and thrown away:
//! `cargo bench -p hearth-benches --bench presence`. Without `--bench`, as `cargo test` calls it, a
//! small round without figures.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "fixed input")]

use hearth_benches::pieces::presence;
use hearth_benches::world::{Plan, Tally, World};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use std::time::Duration;

/// CPU time of this thread so far.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own.
    #[allow(unsafe_code, reason = "the standard library has no CPU clock")]
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn main() {
    let measure = std::env::args().any(|argument| argument == "--bench");
    let (users, contacts) = if measure { (1_000, 25) } else { (60, 25) };
    let mut world = World::new(Plan { shards: 2, users, contacts, log_off: false });
    let available = presence("5");
    let unavailable = Stanza::new(StanzaKind::Presence, StanzaType::Unavailable).encode();
    for user in 0..users {
        world.send(user, &available);
    }
    let mut spent = [Duration::ZERO; 2];
    world.tally = Tally::default();
    for user in 0..users {
        world.acknowledge();
        let start = cpu();
        world.send(user, &unavailable);
        let gone = cpu();
        world.send(user, &available);
        spent[0] += gone - start;
        spent[1] += cpu() - gone;
    }
    // Unavailable: the contacts and itself. Available: the same, and the contacts' presence back.
    let expected = users as u64 * (3 * contacts as u64 + 2);
    assert_eq!(world.tally.stanzas, expected, "everybody hears of everybody once");
    if measure {
        for (name, spent) in ["unavailable", "available"].into_iter().zip(spent) {
            println!("{name:<12} {:>8.4} CPU-s per 1,000 sessions", spent.as_secs_f64() * 1_000.0 / users as f64);
        }
        println!(
            "{} stanzas in {} frames of {} bytes, {} messages between shards",
            world.tally.stanzas, world.tally.frames, world.tally.frame_bytes, world.tally.peers
        );
    }
}
