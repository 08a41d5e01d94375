//! `hearthctl status`.

use super::{Add, Call, Command, Done, Field, Group, Look, Refused, Run, Shape};
use crate::cx::Cx;
use crate::message::LOG_OFF;
use hearth_storage::Condition;
use serde_json::json;

pub(super) const GROUP: Group = Group { name: "status", help: "How the server does.", commands: &[STATUS] };

const STATUS: Command = Command {
    name: "status",
    help: "How the server does.",
    examples: &["status", "status --json"],
    result: Shape::Record(&[
        Field::new("version", "version"),
        Field::new("uptime_s", "up for").look(Look::Duration),
        Field::new("domains", "domains"),
        Field::new("sessions", "sessions").add(Add::Sum),
        Field::new("sessions_parked", "of them parked").add(Add::Sum),
        // A core that has just started: their edges are expected to return them.
        Field::new("sessions_expected", "more expected back").add(Add::Sum),
        Field::new("accounts_loaded", "accounts in use").add(Add::Sum),
        Field::new("shards", "shards"),
        Field::new("edges", "edges").add(Add::Union),
        Field::new("links", "links").add(Add::Sum),
        Field::new("stanzas_in", "stanzas in").add(Add::Sum),
        Field::new("stanzas_out", "stanzas out").add(Add::Sum),
        Field::new("messages_logged", "messages logged").add(Add::Sum),
        Field::new("storage", "storage").add(Add::Worst),
        // While it is not ok, what needs the disk is refused.
        Field::new("storage_since", "storage so since").look(Look::TimeIfAny).add(Add::Worst),
        Field::new("storage_cause", "the disk says").look(Look::IfAny).add(Add::Worst),
        Field::new("storage_next", "what to do").look(Look::IfAny).add(Add::Worst),
        // There the promise to lose nothing does not hold.
        Field::new("log_off", "no log, messages can be lost").look(Look::IfAny),
    ]),
    run: Run::All(status),
    ..Command::BASE
};

#[expect(clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn status(cx: &mut Cx<'_>, _call: Call) -> Result<Option<Done>, Refused> {
    let shard = &cx.shard;
    let mut edges: Vec<&str> = shard.links.values().filter(|link| link.greeted).map(|link| &*link.edge).collect();
    edges.sort_unstable();
    edges.dedup();
    let domains = |only: fn(&hearth_storage::DomainRecord) -> bool| -> Vec<String> {
        shard.domains.iter().filter(|record| only(record)).map(|record| record.domain.clone()).collect()
    };
    let condition = shard.storage.condition;
    let ill = condition != Condition::Ok;
    let record = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": cx.now.mono_ms / 1000,
        "domains": domains(|_| true),
        "log_off": domains(|record| LOG_OFF.is_on(record)),
        "sessions": shard.sessions.len(),
        "sessions_parked": shard.parked.len(),
        "sessions_expected": shard.recovery.as_ref().map_or(0, |recovery| recovery.expected()),
        "accounts_loaded": shard.accounts.len(),
        "shards": shard.settings.shards,
        "edges": edges,
        "links": shard.links.len(),
        "stanzas_in": shard.stats.stanzas_in,
        "stanzas_out": shard.stats.stanzas_out,
        "messages_logged": shard.stats.messages_logged,
        "storage": condition.name(),
        "storage_since": ill.then_some(shard.storage.since_ms),
        "storage_cause": ill.then_some(&shard.storage.cause),
        "storage_next": condition.next(),
    });
    Ok(Some(Done::Record(record.as_object().cloned().unwrap_or_default())))
}
