//! A tree written in any way reads as itself; rendered by us it reads as itself again.

use crate::corpus::accepted;
use crate::reader::{Event, HEADER, elements, outline_one, read};
use crate::trees::{self, encode, loose_xml};
use hearth_connmgr::render;
use hearth_connmgr::xml::{Limits, Scope, Scratch, parse_element};
use hearth_wire::tree::CLIENT;
use proptest::prelude::*;

fn parse(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    parse_element(bytes, &Scope::default(), &Limits::AUTHENTICATED, &mut Scratch::default(), &mut out)
        .unwrap_or_else(|error| panic!("{error:?}: {}", String::from_utf8_lossy(bytes)));
    out
}

fn rendered(encoded: &[u8]) -> Vec<u8> {
    let mut xml = Vec::new();
    render::nodes(encoded, CLIENT, &mut xml).unwrap();
    xml
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn written_in_any_way(tree in trees::element()) {
        let xml = loose_xml(&tree);
        prop_assert_eq!(parse(xml.as_bytes()), encode(&tree), "{}", xml);
    }

    #[test]
    fn rendered_and_read_again(tree in trees::element(), cuts in prop::collection::vec(0usize..600, 0..6)) {
        let encoded = encode(&tree);
        let xml = rendered(&encoded);
        prop_assert_eq!(parse(&xml), encoded.clone(), "{}", String::from_utf8_lossy(&xml));
        let mut cuts = cuts;
        cuts.sort_unstable();
        let events = read(&[HEADER.as_bytes(), &xml].concat(), &cuts, Limits::AUTHENTICATED);
        prop_assert_eq!(events, [Event::Header, Event::Element(outline_one(&encoded))]);
    }

    #[test]
    fn any_bytes_render_or_are_refused(bytes: Vec<u8>) {
        let mut out = b"kept".to_vec();
        if render::nodes(&bytes, CLIENT, &mut out).is_err() {
            prop_assert_eq!(out, b"kept");
        }
    }
}

#[test]
fn the_corpus_rendered_reads_the_same_in_every_cut() {
    for stream in accepted() {
        for encoded in elements(&stream) {
            let xml = rendered(&encoded);
            assert_eq!(parse(&xml), encoded);
            let stream = [HEADER.as_bytes(), &xml].concat();
            for cut in 0..stream.len() {
                let events = read(&stream, &[cut], Limits::AUTHENTICATED);
                assert_eq!(events, [Event::Header, Event::Element(outline_one(&encoded))]);
            }
        }
    }
}
