//! The short form of `chaos`: real processes under kill -9. The long one is `chaos run`.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use serde_json::Value;
use std::process::Command;

/// Runs `chaos run` with these words; returns whether it was content, and its figures.
fn chaos(words: &str) -> (bool, Value) {
    // A bad run leaves its files behind: here they go with the test.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.args(["run", "--json"]).args(words.split_whitespace()).arg("--keep").arg(folder.path());
    let done = command.output().expect("chaos starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complained = String::from_utf8_lossy(&done.stderr).into_owned();
    let result = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{complained}"));
    (done.status.success(), result)
}

fn count(result: &Value, class: &str, column: &str) -> u64 {
    result["result"]["classes"][class][column].as_u64().unwrap_or_else(|| panic!("no {class}, {column} in {result}"))
}

#[test]
fn nothing_is_lost_doubled_or_dropped() {
    let (good, result) =
        chaos("--clients 200 --rate 150 --seconds 25 --kills 6 --seed 5 --faults core,edge,upgrade,pause,link,clients");
    assert!(good, "{result:#}");
    assert_eq!((&result["kills"], &result["faults_done"]), (&6.into(), &9.into()));
    for class in ["resume", "anew", "without 0198"] {
        assert!(count(&result, class, "delivered") > 100, "{result:#}");
        assert!(count(&result, class, "sockets dropped by edge failures") > 0, "{result:#}");
        assert_eq!(count(&result, class, "sockets dropped by core failures"), 0);
    }
    assert!(count(&result, "resume", "resumptions done") > 0, "{result:#}");
}

/// Without a log messages are acknowledged that a killed core takes along: the ledger must see that.
#[test]
fn what_is_lost_is_seen() {
    let (good, result) = chaos("--clients 40 --rate 400 --seconds 10 --kills 6 --faults all,link --log-off");
    assert!(!good, "{result:#}");
    assert!(result["verdict"].as_str().is_some_and(|verdict| verdict.contains("messages lost")), "{result:#}");
}
