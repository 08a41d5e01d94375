//! Properties of `split`, `encode` and `decode` over all kinds.

use crate::samples::material;
use hearth_wire::codec::{FRAME_BYTES_MAX, PREFIX_BYTES, WireError, split};
use hearth_wire::stanza::{SharedStanza, Stanza};
use hearth_wire::to_core::ToCore;
use hearth_wire::to_edge::{Deliver, MULTICAST_TARGETS_MAX, ToEdge};
use hearth_wire::tree;
use proptest::prelude::*;

/// Both directions have the same functions; the tests want them once.
macro_rules! both {
    ($run:ident, $material:expr) => {
        $run!(ToCore, $material.to_core());
        $run!(ToEdge, $material.to_edge());
    };
}

proptest! {
    #[test]
    fn every_kind_comes_back(material in material()) {
        macro_rules! run {
            ($direction:ident, $frames:expr) => {
                let frames = $frames;
                let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind(), frame.name())).collect();
                prop_assert_eq!(&kinds[..], $direction::KINDS, "a sample of every kind, once");
                let mut link = Vec::new();
                frames.iter().for_each(|frame| frame.encode(&mut link));
                let mut rest = &link[..];
                for frame in &frames {
                    let (body, used) = split(rest, FRAME_BYTES_MAX).unwrap().unwrap();
                    let decoded = $direction::decode(body).unwrap();
                    prop_assert_eq!(decoded.as_ref(), Some(frame));
                    rest = &rest[used..];
                }
                prop_assert!(rest.is_empty());
            };
        }
        both!(run, material);
    }

    #[test]
    fn what_a_later_release_adds_behind_is_ignored(material in material(), more in prop::collection::vec(any::<u8>(), 1..40)) {
        macro_rules! run {
            ($direction:ident, $frames:expr) => {
                for frame in $frames {
                    let mut link = Vec::new();
                    frame.encode(&mut link);
                    let mut body = link[PREFIX_BYTES..].to_vec();
                    body.extend(&more);
                    prop_assert_eq!($direction::decode(&body), Ok(Some(frame)));
                }
            };
        }
        both!(run, material);
    }

    #[test]
    fn a_frame_cut_short_is_malformed(material in material(), cut in any::<prop::sample::Index>()) {
        macro_rules! run {
            ($direction:ident, $frames:expr) => {
                for frame in $frames {
                    let mut link = Vec::new();
                    frame.encode(&mut link);
                    let at = cut.index(link.len());
                    prop_assert_eq!(split(&link[..at], FRAME_BYTES_MAX), Ok(None));
                    let body = &link[PREFIX_BYTES..];
                    let at = cut.index(body.len());
                    let expected = if at == 0 { WireError::Empty } else { WireError::Malformed { kind: frame.kind() } };
                    prop_assert_eq!($direction::decode(&body[..at]), Err(expected), "{} cut at {}", frame.name(), at);
                }
            };
        }
        both!(run, material);
    }

    #[test]
    fn unknown_kinds_are_none(kind in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut frame = vec![kind];
        frame.extend(body);
        macro_rules! run {
            ($direction:ident) => {
                if $direction::KINDS.iter().all(|(known, _)| *known != kind) {
                    prop_assert_eq!($direction::decode(&frame), Ok(None));
                } else if let Ok(decoded) = $direction::decode(&frame) {
                    prop_assert_eq!(decoded.map(|frame| frame.kind()), Some(kind));
                }
            };
        }
        run!(ToCore);
        run!(ToEdge);
    }

    #[test]
    fn any_bytes_are_split_and_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), max in 0usize..200) {
        if let Ok(Some((frame, used))) = split(&bytes, max) {
            prop_assert_eq!(used, frame.len() + PREFIX_BYTES);
            prop_assert!(!frame.is_empty() && frame.len() <= max && used <= bytes.len());
        }
        for kind in 0..=20 {
            let mut frame = vec![kind];
            frame.extend(&bytes);
            let _ = (ToCore::decode(&frame), ToEdge::decode(&frame));
        }
    }

    #[test]
    fn frames_with_a_wrong_byte_do_not_panic(material in material(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        macro_rules! run {
            ($direction:ident, $frames:expr) => {
                for frame in $frames {
                    let mut link = Vec::new();
                    frame.encode(&mut link);
                    let body = &mut link[PREFIX_BYTES..];
                    body[at.index(body.len())] = byte;
                    if let Ok(Some(decoded)) = $direction::decode(body) {
                        // Whatever it is now, it is a frame that comes back too.
                        let mut again = Vec::new();
                        decoded.encode(&mut again);
                        prop_assert_eq!($direction::decode(&again[PREFIX_BYTES..]), Ok(Some(decoded)));
                    }
                }
            };
        }
        both!(run, material);
    }

    #[test]
    fn stanzas_come_back(material in material(), cut in any::<prop::sample::Index>()) {
        let stanza = material.stanza();
        let encoded = stanza.encode();
        prop_assert_eq!(Stanza::decode(&encoded), Ok(stanza));
        prop_assert_eq!(Stanza::decode(&encoded[..cut.index(encoded.len())]), Err(WireError::BadStanza));
        let shared = SharedStanza::new(&stanza);
        prop_assert_eq!(shared.view(), stanza);
        // A peer's bytes are taken if and only if they can be rendered.
        let texts = [stanza.id, stanza.to, stanza.from, stanza.lang];
        let renders = tree::validate(stanza.payload, tree::DEPTH_MAX).is_ok()
            && texts.into_iter().flatten().all(hearth_wire::xml::is_text);
        prop_assert_eq!(SharedStanza::from_bytes(&encoded).is_ok(), renders);
        let bare = Stanza { payload: &[], ..stanza };
        prop_assert_eq!(SharedStanza::from_bytes(&bare.encode()).is_ok(), texts.into_iter().flatten().all(hearth_wire::xml::is_text));
    }

    #[test]
    fn a_target_is_no_longer_than_it_says(material in material(), counter in any::<u64>()) {
        let target = material.target(counter);
        let bytes_max = target.bytes_max();
        let mut link = Vec::new();
        ToEdge::Deliver(Deliver { target, stanza: &[] }).encode(&mut link);
        prop_assert!(link.len() <= bytes_max + PREFIX_BYTES + 2);
    }
}

#[test]
fn lengths_at_their_limits() {
    assert_eq!(split(&[], 10), Ok(None));
    assert_eq!(split(&[1, 0, 0], 10), Ok(None));
    assert_eq!(split(&[0, 0, 0, 0, 1], 10), Err(WireError::Empty));
    assert_eq!(split(&[1, 0, 0, 0], 10), Ok(None));
    assert_eq!(split(&[1, 0, 0, 0, 7, 8], 1), Ok(Some((&[7][..], 5))));
    assert_eq!(split(&[2, 0, 0, 0], 1), Err(WireError::TooLong { len: 2, max: 1 }));
    assert!(matches!(split(&[0xff; 4], FRAME_BYTES_MAX), Err(WireError::TooLong { .. })), "before the bytes are there");
}

#[test]
fn a_multicast_has_a_limit() {
    // Kind, the count as a varint, then targets of eight zero bytes each (four numbers, four options), and no stanza.
    let multicast = |count: [u8; 2], targets: usize| {
        let mut frame = vec![15, count[0], count[1]];
        frame.resize(3 + targets * 8 + 1, 0);
        frame
    };
    let most = multicast([0x80, 0x20], MULTICAST_TARGETS_MAX);
    let Ok(Some(ToEdge::Multicast(decoded))) = ToEdge::decode(&most) else { panic!("the limit decodes") };
    assert_eq!(decoded.targets.len(), MULTICAST_TARGETS_MAX);
    let more = multicast([0x81, 0x20], MULTICAST_TARGETS_MAX + 1);
    assert_eq!(ToEdge::decode(&more), Err(WireError::Malformed { kind: 15 }));
}
