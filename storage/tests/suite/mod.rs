//! What every pair of stores must do, whatever it is made of.

use hearth_storage::{
    Append, Blob, Change, ChangeSet, Credentials, Denied, Device, Disabled, DomainRecord, EdgeRun, Executed,
    ExecutedStanza, LastSeen, ListedField, Listing, LogId, LogMarks, LogStore, Made, NewRecord, ParkedRecord, Refusal,
    RosterItem, ScramKeys, Search, SessionRecord, SmallStore, StoreError, StoredRequest, Subscription, TOKEN_BYTES,
    Token, TokenBinding, limits,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{Generation, IngestId, Slot, StreamId};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use std::sync::Arc;

pub(crate) type Pair = (Arc<dyn SmallStore>, Arc<dyn LogStore>);

/// A place that keeps a pair of stores. `open` is called again after both were closed and dropped.
pub(crate) trait Home {
    fn open(&mut self) -> Pair;
}

pub(crate) fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

pub(crate) fn slot(index: u16) -> Slot {
    Slot::new(index).unwrap()
}

pub(crate) fn keys(byte: u8) -> ScramKeys {
    ScramKeys { iterations: 10_000, salt: vec![byte; 16], stored_key: vec![byte; 32], server_key: vec![byte; 32] }
}

pub(crate) fn credentials(generation: u64) -> Credentials {
    Credentials { generation, sha1: keys(1), sha256: keys(2), sha512: keys(3) }
}

pub(crate) fn create(account: &str) -> Change {
    Change::CreateAccount { account: jid(account), credentials: credentials(1) }
}

pub(crate) fn item(contact: &str) -> RosterItem {
    RosterItem {
        contact: contact.into(),
        name: Some("Grace".into()),
        groups: vec!["Friends".into(), "Navy".into()],
        subscription: Subscription::Both,
        ask: false,
        approved: true,
    }
}

/// That a stream whose id is all `byte` changed the account with these stanzas.
pub(crate) fn executed(byte: u8, numbers: &[u64]) -> Executed {
    let stanzas = numbers.iter().map(|number| ExecutedStanza { number: *number, hash: [byte; 4] }).collect();
    Executed { stream: StreamId([byte; 16]), credentials: numbers.first().copied(), stanzas }
}

/// A client whose id is all `byte`, with a token that came with this count.
pub(crate) fn device(byte: u8, count: u64) -> Device {
    let token = Token {
        secret: [byte; TOKEN_BYTES],
        binding: TokenBinding::None,
        issued_ms: 1,
        expires_ms: 2,
        count,
        credentials: 3,
    };
    Device { id: [byte; 16], software: None, name: Some("Desk".into()), used_ms: 4, current: None, new: Some(token) }
}

/// A session on record, of a stream whose id is all `byte`.
pub(crate) fn session(byte: u8) -> SessionRecord {
    SessionRecord {
        stream: StreamId([byte; 16]),
        generation: Generation { epoch: 1, counter: u64::from(byte) },
        contents: vec![byte; 100],
        parked: Some(ParkedRecord {
            until_ms: 7,
            settled: 1,
            entry: 4,
            written: 2,
            unwritten: vec![(3, LogId(3))],
            log: LogId(3),
        }),
    }
}

pub(crate) fn put_item(account: &str, contact: &str) -> Change {
    Change::PutRosterItem { account: jid(account), item: item(contact) }
}

pub(crate) fn message(body: &str) -> SharedStanza {
    SharedStanza::new(&Stanza { id: Some(body), ..Stanza::new(StanzaKind::Message, StanzaType::Chat) })
}

pub(crate) fn append(account: &str, body: &str) -> Append {
    let ingest = Some(IngestId { stream: StreamId([3; 16]), number: 5 });
    let record = NewRecord { account: jid(account), ingest, received_ms: 1_000, stanza: message(body) };
    Append { slot: slot(1), epoch: 1, record }
}

/// A set for slot 1 under the newest epoch there is.
pub(crate) fn set(changes: Vec<Change>) -> ChangeSet {
    ChangeSet { slot: slot(1), epoch: 1_000, changes }
}

fn apply(store: &dyn SmallStore, changes: Vec<Change>) -> Result<(), Denied> {
    apply_born(store, changes, LogId(0))
}

fn apply_born(store: &dyn SmallStore, changes: Vec<Change>, born_at: LogId) -> Result<(), Denied> {
    let outcomes = store.apply(&[set(changes)], born_at);
    assert_eq!(outcomes.len(), 1);
    outcomes.into_iter().next().unwrap()
}

fn bodies(log: &dyn LogStore, account: &str, after: LogId, limit: u32) -> Vec<String> {
    let records = log.read(&jid(account), after, limit).unwrap();
    records.iter().map(|record| record.stanza.view().id.unwrap().to_owned()).collect()
}

const REFUSED_EXISTS: Result<(), Denied> = Err(Denied::Refused(Refusal::Exists));
const REFUSED_NO_ACCOUNT: Result<(), Denied> = Err(Denied::Refused(Refusal::NoAccount));
const REFUSED_FENCED: Denied = Denied::Refused(Refusal::Fenced);

/// Runs everything.
pub(crate) fn run(mut new_home: impl FnMut() -> Box<dyn Home>) {
    let small_cases: &[fn(&mut dyn Home)] = &[
        snapshot_holds_all_that_was_put,
        what_was_executed_is_kept_per_session,
        tokens_are_kept_per_device,
        account_is_deleted_whole,
        preconditions_see_earlier_changes_of_their_set,
        bad_set_leaves_the_others_of_its_batch,
        batches_may_be_of_many_slots_in_any_order,
        older_epochs_are_fenced,
        epochs_grow_over_restarts,
        sessions_and_runs_of_edges_are_on_record,
        domains_and_listing,
        blobs_are_bounded,
        listed_are_found_by_how_a_field_begins,
        listings_go_with_their_account_or_alone,
        searches_are_bounded,
        accounts_that_share_a_prefix_stay_apart,
        names_that_look_like_others_are_refused_where_asked,
    ];
    let log_cases: &[fn(&mut dyn Home)] = &[
        log_pages_in_order,
        log_keeps_records_whole,
        log_ids_grow_over_restarts,
        log_marks,
        log_fences,
        log_page_is_bounded_in_bytes,
        log_finds_what_it_holds,
        log_looks_back_so_far,
        what_is_appended_again_is_there_once,
        later_account_of_a_name_does_not_see_the_earlier_ones_messages,
    ];
    for case in small_cases.iter().chain(log_cases) {
        case(&mut *new_home());
    }
}

fn snapshot_holds_all_that_was_put(home: &mut dyn Home) {
    let (store, log) = home.open();
    let account = jid("ada@example.org");
    assert_eq!(store.load(slot(1), &account).unwrap(), None);
    let request = StoredRequest { contact: "eve@example.org".into(), stanza: vec![1, 2], received_ms: 9 };
    let marks = LogMarks { low_water: LogId(70), undelivered: vec![LogId(3), LogId(5)] };
    let seen = |status: &str| LastSeen { at_ms: 1_700_000_000_000, status: Some(status.into()) };
    let disabled = Disabled { since_ms: 1_700_000_000_001, reason: Some("moved away".into()) };
    let block = |jid: &str| Change::PutBlocked { account: account.clone(), jid: jid.into() };
    let roster = ["bob@example.org", "grace@example.org"];
    apply(
        &*store,
        vec![
            create("ada@example.org"),
            put_item("ada@example.org", roster[1]),
            put_item("ada@example.org", roster[0]),
            put_item("ada@example.org", "gone@example.org"),
            Change::RemoveRosterItem { account: account.clone(), contact: jid("gone@example.org") },
            Change::PutRosterVersion { account: account.clone(), version: 12 },
            Change::PutRequest { account: account.clone(), request: request.clone() },
            Change::PutMarks { account: account.clone(), marks: marks.clone() },
            Change::PutLastSeen { account: account.clone(), seen: seen("earlier") },
            Change::PutLastSeen { account: account.clone(), seen: seen("Gone home") },
            Change::PutDisabled { account: account.clone(), disabled: Some(disabled.clone()) },
            block("spam.example"),
            block("eve@example.org/x"),
            block("bob@example.org"),
            Change::RemoveBlocked { account: account.clone(), jid: "bob@example.org".into() },
            Change::SetCredentials { account: account.clone(), credentials: credentials(2) },
            Change::PutBlob { account: account.clone(), blob: Blob::VCard, bytes: Some(vec![7; 300_000]) },
        ],
    )
    .unwrap();
    let check = |store: &dyn SmallStore| {
        let snapshot = store.load(slot(1), &account).unwrap().unwrap();
        assert_eq!(snapshot.credentials, credentials(2));
        assert_eq!(snapshot.roster, roster.map(item));
        assert_eq!(snapshot.roster_version, 12);
        assert_eq!(snapshot.requests, std::slice::from_ref(&request));
        assert_eq!(snapshot.marks, marks);
        assert_eq!(snapshot.last_seen, Some(seen("Gone home")));
        assert_eq!(snapshot.disabled.as_ref(), Some(&disabled));
        assert_eq!(snapshot.blocked, ["eve@example.org/x", "spam.example"].map(Box::from));
        assert_eq!(store.load_blob(slot(1), &account, Blob::VCard).unwrap(), Some(vec![7; 300_000]));
    };
    check(&*store);
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    let (store, _log) = home.open();
    check(&*store);
    apply(
        &*store,
        vec![
            Change::RemoveRequest { account: account.clone(), contact: jid("eve@example.org") },
            Change::PutBlob { account: account.clone(), blob: Blob::VCard, bytes: None },
            Change::PutDisabled { account: account.clone(), disabled: None },
        ],
    )
    .unwrap();
    let snapshot = store.load(slot(1), &account).unwrap().unwrap();
    assert_eq!((snapshot.requests, snapshot.disabled), (vec![], None));
    assert_eq!(store.load_blob(slot(1), &account, Blob::VCard).unwrap(), None);
}

fn what_was_executed_is_kept_per_session(home: &mut dyn Home) {
    let (store, log) = home.open();
    let account = jid("ada@example.org");
    let put = |byte, numbers: &[u64]| Change::PutExecuted {
        account: jid("ada@example.org"),
        executed: executed(byte, numbers),
    };
    let list = |store: &dyn SmallStore| store.load(slot(1), &account).unwrap().unwrap().executed;
    assert_eq!(apply(&*store, vec![put(1, &[1])]), REFUSED_NO_ACCOUNT);
    apply(&*store, vec![create("ada@example.org"), create("ad@example.org")]).unwrap();
    assert_eq!(list(&*store), []);
    // A stream id may be of any bytes.
    apply(&*store, vec![put_item("ada@example.org", "b@c"), put(0, &[7]), put(255, &[8, 9]), put(3, &[1])]).unwrap();
    apply(&*store, vec![put(0, &[7, 300]), put(1, &[])]).unwrap();
    let session = Change::PutSession { account: account.clone(), session: session(3) };
    apply(&*store, vec![session]).unwrap();
    let all = [executed(0, &[7, 300]), executed(1, &[]), executed(3, &[1]), executed(255, &[8, 9])];
    assert_eq!(list(&*store), all);
    assert_eq!(store.load(slot(1), &jid("ad@example.org")).unwrap().unwrap().executed, []);
    let most: Vec<u64> = (0..=limits::EXECUTED_MAX as u64).collect();
    let too_many = apply(&*store, vec![put_item("ada@example.org", "d@e"), put(1, &most)]);
    assert!(matches!(too_many, Err(Denied::Failed(StoreError::TooLarge { .. }))), "{too_many:?}");
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    let (store, _log) = home.open();
    assert_eq!(list(&*store), all);
    // It outlives its session, of which an edge may not have heard that it is no more.
    let stream = |byte| StreamId([byte; 16]);
    apply(&*store, vec![Change::RemoveSession { account: account.clone(), stream: stream(3) }]).unwrap();
    assert_eq!(list(&*store), all);
    let gone = |byte| Change::RemoveExecuted { account: account.clone(), stream: stream(byte) };
    apply(&*store, vec![gone(1), gone(3), gone(255)]).unwrap();
    assert_eq!(list(&*store), all[..1]);
    apply(&*store, vec![Change::DeleteAccount { account: account.clone() }, create("ada@example.org")]).unwrap();
    assert_eq!(list(&*store), []);
}

fn tokens_are_kept_per_device(home: &mut dyn Home) {
    let (store, log) = home.open();
    let account = jid("ada@example.org");
    let put = |byte, count| Change::PutDevice { account: jid("ada@example.org"), device: device(byte, count) };
    let list = |store: &dyn SmallStore| store.load(slot(1), &account).unwrap().unwrap().devices;
    assert_eq!(apply(&*store, vec![put(1, 1)]), REFUSED_NO_ACCOUNT);
    apply(&*store, vec![create("ada@example.org"), create("ad@example.org")]).unwrap();
    apply(&*store, vec![put(0, 1), put(255, 2), put(3, 0), put(0, 9)]).unwrap();
    let all = [device(0, 9), device(3, 0), device(255, 2)];
    assert_eq!(list(&*store), all);
    assert_eq!(store.load(slot(1), &jid("ad@example.org")).unwrap().unwrap().devices, []);
    let long = Some("x".repeat(limits::DEVICE_TEXT_BYTES_MAX + 1).into());
    let long = Change::PutDevice { account: account.clone(), device: Device { name: long, ..device(1, 1) } };
    let too_long = apply(&*store, vec![long]);
    assert!(matches!(too_long, Err(Denied::Failed(StoreError::TooLarge { .. }))), "{too_long:?}");
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    let (store, _log) = home.open();
    assert_eq!(list(&*store), all);
    apply(&*store, vec![Change::RemoveDevice { account: account.clone(), id: [3; 16] }]).unwrap();
    assert_eq!(list(&*store), [device(0, 9), device(255, 2)]);
    apply(&*store, vec![Change::DeleteAccount { account: account.clone() }, create("ada@example.org")]).unwrap();
    assert_eq!(list(&*store), []);
}

fn account_is_deleted_whole(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let account = jid("ada@example.org");
    let vcard = Change::PutBlob { account: account.clone(), blob: Blob::VCard, bytes: Some(vec![1]) };
    let marks = LogMarks { low_water: LogId(9), undelivered: vec![LogId(1)] };
    let put_marks = Change::PutMarks { account: account.clone(), marks };
    let seen = LastSeen { at_ms: 1, status: None };
    let put_seen = Change::PutLastSeen { account: account.clone(), seen };
    let made = vec![create("ada@example.org"), put_item("ada@example.org", "b@c"), vcard, put_marks, put_seen];
    apply(&*store, made).unwrap();
    let disabled = Some(Disabled { since_ms: 1, reason: None });
    apply(&*store, vec![Change::PutDisabled { account: account.clone(), disabled }]).unwrap();
    apply(&*store, vec![Change::DeleteAccount { account: account.clone() }]).unwrap();
    assert_eq!(store.load(slot(1), &account).unwrap(), None);
    assert_eq!(store.load_blob(slot(1), &account, Blob::VCard).unwrap(), None);
    assert!(store.list_accounts("example.org", None, 10).unwrap().is_empty());
    assert_eq!(store.born_at(slot(1), &account).unwrap(), None);
    assert_eq!(apply(&*store, vec![Change::DeleteAccount { account: account.clone() }]), REFUSED_NO_ACCOUNT);
    apply(&*store, vec![create("ada@example.org")]).unwrap();
    let snapshot = store.load(slot(1), &account).unwrap().unwrap();
    assert_eq!((snapshot.roster, snapshot.marks, snapshot.last_seen), (vec![], LogMarks::default(), None));
    assert_eq!(snapshot.disabled, None);
}

fn preconditions_see_earlier_changes_of_their_set(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let (ada, bob) = ("ada@example.org", "bob@example.org");
    let delete = || Change::DeleteAccount { account: jid(ada) };
    assert_eq!(apply(&*store, vec![create(ada), create(ada)]), REFUSED_EXISTS);
    assert_eq!(apply(&*store, vec![create(ada), create(bob), create(ada)]), REFUSED_EXISTS);
    assert_eq!(apply(&*store, vec![create(ada), delete(), put_item(ada, bob)]), REFUSED_NO_ACCOUNT);
    assert_eq!(apply(&*store, vec![create(bob), put_item(ada, bob)]), REFUSED_NO_ACCOUNT);
    assert!(store.list_accounts("example.org", None, 10).unwrap().is_empty());
    apply(&*store, vec![create(ada)]).unwrap();
    apply(&*store, vec![delete(), create(ada), put_item(ada, bob)]).unwrap();
    assert_eq!(store.load(slot(1), &jid(ada)).unwrap().unwrap().roster, [item(bob)]);
}

fn bad_set_leaves_the_others_of_its_batch(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let (ada, bob) = ("ada@example.org", "bob@example.org");
    let long = vec![0; limits::BLOB_BYTES_MAX + 1];
    let too_long = Change::PutBlob { account: jid(ada), blob: Blob::VCard, bytes: Some(long) };
    let outcomes = store.apply(
        &[
            set(vec![create(ada)]),
            set(vec![put_item(ada, "x@y"), create(ada)]),
            set(vec![put_item(ada, "z@y"), too_long]),
            set(vec![create(bob)]),
        ],
        LogId(0),
    );
    assert_eq!(outcomes[0], Ok(()));
    assert_eq!(outcomes[1], REFUSED_EXISTS);
    assert!(matches!(outcomes[2], Err(Denied::Failed(StoreError::TooLarge { .. }))));
    assert_eq!(outcomes[3], Ok(()));
    assert_eq!(store.load(slot(1), &jid(ada)).unwrap().unwrap().roster, []);
    assert!(store.load(slot(1), &jid(bob)).unwrap().is_some());
}

/// An engine may write in another order than asked: whoever asks does not see it.
fn batches_may_be_of_many_slots_in_any_order(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let (ada, bob) = ("ada@example.org", "bob@example.org");
    let of = |index, epoch, changes| ChangeSet { slot: slot(index), epoch, changes };
    let run = |incarnation| EdgeRun { edge: "paris".to_owned(), incarnation, event_loops: 1 };
    let (fenced, no) = (Err(REFUSED_FENCED), REFUSED_NO_ACCOUNT);
    let outcomes = store.apply(
        &[
            of(9, 1_000, vec![create(ada)]),
            of(2, 1_000, vec![put_item(bob, "early@y")]),
            of(9, 1_000, vec![put_item(ada, "x@y")]),
            of(2, 1_000, vec![create(bob)]),
            of(2, 1_000, vec![put_item(bob, "z@y"), Change::DeleteAccount { account: jid(bob) }]),
            of(9, 1_001, vec![put_item(ada, "newer@y")]),
            of(9, 1_000, vec![put_item(ada, "fenced@y")]),
            of(2, 1_000, vec![put_item(bob, "late@y")]),
            of(3, 1_000, vec![put_item(ada, "elsewhere@y")]),
        ],
        LogId(0),
    );
    assert_eq!(outcomes, [Ok(()), no.clone(), Ok(()), Ok(()), Ok(()), Ok(()), fenced.clone(), no.clone(), no]);
    let roster = |account, index| store.load(slot(index), &jid(account)).unwrap().map(|found| found.roster);
    let contacts =
        |roster: Vec<RosterItem>| roster.into_iter().map(|item| item.contact.to_string()).collect::<Vec<_>>();
    assert_eq!(roster(ada, 9).map(contacts), Some(vec!["newer@y".to_owned(), "x@y".to_owned()]));
    assert_eq!(roster(bob, 2), None);
    // Edges are of no slot: the last word about one counts, whatever it was asked under, and a slot's new owner fences
    // what comes behind it and nothing before.
    let outcomes = store.apply(
        &[
            of(9, 1_001, vec![Change::PutEdgeRun { run: run(1) }]),
            of(4, 1_000, vec![put_item(ada, "nobody@y")]),
            of(9, 1_001, vec![put_item(ada, "before@y")]),
            of(4, 1_000, vec![Change::PutEdgeRun { run: run(2) }]),
            of(9, 1_002, vec![Change::PutDomain { domain: DomainRecord::new("example.net") }]),
            of(9, 1_001, vec![put_item(ada, "behind@y")]),
        ],
        LogId(0),
    );
    assert_eq!(outcomes, [Ok(()), REFUSED_NO_ACCOUNT, Ok(()), Ok(()), Ok(()), fenced]);
    assert_eq!(store.boot().unwrap().edge_runs, [run(2)]);
}

fn older_epochs_are_fenced(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let boot = store.boot().unwrap();
    let set = |slot_index, epoch, changes| ChangeSet { slot: slot(slot_index), epoch, changes };
    let apply = |set: ChangeSet| store.apply(&[set], LogId(0)).remove(0);
    assert_eq!(apply(set(1, boot.epoch - 1, vec![create("a@b")])), Err(REFUSED_FENCED));
    assert_eq!(apply(set(1, boot.epoch, vec![create("a@b")])), Ok(()));
    // A new owner takes slot 1 without changing anything.
    assert_eq!(apply(set(1, boot.epoch + 5, vec![])), Ok(()));
    assert_eq!(apply(set(1, boot.epoch + 4, vec![put_item("a@b", "c@d")])), Err(REFUSED_FENCED));
    assert_eq!(apply(set(2, boot.epoch, vec![create("e@b")])), Ok(()));
    // The refused one of two takers of slot 3 in one batch changes nothing.
    let both = [set(3, boot.epoch + 9, vec![create("f@b")]), set(3, boot.epoch + 8, vec![put_item("f@b", "c@d")])];
    assert_eq!(store.apply(&both, LogId(0)), [Ok(()), Err(REFUSED_FENCED)]);
}

fn epochs_grow_over_restarts(home: &mut dyn Home) {
    let (store, log) = home.open();
    let first = store.boot().unwrap();
    let taken = ChangeSet { slot: slot(9), epoch: first.epoch + 100, changes: vec![] };
    assert_eq!(store.apply(&[taken], LogId(0)), [Ok(())]);
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    let (store, _log) = home.open();
    let second = store.boot().unwrap();
    assert!(second.epoch > first.epoch + 100, "{} {}", second.epoch, first.epoch);
    assert_eq!((second.slot_key, second.secret), (first.slot_key, first.secret));
    assert!(store.boot().unwrap().epoch > second.epoch);
}

fn sessions_and_runs_of_edges_are_on_record(home: &mut dyn Home) {
    let (store, log) = home.open();
    let (ada, bob) = (jid("ada@example.org"), jid("bob@example.org"));
    let put = |account: &BareJid, session| Change::PutSession { account: account.clone(), session };
    assert_eq!(apply(&*store, vec![put(&ada, session(1))]), REFUSED_NO_ACCOUNT);
    let run = |edge: &str, incarnation| EdgeRun { edge: edge.to_owned(), incarnation, event_loops: 2 };
    apply(
        &*store,
        vec![
            create("ada@example.org"),
            create("bob@example.org"),
            put(&bob, session(9)),
            put(&ada, session(1)),
            put(&ada, SessionRecord { parked: None, ..session(2) }),
            put(&ada, session(2)),
            Change::RemoveSession { account: ada.clone(), stream: StreamId([1; 16]) },
            Change::PutEdgeRun { run: run("paris", 1) },
            Change::PutEdgeRun { run: run("rome", 1) },
            Change::PutEdgeRun { run: run("paris", 2) },
            Change::RemoveEdgeRun { edge: "rome".to_owned() },
        ],
    )
    .unwrap();
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    let (store, _log) = home.open();
    let boot = store.boot().unwrap();
    assert_eq!(boot.edge_runs, [run("paris", 2)]);
    assert_eq!(boot.sessions, [(ada, session(2)), (bob.clone(), session(9))]);
    let changes = vec![Change::DeleteAccount { account: bob }];
    assert_eq!(store.apply(&[ChangeSet { slot: slot(1), epoch: boot.epoch, changes }], LogId(0)), [Ok(())]);
    assert_eq!(store.boot().unwrap().sessions.len(), 1);
}

fn domains_and_listing(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let domain = |name: &str| {
        let mut domain = DomainRecord::new(name);
        domain.set("log_off", true);
        domain
    };
    let put = |name| Change::PutDomain { domain: domain(name) };
    apply(&*store, vec![put("b.org"), put("a.org"), put("c.org"), Change::RemoveDomain { domain: "c.org".into() }])
        .unwrap();
    assert_eq!(store.boot().unwrap().domains, [domain("a.org"), domain("b.org")]);
    let names = ["a@a.org", "b@a.org", "c@a.org", "a@a.orgs", "z@b.org"];
    for (index, name) in names.iter().enumerate() {
        let set =
            ChangeSet { slot: slot(4000 - u16::try_from(index).unwrap()), epoch: 5_000, changes: vec![create(name)] };
        assert_eq!(store.apply(&[set], LogId(0)), [Ok(())]);
    }
    let list = |domain, after: Option<&str>, limit| -> Vec<String> {
        let listed = store.list_accounts(domain, after.map(jid).as_ref(), limit).unwrap();
        listed.iter().map(|account| account.as_str().to_owned()).collect()
    };
    assert_eq!(list("a.org", None, 100), ["a@a.org", "b@a.org", "c@a.org"]);
    assert_eq!(list("a.org", None, 2), ["a@a.org", "b@a.org"]);
    assert_eq!(list("a.org", Some("b@a.org"), 2), ["c@a.org"]);
    assert_eq!(list("a.org", Some("bb@a.org"), 2), ["c@a.org"]);
    assert_eq!(list("a.org", Some("c@a.org"), 2), [""; 0]);
    assert_eq!(list("a.org", None, 0), [""; 0]);
    assert_eq!(list("org", None, 9), [""; 0]);
}

fn blobs_are_bounded(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let put = |len| Change::PutBlob { account: jid("a@b"), blob: Blob::VCard, bytes: Some(vec![1; len]) };
    apply(&*store, vec![create("a@b"), put(limits::BLOB_BYTES_MAX)]).unwrap();
    let refused = apply(&*store, vec![put(limits::BLOB_BYTES_MAX + 1)]);
    assert!(matches!(refused, Err(Denied::Failed(StoreError::TooLarge { .. }))));
    let kept = store.load_blob(slot(1), &jid("a@b"), Blob::VCard).unwrap().unwrap();
    assert_eq!(kept.len(), limits::BLOB_BYTES_MAX);
}

fn list(account: &str, first: &str, last: &str, nick: &str) -> Vec<Change> {
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    let email = some(&format!("{nick}@mail.example"));
    let listing = Some(Listing { first: some(first), last: some(last), nick: some(nick), email });
    vec![create(account), Change::PutListing { account: jid(account), listing }]
}

/// Addresses found; `None`: the account to go on behind is not among them.
fn find_from(
    store: &dyn SmallStore,
    terms: &[(ListedField, &str)],
    after: Option<&str>,
    limit: u32,
) -> Option<Vec<String>> {
    let terms = terms.iter().map(|(field, text)| (*field, (*text).to_owned())).collect();
    let search = Search { domain: "example.org".to_owned(), terms, after: after.map(jid), limit };
    let found = store.search(&search).unwrap()?;
    Some(found.into_iter().map(|(account, _)| account.localpart().unwrap_or_default().to_owned()).collect())
}

fn find(store: &dyn SmallStore, terms: &[(ListedField, &str)]) -> Vec<String> {
    find_from(store, terms, None, 100).unwrap()
}

fn listed_are_found_by_how_a_field_begins(home: &mut dyn Home) {
    use ListedField::{Email, First, Last, Nick};
    let (store, log) = home.open();
    for changes in [
        list("ada@example.org", "Ada  Augusta", "Lovelace", "countess"),
        list("adam@example.org", "Adam", "Smith", "Wealth"),
        list("emilie@example.org", "Émilie", "du Châtelet", "emy"),
        list("emmy@example.org", "Emmy", "Noether", "emy"),
        list("ada@example.org.other", "Ada", "Elsewhere", ""),
        list("hidden@example.net", "Ada", "Lovelace", "countess"),
        vec![create("adele@example.org")],
    ] {
        apply(&*store, changes).unwrap();
    }
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    let (store, _log) = home.open();
    let none: [&str; 0] = [];
    assert_eq!(find(&*store, &[(First, "ad")]), ["ada", "adam"]);
    assert_eq!(find(&*store, &[(First, "ADA AUG")]), ["ada"]);
    assert_eq!(find(&*store, &[(First, "émi")]), ["emilie"]);
    assert_eq!(find(&*store, &[(First, "augusta")]), none, "not where a field begins");
    assert_eq!(find(&*store, &[(Nick, "emy")]), ["emilie", "emmy"]);
    assert_eq!(find(&*store, &[(Nick, "emy"), (Last, "n")]), ["emmy"]);
    assert_eq!(find(&*store, &[(Last, "n"), (First, "Ada")]), none);
    assert_eq!(find(&*store, &[(Email, "wealth@mail.example")]), ["adam"]);
    assert_eq!(find(&*store, &[(Email, "wealth@mail.example.org")]), none);
    for empty in [&[][..], &[(First, "")], &[(First, " \0"), (Last, " ")]] {
        assert_eq!(find(&*store, empty), none, "{empty:?}");
    }
    let search = Search { domain: "example.org".to_owned(), terms: vec![(Last, "love".into())], after: None, limit: 1 };
    let found = store.search(&search).unwrap().unwrap();
    let listing = &found[0].1;
    assert_eq!(
        (listing.first.as_deref(), listing.email.as_deref()),
        (Some("Ada  Augusta"), Some("countess@mail.example"))
    );
}

fn listings_go_with_their_account_or_alone(home: &mut dyn Home) {
    use ListedField::{First, Nick};
    let (store, _log) = home.open();
    let none: [&str; 0] = [];
    let unlist = |account: &str| Change::PutListing { account: jid(account), listing: None };
    assert_eq!(apply(&*store, vec![unlist("ada@example.org")]), REFUSED_NO_ACCOUNT);
    apply(&*store, list("ada@example.org", "Ada", "", "countess")).unwrap();
    // Another listing takes the place of the first in every index.
    apply(&*store, list("ada@example.org", "Augusta", "", "countess").split_off(1)).unwrap();
    assert_eq!(find(&*store, &[(First, "ada")]), none);
    assert_eq!(find(&*store, &[(First, "aug")]), ["ada"]);
    apply(&*store, vec![unlist("ada@example.org"), unlist("ada@example.org")]).unwrap();
    assert_eq!((find(&*store, &[(First, "a")]), find(&*store, &[(Nick, "c")])), (vec![], vec![]));
    apply(&*store, list("ada@example.org", "Ada", "", "countess").split_off(1)).unwrap();
    apply(&*store, vec![Change::DeleteAccount { account: jid("ada@example.org") }]).unwrap();
    assert_eq!((find(&*store, &[(First, "a")]), find(&*store, &[(Nick, "c")])), (vec![], vec![]));
    apply(&*store, vec![create("ada@example.org")]).unwrap();
    assert_eq!(find(&*store, &[(First, "a")]), none, "a later account of the name");
    let refused = apply(&*store, list("b@example.org", &"x".repeat(limits::LISTED_FIELD_BYTES_MAX + 1), "", ""));
    assert!(matches!(refused, Err(Denied::Failed(StoreError::TooLarge { .. }))));
}

fn searches_are_bounded(home: &mut dyn Home) {
    use ListedField::{First, Last};
    let (store, _log) = home.open();
    let many = limits::SEARCH_KEYS_MAX + 10;
    let changes = (0..many).flat_map(|n| list(&format!("a{n:05}@example.org"), "Ada", &format!("{n:05}"), ""));
    apply(&*store, changes.collect()).unwrap();
    let ada: &[_] = &[(First, "ada")];
    assert_eq!(find_from(&*store, ada, None, 2).unwrap(), ["a00000", "a00001"]);
    assert_eq!(find_from(&*store, ada, Some("a00001@example.org"), 2).unwrap(), ["a00002", "a00003"]);
    assert_eq!(find_from(&*store, ada, Some(&format!("a{:05}@example.org", many - 1)), 2).unwrap(), [""; 0]);
    assert_eq!(find_from(&*store, ada, None, 0).unwrap(), [""; 0]);
    assert_eq!(find_from(&*store, ada, None, u32::MAX).unwrap().len(), usize::try_from(limits::FOUND_MAX).unwrap());
    for gone in ["b@example.org", "a00001@example.net"] {
        assert_eq!(find_from(&*store, ada, Some(gone), 2), None);
    }
    assert_eq!(find_from(&*store, &[(First, "ada"), (Last, "1")], Some("a00001@example.org"), 2), None);
    // The index walked is that of the longest term; what lies beyond the entries looked at is not found.
    assert_eq!(find(&*store, &[(Last, "02"), (First, "ada")]), [""; 0]);
    assert_eq!(find(&*store, &[(First, "ada"), (Last, "0200")]).len(), 10);
}

fn accounts_that_share_a_prefix_stay_apart(home: &mut dyn Home) {
    let (store, _log) = home.open();
    let names = ["a@b", "a@b.c", "a@b.cd", "aa@b"];
    apply(&*store, names.map(create).to_vec()).unwrap();
    apply(&*store, names.map(|name| put_item(name, &format!("of-{name}"))).to_vec()).unwrap();
    apply(&*store, vec![Change::DeleteAccount { account: jid("a@b") }]).unwrap();
    assert_eq!(store.load(slot(1), &jid("a@b")).unwrap(), None);
    for name in &names[1..] {
        let snapshot = store.load(slot(1), &jid(name)).unwrap().unwrap();
        assert_eq!(snapshot.roster, [item(&format!("of-{name}"))]);
        assert_eq!(store.load(slot(2), &jid(name)).unwrap(), None, "another slot");
    }
}

fn names_that_look_like_others_are_refused_where_asked(home: &mut dyn Home) {
    let (mut store, mut log) = home.open();
    let mut epoch = store.boot().unwrap().epoch;
    let apply = |store: &dyn SmallStore, epoch, changes| {
        store.apply(&[ChangeSet { epoch, ..set(changes) }], LogId::default()).remove(0)
    };
    let unlike = |name: &str| {
        let name = format!("{name}@example.org");
        vec![Change::MustNotLookAlike { account: jid(&name) }, create(&name)]
    };
    let like = |name: &str| Err(Denied::Refused(Refusal::LooksLike(Some(jid(&format!("{name}@example.org"))))));
    // Cyrillic a, o; Greek omicron. Names in ASCII are not compared with each other.
    for name in ["ada", "paypal", "paypa1", "rn", "m", "\u{43e}k", "\u{e1}da"] {
        apply(&*store, epoch, unlike(name)).unwrap();
    }
    apply(&*store, epoch, vec![create("\u{430}da@example.net"), create("\u{430}nn@example.org")]).unwrap();
    for again in [false, true] {
        for (name, other) in [("\u{430}da", "ada"), ("ok", "\u{43e}k"), ("\u{3bf}k", "\u{43e}k"), ("ann", "\u{430}nn")]
        {
            assert_eq!(apply(&*store, epoch, unlike(name)), like(other), "{name}");
        }
        assert_eq!(apply(&*store, epoch, unlike("\u{43e}k")), REFUSED_EXISTS);
        assert!(matches!(
            apply(&*store, epoch, unlike("p\u{430}ypal")),
            Err(Denied::Refused(Refusal::LooksLike(Some(_))))
        ));
        let many = format!("{}\u{430}", "l".repeat(6));
        assert_eq!(apply(&*store, epoch, unlike(&many)), Err(Denied::Refused(Refusal::LooksLike(None))));
        if !again {
            drop((store, log));
            (store, log) = home.open();
            epoch = store.boot().unwrap().epoch;
        }
    }
    drop(log);
    // Of two in one batch the first is taken, whatever their slots are; who asks for it gets a look-alike.
    let of = |index, name| ChangeSet { slot: slot(index), epoch, ..set(unlike(name)) };
    let outcomes = store.apply(&[of(1, "eve"), of(2, "ev\u{435}")], LogId::default());
    assert_eq!(outcomes, [Ok(()), like("eve")]);
    apply(&*store, epoch, vec![create("ev\u{435}@example.org")]).unwrap();
    for name in ["ada", "\u{43e}k"] {
        apply(&*store, epoch, vec![Change::DeleteAccount { account: jid(&format!("{name}@example.org")) }]).unwrap();
    }
    for name in ["\u{430}da", "ok"] {
        apply(&*store, epoch, unlike(name)).unwrap();
    }
}

fn append_all(log: &dyn LogStore, batch: &[Append]) -> Vec<LogId> {
    let ids = log.append(batch).into_iter().map(|outcome| outcome.unwrap()).collect();
    log.tidy();
    ids
}

fn log_pages_in_order(home: &mut dyn Home) {
    let (_small, log) = home.open();
    let batch: Vec<Append> =
        (0..20).map(|n| append(if n % 2 == 0 { "a@b" } else { "c@d" }, &format!("m{n}"))).collect();
    let mut ids = append_all(&*log, &batch[..7]);
    ids.extend(append_all(&*log, &batch[7..]));
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    let even: Vec<String> = (0..20).step_by(2).map(|n| format!("m{n}")).collect();
    assert_eq!(bodies(&*log, "a@b", LogId(0), 100), even);
    assert_eq!(bodies(&*log, "a@b", LogId(0), 3), even[..3]);
    assert_eq!(bodies(&*log, "a@b", ids[4], 3), even[3..6]);
    assert_eq!(bodies(&*log, "a@b", ids[5], 3), even[3..6], "between two of its ids");
    assert_eq!(bodies(&*log, "a@b", ids[18], 3), [""; 0]);
    assert_eq!(bodies(&*log, "a@b", LogId(0), 0), [""; 0]);
    assert_eq!(bodies(&*log, "nobody@d", LogId(0), 9), [""; 0]);
}

fn log_keeps_records_whole(home: &mut dyn Home) {
    let (_small, log) = home.open();
    let mut appends = [append("a@b", "one"), append("a@b", "two")];
    appends[1].record.ingest = None;
    appends[1].record.received_ms = u64::MAX;
    let ids = append_all(&*log, &appends);
    let records = log.read(&jid("a@b"), LogId(0), 9).unwrap();
    for ((record, append), id) in records.iter().zip(&appends).zip(ids) {
        let NewRecord { ingest, received_ms, stanza, .. } = &append.record;
        assert_eq!((&record.ingest, &record.received_ms, &record.stanza), (ingest, received_ms, stanza));
        assert_eq!(record.id, id);
    }
    assert_eq!(records.len(), 2);
    let long = "x".repeat(limits::STANZA_BYTES_MAX);
    let outcomes = log.append(&[append("a@b", &long), append("a@b", "three")]);
    assert!(matches!(outcomes[0], Err(Denied::Failed(StoreError::TooLarge { .. }))));
    assert!(outcomes[1].is_ok());
    assert_eq!(bodies(&*log, "a@b", LogId(0), 9), ["one", "two", "three"]);
}

fn log_ids_grow_over_restarts(home: &mut dyn Home) {
    let mut newest = LogId(0);
    for round in 0..4 {
        let (store, log) = home.open();
        assert_eq!(bodies(&*log, "a@b", LogId(0), 99).len(), round * 2);
        assert!(log.head() >= newest);
        for _ in 0..2 {
            let id = append_all(&*log, &[append("a@b", "m")])[0];
            assert!(id > newest);
            newest = id;
            assert!(log.head() >= id);
        }
        store.close().unwrap();
        log.close().unwrap();
    }
}

fn log_marks(home: &mut dyn Home) {
    let (_small, log) = home.open();
    let above = |account, mark| log.any_above(&jid(account), mark).unwrap();
    assert!(!above("a@b", LogId(0)));
    let before = log.head();
    let ids = append_all(&*log, &[append("a@b", "1"), append("c@d", "2"), append("a@b", "3"), append("c@d", "4")]);
    assert!(above("a@b", LogId(0)) && above("a@b", before) && above("a@b", ids[0]) && above("a@b", ids[1]));
    assert!(!above("a@b", ids[2]) && !above("a@b", ids[3]) && !above("a@b", log.head()));
    assert!(above("c@d", ids[2]) && !above("e@f", LogId(0)));
}

fn log_fences(home: &mut dyn Home) {
    let (_small, log) = home.open();
    let at = |slot_index, epoch| Append { slot: slot(slot_index), epoch, ..append("a@b", "m") };
    log.fence(None, 5);
    log.fence(Some(slot(2)), 8);
    log.fence(Some(slot(2)), 7);
    let outcomes = log.append(&[at(1, 4), at(1, 5), at(2, 7), at(2, 8), at(2, 9)]);
    let refused: Vec<bool> = outcomes.iter().map(|outcome| *outcome == Err(REFUSED_FENCED)).collect();
    assert_eq!(refused, [true, false, true, false, false]);
    assert_eq!(bodies(&*log, "a@b", LogId(0), 9).len(), 3);
}

fn log_page_is_bounded_in_bytes(home: &mut dyn Home) {
    let (_small, log) = home.open();
    let long = "x".repeat(limits::READ_BYTES_MAX / 3);
    append_all(&*log, &[append("a@b", &long), append("a@b", &long), append("a@b", &long), append("a@b", "last")]);
    let page = log.read(&jid("a@b"), LogId(0), 9).unwrap();
    assert_eq!(page.len(), 2, "the third would pass the limit with what surrounds it");
    let page = log.read(&jid("a@b"), page[1].id, 9).unwrap();
    assert_eq!(page.len(), 2);
    let whole = "x".repeat(limits::STANZA_BYTES_MAX - 100);
    append_all(&*log, &[append("c@d", &whole), append("c@d", "next")]);
    let page = log.read(&jid("c@d"), LogId(0), 9).unwrap();
    assert!(!page.is_empty());
}

fn log_finds_what_it_holds(home: &mut dyn Home) {
    let (store, log) = home.open();
    let record = |account, number, body| {
        let mut append = append(account, body);
        append.record.ingest = Some(IngestId { stream: StreamId([4; 16]), number });
        append
    };
    let batch = [record("a@b", 1, "one"), record("a@b", 2, "two"), record("c@d", 1, "one"), record("a@b", 3, "three")];
    let ids = append_all(&*log, &batch);
    let check = |log: &dyn LogStore| {
        let find = |account, number, body, after| log.find(&record(account, number, body).record, after).unwrap();
        assert_eq!(find("a@b", 1, "one", LogId(0)), Made::Yes(ids[0]));
        assert_eq!(find("a@b", 2, "two", LogId(0)), Made::Yes(ids[1]));
        assert_eq!(find("a@b", 2, "two", ids[0]), Made::Yes(ids[1]));
        assert_eq!(find("a@b", 3, "three", ids[3]), Made::No, "behind it");
        assert_eq!(find("c@d", 1, "one", LogId(0)), Made::Yes(ids[2]));
        assert_eq!(find("a@b", 3, "two", LogId(0)), Made::No, "another stanza under its number");
        assert_eq!(find("a@b", 4, "one", LogId(0)), Made::No, "the same text said again");
        assert_eq!(find("a@b", 1, "one", ids[0]), Made::LaterOne);
        assert_eq!(find("e@f", 1, "one", LogId(0)), Made::No);
        let mut other = record("a@b", 1, "one");
        other.record.ingest = Some(IngestId { stream: StreamId([5; 16]), number: 1 });
        assert_eq!(log.find(&other.record, LogId(0)).unwrap(), Made::No, "another stream's");
    };
    check(&*log);
    append_all(&*log, &[record("c@d", 4, "four")]);
    check(&*log);
    store.close().unwrap();
    log.close().unwrap();
    drop((store, log));
    check(&*home.open().1);
}

fn log_looks_back_so_far(home: &mut dyn Home) {
    let (_small, log) = home.open();
    let at = |received_ms, number, body: &str| {
        let mut append = append("a@b", body);
        append.record.received_ms = received_ms;
        append.record.ingest = Some(IngestId { stream: StreamId([4; 16]), number });
        append
    };
    let ids = append_all(&*log, &[at(1_000, 1, "old"), at(2_000, 2, "newer")]);
    let find = |received_ms, number, body| log.find(&at(received_ms, number, body).record, LogId(0)).unwrap();
    assert_eq!(find(1_000 + limits::AGAIN_AGE_MS, 1, "old"), Made::Yes(ids[0]));
    assert_eq!(find(1_001 + limits::AGAIN_AGE_MS, 1, "old"), Made::LaterOne);
    assert_eq!(find(1_001 + limits::AGAIN_AGE_MS, 2, "newer"), Made::Yes(ids[1]));
    // As many again as are looked at, of which "newer" is the first.
    let count = u64::try_from(limits::AGAIN_RECORDS_MAX).unwrap();
    let more: Vec<Append> = (3..count + 2).map(|number| at(2_000, number, "more")).collect();
    append_all(&*log, &more);
    assert_eq!(find(2_000, 2, "newer"), Made::Yes(ids[1]));
    append_all(&*log, &[at(2_000, 1, "one too many")]);
    assert_eq!(find(2_000, 2, "newer"), Made::LaterOne);
}

fn what_is_appended_again_is_there_once(home: &mut dyn Home) {
    use hearth_storage::{Answer, Ask, Question, Storage};
    let (store, log) = home.open();
    let (storage, boot) = Storage::new(store, log).unwrap();
    let ask_at = |epoch, ask| storage.answer(Question { id: 1, slot: slot(1), epoch, ask }).answer;
    let ask = |ask| ask_at(boot.epoch, ask);
    let record = |number: Option<u64>, body: &str| {
        let ingest = number.map(|number| IngestId { stream: StreamId([4; 16]), number });
        NewRecord { ingest, ..append("ada@example.org", body).record }
    };
    let again = |number, body| ask(Ask::AppendAgain { record: record(number, body) });
    let appended = |answer| match answer {
        Answer::Appended(id) => id,
        other => panic!("{other:?}"),
    };
    let already = |answer| match answer {
        Answer::Already(id) => id,
        other => panic!("{other:?}"),
    };
    let create = || assert!(matches!(ask(Ask::Apply { changes: vec![create("ada@example.org")] }), Answer::Applied));
    create();
    let one = appended(ask(Ask::Append { record: record(Some(1), "one") }));
    let two = appended(again(Some(2), "two"));
    assert_eq!(already(again(Some(1), "one")), one);
    assert_eq!(already(again(Some(2), "two")), two);
    let other = appended(again(Some(2), "other"));
    assert_eq!((already(again(Some(2), "two")), already(again(Some(2), "other"))), (two, other));
    assert!(matches!(again(Some(1), "other"), Answer::Overtaken));
    assert_eq!(already(again(Some(1), "one")), one, "it was in time");
    // Nothing tells these apart from two that a client sent.
    assert!(appended(again(None, "none")) < appended(again(None, "none")));
    let stale = ask_at(boot.epoch - 1, Ask::AppendAgain { record: record(Some(1), "one") });
    assert!(matches!(stale, Answer::Refused(Refusal::Fenced)), "whoever owns the slot now answers for it");
    let read = || match ask(Ask::ReadLog { account: jid("ada@example.org"), after: LogId(0), limit: 9 }) {
        Answer::Records(records) => records.iter().map(|r| r.stanza.view().id.unwrap().to_owned()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(), ["one", "two", "other", "none", "none"]);
    let changes = vec![Change::DeleteAccount { account: jid("ada@example.org") }];
    assert!(matches!(ask(Ask::Apply { changes }), Answer::Applied));
    create();
    appended(again(Some(1), "one"));
    assert_eq!(read(), ["one"], "what an earlier account got, this one has not");
}

fn later_account_of_a_name_does_not_see_the_earlier_ones_messages(home: &mut dyn Home) {
    let (store, log) = home.open();
    let (storage, boot) = hearth_storage::Storage::new(store, log).unwrap();
    let account = jid("ada@example.org");
    let ask = |ask| {
        let question = hearth_storage::Question { id: 1, slot: slot(1), epoch: boot.epoch, ask };
        storage.answer(question).answer
    };
    use hearth_storage::{Answer, Ask};
    let read = || match ask(Ask::ReadLog { account: account.clone(), after: LogId(0), limit: 9 }) {
        Answer::Records(records) => records.len(),
        other => panic!("{other:?}"),
    };
    let say = || {
        assert!(matches!(ask(Ask::Append { record: append("ada@example.org", "m").record }), Answer::Appended(_)));
    };
    let load = || match ask(Ask::Load { account: account.clone() }) {
        Answer::Loaded(Some(snapshot)) => (snapshot.log_above_mark, snapshot.marks),
        other => panic!("{other:?}"),
    };
    assert!(matches!(ask(Ask::Apply { changes: vec![create("ada@example.org")] }), Answer::Applied));
    say();
    assert_eq!((read(), load().0), (1, true));
    assert!(matches!(
        ask(Ask::Apply { changes: vec![Change::DeleteAccount { account: account.clone() }] }),
        Answer::Applied
    ));
    assert_eq!(read(), 0);
    assert!(matches!(ask(Ask::Apply { changes: vec![create("ada@example.org")] }), Answer::Applied));
    let (above, marks) = load();
    assert_eq!((read(), above, marks.undelivered), (0, false, vec![]));
    say();
    assert_eq!((read(), load().0), (1, true));
    // Not even marks that a confused shard stores bring the old ones back.
    let marks = LogMarks { low_water: LogId(0), undelivered: vec![LogId(1)] };
    let put_marks = Change::PutMarks { account: account.clone(), marks };
    assert!(matches!(ask(Ask::Apply { changes: vec![put_marks] }), Answer::Applied));
    assert!(load().1.undelivered.is_empty() && load().1.low_water > LogId(0));
}
