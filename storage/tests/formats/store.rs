//! A small store with one of each kind of record: how it is written, how all of it is read, and what must be read.

use super::text;
use hearth_storage::log::SegmentLog;
use hearth_storage::redb::{RedbConfig, RedbSmall};
use hearth_storage::{
    Answer, Ask, Blob, Boot, Change, Contacts, Credentials, Device, Disabled, Disk, DomainRecord, EdgeRecord, EdgeRun,
    Executed, ExecutedStanza, Fresh, LastSeen, ListedField, Listing, LogConfig, LogId, LogMarks, LogStore, NewRecord,
    ParkedRecord, Question, RegistrationRules, RosterItem, ScramKeys, Search, SessionRecord, SmallStore, Snapshot,
    Storage, StoredRequest, Subscription, TOKEN_BYTES, Token, TokenBinding,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{Generation, IngestId, Slot, SlotEpoch, SlotKey, StreamId};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::Builder;
use std::path::Path;
use std::sync::Arc;

pub(crate) const ADA: &str = "ada@example.org";
pub(crate) const BOB: &str = "bob@example.org";
/// Had an account, lost it, has another.
pub(crate) const CAROL: &str = "carol@example.org";

/// Under this epoch the slot of [`TAKEN`] was taken; every other one has the boot's.
pub(crate) const EPOCH: SlotEpoch = 42;
pub(crate) const TAKEN: &str = "taken.example";

/// 2026-11-22, 12:00 UTC.
pub(crate) const NOON_MS: u64 = 1_795_348_800_000;

pub(crate) fn fresh() -> Fresh {
    Fresh { slot_key: SlotKey([7; 16]), secret: [8; 32], store_id: [9; 16] }
}

pub(crate) fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

pub(crate) fn slot(account: &str) -> Slot {
    fresh().slot_key.slot(account)
}

pub(crate) fn credentials(generation: u64) -> Credentials {
    let keys = |byte, len| ScramKeys {
        iterations: 10_000,
        salt: vec![byte; 16],
        stored_key: vec![byte + 1; len],
        server_key: vec![byte + 2; len],
    };
    Credentials { generation, sha1: keys(10, 20), sha256: keys(20, 32), sha512: keys(30, 64) }
}

pub(crate) fn item(contact: &str, subscription: Subscription) -> RosterItem {
    let some = contact == "grace@example.net";
    let groups = if some { vec!["Friends".into(), "Amis d’été".into()] } else { vec![] };
    let name = some.then(|| "Grace".into());
    RosterItem { contact: contact.into(), name, groups, subscription, ask: !some, approved: some }
}

fn text_of(bytes: &str) -> Vec<u8> {
    bytes.as_bytes().to_vec()
}

fn subscribe() -> Vec<u8> {
    let mut payload = Builder::new();
    payload.leaf(None, "status", "May I?");
    payload.leaf(Some("http://jabber.org/protocol/nick"), "nick", "Ève");
    let (id, from, to) = (Some("s1"), Some("eve@example.net"), Some(ADA));
    let payload = payload.finish();
    let stanza = Stanza::new(StanzaKind::Presence, StanzaType::Subscribe);
    Stanza { id, from, to, payload: &payload, ..stanza }.encode()
}

const SUBSCRIBE: &str = "<presence type='subscribe' id='s1' to='ada@example.org' from='eve@example.net'>\
    <status xmlns='jabber:client'>May I?</status>\
    <nick xmlns='http://jabber.org/protocol/nick'>Ève</nick></presence>";

fn vcard() -> Vec<u8> {
    let mut tree = Builder::new();
    tree.open(Some("vcard-temp"), "vCard").leaf(None, "FN", "Ada Lovelace").close();
    tree.finish()
}

const VCARD: &str = "<vCard xmlns='vcard-temp'><FN xmlns='vcard-temp'>Ada Lovelace</FN></vCard>";

fn private() -> Vec<u8> {
    let mut forest = Builder::new();
    forest.open(Some("storage:bookmarks"), "storage").open(None, "conference");
    forest.attr("jid", "room@muc.example.org").attr("autojoin", "true").close().close();
    forest.open(Some("urn:example:own"), "own").attr_ns("urn:example:attribute", "far", "1 < 2").close();
    forest.finish()
}

const PRIVATE: &str = "<storage xmlns='storage:bookmarks'>\
    <conference xmlns='storage:bookmarks' jid='room@muc.example.org' autojoin='true'></conference></storage>\
    <own xmlns='urn:example:own' {urn:example:attribute}far='1 < 2'></own>";

/// A message as it goes into the log, and how it reads.
pub(crate) fn message(account: &str, number: u64, ingest: bool) -> (NewRecord, String) {
    let (id, body) = (format!("m{number}"), format!("Message {number} für Sie"));
    let mut payload = Builder::new();
    payload.leaf(None, "body", &body);
    payload.open(Some("urn:xmpp:receipts"), "request").close();
    payload.open(Some("urn:example:own"), "own").attr("of", "nobody’s dictionary").close();
    let payload = payload.finish();
    let (to, from) = (Some(account), Some("grace@example.net/φ"));
    let stanza = Stanza::new(StanzaKind::Message, StanzaType::Chat);
    let stanza = Stanza { id: Some(&id), to, from, lang: Some("de"), payload: &payload, ..stanza };
    let record = NewRecord {
        account: jid(account),
        ingest: ingest.then_some(IngestId { stream: StreamId([5; 16]), number }),
        received_ms: NOON_MS + number,
        stanza: SharedStanza::new(&stanza),
    };
    let reads = format!(
        "<message type='chat' id='{id}' to='{account}' from='grace@example.net/φ' xml:lang='de'>\
         <body xmlns='jabber:client'>{body}</body><request xmlns='urn:xmpp:receipts'></request>\
         <own xmlns='urn:example:own' of='nobody’s dictionary'></own></message>"
    );
    (record, reads)
}

pub(crate) fn domain(name: &str) -> DomainRecord {
    let mut domain = DomainRecord::new(name);
    domain.set("log_off", false);
    domain.set("registration", true);
    domain.registration_rules = RegistrationRules {
        per_address: Some(3),
        per_hour: Some(300),
        password_chars_min: None,
        reserved: Some(vec!["admin".to_owned(), "root".to_owned()]),
    };
    domain.contacts = Contacts { abuse: vec![format!("xmpp:abuse@{name}")], ..Contacts::default() };
    domain
}

pub(crate) fn edge(name: &str, revoked_ms: Option<u64>) -> EdgeRecord {
    EdgeRecord { name: name.to_owned(), key: vec![0x30; 44], added_ms: NOON_MS, revoked_ms }
}

pub(crate) fn listing(first: &str) -> Listing {
    Listing { first: Some(first.into()), nick: Some("Countess".into()), ..Listing::default() }
}

pub(crate) fn run(edge: &str, incarnation: u64) -> EdgeRun {
    EdgeRun { edge: edge.to_owned(), incarnation, event_loops: 2 }
}

/// A session whose stream id is all `byte`; parked if it was sent a record of the log.
pub(crate) fn session(byte: u8, sent: Option<LogId>) -> SessionRecord {
    SessionRecord {
        stream: StreamId([byte; 16]),
        generation: Generation { epoch: 1, counter: 300 },
        contents: vec![byte; 120],
        parked: sent.map(|log| ParkedRecord {
            until_ms: NOON_MS + 300_000,
            settled: 12,
            entry: 9,
            written: 7,
            unwritten: vec![(8, log)],
            log,
        }),
    }
}

/// What is written of Ada, of whose log `sent` is.
fn of_ada(sent: &[LogId]) -> Vec<Change> {
    let account = jid(ADA);
    let put = |item| Change::PutRosterItem { account: account.clone(), item };
    let request = StoredRequest { contact: "eve@example.net".into(), stanza: subscribe(), received_ms: NOON_MS };
    let marks = LogMarks { low_water: sent[1], undelivered: vec![sent[0]] };
    let seen = LastSeen { at_ms: NOON_MS, status: Some("À bientôt".into()) };
    let blob = |blob, bytes| Change::PutBlob { account: account.clone(), blob, bytes: Some(bytes) };
    let block = |jid: &str| Change::PutBlocked { account: account.clone(), jid: jid.into() };
    vec![
        put(item("grace@example.net", Subscription::Both)),
        put(item("alan@example.org", Subscription::None)),
        Change::PutRosterVersion { account: account.clone(), version: 300 },
        Change::PutRequest { account: account.clone(), request },
        Change::PutMarks { account: account.clone(), marks },
        Change::PutLastSeen { account: account.clone(), seen },
        block("mallory@example.net"),
        block("example.com"),
        blob(Blob::VCard, vcard()),
        blob(Blob::Private, private()),
        Change::PutListing { account: account.clone(), listing: Some(listing("Ada")) },
    ]
}

/// Kinds of records that there were not in the store of 1376fa1.
fn since_sessions(sent: &[LogId]) -> Vec<Change> {
    let put = |session| Change::PutSession { account: jid(ADA), session };
    vec![put(session(1, None)), put(session(2, Some(sent[2]))), Change::PutEdgeRun { run: run("paris", NOON_MS) }]
}

/// An open store, asked on this thread.
pub(crate) struct Asked {
    pub(crate) storage: Storage,
    pub(crate) epoch: SlotEpoch,
}

impl Asked {
    fn ask(&self, of: &str, ask: Ask) -> Answer {
        self.storage.answer(Question { id: 1, slot: slot(of), epoch: self.epoch, ask }).answer
    }

    /// All changes are of one slot.
    pub(crate) fn apply(&self, of: &str, changes: Vec<Change>) {
        let answer = self.ask(of, Ask::Apply { changes });
        assert!(matches!(answer, Answer::Applied), "{answer:?}");
    }

    pub(crate) fn append(&self, (record, _): (NewRecord, String)) -> LogId {
        match self.ask(record.account.clone().as_str(), Ask::Append { record }) {
            Answer::Appended(id) => id,
            answer => panic!("{answer:?}"),
        }
    }
}

/// Writes a store into an empty folder.
pub(crate) fn write(dir: &Path) {
    let small = Arc::new(RedbSmall::open(dir, RedbConfig::default(), Disk::default(), &fresh()).unwrap());
    // Two messages of Ada's fit into a segment.
    let config = LogConfig { segment_bytes: 400, ..LogConfig::default() };
    let log = Arc::new(SegmentLog::open(dir, Disk::default(), fresh().store_id, config).unwrap());
    let (storage, boot) = Storage::new(small.clone(), log.clone()).unwrap();
    let store = Asked { storage, epoch: boot.epoch };
    let create = |account: &str| Change::CreateAccount { account: jid(account), credentials: credentials(2) };
    store.apply(CAROL, vec![create(CAROL)]);
    store.append(message(CAROL, 1, true));
    store.apply(CAROL, vec![Change::DeleteAccount { account: jid(CAROL) }, create(CAROL)]);
    store.apply(BOB, vec![create(BOB)]);
    store.apply(ADA, vec![create(ADA)]);
    store.append(message(BOB, 1, false));
    let sent: Vec<LogId> = (1..=4).map(|number| store.append(message(ADA, number, number != 3))).collect();
    store.apply(ADA, of_ada(&sent));
    store.apply(ADA, since_sessions(&sent));
    let disabled = Some(Disabled { since_ms: NOON_MS, reason: Some("Spam".into()) });
    store.apply(BOB, vec![Change::PutDisabled { account: jid(BOB), disabled }]);
    let domains = ["example.org", "example.net"].map(|name| Change::PutDomain { domain: domain(name) });
    let edges = [edge("paris", None), edge("rome", Some(NOON_MS))].map(|edge| Change::PutEdge { edge });
    store.apply("example.org", domains.into_iter().chain(edges).collect());
    Asked { epoch: EPOCH, ..store }.apply(TAKEN, vec![]);
    log.tidy();
    small.close().unwrap();
    log.close().unwrap();
    drop((small, log));
    let mut file = redb::Database::open(dir.join("hearth.redb")).unwrap();
    file.compact().unwrap();
}

/// Everything there is in a store.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct State {
    pub(crate) secret: [u8; 32],
    pub(crate) domains: Vec<DomainRecord>,
    pub(crate) edges: Vec<EdgeRecord>,
    pub(crate) runs: Vec<EdgeRun>,
    pub(crate) sessions: Vec<(BareJid, SessionRecord)>,
    pub(crate) accounts: Vec<Account>,
    /// Whose nick begins with C, and what they list.
    pub(crate) found: Vec<(BareJid, Listing)>,
}

/// Everything there is of an account; stanzas and trees are in text, since one may be encoded in more than one way.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Account {
    pub(crate) jid: BareJid,
    pub(crate) snapshot: Snapshot,
    pub(crate) vcard: Option<String>,
    pub(crate) private: Option<String>,
    pub(crate) log: Vec<Logged>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Logged {
    pub(crate) ingest: Option<IngestId>,
    pub(crate) received_ms: u64,
    pub(crate) text: String,
}

impl Logged {
    /// How [`message`] is read.
    pub(crate) fn of((record, text): (NewRecord, String)) -> Logged {
        Logged { ingest: record.ingest, received_ms: record.received_ms, text }
    }
}

/// Reads everything, and the ids of Ada's log.
pub(crate) fn read(store: &Asked, boot: Boot) -> (State, Vec<LogId>) {
    let after = None;
    let Answer::Accounts(accounts) =
        store.ask(ADA, Ask::ListAccounts { domain: "example.org".into(), after, limit: 9 })
    else {
        panic!("no accounts")
    };
    let terms = vec![(ListedField::Nick, "c".to_owned())];
    let search = Search { domain: "example.org".to_owned(), terms, after: None, limit: 9 };
    let Answer::Found(Some(found)) = store.ask(ADA, Ask::Search { search }) else { panic!("no search") };
    let mut sent = Vec::new();
    let accounts = accounts.into_iter().map(|account| read_account(store, account, &mut sent)).collect();
    let Boot { secret, domains, edges, edge_runs: runs, sessions, .. } = boot;
    (State { secret, domains, edges, runs, sessions, accounts, found }, sent)
}

fn read_account(store: &Asked, jid: BareJid, sent: &mut Vec<LogId>) -> Account {
    let (of, account) = (jid.as_str(), jid.clone());
    let mut snapshot = match store.ask(of, Ask::Load { account: account.clone() }) {
        Answer::Loaded(Some(snapshot)) => *snapshot,
        answer => panic!("{answer:?}"),
    };
    for request in &mut snapshot.requests {
        request.stanza = text::stanza(&Stanza::decode(&request.stanza).unwrap()).into_bytes();
    }
    let blob = |blob| match store.ask(of, Ask::LoadBlob { account: account.clone(), blob }) {
        Answer::Blob(bytes) => bytes.map(|bytes| text::forest(&bytes, "")),
        answer => panic!("{answer:?}"),
    };
    let (vcard, private) = (blob(Blob::VCard), blob(Blob::Private));
    let records = match store.ask(of, Ask::ReadLog { account, after: LogId(0), limit: 100 }) {
        Answer::Records(records) => records,
        answer => panic!("{answer:?}"),
    };
    if of == ADA {
        sent.extend(records.iter().map(|record| record.id));
    }
    let log = records.iter().map(|record| Logged {
        ingest: record.ingest,
        received_ms: record.received_ms,
        text: text::stanza(&record.stanza.view()),
    });
    Account { log: log.collect(), jid, snapshot, vcard, private }
}

fn expected_ada(sent: &[LogId]) -> Account {
    let request = StoredRequest { contact: "eve@example.net".into(), stanza: text_of(SUBSCRIBE), received_ms: NOON_MS };
    let snapshot = Snapshot {
        credentials: credentials(2),
        roster: vec![item("alan@example.org", Subscription::None), item("grace@example.net", Subscription::Both)],
        roster_version: 300,
        requests: vec![request],
        marks: LogMarks { low_water: sent[1], undelivered: vec![sent[0]] },
        disabled: None,
        last_seen: Some(LastSeen { at_ms: NOON_MS, status: Some("À bientôt".into()) }),
        blocked: vec!["example.com".into(), "mallory@example.net".into()],
        executed: vec![],
        devices: vec![],
        log_above_mark: true,
    };
    let log = (1..=4).map(|number| Logged::of(message(ADA, number, number != 3))).collect();
    Account { jid: jid(ADA), snapshot, vcard: Some(VCARD.to_owned()), private: Some(PRIVATE.to_owned()), log }
}

/// What a session changed of late.
pub(crate) fn executed(stream: u8) -> Executed {
    let stanzas = vec![ExecutedStanza { number: 7, hash: [1, 2, 3, 4] }];
    Executed { stream: StreamId([stream; 16]), credentials: Some(2), stanzas }
}

/// A client with a token.
pub(crate) fn device(byte: u8) -> Device {
    let token = Token {
        secret: [byte; TOKEN_BYTES],
        binding: TokenBinding::Exporter,
        issued_ms: NOON_MS,
        expires_ms: NOON_MS + 1,
        count: 7,
        credentials: 2,
    };
    let (software, name) = (Some("Pen".into()), None);
    Device { id: [byte; 16], software, name, used_ms: NOON_MS, current: Some(token), new: None }
}

/// An account with nothing but its credentials, whose log begins at `low_water`.
pub(crate) fn plain(account: &str, low_water: LogId) -> Account {
    let snapshot = Snapshot {
        credentials: credentials(2),
        roster: vec![],
        roster_version: 0,
        requests: vec![],
        marks: LogMarks { low_water, undelivered: vec![] },
        disabled: None,
        last_seen: None,
        blocked: vec![],
        executed: vec![],
        devices: vec![],
        log_above_mark: false,
    };
    Account { jid: jid(account), snapshot, vcard: None, private: None, log: vec![] }
}

/// What is read of what [`write`] wrote; `sent` are the ids of Ada's log, `carols` that behind which Carol's begins.
pub(crate) fn expected(sessions: bool, sent: &[LogId], carols: LogId) -> State {
    let mut bob = plain(BOB, carols);
    bob.snapshot.disabled = Some(Disabled { since_ms: NOON_MS, reason: Some("Spam".into()) });
    bob.snapshot.log_above_mark = true;
    bob.log.push(Logged::of(message(BOB, 1, false)));
    let of_ada = [session(1, None), session(2, Some(sent[2]))].map(|session| (jid(ADA), session));
    State {
        secret: fresh().secret,
        domains: vec![domain("example.net"), domain("example.org")],
        edges: vec![edge("paris", None), edge("rome", Some(NOON_MS))],
        runs: if sessions { vec![run("paris", NOON_MS)] } else { vec![] },
        sessions: if sessions { of_ada.into() } else { vec![] },
        accounts: vec![expected_ada(sent), bob, plain(CAROL, carols)],
        found: vec![(jid(ADA), listing("Ada"))],
    }
}
