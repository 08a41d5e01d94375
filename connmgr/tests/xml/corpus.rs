//! Hostile streams: `tests/corpus/<condition>/<name>.xml` must end with that stream error, `accepted` ones with none.
//! Larger ones are made here.

use crate::reader::{Event, HEADER, Reader, read};
use hearth_connmgr::xml::{Limits, XmlError};
use std::path::{Path, PathBuf};

/// Folder of streams that are legal.
const ACCEPTED: &str = "accepted";

/// Every file of the corpus with its folder's name.
pub(crate) fn files() -> Vec<(String, PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files = Vec::new();
    for folder in std::fs::read_dir(root).unwrap() {
        let folder = folder.unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            files.push((folder.file_name().into_string().unwrap(), path, bytes));
        }
    }
    assert!(files.len() > 70);
    files
}

/// The accepted streams.
pub(crate) fn accepted() -> Vec<Vec<u8>> {
    files().into_iter().filter(|(folder, ..)| folder == ACCEPTED).map(|(.., bytes)| bytes).collect()
}

#[test]
fn threat_005_006_009_010_each_hostile_stream_ends_as_its_folder_says() {
    for (folder, path, bytes) in files() {
        let events = read(&bytes, &[], Limits::AUTHENTICATED);
        let condition = match events.last() {
            Some(Event::Refused(error)) => error.condition().element(),
            _ => ACCEPTED,
        };
        assert_eq!(condition, folder, "{}: {events:?}", path.display());
    }
}

/// Feeds `piece` again and again behind the usual header until the stream is refused; how many bytes that took.
fn endless(start: &str, piece: &str, limits: Limits) -> (XmlError, usize) {
    let mut reader = Reader::new(limits);
    reader.feed(HEADER.as_bytes());
    reader.feed(start.as_bytes());
    let mut fed = start.len();
    loop {
        if let Some(Event::Refused(error)) = reader.events.last() {
            return (*error, fed);
        }
        reader.feed(piece.as_bytes());
        fed += piece.len();
        assert!(fed < 10 * limits.bytes, "never refused");
    }
}

#[test]
fn threat_018_what_never_ends_is_refused_at_the_limit() {
    use XmlError as E;
    let cases = [
        ("<", "a", E::TooLong),
        ("<a ", "a", E::TooLong),
        ("<a ", "b='1' ", E::TooLong),
        ("<a b='", "x", E::TooLong),
        ("<a b=\"", "'>", E::TooLong),
        ("<a>", "x", E::TooLong),
        ("<a>", "<b/>", E::TooLong),
        ("<a>", " ", E::TooLong),
        ("<a>", "&amp;", E::TooLong),
        ("<a><![CDATA[", "]]", E::TooLong),
        ("<a></", "a", E::TooLong),
        ("</", "a", E::TooLong),
        ("</stream:stream", " ", E::TooLong),
        ("<a>", "<b>", E::TooDeep),
        ("", "<b>", E::TooDeep),
        ("", "<b c='>'>x", E::TooDeep),
    ];
    for limits in [Limits::PRE_AUTH, Limits::AUTHENTICATED] {
        for (start, piece, error) in cases {
            let (refused, fed) = endless(start, piece, limits);
            assert_eq!(refused, error, "{start}{piece}{piece}…");
            assert!(fed < limits.bytes + piece.len(), "{start}{piece}{piece}… took {fed} bytes");
        }
    }
    let mut header = Reader::new(Limits::PRE_AUTH);
    header.feed(b"<stream:stream ");
    (0..8200).for_each(|_| header.feed(b" "));
    assert_eq!(header.events, [Event::Refused(E::TooLong)]);
}

/// Depth is counted, not followed: a million levels cost neither stack nor memory.
#[test]
fn threat_008_a_million_levels_cost_no_stack() {
    let deep = [HEADER, &"<a>".repeat(1_000_000), &"</a>".repeat(1_000_000)].concat();
    let limits = Limits { bytes: usize::MAX, ..Limits::AUTHENTICATED };
    assert_eq!(read(deep.as_bytes(), &[], limits).last(), Some(&Event::Refused(XmlError::TooDeep)));
    let just_too_deep = [HEADER, &"<a>".repeat(65), &"</a>".repeat(65)].concat();
    let events = read(just_too_deep.as_bytes(), &[], Limits::AUTHENTICATED);
    assert_eq!(events.last(), Some(&Event::Refused(XmlError::TooDeep)));
    let deep_enough = [HEADER, &"<a>".repeat(64), &"</a>".repeat(64)].concat();
    assert_eq!(read(deep_enough.as_bytes(), &[], Limits::AUTHENTICATED).len(), 2);
}

#[test]
fn threat_002_counts_before_and_after_authentication() {
    let wide = |count: usize| [HEADER, "<a>", &"<b/>".repeat(count - 1), "</a>"].concat().into_bytes();
    let outcome = |bytes: Vec<u8>, limits: Limits| match read(&bytes, &[], limits).pop() {
        Some(Event::Refused(error)) => Some(error),
        _ => None,
    };
    assert_eq!(outcome(wide(32), Limits::PRE_AUTH), None);
    assert_eq!(outcome(wide(33), Limits::PRE_AUTH), Some(XmlError::TooManyElements));
    assert_eq!(outcome(wide(4096), Limits::AUTHENTICATED), None);
    assert_eq!(outcome(wide(4097), Limits::AUTHENTICATED), Some(XmlError::TooManyElements));
    let body = |len: usize| [HEADER, "<a>", &"x".repeat(len - 7), "</a>"].concat().into_bytes();
    assert_eq!(outcome(body(8 * 1024), Limits::PRE_AUTH), None);
    assert_eq!(outcome(body(8 * 1024 + 1), Limits::PRE_AUTH), Some(XmlError::TooLong));
    assert_eq!(outcome(body(256 * 1024), Limits::AUTHENTICATED), None);
    assert_eq!(outcome(body(256 * 1024 + 1), Limits::AUTHENTICATED), Some(XmlError::TooLong));
}
