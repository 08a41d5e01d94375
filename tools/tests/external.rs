//! Login by certificates (SASL EXTERNAL, XEP-0178) over real TLS: a core, an edge, and certificates of every kind.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::{DEADLINE, PASSWORD};
use hearth_connmgr::config::{ClientAuthority, Config as EdgeConfig, CoreAddress, Listener, ListenerTls, SelfSigned};
use hearth_core::config::Config as CoreConfig;
use hearth_core::runtime;
use hearth_tools::client::{Client, ClientError, Identity, Server, Tls};
use hearth_tools::xml::Element;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    OtherNameValue, SanType,
};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NS_SASL2: &str = "urn:xmpp:sasl:2";
const OURS: &str = "example.org";
const OTHER: &str = "example.net";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A core and an edge with a door of each kind; `OURS` and `OTHER` take certificates of an authority each.
struct World {
    folder: tempfile::TempDir,
    core: Option<(runtime::StopHandle, JoinHandle<()>)>,
    edge: Option<(hearth_connmgr::StopHandle, JoinHandle<()>)>,
    control: PathBuf,
    doors: Vec<SocketAddr>,
    ours: Authority,
    other: Authority,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

impl World {
    fn start() -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (ours, other) = (authority("ours"), authority("other"));
        let roots = |name: &str, authority: &Authority| {
            let path = folder.path().join(name);
            std::fs::write(&path, authority.pem()).expect("written");
            path
        };
        let authorities = vec![
            ClientAuthority { domain: OURS.to_owned(), roots: roots("ours.pem", &ours) },
            ClientAuthority { domain: OTHER.to_owned(), roots: roots("other.pem", &other) },
        ];
        let link = folder.path().join("link");
        let config = CoreConfig {
            data: folder.path().join("data"),
            shards: 2,
            link_unix: link.clone(),
            ..CoreConfig::default()
        };
        let stop = runtime::StopHandle::new();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                runtime::run(&config, |ready| tell.send(ready.clone()).expect("the test waits"), &stop).expect("a core")
            }
        });
        let control = told.recv_timeout(DEADLINE).expect("the core starts").control;
        let mut world =
            World { folder, core: Some((stop, thread)), edge: None, control, doors: Vec::new(), ours, other };
        for domain in [OURS, OTHER] {
            world.ctl(&["domain", "add", domain], "");
            world.ctl(&["domain", "set", domain, "client_certificates", "on"], "");
        }
        for user in ["ada", "grace", "eve"] {
            world.ctl(&["user", "add", &format!("{user}@{OURS}"), "--password-stdin"], PASSWORD);
        }
        let listener = |tls| Listener {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls,
            allow_clear_login: false,
            proxy_from: Vec::new(),
        };
        let config = EdgeConfig {
            event_loops: 1,
            core: Some(CoreAddress::Unix(link)),
            listeners: vec![listener(ListenerTls::Starttls), listener(ListenerTls::Direct)],
            client_authorities: authorities,
            self_signed: SelfSigned { folder: world.path("tls"), domains: vec![OURS.to_owned(), OTHER.to_owned()] },
            ..EdgeConfig::default()
        };
        let stop = hearth_connmgr::StopHandle::new();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                hearth_connmgr::run(config, |ready| tell.send(ready.addresses.clone()).expect("waits"), stop)
                    .expect("an edge")
            }
        });
        world.edge = Some((stop, thread));
        world.doors = told.recv_timeout(DEADLINE).expect("the edge starts");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ctl(&self, arguments: &[&str], input: &str) {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_hearthctl"))
            .arg("--socket")
            .arg(&self.control)
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("hearthctl starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "{arguments:?}");
    }

    /// A certificate with these names, signed by an authority, changed somehow.
    fn certificate(&self, by: &Authority, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        let xmpp = |name: &&str| {
            SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], OtherNameValue::Utf8String((*name).to_owned())))
        };
        params.subject_alt_names = names.iter().map(xmpp).collect();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, by).expect("a certificate");
        let (chain, file) = (self.path("client.pem"), self.path("client.key"));
        std::fs::write(&chain, made.pem()).expect("written");
        std::fs::write(&file, key.serialize_pem()).expect("written");
        Identity { chain, key: file }
    }

    /// A stream inside TLS, by one of the doors.
    fn stream(&self, door: usize, domain: &str, identity: Option<&Identity>) -> Client {
        let trusted: PathBuf = Path::new(&self.path("tls")).join("self-signed.pem");
        let tls = if door == 0 { Tls::Starttls(trusted) } else { Tls::Direct(trusted) };
        let mut server = Server::new(self.doors[door], domain, tls);
        server.identity = identity.cloned();
        let mut client = Client::connect(&server).expect("connects");
        client.open().expect("opens");
        if door == 0 {
            client.starttls().expect("STARTTLS");
        }
        client
    }

    /// What comes of `EXTERNAL`: the account, or what it is refused for.
    fn external(&self, door: usize, identity: &Identity, authzid: &str) -> Result<String, String> {
        let mut client = self.stream(door, OURS, Some(identity));
        match client.authenticate_external(authzid) {
            Ok(()) => Ok(client.bind(Some("x")).expect("binds")),
            Err(ClientError::Refused(condition)) => Err(condition),
            Err(other) => panic!("{other}"),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.edge.take() {
            stop.stop();
            let _ = thread.join();
        }
        if let Some((stop, thread)) = self.core.take() {
            stop.stop();
            let _ = thread.join();
        }
    }
}

fn offers(client: &Client) -> [bool; 2] {
    [(NS_SASL, "mechanisms"), (NS_SASL2, "authentication")].map(|(ns, list)| {
        let list = client.features().and_then(|features| features.child(ns, list)).expect("offered");
        list.children().filter(|child| child.name == "mechanism").map(Element::text).any(|name| name == "EXTERNAL")
    })
}

#[test]
fn threat_027_028_050_a_certificate_opens_what_its_address_says_and_nothing_else() {
    let world = World::start();
    let plain = |_: &mut CertificateParams| {};
    let past = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    let future = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    let named = |name: &'static str| {
        move |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, name)
    };
    let server_only =
        |params: &mut CertificateParams| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let stranger = authority("ours"); // the same name, another key
    let (ada, grace) = ("ada@example.org", "grace@example.org");
    let many: Vec<String> = (0..17).map(|n| format!("user{n}@example.org")).chain([ada.to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for door in [0, 1] {
        // Whether it is offered, and what comes of it without and with the name of an account.
        let check =
            |what: &str, identity: Identity, offered: bool, without: Result<&str, &str>, named: Result<&str, &str>| {
                assert_eq!(offers(&world.stream(door, OURS, Some(&identity))), [offered; 2], "{what} at {door}");
                for (authzid, expected) in [("", without), (ada, named)] {
                    let seen = world.external(door, &identity, authzid);
                    assert_eq!(seen.as_deref().map_err(String::as_str), expected, "{what} at {door} as {authzid:?}");
                }
            };
        let (opens, not_offered) = (Ok("ada@example.org/x"), Err("invalid-mechanism"));
        let ours = |names: &[&str]| world.certificate(&world.ours, names, plain);
        check("good", ours(&[ada]), true, opens, opens);
        check("good, in capitals", ours(&["ADA@Example.ORG"]), true, opens, opens);
        check("two", ours(&[ada, grace]), true, Err("invalid-authzid"), opens);
        check("two, of two domains", ours(&["ada@example.net", ada]), true, opens, opens);
        check("another's", ours(&[grace]), true, Ok("grace@example.org/x"), Err("invalid-authzid"));
        check("of nobody", ours(&["nobody@example.org"]), true, Err("not-authorized"), Err("invalid-authzid"));
        check("without a name", ours(&[]), false, not_offered, not_offered);
        check("of the domain", ours(&["example.org"]), false, not_offered, not_offered);
        check("of a resource", ours(&["ada@example.org/x"]), false, not_offered, not_offered);
        check("of another domain", ours(&["ada@example.net"]), false, not_offered, not_offered);
        check("of too many", ours(&many), false, not_offered, not_offered);
        for (what, change) in
            [("expired", &past as &dyn Fn(&mut _)), ("not yet", &future), ("a server's", &server_only)]
        {
            check(what, world.certificate(&world.ours, &[ada], change), false, not_offered, not_offered);
        }
        for name in [ada, "CN=ada@example.org", "x,CN=ada@example.org", "OU=\"CN=ada@example.org,\""] {
            check(name, world.certificate(&world.ours, &[], named(name)), false, not_offered, not_offered);
        }
        check("another authority's", world.certificate(&stranger, &[ada], plain), false, not_offered, not_offered);
        // Good for its own domain, and for no address of this one.
        check("the other's", world.certificate(&world.other, &[ada], plain), false, not_offered, not_offered);
        // Whatever was shown, the password opens the account.
        let bad = world.certificate(&stranger, &[ada], plain);
        let mut client = world.stream(door, OURS, Some(&bad));
        client
            .authenticate(hearth_tools::scram::Hash::Sha256, "ada", PASSWORD, &hearth_tools::scram::Binding::None)
            .expect("logs in");
        // And beside a good one, too: what is offered is part of what SCRAM proves (XEP-0474).
        let mut client = world.stream(door, OURS, Some(&ours(&[grace])));
        client
            .authenticate(hearth_tools::scram::Hash::Sha256, "ada", PASSWORD, &hearth_tools::scram::Binding::None)
            .expect("logs in");
        assert_eq!(offers(&world.stream(door, OURS, None)), [false; 2]);
        assert_eq!(offers(&world.stream(door, OTHER, Some(&ours(&[ada])))), [false; 2], "another domain's stream");
    }
}

#[test]
fn a_certificate_of_a_disabled_account_opens_nothing_and_the_other_profile_does_the_same() {
    let world = World::start();
    let identity = world.certificate(&world.ours, &["ada@example.org"], |_| {});
    let by_sasl2 = || {
        let mut client = world.stream(0, OURS, Some(&identity));
        client
            .send(&format!("<authenticate xmlns='{NS_SASL2}' mechanism='EXTERNAL'><initial-response/></authenticate>"))
            .expect("sent");
        client.receive_element().expect("an answer").to_string()
    };
    let said = by_sasl2();
    assert!(said.contains("<success") && said.contains("ada@example.org"), "{said}");
    assert_eq!(world.external(0, &identity, "").as_deref(), Ok("ada@example.org/x"));
    world.ctl(&["user", "disable", "ada@example.org"], "");
    assert_eq!(world.external(0, &identity, ""), Err("account-disabled".to_owned()));
    let said = by_sasl2();
    assert!(said.contains("<failure") && said.contains("account-disabled"), "{said}");
    world.ctl(&["user", "enable", "ada@example.org"], "");
    // Switched off, it is offered no more, at once.
    world.ctl(&["domain", "set", OURS, "client_certificates", "off"], "");
    assert_eq!(world.external(0, &identity, ""), Err("invalid-mechanism".to_owned()));
    assert_eq!(offers(&world.stream(0, OURS, Some(&identity))), [false; 2]);
}
