//! What encoding, decoding and reading allocate, counted by the allocator.

use hearth_wire::codec::{FRAME_BYTES_MAX, split};
use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Overlay, Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::{StanzaIn, ToCore};
use hearth_wire::to_edge::{Deliver, Target, ToEdge};
use hearth_wire::{BareJid, FullJid, tree};

/// Counts what the current thread allocates.
#[allow(unsafe_code, reason = "an allocator is unsafe to write; this one passes everything on to the system's")]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Counting;

    thread_local! {
        static CALLS: Cell<usize> = const { Cell::new(0) };
        static BYTES: Cell<usize> = const { Cell::new(0) };
    }

    // SAFETY: each call is the system allocator's, with the arguments as they came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            CALLS.set(CALLS.get() + 1);
            BYTES.set(BYTES.get() + layout.size());
            // SAFETY: the caller's promise is the system allocator's.
            unsafe { System.alloc(layout) }
        }
        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            // SAFETY: as above; `place` came from `System`.
            unsafe { System.dealloc(place, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// How many allocations `work` makes, and of how many bytes.
    pub(super) fn count<T>(work: impl FnOnce() -> T) -> (usize, usize, T) {
        let before = (CALLS.get(), BYTES.get());
        let done = work();
        (CALLS.get() - before.0, BYTES.get() - before.1, done)
    }
}
use counting::count;

const GENERATION: Generation = Generation { epoch: 1, counter: 1 };

fn payload() -> Vec<u8> {
    let mut tree = tree::Builder::new();
    tree.leaf(None, "body", "hello").open(Some("urn:xmpp:sid:0"), "origin-id").attr("id", "1");
    tree.finish()
}

#[test]
fn a_stanza_passes_without_allocation() {
    let payload = payload();
    let stanza = Stanza {
        to: Some("grace@example.org"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    let (calls, _, encoded) = count(|| stanza.encode());
    assert_eq!(calls, 1);
    let mut link = Vec::with_capacity(4096);
    let overlay = Overlay { to: Some("grace@example.org/desk"), ..Overlay::default() };
    let (calls, _, ()) = count(|| {
        let stanza = StanzaIn { counter: 1, generation: GENERATION, number: 1, fault: None, stanza: &encoded };
        ToCore::Stanza(stanza).encode(&mut link);
        let target = Target { counter: 1, generation: GENERATION, entry: 1, overlay };
        ToEdge::Deliver(Deliver { target, stanza: &encoded }).encode(&mut link);
    });
    assert_eq!(calls, 0, "encoding into a buffer with room");
    let (calls, _, ()) = count(|| {
        let (frame, used) = split(&link, FRAME_BYTES_MAX).unwrap().unwrap();
        let Ok(Some(ToCore::Stanza(inbound))) = ToCore::decode(frame) else { panic!() };
        let stanza = Stanza::decode(inbound.stanza).unwrap();
        stanza.validate().unwrap();
        assert_eq!(tree::children(stanza.payload).flat_map(|e| e.attrs()).count(), 1);
        assert_eq!(tree::first(stanza.payload).unwrap().text_cow(), "hello");
        let (frame, _) = split(&link[used..], FRAME_BYTES_MAX).unwrap().unwrap();
        assert!(matches!(ToEdge::decode(frame), Ok(Some(ToEdge::Deliver(_)))));
    });
    assert_eq!(calls, 0, "decoding, validating, reading");
}

#[test]
fn a_tree_is_built_in_one_buffer() {
    let mut tree = tree::Builder::reuse(Vec::with_capacity(4096));
    let (calls, _, ()) = count(|| {
        for _ in 0..3 {
            for _ in 0..60 {
                tree.open(Some("urn:example:unknown"), "a").attr("id", "1").text("t");
            }
            assert!(tree.encoded().len() > 60 * 20);
            tree.clear();
        }
    });
    assert_eq!(calls, 0);
}

#[test]
fn an_address_is_one_allocation() {
    let (calls, bytes, full) = count(|| FullJid::parse("Juliet@Capulet.example./balcony").unwrap());
    assert_eq!((calls, bytes), (1, full.as_str().len()));
    let (calls, bytes, bare) = count(|| BareJid::parse("juliet@capulet.example").unwrap());
    assert_eq!((calls, bytes), (1, bare.as_str().len()));
    let (calls, _, refused) = count(|| BareJid::parse("juliet@capulet_example").is_err());
    assert!(refused && calls == 0);
}

/// Frames that say of themselves that they are long must not be believed.
#[test]
fn hostile_lengths_allocate_little() {
    for kind in 0..=20u8 {
        for length in [&[0x7f][..], &[0xff, 0x1f], &[0x80, 0x20], &[0xff; 9], &[0xff, 0xff, 0xff, 0x7f]] {
            for more in [0, 1, 7, 30] {
                let mut frame = vec![kind];
                frame.extend_from_slice(length);
                frame.resize(frame.len() + more, 0);
                let (_, bytes, _) = count(|| ToEdge::decode(&frame).is_ok());
                assert!(bytes <= 4096, "{frame:?} as a frame to the edge: {bytes} bytes");
                let (_, bytes, _) = count(|| ToCore::decode(&frame).is_ok());
                assert_eq!(bytes, 0, "{frame:?} as a frame to the core");
            }
        }
    }
    // A multicast whose count is far above what follows, with as many targets as make it grow.
    let mut frame = vec![15, 0xff, 0x1f];
    frame.resize(3 + 8 * 2000, 0);
    let (_, bytes, refused) = count(|| ToEdge::decode(&frame).is_err());
    assert!(refused && bytes <= frame.len() * 48, "{bytes} bytes for a frame of {}", frame.len());
}
