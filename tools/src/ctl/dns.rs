//! `hearthctl dns`: the records of a domain, as lines for its zone, each with what the world sees of it.

use super::{Exit, Failure};
use crate::dns::{self, Kind, Record};
use hearth_core::commands::{Arguments, Refused};
use serde_json::{Map, Value as Json, json};
use std::net::{IpAddr, SocketAddr};

/// A service with records of its own: RFC 6120 §3.2.1, XEP-0368 §3.
const SERVICES: [(&str, &str, u64); 2] =
    [("_xmpp-client._tcp", "port", 5222), ("_xmpps-client._tcp", "tls_port", 5223)];

/// One record, and whether it is there.
struct Row {
    record: String,
    verdict: String,
    right: bool,
}

/// Rows of the answer, and whether all are right.
pub(super) fn run(arguments: &Arguments) -> Result<(Vec<Map<String, Json>>, bool), Failure> {
    let domain = arguments.text("domain").map_err(refused)?;
    let mut hosts: Vec<&str> = arguments.texts("host");
    if hosts.is_empty() {
        hosts.push(domain);
    }
    let servers = match arguments.text_if("server") {
        Some(text) => vec![server(text)?],
        None => dns::system_servers(),
    };
    let mut rows = Vec::new();
    for (service, parameter, default) in SERVICES {
        let port = u16::try_from(arguments.number_or(parameter, default)).unwrap_or(0);
        if port > 0 {
            check_service(&servers, &format!("{service}.{domain}"), &hosts, port, &mut rows)?;
        }
    }
    for host in &hosts {
        rows.push(check_host(&servers, host)?);
    }
    let right = rows.iter().all(|row| row.right);
    let shown = |row: Row| {
        Map::from_iter([("record".to_owned(), json!(row.record)), ("verdict".to_owned(), json!(row.verdict))])
    };
    Ok((rows.into_iter().map(shown).collect(), right))
}

fn refused(refused: Refused) -> Failure {
    Failure::from(refused)
}

fn server(text: &str) -> Result<SocketAddr, Failure> {
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53));
    text.parse().ok().or_else(alone).ok_or_else(|| {
        Failure::new(Exit::BadRequest, format!("--server {text}: not an address"), "write 192.0.2.1 or 127.0.0.1:5353")
    })
}

fn ask(servers: &[SocketAddr], name: &str, kind: Kind) -> Result<Vec<Record>, Failure> {
    let failed = |error: dns::DnsError| Failure::new(Exit::Failed, error.to_string(), "try --server with another one");
    dns::ask(servers, name, kind).map_err(failed)
}

/// The records that lead to our hosts; then those that lead elsewhere.
fn check_service(
    servers: &[SocketAddr],
    name: &str,
    hosts: &[&str],
    port: u16,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let mut found = ask(servers, name, Kind::Srv)?;
    found.retain(|record| matches!(record, Record::Srv { .. }));
    let nothing = found.is_empty();
    for host in hosts {
        let ours = |record: &Record| matches!(record, Record::Srv { port: p, target, .. } if *p == port && *target == ascii(host));
        let right = found.iter().any(ours);
        found.retain(|record| !ours(record));
        let verdict = if right { "right" } else { "missing" };
        // With one priority and weight clients spread evenly.
        let record = format!("{}. 3600 IN SRV 0 5 {port} {}.", ascii(name), ascii(host));
        rows.push(Row { record, verdict: verdict.to_owned(), right });
    }
    for other in found {
        let Record::Srv { priority, weight, port, target } = other else { continue };
        let verdict = if target.is_empty() {
            "wrong: says that there is no such service"
        } else if nothing {
            "missing"
        } else {
            "leads elsewhere: take it away, or name its host with --host"
        };
        let record = format!("{}. IN SRV {priority} {weight} {port} {target}.", ascii(name));
        rows.push(Row { record, verdict: verdict.to_owned(), right: false });
    }
    Ok(())
}

/// The machine's addresses; it may not be another name of something (RFC 2782).
fn check_host(servers: &[SocketAddr], host: &str) -> Result<Row, Failure> {
    let mut found = ask(servers, host, Kind::A)?;
    found.extend(ask(servers, host, Kind::Aaaa)?);
    let alias = found.iter().find_map(|record| match record {
        Record::Alias(of) => Some(of.clone()),
        Record::Address(_) | Record::Srv { .. } => None,
    });
    let addresses: Vec<String> = found
        .iter()
        .filter_map(|record| if let Record::Address(address) = record { Some(address.to_string()) } else { None })
        .collect();
    let (verdict, right) = match (alias, addresses.is_empty()) {
        (Some(of), _) => (format!("wrong: an alias of {of}, which SRV records may not lead to"), false),
        (None, true) => ("missing".to_owned(), false),
        (None, false) => (format!("right: {}", addresses.join(", ")), true),
    };
    Ok(Row { record: format!("{}. 3600 IN A and AAAA: its addresses", ascii(host)), verdict, right })
}

fn ascii(name: &str) -> String {
    hearth_wire::jid::domain_to_ascii(name).trim_end_matches('.').to_ascii_lowercase()
}
