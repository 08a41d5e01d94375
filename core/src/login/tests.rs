//! Logins through a shard: frames in, frames out, a real store behind.

use super::*;
use crate::commands::{Done, Reply};
use crate::outputs::Event;
use crate::sasl::crypto::Hash;
use crate::sasl::tests::Client;
use crate::testing::{Core, SOCKETS};
use hearth_storage::{Ask, Change};
use hearth_wire::to_core::{Bind, Certificate, ChannelBinding, Closed, Counter, ToCore};

const ADA: &str = "ada@example.org";
const DOMAIN: &str = "example.org";

/// What the edge was told, in short.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Challenge(Vec<u8>),
    Success(String),
    Failure(SaslCondition, bool),
    Moved(u16),
    Bound(String),
    BindRefused,
    Closed(Option<StreamCondition>),
    Other(String),
}

fn told(world: &mut Core) -> Vec<Told> {
    let read = |body: &Vec<u8>| match ToEdge::decode(body).unwrap().unwrap() {
        ToEdge::AuthChallenge(frame) => Told::Challenge(frame.data.to_vec()),
        ToEdge::AuthSuccess(frame) => Told::Success(frame.account.to_owned()),
        ToEdge::AuthFailure(frame) => Told::Failure(frame.condition, frame.last),
        ToEdge::Moved(frame) => Told::Moved(frame.slot.index()),
        ToEdge::Bound(frame) => Told::Bound(frame.jid.to_owned()),
        ToEdge::BindRefused(_) => Told::BindRefused,
        ToEdge::Close(frame) => Told::Closed(frame.condition),
        other => Told::Other(format!("{other:?}")),
    };
    std::mem::take(&mut world.sockets).iter().map(read).collect()
}

fn auth<'a>(world: &Core, counter: u64, mechanism: &'a str, initial: Option<&'a [u8]>) -> ToCore<'a> {
    ToCore::Authenticate(Authenticate {
        counter: SOCKETS + counter,
        slot: world.shards[0].settings.slot_key.slot(ADA),
        epoch: 1,
        domain: DOMAIN,
        peer: IpAddr::from([192, 0, 2, 1]),
        security: Security::Tls13,
        binding: ChannelBinding { tls_exporter: Some(b"exporter"), tls_server_end_point: None },
        mechanism,
        initial,
    })
}

/// As `auth`, by XEP-0388; `from`: what the client calls itself.
fn inline<'a>(world: &Core, counter: u64, mechanism: &'a str, initial: &'a [u8], from: Option<&'a str>) -> ToCore<'a> {
    let ToCore::Authenticate(authenticate) = auth(world, counter, mechanism, Some(initial)) else { unreachable!() };
    let (agent, fast, request_token) = (None, None, None);
    ToCore::AuthenticateInline(AuthenticateInline { authenticate, from, agent, fast, request_token })
}

/// One frame of the edge, and everything that follows from it.
fn send(world: &mut Core, shard: usize, frame: &ToCore<'_>) {
    world.frame(shard, frame);
    world.run();
}

fn plain(world: &mut Core, shard: usize, counter: u64, name: &str, password: &str) -> Vec<Told> {
    let initial = format!("\0{name}\0{password}");
    let frame = auth(world, counter, "PLAIN", Some(initial.as_bytes()));
    send(world, shard, &frame);
    told(world)
}

fn bind(world: &mut Core, shard: usize, counter: u64) -> Vec<Told> {
    send(world, shard, &ToCore::Bind(Bind { counter: SOCKETS + counter, resource: Some("desk"), credit: 1_000_000 }));
    told(world)
}

fn world() -> Core {
    let mut world = Core::new(1);
    world.account_with_password(ADA, "pencil");
    world
}

fn not_authorized() -> Vec<Told> {
    vec![Told::Failure(SaslCondition::NotAuthorized, false)]
}

fn success() -> Vec<Told> {
    vec![Told::Success(ADA.to_owned())]
}

#[test]
fn scram_plus_to_a_bound_resource_costs_one_read() {
    let mut world = world();
    let client = Client::new(Hash::Sha256, "ada", "pencil").bound(b"exporter");
    let first = client.first();
    world.holding = true;
    let frame = auth(&world, 1, "SCRAM-SHA-256-PLUS", Some(&first));
    send(&mut world, 0, &frame);
    assert!(world.answer_one() && !world.answer_one(), "one question");
    let Some(Told::Challenge(challenge)) = told(&mut world).pop() else { panic!("no challenge") };
    let (last, signature) = client.last(std::str::from_utf8(&challenge).unwrap());
    send(&mut world, 0, &ToCore::AuthResponse(AuthResponse { counter: SOCKETS + 1, data: last.as_bytes() }));
    let sent = std::mem::take(&mut world.sockets);
    assert!(
        matches!(ToEdge::decode(&sent[0]).unwrap().unwrap(), ToEdge::AuthSuccess(AuthSuccess { account: ADA, data: Some(data), .. })
            if data == signature.as_bytes())
    );
    assert_eq!(bind(&mut world, 0, 1), [Told::Bound("ada@example.org/desk".into())]);
    assert!(!world.answer_one() && !world.derive_one(), "no further question");
    assert!(world.shards[0].logins.is_empty());
    assert!(matches!(
        &world.events[..],
        [.., Event::LoggedIn { mechanism: "SCRAM-SHA-256-PLUS", .. }, Event::SessionStarted { .. }]
    ));
}

#[test]
fn five_failures_close_the_stream() {
    let mut world = world();
    for attempt in 1..=5 {
        let (name, password) = if attempt % 2 == 0 { ("ada", "wrong") } else { ("eve", "pencil") };
        let expected = Told::Failure(SaslCondition::NotAuthorized, attempt == 5);
        assert_eq!(plain(&mut world, 0, 1, name, password), [expected]);
    }
    assert!(world.shards[0].logins.is_empty());
    assert_eq!(plain(&mut world, 0, 2, "ada", "pencil"), success(), "another stream");
}

#[test]
fn every_kind_of_failure_counts() {
    let mut world = world();
    let failure = |condition, last| vec![Told::Failure(condition, last)];
    let frame = auth(&world, 1, "X-UNKNOWN", None);
    send(&mut world, 0, &frame);
    assert_eq!(told(&mut world), failure(SaslCondition::InvalidMechanism, false));
    let frame = auth(&world, 1, "PLAIN", None);
    send(&mut world, 0, &frame);
    assert_eq!(told(&mut world), [Told::Challenge(Vec::new())]);
    send(&mut world, 0, &ToCore::AuthAbort(Counter { counter: SOCKETS + 1 }));
    assert_eq!(told(&mut world), failure(SaslCondition::Aborted, false));
    send(&mut world, 0, &ToCore::AuthResponse(AuthResponse { counter: SOCKETS + 1, data: b"\0ada\0pencil" }));
    assert_eq!(told(&mut world), failure(SaslCondition::MalformedRequest, false));
    // A second <auth/> within an exchange.
    let frame = auth(&world, 1, "PLAIN", None);
    send(&mut world, 0, &frame);
    send(&mut world, 0, &frame);
    assert_eq!(told(&mut world)[1..], failure(SaslCondition::MalformedRequest, false));
    assert_eq!(plain(&mut world, 0, 1, "ada", "wrong"), failure(SaslCondition::NotAuthorized, true));
}

#[test]
fn nobody_binds_unproved_or_comes_by_a_closed_door() {
    let mut world = world();
    assert_eq!(bind(&mut world, 0, 1), [Told::BindRefused]);
    // A second time only for an edge that did not take the first: then nothing of the first is left.
    assert_eq!(plain(&mut world, 0, 1, "ada", "pencil"), success());
    assert_eq!(plain(&mut world, 0, 1, "ada", "wrong"), not_authorized());
    assert_eq!(bind(&mut world, 0, 1), [Told::BindRefused]);
    assert_eq!(plain(&mut world, 0, 1, "ada", "pencil"), success());
    let key = world.shards[0].accounts.find(ADA).unwrap();
    assert_eq!(world.shards[0].accounts.get(key).unwrap().pins, 1);
    let ToCore::Authenticate(frame) = auth(&world, 2, "PLAIN", Some(b"\0ada\0pencil")) else { unreachable!() };
    let in_clear = Authenticate { security: Security::ClearLoopback, ..frame.clone() };
    send(&mut world, 0, &ToCore::Authenticate(in_clear));
    assert_eq!(told(&mut world), [Told::Failure(SaslCondition::EncryptionRequired, false)]);
    send(&mut world, 0, &ToCore::Authenticate(Authenticate { domain: "example.net", ..frame }));
    assert_eq!(told(&mut world), not_authorized());
}

/// Guesses are limited by account and source; the owner elsewhere is not kept out, and what is
/// refused does not say whether the password was right.
#[test]
fn threat_035_guessing_ends() {
    let mut world = world();
    for counter in 0..u64::from(limits::ATTEMPTS_MAX) {
        assert_eq!(plain(&mut world, 0, counter, "ada", "wrong"), not_authorized());
    }
    let busy = vec![Told::Failure(SaslCondition::TemporaryAuthFailure, false)];
    assert_eq!(plain(&mut world, 0, 100, "ada", "wrong"), busy);
    assert_eq!(plain(&mut world, 0, 101, "ada", "pencil"), busy);
    assert_eq!(plain(&mut world, 0, 102, "eve", "pencil"), not_authorized(), "another account");
    let ToCore::Authenticate(frame) = auth(&world, 103, "PLAIN", Some(b"\0ada\0pencil")) else { unreachable!() };
    let elsewhere = IpAddr::from([198, 51, 100, 1]);
    send(&mut world, 0, &ToCore::Authenticate(Authenticate { peer: elsewhere, ..frame }));
    assert_eq!(told(&mut world), success());
    world.now.mono_ms += limits::ATTEMPTS_WINDOW_MS;
    assert_eq!(plain(&mut world, 0, 104, "ada", "pencil"), success());
}

/// Sprayed over many names the guesses stop costing key derivations; SCRAM goes on.
#[test]
fn spraying_ends() {
    let mut world = world();
    for counter in 0..u64::from(limits::PLAIN_FAILURES_MAX) {
        assert_eq!(plain(&mut world, 0, counter, &format!("user{counter}"), "x"), not_authorized());
    }
    world.holding = true;
    plain(&mut world, 0, 1000, "ada", "pencil");
    assert!(world.answer_one() && !world.derive_one());
    assert_eq!(told(&mut world), [Told::Failure(SaslCondition::TemporaryAuthFailure, false)]);
    world.holding = false;
    let frame = auth(&world, 1001, "SCRAM-SHA-1", Some(b"n,,n=ada,r=nonce"));
    send(&mut world, 0, &frame);
    assert!(matches!(told(&mut world)[..], [Told::Challenge(_)]));
    world.now.mono_ms += limits::ATTEMPTS_WINDOW_MS;
    assert_eq!(plain(&mut world, 0, 1002, "ada", "pencil"), success());
}

/// Many tries begun before the first one is judged get no more answers than one after the other.
#[test]
fn threat_035_guessing_side_by_side_ends_too() {
    let mut world = world();
    world.holding = true;
    let tries = u64::from(limits::ATTEMPTS_MAX) + 5;
    for counter in 0..tries {
        assert_eq!(plain(&mut world, 0, counter, "ada", "wrong"), []);
    }
    plain(&mut world, 0, tries, "ada", "pencil");
    while world.answer_one() {}
    while world.derive_one() {}
    let answers = told(&mut world);
    let count = |condition| answers.iter().filter(|told| **told == Told::Failure(condition, false)).count();
    assert_eq!(count(SaslCondition::NotAuthorized), limits::ATTEMPTS_MAX as usize);
    assert_eq!(count(SaslCondition::TemporaryAuthFailure), 6, "{answers:?}");
}

/// The first message may name someone whose shard is another.
#[test]
fn an_account_of_another_shard_moves() {
    let mut world = Core::new(4);
    world.account_with_password(ADA, "pencil");
    let (owner, slot) = (world.owner(ADA), world.shards[0].settings.slot_key.slot(ADA).index());
    let wrong = (owner + 1) % 4;
    assert_eq!(plain(&mut world, wrong, 1, "ada", "pencil"), [Told::Moved(slot)]);
    let frame = auth(&world, 2, "PLAIN", None);
    send(&mut world, wrong, &frame);
    assert_eq!(told(&mut world), [Told::Challenge(Vec::new())]);
    send(&mut world, wrong, &ToCore::AuthResponse(AuthResponse { counter: SOCKETS + 2, data: b"\0ada\0pencil" }));
    assert_eq!(told(&mut world), [Told::Moved(slot)]);
    assert_eq!(plain(&mut world, owner, 2, "ada", "pencil"), success());
    assert!(world.shards[wrong].accounts.is_empty());
    world.now.mono_ms += limits::LOGIN_IDLE_MS;
    world.run();
    assert!(world.shards[wrong].logins.is_empty(), "what went on elsewhere is forgotten");
}

#[test]
fn what_comes_late_finds_nothing() {
    let mut world = world();
    // The socket closes while its credentials are read, and while its keys are derived.
    for held in [1, 2] {
        world.holding = true;
        plain(&mut world, 0, 7, "ada", "pencil");
        if held == 2 {
            assert!(world.answer_one());
        }
        send(&mut world, 0, &ToCore::Closed(Closed { counter: SOCKETS + 7, generation: None, clean: false }));
        while world.answer_one() || world.derive_one() {}
        assert_eq!(told(&mut world), []);
        assert!(world.shards[0].logins.is_empty());
    }
    // The first of two exchanges on one stream is answered during the second.
    plain(&mut world, 0, 8, "ada", "pencil");
    send(&mut world, 0, &ToCore::AuthAbort(Counter { counter: SOCKETS + 8 }));
    plain(&mut world, 0, 8, "ada", "wrong");
    world.holding = false;
    while world.answer_one() || world.derive_one() {}
    let answers = told(&mut world);
    assert_eq!(answers, [Told::Failure(SaslCondition::NotAuthorized, false)]);
}

/// A password that was changed while an exchange with the old one ran proves nothing.
#[test]
fn an_old_password_does_not_slip_through() {
    let mut world = world();
    let client = Client::new(Hash::Sha256, "ada", "pencil");
    let first = client.first();
    // With -PLUS on offer and a client that cannot bind.
    let frame = auth(&world, 1, "SCRAM-SHA-256", Some(&first));
    send(&mut world, 0, &frame);
    let Some(Told::Challenge(challenge)) = told(&mut world).pop() else { panic!("no challenge") };
    world.command(0, "user password", &[("account", ADA), ("password", "brush")]);
    assert_eq!(world.replies.pop(), Some((0, Reply::Ok(Done::did(ADA, "password changed")))));
    let (last, _) = client.last(std::str::from_utf8(&challenge).unwrap());
    send(&mut world, 0, &ToCore::AuthResponse(AuthResponse { counter: SOCKETS + 1, data: last.as_bytes() }));
    assert_eq!(told(&mut world), not_authorized());
    assert_eq!(plain(&mut world, 0, 2, "ada", "pencil"), not_authorized());
    assert_eq!(plain(&mut world, 0, 3, "ada", "brush"), success());
}

/// Accounts that do not exist leave nothing behind, those that do are in memory once.
#[test]
fn loads_are_shared_and_strangers_forgotten() {
    let mut world = world();
    for counter in 0..3 {
        plain(&mut world, 0, counter, "eve", "x");
        plain(&mut world, 0, 10 + counter, "ada", "pencil");
    }
    assert_eq!(world.shards[0].accounts.len(), 1);
    let key = world.shards[0].accounts.find(ADA).unwrap();
    assert_eq!(world.shards[0].accounts.get(key).unwrap().pins, 3);
    for counter in 10..13 {
        send(&mut world, 0, &ToCore::Closed(Closed { counter: SOCKETS + counter, generation: None, clean: true }));
    }
    assert_eq!(world.shards[0].accounts.get(key).unwrap().pins, 0);
}

/// A store that fails is not a wrong password.
#[test]
fn storage_trouble_is_temporary() {
    let mut world = world();
    // The shard's epoch is fenced: its questions are answered, its reads too, so break the read.
    world.holding = true;
    plain(&mut world, 0, 1, "ada", "pencil");
    world.fail_one();
    assert_eq!(told(&mut world), [Told::Failure(SaslCondition::TemporaryAuthFailure, false)]);
    world.holding = false;
    assert_eq!(plain(&mut world, 0, 1, "ada", "pencil"), success());
    let deleted = Ask::Apply { changes: vec![Change::DeleteAccount { account: BareJid::parse(ADA).unwrap() }] };
    world.ask_store(&BareJid::parse(ADA).unwrap(), deleted);
    assert_eq!(plain(&mut world, 0, 2, "ada", "pencil"), not_authorized());
}

/// XEP-0388 §2.4, and §3: only inside TLS.
#[test]
fn whoever_calls_itself_another_is_refused() {
    let mut world = world();
    world.shards[0].settings.clear_login = true;
    for (from, expected) in [
        (None, success()),
        (Some("ada@example.org"), success()),
        (Some("grace@example.org"), vec![Told::Failure(SaslCondition::InvalidAuthzid, false)]),
        (Some("ada@example.net"), vec![Told::Failure(SaslCondition::InvalidAuthzid, false)]),
    ] {
        let frame = inline(&world, 1, "PLAIN", b"\0ada\0pencil", from);
        send(&mut world, 0, &frame);
        assert_eq!(told(&mut world), expected, "{from:?}");
    }
    let ToCore::AuthenticateInline(mut frame) = inline(&world, 2, "PLAIN", b"\0ada\0pencil", None) else {
        unreachable!()
    };
    frame.authenticate.security = Security::ClearLoopback;
    let encryption =
        |refused| if refused { vec![Told::Failure(SaslCondition::EncryptionRequired, false)] } else { success() };
    send(&mut world, 0, &ToCore::Authenticate(frame.authenticate.clone()));
    assert_eq!(told(&mut world), encryption(false));
    send(&mut world, 0, &ToCore::AuthenticateInline(frame));
    assert_eq!(told(&mut world), encryption(true));
}

// ---- certificates (XEP-0178) ----------------------------------------------------------------

/// What an edge says of a certificate, and a login by it.
fn external(world: &mut Core, addresses: &[&str], authzid: &[u8]) -> Vec<Told> {
    let certificate = Certificate { counter: SOCKETS + 1, addresses: addresses.to_vec() };
    send(world, 0, &ToCore::Certificate(certificate));
    let frame = auth(world, 1, "EXTERNAL", Some(authzid));
    send(world, 0, &frame);
    told(world)
}

fn with_certificates() -> Core {
    let mut world = world();
    let mut domain = hearth_storage::DomainRecord::new(DOMAIN);
    domain.set(crate::sasl::EXTERNAL.name, true);
    world.shards[0].domains.put(domain);
    world
}

#[test]
fn a_certificate_stands_for_an_account_that_there_is() {
    let failed = |condition| vec![Told::Failure(condition, false)];
    let invalid = failed(SaslCondition::InvalidAuthzid);
    let not_offered = failed(SaslCondition::InvalidMechanism);
    for (addresses, authzid, expected) in [
        (&[ADA][..], "", success()),
        (&[ADA], ADA, success()),
        (&[ADA], "ADA@Example.org", success()),
        (&[ADA, "grace@example.org"], ADA, success()),
        // §2: of several one has to be named.
        (&[ADA, "grace@example.org"], "", invalid.clone()),
        (&[ADA], "grace@example.org", invalid.clone()),
        (&[ADA], "ada@example.org/desk", invalid.clone()),
        (&[ADA], "ada", invalid.clone()),
        (&[ADA], "\0", invalid.clone()),
        // Not an account, and not said to be none.
        (&["nobody@example.org"], "", not_authorized()),
        // Of other domains, or in no form that an edge finds: as no certificate at all.
        (&["ada@example.net"], "", not_offered.clone()),
        (&["Ada@example.org"], "", not_offered.clone()),
        (&["example.org"], "", not_offered.clone()),
        (&["ada@example.org/desk"], "", not_offered.clone()),
        (&[], "", not_offered.clone()),
    ] {
        let mut world = with_certificates();
        assert_eq!(external(&mut world, addresses, authzid.as_bytes()), expected, "{addresses:?} {authzid:?}");
    }
    // Where it is not how one logs in.
    assert_eq!(external(&mut world(), &[ADA], b""), not_offered);
}

#[test]
fn a_certificate_is_of_the_socket_and_the_login_that_it_was_shown_for() {
    let refused = vec![Told::Failure(SaslCondition::InvalidMechanism, false)];
    let mut world = with_certificates();
    let frame = ToCore::Certificate(Certificate { counter: SOCKETS + 2, addresses: vec![ADA] });
    send(&mut world, 0, &frame);
    let login = auth(&world, 1, "EXTERNAL", Some(b""));
    send(&mut world, 0, &login);
    assert_eq!(told(&mut world), refused, "another's");
    assert_eq!(external(&mut world, &[ADA], b""), success());
    let login = auth(&world, 1, "EXTERNAL", Some(b""));
    send(&mut world, 0, &login);
    assert_eq!(told(&mut world), refused, "not shown again");
    // Never in the clear, whatever an edge says.
    send(&mut world, 0, &ToCore::Certificate(Certificate { counter: SOCKETS + 3, addresses: vec![ADA] }));
    let ToCore::Authenticate(mut clear) = auth(&world, 3, "EXTERNAL", Some(b"")) else { unreachable!() };
    clear.security = Security::ClearLoopback;
    world.shards[0].settings.clear_login = true;
    send(&mut world, 0, &ToCore::Authenticate(clear));
    assert_eq!(told(&mut world), refused);
}
