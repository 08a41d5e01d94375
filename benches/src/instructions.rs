//! Instructions of each piece, counted by callgrind: the same to a few in ten thousand on a machine however busy, so
//! that a change of 3 % shows.
//!
//! A piece runs N times and 2 N times in a program of its own; the difference is N calls, without start, surroundings and
//! warm-up.

use crate::pieces;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

/// What is worth telling, of what was before.
pub const MOVED: f64 = 0.03;
/// A multiple of what pieces do only every so many calls.
pub const CALLS: u32 = 400;

/// Figures of one build.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counts {
    /// Of compiler and valgrind: figures of others cannot be compared.
    pub made_with: String,
    pub pieces: BTreeMap<String, f64>,
}

impl Counts {
    /// # Errors
    /// Says what of the text is no figures.
    pub fn parse(text: &str) -> Result<Counts, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let made_with = value.get("made_with").and_then(Value::as_str).ok_or("no `made_with`")?.to_owned();
        let pieces = value.get("instructions").and_then(Value::as_object).ok_or("no `instructions`")?;
        let pieces = pieces.iter().map(|(name, count)| {
            let count = count.as_f64().ok_or_else(|| format!("{name}: not a number"))?;
            Ok::<_, String>((name.clone(), count))
        });
        Ok(Counts { made_with, pieces: pieces.collect::<Result<_, _>>()? })
    }

    /// As it is stored, a line for each piece.
    #[must_use]
    pub fn json(&self) -> String {
        let text = json!({"made_with": self.made_with, "instructions": self.pieces});
        format!("{text:#}\n")
    }
}

/// How much `now` is above `before`, as a share of it.
#[must_use]
pub fn change(before: f64, now: f64) -> f64 {
    if before == 0.0 { 0.0 } else { now / before - 1.0 }
}

/// A table of all pieces; those that moved are marked.
#[must_use]
pub fn table(before: &Counts, now: &Counts) -> String {
    let mut text = String::new();
    for (name, count) in &now.pieces {
        let _ = match before.pieces.get(name) {
            Some(was) => {
                let change = change(*was, *count);
                let mark = match change {
                    change if change > MOVED => "  MORE",
                    change if change < -MOVED => "  less",
                    _ => "",
                };
                writeln!(text, "{name:<48} {count:>9.0} {:>+7.2} %{mark}", change * 100.0)
            }
            None => writeln!(text, "{name:<48} {count:>9.0}     new"),
        };
    }
    text
}

/// Pieces that take more than [`MOVED`] above what they took.
#[must_use]
pub fn more(before: &Counts, now: &Counts) -> Vec<String> {
    let is_more =
        |(name, count): &(&String, &f64)| before.pieces.get(*name).is_some_and(|was| change(*was, **count) > MOVED);
    now.pieces.iter().filter(is_more).map(|(name, _)| name.clone()).collect()
}

/// Runs one piece in this process, for callgrind to watch. False if there is none of that name.
#[must_use]
pub fn run(name: &str, calls: u32) -> bool {
    let Some(piece) = pieces::all().into_iter().find(|piece| piece.name == name) else { return false };
    let mut work = (piece.make)();
    (0..pieces::WARM_UP + calls).for_each(|_| work());
    true
}

/// Instructions of one call of a piece, by this program called again under valgrind.
///
/// # Errors
/// Says what went wrong and what to do.
pub fn count(name: &str) -> Result<f64, String> {
    let total = |calls: u32| {
        let program = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
        let calls = calls.to_string();
        let out = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--error-exitcode=9"])
            .arg(program)
            .args(["--run", name, "--calls", &calls])
            .output()
            .map_err(|error| format!("starting valgrind: {error}; on Debian: apt-get install valgrind"))?;
        let said = String::from_utf8_lossy(&out.stderr);
        match collected(&said) {
            Some(count) if out.status.success() => Ok(count),
            _ => Err(format!("{name} failed under valgrind: {}", said.trim())),
        }
    };
    let (once, twice) = (total(CALLS)?, total(2 * CALLS)?);
    Ok(twice.saturating_sub(once) as f64 / f64::from(CALLS))
}

/// `==1234== Collected : 5678`
fn collected(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("Collected :")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Names compiler and valgrind.
#[must_use]
pub fn made_with() -> String {
    let version = |program: &str| {
        let out = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let versions = ["rustc", "valgrind"].map(|program| version(program).unwrap_or_else(|| format!("no {program}")));
    versions.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pieces: &[(&str, f64)]) -> Counts {
        let pieces = pieces.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Counts { made_with: "rustc 1".into(), pieces }
    }

    #[test]
    fn what_valgrind_says() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n"), Some(1_234_567));
        assert_eq!(collected("==7== Collected : \n"), None);
        assert_eq!(collected("valgrind: not found"), None);
    }

    #[test]
    fn only_what_moved_is_marked() {
        let before = counts(&[("a", 1000.0), ("b", 1000.0), ("c", 1000.0), ("d", 1000.0)]);
        let now = counts(&[("a", 1031.0), ("b", 1029.0), ("c", 969.0), ("d", 971.0), ("e", 5.0)]);
        assert_eq!(more(&before, &now), ["a"]);
        let table = table(&before, &now);
        let marks: Vec<&str> = table.lines().map(|line| line.rsplit("  ").next().unwrap_or_default().trim()).collect();
        assert_eq!(marks, ["MORE", "+2.90 %", "less", "-2.90 %", "new"]);
    }

    #[test]
    fn stored_and_read_again() {
        let counts = counts(&[("a", 10.5), ("b", 3.0)]);
        assert_eq!(Counts::parse(&counts.json()), Ok(counts));
        assert!(Counts::parse("{\"made_with\": \"x\"}").is_err());
    }

    #[test]
    fn the_baseline_has_every_piece() {
        let stored = Counts::parse(include_str!("../instructions.json")).unwrap();
        let mut names: Vec<&str> = pieces::all().iter().map(|piece| piece.name).collect();
        names.sort_unstable();
        assert_eq!(stored.pieces.keys().map(String::as_str).collect::<Vec<_>>(), names, "`instructions --save`");
    }
}
