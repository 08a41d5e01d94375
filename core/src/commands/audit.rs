//! `hearthctl audit`: what was changed, when, and by whom.

use super::{Arguments, Command, Done, Field, Group, Kind, Look, Parameter, Process, Refused, Run, Shape};
use crate::limits;

pub(super) const GROUP: Group =
    Group { name: "audit", help: "What operators changed, when, and who it was.", commands: &[AUDIT] };

const AUDIT: Command = Command {
    name: "audit",
    help: "What operators changed, when, and who it was; the oldest first.",
    details: "The whole of it is audit.log in the data folder, a line of JSON each. An outcome of `begun`\n\
              is of a core that died before it was known. What users change themselves is in the core's log.",
    parameters: &[Parameter::option(
        "last",
        Kind::Number { min: 1, max: limits::COMMAND_ROWS_MAX as u64 },
        "so many of the latest (default: 20)",
    )],
    examples: &["audit", "audit --last 100 --json"],
    result: Shape::Rows(&[
        Field::new("at", "when"),
        Field::new("by", "who").look(Look::Pairs),
        Field::new("command", "command"),
        Field::new("outcome", "outcome"),
        Field::new("parameters", "with").look(Look::Pairs),
    ]),
    run: Run::Process(audit),
    ..Command::BASE
};

fn audit(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let last = usize::try_from(arguments.number_or("last", 20)).unwrap_or(usize::MAX);
    process.audit.last(last.min(limits::COMMAND_ROWS_MAX)).map(Done::rows)
}
