//! What both daemons tell whoever collects figures, and whether the dashboard asks for anything else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use hearth_connmgr::config::{Config as EdgeConfig, CoreAddress, Listener, ListenerTls, SelfSigned};
use hearth_core::config::Config as CoreConfig;
use hearth_core::control::Request;
use hearth_core::runtime;
use hearth_tools::client::{Client, Server, Tls};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Every sample of a page, by name and labels; the page is OpenMetrics to the letter.
fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let body = body.strip_suffix("# EOF\n").expect("the end");
    let (mut samples, mut families, mut family, mut kind) = (BTreeMap::new(), BTreeSet::new(), "", "");
    for line in body.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            (family, kind) = declared.split_once(' ').unwrap();
            assert!(families.insert(family), "{family} stands twice");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.strip_prefix(family).is_some_and(|text| text.len() > 5), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} within {family}"));
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                _ => &["_bucket", "_count", "_sum"],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{sample} stands twice");
        }
    }
    samples
}

/// Names of figures in the dashboard's expressions.
fn asked_for(dashboard: &str) -> BTreeSet<String> {
    let json: Value = serde_json::from_str(dashboard).unwrap();
    let mut expressions = Vec::new();
    let mut look = vec![&json];
    while let Some(value) = look.pop() {
        match value {
            Value::Object(fields) => {
                expressions.extend(fields.get("expr").and_then(Value::as_str));
                look.extend(fields.values());
            }
            Value::Array(values) => look.extend(values),
            _ => {}
        }
    }
    assert!(expressions.len() >= 12, "{}", expressions.len());
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned).collect()
    };
    let words = expressions.iter().flat_map(|expression| words(expression));
    words.filter(|word| word.starts_with("hearth_") || word.starts_with("process_")).collect()
}

#[test]
fn both_daemons_count_what_clients_do_and_the_dashboard_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let core = CoreConfig {
        data: folder.path().join("data"),
        clear_login: true,
        metrics: Some(any_port()),
        ..CoreConfig::default()
    };
    let stop_core = runtime::StopHandle::new();
    let (tell, told) = mpsc::channel();
    let core_thread = thread::spawn({
        let stop = stop_core.clone();
        move || runtime::run(&core, |ready| tell.send(ready.clone()).unwrap(), &stop).unwrap()
    });
    let ready = told.recv().unwrap();
    let edge = EdgeConfig {
        core: Some(CoreAddress::Unix(ready.link_unix.clone().unwrap())),
        listeners: vec![Listener {
            address: any_port(),
            tls: ListenerTls::Starttls,
            allow_clear_login: true,
            proxy_from: Vec::new(),
        }],
        self_signed: SelfSigned { folder: folder.path().join("tls"), domains: vec!["localhost".to_owned()] },
        metrics: Some(any_port()),
        ..EdgeConfig::default()
    };
    let stop_edge = hearth_connmgr::StopHandle::new();
    let (tell, told) = mpsc::channel();
    let edge_thread = thread::spawn({
        let stop = stop_edge.clone();
        move || hearth_connmgr::run(edge, |ready| tell.send(ready.clone()).unwrap(), stop)
    });
    let edge = told.recv().unwrap();
    let (at_core, at_edge) = (ready.metrics.unwrap(), edge.metrics.unwrap());
    let before = (scrape(at_core), scrape(at_edge));

    for account in ["ada@localhost", "grace@localhost"] {
        let parameters = json!({"account": account, "password": "secret"});
        let request = Request::new("user add", parameters.as_object().cloned().unwrap());
        let mut stream = UnixStream::connect(&ready.control).unwrap();
        writeln!(stream, "{}", serde_json::to_string(&request).unwrap()).unwrap();
        BufReader::new(stream).read_line(&mut String::new()).unwrap();
    }
    let server = Server::new(*edge.addresses.first().unwrap(), "localhost", Tls::Clear);
    let mut ada = Client::login(&server, "ada", "secret", Some("desk")).unwrap();
    let mut grace = Client::login(&server, "grace", "secret", Some("lab")).unwrap();
    for n in 0..10 {
        ada.send(&format!("<message to='grace@localhost/lab' type='chat' id='{n}'><body>x</body></message>")).unwrap();
        while grace.receive_element().unwrap().name != "message" {}
    }
    // An edge publishes once a second.
    let until = Instant::now() + Duration::from_secs(10);
    while scrape(at_edge).get("hearth_edge_sessions") != Some(&2.0) {
        assert!(Instant::now() < until, "two sessions");
        thread::sleep(Duration::from_millis(100));
    }
    let after = (scrape(at_core), scrape(at_edge));

    let value = |samples: &BTreeMap<String, f64>, name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(value(&after.0, "hearth_sessions{state=\"attached\"}"), 2.0);
    assert_eq!(value(&after.0, "hearth_messages_logged_total"), 10.0);
    assert_eq!(value(&after.0, "hearth_storage_ill"), 0.0);
    assert!(value(&after.0, "hearth_storage_appends_commit_seconds_count") >= 1.0);
    assert!(value(&after.0, "hearth_storage_appends_commit_seconds_sum") > 0.0);
    assert!(value(&after.0, "hearth_link_credit_bytes") > 0.0);
    assert!((0.0..1e6).contains(&value(&after.0, "hearth_shard_inbox{shard=\"0\"}")));
    assert!((0.0..1e6).contains(&value(&after.0, "hearth_shard_outbox_bytes")));
    let round_trips = value(&after.1, "hearth_link_round_trip_seconds_count");
    let mean_s = value(&after.1, "hearth_link_round_trip_seconds_sum") / round_trips;
    assert!(round_trips >= 1.0 && mean_s > 1e-6 && mean_s < 3.0, "{round_trips} round trips of {mean_s} s");
    assert_eq!(value(&after.1, "hearth_edge_connections_held_by_link"), 0.0);
    assert!((0.0..1e6).contains(&value(&after.1, "hearth_edge_link_waiting_bytes")));
    assert!(value(&after.1, "hearth_edge_stanzas_received_total") >= 10.0);
    assert!(value(&after.1, "hearth_edge_stanzas_sent_total") >= 10.0);
    assert_eq!(value(&after.1, "hearth_edge_connections_accepted_total"), 2.0);
    assert!(value(&after.1, "hearth_edge_links_up") >= 1.0);
    assert!(value(&after.1, "hearth_edge_certificate_expiry_timestamp_seconds{domain=\"localhost\"}") > 1.7e9);
    for (before, after) in [(&before.0, &after.0), (&before.1, &after.1)] {
        let counts = |name: &&String| name.ends_with("_total") || name.contains("_bucket") || name.ends_with("_count");
        for name in before.keys().filter(counts) {
            assert!(value(after, name) >= value(before, name), "{name} went back");
        }
    }

    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/grafana/hearth.json");
    let served: BTreeSet<&str> =
        after.0.keys().chain(after.1.keys()).map(|name| name.split('{').next().unwrap()).collect();
    for name in asked_for(&std::fs::read_to_string(dashboard).unwrap()) {
        assert!(served.contains(name.as_str()), "the dashboard asks for {name}");
    }

    drop((ada, grace));
    stop_edge.stop();
    edge_thread.join().unwrap().unwrap();
    stop_core.stop();
    core_thread.join().unwrap();
    assert!(TcpStream::connect(at_edge).is_err(), "the edge's figures end with it");
}
