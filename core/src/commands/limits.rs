//! `hearthctl limits`: what is bounded, by how much, and what happens there.

use super::{Arguments, Command, Done, Field, Group, Kind, Parameter, Process, Refused, Run, Shape};
use serde_json::{Map, Value as Json};

/// Name, meaning and value of every constant of `limits.rs`: the build script reads them there.
#[allow(clippy::unnecessary_cast, reason = "limits are of several types")]
const BUILT_IN: &[(&str, &str, u64)] = include!(concat!(env!("OUT_DIR"), "/limits.rs"));

pub(super) const GROUP: Group =
    Group { name: "limits", help: "What is bounded, by how much, and what happens there.", commands: &[LIMITS] };

const LIMITS: Command = Command {
    name: "limits",
    help: "What the core bounds, by how much, and what happens when it is reached.",
    parameters: &[Parameter::optional("word", Kind::Text, "only those with this word in their name or meaning")],
    examples: &["limits", "limits roster"],
    result: Shape::Rows(&[
        Field::new("limit", "limit"),
        Field::new("value", "value"),
        Field::new("set_by", "set by"),
        Field::new("meaning", "meaning"),
    ]),
    run: Run::Process(limits),
    ..Command::BASE
};

#[expect(clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn limits(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let word = arguments.text_if("word").unwrap_or_default().to_lowercase();
    let config = process.config();
    let configured = [
        ("shards", "Threads that own accounts.", u64::from(config.shards)),
        (
            "token_days",
            "How long a client may go on with a token in the place of a password, days.",
            config.token_days.into(),
        ),
        ("storage.cache_mib", "Memory for recently used pages of the store, MiB.", config.storage.cache_mib as u64),
    ];
    let row = |set_by: &str, (name, meaning, value): (&str, &str, u64)| {
        Map::from_iter([
            ("limit".to_owned(), Json::from(name.to_lowercase())),
            ("value".to_owned(), Json::from(value)),
            ("set_by".to_owned(), Json::from(set_by)),
            ("meaning".to_owned(), Json::from(meaning)),
        ])
    };
    let configured = configured.into_iter().map(|limit| row("core.toml", limit));
    let rows = configured.chain(BUILT_IN.iter().map(|limit| row("built in", *limit)));
    let wanted = |row: &Map<String, Json>| {
        ["limit", "meaning"]
            .iter()
            .any(|name| row.get(*name).and_then(Json::as_str).is_some_and(|text| text.to_lowercase().contains(&word)))
    };
    Ok(Done::rows(rows.filter(wanted).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_listed_with_its_meaning() {
        let constants = include_str!("../limits.rs").lines().filter(|line| line.starts_with("pub const ")).count();
        assert_eq!(BUILT_IN.len(), constants);
        let roster = BUILT_IN.iter().find(|(name, ..)| *name == "ROSTER_ITEMS_MAX").unwrap();
        assert_eq!(roster.2, crate::limits::ROSTER_ITEMS_MAX as u64);
        assert!(roster.1.starts_with("Contacts of one roster. Reached: `resource-constraint`"), "{}", roster.1);
        for (name, meaning, _) in BUILT_IN {
            assert!(!meaning.is_empty(), "{name}");
        }
    }
}
