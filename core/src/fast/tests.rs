//! Tokens through a shard, with a real store behind.

use super::*;
use crate::commands::Reply;
use crate::sasl::crypto::Hash;
use crate::testing::{Core, SOCKETS};
use hearth_wire::StreamCondition;
use hearth_wire::to_core::{Authenticate, Bind, ChannelBinding, Security, ToCore, UserAgent};
use hearth_wire::to_edge::ToEdge;
use std::collections::HashSet;
use std::net::IpAddr;

const ADA: &str = "ada@example.org";
const EXPORTER: &[u8] = b"what this connection alone has..";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const HT: &str = "HT-SHA-256-EXPR";

/// What came of a login, and the token that came with it.
#[derive(Debug)]
struct Told {
    outcome: Result<(), SaslCondition>,
    made: Option<(String, u64)>,
}

impl Told {
    #[track_caller]
    fn token(self) -> String {
        assert_eq!(self.outcome, Ok(()));
        self.made.expect("a token").0
    }

    #[track_caller]
    fn fails(self, condition: SaslCondition) {
        assert_eq!((self.outcome, self.made), (Err(condition), None));
    }

    /// In, without another token.
    #[track_caller]
    fn enters(self) {
        assert_eq!((self.outcome, self.made), (Ok(()), None));
    }
}

/// One client's login.
#[derive(Clone, Copy)]
struct Login<'a> {
    mechanism: &'a str,
    initial: &'a [u8],
    device: Option<u8>,
    fast: Option<Fast>,
    request: Option<&'a str>,
    binding: ChannelBinding<'a>,
}

const PLAIN: Login<'_> = Login {
    mechanism: "PLAIN",
    initial: b"\0ada\0pencil",
    device: Some(1),
    fast: None,
    request: None,
    binding: ChannelBinding { tls_exporter: Some(EXPORTER), tls_server_end_point: None },
};
const ASKS: Login<'_> = Login { request: Some(HT), ..PLAIN };
const USES: Fast = Fast { count: None, invalidate: false };

fn initial(token: &str) -> Vec<u8> {
    let tag = Hash::Sha256.hmac(token.as_bytes(), &[b"Initiator", EXPORTER]);
    [b"ada\0", tag.as_ref()].concat()
}

struct Rig {
    core: Core,
    counter: u64,
}

impl Rig {
    fn new() -> Rig {
        let mut core = Core::new(2);
        core.account_with_password(ADA, "pencil");
        Rig { core, counter: SOCKETS }
    }

    fn begin(&mut self, login: Login<'_>) {
        self.counter += 1;
        let shard = self.core.owner(ADA);
        let agent = login.device.map(|byte| UserAgent { id: [byte; 16], software: Some("Pen"), device: None });
        let frame = AuthenticateInline {
            authenticate: Authenticate {
                counter: self.counter,
                slot: self.core.shards[0].settings.slot_key.slot(ADA),
                epoch: 1,
                domain: "example.org",
                peer: IpAddr::from([192, 0, 2, 1]),
                security: Security::Tls13,
                binding: login.binding,
                mechanism: login.mechanism,
                initial: Some(login.initial),
            },
            from: None,
            agent,
            fast: login.fast,
            request_token: login.request,
        };
        self.core.frame(shard, &ToCore::AuthenticateInline(frame));
        self.core.run();
    }

    /// What the edge was told since.
    fn told(&mut self) -> Told {
        let mut told = Told { outcome: Err(SaslCondition::Aborted), made: None };
        for body in std::mem::take(&mut self.core.sockets) {
            match ToEdge::decode(&body).unwrap().unwrap() {
                ToEdge::FastToken(f) => {
                    told.made = Some((String::from_utf8(f.token.to_vec()).unwrap(), f.expires_ms));
                }
                ToEdge::AuthSuccess(_) => told.outcome = Ok(()),
                ToEdge::AuthFailure(f) => told.outcome = Err(f.condition),
                // Of a login before.
                ToEdge::Close(_) => {}
                other => panic!("{other:?}"),
            }
        }
        told
    }

    fn login(&mut self, login: Login<'_>) -> Told {
        self.begin(login);
        self.told()
    }

    /// By token, from the first device.
    fn by(&mut self, token: &str, fast: Fast) -> Told {
        self.login(Login { mechanism: HT, initial: &initial(token), fast: Some(fast), ..PLAIN })
    }

    fn counted(&mut self, token: &str, count: u64) -> Told {
        self.by(token, Fast { count: Some(count), ..USES })
    }

    /// The core dies and comes back; its edge has no sessions.
    fn restart(&mut self) {
        self.core.crash();
        self.core.all_sent();
    }

    fn devices(&mut self) -> Vec<Device> {
        self.core.stored(ADA).devices
    }

    /// Whether the stored tokens are those in memory.
    fn check(&mut self) {
        let stored: HashSet<String> = self.devices().iter().map(|device| format!("{device:?}")).collect();
        let held = &self.core.loaded(ADA).unwrap().devices;
        assert_eq!(held.iter().map(|device| format!("{device:?}")).collect::<HashSet<_>>(), stored);
    }
}

#[test]
fn a_token_takes_the_place_of_the_password() {
    let mut rig = Rig::new();
    let now_ms = rig.core.now.utc_ms;
    let told = rig.login(ASKS);
    assert_eq!(told.made.as_ref().unwrap().1, now_ms + crate::limits::TOKEN_MS);
    let token = told.token();
    // 256 bits, as a text that any attribute holds.
    assert_eq!(BASE64.decode(&token).unwrap().len(), 32);
    let device = rig.devices().pop().unwrap();
    assert_eq!((device.software.as_deref(), device.id, device.used_ms), (Some("Pen"), [1; 16], now_ms));
    for _ in 0..3 {
        rig.by(&token, USES).enters();
    }
    rig.check();
    // It says who it is, and is bound.
    let initial = initial(&token);
    let by = Login { mechanism: HT, initial: &initial, fast: Some(USES), ..PLAIN };
    for device in [None, Some(2)] {
        rig.login(Login { device, ..by }).fails(SaslCondition::NotAuthorized);
    }
    let elsewhere = ChannelBinding { tls_exporter: Some(b"another connection's........"), ..PLAIN.binding };
    rig.login(Login { binding: elsewhere, ..by }).fails(SaslCondition::NotAuthorized);
    rig.login(Login { fast: None, ..by }).fails(SaslCondition::InvalidMechanism);
}

#[test]
fn a_token_is_made_for_who_may_have_one() {
    let mut rig = Rig::new();
    for login in [
        PLAIN,
        Login { device: None, ..ASKS },
        Login { request: Some("HT-SHA-256-ENDP"), ..ASKS },
        Login { request: Some("PLAIN"), ..ASKS },
        Login { request: Some("HT-SHA-1-NONE"), ..ASKS },
        Login { binding: ChannelBinding { tls_exporter: None, tls_server_end_point: None }, ..ASKS },
    ] {
        rig.login(login).enters();
    }
    rig.login(Login { initial: b"\0ada\0wrong", ..ASKS }).fails(SaslCondition::NotAuthorized);
    assert_eq!(rig.devices(), []);
}

/// §5.1: two slots. The old one dies when the new one is used.
#[test]
fn tokens_are_renewed() {
    let mut rig = Rig::new();
    let first = rig.login(ASKS).token();
    rig.by(&first, USES).enters();
    rig.core.advance(DAY_MS);
    let second = rig.by(&first, USES).token();
    // The client may not have heard of it; what it did not use is replaced.
    let third = rig.by(&first, USES).token();
    rig.by(&second, USES).fails(SaslCondition::NotAuthorized);
    assert_eq!(rig.devices()[0].tokens().count(), 2);
    rig.by(&third, USES).enters();
    rig.by(&first, USES).fails(SaslCondition::NotAuthorized);
    // The password makes another, and leaves the one in use alone until then.
    let fourth = rig.login(ASKS).token();
    rig.by(&third, USES).enters();
    rig.by(&fourth, USES).enters();
    rig.by(&third, USES).fails(SaslCondition::NotAuthorized);
    // Asked for along with a token.
    let (along, request) = (initial(&fourth), Some(HT));
    let fifth = rig.login(Login { mechanism: HT, initial: &along, fast: Some(USES), request, ..PLAIN }).token();
    rig.by(&fifth, USES).enters();
    rig.check();
    assert_eq!(rig.devices().len(), 1);
}

#[test]
fn counts_only_grow() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    rig.counted(&token, 0).fails(SaslCondition::NotAuthorized);
    rig.counted(&token, 5).enters();
    for again in [5, 4, 0] {
        rig.counted(&token, again).fails(SaslCondition::NotAuthorized);
    }
    rig.by(&token, USES).enters();
    rig.counted(&token, u64::MAX).enters();
    // On the disk before anybody was let in.
    assert_eq!(rig.devices()[0].current.as_ref().unwrap().count, u64::MAX);
    rig.restart();
    rig.counted(&token, u64::MAX).fails(SaslCondition::NotAuthorized);
    // Two at once: one gets in.
    let (mut rig, fast) = (Rig::new(), Some(Fast { count: Some(1), ..USES }));
    let token = rig.login(ASKS).token();
    rig.core.holding = true;
    let said = initial(&token);
    for _ in 0..2 {
        rig.begin(Login { mechanism: HT, initial: &said, fast, ..PLAIN });
    }
    rig.core.holding = false;
    rig.core.answer();
    let outcomes: Vec<bool> = std::mem::take(&mut rig.core.sockets)
        .iter()
        .map(|body| matches!(ToEdge::decode(body).unwrap().unwrap(), ToEdge::AuthSuccess(_)))
        .collect();
    assert_eq!(outcomes.iter().filter(|success| **success).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn a_token_ends_when_its_client_says_so() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    rig.core.advance(2 * DAY_MS);
    rig.by(&token, Fast { count: None, invalidate: true }).enters();
    rig.by(&token, USES).fails(SaslCondition::CredentialsExpired);
    // Unless it asks for another in the same breath.
    let token = rig.login(ASKS).token();
    let said = initial(&token);
    let fast = Some(Fast { count: None, invalidate: true });
    let next = rig.login(Login { mechanism: HT, initial: &said, fast, request: Some(HT), ..PLAIN }).token();
    rig.by(&token, USES).fails(SaslCondition::CredentialsExpired);
    rig.by(&next, USES).enters();
    rig.check();
}

#[test]
fn a_token_ends_in_time() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    rig.core.advance(crate::limits::TOKEN_MS - 1);
    let next = rig.by(&token, USES).token();
    rig.core.advance(1);
    rig.by(&token, USES).fails(SaslCondition::CredentialsExpired);
    rig.by(&next, USES).enters();
    // A dead one is no guess: nobody is locked out by it.
    for _ in 0..crate::limits::ATTEMPTS_MAX {
        rig.by("nobody's", USES).outcome.unwrap_err();
    }
    rig.by(&next, USES).fails(SaslCondition::TemporaryAuthFailure);
}

#[test]
fn an_account_has_so_many_devices() {
    let mut rig = Rig::new();
    let mut tokens = Vec::new();
    for device in 1..=DEVICES_PER_ACCOUNT_MAX {
        rig.core.advance(1);
        tokens.push(rig.login(Login { device: u8::try_from(device).ok(), ..ASKS }).token());
    }
    // The first is in use, the second is not, the third has ended.
    rig.core.advance(1);
    rig.counted(&tokens[0], 1).enters();
    let said = initial(&tokens[2]);
    let fast = Some(Fast { count: None, invalidate: true });
    rig.login(Login { mechanism: HT, initial: &said, device: Some(3), fast, ..PLAIN }).enters();
    for new in [100, 101] {
        rig.login(Login { device: Some(new), ..ASKS }).token();
        rig.check();
    }
    let ids: HashSet<u8> = rig.devices().iter().map(|device| device.id[0]).collect();
    assert_eq!(ids.len(), DEVICES_PER_ACCOUNT_MAX);
    assert!(ids.contains(&1) && ids.contains(&4) && !ids.contains(&2) && !ids.contains(&3), "{ids:?}");
    rig.by(&tokens[0], USES).enters();
}

#[test]
fn threat_038_tokens_are_the_generators_and_never_the_same() {
    struct Zeroes;
    impl Random for Zeroes {
        fn fill_bytes(&mut self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }
    let times = Times { now_ms: 1, life_ms: 2 };
    // Nothing but the generator, which in the daemon is the operating system's, goes into it.
    assert_eq!(make(TokenBinding::None, 3, times, &mut Zeroes).secret, [0; TOKEN_BYTES]);
    const { assert!(TOKEN_BYTES * 8 >= 128) };
    let mut random = crate::random::SeededRandom::new(7);
    let made: HashSet<[u8; TOKEN_BYTES]> =
        (0..100_000).map(|_| make(TokenBinding::None, 3, times, &mut random).secret).collect();
    assert_eq!(made.len(), 100_000);
}

/// Ends them one way after another, each time with a fresh token, a session and a login that is not bound yet.
#[test]
fn threat_040_041_tokens_end_with_the_password_the_account_and_the_operators_word() {
    type End = (&'static str, fn(&mut Core), SaslCondition);
    let ends: [End; 4] = [
        (
            "password",
            |core| run(core, "user password", &[("account", ADA), ("password", "broad brush")]),
            SaslCondition::CredentialsExpired,
        ),
        ("disable", |core| run(core, "user disable", &[("account", ADA)]), SaslCondition::CredentialsExpired),
        (
            "revoke",
            |core| run(core, "sessions kick", &[("jid", ADA), ("revoke", "true")]),
            SaslCondition::CredentialsExpired,
        ),
        ("delete", |core| run(core, "user delete", &[("account", ADA)]), SaslCondition::NotAuthorized),
    ];
    for (how, end, condition) in ends {
        let mut rig = Rig::new();
        let token = rig.login(ASKS).token();
        let desk = rig.core.login("ada@example.org/desk");
        let phone = rig.core.login("ada@example.org/phone");
        rig.core.enable(phone, None);
        rig.core.close(phone, false);
        let parked = |core: &Core| core.shards.iter().map(|shard| shard.parked.len()).sum::<usize>();
        assert_eq!(parked(&rig.core), 1);
        rig.by(&token, USES).enters();
        let waiting = rig.counter;
        end(&mut rig.core);
        assert_eq!(rig.core.closed(desk), Some(Some(StreamCondition::NotAuthorized)), "{how}");
        assert_eq!(parked(&rig.core), 0, "{how}: who could have come back");
        let closed = std::mem::take(&mut rig.core.sockets);
        assert!(
            closed
                .iter()
                .any(|body| matches!(ToEdge::decode(body), Ok(Some(ToEdge::Close(close))) if close.counter == waiting)),
            "{how}: who had not bound yet"
        );
        rig.by(&token, USES).fails(condition);
        if how != "delete" {
            rig.check();
            assert!(rig.devices().iter().all(Device::is_ended), "{how}");
            // Nor behind a restart.
            rig.restart();
            rig.by(&token, USES).fails(condition);
        }
    }
}

fn run(core: &mut Core, name: &str, parameters: &[(&str, &str)]) {
    core.replies.clear();
    core.command(core.owner(ADA), name, parameters);
    assert!(matches!(&core.replies[..], [(_, Reply::Ok(_))]), "{name}: {:?}", core.replies);
}

/// A plain kick ends sessions, and nothing else.
#[test]
fn threat_040_a_plain_kick_leaves_tokens_alone() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    let desk = rig.core.login("ada@example.org/desk");
    run(&mut rig.core, "sessions kick", &[("jid", ADA)]);
    assert!(rig.core.closed(desk).is_some());
    rig.by(&token, USES).enters();
}

/// An earlier release changes passwords, and disables, without a word about tokens.
#[test]
fn threat_041_a_token_is_never_older_than_the_password() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    let mut stored = rig.core.stored(ADA);
    stored.credentials.generation += 1;
    let account = hearth_wire::BareJid::parse(ADA).unwrap();
    let change = Change::SetCredentials { account: account.clone(), credentials: stored.credentials };
    rig.core.ask_store(&account, hearth_storage::Ask::Apply { changes: vec![change] });
    rig.restart();
    rig.by(&token, USES).fails(SaslCondition::CredentialsExpired);

    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    let disabled = Some(hearth_storage::Disabled { since_ms: 1, reason: None });
    let change = Change::PutDisabled { account: account.clone(), disabled };
    rig.core.ask_store(&account, hearth_storage::Ask::Apply { changes: vec![change] });
    rig.restart();
    rig.by(&token, USES).fails(SaslCondition::AccountDisabled);
}

/// Who proves a token while it is being ended has proved nothing.
#[test]
fn a_token_that_ends_while_it_is_verified_is_of_no_use() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    let said = initial(&token);
    rig.core.holding = true;
    rig.begin(Login { mechanism: HT, initial: &said, fast: Some(USES), ..PLAIN });
    rig.core.holding = false;
    run_held(&mut rig.core);
    rig.core.answer();
    rig.told().fails(SaslCondition::CredentialsExpired);
}

/// The operator's word overtakes what was read for the login.
fn run_held(core: &mut Core) {
    let shard = core.owner(ADA);
    core.command(shard, "sessions kick", &[("jid", ADA), ("revoke", "true")]);
}

/// Storage that takes no change lets nobody use a count twice, and everybody else in.
#[test]
fn where_nothing_can_be_stored() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    rig.core.advance(DAY_MS);
    let health =
        hearth_storage::Health { condition: hearth_storage::Condition::Full, since_ms: 0, cause: String::new() };
    for shard in 0..rig.core.shards.len() {
        rig.core.input(shard, crate::shard::Input::Storage(health.clone()));
    }
    rig.login(ASKS).enters();
    rig.by(&token, USES).enters();
    rig.counted(&token, 1).fails(SaslCondition::TemporaryAuthFailure);
    rig.by(&token, Fast { count: None, invalidate: true }).enters();
    run(&mut rig.core, "sessions kick", &[("jid", ADA), ("revoke", "true")]);
    rig.by(&token, USES).fails(SaslCondition::CredentialsExpired);
}

#[test]
fn a_login_by_token_costs_one_read() {
    let mut rig = Rig::new();
    let token = rig.login(ASKS).token();
    rig.by(&token, USES).enters();
    rig.core.holding = true;
    let said = initial(&token);
    rig.begin(Login { mechanism: HT, initial: &said, fast: Some(USES), ..PLAIN });
    assert!(rig.core.answer_one() && !rig.core.answer_one(), "one question");
    rig.told().enters();
    let shard = rig.core.owner(ADA);
    let counter = rig.counter;
    rig.core.frame(shard, &ToCore::Bind(Bind { counter, resource: Some("desk"), credit: 1_000_000 }));
    rig.core.run();
    let told = std::mem::take(&mut rig.core.sockets);
    assert!(matches!(ToEdge::decode(&told[0]).unwrap().unwrap(), ToEdge::Bound(bound) if bound.counter == counter));
}
