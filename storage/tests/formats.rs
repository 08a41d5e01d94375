//! Stores that earlier builds wrote, read and gone on with by this one; and what happens where that cannot be.
//!
//! A fixture is a folder below `tests/formats`, named by the commit or release whose build wrote it: `hearth.redb`
//! (made compact by redb itself) and `log/`, as that build left them, with one of each kind of record it knew
//! (`formats/store.rs`). Before a release is tagged it adds its own, with this command and a line in [`FIXTURES`]:
//!
//! ```text
//! HEARTH_FIXTURE=0.1.0 cargo test -p hearth-storage --test formats this_build
//! ```
//!
//! What is new in the release goes into `store::write` and `store::expected` first, there behind what tells
//! fixtures without it. The fixture of 1376fa1 was written by the same functions at that commit, without those
//! that are about sessions on record. A fixture is never written anew. It stays for as long as ARCHITECTURE.md
//! promises that its version can be read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "formats/refused.rs"]
mod refused;
#[path = "formats/store.rs"]
mod store;
#[path = "formats/text.rs"]
mod text;

use hearth_storage::{
    Answer, Ask, Blob, Change, Disabled, LastSeen, LogConfig, LogId, LogMarks, Question, Refusal, Storage,
    StorageConfig, StoreError, StoredRequest, Subscription,
};
use hearth_wire::ids::StreamId;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use store::{ADA, Asked, BOB, CAROL, EPOCH, Logged, State, TAKEN, jid, message};

struct Fixture {
    name: &'static str,
    /// It has sessions on record and runs of edges.
    sessions: bool,
}

const FIXTURES: &[Fixture] =
    &[Fixture { name: "1376fa1", sessions: false }, Fixture { name: "880064b", sessions: true }];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// A copy of a fixture, to be written to.
fn copy(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    for part in ["", "log"] {
        for file in fs::read_dir(from.join(part)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                fs::write(dir.path().join(part).join(file.file_name()), fs::read(file.path()).unwrap()).unwrap();
            }
        }
    }
    dir
}

fn open(dir: &Path) -> Result<(Asked, hearth_storage::Boot), StoreError> {
    let log = LogConfig { segment_bytes: 400, ..LogConfig::default() };
    // Keys that the store must not take over.
    let fresh = hearth_storage::Fresh { secret: [99; 32], store_id: [99; 16], ..store::fresh() };
    let config = StorageConfig { log, reserve_bytes: 0, ..StorageConfig::new(dir, fresh) };
    let (storage, boot) = Storage::open(&config)?;
    Ok((Asked { storage, epoch: boot.epoch }, boot))
}

fn close(store: Asked) {
    store.storage.start(1, |_, _| {}).unwrap().shutdown().unwrap();
}

/// One change of each kind.
fn go_on(store: &Asked, sent: &[LogId]) {
    let account = || jid(ADA);
    let marks = LogMarks { low_water: sent[3], undelivered: vec![sent[2]] };
    let request = StoredRequest { contact: "new@example.net".into(), stanza: vec![], received_ms: 1 };
    store.apply(
        ADA,
        vec![
            Change::SetCredentials { account: account(), credentials: store::credentials(3) },
            Change::PutRosterItem { account: account(), item: store::item("alan@example.org", Subscription::To) },
            Change::RemoveRosterItem { account: account(), contact: jid("grace@example.net") },
            Change::PutRosterVersion { account: account(), version: 301 },
            Change::PutMarks { account: account(), marks },
            Change::RemoveRequest { account: account(), contact: jid("eve@example.net") },
            Change::PutLastSeen { account: account(), seen: LastSeen { at_ms: 2, status: None } },
            Change::PutBlocked { account: account(), jid: "mallory@example.com".into() },
            Change::RemoveBlocked { account: account(), jid: "example.com".into() },
            Change::PutBlob { account: account(), blob: Blob::VCard, bytes: None },
            Change::PutListing { account: account(), listing: Some(store::listing("Augusta")) },
            Change::PutSession { account: account(), session: store::session(3, Some(sent[3])) },
            Change::PutExecuted { account: account(), executed: store::executed(1) },
            Change::PutExecuted { account: account(), executed: store::executed(3) },
            Change::RemoveExecuted { account: account(), stream: StreamId([1; 16]) },
            Change::PutDevice { account: account(), device: store::device(1) },
            Change::PutDevice { account: account(), device: store::device(3) },
            Change::RemoveDevice { account: account(), id: [1; 16] },
            Change::RemoveSession { account: account(), stream: StreamId([1; 16]) },
        ],
    );
    let disabled = Some(Disabled { since_ms: 3, reason: None });
    store.apply(CAROL, vec![Change::PutDisabled { account: jid(CAROL), disabled }]);
    store.apply(CAROL, vec![Change::DeleteAccount { account: jid(CAROL) }]);
    store.apply(BOB, vec![Change::PutDisabled { account: jid(BOB), disabled: None }]);
    store.apply(BOB, vec![Change::PutRequest { account: jid(BOB), request }]);
    store.apply(BOB, vec![Change::RemoveRequest { account: jid(BOB), contact: jid("new@example.net") }]);
    store.apply(
        "example.org",
        vec![
            Change::PutDomain { domain: store::domain("example.com") },
            Change::RemoveDomain { domain: "example.net".to_owned() },
            Change::PutEdge { edge: store::edge("paris", Some(5)) },
            Change::RemoveEdgeRun { edge: "paris".to_owned() },
            Change::PutEdgeRun { run: store::run("rome", 9) },
        ],
    );
    store.append(message(ADA, 5, true));
}

/// What [`go_on`] makes of a state.
fn gone_on(state: &mut State, sent: &[LogId]) {
    state.domains = vec![store::domain("example.com"), store::domain("example.org")];
    state.edges[0].revoked_ms = Some(5);
    state.runs = vec![store::run("rome", 9)];
    state.sessions.retain(|(_, session)| session.stream != StreamId([1; 16]));
    state.sessions.push((jid(ADA), store::session(3, Some(sent[3]))));
    state.accounts.retain(|account| account.jid != jid(CAROL));
    state.found[0].1 = store::listing("Augusta");
    state.accounts[1].snapshot.disabled = None;
    let ada = &mut state.accounts[0];
    ada.snapshot.credentials = store::credentials(3);
    ada.snapshot.roster = vec![store::item("alan@example.org", Subscription::To)];
    ada.snapshot.roster_version = 301;
    ada.snapshot.marks = LogMarks { low_water: sent[3], undelivered: vec![sent[2]] };
    ada.snapshot.requests = vec![];
    ada.snapshot.last_seen = Some(LastSeen { at_ms: 2, status: None });
    ada.snapshot.blocked = vec!["mallory@example.com".into(), "mallory@example.net".into()];
    ada.snapshot.executed = vec![store::executed(3)];
    ada.snapshot.devices = vec![store::device(3)];
    ada.vcard = None;
    ada.log.push(Logged::of(message(ADA, 5, true)));
}

/// The state of a fixture that was opened, with the ids of Ada's log; checked against what was written.
fn check_read(store: &Asked, boot: hearth_storage::Boot, sessions: bool) -> (State, Vec<LogId>) {
    let (state, sent) = store::read(store, boot);
    assert_eq!(sent.len(), 4);
    let carols = state.accounts[2].snapshot.marks.low_water;
    assert!(LogId(0) < carols && carols < sent[0], "her earlier account's message is before, all others are behind");
    assert_eq!(state, store::expected(sessions, &sent, carols));
    (state, sent)
}

/// Reads a fixture, goes on with it, and reads it again.
fn check(from: &Path, sessions: bool) {
    let dir = copy(from);
    let (store, boot) = open(dir.path()).unwrap();
    assert_eq!((boot.epoch, boot.restored), (EPOCH + 1, 0));
    let (mut state, sent) = check_read(&store, boot, sessions);
    let question = |ask, epoch, of| store.storage.answer(Question { id: 1, slot: store::slot(of), epoch, ask }).answer;
    let late = question(Ask::Apply { changes: vec![] }, EPOCH, TAKEN);
    assert!(matches!(late, Answer::Refused(Refusal::Fenced)), "{late:?}");
    // What the earlier build appended is known when it is sent again.
    let again = |number| {
        let (record, _) = message(ADA, number, true);
        question(Ask::AppendAgain { record }, store.epoch, ADA)
    };
    assert!(matches!(again(2), Answer::Already(id) if id == sent[1]));
    assert!(matches!(again(3), Answer::Overtaken), "the third was without an ingest id");
    assert!(matches!(again(9), Answer::Appended(_)));
    state.accounts[0].log.push(Logged::of(message(ADA, 9, true)));
    go_on(&store, &sent);
    gone_on(&mut state, &sent);
    close(store);
    let (store, boot) = open(dir.path()).unwrap();
    assert_eq!(boot.epoch, EPOCH + 2);
    let (again, now_sent) = store::read(&store, boot);
    assert_eq!(again, state);
    assert_eq!(now_sent[..4], sent[..]);
    assert!(now_sent.is_sorted(), "{now_sent:?}");
}

#[test]
fn stores_of_earlier_builds_are_read_and_gone_on_with() {
    for fixture in FIXTURES {
        check(&fixtures().join(fixture.name), fixture.sessions);
    }
}

/// A build from before sessions were on record knows nothing of their table.
#[test]
fn sessions_of_accounts_that_an_earlier_build_deleted_are_forgotten() {
    let dir = copy(&fixtures().join("880064b"));
    let of_ada = [&store::slot(ADA).index().to_be_bytes()[..], ADA.as_bytes(), &[0]].concat();
    let delete = |key: &[u8], value: &[u8]| (!key.starts_with(&of_ada)).then(|| value.to_vec());
    refused::change(dir.path(), "accounts", delete);
    let (store, boot) = open(dir.path()).unwrap();
    assert_eq!(boot.sessions, []);
    close(store);
    let mut left = 0;
    refused::change(dir.path(), "sessions", |_, value| {
        left += 1;
        Some(value.to_vec())
    });
    assert_eq!(left, 0);
}

/// A build from before names were compared has no rows of them, and makes and deletes accounts without.
#[test]
fn names_that_an_earlier_build_gave_are_compared_too() {
    let dir = copy(&fixtures().join("880064b"));
    let (greek, other) = ("\u{3bf}k@example.org", "\u{43e}k@example.org");
    let ask = |store: &Asked, name: &str| {
        let changes = vec![Change::MustNotLookAlike { account: jid(name) }];
        let question = Question { id: 1, slot: store::slot(name), epoch: store.epoch, ask: Ask::Apply { changes } };
        let answer = store.storage.answer(question).answer;
        match answer {
            Answer::Applied => None,
            Answer::Refused(Refusal::LooksLike(Some(like))) => Some(like),
            other => panic!("{other:?}"),
        }
    };
    let (store, _) = open(dir.path()).unwrap();
    assert_eq!(ask(&store, &ADA.replacen('a', "\u{430}", 1)), Some(jid(ADA)));
    let create = |name| Change::CreateAccount { account: jid(name), credentials: store::credentials(1) };
    store.apply(greek, vec![create(greek)]);
    close(store);
    refused::change(dir.path(), "looks", |_, _| None);
    let (store, _) = open(dir.path()).unwrap();
    assert_eq!(ask(&store, other), None, "the rows are believed while this build alone opens the store");
    close(store);
    refused::change(dir.path(), "meta", |key, value| {
        let later = [&value[..value.len() - 1], &[value[value.len() - 1] + 1]].concat();
        Some(if key == b"epoch" { later } else { value.to_vec() })
    });
    let (store, _) = open(dir.path()).unwrap();
    assert_eq!(ask(&store, other), Some(jid(greek)));
    assert_eq!(ask(&store, greek), None);
    close(store);
}

#[test]
fn every_fixture_is_in_the_list() {
    let folders = fs::read_dir(fixtures()).unwrap().map(Result::unwrap);
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir());
    let found: BTreeSet<String> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<String> = FIXTURES.iter().map(|fixture| fixture.name.to_owned()).collect();
    assert_eq!(found, listed);
}

/// Also makes a fixture: see above.
#[test]
fn this_build_reads_what_it_writes() {
    let elsewhere = tempfile::tempdir().unwrap();
    let dir = match std::env::var("HEARTH_FIXTURE") {
        Ok(name) => fixtures().join(name),
        Err(_) => elsewhere.path().join("new"),
    };
    fs::create_dir(&dir).unwrap();
    store::write(&dir);
    check(&dir, true);
}
