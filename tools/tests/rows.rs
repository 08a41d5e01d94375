//! The RFC's tables, row by row, against whole servers: each row of `core/transcripts/tables/*.txt` becomes a
//! transcript between accounts of its own, whose stored state is put there first. All rows of a table are played
//! against one server, over sockets and against the machines; a row that fails is named with its transcript.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;
#[path = "rows/messages.rs"]
mod messages;
#[path = "rows/subscriptions.rs"]
mod subscriptions;

use common::clients::Clients;
use common::{Hearth, Options};
use hearth_storage::{Change, Fresh, Storage, StorageConfig};
use hearth_tools::sim::{Machines, machines};
use hearth_tools::transcript::{Transcript, World, play};
use hearth_wire::BareJid;
use hearth_wire::ids::SlotKey;
use std::fmt::Write;
use std::path::Path;

/// One row as a play.
pub(crate) struct Case {
    /// Table and row, for whoever reads that it failed.
    pub(crate) name: String,
    pub(crate) transcript: String,
    /// What lies in the store before, account by account.
    pub(crate) accounts: Vec<(BareJid, Vec<Change>)>,
}

impl Case {
    fn changes(&self) -> impl Iterator<Item = Vec<Change>> {
        self.accounts.iter().map(|(account, rest)| [&[machines::create(account)], rest.as_slice()].concat())
    }
}

/// A table's file: its lines, each with the line above it that begins a table.
pub(crate) fn rows(file: &str) -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/transcripts/tables").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (mut table, mut rows) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            rows.push((table.clone(), line.split('|').map(|cell| cell.trim().to_owned()).collect()));
        } else {
            line.clone_into(&mut table);
        }
    }
    rows
}

/// An account of the served domain.
pub(crate) fn account(name: &str) -> BareJid {
    BareJid::new(Some(name), "example.org").expect("a name")
}

fn against_machines(cases: &[Case]) {
    let mut world = Machines::new(&["example.org"], &[]).expect("the memory store opens");
    cases.iter().flat_map(Case::changes).for_each(|changes| world.store(changes));
    play_all(cases, &mut world);
}

fn over_sockets(cases: &[Case]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let fresh = Fresh { slot_key: SlotKey([7; 16]), secret: [8; 32], store_id: [9; 16] };
    let (storage, boot) = Storage::open(&StorageConfig::new(&data, fresh)).expect("a fresh store");
    for changes in cases.iter().flat_map(Case::changes) {
        machines::answer(&storage, &boot, changes);
    }
    drop(storage);
    let hearth = Hearth::start_in(data, Some(folder), &Options::default());
    play_all(cases, &mut Clients::of(&hearth));
}

/// Plays every row, and tells of all that fail.
fn play_all(cases: &[Case], world: &mut dyn World) {
    let mut failures = String::new();
    for case in cases {
        let played = Transcript::parse(&case.transcript).and_then(|transcript| {
            let played = play(&transcript, world);
            (0..transcript.sessions.len()).for_each(|who| drop(world.cut(who)));
            played
        });
        if let Err(failure) = played {
            let _ = write!(failures, "\n\n{}: {failure}\n{}", case.name, case.transcript);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn subscription_states_against_the_machines() {
    against_machines(&subscriptions::cases());
}

#[test]
fn subscription_states_over_sockets() {
    over_sockets(&subscriptions::cases());
}

#[test]
fn message_delivery_against_the_machines() {
    against_machines(&messages::cases());
}

#[test]
fn message_delivery_over_sockets() {
    over_sockets(&messages::cases());
}
