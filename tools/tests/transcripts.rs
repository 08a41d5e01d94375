//! Plays `core/transcripts/*.txt` twice, each time against a server of its own: the daemons over
//! sockets, and the machines alone.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{Hearth, Options};
use hearth_tools::client::{Client, ClientError, DEADLINE};
use hearth_tools::sim::Machines;
use hearth_tools::transcript::{PASSWORD, Session, Transcript, World, play};
use hearth_tools::xml::Item;
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
    disco,
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
    roster_errors,
    roster_get_and_set,
    roster_remove,
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
    let mut world = Sockets { hearth: &hearth, clients: transcript.sessions.iter().map(|_| None).collect() };
    if let Err(failure) = play(&transcript, &mut world) {
        panic!("core/transcripts/{name}.txt over sockets, {failure}");
    }
}

fn against_machines(name: &str) {
    let transcript = read(name);
    let domains: BTreeSet<&str> = transcript.sessions.iter().map(Session::domain).collect();
    let mut world = Machines::new(&Vec::from_iter(domains)).expect("the memory store opens");
    transcript.sessions.iter().for_each(|session| world.add(&session.account));
    if let Err(failure) = play(&transcript, &mut world) {
        panic!("core/transcripts/{name}.txt against the machines, {failure}");
    }
}

/// Clients over STARTTLS.
struct Sockets<'a> {
    hearth: &'a Hearth,
    clients: Vec<Option<Client>>,
}

impl Sockets<'_> {
    fn client(&mut self, who: usize) -> Result<&mut Client, String> {
        self.clients[who].as_mut().ok_or_else(|| "is not logged in".to_owned())
    }
}

impl World for Sockets<'_> {
    fn log_in(&mut self, who: usize, session: &Session) -> Result<String, String> {
        let server = self.hearth.server();
        let client = Client::login(&server, session.user(), PASSWORD, session.resource.as_deref());
        let mut client = client.map_err(|e| e.to_string())?;
        client.deadline = DEADLINE / 2;
        let jid = client.jid().to_owned();
        self.clients[who] = Some(client);
        Ok(jid)
    }

    fn send(&mut self, who: usize, xml: &str) -> Result<(), String> {
        self.client(who)?.send(xml).map_err(|e| e.to_string())
    }

    fn hear(&mut self, who: usize) -> Result<Item, String> {
        self.client(who)?.receive().map_err(|e| e.to_string())
    }

    fn log_out(&mut self, who: usize) -> Result<(), String> {
        let client = self.clients[who].take().ok_or("is not logged in")?;
        match client.close() {
            Ok(late) if late.is_empty() => Ok(()),
            Ok(late) => Err(format!("heard more before its stream ended: {late:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn cut(&mut self, who: usize) -> Result<(), String> {
        self.clients[who].take().map(drop).ok_or_else(|| "is not logged in".to_owned())
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
