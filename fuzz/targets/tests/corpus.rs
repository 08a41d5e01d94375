//! Every file of `fuzz/corpus`, through the function that is fuzzed.
//!
//! `fuzz/corpus/<target>/` holds few and small inputs, named by what they show; `fuzz/run.sh` begins with
//! them. An input that found something is one of them from then on.

#![allow(clippy::unwrap_used, reason = "a test that stops is a test that failed")]

use hearth_fuzz_targets::TARGETS;
use std::path::{Path, PathBuf};

/// Bytes of one file: what shows something can be small.
const FILE_BYTES_MAX: usize = 4 * 1024;
/// Files of one target: a person can look at them.
const FILES_MAX: usize = 250;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

fn replay(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder().join(target)).unwrap().map(|file| file.unwrap().path()).collect();
    assert!((5..=FILES_MAX).contains(&files.len()), "{target} has {} files", files.len());
    for path in files {
        let data = std::fs::read(&path).unwrap();
        assert!(data.len() <= FILE_BYTES_MAX, "{} is longer than it need be", path.display());
        // libFuzzer's own names are hashes, and tell nobody anything.
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(
            !(name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())),
            "{target}/{name} has no name"
        );
        let outcome = std::panic::catch_unwind(|| run(&data));
        assert!(outcome.is_ok(), "{target}/{name}");
    }
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn differential() {
    replay("differential");
}

#[test]
fn framing() {
    replay("framing");
}

#[test]
fn jid() {
    replay("jid");
}

#[test]
fn link() {
    replay("link");
}

#[test]
fn proxy() {
    replay("proxy");
}

#[test]
fn sasl() {
    replay("sasl");
}

#[test]
fn shard() {
    replay("shard");
}

#[test]
fn stream() {
    replay("stream");
}

#[test]
fn tree() {
    replay("tree");
}

/// Each target has its program, its corpus and nothing is left over.
#[test]
fn programs_and_corpora_are_those_of_the_targets() {
    let manifest = std::fs::read_to_string(folder().join("../Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} has no program");
        let program = std::fs::read_to_string(folder().join(format!("../fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("hearth_fuzz_targets::{name}(data)")));
    }
    let corpora = std::fs::read_dir(folder()).unwrap();
    let names: Vec<String> = corpora.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| TARGETS.iter().any(|(target, _)| target == name)), "{names:?}");
}
