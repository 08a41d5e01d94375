//! A client that says anything while it logs in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hearth_core::derive::{Derived, Task};
use hearth_core::random::SeededRandom;
use hearth_core::sasl::crypto::Hash;
use hearth_core::sasl::{Along, Exchange, Input, Mechanism, Output};
use hearth_storage::{Credentials, ScramKeys, Token, TokenBinding};
use hearth_wire::jid::routing_hint;
use hearth_wire::to_core::{ChannelBinding, Security};
use hearth_wire::{BareJid, SaslCondition};
use std::sync::LazyLock;

const DOMAIN: &str = "example.org";
const EXPORTER: &[u8] = b"0123456789abcdef0123456789abcdef";
const END_POINT: &[u8] = b"the hash of the certificate shown";
const MESSAGES_MAX: usize = 6;

/// What every account here has stored: of a password that no input will find.
static CREDENTIALS: LazyLock<Credentials> = LazyLock::new(|| {
    let password: Vec<u8> = (0..64u8).map(|byte| byte.wrapping_mul(167).wrapping_add(91)).collect();
    let keys = |hash: Hash| hash.keys(&password, &[9; 16], 10_000);
    Credentials { generation: 1, sha1: keys(Hash::Sha1), sha256: keys(Hash::Sha256), sha512: keys(Hash::Sha512) }
});

/// Of the client that logs in, one for each mechanism that takes it.
static TOKENS: LazyLock<Vec<Token>> = LazyLock::new(|| {
    let token = |binding| Token { secret: [91; 32], binding, issued_ms: 0, expires_ms: 0, count: 0, credentials: 1 };
    [TokenBinding::Exporter, TokenBinding::None].map(token).to_vec()
});

/// First byte: the mechanism, from 0xf0 on one of tokens; 0xff takes the first message for its name. Second byte: what
/// the stream is, whether a token is meant, and whether the exchange begins without a message. Then messages, each behind its length in one byte. Where
/// a message ends in `%`, the rest of it is made by the exchange's own challenge: its nonce is put there.
///
/// Nobody gets in. One step at a time is answered, nothing after the end. An account that exists and one
/// that does not answer alike. What the edge takes for the account's name is what the core takes for it.
pub fn sasl(data: &[u8]) {
    let [mechanism, stream, rest @ ..] = data else { return };
    let mut messages = Vec::new();
    let mut rest = rest;
    while let ([len, more @ ..], true) = (rest, messages.len() < MESSAGES_MAX) {
        let (message, more) = more.split_at(more.len().min(usize::from(*len)));
        messages.push(message);
        rest = more;
    }
    let mut messages = messages.into_iter();
    let spelt;
    let mechanism = if *mechanism == 0xff {
        spelt = String::from_utf8_lossy(messages.next().unwrap_or_default()).into_owned();
        spelt.as_str()
    } else if let 0xf0..=0xf2 = mechanism {
        Mechanism::TOKENS[usize::from(mechanism - 0xf0)].name()
    } else {
        Mechanism::ALL[usize::from(*mechanism) % Mechanism::ALL.len()].name()
    };
    let initial = if stream & 0x80 == 0 { messages.next() } else { None };
    let messages: Vec<&[u8]> = messages.collect();
    let known = converse(mechanism, *stream, initial, &messages, Some(&CREDENTIALS));
    let unknown = converse(mechanism, *stream, initial, &messages, None);
    assert_eq!(known, unknown, "{mechanism} tells who exists");
}

/// A step as a stranger sees it.
#[derive(PartialEq, Debug)]
enum Seen {
    /// Without its salt, which differs.
    Challenge(String),
    Failure(SaslCondition),
}

fn converse(
    mechanism: &str,
    stream: u8,
    initial: Option<&[u8]>,
    messages: &[&[u8]],
    found: Option<&Credentials>,
) -> Vec<Seen> {
    let mut talk = Talk {
        exchange: Exchange::new(&mut SeededRandom::new(7), &[3; 32]),
        found,
        busy: stream & 0x40 != 0,
        nonce: String::new(),
        seen: Vec::new(),
    };
    let security = [Security::Tls13, Security::Tls12, Security::ClearLoopback][usize::from(stream & 3) % 3];
    let binding = ChannelBinding {
        tls_exporter: (stream & 4 != 0).then_some(EXPORTER),
        tls_server_end_point: (stream & 8 != 0).then_some(END_POINT),
    };
    let along = Along { by_token: stream & 0x10 != 0, ..Along::default() };
    talk.feed(Input::Start { mechanism, initial, security, binding, domain: DOMAIN, along });
    if let (Some(initial), Some(claimed)) = (initial, talk.exchange.claimed()) {
        let hint = routing_hint(mechanism, initial);
        assert_eq!(hint.as_deref(), claimed.localpart(), "edge and core differ about {initial:?}");
    }
    for message in messages {
        let filled = match message.split_last() {
            Some((b'%', head)) => [head, talk.nonce.as_bytes()].concat(),
            _ => message.to_vec(),
        };
        // The proof behind the nonce: of the right length, and as wrong as all others.
        let proof = if filled.ends_with(talk.nonce.as_bytes()) && !talk.nonce.is_empty() {
            let len = if mechanism.contains("512") {
                64
            } else if mechanism.contains("256") {
                32
            } else {
                20
            };
            format!(",p={}", BASE64.encode(vec![0; len]))
        } else {
            String::new()
        };
        talk.feed(Input::Response(&[&filled, proof.as_bytes()].concat()));
    }
    talk.feed(Input::Abort(SaslCondition::Aborted));
    assert!(talk.exchange.is_over());
    talk.feed(Input::Response(b"more"));
    talk.seen
}

struct Talk<'c> {
    exchange: Exchange,
    found: Option<&'c Credentials>,
    busy: bool,
    nonce: String,
    seen: Vec<Seen>,
}

impl Talk<'_> {
    fn feed(&mut self, input: Input<'_>) {
        let was_over = self.exchange.is_over();
        let mut out = Vec::new();
        self.exchange.handle(input, &mut out);
        while let Some(output) = out.pop() {
            assert!(out.is_empty() && !was_over, "one step at a time, and none after the end");
            match output {
                Output::Challenge(data) => self.on_challenge(data),
                Output::LoadCredentials(account) => {
                    assert_eq!((account.domainpart(), self.exchange.claimed()), (DOMAIN, Some(&account)));
                    assert!(BareJid::parse(account.as_str()).is_ok_and(|again| again == account));
                    self.exchange.handle(Input::Credentials(self.found), &mut out);
                }
                Output::LoadTokens(account) => {
                    assert_eq!((account.domainpart(), self.exchange.claimed()), (DOMAIN, Some(&account)));
                    let tokens = if self.found.is_some() { &TOKENS[..] } else { &[] };
                    self.exchange.handle(Input::Tokens(tokens), &mut out);
                }
                Output::Derive(task) => self.exchange.handle(Input::Derived(self.derived(&task)), &mut out),
                Output::Failure(condition) => {
                    assert!(self.exchange.is_over());
                    self.seen.push(Seen::Failure(condition));
                }
                Output::Success { account, .. } => panic!("{account} got in"),
            }
        }
    }

    fn on_challenge(&mut self, data: Vec<u8>) {
        let text = String::from_utf8(data).expect("a challenge is text");
        let (nonce, shown) = match text.split_once(",s=") {
            Some((nonce, rest)) => {
                let (salt, iterations) = rest.split_once(',').expect("iterations");
                assert_eq!(BASE64.decode(salt).expect("base64").len(), 16);
                (nonce, format!("{nonce},{iterations}"))
            }
            None => ("", text.clone()),
        };
        self.nonce = nonce.trim_start_matches("r=").to_owned();
        self.seen.push(Seen::Challenge(shown));
    }

    /// Of some other password, without the work.
    fn derived(&self, task: &Task) -> Derived {
        match task {
            Task::Verify { hash, password, iterations, salt } if !self.busy => {
                assert!(!password.expose().is_empty());
                let key = vec![7; hash.output_len()];
                Derived::Keys(ScramKeys {
                    iterations: *iterations,
                    salt: salt.clone(),
                    stored_key: key.clone(),
                    server_key: key,
                })
            }
            Task::Verify { .. } | Task::Store { .. } => Derived::Busy,
        }
    }
}
