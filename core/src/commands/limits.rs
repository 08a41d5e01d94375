//! `hearthctl limits`: what is bounded, by how much, and what happens there.

use super::{Arguments, Command, Done, Field, Group, Kind, Parameter, Process, Refused, Run, Shape};
use serde_json::{Map, Value as Json};

/// Who has a limit, its name, meaning and value.
type BuiltIn = (&'static str, &'static str, &'static str, f64);

// `BUILT_IN`: every constant of every `limits.rs`, read there by the build script.
include!(concat!(env!("OUT_DIR"), "/limits.rs"));

pub(super) const GROUP: Group =
    Group { name: "limits", help: "What is bounded, by how much, and what happens there.", commands: &[LIMITS] };

const LIMITS: Command = Command {
    name: "limits",
    help: "What core, edge, link and store bound, by how much, and what happens then.",
    parameters: &[Parameter::optional("word", Kind::Text, "only those with this word in their name or meaning")],
    examples: &["limits", "limits roster", "limits edge"],
    result: Shape::Rows(&[
        Field::new("limit", "limit"),
        Field::new("value", "value"),
        Field::new("unit", "unit"),
        Field::new("of", "of"),
        Field::new("set_by", "set by"),
        Field::new("meaning", "meaning"),
    ]),
    run: Run::Process(limits),
    ..Command::BASE
};

/// What a limit's name says it is counted in.
fn unit(name: &str) -> &'static str {
    let name = name.to_uppercase();
    let has = |word: &str| name.split(['_', '.']).any(|part| part == word);
    match () {
        () if has("MB") && has("PER") => "MB/s",
        () if has("BYTES") => "bytes",
        () if has("MIB") => "MiB",
        () if has("MS") => "ms",
        () if has("S") => "s",
        () if has("DAYS") => "days",
        () => "",
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn limits(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let word = arguments.text_if("word").unwrap_or_default().to_lowercase();
    let config = process.config();
    let configured = [
        ("core", "shards", "Threads that own accounts.", f64::from(config.shards)),
        (
            "core",
            "token_days",
            "How long a client may go on with a token in the place of a password, days.",
            config.token_days.into(),
        ),
        (
            "storage",
            "storage.cache_mib",
            "Memory for recently used pages of the store, MiB.",
            config.storage.cache_mib as f64,
        ),
    ];
    let configured = configured.into_iter().map(|limit| row("core.toml", limit));
    let rows = configured.chain(BUILT_IN.iter().map(|limit| row("built in", *limit)));
    let wanted = |row: &Map<String, Json>| {
        ["limit", "meaning", "of"]
            .iter()
            .any(|name| row.get(*name).and_then(Json::as_str).is_some_and(|text| text.to_lowercase().contains(&word)))
    };
    Ok(Done::rows(rows.filter(wanted).collect()))
}

fn row(set_by: &str, (of, name, meaning, value): BuiltIn) -> Map<String, Json> {
    // Nearly all are whole numbers, and look like it.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in the range of both")]
    let whole = (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64);
    Map::from_iter([
        ("limit".to_owned(), Json::from(name.to_lowercase())),
        ("value".to_owned(), whole.map_or(Json::from(value), Json::from)),
        ("unit".to_owned(), Json::from(unit(name))),
        ("of".to_owned(), Json::from(of)),
        ("set_by".to_owned(), Json::from(set_by)),
        ("meaning".to_owned(), Json::from(meaning)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_listed_with_its_meaning() {
        let files = [
            ("core", include_str!("../limits.rs")),
            ("edge", include_str!("../../../connmgr/src/limits.rs")),
            ("storage", include_str!("../../../storage/src/limits.rs")),
            ("link", include_str!("../../../link/src/limits.rs")),
            ("wire", include_str!("../../../wire/src/limits.rs")),
        ];
        for (of, file) in files {
            let constants = file.lines().filter(|line| line.trim_start().starts_with("pub const ")).count();
            // Two that are several limits at once are made of constants.
            let of_structs = file.matches(": Limits =").count();
            let listed = BUILT_IN.iter().filter(|limit| limit.0 == of).count();
            assert_eq!(listed, constants - of_structs, "{of}");
        }
        let value = |of, name| BUILT_IN.iter().find(|limit| (limit.0, limit.1) == (of, name)).unwrap().3;
        assert_eq!(value("core", "ROSTER_ITEMS_MAX"), crate::limits::ROSTER_ITEMS_MAX as f64);
        assert_eq!(value("storage", "STANZA_BYTES_MAX"), hearth_storage::limits::STANZA_BYTES_MAX as f64);
        assert_eq!(value("wire", "FRAME_BYTES_MAX"), hearth_wire::limits::FRAME_BYTES_MAX as f64);
        let roster = BUILT_IN.iter().find(|limit| limit.1 == "ROSTER_ITEMS_MAX").unwrap();
        assert!(roster.2.starts_with("Contacts of one roster. Reached: `resource-constraint`"), "{}", roster.2);
        for (of, name, meaning, _) in BUILT_IN {
            assert!(!meaning.is_empty(), "{of} {name}");
        }
    }

    #[test]
    fn a_row_has_its_unit() {
        let rows = [
            ("LINK_WINDOW_BYTES", "bytes"),
            ("timeouts.login_s", "s"),
            ("SWEEP_MS", "ms"),
            ("BACKUP_MB_PER_S", "MB/s"),
            ("storage.cache_mib", "MiB"),
            ("TOKEN_DAYS_MAX", "days"),
            ("ROSTER_ITEMS_MAX", ""),
        ];
        for (name, wanted) in rows {
            assert_eq!(unit(name), wanted, "{name}");
        }
        let gathered = row("built in", *BUILT_IN.iter().find(|limit| limit.1 == "GATHER_RECORDS_MIN").unwrap());
        assert_eq!(gathered.get("value"), Some(&Json::from(1.5)));
        let whole = row("built in", *BUILT_IN.iter().find(|limit| limit.1 == "DIRECTED_MAX").unwrap());
        assert_eq!(whole.get("value"), Some(&Json::from(crate::limits::DIRECTED_MAX)));
    }
}
