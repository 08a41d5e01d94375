//! `hearthctl edge`: edges on other machines, each with a key of its own.

use super::{
    Arguments, Call, Command, ControlId, Did, Done, Field, File, Group, Kind, Look, Parameter, Process, Refused,
    RefusedKind, Run, Shape,
};
use crate::cx::Cx;
use hearth_link::PublicKey;
use hearth_storage::{Answer, Ask, Change, EdgeRecord};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

const NAME: Parameter = Parameter::required("name", Kind::Text, "its name: letters, digits, dots, dashes");

pub(super) const GROUP: Group =
    Group { name: "edge", help: "Edges on other machines, and their keys.", commands: &[ADD, LIST, REVOKE] };

const ADD: Command = Command {
    name: "edge add",
    help: "Make a key for an edge on another machine, as one file to carry over.",
    details: "The file holds the edge's private key, the core's public one and its address. Its path is\n\
              link_key in the edge's connmgr.toml. It is NAME.edge in the working directory without --out.",
    parameters: &[
        NAME,
        Parameter::option("core", Kind::Text, "where the edge dials the core, HOST:PORT"),
        Parameter::option("out", Kind::OutFile, "the file to write"),
    ],
    examples: &["edge add paris --core core.example.org:5270", "edge add paris --out FILE"],
    changes: true,
    result: Shape::Did("edge"),
    run: Run::Process(add),
    ..Command::BASE
};

const LIST: Command = Command {
    name: "edge list",
    help: "List edges: key, since when, event loops linked now, when revoked.",
    details: "An edge without a key is on the core's machine.",
    examples: &["edge list", "edge list --json"],
    result: Shape::Rows(&[
        Field::new("edge", "edge"),
        Field::new("key", "key"),
        Field::new("added_ms", "added").look(Look::Time),
        Field::new("event_loops", "linked"),
        Field::new("revoked_ms", "revoked").look(Look::Time),
    ]),
    run: Run::Process(list),
    ..Command::BASE
};

const REVOKE: Command = Command {
    name: "edge revoke",
    help: "Revoke an edge's key: its links are cut at once, and it makes no new ones.",
    details: "`edge add` with the same name makes a new key.",
    parameters: &[NAME],
    examples: &["edge revoke paris"],
    changes: true,
    result: Shape::Did("edge"),
    run: Run::Process(revoke),
    ..Command::BASE
};

fn add(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let name = arguments.text("name")?;
    let (bundle, fingerprint) = process.edges.add(name, arguments.text_if("core"))?;
    let details = json!({"key": fingerprint, "core": bundle.core});
    Ok(Done::Did(Did {
        subject: name.to_owned(),
        what: "added".to_owned(),
        details: details.as_object().cloned().unwrap_or_default(),
        next: vec![
            format!("carry {} to the edge's machine, and keep it secret: it is the edge's key", super::FILE),
            "in its connmgr.toml: link_key = \"PATH OF THE FILE\"".to_owned(),
            format!("it dials tls:{}; if that is not where, core = \"tls:HOST:PORT\" beside link_key", bundle.core),
        ],
        file: Some(File { name: format!("{name}.edge"), text: bundle.to_text() }),
    }))
}

fn revoke(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let name = arguments.text("name")?;
    process.edges.revoke(name)?;
    Ok(Done::did(name, "revoked"))
}

fn list(process: &Process<'_>, _arguments: &Arguments) -> Result<Done, Refused> {
    let mut edges: BTreeMap<String, Map<String, Json>> = BTreeMap::new();
    for edge in process.edges.keys() {
        let row = json!({
            "edge": edge.name,
            "key": PublicKey::from_der(&edge.key).fingerprint(),
            "added_ms": edge.added_ms,
            "event_loops": [],
            "revoked_ms": edge.revoked_ms,
        });
        edges.insert(edge.name, row.as_object().cloned().unwrap_or_default());
    }
    for linked in process.edges.ask_all(linked)? {
        let Some(name) = linked.get("edge").and_then(Json::as_str).map(str::to_owned) else { continue };
        let number = linked.get("event_loop").cloned().unwrap_or(Json::Null);
        let row = edges.entry(name).or_insert(linked);
        let loops = row.entry("event_loops").or_insert_with(|| json!([]));
        if let Some(loops) = loops.as_array_mut().filter(|loops| !loops.contains(&number)) {
            loops.push(number);
            loops.sort_by_key(Json::as_u64);
        }
        row.remove("event_loop");
    }
    Ok(Done::rows(edges.into_values().collect()))
}

/// One row for each link of a shard.
#[expect(clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn linked(cx: &mut Cx<'_>, _call: Call) -> Result<Option<Done>, Refused> {
    let links = cx.shard.links.values().filter(|link| link.greeted && link.up);
    let row = |link: &crate::link::Link| json!({"edge": link.edge, "event_loop": link.event_loop});
    Ok(Some(Done::rows(links.filter_map(|link| row(link).as_object().cloned()).collect())))
}

/// Keeps an edge's key, or that it is revoked.
pub(crate) fn store(cx: &mut Cx<'_>, id: ControlId, edge: EdgeRecord) {
    // An edge is of no slot; a write must be of one that the shard owns.
    let Some(slot) = cx.own_slot() else {
        let refused = Refused::new(RefusedKind::Unavailable, "the store is being handed over", "try again");
        return super::answer(cx, id, Err(refused));
    };
    let then = move |cx: &mut Cx<'_>, answer| {
        let result = match answer {
            Answer::Applied => Ok(Done::did("", "stored")),
            Answer::Failed(cause) => {
                let message = format!("storage: {cause}");
                Err(Refused::new(RefusedKind::Unavailable, message, "mend the storage and try again"))
            }
            _ => Err(Refused::new(RefusedKind::Unavailable, "storage did not answer", "try again")),
        };
        super::answer(cx, id, result);
    };
    cx.ask(slot, Ask::Apply { changes: vec![Change::PutEdge { edge }] }, Box::new(then));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Reply;
    use crate::testing::Core;

    /// Whatever its name hashes to, and however many shards there are.
    #[test]
    fn any_edge_can_be_stored() {
        let mut core = Core::new(4);
        for name in ["paris", "oslo", "rome", "lima", "bern", "cairo"] {
            let edge = EdgeRecord { name: name.to_owned(), key: vec![1], added_ms: 1, revoked_ms: None };
            core.with_cx(0, |cx| store(cx, 0, edge));
            core.run();
            assert!(matches!(core.replies.pop(), Some((0, Reply::Ok(_)))), "{name}");
        }
    }
}
