//! The link between edge and core, in both directions.

use hearth_wire::codec::{FRAME_BYTES_MAX, split};
use hearth_wire::stanza::Stanza;
use hearth_wire::to_core::ToCore;
use hearth_wire::to_edge::ToEdge;

/// First byte: bit 0 is the direction, the rest how many bytes of the link come at first. Then the link.
///
/// Frames are found in any cut; one that decodes is, encoded and decoded, the same; one that does not, or
/// that nobody knows, does no harm.
pub fn link(data: &[u8]) {
    let Some((first, link)) = data.split_first() else { return };
    let mut rest = link;
    while let Some((frame, len)) = first_frame(rest, usize::from(first >> 1)) {
        if first & 1 == 0 {
            to_core(frame)
        } else {
            to_edge(frame)
        }
        rest = &rest[len..];
    }
    // And as a frame without its length, so that no input has to get that right.
    if first & 1 == 0 { to_core(link) } else { to_edge(link) }
}

/// The first frame, the same whether all has come or just enough of it.
fn first_frame(link: &[u8], at_first: usize) -> Option<(&[u8], usize)> {
    let whole = split(link, FRAME_BYTES_MAX);
    let early = split(&link[..at_first.min(link.len())], FRAME_BYTES_MAX);
    assert!(early == whole || early == Ok(None), "{early:?} {whole:?}");
    let (frame, len) = whole.ok()??;
    assert_eq!(split(&link[..len], FRAME_BYTES_MAX), Ok(Some((frame, len))));
    assert_eq!(split(&link[..len - 1], FRAME_BYTES_MAX), Ok(None));
    Some((frame, len))
}

fn to_core(frame: &[u8]) {
    let Ok(Some(decoded)) = ToCore::decode(frame) else { return };
    let mut encoded = Vec::new();
    decoded.encode(&mut encoded);
    let (body, _) = split(&encoded, FRAME_BYTES_MAX).expect("a frame").expect("whole");
    assert_eq!(ToCore::decode(body), Ok(Some(decoded.clone())));
    if let ToCore::Stanza(frame) = &decoded {
        stanza(frame.stanza);
    }
}

fn to_edge(frame: &[u8]) {
    let Ok(Some(decoded)) = ToEdge::decode(frame) else { return };
    let mut encoded = Vec::new();
    decoded.encode(&mut encoded);
    let (body, _) = split(&encoded, FRAME_BYTES_MAX).expect("a frame").expect("whole");
    assert_eq!(ToEdge::decode(body), Ok(Some(decoded.clone())));
    match &decoded {
        ToEdge::Deliver(frame) => stanza(frame.stanza),
        ToEdge::Multicast(frame) => {
            stanza(frame.stanza);
            frame.targets.iter().for_each(|target| assert!(target.bytes_max() > 0));
        }
        ToEdge::Domain(frame) => {
            let _ = hearth_connmgr::directory::Domain::new(frame, None, None);
        }
        ToEdge::Certified(frame) => {
            let _ = hearth_connmgr::directory::Certified::new(frame);
        }
        ToEdge::Authentication(frame) => {
            let _ = hearth_connmgr::directory::Authentication::new(frame);
        }
        _ => {}
    }
}

fn stanza(bytes: &[u8]) {
    if let Ok(stanza) = Stanza::decode(bytes) {
        let _ = stanza.validate();
    }
}
