//! Plays `core/transcripts/*.txt` twice, each time against a server of its own: the daemons over
//! sockets, and the machines alone.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::clients::Clients;
use common::{Hearth, Options};
use hearth_tools::client::{Client, ClientError};
use hearth_tools::sim::Machines;
use hearth_tools::transcript::{Session, Transcript, play};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Declares one test for each file, and one that none is forgotten.
macro_rules! transcripts {
    ($($name:ident),+ $(,)?) => {
        mod sockets {
            $(#[test]
            fn $name() {
                super::over_sockets(stringify!($name));
            })+
        }

        mod machines {
            $(#[test]
            fn $name() {
                super::against_machines(stringify!($name));
            })+
        }

        #[test]
        fn every_file_is_played() {
            let files = std::fs::read_dir(folder()).expect("the folder is there");
            let files: BTreeSet<String> = files
                .map(|entry| entry.expect("readable").path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
                .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            let played: BTreeSet<String> = [$(stringify!($name)),+].map(str::to_owned).into();
            assert_eq!(files, played);
        }
    };
}

transcripts! {
    account_removal,
    blocking,
    blocking_one_resource,
    disco,
    entity_time,
    invisible_by_directed_presence,
    invisible_command,
    iq_errors,
    last_activity,
    login_and_bind,
    malformed_addresses,
    message_offline,
    message_to_bare_jid,
    message_to_full_jid,
    message_to_nobody,
    password_change,
    ping,
    presence_contacts,
    presence_directed,
    presence_errors,
    presence_own_resources,
    presence_probes,
    private_storage,
    roster_errors,
    roster_get_and_set,
    roster_remove,
    search,
    stanza_ids,
    subscription_approved,
    subscription_denied,
    subscription_ended,
    subscription_waits,
    vcard,
    version_and_legacy_session,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/transcripts")
}

fn read(name: &str) -> Transcript {
    let path = folder().join(name).with_extension("txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Transcript::parse(&text).unwrap_or_else(|failure| panic!("core/transcripts/{name}.txt: {failure}"))
}

fn over_sockets(name: &str) {
    let transcript = read(name);
    let hearth = Hearth::start(&Options::default());
    let accounts: BTreeSet<&str> = transcript.sessions.iter().map(|session| session.account.as_str()).collect();
    accounts.iter().for_each(|account| hearth.add(account));
    for switch in &transcript.with {
        let done = hearth.ctl(&["domain", "set", "example.org", switch, "on"], "");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    if let Err(failure) = play(&transcript, &mut Clients::of(&hearth)) {
        panic!("core/transcripts/{name}.txt over sockets, {failure}");
    }
}

fn against_machines(name: &str) {
    let transcript = read(name);
    let domains: BTreeSet<&str> = transcript.sessions.iter().map(Session::domain).collect();
    let mut world = Machines::new(&Vec::from_iter(domains), &transcript.with).expect("the memory store opens");
    transcript.sessions.iter().for_each(|session| world.add(&session.account));
    if let Err(failure) = play(&transcript, &mut world) {
        panic!("core/transcripts/{name}.txt against the machines, {failure}");
    }
}

/// The client tells a refusal from a broken stream.
#[test]
fn a_wrong_password_is_refused() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    let refused = Client::login(&hearth.server(), "ada", "wrong", None);
    assert!(matches!(refused, Err(ClientError::Refused(condition)) if condition == "not-authorized"));
}
