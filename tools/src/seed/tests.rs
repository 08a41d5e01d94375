//! What is in a store afterwards, and what is refused.

use super::*;
use argh::FromArgs as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearth_storage::{Answer, Ask, Blob, Question, Snapshot, Storage, StorageConfig, Subscription};
use hearth_wire::{BareJid, tree};
use std::path::Path;

/// These words behind `seed`, into this folder.
fn seeded(data: &Path, words: &str) -> Result<Seeded, String> {
    let data = data.to_str().unwrap();
    let words: Vec<&str> = ["--data", data].into_iter().chain(words.split_whitespace()).collect();
    run(&Args::from_args(&["seed"], &words).map_err(|early| early.output)?)
}

/// What a login reads of each of these accounts.
fn snapshots(data: &Path, users: impl IntoIterator<Item = u32>) -> Vec<Snapshot> {
    let (storage, boot) = Storage::open(&StorageConfig::new(data, store::fresh())).unwrap();
    let load = |user: u32| {
        let account = BareJid::parse(&format!("user{user}@localhost")).unwrap();
        let slot = boot.slot_key.slot(account.as_str());
        let question = Question { id: 1, slot, epoch: boot.epoch, ask: Ask::Load { account } };
        match storage.answer(question).answer {
            Answer::Loaded(Some(snapshot)) => *snapshot,
            other => panic!("user{user} is not loaded: {other:?}"),
        }
    };
    users.into_iter().map(load).collect()
}

fn contacts(snapshot: &Snapshot) -> Vec<&str> {
    assert!(snapshot.roster.iter().all(|item| item.subscription == Subscription::Both));
    snapshot.roster.iter().map(|item| &*item.contact).collect()
}

#[test]
fn accounts_and_groups_are_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let totals = seeded(dir.path(), "--users 11 --first-user 5 --contacts 3").unwrap().totals;
    // Groups 5–8, 9–12 and the rest, 13–15.
    let items = 4 * 3 + 4 * 3 + 3 * 2;
    assert_eq!(
        totals,
        Totals { accounts: 11, roster_items: items, contacts_least: 2, contacts_most: 3, ..Totals::default() }
    );
    assert!(seeded(dir.path(), "--first-user 15 --users 2").unwrap_err().contains("Exists"));

    let snapshots = snapshots(dir.path(), [9]);
    assert_eq!(contacts(&snapshots[0]), ["user10@localhost", "user11@localhost", "user12@localhost"]);
    assert_eq!(snapshots[0].credentials.sha1.iterations, 10_000);
}

#[test]
fn a_power_law_is_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let done = seeded(dir.path(), "--users 400 --first-user 100 --contacts 9 --graph power-law --seed 3").unwrap();
    assert_eq!(done.totals.roster_items, 400 * 9);
    let snapshots = snapshots(dir.path(), 100..500);
    let rosters: Vec<Vec<&str>> = snapshots.iter().map(contacts).collect();
    let degrees: Vec<usize> = rosters.iter().map(Vec::len).collect();
    assert_eq!(degrees.iter().sum::<usize>(), 400 * 9);
    assert_eq!(degrees.iter().max(), Some(&done.totals.contacts_most));
    assert_eq!(degrees.iter().min(), Some(&done.totals.contacts_least));
    assert!(done.totals.contacts_most > 40, "{done:?}");
    for (user, roster) in (100..).zip(&rosters) {
        for contact in roster {
            let number: usize = contact.trim_start_matches("user").trim_end_matches("@localhost").parse().unwrap();
            assert!(rosters[number - 100].contains(&&*format!("user{user}@localhost")), "user{user} and {contact}");
        }
    }
}

#[test]
fn the_seed_decides_keys_and_contacts() {
    let keys_and_contacts = |words: &str| {
        let dir = tempfile::tempdir().unwrap();
        seeded(dir.path(), &format!("--users 60 --contacts 4 --graph power-law {words}")).unwrap();
        let snapshots = snapshots(dir.path(), 0..60);
        let contacts: Vec<Vec<String>> =
            snapshots.iter().map(|snapshot| contacts(snapshot).into_iter().map(str::to_owned).collect()).collect();
        (snapshots[0].credentials.clone(), contacts)
    };
    let (one, again, other) = (keys_and_contacts("--seed 1"), keys_and_contacts(""), keys_and_contacts("--seed 2"));
    assert_eq!(one, again);
    assert_ne!(one.0.sha1.salt, other.0.sha1.salt);
    assert_ne!(one.1, other.1);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (words, why) in [
        ("--users 0", "--users must be"),
        ("--users 4000000000 --first-user 4000000000", "too large together"),
        ("--contacts 2001", "at most 2000"),
        ("--contacts 501 --graph power-law", "at most 500"),
        ("--users 10 --contacts 10 --graph power-law", "at most 9"),
        ("--users 50000000 --contacts 25 --graph power-law", "pairs"),
        ("--graph star", "neither"),
        ("--domain a..b", "no domain"),
    ] {
        let error = seeded(&dir.path().join("none"), words).unwrap_err();
        assert!(error.contains(why), "{words}: {error}");
    }
    assert!(!dir.path().join("none").exists());
    assert!(run(&Args::default()).unwrap_err().contains("--data"));
}

#[test]
fn what_was_done_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let done = seeded(dir.path(), "--users 6 --contacts 2").unwrap();
    assert!(done.sentence().starts_with("6 accounts, 12 roster items (2 to 2 each) in "), "{}", done.sentence());
    let json: serde_json::Value = serde_json::from_str(&done.json()).unwrap();
    assert_eq!((&json["accounts"], &json["roster_items"], &json["contacts_most"]), (&6.into(), &12.into(), &2.into()));
    assert_eq!(json["graph"], "groups");
}

/// The card of each user in the store, as it is kept.
fn cards(data: &Path, users: impl IntoIterator<Item = u32>) -> Vec<Option<Vec<u8>>> {
    let (storage, boot) = Storage::open(&StorageConfig::new(data, store::fresh())).unwrap();
    let load = |user: u32| {
        let account = BareJid::parse(&format!("user{user}@localhost")).unwrap();
        let slot = boot.slot_key.slot(account.as_str());
        let ask = Ask::LoadBlob { account, blob: Blob::VCard };
        match storage.answer(Question { id: 1, slot, epoch: boot.epoch, ask }).answer {
            Answer::Blob(bytes) => bytes,
            other => panic!("user{user}: {other:?}"),
        }
    };
    users.into_iter().map(load).collect()
}

#[test]
fn vcards_differ_and_stay_small() {
    let dir = tempfile::tempdir().unwrap();
    let totals = seeded(dir.path(), "--users 50 --vcards").unwrap().totals;
    assert_eq!((totals.accounts, totals.vcards), (50, 50));
    let cards = cards(dir.path(), 0..50);
    let (mut texts, mut photo_bytes) = (std::collections::BTreeSet::new(), 0);
    for (user, card) in cards.iter().enumerate() {
        let card = card.as_ref().unwrap();
        assert_eq!(tree::validate(card, tree::DEPTH_MAX), Ok(()));
        let ns = "vcard-temp";
        let card = tree::first(card).unwrap();
        assert!(card.is(ns, "vCard"));
        let text = |path: &[&str]| path.iter().try_fold(card, |at, name| at.child(ns, name)).unwrap().text();
        assert_eq!(text(&["FN"]), format!("{} {}", text(&["N", "GIVEN"]), text(&["N", "FAMILY"])));
        assert_eq!(text(&["NICKNAME"]), format!("{} {user}", text(&["N", "GIVEN"])));
        assert_eq!(text(&["EMAIL", "USERID"]), format!("user{user}@localhost"));
        assert_eq!(text(&["PHOTO", "TYPE"]), "image/png");
        let photo = BASE64.decode(text(&["PHOTO", "BINVAL"])).unwrap();
        assert!(photo.starts_with(b"\x89PNG") && photo.len() < 4_400);
        photo_bytes += photo.len() as u64;
        texts.insert(text(&["PHOTO", "BINVAL"]));
    }
    assert_eq!((texts.len(), photo_bytes), (50, totals.photo_bytes));
    let without = tempfile::tempdir().unwrap();
    assert_eq!(seeded(without.path(), "--users 1").unwrap().totals.vcards, 0);
    assert_eq!(self::cards(without.path(), [0]), [None]);
}
