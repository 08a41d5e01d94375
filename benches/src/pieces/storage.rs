//! What is asked of the store most: an append, the snapshot of an account.

use super::{Piece, Work};
use hearth_storage::log::SegmentLog;
use hearth_storage::redb::RedbSmall;
use hearth_storage::{
    Append, Change, ChangeSet, Credentials, Disk, Fresh, LogConfig, LogId, LogStore, NewRecord, RedbConfig, RosterItem,
    ScramKeys, SmallStore, Subscription, Sync,
};
use hearth_wire::BareJid;
use hearth_wire::ids::{IngestId, SlotKey, StreamId};
use hearth_wire::stanza::SharedStanza;
use std::hint::black_box;

pub(super) const PIECES: [Piece; 2] = [
    Piece::new("log: append a message, 100 in one write", 0.1, append),
    Piece::new("redb: snapshot with 25 contacts", 132.0, snapshot),
];

const BATCH: usize = 100;
const STORE: [u8; 16] = [3; 16];

fn fresh() -> Fresh {
    Fresh { slot_key: SlotKey([1; 16]), secret: [2; 32], store_id: STORE }
}

/// Without the disk: what the processor does.
fn disk() -> Disk {
    Disk { sync: Sync::None, faults: None }
}

fn jid(number: usize) -> BareJid {
    BareJid::parse(&format!("user{number}@example.org")).unwrap()
}

/// One call is one message: every hundredth writes.
fn append() -> Work {
    let dir = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(dir.path(), disk(), STORE, LogConfig::default()).unwrap();
    let stanza = SharedStanza::from_bytes(&super::wire::message("grace@example.org")).unwrap();
    let batch: Vec<Append> = (0..BATCH)
        .map(|number| {
            let account = jid(number * 7_919 % 5_000);
            let slot = fresh().slot_key.slot(account.as_str());
            let ingest = Some(IngestId { stream: StreamId([7; 16]), number: 300 });
            let record = NewRecord { account, ingest, received_ms: 1_700_000_000_000, stanza: stanza.clone() };
            Append { slot, epoch: 1, record }
        })
        .collect();
    let mut waiting = 0;
    Box::new(move || {
        let _kept = &dir;
        waiting += 1;
        if waiting == BATCH {
            waiting = 0;
            assert!(log.append(&batch).iter().all(Result::is_ok));
        }
    })
}

fn snapshot() -> Work {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbSmall::open(dir.path(), RedbConfig::default(), disk(), &fresh()).unwrap();
    let account = jid(1);
    let slot = fresh().slot_key.slot(account.as_str());
    let keys = ScramKeys { iterations: 10_000, salt: vec![1; 16], stored_key: vec![2; 64], server_key: vec![3; 64] };
    let credentials = Credentials { generation: 1, sha1: keys.clone(), sha256: keys.clone(), sha512: keys };
    let mut changes = vec![Change::CreateAccount { account: account.clone(), credentials }];
    changes.extend((0..25).map(|contact| Change::PutRosterItem {
        account: account.clone(),
        item: RosterItem {
            contact: format!("contact{contact}@example.net").into(),
            name: Some("A Contact".into()),
            groups: vec!["Friends".into()],
            subscription: Subscription::Both,
            ask: false,
            approved: false,
        },
    }));
    let done = store.apply(&[ChangeSet { slot, epoch: 1, changes }], LogId(0));
    assert!(done.iter().all(Result::is_ok));
    Box::new(move || {
        let _kept = &dir;
        let snapshot = store.load(slot, black_box(&account)).unwrap().unwrap();
        assert_eq!(snapshot.roster.len(), 25);
    })
}
