//! The seeder and the load program against a Hearth of this test: every scenario, in small.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use argh::FromArgs as _;
use common::{Hearth, PASSWORD};
use hearth_tools::load::{Args, run};
use serde_json::Value;

const USERS: u32 = 24;
const CONTACTS: u32 = 5;

/// A Hearth whose store was seeded, for clients in the clear.
fn seeded() -> Hearth {
    Hearth::seeded(USERS, CONTACTS, &["--allow-clear-login", "--no-rate-limit"])
}

/// Runs `load` with these words; returns its figures by name, and its notes.
fn load(hearth: &Hearth, words: &str) -> (impl Fn(&str) -> f64, Vec<String>) {
    let direct = words.contains("direct");
    let target = if direct { hearth.direct } else { hearth.starttls }.to_string();
    let pids = ["edge", "core"].map(|part| format!("{part}={}", hearth.part(part).unwrap())).join(",");
    let (users, contacts) = (USERS.to_string(), CONTACTS.to_string());
    let mut line = vec!["--target", &target, "--password", PASSWORD, "--users", &users, "--contacts", &contacts];
    line.extend(["--pids", &pids]);
    line.extend(words.split_whitespace());
    let args = Args::from_args(&["load"], &line).unwrap();
    let report = run(&args).unwrap_or_else(|error| panic!("{words}: {error}\n{}", hearth.log()));
    let report: Value = serde_json::from_str(&report.json()).unwrap();
    let notes = report["notes"].as_array().unwrap().iter().map(Value::to_string).collect();
    let figure = move |name: &str| {
        let mut figures = report["figures"].as_array().unwrap().iter();
        let found = figures.find(|figure| figure["name"] == name);
        found.unwrap_or_else(|| panic!("no figure {name} in {report}"))["value"].as_f64().unwrap()
    };
    (figure, notes)
}

#[test]
fn every_scenario() {
    let hearth = seeded();
    for words in [
        "login",
        "login --tls starttls --mechanism SCRAM-SHA-256",
        "login --mechanism SCRAM-SHA-512",
        "login --tls direct --mechanism PLAIN",
    ] {
        let (figure, notes) = load(&hearth, words);
        assert!(figure("logins per second") > 0.0 && figure("login p50") > 0.0);
        assert!(notes.iter().all(|note| note.contains("SCRAM keys")), "{notes:?}");
    }

    let (figure, _) = load(&hearth, "idle --from 8 --wait 0");
    assert!(figure("PSS before the first login") > 0.0);

    for words in ["chat --sm --seconds 1 --warmup 0", "chat --sm --seconds 1 --warmup 0 --rate 200"] {
        let (figure, notes) = load(&hearth, words);
        assert!(figure("acknowledgement p50") > 0.0, "{words}");
        assert!(figure("bytes written per message") > 100.0, "{words}");
        assert!(notes.iter().all(|note| note.contains("SCRAM keys")), "{notes:?}");
    }
    for words in ["chat --seconds 1 --warmup 0", "chat --seconds 1 --warmup 0 --rate 200 --tls starttls"] {
        let (figure, notes) = load(&hearth, words);
        assert!(figure("messages per second") > 50.0, "{words}");
        assert!(notes.iter().all(|note| note.contains("SCRAM keys")), "{notes:?}");
    }

    let (figure, _) = load(&hearth, "presence --seconds 1 --warmup 0");
    assert!(figure("deliveries per second") > 50.0);
    // Changes under way when the second begins and ends are counted on one side only.
    assert!((figure("reflected to the sender") - 1.0).abs() < 0.1);
}

#[test]
fn a_day_a_storm_and_who_does_not_read() {
    let hearth = seeded();
    let words = "mixed --seconds 3 --warmup 1 --every chat=0.1,ping=0.2,presence=0.5,login=1";
    let (figure, notes) = load(&hearth, words);
    // 24 users, each 10 messages, 5 pings, 2 changes and a login a second; some find nobody to write to.
    assert!((150.0..600.0).contains(&figure("acts per second")), "{}", figure("acts per second"));
    for what in ["message p99", "ping p99", "presence p99", "login p99", "PSS"] {
        assert!(figure(what) > 0.0, "{what}");
    }
    assert!(notes.iter().all(|note| note.contains("SCRAM keys")), "{notes:?}");

    let (figure, notes) = load(&hearth, "reconnect-storm --seconds 1 --rate 100");
    // A dozen are back before the next message is due.
    assert!(figure("all back after") > 0.0 && figure("login p99") > 0.0);
    assert!(figure("message before p99") > 0.0 && figure("message afterwards p99") > 0.0);
    assert!(notes.iter().all(|note| note.contains("SCRAM keys")), "{notes:?}");

    let (figure, _) = load(&hearth, "slow-readers --seconds 2 --rate 100");
    assert!(figure("flooded") >= 300.0 && figure("PSS at most") > 0.0);
    assert!(figure("message meanwhile p99") > 0.0 && figure("message afterwards p99") > 0.0);

    let (figure, _) = load(&hearth, "overload --seconds 2");
    assert!(figure("delivered per second") > figure("capacity, closed loop") / 4.0);
    assert!(figure("in the worst second") > 0.0);
}

/// Senders as fast as they may be, to readers that have stalled: what they cost is bounded, and nobody else waits longer.
#[test]
fn threat_019_stalled_readers_cost_little_and_nobody_else_waits() {
    let hearth = seeded();
    let (figure, _) = load(&hearth, "slow-readers --seconds 6 --rate 100");
    assert!(figure("flooded") >= 2_000.0, "{}", figure("flooded"));
    let grown = figure("PSS at most") - figure("PSS before");
    assert!(grown < 48.0, "{grown} MiB");
    let (before, meanwhile) = (figure("message before p99"), figure("message meanwhile p99"));
    // The machine may be busy with other tests; a reader that holds up others does so for seconds.
    assert!(meanwhile < (10.0 * before).max(500.0), "{before} ms before, {meanwhile} ms meanwhile");
}
