//! `hearthctl sessions`: connected clients.

use super::{Call, Command, Did, Done, Field, Group, Kind, Look, Parameter, Refused, RefusedKind, Run, Shape, Who};
use crate::cx::Cx;
use crate::limits;
use crate::provision;
use crate::session::{Session, SessionKey};
use crate::sm;
use hearth_wire::{BareJid, StreamCondition};
use serde_json::{Map, Value as Json};

const JID: Parameter =
    Parameter::required("jid", Kind::Jid, "name@domain for all its sessions, or name@domain/resource");

pub(super) const GROUP: Group = Group { name: "sessions", help: "Connected clients.", commands: &[LIST, SHOW, KICK] };

const FIELDS: &[Field] = &[
    Field::new("jid", "address"),
    Field::new("state", "state"),
    Field::new("until_ms", "until").look(Look::TimeIfAny),
    Field::new("priority", "priority"),
    Field::new("interested", "roster"),
    Field::new("edge", "edge"),
    Field::new("stream", "stream"),
];

const LIST: Command = Command {
    name: "sessions list",
    help: "Who is connected, or may still come back.",
    details: "State is connected, parked (without a socket: it ends unless its client resumes it in time), or away (its edge\n\
        has lost its link, and may return it). Priority is - before initial presence. Roster is yes if the client asked\n\
        for its contacts.",
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
        Field::new("state", "state"),
        Field::new("until_ms", "until").look(Look::TimeIfAny),
        Field::new("stream", "stream"),
        Field::new("edge", "edge"),
        Field::new("event_loop", "event loop"),
        Field::new("priority", "priority"),
        Field::new("interested", "roster"),
        Field::new("received", "stanzas received"),
        Field::new("settled", "of them settled"),
        Field::new("unacknowledged", "sent to it, unacknowledged"),
        Field::new("waiting", "waiting to be sent"),
        Field::new("resumable", "may be resumed"),
    ]),
    run: Run::Owner("jid", show),
    ..Command::BASE
};

const KICK: Command = Command {
    name: "sessions kick",
    help: "End a session, or all sessions of an account.",
    details: "Their clients may come back at once. With --revoke they need the password: all sessions of the account end, and\n\
        all tokens that its clients have in the place of the password (XEP-0484), those of a lost device too.",
    parameters: &[
        JID,
        Parameter::option(
            "revoke",
            Kind::Switch,
            "end all sessions and tokens of the account, so that the password is needed",
        ),
    ],
    examples: &[
        "sessions kick ada@localhost/desk",
        "sessions kick ada@localhost",
        "sessions kick ada@localhost --revoke",
    ],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("jid"),
    run: Run::Owner("jid", kick),
    ..Command::BASE
};

fn list(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let account = call.arguments.owner_key("account");
    let limit = usize::try_from(call.arguments.number_or("limit", u64::MAX)).unwrap_or(usize::MAX);
    let all = cx.shard.sessions.iter();
    let of =
        all.filter(|(_, session)| account.as_ref().is_none_or(|account| session.jid.bare_str() == account.as_str()));
    let rows = of
        .take(limit.min(limits::COMMAND_ROWS_MAX))
        .map(|(index, session)| row(cx, SessionKey(index), session))
        .collect();
    Ok(Some(Done::rows(rows)))
}

fn row(cx: &Cx<'_>, key: SessionKey, session: &Session) -> Map<String, Json> {
    let until_ms = cx.shard.parked.until_ms(key);
    let state = match cx.shard.links.get(&session.link) {
        _ if session.is_parked() => "parked",
        Some(link) if link.up => "connected",
        Some(_) | None => "away",
    };
    let until_ms = until_ms.map(|until_ms| cx.now.utc_ms.saturating_add(until_ms.saturating_sub(cx.now.mono_ms)));
    let edge = cx.shard.links.get(&session.link).map(|link| link.edge.to_string()).unwrap_or_default();
    Map::from_iter([
        ("jid".to_owned(), Json::from(session.jid.as_str())),
        ("state".to_owned(), Json::from(state)),
        ("until_ms".to_owned(), Json::from(until_ms)),
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
    let found = cx.shard.sessions.iter().find(|(_, session)| session.jid.as_str() == jid.as_str());
    let (index, session) = found.ok_or_else(|| no_session(jid.as_str()))?;
    let mut record = row(cx, SessionKey(index), session);
    let event_loop = cx.shard.links.get(&session.link).map(|link| link.event_loop);
    record.insert("event_loop".to_owned(), Json::from(event_loop));
    record.insert("received".to_owned(), Json::from(session.inbound.received()));
    record.insert("settled".to_owned(), Json::from(session.inbound.settled()));
    record.insert("unacknowledged".to_owned(), Json::from(session.outbound.entries.len()));
    record.insert(
        "waiting".to_owned(),
        Json::from(session.outbound.held.len().saturating_add(session.outbound.later.len())),
    );
    record.insert("resumable".to_owned(), Json::from(sm::may_park(session)));
    Ok(Some(Done::Record(record)))
}

fn kick(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = call.arguments.jid("jid")?;
    if call.arguments.switch("revoke") {
        let account = BareJid::parse(jid.bare_str()).map_err(|_| super::arguments::missing("jid"))?;
        super::user::own_domain(cx, account.domainpart())?;
        let then = super::user::report(call.id, account.clone(), "all sessions and tokens ended");
        provision::revoke(cx, account, then);
        return Ok(None);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Reply;
    use crate::testing::Core;

    /// A row by its address: state, whether it says until when.
    fn listed(core: &mut Core) -> Vec<(String, String, bool)> {
        core.replies.clear();
        core.command(0, "sessions list", &[]);
        let Some((_, Reply::Ok(Done::Rows(rows)))) = core.replies.pop() else { panic!("{:?}", core.replies) };
        let of = |row: &Map<String, Json>, field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let mut rows: Vec<_> =
            rows.rows.iter().map(|row| (of(row, "jid"), of(row, "state"), row["until_ms"].is_u64())).collect();
        rows.sort();
        rows
    }

    fn row(jid: &str, state: &str, until: bool) -> (String, String, bool) {
        (jid.to_owned(), state.to_owned(), until)
    }

    #[test]
    fn who_may_come_back_is_listed_with_the_time() {
        let mut core = Core::new(1);
        let (ada, grace) = (core.login("ada@example.org/desk"), core.login("grace@example.org/lab"));
        core.enable(ada, None);
        let connected = row("grace@example.org/lab", "connected", false);
        assert_eq!(listed(&mut core), [row("ada@example.org/desk", "connected", false), connected.clone()]);
        core.close(ada, false);
        assert_eq!(listed(&mut core), [row("ada@example.org/desk", "parked", true), connected.clone()]);
        core.command(0, "sessions show", &[("jid", "ada@example.org/desk")]);
        let Some((_, Reply::Ok(Done::Record(shown)))) = core.replies.pop() else { panic!("{:?}", core.replies) };
        assert_eq!((&shown["state"], &shown["resumable"]), (&Json::from("parked"), &Json::from(true)));
        core.command(0, "sessions kick", &[("jid", "ada@example.org")]);
        assert_eq!(listed(&mut core), [connected]);
        assert!(core.session(grace).is_some());
    }
}
