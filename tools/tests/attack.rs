//! The attacks against a Hearth of this test, in small: what they tell of it is what it does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod common;

use argh::FromArgs as _;
use common::{Hearth, PASSWORD};
use hearth_tools::attack::{Args, run};
use serde_json::Value;

/// Honest accounts, and those of attackers from 100 on.
const USERS: u32 = 204;

/// Runs one attack for a second.
fn attack(words: &str) -> Value {
    let hearth = Hearth::seeded(USERS, 0, &[]);
    let [target, direct] = [hearth.starttls, hearth.direct].map(|address| address.to_string());
    let certificate = hearth.certificate().to_string_lossy().into_owned();
    let pids = ["edge", "core"].map(|part| format!("{part}={}", hearth.part(part).unwrap())).join(",");
    let mut line = vec!["--target", &target, "--tls-target", &direct, "--certificate", &certificate, "--pids", &pids];
    line.extend(["--password", PASSWORD, "--seconds", "1", "--before", "1", "--connections", "20"]);
    line.extend(words.split_whitespace());
    let args = Args::from_args(&["attack"], &line).unwrap();
    let line = run(&args).unwrap_or_else(|error| panic!("{words}: {error}\n{}", hearth.log()));
    let found: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(found["honest_failures"], Value::Array(vec![]), "{words}: {found}");
    for phase in ["before", "under"] {
        for what in ["pings", "messages", "logins"] {
            assert!(found[phase][what]["p50_ms"].as_f64().unwrap() > 0.0, "{words}: nobody's {what} {phase}: {found}");
        }
    }
    found
}

/// XML that may go on is kept, and that which is too deep is not.
#[test]
fn strangers_who_stay() {
    let kept = attack("elements --bytes 8190");
    assert_eq!((&kept["done"], &kept["refused"]), (&Value::from(20), &Value::from(0)), "{kept}");
    let ended = attack("depth --bytes 8190");
    assert_eq!((&ended["done"], &ended["refused"]), (&Value::from(0), &Value::from(20)), "{ended}");
}

/// Wrong passwords are answered, and guessing ends.
#[test]
fn strangers_again_and_again() {
    let found = attack("logins");
    assert!(found["done"].as_u64().unwrap() > 0 && found["refused"].as_u64().unwrap() > 0, "{found}");
    assert!(attack("handshakes")["done"].as_u64().unwrap() > 10);
}

/// Four accounts may ask for ten seconds' worth at once, and no faster from there on.
#[test]
fn accounts() {
    let found = attack("stanzas");
    let done = found["done"].as_u64().unwrap();
    assert!((200..=4 * 200 * 12).contains(&done), "{found}");
    assert_eq!(found["refused"], 0, "{found}");
}

#[test]
fn only_this_machine_is_attacked() {
    let args = Args::from_args(&["attack"], &["slow", "--target", "192.0.2.1:5222"]).unwrap();
    let refused = run(&args).unwrap_err();
    assert!(refused.to_string().contains("127.0.0.0/8"), "{refused}");
}
