//! The exchange from outside: vectors of the standards, forgeries, and whatever bytes may come.

use super::*;
use std::collections::HashMap;

const SECRET: [u8; 32] = [7; 32];
const EXPORTER: &[u8] = b"0123456789abcdef0123456789abcdef";

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
    random: Counting,
}

fn credentials(password: &str, iterations: u32) -> Credentials {
    Credentials {
        generation: 1,
        sha1: Hash::Sha1.keys(password.as_bytes(), &[1; 16], iterations),
        sha256: Hash::Sha256.keys(password.as_bytes(), &[2; 16], iterations),
    }
}

/// One stream's exchange, its questions answered as they come.
struct Stream<'w> {
    world: &'w World,
    exchange: Exchange,
    security: Security,
    exporter: Option<&'static [u8]>,
}

impl World {
    fn new() -> World {
        let accounts = [("ada@example.org", "pencil"), ("o,=x@example.org", "ink")];
        let accounts = accounts.into_iter().map(|(jid, password)| (jid.to_owned(), credentials(password, 10)));
        World { accounts: accounts.collect(), random: Counting(0) }
    }

    fn stream(&mut self, security: Security, exporter: Option<&'static [u8]>) -> Stream<'_> {
        let exchange = Exchange::new(&mut self.random, &SECRET);
        Stream { world: self, exchange, security, exporter }
    }

    fn bound(&mut self) -> Stream<'_> {
        self.stream(Security::Tls13, Some(EXPORTER))
    }

    fn unbound(&mut self) -> Stream<'_> {
        self.stream(Security::Tls12, None)
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
        let (security, exporter) = (self.security, self.exporter);
        self.feed(Input::Start { mechanism, initial, security, exporter, domain: "example.org" })
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
                Output::LoadCredentials(account) => {
                    let found = self.world.accounts.get(account.as_str());
                    self.exchange.handle(Input::Credentials(found), &mut out);
                }
                Output::Derive(task) => self.exchange.handle(Input::Derived(task.run()), &mut out),
                Output::Challenge(data) => return Seen::Challenge(String::from_utf8(data).unwrap()),
                Output::Success { account, data } => {
                    let data = data.map(|data| String::from_utf8(data).unwrap());
                    return Seen::Success(account.to_string(), data);
                }
                Output::Failure(condition) => return Seen::Failure(condition),
            }
        }
    }
}

/// RFC 5802 §5 and RFC 7677 §3: salt, nonces and all.
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
    ];
    for (hash, mechanism, salt, first, nonce, challenge, last, signature) in rows {
        let mut world = World::new();
        let keys = hash.keys(b"pencil", &BASE64.decode(salt).unwrap(), 4096);
        world
            .accounts
            .insert("user@example.org".into(), Credentials { generation: 1, sha1: keys.clone(), sha256: keys });
        let mut stream = world.unbound();
        stream.exchange.nonce = nonce.to_owned();
        assert_eq!(stream.start(mechanism, Some(first.as_bytes())), Seen::Challenge(challenge.into()));
        assert_eq!(stream.respond(last), Seen::Success("user@example.org".into(), Some(signature.into())));
        assert!(stream.exchange.is_over());
    }
}

#[test]
fn plain_proves_by_the_stored_keys() {
    let mut world = World::new();
    let success = Seen::Success("ada@example.org".into(), None);
    assert_eq!(world.unbound().start("PLAIN", Some(b"\0ada\0pencil")), success);
    assert_eq!(world.unbound().start("PLAIN", Some(b"\0ada\0pencils")), Seen::Failure(SaslCondition::NotAuthorized));
    assert_eq!(world.unbound().start("PLAIN", Some(b"\0eve\0pencil")), Seen::Failure(SaslCondition::NotAuthorized));
    let mut stream = world.unbound();
    assert_eq!(stream.start("PLAIN", None), Seen::Challenge(String::new()));
    assert_eq!(stream.respond(b"\0ADA\0pencil"), success);
}
