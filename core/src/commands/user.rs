//! `hearthctl user`: accounts.

use super::{
    Call, Command, ControlId, Done, Field, Group, Kind, Look, Parameter, Refused, RefusedKind, Rows, Run, Shape, Who,
};
use crate::account::Absent;
use crate::cx::Cx;
use crate::limits;
use crate::provision::{self, LookAlikes, Outcome};
use crate::sasl::{self, crypto::Secret};
use hearth_storage::{Answer, Ask};
use hearth_wire::{BareJid, look_alike};
use serde_json::{Map, Value as Json};

const ACCOUNT: Parameter = Parameter::required("account", Kind::Account, "name@domain, or just the name");

pub(super) const GROUP: Group =
    Group { name: "user", help: "Accounts.", commands: &[ADD, PASSWORD, DISABLE, ENABLE, DELETE, LIST, SHOW] };

const ADD: Command = Command {
    name: "user add",
    help: "Add an account. Asks for its password unless told otherwise.",
    details: "A name that people would take for another account's, or that mixes letters of different scripts (UTS #39),\n\
              is refused unless `--look-alike` says that it is meant.",
    parameters: &[
        ACCOUNT,
        Parameter::required("password", Kind::Secret, "its password"),
        Parameter::option("look_alike", Kind::Switch, "even if its name looks like another"),
    ],
    examples: &[
        "user add ada@localhost",
        "user add ada@localhost --generate",
        "user add ada@localhost --password-stdin < FILE",
    ],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("account"),
    run: Run::Owner("account", add),
    ..Command::BASE
};

const ALLOW_LOOK_ALIKE: &str = "choose another name, or say `--look-alike` if it is meant";

const PASSWORD: Command = Command {
    name: "user password",
    help: "Change an account's password. Its sessions end.",
    parameters: &[ACCOUNT, Parameter::required("password", Kind::Secret, "the new password")],
    examples: &["user password ada@localhost"],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("account"),
    run: Run::Owner("account", password),
    ..Command::BASE
};

const DISABLE: Command = Command {
    name: "user disable",
    help: "Let nobody log in to an account. Its sessions end, its messages wait.",
    details: "All that is stored of it stays, and to others it is an account that is offline. Only who logs\n\
              in with the right password is told that it is disabled, and never the reason.",
    parameters: &[ACCOUNT, Parameter::option("reason", Kind::Text, "for `user show`")],
    examples: &["user disable ada@localhost --reason 'left in May'"],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("account"),
    run: Run::Owner("account", disable),
    ..Command::BASE
};

const ENABLE: Command = Command {
    name: "user enable",
    help: "Let a disabled account log in again.",
    parameters: &[ACCOUNT],
    examples: &["user enable ada@localhost"],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("account"),
    run: Run::Owner("account", enable),
    ..Command::BASE
};

const DELETE: Command = Command {
    name: "user delete",
    help: "Delete an account and everything stored of it. Asks first.",
    parameters: &[ACCOUNT],
    examples: &["user delete ada@localhost --yes"],
    who: Who::DomainAdmin,
    changes: true,
    confirm: Some("Delete {account} and everything stored of it?"),
    result: Shape::Did("account"),
    run: Run::Owner("account", delete),
    ..Command::BASE
};

const LIST: Command = Command {
    name: "user list",
    help: "List accounts, one on each line.",
    parameters: &[Parameter::optional("domain", Kind::Domain, "only of this domain")],
    examples: &["user list", "user list chat.example.org"],
    who: Who::DomainAdmin,
    result: Shape::Rows(&[Field::new("account", "account")]),
    run: Run::First(list),
    ..Command::BASE
};

const SHOW: Command = Command {
    name: "user show",
    help: "What there is of an account: sessions, contacts, messages that wait.",
    parameters: &[ACCOUNT],
    examples: &["user show ada@localhost"],
    who: Who::DomainAdmin,
    result: Shape::Record(&[
        Field::new("account", "account"),
        Field::new("sessions", "sessions"),
        Field::new("contacts", "contacts"),
        Field::new("requests", "requests to answer"),
        Field::new("waiting", "messages that wait"),
        Field::new("disabled_since", "disabled since").look(Look::TimeIfAny),
        Field::new("disabled_reason", "reason").look(Look::IfAny),
    ]),
    run: Run::Owner("account", show),
    ..Command::BASE
};

fn add(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (jid, password) = (account(cx, &call)?, secret(&call)?);
    let look_alikes = if call.arguments.switch("look_alike") { LookAlikes::Allowed } else { LookAlikes::Refused };
    if look_alikes == LookAlikes::Refused && jid.localpart().is_some_and(look_alike::mixes_scripts) {
        let message = format!("{jid} mixes letters of different scripts, so that it may look like another name");
        return Err(Refused::new(RefusedKind::BadRequest, message, ALLOW_LOOK_ALIKE));
    }
    provision::create(cx, jid.clone(), password, look_alikes, report(call.id, jid, "added"));
    Ok(None)
}

fn password(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (jid, password) = (account(cx, &call)?, secret(&call)?);
    provision::set_password(cx, jid.clone(), password, None, report(call.id, jid, "password changed"));
    Ok(None)
}

fn disable(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = account(cx, &call)?;
    let reason = call.arguments.text_if("reason").filter(|reason| !reason.is_empty()).map(Into::into);
    provision::disable(cx, jid.clone(), reason, report(call.id, jid, "disabled"));
    Ok(None)
}

fn enable(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = account(cx, &call)?;
    provision::enable(cx, jid.clone(), report(call.id, jid, "enabled"));
    Ok(None)
}

fn delete(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = account(cx, &call)?;
    provision::remove(cx, jid.clone(), report(call.id, jid, "deleted"));
    Ok(None)
}

/// The account an operator named, on a domain of this core.
pub(super) fn account(cx: &Cx<'_>, call: &Call) -> Result<BareJid, Refused> {
    let jid = call.arguments.account("account")?;
    own_domain(cx, jid.domainpart())?;
    Ok(jid)
}

/// Whether this core serves a domain.
pub(super) fn own_domain(cx: &Cx<'_>, domain: &str) -> Result<(), Refused> {
    if cx.shard.domains.contains(domain) { Ok(()) } else { Err(no_domain(domain)) }
}

pub(super) fn no_domain(domain: &str) -> Refused {
    let message = format!("{domain} is not a domain of this server");
    Refused::new(RefusedKind::NotFound, message, "see `hearthctl domain list`")
}

/// Why there was no account to work on.
pub(super) fn absent(jid: &BareJid, why: Absent) -> Refused {
    match why {
        Absent::NoAccount => no_account(jid),
        Absent::Busy => {
            let message = format!("too much waits for {jid}");
            Refused::new(RefusedKind::Unavailable, message, "try again in a moment")
        }
        Absent::Failed(cause) => storage_failed(&cause.to_string()),
    }
}

fn secret(call: &Call) -> Result<Secret, Refused> {
    sasl::prepare_password(call.arguments.secret("password")?).ok_or_else(|| {
        let message = "the password is empty or has characters that no client can type (SASLprep)";
        Refused::new(RefusedKind::BadRequest, message, "choose another password")
    })
}

/// Says how a change of an account ended.
pub(super) fn report(id: ControlId, jid: BareJid, what: &'static str) -> provision::Then {
    Box::new(move |cx, outcome| super::answer(cx, id, told(&jid, outcome, what)))
}

fn told(jid: &BareJid, outcome: Outcome, what: &'static str) -> Result<Done, Refused> {
    Err(match outcome {
        Outcome::Done => return Ok(Done::did(jid.as_str(), what)),
        Outcome::Exists => {
            let next = "use `hearthctl user password` to change its password";
            Refused::new(RefusedKind::Exists, format!("{jid} exists already"), next)
        }
        Outcome::LooksLike(other) => {
            let other = other.map_or_else(|| "too many other names".to_owned(), |other| other.to_string());
            Refused::new(RefusedKind::Exists, format!("{jid} looks like {other} (UTS #39)"), ALLOW_LOOK_ALIKE)
        }
        Outcome::NoAccount => no_account(jid),
        Outcome::Busy => {
            let message = "the server is busy deriving keys, or another change of this account is under way";
            Refused::new(RefusedKind::Unavailable, message, "try again in a moment")
        }
        Outcome::Failed(cause) => storage_failed(&cause),
    })
}

pub(super) fn no_account(jid: &BareJid) -> Refused {
    Refused::new(RefusedKind::NotFound, format!("there is no account {jid}"), "see `hearthctl user list`")
}

pub(super) fn storage_failed(cause: &str) -> Refused {
    Refused::new(RefusedKind::Unavailable, format!("storage: {cause}"), "mend the storage and try again")
}

fn list(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let after = call.arguments.after.as_deref().and_then(|after| BareJid::parse(after).ok());
    let only = call.arguments.text_if("domain").map(str::to_owned);
    if let Some(domain) = &only {
        own_domain(cx, domain)?;
    }
    let first = || cx.shard.domains.iter().next().map(|record| record.domain.clone());
    let begin = after.as_ref().map(|after| after.domainpart().to_owned()).or_else(|| only.clone()).or_else(first);
    match begin {
        Some(domain) => list_page(cx, call.id, domain, after, only.is_none()),
        None => return Ok(Some(Done::rows(Vec::new()))),
    }
    Ok(None)
}

/// One page of a domain, or of the domains behind it if it has no more.
fn list_page(cx: &mut Cx<'_>, id: ControlId, domain: String, after: Option<BareJid>, go_on: bool) {
    let slot = cx.shard.settings.slot_key.slot(&domain);
    let ask = Ask::ListAccounts { domain: domain.clone(), after, limit: limits::COMMAND_PAGE };
    let then = move |cx: &mut Cx<'_>, answer| {
        let accounts = match answer {
            Answer::Accounts(accounts) => accounts,
            Answer::Failed(cause) => return super::answer(cx, id, Err(storage_failed(&cause.to_string()))),
            _ => return super::answer(cx, id, Err(storage_failed("an answer to another question"))),
        };
        let behind = || cx.shard.domains.iter().map(|record| &record.domain).find(|other| **other > domain).cloned();
        match accounts.last().map(ToString::to_string) {
            None if go_on && let Some(behind) = behind() => list_page(cx, id, behind, None, go_on),
            next => {
                let row = |jid: &BareJid| Map::from_iter([("account".to_owned(), Json::from(jid.as_str()))]);
                super::answer(cx, id, Ok(Done::Rows(Rows { rows: accounts.iter().map(row).collect(), next })));
            }
        }
    };
    cx.ask(slot, ask, Box::new(then));
}

fn show(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (id, jid) = (call.id, account(cx, &call)?);
    cx.with_account_or_why(&jid.clone(), move |cx, key| {
        let account = key.map_err(|why| absent(&jid, why));
        let shown = match account.map(|key| cx.account(key)) {
            Ok(Some(account)) => Ok(Done::Record(Map::from_iter([
                ("account".to_owned(), Json::from(account.jid.as_str())),
                ("sessions".to_owned(), Json::from(account.sessions.len())),
                ("contacts".to_owned(), Json::from(account.roster.len())),
                ("requests".to_owned(), Json::from(account.requests.len())),
                ("waiting".to_owned(), Json::from(account.undelivered())),
                ("disabled_since".to_owned(), Json::from(account.disabled.as_ref().map(|disabled| disabled.since_ms))),
                ("disabled_reason".to_owned(), Json::from(account.disabled.as_ref().and_then(|d| d.reason.as_deref()))),
            ]))),
            Ok(None) => Err(no_account(&jid)),
            Err(refused) => Err(refused),
        };
        super::answer(cx, id, shown);
    });
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Reply;
    use crate::testing::Core;

    /// A store that fails is no missing account.
    #[test]
    fn absence_has_a_cause() {
        let mut core = Core::new(1);
        core.account("ada@example.org");
        let kind = |core: &mut Core, command: &str, account: &str| {
            core.command(0, command, &[("account", account)]);
            match core.replies.pop() {
                Some((_, Reply::Error(refused))) => Some(refused.kind),
                _ => None,
            }
        };
        for command in ["user show", "roster show", "user delete"] {
            assert_eq!(kind(&mut core, command, "eve@example.org"), Some(RefusedKind::NotFound), "{command}");
            core.unreadable = true;
            assert_eq!(kind(&mut core, command, "ada@example.org"), Some(RefusedKind::Unavailable), "{command}");
            core.unreadable = false;
            assert_eq!(kind(&mut core, command, "ada@example.org"), None, "{command}");
            core.advance(2 * limits::ACCOUNT_IDLE_MS);
            assert!(core.loaded("ada@example.org").is_none());
        }
    }
}
