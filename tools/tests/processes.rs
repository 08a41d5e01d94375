//! Starting, stopping, dying: `hearth` as its operator sees it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{Hearth, Options, eventually, send_signal, wait};
use hearth_tools::client::{Client, Server, Tls};
use hearth_tools::xml::{CLIENT, Item, STREAM};
use signal_hook::consts::{SIGINT, SIGKILL, SIGTERM};
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

const NS_DELAY: &str = "urn:xmpp:delay";

/// Runs `hearth` with these arguments to its end: exit code, what it said, what it complained of.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hearth starts");
    let status = wait(&mut child);
    let read = |from: Option<&mut dyn Read>| {
        let mut text = String::new();
        from.expect("piped").read_to_string(&mut text).expect("text");
        text
    };
    let said = read(child.stdout.as_mut().map(|s| s as &mut dyn Read));
    let complained = read(child.stderr.as_mut().map(|s| s as &mut dyn Read));
    (status.code(), said, complained)
}

fn alive(pid: i32) -> bool {
    // A zombie whose parent is gone too is reaped at once; one whose parent lives is dead all the same.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// Text of the next message, which must be one.
fn body(client: &mut Client) -> String {
    let message = client.receive_element().expect("a message");
    message.child(CLIENT, "body").unwrap_or_else(|| panic!("no message: {message}")).text()
}

#[test]
fn a_signal_stops_everything_and_tells_the_clients() {
    for signal in [SIGINT, SIGTERM] {
        let hearth = Hearth::start(&Options::default());
        hearth.add("ada@example.org");
        let mut ada = hearth.login("ada", "desk");
        let parts = [hearth.part("core").expect("a core"), hearth.part("edge").expect("an edge")];
        let watch = std::thread::spawn(move || ada.receive_until_closed());
        let (status, data, folder) = hearth.end(signal);
        assert_eq!(status.code(), Some(0));
        // RFC 6120 §4.9.3.20.
        let items = watch.join().expect("no panic").expect("the stream ends");
        let [.., Item::Element(error), Item::Close] = items.as_slice() else { panic!("{items:?}") };
        assert!(error.is(STREAM, "error"), "{error}");
        assert_eq!(error.children().next().map(|c| c.name.as_str()), Some("system-shutdown"));
        assert!(!parts.into_iter().any(alive), "a part goes on");
        let left = |name: &str| data.join(name).exists();
        assert!(!left("control.sock") && !left("link.sock") && left("hearth.redb"));
        // What was stored is there again.
        let again = Hearth::start_in(data, folder, &Options::default());
        again.login("ada", "desk");
    }
}

#[test]
fn it_says_what_is_wrong_and_with_which_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("text");
    let file = folder.path().join("a file");
    std::fs::write(&file, "x").expect("written");
    let in_file = file.join("data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let rows: [(&[&str], i32, &str); 9] = [
        (&["--frob"], 2, "--frob"),
        (&["--c2s-port", "high"], 2, "c2s-port"),
        (&["--data", data, "--domain", "Ex@mple"], 3, "Ex@mple"),
        (&["--data", data, "--event-loops", "0"], 3, "--event-loops 0"),
        (&["--data", data, "--core-shards", "0"], 3, "shards = 0"),
        (&["--data", data, "--listen", "127.0.0.1", "--c2s-port", &port, "--c2s-tls-port", "0"], 4, "in use"),
        (&["--data", data, "--listen", "192.0.2.1", "--c2s-port", "0", "--c2s-tls-port", "0"], 4, "192.0.2.1"),
        (&["--data", in_file.to_str().expect("text")], 5, "a file"),
        (&["--data", file.to_str().expect("text")], 5, "a file"),
    ];
    for (arguments, code, says) in rows {
        let (status, said, complained) = run(arguments);
        assert_eq!(status, Some(code), "{arguments:?}: {complained}");
        assert!(complained.starts_with("hearth: ") && complained.contains(says), "{arguments:?}: {complained}");
        assert_eq!(complained.lines().count(), 1, "{arguments:?}: {complained}");
        assert_eq!(said, "", "{arguments:?}");
    }
    assert!(!Path::new(data).join("control.sock").exists());
}

#[test]
fn two_on_one_folder_do_not_go_together() {
    let hearth = Hearth::start(&Options::default());
    let data = hearth.data.to_str().expect("text").to_owned();
    let (status, _, complained) = run(&["--data", &data, "--c2s-port", "0", "--c2s-tls-port", "0"]);
    assert_eq!(status, Some(5), "{complained}");
    assert!(complained.contains("in use") && complained.lines().count() == 1, "{complained}");
    assert!(hearth.ctl(&["status"], "").status.success(), "the first one goes on");
}

#[test]
fn help_says_what_there_is() {
    let (status, said, _) = run(&["--help"]);
    assert_eq!(status, Some(0));
    for word in ["--domain", "--allow-clear-login", "Ctrl-C", "in use", "Examples:"] {
        assert!(said.contains(word), "{word}");
    }
    let (status, said, _) = run(&["ctl", "--help"]);
    assert!(status == Some(0) && said.contains("user add"), "{said}");
}

#[test]
fn children_do_not_outlive_a_killed_parent() {
    let hearth = Hearth::start(&Options::default());
    let parts = [hearth.part("core").expect("a core"), hearth.part("edge").expect("an edge")];
    let (status, ..) = hearth.end(SIGKILL);
    assert_eq!(status.code(), None);
    eventually("the parts end", || (!parts.into_iter().any(alive)).then_some(()));
}

/// What the core has logged was promised: it is there after the worst.
#[test]
fn a_killed_core_loses_nothing_that_was_logged() {
    let hearth = Hearth::start(&Options::default());
    hearth.add("ada@example.org");
    hearth.add("grace@example.org");
    let mut ada = hearth.login("ada", "desk");
    const MESSAGES: usize = 300;
    for round in 0..3 {
        for number in 0..MESSAGES {
            let text = format!("<message type='chat' to='grace@example.org'><body>{round}-{number}</body></message>");
            ada.send(&text).expect("sends");
        }
        let logged = || {
            let status = hearth.ctl(&["status", "--json"], "");
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            (status["messages_logged"].as_u64()? >= MESSAGES as u64).then_some(())
        };
        eventually("all messages logged", logged);
        let core = hearth.part("core").expect("a core");
        send_signal(core, SIGKILL);
        eventually("another core", || hearth.part("core").filter(|pid| *pid != core));
        eventually("it answers", || hearth.ctl(&["status"], "").status.success().then_some(()));
        ada = eventually("ada logs in again", || hearth.try_login("ada", "desk").ok());
    }
    assert!(hearth.log().contains("the core died (signal 9): starting it again"), "{}", hearth.log());
    let mut grace = hearth.login("grace", "lab");
    grace.send("<presence/>").expect("sends");
    let own = grace.receive_element().expect("her presence");
    assert!(own.is(CLIENT, "presence"), "{own}");
    for round in 0..3 {
        for number in 0..MESSAGES {
            let message = grace.receive_element().unwrap_or_else(|e| panic!("{round}-{number}: {e}"));
            assert!(message.child(NS_DELAY, "delay").is_some(), "{message}");
            let text = message.child(CLIENT, "body").map(|body| body.text());
            assert_eq!(text, Some(format!("{round}-{number}")));
        }
    }
    // And nothing twice.
    grace.send("<message to='grace@example.org/lab'><body>end</body></message>").expect("sends");
    assert_eq!(body(&mut grace), "end");
}

#[test]
fn a_killed_edge_comes_back_and_its_clients_are_gone_for_others() {
    let (port, tls_port) = (free_port(), free_port());
    let ports = [port.to_string(), tls_port.to_string()];
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let options = Options { domain: "example.org", arguments: &[] };
    // Fixed ports, so that it comes back where it was.
    let mut child = Command::new(env!("CARGO_BIN_EXE_hearth"))
        .args([
            "--listen",
            "127.0.0.1",
            "--domain",
            options.domain,
            "--c2s-port",
            &ports[0],
            "--c2s-tls-port",
            &ports[1],
        ])
        .arg("--data")
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("hearth starts");
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearthctl"));
        command.arg("--data").arg(&data).args(arguments).stdin(Stdio::null()).output().expect("hearthctl runs")
    };
    let server = Server::new(
        SocketAddr::from(([127, 0, 0, 1], port)),
        options.domain,
        Tls::Starttls(data.join("tls/self-signed.pem")),
    );
    let sessions = || String::from_utf8(ctl(&["sessions", "list"]).stdout).expect("text");
    let password = eventually("an account", || {
        let made = ctl(&["user", "add", "ada@example.org", "--generate", "--json"]);
        serde_json::from_slice::<serde_json::Value>(&made.stdout).ok()?["password"].as_str().map(str::to_owned)
    });
    let login = || Client::login(&server, "ada", &password, Some("desk"));
    let mut ada = eventually("ada logs in", || login().ok());
    assert!(sessions().contains("ada@example.org/desk"));
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).expect("children");
    let edge = children
        .split_whitespace()
        .find(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("\0edge\0")))
        .and_then(|pid| pid.parse().ok())
        .expect("an edge");
    send_signal(edge, SIGKILL);
    assert!(ada.receive_until_closed().expect("the connection ends").is_empty());
    eventually("its session ends", || sessions().is_empty().then_some(()));
    eventually("ada logs in again", || login().ok());
    send_signal(i32::try_from(child.id()).expect("a process id"), SIGTERM);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_part_that_dies_again_and_again_ends_it() {
    let hearth = Hearth::start(&Options::default());
    let mut last = 0;
    for _ in 0..5 {
        last = eventually("a core", || hearth.part("core").filter(|pid| *pid != last));
        send_signal(last, SIGKILL);
    }
    let log = eventually("it gives up", || Some(hearth.log()).filter(|log| log.contains("giving up")));
    assert_eq!(log.matches("starting it again").count(), 4, "{log}");
    let (status, ..) = hearth.end(SIGTERM);
    assert_eq!(status.code(), Some(8));
}
