//! The seeder's accounts as clients find them: both daemons on a store that it filled.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use argh::FromArgs as _;
use common::{Hearth, Options, PASSWORD};
use hearth_storage::{Answer, Ask, Blob, Fresh, Question, Storage, StorageConfig};
use hearth_tools::client::Client;
use hearth_tools::seed::{Args, run};
use hearth_tools::xml::{CLIENT, Element, pattern};
use hearth_wire::BareJid;
use hearth_wire::ids::SlotKey;
use std::path::Path;
use std::process::Command;

const WORDS: &str = "--users 30 --contacts 4 --graph power-law --vcards --seed 9 --password";

fn seed(option: &str, place: &Path) {
    let words = WORDS.split_whitespace().chain([PASSWORD, option, place.to_str().unwrap()]);
    run(&Args::from_args(&["seed"], &words.collect::<Vec<_>>()).unwrap()).unwrap();
}

/// What is asked of this account, or of one's own.
fn ask(client: &mut Client, to: &str, question: &str) -> Element {
    client.send(&format!("<iq type='get' id='q'{to}>{question}</iq>")).unwrap();
    let answer = client.receive_element().unwrap();
    assert!(answer.is(CLIENT, "iq") && answer.attr("type") == Some("result"), "{answer}");
    answer.children().next().expect("a payload").clone()
}

/// The first element of this name behind `from`, as text.
fn cut<'t>(text: &'t str, from: &str, name: &str) -> &'t str {
    let text = &text[text.find(from).expect(from)..];
    let (start, end) = (text.find(&format!("<{name} ")).unwrap(), text.find(&format!("</{name}>")).unwrap());
    &text[start..end + name.len() + 3]
}

#[test]
fn clients_read_vcards_and_rosters_as_the_file_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("accounts.xml"));
    seed("--data", &data);
    seed("--xep0227", &file);
    let file = std::fs::read_to_string(file).unwrap();

    let hearth = Hearth::start_in(data.clone(), None, &Options { domain: "localhost", arguments: &[] });
    let mut client = hearth.login("user3", "desk");
    let card = "<vCard xmlns='vcard-temp'/>";
    let of = |user: u32| pattern(cut(&file, &format!("name='user{user}'"), "vCard")).unwrap();
    assert_eq!(ask(&mut client, "", card), of(3));
    assert_eq!(ask(&mut client, " to='user4@localhost'", card), of(4));
    assert_ne!(of(3), of(4));

    let roster = ask(&mut client, "", "<query xmlns='jabber:iq:roster'/>");
    let wanted = pattern(cut(&file, "name='user3'", "query")).unwrap();
    let sorted = |roster: &Element| {
        let mut items: Vec<String> = roster.children().map(Element::to_string).collect();
        items.sort_unstable();
        items
    };
    assert_eq!(sorted(&roster), sorted(&wanted));
    assert!(wanted.children().count() >= 2);

    // Sent by a client, the same card is kept as the same bytes.
    let mine = cut(&file, "name='user4'", "vCard");
    client.send(&format!("<iq type='set' id='s'>{mine}</iq>")).unwrap();
    assert_eq!(client.receive_element().unwrap().attr("type"), Some("result"));
    client.close().unwrap();
    let _ = hearth.end(15);
    let fresh = Fresh { slot_key: SlotKey([0; 16]), secret: [0; 32], store_id: [0; 16] };
    let (storage, boot) = Storage::open(&StorageConfig::new(&data, fresh)).unwrap();
    let kept = |user: u32| {
        let account = BareJid::parse(&format!("user{user}@localhost")).unwrap();
        let slot = boot.slot_key.slot(account.as_str());
        let ask = Ask::LoadBlob { account, blob: Blob::VCard };
        match storage.answer(Question { id: 1, slot, epoch: boot.epoch, ask }).answer {
            Answer::Blob(Some(bytes)) => bytes,
            other => panic!("user{user}: {other:?}"),
        }
    };
    assert_eq!(kept(3), kept(4));
}

#[test]
fn the_command_helps_tells_and_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let command = |words: &str| {
        let mut seed = Command::new(env!("CARGO_BIN_EXE_seed"));
        let done = seed.args(words.split_whitespace()).current_dir(folder.path()).output().unwrap();
        let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (done.status.code(), out, err)
    };
    let (code, out, _) = command("--help");
    assert_eq!(code, Some(0));
    assert!(out.contains("Examples:") && out.contains("--graph power-law") && out.contains("load presence"), "{out}");
    let (code, out, _) = command("--data made --users 9 --contacts 2 --vcards --json");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["roster_items"], &json["vcards"]), (Some(0), &18.into(), &9.into()));
    let (code, out, err) = command("--users 8");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with("seed: ") && err.contains("--data FOLDER or --xep0227"), "{err}");
}
