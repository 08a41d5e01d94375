//! Edge and core linked over loopback TCP instead of a Unix socket: several shards and event loops, a
//! login, and a message across.

#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use hearth_connmgr::config::{Config as EdgeConfig, CoreAddress, Listener, ListenerTls};
use hearth_core::commands::{Done, Reply};
use hearth_core::config::Config as CoreConfig;
use hearth_core::control::Request;
use hearth_core::runtime;
use hearth_tools::client::{Client, Server, Tls};
use hearth_tools::xml::Item;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

fn command(control: &Path, name: &str, parameters: &Value) -> Reply {
    let mut stream = UnixStream::connect(control).expect("the control socket is there");
    let request = Request::new(name, parameters.as_object().cloned().expect("an object"));
    let line = serde_json::to_string(&request).expect("a command is JSON");
    writeln!(stream, "{line}").expect("it takes a line");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("it answers");
    serde_json::from_str(&answer).expect("with a reply")
}

#[test]
fn clients_talk_over_links_of_tcp() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let core = CoreConfig {
        data: folder.path().join("data"),
        shards: 2,
        clear_login: true,
        link_unix: "".into(),
        link_tcp: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..CoreConfig::default()
    };
    let stop_core = runtime::StopHandle::new();
    let (tell, told) = mpsc::channel();
    let core_thread = thread::spawn({
        let stop = stop_core.clone();
        move || runtime::run(&core, |ready| tell.send(ready.clone()).expect("the test waits"), &stop)
    });
    let core_ready = told.recv().expect("the core starts");
    assert_eq!(core_ready.link_unix, None);

    let edge = EdgeConfig {
        event_loops: 2,
        core: Some(CoreAddress::Tcp(core_ready.link_tcp.expect("it listens on TCP"))),
        listeners: vec![Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: ListenerTls::Starttls,
            allow_clear_login: true,
            proxy_from: Vec::new(),
        }],
        self_signed: hearth_connmgr::config::SelfSigned {
            folder: folder.path().join("tls"),
            domains: vec!["localhost".to_owned()],
        },
        ..EdgeConfig::default()
    };
    let stop_edge = hearth_connmgr::StopHandle::new();
    let (tell, told) = mpsc::channel();
    let edge_thread = thread::spawn({
        let stop = stop_edge.clone();
        move || hearth_connmgr::run(edge, |ready| tell.send(ready.addresses.clone()).expect("the test waits"), stop)
    });
    let addresses = told.recv().expect("the edge starts");
    let server = Server::new(*addresses.first().expect("one listener"), "localhost", Tls::Clear);

    for account in ["ada@localhost", "grace@localhost"] {
        let parameters = json!({"account": account, "password": "secret"});
        assert_eq!(command(&core_ready.control, "user add", &parameters), Reply::Ok(Done::did(account, "added")));
    }
    let mut ada = Client::login(&server, "ada", "secret", Some("desk")).expect("ada logs in");
    let mut grace = Client::login(&server, "grace", "secret", Some("lab")).expect("grace logs in");
    ada.send("<message to='grace@localhost/lab' type='chat' id='t1'><body>over TCP</body></message>").expect("sent");
    let heard = grace.receive().expect("it comes");
    assert!(matches!(&heard, Item::Element(message) if message.attr("id") == Some("t1")), "{heard:?}");
    assert!(matches!(
        command(&core_ready.control, "status", &json!({})),
        Reply::Ok(Done::Record(status)) if status["links"] == 4 && status["sessions"] == 2
    ));

    stop_edge.stop();
    edge_thread.join().expect("it does not panic").expect("the edge stops");
    stop_core.stop();
    core_thread.join().expect("it does not panic").expect("the core stops");
}
