//! Commands of the operator (`control.rs`), as this shard's part of the answer; the control thread
//! sends each command to the shard that owns the account, or to all and adds the answers up.

use crate::control::{Command, ControlId, Done, Refused, RefusedKind, Reply, SessionInfo, Status};
use crate::cx::Cx;
use crate::provision::{self, Outcome};
use crate::sasl;
use crate::session::SessionKey;
use hearth_storage::{Answer, Ask};
use hearth_wire::{BareJid, StreamCondition};

/// Runs one command.
pub fn on_command(cx: &mut Cx<'_>, id: ControlId, command: Command) {
    match command {
        Command::Status {} => {
            let status = status(cx);
            reply(cx, id, Done::Status(status));
        }
        Command::UserAdd { account, password } => set_password(cx, id, &account, &password, true),
        Command::UserPassword { account, password } => set_password(cx, id, &account, &password, false),
        Command::UserDelete { account } => delete(cx, id, &account),
        Command::UserList { domain, after, limit } => list(cx, id, domain, after.as_deref(), limit),
        Command::SessionsList { account, limit } => {
            let sessions = sessions(cx, account.as_deref(), limit);
            reply(cx, id, Done::Sessions(sessions));
        }
        Command::SessionsKick { jid } => kick(cx, id, &jid),
    }
}

fn reply(cx: &mut Cx<'_>, id: ControlId, done: Done) {
    cx.out.replies.push((id, Reply::Ok(done)));
}

fn refuse(cx: &mut Cx<'_>, id: ControlId, kind: RefusedKind, message: String, next: &str) {
    cx.out.replies.push((id, Reply::Error(Refused { kind, message, next: next.to_owned() })));
}

/// The account an operator named, on a domain of this core.
fn account(cx: &mut Cx<'_>, id: ControlId, text: &str) -> Option<BareJid> {
    let jid = BareJid::parse(text).ok().filter(|jid| jid.localpart().is_some());
    let Some(jid) = jid else {
        refuse(cx, id, RefusedKind::BadRequest, format!("{text} is not an account address"), "write it as name@domain");
        return None;
    };
    if !cx.shard.domains.contains(jid.domainpart()) {
        let message = format!("{} is not a domain of this server", jid.domainpart());
        refuse(cx, id, RefusedKind::NotFound, message, "see the domains in `hearthctl status`");
        return None;
    }
    Some(jid)
}

fn status(cx: &Cx<'_>) -> Status {
    let mut edges: Vec<String> = cx.shard.links.values().filter(|l| l.greeted).map(|l| l.edge.to_string()).collect();
    edges.sort();
    edges.dedup();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: cx.now.mono_ms / 1000,
        shards: cx.shard.settings.shards,
        edges,
        links: cx.shard.links.len() as u64,
        sessions: cx.shard.sessions.len() as u64,
        accounts_loaded: cx.shard.accounts.len() as u64,
        domains: cx.shard.domains.iter().map(|domain| domain.domain.clone()).collect(),
        log_off: cx.shard.domains.iter().filter(|d| d.log_off).map(|d| d.domain.clone()).collect(),
        stanzas_in: cx.shard.stats.stanzas_in,
        stanzas_out: cx.shard.stats.stanzas_out,
        messages_logged: cx.shard.stats.messages_logged,
        storage: cx.shard.storage_trouble.clone().unwrap_or_else(|| "ok".to_owned()),
    }
}

/// Makes the account, or gives it another password.
fn set_password(cx: &mut Cx<'_>, id: ControlId, text: &str, password: &str, create: bool) {
    let Some(jid) = account(cx, id, text) else { return };
    let Some(password) = sasl::prepare_password(password) else {
        let message = "the password is empty or has characters that no client can type (SASLprep)".to_owned();
        return refuse(cx, id, RefusedKind::BadRequest, message, "choose another password");
    };
    let then = report(id, jid.clone());
    if create {
        provision::create(cx, jid, password, then);
    } else {
        provision::set_password(cx, jid, password, None, then);
    }
}

fn delete(cx: &mut Cx<'_>, id: ControlId, text: &str) {
    let Some(jid) = account(cx, id, text) else { return };
    provision::remove(cx, jid.clone(), report(id, jid));
}

/// Says how a change of an account ended.
fn report(id: ControlId, jid: BareJid) -> provision::Then {
    Box::new(move |cx, outcome| match outcome {
        Outcome::Done => reply(cx, id, Done::Done {}),
        Outcome::Exists => {
            let next = "use `hearthctl user password` to change its password";
            refuse(cx, id, RefusedKind::Exists, format!("{jid} exists already"), next);
        }
        Outcome::NoAccount => {
            refuse(cx, id, RefusedKind::NotFound, format!("there is no account {jid}"), "see `hearthctl user list`");
        }
        Outcome::Busy => {
            let message = "the server is busy deriving keys, or another change of this account is under way".to_owned();
            refuse(cx, id, RefusedKind::Unavailable, message, "try again in a moment");
        }
        Outcome::Failed(cause) => {
            let message = format!("storage: {cause}");
            refuse(cx, id, RefusedKind::Unavailable, message, "mend the storage and try again");
        }
    })
}

fn list(cx: &mut Cx<'_>, id: ControlId, domain: String, after: Option<&str>, limit: u32) {
    let after = after.and_then(|after| BareJid::parse(after).ok());
    let slot = cx.shard.settings.slot_key.slot(&domain);
    cx.ask(
        slot,
        Ask::ListAccounts { domain, after, limit },
        Box::new(move |cx, answer| match answer {
            Answer::Accounts(accounts) => {
                reply(cx, id, Done::Users(accounts.iter().map(ToString::to_string).collect()));
            }
            _ => refuse(cx, id, RefusedKind::Unavailable, "storage did not answer".to_owned(), "try again"),
        }),
    );
}

fn matching(cx: &Cx<'_>, jid: &str) -> Vec<SessionKey> {
    cx.shard
        .sessions
        .iter()
        .filter(|(_, session)| session.jid.as_str() == jid || session.jid.bare_str() == jid)
        .map(|(index, _)| SessionKey(index))
        .collect()
}

fn sessions(cx: &Cx<'_>, account: Option<&str>, limit: u32) -> Vec<SessionInfo> {
    let all = cx.shard.sessions.iter().map(|(_, session)| session);
    all.filter(|session| account.is_none_or(|account| session.jid.bare_str() == account))
        .take(limit as usize)
        .map(|session| SessionInfo {
            jid: session.jid.to_string(),
            stream: session.stream.to_string(),
            edge: cx.shard.links.get(&session.link).map(|link| link.edge.to_string()).unwrap_or_default(),
            priority: session.available().then_some(session.priority),
            interested: session.interested,
        })
        .collect()
}

fn end_sessions(cx: &mut Cx<'_>, jid: &str, condition: StreamCondition) -> u64 {
    let keys = matching(cx, jid);
    for key in &keys {
        cx.close_session(*key, Some(condition), "ended by the operator");
    }
    keys.len() as u64
}

fn kick(cx: &mut Cx<'_>, id: ControlId, jid: &str) {
    let Ok(jid) = hearth_wire::Jid::parse(jid) else {
        let message = format!("{jid} is not an address");
        return refuse(cx, id, RefusedKind::BadRequest, message, "write name@domain or name@domain/resource");
    };
    let sessions = end_sessions(cx, jid.as_str(), StreamCondition::PolicyViolation);
    reply(cx, id, Done::Kicked { sessions });
}
