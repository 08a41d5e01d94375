//! Clients that give their server ten seconds to answer, and a core that is away for longer than that. How long is
//! `HEARTH_OUTAGE_S`, default 12; the promise is made for 60.

#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use hearth_connmgr::config::{Config as EdgeConfig, CoreAddress, Listener, ListenerTls};
use hearth_core::commands::{Done, Reply};
use hearth_core::config::Config as CoreConfig;
use hearth_core::control::Request;
use hearth_core::runtime::{self, Ready, StopHandle};
use hearth_tools::client::{Client, Server, Tls};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a client waits for its server.
const PATIENCE: Duration = Duration::from_secs(10);

fn start(config: &CoreConfig) -> (Ready, StopHandle, JoinHandle<()>) {
    let (stop, config) = (StopHandle::new(), config.clone());
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn({
        let stop = stop.clone();
        move || {
            runtime::run(&config, |ready| tell.send(ready.clone()).expect("the test waits"), &stop)
                .expect("it ends well");
        }
    });
    (told.recv().expect("the core starts"), stop, thread)
}

fn add_account(ready: &Ready, account: &str) {
    let parameters = json!({"account": account, "password": "secret"});
    let request = Request::new("user add", parameters.as_object().cloned().expect("an object"));
    let mut stream = UnixStream::connect(&ready.control).expect("the control socket is there");
    writeln!(stream, "{}", serde_json::to_string(&request).expect("JSON")).expect("it takes a line");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("it answers");
    let reply: Reply = serde_json::from_str(&answer).expect("with a reply");
    assert_eq!(reply, Reply::Ok(Done::did(account, "added")));
}

/// Says something that any server answers, and waits for that answer as long as a client does.
fn is_answered(client: &mut Client, question: &str, answer: impl Fn(&hearth_tools::xml::Element) -> bool) {
    let begun = Instant::now();
    client.send(question).expect("the socket is there");
    while !answer(&client.receive_element().expect("an answer")) {}
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn clients_of_little_patience_survive_a_core_that_is_away_for_longer() {
    let seconds = std::env::var("HEARTH_OUTAGE_S").map_or(12, |text| text.parse().expect("HEARTH_OUTAGE_S: seconds"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let core = CoreConfig { data: folder.path().join("data"), clear_login: true, ..CoreConfig::default() };
    let (ready, stop_core, core_thread) = start(&core);
    let edge = EdgeConfig {
        core: Some(CoreAddress::Unix(ready.link_unix.clone().expect("it listens"))),
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
        add_account(&ready, account);
    }

    // Ada counts (XEP-0198), Grace does not.
    let mut ada = Client::login(&server, "ada", "secret", Some("desk")).expect("ada logs in");
    ada.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>").expect("sent");
    assert_eq!(ada.receive_element().expect("an answer").name, "enabled");
    let mut grace = Client::login(&server, "grace", "secret", Some("lab")).expect("grace logs in");
    stop_core.stop();
    core_thread.join().expect("the core ends");

    let message = |to: &str, id: u64| format!("<message to='{to}' type='chat' id='m{id}'><body>{id}</body></message>");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut said = 0u64;
    while Instant::now() < end {
        said += 1;
        ada.send(&message("grace@localhost/lab", said)).expect("the socket is there");
        // What nobody has stored is not acknowledged, but the server is there.
        is_answered(&mut ada, "<r xmlns='urn:xmpp:sm:3'/>", |answer| {
            assert_ne!(answer.attr("h"), Some(said.to_string().as_str()));
            answer.name == "a"
        });
        let ping = format!("<iq type='get' id='p{said}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
        is_answered(&mut grace, &ping, |answer| answer.attr("id") == Some(format!("p{said}").as_str()));
        thread::sleep(Duration::from_secs(2));
    }

    let (_, stop_core, core_thread) = start(&core);
    for id in 1..=said {
        let got = grace.receive_element().expect("what was said meanwhile");
        assert_eq!(got.attr("id"), Some(format!("m{id}").as_str()));
    }
    is_answered(&mut ada, "<r xmlns='urn:xmpp:sm:3'/>", |answer| answer.attr("h") == Some(said.to_string().as_str()));
    stop_edge.stop();
    edge_thread.join().expect("the edge ends").expect("well");
    stop_core.stop();
    core_thread.join().expect("the core ends");
}
