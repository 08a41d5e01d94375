//! `hearthctl domain`: virtual hosts, added, changed and removed while the core runs.
//!
//! One change at a time, in one order: stored first, then taken by every shard, then told to the operator.
//!
//! ```text
//!  control thread ─ lock ─▶ its owner: store ─▶ every shard: take ─▶ its edges: Domain, DomainGone ─▶ reply
//!                                                 └ sessions of a domain that went end, a few per turn
//! ```

use super::deletion::{Progress, Running};
use super::user::{no_domain, storage_failed};
use super::{
    Add, Arguments, Call, Command, Did, Done, Field, Group, Kind, Look, Need, Parameter, Process, Refused, RefusedKind,
    Rows, Run, Shape, Target, Value, Who,
};
use crate::config;
use crate::cx::Cx;
use crate::domain::{SWITCHES, Switch};
use crate::limits::{self, DOMAINS_MAX};
use crate::provision;
use crate::{edges, session::SessionKey};
use hearth_storage::{Answer, Ask, Change, DomainRecord};
use hearth_wire::BareJid;
use serde_json::{Map, Value as Json};
use std::sync::Arc;
use std::time::Duration;

const DOMAIN: Parameter = Parameter::required("domain", Kind::Domain, "such as chat.example.org");

pub(super) const GROUP: Group =
    Group { name: "domain", help: "Domains this server serves.", commands: &[ADD, REMOVE, LIST, SHOW, SET] };

const ADD: Command = Command {
    name: "domain add",
    help: "Serve another domain from now on, or again.",
    details: "Accounts of a domain that was removed without --delete-data are there again.",
    parameters: &[DOMAIN],
    examples: &["domain add chat.example.org"],
    changes: true,
    result: Shape::Did("domain"),
    run: Run::Process(add),
    ..Command::BASE
};

const REMOVE: Command = Command {
    name: "domain remove",
    help: "Serve a domain no more: its streams end, its addresses are remote. Asks first.",
    details: "What is stored of its accounts is kept unless told otherwise; `domain add` brings it back.\n\
              With --delete-data it works for a domain that was removed before, too; what takes longer than\n\
              some seconds goes on in the core, and asking again shows how far it is, or goes on after a restart.",
    parameters: &[
        DOMAIN,
        Parameter::option("delete_data", Kind::Switch, "delete its accounts and everything stored of them"),
    ],
    examples: &["domain remove chat.example.org", "domain remove chat.example.org --delete-data --yes"],
    changes: true,
    confirm: Some("Serve {domain} no more and end its streams?"),
    result: Shape::Did("domain"),
    run: Run::Process(remove),
    ..Command::BASE
};

const LIST: Command = Command {
    name: "domain list",
    help: "List domains, with what is switched on.",
    examples: &["domain list", "domain list --json"],
    result: Shape::Rows(&[Field::new("domain", "domain"), Field::new("on", "switched on")]),
    run: Run::First(list),
    ..Command::BASE
};

const SHOW: Command = Command {
    name: "domain show",
    help: "What there is to know of a domain.",
    parameters: &[DOMAIN],
    examples: &["domain show chat.example.org"],
    who: Who::DomainAdmin,
    result: Shape::Record(&[
        Field::new("domain", "domain"),
        Field::new("sessions", "sessions").add(Add::Sum),
        Field::new("accounts_loaded", "accounts in use").add(Add::Sum),
        Field::new("on", "switched on").look(Look::Plain),
        Field::new("off", "switched off").look(Look::Plain),
    ]),
    run: Run::All(show),
    ..Command::BASE
};

const SET: Command = Command {
    name: "domain set",
    help: "Switch something on or off at a domain.",
    details: "`domain show` and `features` have the names of switches.",
    parameters: &[
        DOMAIN,
        Parameter::required("switch", Kind::Text, "name of the switch"),
        Parameter { name: "to", kind: Kind::Choice(&["on", "off"]), need: Need::Required, help: "on or off" },
    ],
    examples: &["domain set chat.example.org registration on"],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("domain"),
    run: Run::Process(set),
    ..Command::BASE
};

// ---- the control thread: one change at a time ---------------------------------------------------

fn add(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let _alone = process.domains_changing.lock();
    let domain = arguments.text("domain")?;
    process.deletions.allow(domain)?;
    process.ask(Target::Owner(&entity(arguments)?), store_add, arguments)?;
    process.ask(Target::All, take_add, arguments)?;
    let next = vec![
        format!("certificate: put fullchain.pem and privkey.pem into the folder {domain} of each edge's certificates"),
        format!(
            "DNS: _xmpp-client._tcp.{domain}. SRV 0 5 5222 and _xmpps-client._tcp.{domain}. SRV 0 5 5223, to your edges"
        ),
        format!("accounts: hearthctl user add NAME@{domain}"),
    ];
    Ok(Done::Did(Did { next, ..did(domain, "added") }))
}

fn remove(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let alone = process.domains_changing.lock();
    let (domain, delete) = (arguments.text("domain")?, arguments.switch("delete_data"));
    if process.config().domains.iter().any(|named| named.name == domain) {
        let message = format!("{domain} stands in the configuration ([[domains]] name = \"{domain}\", or --domain)");
        let next = "take it out there and reload the core (SIGHUP) or start it again; then remove it here";
        return Err(Refused::new(RefusedKind::BadRequest, message, next));
    }
    let mut what = "removed".to_owned();
    match process.ask(Target::Owner(&entity(arguments)?), store_remove, arguments) {
        Ok(_) => {
            // Counted first: what one shard tells the edges ends sessions of the others.
            if let Done::Did(counted) = process.ask(Target::All, count_sessions, arguments)? {
                let sessions = counted.details.get("sessions").and_then(Json::as_u64).unwrap_or(0);
                what = format!("removed, {sessions} session{} ended", if sessions == 1 { "" } else { "s" });
            }
            process.ask(Target::All, take_remove, arguments)?;
        }
        // What a removed domain left behind may still be deleted.
        Err(refused) if delete && refused.kind == RefusedKind::NotFound => {}
        Err(refused) => return Err(refused),
    }
    if !delete {
        let next = vec!["its accounts are kept: `hearthctl domain add` brings them back".to_owned()];
        return Ok(Done::Did(Did { next, ..did(domain, &what) }));
    }
    let begin = |running: Running| {
        let arguments = arguments.clone();
        (process.background)(Box::new(move |process| {
            let end = delete_accounts(process, &arguments, &running);
            let domain = arguments.text("domain").unwrap_or_default();
            match &end {
                Ok(()) => tracing::info!(event = "domain_deleted", domain),
                Err(refused) => tracing::error!(event = "domain_not_deleted", domain, error = refused.message),
            }
            running.update(|progress| progress.end = Some(end));
        }));
    };
    let deletion = process.deletions.of(domain, begin)?;
    // Others may change domains while this goes on.
    drop(alone);
    let progress = process.deletions.wait(domain, &deletion, Duration::from_millis(limits::DELETION_WAIT_MS))?;
    Ok(Done::Did(deleted(domain, &what, &progress)))
}

/// How far the deletion is, for the operator.
fn deleted(domain: &str, what: &str, progress: &Progress) -> Did {
    let Progress { deleted, left, end } = progress;
    let details = [("deleted", Json::from(*deleted)), ("left", Json::from(*left))];
    let details = details.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
    let so_far = format!("{what}, {deleted} account{} deleted", if *deleted == 1 { "" } else { "s" });
    if end.is_some() {
        return Did { details, ..did(domain, &so_far) };
    }
    let left = left.map_or_else(|| "counting the others".to_owned(), |left| format!("{left} left"));
    let next = format!("it goes on in the core; `hearthctl domain remove {domain} --delete-data` shows how far it is");
    Did { details, next: vec![next], ..did(domain, &format!("{so_far} so far, {left}")) }
}

/// Deletes page by page what the domain's accounts left in the store. Nothing makes new ones meanwhile:
/// the domain is not served, nor again before this has ended.
fn delete_accounts(process: &Process<'_>, arguments: &Arguments, running: &Running) -> Result<(), Refused> {
    let (mut of_domain, mut accounts) = (arguments.clone(), 0_u64);
    loop {
        let page = stored_accounts(process, &of_domain)?;
        let Some(last) = page.last() else { break };
        accounts = accounts.saturating_add(page.len() as u64);
        of_domain.after = Some(last.as_str().to_owned());
    }
    running.update(|progress| progress.left = Some(accounts));
    of_domain.after = None;
    loop {
        let page = stored_accounts(process, &of_domain)?;
        if page.is_empty() {
            return Ok(());
        }
        for some in page.chunks(limits::DELETIONS_AT_ONCE) {
            process.ask(Target::Owners(some), delete_account, &Arguments::default())?;
            let number = some.len() as u64;
            running.update(|progress| {
                progress.deleted = progress.deleted.saturating_add(number);
                progress.left = progress.left.map(|left| left.saturating_sub(number));
            });
        }
    }
}

/// The first accounts of a domain in the store, served or not, after the one that is named.
fn stored_accounts(process: &Process<'_>, arguments: &Arguments) -> Result<Vec<BareJid>, Refused> {
    let Done::Rows(page) = process.ask(Target::First, list_accounts, arguments)? else { return Ok(Vec::new()) };
    let jid =
        |row: &Map<String, Json>| row.get("account").and_then(Json::as_str).and_then(|jid| BareJid::parse(jid).ok());
    let jids = page.rows.iter().map(|row| jid(row).ok_or_else(|| storage_failed("an account without an address")));
    jids.collect()
}

fn set(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let _alone = process.domains_changing.lock();
    let (domain, switch, to) = (arguments.text("domain")?, switch(arguments)?, arguments.text("to")?);
    process.ask(Target::Owner(&entity(arguments)?), store_set, arguments)?;
    process.ask(Target::All, take_set, arguments)?;
    let config = process.config();
    let file = config.domains.iter().find(|named| named.name == domain);
    let next = match file.and_then(|named| named.switches.get(switch.name)) {
        Some(on) if *on != (to == "on") => {
            vec![format!("the configuration says {} = {on}: that holds again at the next start or SIGHUP", switch.name)]
        }
        _ => Vec::new(),
    };
    Ok(Done::Did(Did { next, ..did(domain, &format!("{} {to}", switch.name)) }))
}

/// What the configuration says of a domain holds from now on, as at a start. False if it held already.
pub(crate) fn configure(process: &Process<'_>, domain: Arc<config::Domain>) -> Result<bool, Refused> {
    let _alone = process.domains_changing.lock();
    process.deletions.allow(&domain.name)?;
    let name = ("domain", Value::Text(domain.name.clone()));
    let arguments = Arguments::made(vec![name, ("configured", Value::Configured(domain))]);
    let stored = process.ask(Target::Owner(&entity(&arguments)?), store_configured, &arguments)?;
    if matches!(&stored, Done::Did(did) if did.what == UNCHANGED) {
        return Ok(false);
    }
    process.ask(Target::All, take_configured, &arguments)?;
    Ok(true)
}

/// Clear login on loopback is offered from now on, or no more.
pub(crate) fn set_clear_login(process: &Process<'_>, on: bool) -> Result<(), Refused> {
    let _alone = process.domains_changing.lock();
    let arguments = Arguments::made(vec![("clear_login", Value::Switch(on))]);
    process.ask(Target::All, take_clear_login, &arguments).map(|_| ())
}

/// What a shard did that found a domain as it is to be.
const UNCHANGED: &str = "unchanged";

/// The domain as an entity: the shard that owns its slot may write it.
fn entity(arguments: &Arguments) -> Result<BareJid, Refused> {
    let domain = arguments.text("domain")?;
    let not = |_| {
        Refused::new(RefusedKind::BadRequest, format!("{domain:?} is not a domain"), "write it as chat.example.org")
    };
    BareJid::parse(domain).map_err(not)
}

fn did(domain: &str, what: &str) -> Did {
    Did { subject: domain.to_owned(), what: what.to_owned(), details: Map::new(), next: Vec::new(), file: None }
}

fn switch(arguments: &Arguments) -> Result<&'static Switch, Refused> {
    let name = arguments.text("switch")?;
    Switch::find(&name.replace('-', "_")).ok_or_else(|| {
        let known: Vec<&str> = SWITCHES.iter().map(|switch| switch.name).collect();
        let next = super::nearest(name, known.iter().copied())
            .map_or_else(|| format!("there is {}", known.join(", ")), |near| format!("it may be {near}"));
        Refused::new(RefusedKind::NotFound, format!("there is no switch {name}"), next)
    })
}

// ---- the shard that owns the domain's slot: the store ---------------------------------------------------------------------------

fn store_add(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    if cx.shard.domains.contains(domain) {
        let message = format!("{domain} is served already");
        return Err(Refused::new(RefusedKind::Exists, message, "see `hearthctl domain show`"));
    }
    has_room(cx)?;
    let change = Change::PutDomain { domain: DomainRecord::new(domain) };
    store(cx, &call, domain, change);
    Ok(None)
}

fn store_remove(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    if !cx.shard.domains.contains(domain) {
        return Err(no_domain(domain));
    }
    if cx.shard.domains.iter().count() == 1 {
        let message = format!("{domain} is the only domain there is");
        return Err(Refused::new(RefusedKind::BadRequest, message, "add another one first, or stop the server"));
    }
    let change = Change::RemoveDomain { domain: domain.to_owned() };
    store(cx, &call, domain, change);
    Ok(None)
}

fn store_set(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let record = with_switch(cx, &call)?;
    store(cx, &call, &record.domain.clone(), Change::PutDomain { domain: record });
    Ok(None)
}

fn store_configured(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    match as_configured(cx, &call)? {
        Some(record) => store(cx, &call, &record.domain.clone(), Change::PutDomain { domain: record }),
        None => return Ok(Some(Done::did(call.arguments.text("domain")?, UNCHANGED))),
    }
    Ok(None)
}

/// The domain as the configuration wants it, unless it is so already.
fn as_configured(cx: &Cx<'_>, call: &Call) -> Result<Option<DomainRecord>, Refused> {
    let configured = call.arguments.configured("configured")?;
    let before = cx.shard.domains.get(&configured.name);
    if before.is_none() {
        has_room(cx)?;
    }
    let mut record = before.cloned().unwrap_or_else(|| DomainRecord::new(&*configured.name));
    configured.apply(&mut record);
    Ok(Some(record).filter(|record| before != Some(record)))
}

fn has_room(cx: &Cx<'_>) -> Result<(), Refused> {
    if cx.shard.domains.iter().count() < DOMAINS_MAX {
        return Ok(());
    }
    let message = format!("there are {DOMAINS_MAX} domains already");
    Err(Refused::new(RefusedKind::Unavailable, message, "remove one first"))
}

fn with_switch(cx: &Cx<'_>, call: &Call) -> Result<DomainRecord, Refused> {
    let (domain, on) = (call.arguments.text("domain")?, call.arguments.text("to")? == "on");
    let mut record = cx.shard.domains.get(domain).cloned().ok_or_else(|| no_domain(domain))?;
    record.set(switch(&call.arguments)?.name, on);
    Ok(record)
}

fn store(cx: &mut Cx<'_>, call: &Call, domain: &str, change: Change) {
    let id = call.id;
    let slot = cx.shard.settings.slot_key.slot(domain);
    let then = move |cx: &mut Cx<'_>, answer| {
        let result = match answer {
            Answer::Applied => Ok(Done::did("", "stored")),
            Answer::Failed(cause) => Err(storage_failed(&cause.to_string())),
            other => Err(storage_failed(&format!("it answered {other:?}"))),
        };
        super::answer(cx, id, result);
    };
    cx.ask(slot, Ask::Apply { changes: vec![change] }, Box::new(then));
}

fn list_accounts(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (id, domain) = (call.id, call.arguments.text("domain")?.to_owned());
    let slot = cx.shard.settings.slot_key.slot(&domain);
    let after = call.arguments.after.as_deref().and_then(|after| BareJid::parse(after).ok());
    let ask = Ask::ListAccounts { domain, after, limit: limits::COMMAND_PAGE };
    let then = move |cx: &mut Cx<'_>, answer| {
        let result = match answer {
            Answer::Accounts(accounts) => {
                let row = |jid: &BareJid| Map::from_iter([("account".to_owned(), Json::from(jid.as_str()))]);
                Ok(Done::rows(accounts.iter().map(row).collect()))
            }
            Answer::Failed(cause) => Err(storage_failed(&cause.to_string())),
            _ => Err(storage_failed("an answer to another question")),
        };
        super::answer(cx, id, result);
    };
    cx.ask(slot, ask, Box::new(then));
    Ok(None)
}

// ---- every shard ------------------------------------------------------------------------------------

fn delete_account(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let jid = call.arguments.account("account")?;
    provision::remove(cx, jid.clone(), super::user::report(call.id, jid, "deleted"));
    Ok(None)
}

#[expect(clippy::needless_pass_by_value, reason = "the type of every command's function")]
fn take_add(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    take(cx, DomainRecord::new(domain));
    Ok(Some(Done::did(domain, "added")))
}

#[expect(clippy::needless_pass_by_value, reason = "the type of every command's function")]
fn take_set(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let record = with_switch(cx, &call)?;
    let domain = record.domain.clone();
    take(cx, record);
    Ok(Some(Done::did(domain, "set")))
}

#[expect(clippy::needless_pass_by_value, reason = "the type of every command's function")]
fn take_configured(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    if let Some(record) = as_configured(cx, &call)? {
        take(cx, record);
    }
    Ok(Some(Done::did(domain, "configured")))
}

fn take(cx: &mut Cx<'_>, record: DomainRecord) {
    let domain = record.domain.clone();
    cx.shard.domains.put(record);
    edges::announce_domain(cx, &domain);
}

#[expect(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn take_clear_login(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    edges::set_clear_login(cx, call.arguments.switch("clear_login"));
    Ok(Some(Done::did("", "set")))
}

/// The domain's streams end at the edges with `host-gone` (RFC 6120 §4.9.3.5), its sessions here, behind
/// those that end already; whoever saw them learns that they are gone.
#[expect(clippy::needless_pass_by_value, reason = "the type of every command's function")]
fn take_remove(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    cx.shard.domains.remove(domain);
    edges::domain_gone(cx, domain);
    let of = cx.shard.sessions.iter().filter(|(_, session)| session.jid.domainpart() == domain);
    let ending: Vec<_> = of.map(|(index, session)| (SessionKey(index), session.generation, "domain removed")).collect();
    cx.shard.ending.extend(ending);
    cx.out.wake_at(cx.now.mono_ms);
    Ok(Some(Done::did(domain, "removed")))
}

#[expect(clippy::needless_pass_by_value, reason = "the type of every command's function")]
fn count_sessions(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    let details = Map::from_iter([("sessions".to_owned(), Json::from(sessions_of(cx, domain)))]);
    Ok(Some(Done::Did(Did { details, ..did(domain, "counted") })))
}

fn sessions_of(cx: &Cx<'_>, domain: &str) -> usize {
    cx.shard.sessions.iter().filter(|(_, session)| session.jid.domainpart() == domain).count()
}

// ---- questions ----------------------------------------------------------------------------------------

fn switched(record: &DomainRecord, on: bool) -> Json {
    SWITCHES.iter().filter(|switch| switch.is_on(record) == on).map(|switch| Json::from(switch.name)).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn list(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let row = |record: &DomainRecord| {
        Map::from_iter([
            ("domain".to_owned(), Json::from(record.domain.as_str())),
            ("on".to_owned(), switched(record, true)),
        ])
    };
    let behind = |record: &&DomainRecord| call.arguments.after.as_ref().is_none_or(|after| record.domain > *after);
    let most = usize::try_from(limits::COMMAND_PAGE).unwrap_or(usize::MAX);
    let page: Vec<&DomainRecord> = cx.shard.domains.iter().filter(behind).take(most).collect();
    let next = page.last().filter(|_| page.len() == most).map(|last| last.domain.clone());
    Ok(Some(Done::Rows(Rows { rows: page.into_iter().map(row).collect(), next })))
}

#[expect(clippy::needless_pass_by_value, reason = "the type of every command's function")]
fn show(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let domain = call.arguments.text("domain")?;
    let record = cx.shard.domains.get(domain).ok_or_else(|| no_domain(domain))?;
    Ok(Some(Done::Record(Map::from_iter([
        ("domain".to_owned(), Json::from(domain)),
        ("sessions".to_owned(), Json::from(sessions_of(cx, domain))),
        ("accounts_loaded".to_owned(), Json::from(cx.shard.accounts.of_domain(domain))),
        ("on".to_owned(), switched(record, true)),
        ("off".to_owned(), switched(record, false)),
    ]))))
}
