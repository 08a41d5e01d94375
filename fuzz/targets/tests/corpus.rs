//! Every file of `fuzz/corpus`, through the function that is fuzzed.
//!
//! `fuzz/corpus/<target>/` holds few and small inputs, named by what they show; `fuzz/run.sh` begins with
//! them. An input that found something is one of them from then on.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that stops is a test that failed"
)]

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

/// Bytes by chance, for the target whose every byte means something: a few with each run of the tests, and for as many seconds as
/// `HEARTH_SHARD_SECONDS` says where nobody has a fuzzer at hand. Half of the inputs begin as one of the corpus.
#[test]
fn shard_by_chance() {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == "shard").unwrap();
    let seconds = std::env::var("HEARTH_SHARD_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0u64);
    let begun = std::time::Instant::now();
    let corpus: Vec<Vec<u8>> = std::fs::read_dir(folder().join("shard"))
        .unwrap()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    let mut state = if seconds > 0 { u64::from(std::process::id()) << 20 } else { 1 };
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut count = 0u64;
    while count < 300 || begun.elapsed().as_secs() < seconds {
        let mut input =
            if next() % 2 == 0 { Vec::new() } else { corpus[usize::try_from(next()).unwrap() % corpus.len()].clone() };
        for _ in 0..next() % 2_000 {
            input.push(next().to_le_bytes()[0]);
        }
        for _ in 0..next() % 4 {
            if let Some(place) = usize::try_from(next()).unwrap().checked_rem(input.len()) {
                input[place] = next().to_le_bytes()[0];
            }
        }
        let outcome = std::panic::catch_unwind(|| run(&input));
        if outcome.is_err() {
            let found = std::env::temp_dir().join("hearth-shard-found");
            std::fs::write(&found, &input).unwrap();
            panic!("after {count} inputs; this one is in {}", found.display());
        }
        count += 1;
    }
    println!("{count} inputs");
}
