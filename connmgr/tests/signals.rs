//! SIGHUP and SIGTERM, on the daemon itself with clients behind it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Core, HEADER, PATIENCE, Peer, Rules, Seen};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A daemon with a listener for clear login and one of direct TLS, and a core beside it.
struct Daemon {
    child: Child,
    clear: SocketAddr,
    direct: SocketAddr,
    log: Arc<Mutex<String>>,
    folder: tempfile::TempDir,
    core: Core,
}

impl Daemon {
    fn start(more: &str) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let core = Core::start(folder.path().join("link.sock"), Rules::default());
        std::fs::create_dir(folder.path().join("live")).unwrap();
        let config = folder.path().join("connmgr.toml");
        std::fs::write(&config, Daemon::text(&folder, more)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearth-connmgr"))
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = into.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let ready = wait("it is ready", || {
            let log = log.lock().unwrap();
            log.lines().find(|line| line.contains("\"ready\"")).map(str::to_owned)
        });
        let ports: Vec<u16> = ready
            .split("127.0.0.1:")
            .skip(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap())
            .collect();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Daemon { child, clear: address(ports[0]), direct: address(ports[1]), log, folder, core }
    }

    fn text(folder: &tempfile::TempDir, more: &str) -> String {
        format!(
            "core = 'unix:{0}/link.sock'\nevent_loops = 1\n\
             [[listen]]\naddress = '127.0.0.1:0'\ntls = 'starttls'\nallow_clear_login = true\n\
             [[listen]]\naddress = '127.0.0.1:0'\ntls = 'direct'\n{1}",
            folder.path().display(),
            more.replace("FOLDER", &folder.path().display().to_string()),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Writes another configuration and says so; waits for this in the log.
    fn reload(&self, more: &str, says: &str) {
        std::fs::write(self.path("connmgr.toml"), Daemon::text(&self.folder, more)).unwrap();
        self.reload_same(says);
    }

    fn reload_same(&self, says: &str) {
        let before = self.log.lock().unwrap().len();
        self.signal("HUP");
        wait(says, || self.log.lock().unwrap()[before..].contains(says).then_some(()));
    }

    fn bound(&self, resource: &str) -> Peer {
        let mut peer = Peer::connect(self.clear);
        peer.send(HEADER);
        peer.expect("</stream:features>");
        peer.login(resource);
        peer
    }

    /// The certificate that a client of `domain` is shown, once it is another than `but`.
    fn shown(&self, domain: &str, but: Option<&[u8]>) -> Vec<u8> {
        wait("another certificate", || certificate(self.direct, domain).filter(|shown| Some(shown.as_slice()) != but))
    }

    /// Its exit code, and how long it took.
    fn end(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let code = wait("it ends", || self.child.try_wait().unwrap()).code();
        (code, start.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", self.log.lock().unwrap());
        }
    }
}

fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE * 2;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a certificate where a folder of an ACME client has it.
fn put(daemon_folder: &std::path::Path, domain: &str, until: i32) {
    let folder = daemon_folder.join("live").join(domain);
    std::fs::create_dir_all(&folder).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![domain.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join("fullchain.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("privkey.pem"), key.serialize_pem()).unwrap();
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(sni: bool) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.enable_sni = sni;
    Arc::new(config)
}

fn certificate(address: SocketAddr, domain: &str) -> Option<Vec<u8>> {
    handshake(TcpStream::connect(address).unwrap(), domain, true)
}

/// `None` if the edge has no certificate yet.
fn handshake(mut socket: TcpStream, domain: &str, sni: bool) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = ClientConnection::new(client_config(sni), domain.to_owned().try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).ok()?;
    }
    Some(tls.peer_certificates().unwrap()[0].to_vec())
}

/// By STARTTLS, naming the domain in the stream alone.
fn certificate_by_stream(address: SocketAddr, domain: &str) -> Option<Vec<u8>> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut say = |text: &str, wanted: &str| {
        socket.write_all(text.as_bytes()).unwrap();
        let (mut got, mut byte) = (String::new(), [0]);
        while !got.ends_with(wanted) {
            assert_eq!(socket.read(&mut byte).unwrap(), 1, "{got}");
            got.push(char::from(byte[0]));
        }
    };
    say(&HEADER.replace("test.example", domain), "</stream:features>");
    say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    handshake(socket, domain, false)
}

#[test]
fn certificates_are_renewed_while_clients_stay() {
    const FILE: &str = "[certificates]\nfolder = 'FOLDER/live'\n[self_signed]\nenabled = true\nfolder = 'FOLDER/made'\n\
                        domains = []\n";
    let daemon = Daemon::start(FILE);
    let mut client = daemon.bound("desk");
    // Announced by the core, and nobody has given it a certificate: one is made.
    let made = daemon.shown("test.example", None);
    assert_eq!(certificate_by_stream(daemon.clear, "test.example"), Some(made.clone()));
    assert!(daemon.path("made/test.example/fullchain.pem").exists());
    // The ACME client has been.
    put(daemon.folder.path(), "test.example", 2060);
    put(daemon.folder.path(), "other.example", 2060);
    daemon.reload_same("\"reload\"");
    let first = daemon.shown("test.example", Some(&made));
    let other = daemon.shown("other.example", Some(&first));
    // It has been again; one is spoilt and one has run out: those that are good stay.
    put(daemon.folder.path(), "test.example", 2061);
    daemon.reload_same("\"reload\"");
    let second = daemon.shown("test.example", Some(&first));
    std::fs::write(
        daemon.path("live/other.example/privkey.pem"),
        std::fs::read(daemon.path("live/test.example/privkey.pem")).unwrap(),
    )
    .unwrap();
    daemon.reload_same("other.example/privkey.pem: expected the key of the certificate in");
    put(daemon.folder.path(), "test.example", 2020);
    daemon.reload_same("test.example/fullchain.pem: expired on 2020-01-01");
    assert_eq!(certificate(daemon.direct, "test.example"), Some(second.clone()));
    assert_eq!(certificate(daemon.direct, "other.example"), Some(other.clone()));
    assert_eq!(certificate_by_stream(daemon.clear, "test.example"), Some(second.clone()));
    // Whoever was here has noticed nothing.
    client.send("<message><body>still here</body></message>");
    daemon.core.wait("the message", |seen| matches!(seen, Seen::Stanza { xml, .. } if xml.contains("still here")));
}

#[test]
fn limits_times_and_the_log_are_taken_from_a_good_file_only() {
    const FILE: &str = "[self_signed]\nfolder = 'FOLDER/made'\n";
    let daemon = Daemon::start(FILE);
    let mut client = daemon.bound("desk");
    for (more, says) in [
        ("[timeouts]\nlogin_s = 0\n", "timeouts.login_s = 0: expected 1 to 86400"),
        ("colour = 3\n", "unknown field `colour`"),
        (
            "[[certificate]]\ndomain = 'test.example'\nchain = '/nonexistent.pem'\nkey = 'x'\n",
            "/nonexistent.pem: cannot read",
        ),
    ] {
        daemon.reload(&format!("{FILE}{more}"), says);
    }
    assert!(!daemon.log.lock().unwrap().contains("debug") && daemon.shown("test.example", None).len() > 100);
    // A stranger has a second from now on, what happens to it is told, and what cannot change is said.
    let changes =
        "[timeouts]\nlogin_s = 1\n[log]\nlevel = 'debug'\n[[listen]]\naddress = '127.0.0.1:0'\ntls = 'direct'\n";
    daemon.reload(&format!("{FILE}{changes}"), "\"restart_needed\" key=\"listen\"");
    let mut stranger = Peer::connect(daemon.clear);
    stranger.send(HEADER);
    stranger.expect("</stream:features>");
    let start = Instant::now();
    assert!(stranger.rest().contains("<connection-timeout"));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    wait("a line of debugging", || daemon.log.lock().unwrap().contains("DEBUG").then_some(()));
    client.send("<message><body>still here</body></message>");
    daemon.core.wait("the message", |seen| matches!(seen, Seen::Stanza { xml, .. } if xml.contains("still here")));
}

#[test]
fn a_stopping_edge_tells_its_clients_and_the_core() {
    let mut daemon = Daemon::start("[self_signed]\nfolder = 'FOLDER/made'\n");
    let mut clients: Vec<Peer> = (0..5).map(|n| daemon.bound(&format!("r{n}"))).collect();
    daemon.signal("TERM");
    for client in &mut clients {
        let said = client.expect("</stream:stream>");
        assert!(said.contains("<system-shutdown"), "{said}");
        client.send("</stream:stream>");
        assert_eq!(client.rest(), "");
    }
    assert!(TcpStream::connect(daemon.clear).is_err(), "nobody comes in any more");
    drop(clients);
    let (code, took) = daemon.end();
    assert!(code == Some(0) && took < Duration::from_secs(5), "{code:?} {took:?}");
    daemon.core.wait("the edge says that it drains", |seen| matches!(seen, Seen::Drained));
    assert_eq!(daemon.core.count(|seen| matches!(seen, Seen::Closed { .. })), 5);
}

/// Whoever is there is heard before those who come, though their bytes came first.
#[test]
fn threat_019_a_storm_of_newcomers_waits_for_those_who_are_there() {
    let edge = Daemon::start("[self_signed]\nfolder = 'FOLDER/made'\n");
    let mut there = edge.bound("desk");
    there.send("<presence/>");
    edge.core.wait("presence", |seen| matches!(seen, Seen::Stanza { .. }));
    let newcomers: Vec<TcpStream> = (0..1_500).map(|_| TcpStream::connect(edge.clear).unwrap()).collect();
    std::thread::sleep(Duration::from_millis(500));
    edge.signal("STOP");
    for mut newcomer in &newcomers {
        newcomer.write_all(HEADER.as_bytes()).unwrap();
    }
    there.send("<message><body>x</body></message>");
    edge.signal("CONT");
    edge.core.wait("message", |seen| matches!(seen, Seen::Stanza { .. }));
    let answered = |newcomer: &TcpStream| {
        newcomer.set_nonblocking(true).unwrap();
        newcomer.peek(&mut [0]).is_ok_and(|bytes| bytes > 0)
    };
    let before = newcomers.iter().filter(|&newcomer| answered(newcomer)).count();
    assert!(before < 750, "{before} newcomers came first");
    wait("all of them are answered", || newcomers.iter().all(answered).then_some(()));
}

#[test]
fn a_second_signal_waits_for_nobody() {
    let mut daemon = Daemon::start("[self_signed]\nfolder = 'FOLDER/made'\n");
    let mut silent = daemon.bound("desk");
    daemon.signal("TERM");
    silent.expect("<system-shutdown");
    // It does not close its side, and would be waited for.
    std::thread::sleep(Duration::from_millis(200));
    assert!(daemon.child.try_wait().unwrap().is_none());
    daemon.signal("TERM");
    let (code, took) = daemon.end();
    assert!(code == Some(0) && took < Duration::from_secs(1), "{code:?} {took:?}");
}
