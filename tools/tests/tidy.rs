//! Rules of the repository that no lint knows. Each is a plain test that names what breaks it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Folders (a worktree's `.git` is a file) that hold no sources; the last two are what a fuzzer leaves.
const SKIPPED: [&str; 7] = [".git", "target", "node_modules", "hearth-data", "__pycache__", "found", "artifacts"];
/// A longer file is a question to answer.
const FILE_LINES_MAX: usize = 1000;
/// Files that were longer when the rule came, with the lines they had: they may shrink, not grow.
const LONGER_ONCE: &[(&str, usize)] = &[];
/// Texts that are not ours to shape.
const FOREIGN: [&str; 3] = ["Cargo.lock", "tools/clients/package-lock.json", "LICENSE-APACHE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tools/ lies in the workspace").to_owned()
}

/// Every text file of the repository: its path from the root, with `/`, and its content.
fn files() -> Vec<(String, String)> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("readable").map(|entry| entry.expect("readable")) {
            let path = entry.path();
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            if entry.file_type().expect("known").is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let name = path.strip_prefix(&root).expect("below").to_string_lossy().replace('\\', "/");
                files.push((name, text));
            }
        }
    }
    files.sort();
    assert!(files.iter().any(|(name, _)| name == "wire/src/lib.rs"), "the walk finds the sources");
    files
}

fn sources() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs"))
}

fn nothing(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Lines of all files but the foreign ones that `bad` objects to.
fn lines_that(bad: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in files().into_iter().filter(|(name, _)| !FOREIGN.contains(&name.as_str())) {
        for (number, line) in text.lines().enumerate() {
            if bad(&name, line) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn no_path_of_a_build_machine() {
    // Put together here, so that this file does not break its own rule.
    let paths = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["/tm", "p/"]].map(|p| p.concat());
    nothing(
        lines_that(|_, line| paths.iter().any(|path| line.contains(path.as_str()))),
        "a path that exists on one machine only; use the environment, a temporary folder or a relative path",
    );
}

#[test]
fn no_registry_host_in_lock_files() {
    let hosts: Vec<String> = files()
        .into_iter()
        .filter(|(name, _)| name.ends_with("package-lock.json"))
        .filter(|(_, text)| text.contains("\"resolved\""))
        .map(|(name, _)| name)
        .collect();
    nothing(hosts, "made without omit-lockfile-registry-resolved=true");
}

#[test]
fn nothing_unfinished() {
    let marks = ["todo", "unimplemented", "dbg"].map(|mark| format!("{mark}!("));
    nothing(
        lines_that(|name, line| name.ends_with(".rs") && marks.iter().any(|mark| line.contains(mark.as_str()))),
        "left over from writing",
    );
}

#[test]
fn no_trailing_space_and_a_final_newline() {
    // A corpus holds bytes as they come over the wire.
    let ours = |name: &str| !name.contains("/corpus/");
    nothing(
        lines_that(|name, line| ours(name) && line.ends_with([' ', '\t', '\r'])),
        "white space at the end of a line",
    );
    let open = files().into_iter().filter(|(_, text)| !text.is_empty() && !text.ends_with('\n')).map(|(name, _)| name);
    let open = open.filter(|name| ours(name));
    nothing(open.collect(), "no newline at the end");
}

#[test]
fn files_stay_short() {
    let mut found = Vec::new();
    for (name, text) in sources() {
        let max = LONGER_ONCE.iter().find(|(long, _)| *long == name).map_or(FILE_LINES_MAX, |(_, lines)| *lines);
        let lines = text.lines().count();
        if lines > max {
            found.push(format!("{name}: {lines} lines, at most {max}"));
        }
    }
    nothing(found, "split it by what a reader asks for");
}

#[test]
fn every_crate_has_the_workspace_lints() {
    let without = files()
        .into_iter()
        .filter(|(name, text)| name.ends_with("/Cargo.toml") && !text.contains("[lints]\nworkspace = true"))
        .map(|(name, _)| name);
    nothing(without.collect(), "no `[lints] workspace = true`");
}

#[test]
fn every_dependency_says_what_for() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let (_, section) = manifest.split_once("[workspace.dependencies]").expect("the section");
    let silent: Vec<String> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| line.contains('=') && !line.starts_with("hearth-") && !line.contains(" # "))
        .map(str::to_owned)
        .collect();
    nothing(silent, "a dependency in Cargo.toml without a comment that says what for");
    let mut found = Vec::new();
    for (name, text) in files().into_iter().filter(|(name, _)| name.ends_with("/Cargo.toml")) {
        let own = text.lines().skip_while(|line| !line.contains("dependencies]")).filter(|line| line.contains('='));
        found.extend(
            own.filter(|line| !line.contains("workspace") && line.contains("version"))
                .map(|line| format!("{name}: {line}")),
        );
    }
    nothing(found, "a dependency that is not in [workspace.dependencies]");
}

/// Words in backquotes or link targets of a line, outside code blocks.
fn mentions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        found.extend(targets.map(|(target, _)| target.split('#').next().unwrap_or_default().to_owned()));
    }
    found
}

#[test]
fn documents_mention_only_what_exists() {
    let all = files();
    let names: BTreeSet<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    let kinds = [".rs", ".md", ".toml", ".txt", ".sh", ".py", ".mjs", ".xml", ".json", ".yml"];
    let mut found = Vec::new();
    for (document, text) in all.iter().filter(|(name, _)| name.ends_with(".md")) {
        let here = document.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        for word in mentions(text) {
            let looks_like_a_file = kinds.iter().any(|kind| word.ends_with(kind)) || word.ends_with('/');
            if !looks_like_a_file || word.contains([' ', '*', '<', '$', ':']) {
                continue;
            }
            // From the root, from the document's folder, or as the end of a path, as in a code map.
            let word = word.trim_start_matches("./");
            let places = [format!("/{word}"), format!("/{here}{word}")];
            let there = |name: &str| {
                let name = format!("/{name}");
                places.iter().any(|at| name.ends_with(at) || (word.ends_with('/') && name.contains(at)))
            };
            if !names.iter().any(|name| there(name)) {
                found.push(format!("{document}: {word}"));
            }
        }
    }
    nothing(found, "a document mentions a file or folder that is not there");
}

#[test]
fn continuous_integration_runs_what_the_readme_says() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect(name);
    let command = "cargo test --workspace";
    assert!(read("README.md").lines().any(|line| line == command), "README.md names the test command");
    assert!(read(".ci/run").contains(&format!("{command} ")), ".ci/run runs it");
}

#[test]
fn dependencies_have_licences_we_allow() {
    let policy = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let allowed: Vec<&str> = policy
        .lines()
        .find_map(|line| line.strip_prefix("allow = "))
        .expect("a line of allowed licences")
        .split('"')
        .skip(1)
        .step_by(2)
        .collect();
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 20, "{}", String::from_utf8_lossy(&cargo.stderr));
    let refused = packages.iter().filter_map(|package| {
        let licence = package["license"].as_str().unwrap_or("none");
        (!acceptable(licence, &allowed)).then(|| format!("{}: {licence}", package["name"]))
    });
    nothing(refused.collect(), "a licence that deny.toml does not allow");
}

/// Whether a licence expression (SPDX, or the older `A/B`) can be met with the allowed licences.
fn acceptable(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed)
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut met = licence(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= licence(words, allowed);
    }
    met
}

fn licence(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let name = words.next().unwrap_or_default();
    if name == "(" {
        let met = any_of(words, allowed);
        words.next();
        return met;
    }
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => allowed.contains(&format!("{name} WITH {exception}").as_str()),
        None => allowed.contains(&name),
    }
}

#[test]
fn licence_expressions() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
    for good in
        ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "ISC AND (Apache-2.0 OR MIT)", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(acceptable(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "ISC AND (Apache-2.0 OR GPL-3.0)", "Apache-2.0", "none"] {
        assert!(!acceptable(bad, &allowed), "{bad}");
    }
}
