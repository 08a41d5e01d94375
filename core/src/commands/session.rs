//! `hearthctl sessions`: connected clients.

use super::{Call, Command, Did, Done, Field, Group, Kind, Parameter, Refused, RefusedKind, Run, Shape, Who};
use crate::cx::Cx;
use crate::limits;
use crate::session::{Session, SessionKey};
use hearth_wire::StreamCondition;
use serde_json::{Map, Value as Json};

const JID: Parameter =
    Parameter::required("jid", Kind::Jid, "name@domain for all its sessions, or name@domain/resource");

pub(super) const GROUP: Group = Group { name: "sessions", help: "Connected clients.", commands: &[LIST, SHOW, KICK] };

const FIELDS: &[Field] = &[
    Field::new("jid", "address"),
    Field::new("priority", "priority"),
    Field::new("interested", "roster"),
    Field::new("edge", "edge"),
    Field::new("stream", "stream"),
];

const LIST: Command = Command {
    name: "sessions list",
    help: "Who is connected.",
    details: "Priority is - before initial presence. Roster is yes if the client asked for its contacts.",
    parameters: &[
        Parameter::optional("account", Kind::Account, "only of this account"),
        Parameter::option("limit", Kind::Number { min: 1, max: limits::COMMAND_ROWS_MAX as u64 }, "at most so many"),
    ],
    examples: &["sessions list", "sessions list ada@localhost", "sessions list --limit 20"],
    who: Who::DomainAdmin,
    result: Shape::Rows(FIELDS),
    run: Run::OwnerOrAll("account", list),
    ..Command::BASE
};

const SHOW: Command = Command {
    name: "sessions show",
    help: "What there is to know of one session.",
    parameters: &[Parameter::required("jid", Kind::Jid, "name@domain/resource")],
    examples: &["sessions show ada@localhost/desk"],
    who: Who::DomainAdmin,
    result: Shape::Record(&[
        Field::new("jid", "address"),
        Field::new("stream", "stream"),
        Field::new("edge", "edge"),
        Field::new("event_loop", "event loop"),
        Field::new("priority", "priority"),
        Field::new("interested", "roster"),
        Field::new("received", "stanzas received"),
        Field::new("settled", "of them settled"),
    ]),
    run: Run::Owner("jid", show),
    ..Command::BASE
};

const KICK: Command = Command {
    name: "sessions kick",
    help: "End a session, or all sessions of an account.",
    parameters: &[JID],
    examples: &["sessions kick ada@localhost/desk", "sessions kick ada@localhost"],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("jid"),
    run: Run::Owner("jid", kick),
    ..Command::BASE
};

fn list(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let account = call.arguments.owner_key("account");
    let limit = usize::try_from(call.arguments.number_or("limit", u64::MAX)).unwrap_or(usize::MAX);
    let all = cx.shard.sessions.iter().map(|(_, session)| session);
    let of = all.filter(|session| account.as_ref().is_none_or(|account| session.jid.bare_str() == account.as_str()));
    let rows = of.take(limit.min(limits::COMMAND_ROWS_MAX)).map(|session| row(cx, session)).collect();
    Ok(Some(Done::rows(rows)))
}

fn row(cx: &Cx<'_>, session: &Session) -> Map<String, Json> {
    let edge = cx.shard.links.get(&session.link).map(|link| link.edge.to_string()).unwrap_or_default();
    Map::from_iter([
        ("jid".to_owned(), Json::from(session.jid.as_str())),
        ("priority".to_owned(), Json::from(session.available().then_some(session.priority))),
        ("interested".to_owned(), Json::from(session.interested)),
        ("edge".to_owned(), Json::from(edge)),
        ("stream".to_owned(), Json::from(session.stream.to_string())),
    ])
}

fn matching(cx: &Cx<'_>, jid: &str) -> Vec<SessionKey> {
    let named = |session: &Session| session.jid.as_str() == jid || session.jid.bare_str() == jid;
    let sessions = cx.shard.sessions.iter().filter(|(_, session)| named(session));
    sessions.map(|(index, _)| SessionKey(index)).collect()
}

fn no_session(jid: &str) -> Refused {
    Refused::new(RefusedKind::NotFound, format!("{jid} has no session"), "see `hearthctl sessions list`")
}

fn show(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = call.arguments.jid("jid")?;
    let found = cx.shard.sessions.iter().map(|(_, session)| session).find(|s| s.jid.as_str() == jid.as_str());
    let session = found.ok_or_else(|| no_session(jid.as_str()))?;
    let mut record = row(cx, session);
    let event_loop = cx.shard.links.get(&session.link).map(|link| link.event_loop);
    record.insert("event_loop".to_owned(), Json::from(event_loop));
    record.insert("received".to_owned(), Json::from(session.inbound.received()));
    record.insert("settled".to_owned(), Json::from(session.inbound.settled()));
    Ok(Some(Done::Record(record)))
}

fn kick(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = call.arguments.jid("jid")?;
    let keys = matching(cx, jid.as_str());
    for key in &keys {
        cx.close_session(*key, Some(StreamCondition::PolicyViolation), "ended by the operator");
    }
    let what = match keys.len() {
        0 => return Err(no_session(jid.as_str())),
        1 => "1 session ended".to_owned(),
        several => format!("{several} sessions ended"),
    };
    let details = Map::from_iter([("kicked".to_owned(), Json::from(keys.len()))]);
    Ok(Some(Done::Did(Did { subject: jid.as_str().to_owned(), what, details, next: Vec::new(), file: None })))
}
