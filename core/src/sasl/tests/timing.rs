//! Statistics of time, for a quiet machine: `cargo test -p hearth-core --release -- --ignored timing`.

use super::*;
use std::time::{Duration, Instant};

/// Exchanges of each kind; the difference that matters would be a microsecond in ten.
const SAMPLES: usize = 50_000;

/// Mean and variance as they come.
#[derive(Default)]
struct Sample {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Sample {
    fn add(&mut self, took: Duration) {
        let value = took.as_secs_f64() * 1e9;
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
    fn error_squared(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// One SCRAM-SHA-256 exchange with a wrong proof, the client's work left out.
fn wrong(random: &mut Counting, found: Option<&Credentials>) -> Duration {
    let client = Client::new(Hash::Sha256, "ada", "wrong");
    let first = client.first();
    let mut exchange = Exchange::new(random, &SECRET);
    let (security, binding) = (Security::Tls13, UNBOUND);
    let mut out = Vec::with_capacity(4);
    let initial = Some(first.as_slice());
    exchange.handle(
        Input::Start {
            mechanism: "SCRAM-SHA-256",
            initial,
            security,
            binding,
            domain: "example.org",
            along: Along::default(),
        },
        &mut out,
    );
    let mut took = time(|| exchange.handle(Input::Credentials(found), &mut out));
    let Some(Output::Challenge(challenge)) = out.pop() else { panic!("no challenge") };
    let nonce = attribute(std::str::from_utf8(&challenge).unwrap(), "r=").to_owned();
    let last = format!("c=biws,r={nonce},p={}", BASE64.encode([0; 32]));
    took += time(|| exchange.handle(Input::Response(last.as_bytes()), &mut out));
    assert!(matches!(out.pop(), Some(Output::Failure(SaslCondition::NotAuthorized))));
    took
}

/// Welch's t of known against unknown accounts.
#[test]
#[ignore = "statistics: run alone on a quiet machine"]
fn known_and_unknown_take_the_same_time() {
    let known = credentials("pencil", limits::SCRAM_ITERATIONS);
    let mut random = Counting(0);
    let (mut with, mut without) = (Sample::default(), Sample::default());
    for index in 0..SAMPLES * 2 {
        let found = (index % 2 == 0).then_some(&known);
        let took = wrong(&mut random, found);
        // Warm-up and interruptions say nothing about either.
        if index > 1000 && took < Duration::from_micros(50) {
            if found.is_some() { with.add(took) } else { without.add(took) }
        }
    }
    let t = (with.mean - without.mean) / (with.error_squared() + without.error_squared()).sqrt();
    println!("known {:.0} ns, unknown {:.0} ns, t = {t:.2}", with.mean, without.mean);
    assert!(t.abs() < 4.5, "t = {t:.2}: known {:.0} ns, unknown {:.0} ns", with.mean, without.mean);
}

/// One login by a token with this proof in it.
fn by_token(random: &mut Counting, tokens: &[Token], proof: &[u8]) -> Duration {
    let initial = [b"ada\0", proof].concat();
    let mut exchange = Exchange::new(random, &SECRET);
    let (security, binding, initial) = (Security::Tls13, UNBOUND, Some(initial.as_slice()));
    let along = Along { by_token: true, ..Along::default() };
    let (mechanism, domain) = (Mechanism::TokenUnbound.name(), "example.org");
    let mut out = Vec::with_capacity(4);
    exchange.handle(Input::Start { mechanism, initial, security, binding, domain, along }, &mut out);
    out.clear();
    let took = time(|| exchange.handle(Input::Tokens(tokens), &mut out));
    assert!(matches!(out.pop(), Some(Output::Failure(SaslCondition::NotAuthorized))));
    took
}

/// Welch's t of proofs that are right but for their last byte against proofs that are wrong from the first, for tokens; and of
/// clients that have a token against those that have none.
#[test]
#[ignore = "statistics: run alone on a quiet machine"]
fn a_proof_that_is_nearly_right_takes_as_long_as_any() {
    let token = Token {
        secret: [7; TOKEN_BYTES],
        binding: TokenBinding::None,
        issued_ms: 0,
        expires_ms: 0,
        count: 0,
        credentials: 0,
    };
    let text = crate::fast::text(&token.secret);
    let right = Hash::Sha256.hmac(text.expose(), &[b"Initiator"]).as_ref().to_vec();
    let mut nearly = right.clone();
    nearly[31] ^= 1;
    let mut wrong = right;
    wrong[0] ^= 1;
    let (some, none) = ([token], []);
    let mut random = Counting(0);
    for (what, [a, b]) in [
        ("nearly right and wrong", [(&some[..], &nearly), (&some[..], &wrong)]),
        ("with a token and without", [(&some[..], &wrong), (&none[..], &wrong)]),
    ] {
        let (mut first, mut second) = (Sample::default(), Sample::default());
        for index in 0..SAMPLES * 2 {
            let even = index % 2 == 0;
            let (tokens, proof) = if even { a } else { b };
            let took = by_token(&mut random, tokens, proof);
            if index > 1000 && took < Duration::from_micros(50) {
                if even { first.add(took) } else { second.add(took) }
            }
        }
        let t = (first.mean - second.mean) / (first.error_squared() + second.error_squared()).sqrt();
        println!("{what}: {:.0} ns, {:.0} ns, t = {t:.2}", first.mean, second.mean);
        assert!(t.abs() < 4.5, "{what}: t = {t:.2}, {:.0} ns and {:.0} ns", first.mean, second.mean);
    }
}
