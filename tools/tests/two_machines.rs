//! One core, edges elsewhere: links over TLS with a key for each edge, made, told apart and revoked.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{DEADLINE, PASSWORD, eventually};
use hearth_connmgr::config::{Config as EdgeConfig, Listener, ListenerTls, SelfSigned, Timeouts};
use hearth_core::config::Config as CoreConfig;
use hearth_core::runtime;
use hearth_tools::client::{Client, Server, Tls};
use hearth_tools::ctl::{self, Exit};
use hearth_tools::xml::Item;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

struct Core {
    folder: Option<tempfile::TempDir>,
    ready: runtime::Ready,
    stop: runtime::StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl Core {
    /// Two shards, links over TLS only.
    fn start() -> Core {
        Core::run(tempfile::tempdir().expect("a temporary folder"), SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn run(folder: tempfile::TempDir, address: SocketAddr) -> Core {
        let config = CoreConfig {
            data: folder.path().join("data"),
            shards: 2,
            clear_login: true,
            link_unix: "".into(),
            link_tls: Some(address),
            ..CoreConfig::default()
        };
        let stop = runtime::StopHandle::new();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                runtime::run(&config, |ready| tell.send(ready.clone()).expect("the test waits"), &stop)
                    .expect("the core runs");
            }
        });
        let ready = told.recv_timeout(DEADLINE).expect("the core starts");
        Core { folder: Some(folder), ready, stop, thread: Some(thread) }
    }

    /// Stops, as for an upgrade; what is on the disk is left for the next.
    fn stop(&mut self) -> tempfile::TempDir {
        self.stop.stop();
        self.thread.take().map(JoinHandle::join).expect("it runs").expect("it ends in peace");
        self.folder.take().expect("it has one")
    }

    /// `hearthctl`, and what it said.
    fn ctl(&self, words: &str) -> (Exit, String) {
        let socket = self.ready.control.display().to_string();
        let words: Vec<String> = ["--socket", &socket].into_iter().chain(words.split(' ')).map(str::to_owned).collect();
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let exit = ctl::run(&words, &mut out, &mut errors);
        out.extend(errors);
        (exit, String::from_utf8(out).expect("text"))
    }

    fn key_file(&self, name: &str) -> PathBuf {
        self.folder.as_ref().expect("it runs").path().join(name)
    }

    /// Makes a key for an edge, in a file of this name.
    fn add_edge(&self, edge: &str, file: &str) -> PathBuf {
        let path = self.key_file(file);
        let (exit, said) = self.ctl(&format!("edge add {edge} --out {}", path.display()));
        assert!(exit == Exit::Done && said.contains("link_key"), "{said}");
        path
    }

    fn add_user(&self, user: &str) {
        let socket = self.ready.control.display().to_string();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_hearthctl"))
            .args(["--socket", &socket, "user", "add", user, "--password-stdin"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("hearthctl starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), PASSWORD.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success());
    }

    /// The row of an edge.
    fn edge(&self, name: &str) -> serde_json::Value {
        let (exit, said) = self.ctl("edge list --json");
        assert_eq!(exit, Exit::Done, "{said}");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
        rows.into_iter().find(|row| row["edge"] == name).unwrap_or_default()
    }

    fn linked(&self, name: &str) -> usize {
        self.edge(name)["event_loops"].as_array().map_or(0, Vec::len)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.stop.stop();
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || joined.is_none_or(|joined| joined.is_ok()));
    }
}

struct Edge {
    address: SocketAddr,
    stop: hearth_connmgr::StopHandle,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Edge {
    /// Two event loops; its clients log in within two seconds or not at all.
    fn start(link_key: &Path) -> Edge {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = EdgeConfig {
            event_loops: 2,
            link_key: Some(link_key.to_owned()),
            listeners: vec![Listener {
                address: SocketAddr::from(([127, 0, 0, 1], 0)),
                tls: ListenerTls::Starttls,
                allow_clear_login: true,
                proxy_from: Vec::new(),
            }],
            self_signed: SelfSigned { folder: folder.path().join("tls"), domains: vec!["localhost".to_owned()] },
            timeouts: Timeouts { login_s: 2, ..Timeouts::default() },
            ..EdgeConfig::default()
        };
        let stop = hearth_connmgr::StopHandle::new();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let ready = |ready: &hearth_connmgr::Ready| tell.send(ready.addresses[0]).expect("the test waits");
                hearth_connmgr::run(config, ready, stop).expect("the edge runs");
            }
        });
        let address = told.recv_timeout(DEADLINE).expect("the edge starts");
        Edge { address, stop, thread: Some(thread), _folder: folder }
    }

    fn login(&self, user: &str) -> Result<Client, hearth_tools::client::ClientError> {
        let server = Server::new(self.address, "localhost", Tls::Clear);
        Client::login(&server, user, PASSWORD, Some("desk"))
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.stop();
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || joined.is_none_or(|joined| joined.is_ok()));
    }
}

/// A message goes from one to the other.
fn talk(from: &mut Client, to: &mut Client, jid: &str, id: &str) {
    from.send(&format!("<message to='{jid}' type='chat' id='{id}'><body>{id}</body></message>")).expect("sent");
    let heard = loop {
        match to.receive().expect("it comes") {
            Item::Element(presence) if presence.name == "presence" => {}
            heard => break heard,
        }
    };
    assert!(matches!(&heard, Item::Element(message) if message.attr("id") == Some(id)), "{heard:?}");
}

#[test]
fn users_on_two_edges_talk_and_a_revoked_edge_is_cut() {
    let core = Core::start();
    core.add_user("ada@localhost");
    core.add_user("grace@localhost");
    let (paris_key, rome_key) = (core.add_edge("paris", "paris.edge"), core.add_edge("rome", "rome.edge"));
    let (paris, rome) = (Edge::start(&paris_key), Edge::start(&rome_key));
    let mut ada = eventually("ada logs in", || paris.login("ada").ok());
    let mut grace = eventually("grace logs in", || rome.login("grace").ok());
    talk(&mut ada, &mut grace, "grace@localhost/desk", "one");
    talk(&mut grace, &mut ada, "ada@localhost/desk", "two");
    assert_eq!((core.linked("paris"), core.linked("rome")), (2, 2));
    assert_ne!(core.edge("paris")["key"], core.edge("rome")["key"]);

    // Cut at once, and told: the stream ends, and what comes again is held and turned away.
    let watch = std::thread::spawn(move || ada.receive_until_closed());
    assert_eq!(core.ctl("edge revoke paris").0, Exit::Done);
    let items = watch.join().expect("no panic").expect("the stream ends");
    let [.., Item::Element(error), Item::Close] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!(error.children().next().map(|child| child.name.as_str()), Some("reset"), "{error}");
    assert!(paris.login("ada").is_err());
    assert!(core.edge("paris")["revoked_ms"].is_u64() && core.linked("paris") == 0);
    assert_eq!(core.linked("rome"), 2);
    talk(&mut eventually("ada elsewhere", || rome.login("ada").ok()), &mut grace, "grace@localhost/desk", "three");

    // With another key it is welcome again; the old one stays shut.
    let new_key = core.add_edge("paris", "paris-2.edge");
    let again = Edge::start(&new_key);
    let mut ada = eventually("ada logs in again", || again.login("ada").ok());
    talk(&mut ada, &mut grace, "grace@localhost/desk", "four");
    assert!(paris.login("ada").is_err());
}

/// The core goes first, as for an upgrade: clients keep their connection and their sessions, and what they had sent is
/// there afterwards.
#[test]
fn clients_of_its_edges_outlive_a_core() {
    let mut core = Core::start();
    core.add_user("ada@localhost");
    core.add_user("grace@localhost");
    let edge = Edge::start(&core.add_edge("paris", "paris.edge"));
    let mut ada = eventually("ada logs in", || edge.login("ada").ok());
    let mut grace = eventually("grace logs in", || edge.login("grace").ok());
    for client in [&mut ada, &mut grace] {
        client.send("<presence/>").expect("sent");
    }
    talk(&mut ada, &mut grace, "grace@localhost/desk", "before");
    const MESSAGES: usize = 50;
    let send = |ada: &mut Client, number: usize| {
        let to = "to='grace@localhost/desk'";
        let text = format!("<message type='chat' {to} id='m{number}'><body>{number}</body></message>");
        ada.send(&text).expect("sent");
    };
    let start = std::time::Instant::now();
    let address = core.ready.link_tls.expect("links over TLS");
    (0..MESSAGES).for_each(|number| send(&mut ada, number));
    let folder = core.stop();
    assert!(start.elapsed() < std::time::Duration::from_secs(8), "not at the deadline: {:?}", start.elapsed());
    (MESSAGES..2 * MESSAGES).for_each(|number| send(&mut ada, number));
    let _next = Core::run(folder, address);
    for number in 0..2 * MESSAGES {
        let heard = loop {
            match grace.receive().expect("it comes") {
                Item::Element(message) if message.name == "message" => break message,
                Item::Element(_) => {}
                end => panic!("{end:?}"),
            }
        };
        assert_eq!(heard.attr("id"), Some(format!("m{number}").as_str()), "each once, in order: {heard}");
    }
    talk(&mut grace, &mut ada, "ada@localhost/desk", "after");
}

#[test]
fn a_key_opens_no_other_name() {
    let core = Core::start();
    core.add_user("ada@localhost");
    let (paris_key, rome_key) = (core.add_edge("paris", "paris.edge"), core.add_edge("rome", "rome.edge"));
    let rome = Edge::start(&rome_key);
    let mut ada = eventually("ada logs in", || rome.login("ada").ok());
    let forged = core.key_file("forged.edge");
    let text = std::fs::read_to_string(&paris_key).expect("a key file");
    std::fs::write(&forged, text.replace("name = \"paris\"", "name = \"rome\"")).expect("written");
    let liar = Edge::start(&forged);
    assert!(liar.login("ada").is_err());
    assert_eq!((core.linked("paris"), core.linked("rome")), (0, 2));
    ada.send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>").expect("sent");
    let answer = ada.receive().expect("rome goes on");
    assert!(matches!(&answer, Item::Element(iq) if iq.attr("id") == Some("p")), "{answer:?}");
}

#[test]
fn the_command_says_what_is_wrong_and_leaves_no_half_made_key() {
    let core = Core::start();
    let path = core.add_edge("paris", "paris.edge");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&path).expect("a file");
    let other = core.key_file("other.edge").display().to_string();
    let taken = path.display().to_string();
    for (words, exit, says) in [
        (format!("edge add paris --out {other}"), Exit::Exists, "has a key already"),
        (format!("edge add r?me --out {other}"), Exit::BadRequest, "cannot be the name"),
        (format!("edge add rome --core nowhere --out {other}"), Exit::BadRequest, "not an address to dial"),
        (format!("edge add rome --out {taken}"), Exit::Failed, "cannot write"),
        ("edge revoke rome".to_owned(), Exit::NotFound, "no edge rome"),
    ] {
        let (got, said) = core.ctl(&words);
        assert!(got == exit && said.contains(says) && said.contains("next:"), "{words}: {said}");
        assert!(!core.key_file("other.edge").exists(), "{words}");
    }
    assert_eq!(std::fs::read(&path).expect("a file"), before);
    assert!(core.edge("rome").is_null());
    // JSON for scripts, without the key itself.
    let (exit, said) = core.ctl(&format!("--json edge add rome --core core.example.org:5270 --out {other}"));
    assert!(exit == Exit::Done && !said.contains("PRIVATE"), "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["edge"], &said["file"]), (&"rome".into(), &other.into()));
    assert_eq!(said["core"], "core.example.org:5270");
}
