//! Stores that this build does not know: refused, by both versions, and left as they are.

use super::{check, copy, fixtures, open};
use hearth_storage::StoreError;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(crate) const fn table(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// Changes what `hearth.redb` holds behind the store's back.
pub(crate) fn change(dir: &Path, name: &str, mut work: impl FnMut(&[u8], &[u8]) -> Option<Vec<u8>>) {
    let db = Database::open(dir.join("hearth.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    let mut open = txn.open_table(table(name)).unwrap();
    let entries: Vec<_> = open.iter().unwrap().map(|entry| entry.unwrap()).collect();
    let entries: Vec<_> =
        entries.into_iter().map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect();
    for (key, value) in entries {
        match work(&key, &value) {
            Some(value) => open.insert(key.as_slice(), value.as_slice()).unwrap(),
            None => open.remove(key.as_slice()).unwrap(),
        };
    }
    drop(open);
    txn.commit().unwrap();
}

fn set_schema(dir: &Path, version: u32) {
    change(dir, "meta", |key, value| Some(if key == b"schema" { version.to_le_bytes().into() } else { value.into() }));
}

fn set_domain_version(dir: &Path, version: u8) {
    change(dir, "domains", |_, value| Some([&[version], &value[1..]].concat()));
}

fn set_segment_version(dir: &Path, version: u8) {
    let path = dir.join("log/00000003.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = version;
    fs::write(path, bytes).unwrap();
}

/// All that a store holds: entries of tables, bytes of the log's files. redb notes in its own file that it was opened.
fn contents(dir: &Path) -> BTreeMap<(String, Vec<u8>), Vec<u8>> {
    let mut contents = BTreeMap::new();
    let db = Database::open(dir.join("hearth.redb")).unwrap();
    let txn = db.begin_read().unwrap();
    for name in txn.list_tables().unwrap() {
        let name = name.name().to_owned();
        for entry in txn.open_table(table(&name)).unwrap().iter().unwrap() {
            let (key, value) = entry.unwrap();
            contents.insert((name.clone(), key.value().to_vec()), value.value().to_vec());
        }
    }
    for file in fs::read_dir(dir.join("log")).unwrap() {
        let path = file.unwrap().path();
        contents.insert((path.display().to_string(), vec![]), fs::read(path).unwrap());
    }
    contents
}

fn check_refused(what: &str, set: impl Fn(&Path), set_back: impl Fn(&Path), found: u32, known: u32) {
    let dir = copy(&fixtures().join("880064b"));
    set(dir.path());
    let before = contents(dir.path());
    assert_eq!(open(dir.path()).err(), Some(StoreError::UnknownVersion { found, known }), "{what}");
    assert!(before == contents(dir.path()), "{what}: something was changed");
    set_back(dir.path());
    check(dir.path(), true);
}

#[test]
fn what_a_later_build_wrote_is_refused_and_left_alone() {
    check_refused("tables", |dir| set_schema(dir, 3), |dir| set_schema(dir, 2), 3, 2);
    check_refused("a record", |dir| set_domain_version(dir, 2), |dir| set_domain_version(dir, 1), 2, 1);
    check_refused("the log", |dir| set_segment_version(dir, 2), |dir| set_segment_version(dir, 1), 2, 1);
}

#[test]
fn what_is_too_old_is_refused_and_left_alone() {
    check_refused("tables", |dir| set_schema(dir, 1), |dir| set_schema(dir, 2), 1, 2);
}

#[test]
fn a_refusal_names_both_versions_and_what_to_do() {
    let text = |found, known| StoreError::UnknownVersion { found, known }.to_string();
    assert_eq!(
        text(3, 2),
        "the store has schema version 3, this build knows 2: install the release that wrote it, or a later one"
    );
    assert_eq!(
        text(1, 2),
        "the store has schema version 1, this build knows 2: start a release that knows both first, it brings the store on"
    );
}
