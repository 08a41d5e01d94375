//! The exchange from outside: vectors of the standards, forgeries, and whatever bytes may come.

mod arbitrary;
mod downgrade;
mod forged;
mod names;
mod timing;
mod tokens;

use super::*;
use std::collections::HashMap;

const SECRET: [u8; 32] = [7; 32];
const EXPORTER: &[u8] = b"0123456789abcdef0123456789abcdef";
const END_POINT: &[u8] = b"a certificate's hash, as long as it is, of 48 octets";
const UNBOUND: ChannelBinding<'_> = ChannelBinding { tls_exporter: None, tls_server_end_point: None };
const BY_EXPORTER: ChannelBinding<'_> = ChannelBinding { tls_exporter: Some(EXPORTER), ..UNBOUND };
const BY_END_POINT: ChannelBinding<'_> = ChannelBinding { tls_server_end_point: Some(END_POINT), ..UNBOUND };
const BY_BOTH: ChannelBinding<'_> =
    ChannelBinding { tls_exporter: Some(EXPORTER), tls_server_end_point: Some(END_POINT) };

/// Hands out bytes that are easy to tell apart.
struct Counting(u8);

impl Random for Counting {
    fn fill_bytes(&mut self, out: &mut [u8]) {
        out.iter_mut().for_each(|byte| {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        });
    }
}

/// Accounts and their passwords; few iterations, so that tests are quick.
struct World {
    accounts: HashMap<String, Credentials>,
    /// Of the client that asks, if its account exists.
    tokens: Vec<Token>,
    random: Counting,
}

fn credentials(password: &str, iterations: u32) -> Credentials {
    Credentials {
        generation: 1,
        sha1: Hash::Sha1.keys(password.as_bytes(), &[1; 16], iterations),
        sha256: Hash::Sha256.keys(password.as_bytes(), &[2; 16], iterations),
        sha512: Hash::Sha512.keys(password.as_bytes(), &[3; 16], iterations),
    }
}

/// One stream's exchange, its questions answered as they come.
struct Stream<'w> {
    world: &'w World,
    exchange: Exchange,
    security: Security,
    binding: ChannelBinding<'static>,
    plain_challenge: bool,
    by_token: bool,
}

impl World {
    fn new() -> World {
        let accounts = [("ada@example.org", "pencil"), ("o,=x@example.org", "ink")];
        let accounts = accounts.into_iter().map(|(jid, password)| (jid.to_owned(), credentials(password, 10)));
        World { accounts: accounts.collect(), tokens: Vec::new(), random: Counting(0) }
    }

    fn stream(&mut self, security: Security, binding: ChannelBinding<'static>) -> Stream<'_> {
        let exchange = Exchange::new(&mut self.random, &SECRET);
        Stream { world: self, exchange, security, binding, plain_challenge: false, by_token: false }
    }

    fn bound(&mut self) -> Stream<'_> {
        self.stream(Security::Tls13, BY_BOTH)
    }

    fn unbound(&mut self) -> Stream<'_> {
        self.stream(Security::Tls12, UNBOUND)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Challenge(String),
    Success(String, Option<String>),
    Failure(SaslCondition),
    /// Nothing: the exchange was over.
    Silence,
}

impl Stream<'_> {
    fn start(&mut self, mechanism: &str, initial: Option<&[u8]>) -> Seen {
        let (security, binding) = (self.security, self.binding);
        self.feed(Input::Start {
            mechanism,
            initial,
            security,
            binding,
            domain: "example.org",
            along: Along { by_token: self.by_token, ..Along::default() },
        })
    }

    fn respond(&mut self, data: impl AsRef<[u8]>) -> Seen {
        self.feed(Input::Response(data.as_ref()))
    }

    fn feed(&mut self, input: Input<'_>) -> Seen {
        let mut out = Vec::new();
        self.exchange.handle(input, &mut out);
        loop {
            assert!(out.len() <= 1, "one step at a time: {out:?}");
            let Some(output) = out.pop() else { return Seen::Silence };
            match output {
                Output::LoadTokens(account) => {
                    let known = self.world.accounts.contains_key(account.as_str());
                    let tokens = if known { self.world.tokens.as_slice() } else { &[] };
                    self.exchange.handle(Input::Tokens(tokens), &mut out);
                }
                Output::LoadCredentials(account) => {
                    let found = self.world.accounts.get(account.as_str());
                    if let (true, State::Loading(Loading::Scram(first))) =
                        (self.plain_challenge, &mut self.exchange.state)
                    {
                        first.extensions.clear();
                    }
                    self.exchange.handle(Input::Credentials(found), &mut out);
                }
                Output::Derive(task) => self.exchange.handle(Input::Derived(task.run()), &mut out),
                Output::Challenge(data) => return Seen::Challenge(String::from_utf8(data).unwrap()),
                Output::Success { account, proved } => {
                    let data = proved.data.map(|data| String::from_utf8_lossy(&data).into_owned());
                    return Seen::Success(account.to_string(), data);
                }
                Output::Failure(condition) => return Seen::Failure(condition),
            }
        }
    }
}

/// A SCRAM client that does as it is told.
pub(crate) struct Client {
    hash: Hash,
    password: &'static str,
    /// The gs2 header, comma at its end included.
    header: String,
    bare: String,
    cbind_data: Vec<u8>,
}

impl Client {
    pub(crate) fn new(hash: Hash, name: &str, password: &'static str) -> Client {
        let bare = format!("n={name},r=clientnonce");
        Client { hash, password, header: "n,,".into(), bare, cbind_data: Vec::new() }
    }

    pub(crate) fn bound(self, exporter: &[u8]) -> Client {
        self.bound_by("tls-exporter", exporter)
    }

    fn bound_by(mut self, name: &str, data: &[u8]) -> Client {
        self.header = format!("p={name},,");
        self.cbind_data = data.to_vec();
        self
    }

    fn header(mut self, header: &str) -> Client {
        self.header = header.into();
        self
    }

    pub(crate) fn first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare).into_bytes()
    }

    fn cbind(&self) -> String {
        BASE64.encode([self.header.as_bytes(), &self.cbind_data].concat())
    }

    /// The answer to a challenge, and the signature to expect.
    pub(crate) fn last(&self, challenge: &str) -> (String, String) {
        let nonce = attribute(challenge, "r=");
        self.prove(challenge, &format!("c={},r={nonce}", self.cbind()))
    }

    fn prove(&self, challenge: &str, without_proof: &str) -> (String, String) {
        let salt = BASE64.decode(attribute(challenge, "s=")).unwrap();
        let iterations = attribute(challenge, "i=").parse().unwrap();
        let keys = self.hash.keys(self.password.as_bytes(), &salt, iterations);
        let salted = salted(self.hash, self.password, &salt, iterations);
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let mut proof = self.hash.hmac(&salted, &[b"Client Key"]).as_ref().to_vec();
        let signature = self.hash.hmac(&keys.stored_key, &[message.as_bytes()]);
        proof.iter_mut().zip(signature.as_ref()).for_each(|(byte, mask)| *byte ^= mask);
        let server = self.hash.hmac(&keys.server_key, &[message.as_bytes()]);
        (format!("{without_proof},p={}", BASE64.encode(proof)), format!("v={}", BASE64.encode(server.as_ref())))
    }
}

/// `SaltedPassword` (RFC 5802 §3), written out once more for the client.
fn salted(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut round = hash.hmac(password.as_bytes(), &[salt, &1u32.to_be_bytes()]).as_ref().to_vec();
    let mut salted = round.clone();
    for _ in 1..iterations {
        round = hash.hmac(password.as_bytes(), &[&round]).as_ref().to_vec();
        salted.iter_mut().zip(&round).for_each(|(sum, byte)| *sum ^= byte);
    }
    salted
}

fn attribute<'a>(message: &'a str, name: &str) -> &'a str {
    message.split(',').find_map(|field| field.strip_prefix(name)).unwrap()
}

fn challenge(seen: Seen) -> String {
    let Seen::Challenge(text) = seen else { panic!("expected a challenge: {seen:?}") };
    text
}

const NOT_AUTHORIZED: Seen = Seen::Failure(SaslCondition::NotAuthorized);
const MALFORMED: Seen = Seen::Failure(SaslCondition::MalformedRequest);
const INVALID_AUTHZID: Seen = Seen::Failure(SaslCondition::InvalidAuthzid);
const INVALID_MECHANISM: Seen = Seen::Failure(SaslCondition::InvalidMechanism);
const HASHES: [(Hash, &str, &str); 3] = [
    (Hash::Sha1, "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"),
    (Hash::Sha256, "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"),
    (Hash::Sha512, "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS"),
];

/// RFC 5802 §5 and RFC 7677 §3: salt, nonces and all. SHA-512 has no printed exchange: it is that of
/// RFC 7677, computed once more by another implementation.
#[test]
fn vectors_of_the_standards() {
    let rows = [
        (
            Hash::Sha1,
            "SCRAM-SHA-1",
            "QSXCR+Q6sek8bf92",
            "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (
            Hash::Sha256,
            "SCRAM-SHA-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
        (
            Hash::Sha512,
            "SCRAM-SHA-512",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
            "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        ),
    ];
    for (hash, mechanism, salt, first, nonce, challenge, last, signature) in rows {
        let mut world = World::new();
        let keys = hash.keys(b"pencil", &BASE64.decode(salt).unwrap(), 4096);
        let (sha1, sha256, sha512) = (keys.clone(), keys.clone(), keys);
        world.accounts.insert("user@example.org".into(), Credentials { generation: 1, sha1, sha256, sha512 });
        let mut stream = world.unbound();
        stream.exchange.nonce = nonce.to_owned();
        // The standards' challenges are from before XEP-0474.
        stream.plain_challenge = true;
        assert_eq!(stream.start(mechanism, Some(first.as_bytes())), Seen::Challenge(challenge.into()));
        assert_eq!(stream.respond(last), Seen::Success("user@example.org".into(), Some(signature.into())));
        assert!(stream.exchange.is_over());
    }
}

#[test]
fn every_mechanism_lets_the_owner_in() {
    let mut world = World::new();
    for (hash, name, plus) in HASHES {
        for (mechanism, client) in
            [(name, Client::new(hash, "ada", "pencil")), (plus, Client::new(hash, "ada", "pencil").bound(EXPORTER))]
        {
            let mut stream = world.bound();
            let (last, signature) = client.last(&challenge(stream.start(mechanism, Some(&client.first()))));
            assert_eq!(stream.respond(last), Seen::Success("ada@example.org".into(), Some(signature)), "{mechanism}");
            assert_eq!(stream.respond("again"), Seen::Silence);
        }
    }
    for initial in [&b"\0ada\0pencil"[..], b"\0ADA\0pencil", b"ada@example.org\0ada\0pencil"] {
        assert_eq!(world.unbound().start("PLAIN", Some(initial)), Seen::Success("ada@example.org".into(), None));
    }
}

/// RFC 6120 §6.4.2: nothing sent is asked for, `=` is a message of no bytes.
#[test]
fn initial_response_absent_or_empty() {
    let mut world = World::new();
    let client = Client::new(Hash::Sha1, "ada", "pencil");
    let mut stream = world.unbound();
    assert_eq!(stream.start("SCRAM-SHA-1", None), Seen::Challenge(String::new()));
    let (last, signature) = client.last(&challenge(stream.respond(client.first())));
    assert_eq!(stream.respond(last), Seen::Success("ada@example.org".into(), Some(signature)));

    let mut stream = world.unbound();
    assert_eq!(stream.start("PLAIN", None), Seen::Challenge(String::new()));
    assert_eq!(stream.respond(b"\0ada\0pencil"), Seen::Success("ada@example.org".into(), None));

    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        assert_eq!(world.unbound().start(mechanism, Some(b"")), MALFORMED);
        let mut stream = world.unbound();
        assert_eq!(stream.start(mechanism, None), Seen::Challenge(String::new()));
        assert_eq!(stream.respond(""), MALFORMED);
    }
}

/// Threat: a mechanism known to the server but not offered on this very stream.
#[test]
fn threat_029_only_what_the_stream_is_offered() {
    use Mechanism::{Plain, ScramSha1, ScramSha1Plus, ScramSha256, ScramSha256Plus, ScramSha512, ScramSha512Plus};
    let all = [ScramSha512Plus, ScramSha256Plus, ScramSha1Plus, ScramSha512, ScramSha256, ScramSha1, Plain];
    let unbound = [ScramSha512, ScramSha256, ScramSha1, Plain];
    let mut world = World::new();
    for (security, binding, expected) in [
        (Security::Tls13, BY_BOTH, &all[..]),
        (Security::Tls13, BY_EXPORTER, &all),
        (Security::Tls12, BY_EXPORTER, &all),
        (Security::Tls12, BY_END_POINT, &all),
        (Security::Tls13, UNBOUND, &unbound),
        (Security::Tls12, UNBOUND, &unbound),
        (Security::ClearLoopback, UNBOUND, &unbound),
        // There is no TLS to bind to, whatever an edge says.
        (Security::ClearLoopback, BY_BOTH, &unbound),
    ] {
        let offer = Offer::of(security, &binding);
        assert_eq!(offered(offer).collect::<Vec<_>>(), expected);
        for mechanism in Mechanism::ALL {
            let seen = world.stream(security, binding).start(mechanism.name(), None);
            let refused = seen == INVALID_MECHANISM;
            assert_eq!(refused, !expected.contains(&mechanism), "{mechanism:?} on {offer:?}: {seen:?}");
        }
    }
    for name in ["", "plain", "SCRAM-SHA-1-PLUS ", "SCRAM-SHA-224", "EXTERNAL", "ANONYMOUS", "X-OAUTH2", "DIGEST-MD5"] {
        assert_eq!(world.bound().start(name, None), INVALID_MECHANISM, "{name}");
    }
}

#[test]
fn features_name_what_is_offered() {
    let read = |offer| {
        let mut tree = tree::Builder::new();
        features(offer, &mut tree);
        let bytes = tree.finish();
        tree::validate(&bytes, tree::DEPTH_MAX).unwrap();
        let mechanisms = tree::child(&bytes, NS_SASL, "mechanisms").unwrap();
        let names: Vec<String> = mechanisms.children().map(|e| e.text()).collect();
        let types = tree::child(&bytes, NS_CHANNEL_BINDING, "sasl-channel-binding").map(|element| {
            let name = |child: tree::Element<'_>| child.attr("type").unwrap().to_owned();
            element.children().map(name).collect::<Vec<_>>()
        });
        (names, types)
    };
    let bound = ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"];
    let unbound = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"];
    for (binding, types) in [
        (BY_BOTH, &["tls-exporter", "tls-server-end-point"][..]),
        (BY_EXPORTER, &["tls-exporter"]),
        (BY_END_POINT, &["tls-server-end-point"]),
    ] {
        let (names, announced) = read(Offer::of(Security::Tls12, &binding));
        assert_eq!(names, [&bound[..], &unbound].concat());
        assert_eq!(announced.unwrap(), types);
    }
    let (names, announced) = read(Offer::of(Security::Tls13, &UNBOUND));
    assert_eq!(names, unbound);
    assert_eq!(announced, None);
}

#[test]
fn abort_and_words_out_of_turn_end_it() {
    let mut world = World::new();
    let client = Client::new(Hash::Sha1, "ada", "pencil");
    assert_eq!(world.unbound().respond("\0ada\0pencil"), MALFORMED, "response before auth");

    let mut stream = world.unbound();
    challenge(stream.start("SCRAM-SHA-1", Some(&client.first())));
    assert_eq!(stream.start("PLAIN", Some(b"\0ada\0pencil")), MALFORMED, "auth during auth");
    assert_eq!(stream.start("PLAIN", Some(b"\0ada\0pencil")), Seen::Silence, "over is over");

    let mut stream = world.unbound();
    let (last, _) = client.last(&challenge(stream.start("SCRAM-SHA-1", Some(&client.first()))));
    assert_eq!(stream.feed(Input::Abort(SaslCondition::Aborted)), Seen::Failure(SaslCondition::Aborted));
    assert_eq!(stream.respond(last), Seen::Silence);
}

/// A client may talk while the server still looks things up; answers may come late or twice.
#[test]
fn questions_under_way() {
    let mut world = World::new();
    let found = credentials("pencil", 10);
    let mut exchange = Exchange::new(&mut world.random, &SECRET);
    let mut out = Vec::new();
    let start = Input::Start {
        mechanism: "PLAIN",
        initial: Some(b"\0ada\0pencil"),
        security: Security::Tls13,
        binding: UNBOUND,
        domain: "example.org",
        along: Along::default(),
    };
    exchange.handle(start, &mut out);
    assert!(matches!(out.pop(), Some(Output::LoadCredentials(jid)) if jid.as_str() == "ada@example.org"));
    assert_eq!(exchange.claimed().map(BareJid::as_str), Some("ada@example.org"));
    exchange.handle(Input::Derived(Derived::Keys(found.sha256.clone())), &mut out);
    assert!(out.is_empty(), "an answer to nothing proves nothing");
    exchange.handle(Input::Credentials(Some(&found)), &mut out);
    let Some(Output::Derive(task)) = out.pop() else { panic!("no question") };
    exchange.handle(Input::Credentials(None), &mut out);
    assert!(out.is_empty());
    exchange.handle(Input::Response(b"more"), &mut out);
    assert!(matches!(out.pop(), Some(Output::Failure(SaslCondition::MalformedRequest))));
    exchange.handle(Input::Derived(task.run()), &mut out);
    assert!(out.is_empty() && exchange.is_over());
}

#[test]
fn no_worker_is_a_temporary_failure() {
    let mut world = World::new();
    let mut stream = world.unbound();
    let mut out = Vec::new();
    let (security, binding) = (stream.security, UNBOUND);
    let initial = Some(&b"\0ada\0pencil"[..]);
    stream.exchange.handle(
        Input::Start { mechanism: "PLAIN", initial, security, binding, domain: "example.org", along: Along::default() },
        &mut out,
    );
    stream.exchange.handle(Input::Credentials(None), &mut out);
    assert_eq!(stream.feed(Input::Derived(Derived::Busy)), Seen::Failure(SaslCondition::TemporaryAuthFailure));
}

/// Secrets are compared with `ct_eq` only: the sources of this folder, and of tokens, have no `==` or `!=` next to
/// a word for one.
#[test]
fn threat_031_no_secret_meets_an_equals_sign() {
    let sources = [
        ("mod.rs", include_str!("../mod.rs")),
        ("scram.rs", include_str!("../scram.rs")),
        ("plain.rs", include_str!("../plain.rs")),
        ("token.rs", include_str!("../token.rs")),
        ("crypto.rs", include_str!("../crypto.rs")),
        ("fast.rs", include_str!("../../fast.rs")),
        ("derive.rs", include_str!("../../derive.rs").split("#[cfg(test)]").next().unwrap()),
    ];
    let words = [
        "key",
        "nonce",
        "cbind",
        "proof",
        "signature",
        "password",
        "secret",
        "expose",
        "salt",
        "exporter",
        "end_point",
    ];
    for (file, source) in sources {
        for (line, text) in source.lines().enumerate() {
            let compares = text.contains("==") || text.contains("!=") || text.contains(".eq(");
            let secret = words.iter().any(|word| text.to_ascii_lowercase().contains(word));
            let harmless = text.trim_start().starts_with("//") || text.contains(".len() !=");
            assert!(harmless || !(compares && secret), "{file}:{}: {text}", line + 1);
        }
    }
}
