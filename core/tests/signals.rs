//! SIGHUP and SIGTERM, on the daemon itself.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the world around a core has threads and clocks"
)]

use hearth_wire::codec;
use hearth_wire::ids::Slot;
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::{Hello, PREAMBLE_MAGIC, PreAuthIq, Security, ToCore, VERSION_MAX, VERSION_MIN};
use hearth_wire::to_edge::{Domain, ToEdge};
use hearth_wire::tree::{self, Builder};
use serde_json::{Value as Json, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(more: &str) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("core.toml");
        std::fs::write(&config, Daemon::text(&folder, more)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearth-core"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                into.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let daemon = Daemon { child, log, folder };
        daemon.wait_for(0, "event=\"ready\"");
        daemon
    }

    fn text(folder: &tempfile::TempDir, more: &str) -> String {
        format!("data = '{}/data'\n{more}", folder.path().display())
    }

    /// Waits for this in the log, from a place on.
    fn wait_for(&self, from: usize, says: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.log.lock().unwrap()[from..].contains(says) {
            assert!(Instant::now() < end, "never: {says}\n{}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn reload(&self, more: &str, says: &str) {
        let before = self.log.lock().unwrap().len();
        std::fs::write(self.folder.path().join("core.toml"), Daemon::text(&self.folder, more)).unwrap();
        self.signal("HUP");
        self.wait_for(before, says);
    }

    /// What `hearthctl` would get.
    fn ask(&self, command: &str, parameters: &Json) -> Json {
        let mut socket = UnixStream::connect(self.folder.path().join("data/control.sock")).unwrap();
        let line = json!({"protocol": 1, "command": command, "parameters": parameters}).to_string();
        socket.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

/// An edge's link to one shard.
struct Edge {
    socket: UnixStream,
    input: Vec<u8>,
}

impl Edge {
    fn dial(daemon: &Daemon, shard: u16) -> Edge {
        let mut socket = UnixStream::connect(daemon.folder.path().join("data/link.sock")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut hello = [&PREAMBLE_MAGIC[..], &shard.to_le_bytes()].concat();
        ToCore::Hello(Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            edge: "test",
            incarnation: 1,
            event_loop: 0,
            event_loops: 1,
            shard,
            link_credit: 1 << 20,
        })
        .encode(&mut hello);
        socket.write_all(&hello).unwrap();
        Edge { socket, input: Vec::new() }
    }

    /// Reads on until a frame is what is waited for.
    fn wait<T>(&mut self, wanted: impl Fn(&ToEdge<'_>) -> Option<T>) -> T {
        loop {
            while let Some((frame, bytes)) = codec::split(&self.input, 1 << 20).unwrap() {
                let found = ToEdge::decode(frame).unwrap().as_ref().and_then(&wanted);
                self.input.drain(..bytes);
                if let Some(found) = found {
                    return found;
                }
            }
            let mut bytes = [0; 4096];
            let read = self.socket.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "the core has closed the link");
            self.input.extend_from_slice(&bytes[..read]);
        }
    }

    /// Until the core says this of a domain.
    fn wait_for_domain(&mut self, name: &str, says: impl Fn(&Domain<'_>) -> bool) {
        self.wait(|frame| matches!(frame, ToEdge::Domain(it) if it.domain == name && says(it)).then_some(()));
    }

    /// The error that who registers gets, or nothing.
    fn register(&mut self, domain: &str, name: &str, password: &str) -> Option<String> {
        const NS: &str = "jabber:iq:register";
        let mut query = Builder::new();
        query.open(Some(NS), "query");
        query.open(Some(NS), "username").text(name).close();
        query.open(Some(NS), "password").text(password).close();
        query.close();
        let payload = &query.finish();
        let stanza = Stanza { id: Some("1"), payload, ..Stanza::new(StanzaKind::Iq, StanzaType::Set) };
        let mut frame = Vec::new();
        ToCore::PreAuthIq(PreAuthIq {
            counter: 1,
            slot: Slot::new(0).unwrap(),
            epoch: 1,
            domain,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            security: Security::Tls13,
            stanza: SharedStanza::new(&stanza).bytes(),
        })
        .encode(&mut frame);
        self.socket.write_all(&frame).unwrap();
        self.wait(|frame| match frame {
            ToEdge::PreAuthReply(reply) => {
                let stanza = Stanza::decode(reply.stanza).unwrap();
                let error = tree::children(stanza.payload).find(|child| child.name() == "error");
                Some(error.and_then(|error| error.children().next()).map(|condition| condition.name().to_owned()))
            }
            // It was let in, and another shard would make the account.
            ToEdge::Moved(_) => Some(None),
            _ => None,
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_good_file_is_taken_and_a_bad_one_changes_nothing() {
    let mut daemon = Daemon::start("");
    daemon.reload("[log]\nlevel = 'error'\n", "event=\"reload\"");
    // Not heard at the new level; refusals are.
    daemon.reload("shards = 0\n", "shards = 0: expected 1 to");
    daemon.reload("colour = 3\n[log]\nlevel = 'debug'\n", "colour");
    assert_eq!(daemon.log.lock().unwrap().matches("event=\"reload\"").count(), 1);
    let fixed = "shards = 2\nlink_tcp = '127.0.0.1:1'\n[log]\nlevel = 'info'\n[storage]\ncache_mib = 9\n";
    daemon.reload(fixed, "event=\"reloaded\"");
    for says in [
        "\"shards\" old=\"1\" new=\"2\"",
        "\"link_tcp\" old=\"none\" new=\"127.0.0.1:1\"",
        "\"storage.cache_mib\" old=\"4\"",
    ] {
        daemon.wait_for(0, &format!("event=\"restart_needed\" key={says}"));
    }
    assert!(daemon.child.try_wait().unwrap().is_none());
}

/// Every shard lives by it from then on, and edges are told.
#[test]
fn domains_and_their_rules_are_taken_from_a_good_file() {
    const A: &str = "shards = 2\n[[domains]]\nname = 'a.example'\n";
    const OPEN: &str = "registration = true\nreserved_names = ['boss']\npassword_chars_min = 12\n";
    const B: &str = "[[domains]]\nname = 'b.example'\n";
    let registers = |domain: &Domain<'_>| tree::children(domain.features_tls).any(|child| child.name() == "register");
    let daemon = Daemon::start(A);
    let mut edges = [0, 1].map(|shard| Edge::dial(&daemon, shard));
    for edge in &mut edges {
        edge.wait_for_domain("a.example", |domain| !registers(domain) && domain.features_clear.is_empty());
        assert_eq!(edge.register("a.example", "ada", "correct horse").as_deref(), Some("service-unavailable"));
    }
    // Nothing of a file with one mistake.
    for (mistake, says) in [
        (
            "registrations = true\n",
            "domains.registrations of a.example: expected name, client_certificates, log_off, registration",
        ),
        ("password_chars_min = 65\n", "domains.password_chars_min = 65 of a.example: expected 1 to 64"),
        ("reserved_names = ['Admin']\n", "domains.reserved_names: \"Admin\" of a.example: expected a name in lower"),
        ("registrations_per_hour = -1\n", "registrations_per_hour = -1"),
    ] {
        daemon.reload(&format!("{A}registration = true\n{mistake}"), says);
    }
    assert_eq!(daemon.log.lock().unwrap().matches("event=\"reload\"").count(), 0);
    daemon.reload(&format!("clear_login = true\n{A}{OPEN}{B}"), "event=\"reloaded\" domains_changed=2");
    for edge in &mut edges {
        edge.wait_for_domain("a.example", |domain| registers(domain) && !domain.features_clear.is_empty());
        edge.wait_for_domain("b.example", |domain| !registers(domain) && !domain.features_clear.is_empty());
        assert_eq!(edge.register("a.example", "boss", "correct horse").as_deref(), Some("not-acceptable"));
        assert_eq!(edge.register("a.example", "ada", "correct").as_deref(), Some("not-acceptable"));
        assert_eq!(edge.register("a.example", "ada", "correct horse"), None);
    }
    // What the file says wins, and what it names stays; it is taken out there first.
    let set = json!({"domain": "a.example", "switch": "registration", "to": "off"});
    assert!(daemon.ask("domain set", &set)["ok"]["did"]["next"][0].as_str().unwrap().contains("or SIGHUP"));
    assert_eq!(daemon.ask("domain remove", &json!({"domain": "b.example"}))["error"]["kind"], "bad_request");
    daemon.reload(&format!("{A}{OPEN}"), "event=\"reloaded\" domains_changed=1");
    daemon.wait_for(0, "event=\"domain_stays\" domain=\"b.example\"");
    for edge in &mut edges {
        edge.wait_for_domain("a.example", |domain| registers(domain) && domain.features_clear.is_empty());
    }
    assert_eq!(daemon.ask("domain remove", &json!({"domain": "b.example"}))["ok"]["did"]["subject"], "b.example");
    // It is stored: the next start has it from there.
    daemon.reload(A, "event=\"reloaded\" domains_changed=0");
    assert_eq!(
        daemon.ask("domain show", &json!({"domain": "a.example"}))["ok"]["record"]["on"],
        json!(["registration"])
    );
}

#[test]
fn a_signal_ends_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Daemon::start("");
        daemon.signal(signal);
        let start = Instant::now();
        assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
        assert!(start.elapsed() < Duration::from_secs(5), "nobody is there to wait for");
        let left = |name: &str| daemon.folder.path().join("data").join(name).exists();
        assert!(!left("control.sock") && !left("link.sock") && left("hearth.redb"));
    }
}
