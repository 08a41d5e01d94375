//! `hearthctl log`: the level of the core's log.

use super::{Arguments, Command, Did, Done, Field, Group, Kind, Parameter, Process, Refused, RefusedKind, Run, Shape};
use crate::logging::{self, LEVELS};
use serde_json::{Map, Value as Json};

pub(super) const GROUP: Group = Group { name: "log", help: "What the core logs.", commands: &[SHOW, SET] };

const SHOW: Command = Command {
    name: "log show",
    help: "The level of the core's log.",
    details: "Edges have their own, in their configuration.",
    examples: &["log show"],
    result: Shape::Record(&[Field::new("level", "level"), Field::new("configured", "configured")]),
    run: Run::Process(show),
    ..Command::BASE
};

const SET: Command = Command {
    name: "log set",
    help: "Log more or less, until the core stops.",
    details: "Edges have their own level, in their configuration.",
    parameters: &[Parameter::required("level", Kind::Choice(LEVELS), "what to log")],
    examples: &["log set debug"],
    changes: true,
    result: Shape::Did("log"),
    run: Run::Process(set),
    ..Command::BASE
};

fn not_ours() -> Refused {
    let message = "the log of this process is not the core's own";
    Refused::new(RefusedKind::Unavailable, message, "set the level where the process is started")
}

fn show(process: &Process<'_>, _: &Arguments) -> Result<Done, Refused> {
    let level = logging::level().ok_or_else(not_ours)?;
    Ok(Done::Record(Map::from_iter([
        ("level".to_owned(), Json::from(level)),
        ("configured".to_owned(), Json::from(process.config().log.level.as_str())),
    ])))
}

fn set(_: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let level = arguments.text("level")?;
    if !logging::set(level) {
        return Err(not_ours());
    }
    tracing::info!(event = "log_level", level);
    let next = vec!["it lasts until the core stops; log.level in its configuration is for good".to_owned()];
    Ok(Done::Did(Did { subject: "log".to_owned(), what: level.to_owned(), details: Map::new(), file: None, next }))
}
