//! A server is backed up while its users write, lost, and restored elsewhere.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{Hearth, Options, eventually};
use hearth_tools::client::Client;
use hearth_tools::xml::{CLIENT, Element};
use serde_json::Value;
use signal_hook::consts::SIGTERM;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

const ROSTER: &str = "jabber:iq:roster";
const VCARD: &str = "vcard-temp";
/// Messages that wait for who is not there, before the backup.
const WAITING: usize = 200;

fn done(output: &Output) -> Value {
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// The answer to a question.
fn ask(client: &mut Client, kind: &str, payload: &str) -> Element {
    client.send(&format!("<iq type='{kind}' id='q'>{payload}</iq>")).expect("sends");
    loop {
        let answer = client.receive_element().expect("an answer");
        if answer.is(CLIENT, "iq") && answer.attr("id") == Some("q") {
            assert_eq!(answer.attr("type"), Some("result"), "{answer}");
            return answer;
        }
    }
}

fn vcard(client: &mut Client) -> String {
    let answer = ask(client, "get", "<vCard xmlns='vcard-temp'/>");
    answer.child(VCARD, "vCard").and_then(|card| card.child(VCARD, "FN")).expect("a name").text()
}

/// Contacts with their subscriptions.
fn roster(client: &mut Client) -> Vec<(String, String)> {
    let answer = ask(client, "get", "<query xmlns='jabber:iq:roster'/>");
    let query = answer.child(ROSTER, "query").expect("a roster");
    let text = |item: &Element, name: &str| item.attr(name).unwrap_or_default().to_owned();
    query.children().map(|item| (text(item, "jid"), text(item, "subscription"))).collect()
}

/// Bodies of the messages that waited, in order, up to one that is sent now.
fn waited(client: &mut Client) -> Vec<String> {
    client.send("<presence/>").expect("sends");
    let jid = client.jid().to_owned();
    // Behind what waited: the log is flushed in order.
    client.send(&format!("<message to='{jid}' type='chat'><body>end</body></message>")).expect("sends");
    let mut bodies = Vec::new();
    loop {
        let element = client.receive_element().expect("a message");
        match element.child(CLIENT, "body").map(Element::text) {
            Some(body) if body == "end" => return bodies,
            Some(body) => bodies.push(body),
            None => {}
        }
    }
}

fn waiting(number: usize) -> String {
    format!("{number} {}", "so far ".repeat(600))
}

fn logged(hearth: &Hearth) -> u64 {
    done(&hearth.ctl(&["status", "--json"], ""))["messages_logged"].as_u64().expect("a figure")
}

fn restore(from: &Path, data: &Path) -> Output {
    let mut hearthctl = Command::new(env!("CARGO_BIN_EXE_hearthctl"));
    hearthctl.arg("restore").arg(from).arg("--data").arg(data).arg("--json").output().expect("hearthctl runs")
}

#[test]
fn a_server_backed_up_under_load_comes_back_elsewhere() {
    let hearth = Hearth::start(&Options::default());
    ["ada", "grace", "mary"].iter().for_each(|name| hearth.add(&format!("{name}@example.org")));
    done(&hearth.ctl(&["roster", "add", "ada", "grace@example.org", "--both", "--json"], ""));
    let mut ada = hearth.login("ada", "desk");
    ask(&mut ada, "set", "<vCard xmlns='vcard-temp'><FN>Ada Lovelace</FN></vCard>");
    let mut grace = hearth.login("grace", "lab");
    ask(&mut grace, "set", "<vCard xmlns='vcard-temp'><FN>Grace Hopper</FN></vCard>");
    grace.send("<presence/>").expect("sends");
    // Mary is not there.
    for number in 0..WAITING {
        // Enough for a second at the rate below.
        let body = format!("<body>{}</body>", waiting(number));
        ada.send(&format!("<message to='mary@example.org' type='chat'>{body}</message>")).expect("sends");
    }
    eventually("all are logged", || (logged(&hearth) >= WAITING as u64).then_some(()));
    let rosters = [roster(&mut ada), roster(&mut grace)];
    assert_eq!(rosters[0], [("grace@example.org".to_owned(), "both".to_owned())]);

    let folder = tempfile::tempdir().expect("a folder");
    let (backup, data) = (folder.path().join("backup"), folder.path().join("data"));
    let (running, seen) = (AtomicBool::new(true), std::sync::atomic::AtomicUsize::new(0));
    let made = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut number = 0;
            while running.load(Ordering::Relaxed) {
                let body = format!("<body>load {number} {}</body>", "text ".repeat(50));
                ada.send(&format!("<message to='grace@example.org/lab' type='chat'>{body}</message>")).expect("sends");
                number += 1;
                while grace.receive_element().expect("it arrives").child(CLIENT, "body").is_none() {}
                seen.fetch_add(1, Ordering::Relaxed);
            }
        });
        eventually("the load runs", || (seen.load(Ordering::Relaxed) > 10).then_some(()));
        let before = seen.load(Ordering::Relaxed);
        let dir = backup.to_str().expect("text");
        let made = hearth.ctl(&["backup", dir, "--rate", "1", "--json"], "");
        let meanwhile = seen.load(Ordering::Relaxed) - before;
        running.store(false, Ordering::Relaxed);
        load.join().expect("the load ends");
        assert!(meanwhile > 2, "the backup held the server up: {meanwhile} messages");
        made
    });
    let made = done(&made);
    assert_eq!(made["dir"].as_str(), backup.to_str());
    assert!(made["files"].as_u64() > Some(2) && made["bytes"].as_u64() > Some(800_000), "{made}");
    // What comes later is in no earlier backup.
    hearth.add("late@example.org");
    ada.send("<message to='mary@example.org' type='chat'><body>late</body></message>").expect("sends");

    // Neither a backup nor a store is overwritten, least of all one in use.
    let again = hearth.ctl(&["backup", backup.to_str().expect("text")], "");
    assert_eq!(code(&again), Some(4), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(code(&restore(&backup, &hearth.data)), Some(7));
    assert_eq!(code(&restore(&backup, &backup)), Some(4));
    assert_eq!(code(&restore(folder.path(), &data)), Some(5), "no manifest");
    let audit = done(&hearth.ctl(&["audit", "--json"], ""));
    let of_backup = |line: &&Value| line["command"] == "backup";
    let outcomes: Vec<_> = audit.as_array().expect("a list").iter().filter(of_backup).map(|l| &l["outcome"]).collect();
    assert_eq!(outcomes, ["done", "exists"]);

    // A backup that lost something is seen before anything is written.
    let newest = std::fs::read_dir(backup.join("log")).expect("the log").map(|entry| entry.expect("an entry").path());
    let segment = newest.filter(|path| path.extension().is_some_and(|kind| kind == "seg")).max().expect("a segment");
    let whole = std::fs::read(&segment).expect("its bytes");
    std::fs::write(&segment, &whole[..whole.len() - 300]).expect("it loses its last record");
    let refused = restore(&backup, &data);
    assert_eq!((code(&refused), data.exists()), (Some(6), false));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("is damaged"));
    std::fs::write(&segment, &whole).expect("whole again");

    assert_eq!(done(&restore(&backup, &data))["at"], made["at"]);
    let (_, lost, _folder) = hearth.end(SIGTERM);
    std::fs::remove_dir_all(lost).expect("it is lost");
    let hearth = Hearth::start_in(data, None, &Options::default());
    let accounts = done(&hearth.ctl(&["user", "list", "--json"], ""));
    let names: Vec<_> = accounts.as_array().expect("a list").iter().map(|row| &row["account"]).collect();
    assert_eq!(names, ["ada@example.org", "grace@example.org", "mary@example.org"]);
    let (mut ada, mut grace) = (hearth.login("ada", "desk"), hearth.login("grace", "lab"));
    assert_eq!([roster(&mut ada), roster(&mut grace)], rosters);
    assert_eq!([vcard(&mut ada), vcard(&mut grace)], ["Ada Lovelace", "Grace Hopper"]);
    let wanted: Vec<_> = (0..WAITING).map(waiting).collect();
    assert_eq!(waited(&mut hearth.login("mary", "home")), wanted);
    // The audit log came along, and goes on.
    hearth.add("new@example.org");
    let audit = done(&hearth.ctl(&["audit", "--json"], ""));
    let commands: Vec<_> = audit.as_array().expect("a list").iter().map(|line| &line["command"]).collect();
    assert_eq!(commands, ["user add", "user add", "user add", "roster add", "backup", "user add"]);
}
