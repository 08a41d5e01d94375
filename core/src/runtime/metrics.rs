//! The core's figures for whoever collects them (OpenMetrics; `hearth_link::metrics`): counted by the shards, asked of them
//! like a command when somebody looks.

use super::control_socket::Control;
use super::spawn;
use crate::commands::{Call, Did, Done, Refused};
use crate::config::CoreError;
use crate::cx::Cx;
use hearth_link::metrics::{Kind, Page, Stop, Times};
use hearth_storage::{COMMIT_BOUNDS_MS, Condition};
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Name in the answer of the shards, figure, kind, meaning. Those of one figure stand together, each with its own `state`.
const FIGURES: &[(&str, &str, &str, Kind, &str)] = &[
    ("attached", "hearth_sessions", "attached", Kind::Gauge, SESSIONS),
    ("parked", "hearth_sessions", "parked", Kind::Gauge, SESSIONS),
    ("resuming", "hearth_sessions", "resuming", Kind::Gauge, SESSIONS),
    ("expected", "hearth_sessions", "expected", Kind::Gauge, SESSIONS),
    ("logins", "hearth_logins_under_way", "", Kind::Gauge, "Sockets that log in or have not bound a resource yet."),
    ("accounts", "hearth_accounts_loaded", "", Kind::Gauge, "Accounts in memory."),
    ("links", "hearth_links", "", Kind::Gauge, "Links of edges that are up."),
    (
        "link_credit",
        "hearth_link_credit_bytes",
        "",
        Kind::Gauge,
        "Bytes that the edges still take, of all links together.",
    ),
    ("link_waiting", "hearth_sessions_held_by_link", "", Kind::Gauge, "Sessions that wait for credit of their link."),
    (
        "outbox",
        "hearth_shard_outbox_bytes",
        "",
        Kind::Gauge,
        "Bytes under way between shards that the receivers have not handled.",
    ),
    (
        "under_way",
        "hearth_stanzas_under_way_bytes",
        "",
        Kind::Gauge,
        "Bytes of clients' stanzas that are received and not settled.",
    ),
    ("held", "hearth_stanzas_held_bytes", "", Kind::Gauge, "Bytes of stanzas that are held for sessions."),
    ("records", "hearth_session_records_due", "", Kind::Gauge, "Session records that wait to be stored or removed."),
    ("stanzas_in", "hearth_stanzas_received", "", Kind::Counter, "Stanzas of clients."),
    ("stanzas_out", "hearth_stanzas_sent", "", Kind::Counter, "Stanzas to clients, a multicast counted once."),
    (
        "presence_recipients",
        "hearth_presence_recipients",
        "",
        Kind::Counter,
        "Addresses that presence of clients went to.",
    ),
    (
        "messages_logged",
        "hearth_messages_logged",
        "",
        Kind::Counter,
        "Messages that are durable in their recipient's log.",
    ),
    (
        "storage_ill",
        "hearth_storage_ill",
        "",
        Kind::Gauge,
        "Shards that refuse what needs the disk: it is slow, full or failing.",
    ),
];

const SESSIONS: &str =
    "Sessions: with a socket, without one until resumed, about to be resumed, expected back from the core before.";

/// Takes the address.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, CoreError> {
    if !address.ip().is_loopback() {
        tracing::warn!(event = "metrics_open", %address, next = "see that only your collector can connect there");
    }
    TcpListener::bind(address).map_err(|cause| CoreError::Listen { address: address.to_string(), cause })
}

/// Serves the figures on a thread of its own.
pub(super) fn start(listener: TcpListener, control: Control, turns: Vec<Arc<Times>>) -> Result<Stop, CoreError> {
    let stop = Stop::of(&listener).map_err(|cause| CoreError::os("serve figures", cause))?;
    let asked = stop.clone();
    // Ends with the process at the latest: it holds nothing that must be closed.
    spawn("metrics".to_owned(), move || {
        hearth_link::metrics::serve(&listener, &asked, || page(&control, &turns));
        Ok(())
    })?;
    Ok(stop)
}

/// The page; `None` while the shards do not answer.
fn page(control: &Control, turns: &[Arc<Times>]) -> Option<String> {
    let Ok(Done::Did(answer)) = control.ask_all(figures) else { return None };
    let mut page = Page::new();
    let mut before = "";
    for (field, name, state, kind, help) in FIGURES {
        let value = answer.details.get(*field).and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        if state.is_empty() {
            page.single(name, *kind, help, value);
            continue;
        }
        if before != *name {
            page.family(name, *kind, help);
            before = name;
        }
        page.sample(name, &[("state", state)], value);
    }
    page.family("hearth_shard_inbox", Kind::Gauge, "Messages of other threads that wait for a shard.");
    for (shard, mailbox) in control.shards.iter().enumerate() {
        page.sample("hearth_shard_inbox", &[("shard", &shard.to_string())], mailbox.waiting() as f64);
    }
    let lanes = control.storage.figures();
    page.family("hearth_storage_waiting", Kind::Gauge, "Questions that wait for a writing thread of the store.");
    for lane in &lanes {
        page.sample("hearth_storage_waiting", &[("lane", lane.name)], lane.waiting as f64);
    }
    let bounds = COMMIT_BOUNDS_MS.map(|ms| ms as f64 / 1e3);
    for lane in &lanes {
        let name = format!("hearth_storage_{}_commit_seconds", lane.name);
        let help = "From when the oldest question of a commit was asked to its answer.";
        page.histogram(&name, help, &bounds, &lane.commits, lane.waited_us as f64 / 1e6);
    }
    Times::write(turns, &mut page, "hearth_shard_turn_seconds", "Turns of the shards, without their waiting.");
    let uptime_s = control.clock.now().mono_ms as f64 / 1e3;
    page.single("hearth_uptime_seconds", Kind::Gauge, "Since this core was started.", uptime_s);
    page.process();
    Some(page.finish())
}

/// What one shard has counted.
#[expect(clippy::unnecessary_wraps, reason = "the type of every command's function")]
fn figures(cx: &mut Cx<'_>, _call: Call) -> Result<Option<Done>, Refused> {
    let shard = &cx.shard;
    let (parked, resuming) = (shard.parked.len(), shard.resuming.len());
    let links = || shard.links.values().filter(|link| link.up);
    let counted = json!({
        "attached": shard.sessions.len().saturating_sub(parked).saturating_sub(resuming),
        "parked": parked,
        "resuming": resuming,
        "expected": shard.recovery.as_ref().map_or(0, |recovery| recovery.expected()),
        "logins": shard.logins.len(),
        "accounts": shard.accounts.len(),
        "links": links().count(),
        "link_credit": links().map(|link| link.credit_bytes.saturating_sub(link.sent_bytes)).sum::<u64>(),
        "link_waiting": links().map(|link| link.waiting.len()).sum::<usize>(),
        "outbox": shard.outbox_bytes(),
        "under_way": shard.under_way.bytes(),
        "held": shard.held.bytes(),
        "records": shard.records_due.len().saturating_add(shard.records_gone.len()).saturating_add(shard.late.failed()),
        "stanzas_in": shard.stats.stanzas_in,
        "stanzas_out": shard.stats.stanzas_out,
        "presence_recipients": shard.stats.presence_recipients,
        "messages_logged": shard.stats.messages_logged,
        "storage_ill": usize::from(shard.storage.condition != Condition::Ok),
    });
    let details = counted.as_object().cloned().unwrap_or_default();
    Ok(Some(Done::Did(Did { details, ..Did::default() })))
}
