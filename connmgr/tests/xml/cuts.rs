//! Any cut of the bytes gives the same stream.

use crate::corpus::files;
use crate::reader::{HEADER, read};
use crate::trees;
use hearth_connmgr::xml::{Framer, Limits};
use proptest::prelude::*;

/// Small, so that cuts meet them.
const NARROW: Limits = Limits { bytes: 160, depth: 4, elements: 6, attributes: 4, namespaces: 4, tree_bytes: 200 };

#[test]
fn the_framer_is_small() {
    assert!(std::mem::size_of::<Framer>() <= 24);
}

#[test]
fn the_corpus_byte_by_byte_and_in_two() {
    for (_, path, bytes) in files() {
        for limits in [Limits::AUTHENTICATED, NARROW] {
            let whole = read(&bytes, &[], limits);
            let every: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(read(&bytes, &every, limits), whole, "{} byte by byte", path.display());
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes, &[cut], limits), whole, "{} cut at {cut}", path.display());
            }
        }
    }
}

/// A stream of valid stanzas, a few bytes of which may be changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let stanzas = prop::collection::vec(trees::element().prop_map(|tree| trees::loose_xml(&tree)), 0..4);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (stanzas, damage).prop_map(|(stanzas, damage)| {
        let mut bytes = stanzas.concat().into_bytes();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..400, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

fn check(header: bool, behind: &[u8], cuts: &[usize]) {
    let bytes = [if header { HEADER.as_bytes() } else { b"" }, behind].concat();
    for limits in [Limits::AUTHENTICATED, NARROW] {
        let whole = read(&bytes, &[], limits);
        assert_eq!(read(&bytes, cuts, limits), whole);
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(read(&bytes, &every, limits), whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn soup_in_any_cut(header: bool, bytes in trees::soup(), cuts in cuts()) {
        check(header, &bytes, &cuts);
    }

    #[test]
    fn any_bytes_in_any_cut(header: bool, bytes: Vec<u8>, cuts in cuts()) {
        check(header, &bytes, &cuts);
    }

    #[test]
    fn damaged_stanzas_in_any_cut(bytes in damaged(), cuts in cuts()) {
        check(true, &bytes, &cuts);
    }
}
