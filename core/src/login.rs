//! From a socket to an authenticated account: SASL exchanges on their way (RFC 6120 §6).
//!
//! The exchange itself is `sasl::Exchange`, a machine without surroundings; here its questions go to
//! storage and to the derivation workers, and its answers to the edge. A socket has one exchange at
//! a time, known by a serial number, so that an answer to an earlier one finds nothing.
//!
//! An account that lives in another shard's slot is answered with `Moved`; what failed here stays
//! counted here.

use crate::account::AccountKey;
use crate::cx::{Cx, StorageFailed};
use crate::derive::Task;
use crate::edges;
use crate::fast::{self, Made, Times, Wish};
use crate::limits;
use crate::link::LinkId;
use crate::outputs::Event;
use crate::sasl::{Along, Exchange, Input, Mechanism, Output, Proved};
use crate::slots::handover;
use crate::tally::{Bounds, Prefix};
use hearth_storage::{Answer, Credentials, Device};
use hearth_wire::to_core::{AuthResponse, Authenticate, AuthenticateInline, Security};
use hearth_wire::to_edge::{AuthChallenge, AuthFailure, AuthSuccess, Close, FastToken, Moved, ToEdge};
use hearth_wire::{BareJid, SaslCondition, StreamCondition};
use std::net::IpAddr;

#[cfg(test)]
mod tests;

/// Of [`crate::shard::Shard::plain_failures`].
pub const PLAIN_BOUNDS: Bounds = Bounds {
    events_max: limits::PLAIN_FAILURES_MAX,
    window_ms: limits::ATTEMPTS_WINDOW_MS,
    rows_max: limits::ATTEMPTS_ROWS_MAX,
};

/// A socket that is not bound yet.
#[derive(Default)]
pub struct Login {
    /// Authenticated as this account, which is pinned in memory until bind or close.
    pub account: Option<AccountKey>,
    failures: u8,
    attempt: Option<Box<Attempt>>,
    used_ms: u64,
}

impl Login {
    /// A socket that has proved to be this account; the account is pinned by the caller.
    pub fn authenticated(account: AccountKey) -> Login {
        Login { account: Some(account), ..Login::default() }
    }
}

/// One exchange under way.
struct Attempt {
    serial: u64,
    exchange: Exchange,
    mechanism: &'static str,
    source: IpAddr,
    /// Of the credentials that are being proved.
    generation: u64,
    /// By XEP-0388; empty by RFC 6120.
    wish: Wish,
}

/// Names the attempt that a question was asked for.
#[derive(Clone, Copy)]
struct Asker {
    link: LinkId,
    counter: u64,
    serial: u64,
}

/// `<auth/>` came (§6.4.2).
pub fn on_authenticate(cx: &mut Cx<'_>, link: LinkId, frame: &Authenticate<'_>) {
    begin(cx, link, frame, None);
}

/// `<authenticate/>` came (XEP-0388 §2.4).
pub fn on_authenticate_inline(cx: &mut Cx<'_>, link: LinkId, frame: &AuthenticateInline<'_>) {
    begin(cx, link, &frame.authenticate, Some(frame));
}

fn begin(cx: &mut Cx<'_>, link: LinkId, frame: &Authenticate<'_>, inline: Option<&AuthenticateInline<'_>>) {
    let counter = frame.counter;
    let certified = edges::take_certificate(cx, link, counter, frame.domain);
    let full = cx.shard.logins.len() >= limits::LOGINS_MAX && !cx.shard.logins.contains_key(&(link, counter));
    if full {
        let condition = SaslCondition::TemporaryAuthFailure;
        cx.out.frame(link, &ToEdge::AuthFailure(AuthFailure { counter, condition, last: false }));
        return;
    }
    // An edge asks again only if it dropped our success because the client had aborted meanwhile.
    release(cx, link, counter);
    // XEP-0388 is for streams inside TLS, whatever else is allowed.
    let in_clear_allowed = cx.shard.settings.clear_login && inline.is_none();
    let refused = if frame.security == Security::ClearLoopback && !in_clear_allowed {
        Some(SaslCondition::EncryptionRequired)
    } else if !cx.shard.domains.contains(frame.domain) {
        Some(SaslCondition::NotAuthorized)
    } else {
        None
    };
    if let Some(condition) = refused {
        return fail(cx, link, counter, None, Some(frame.peer), condition);
    }
    let serial = cx.shard.next_attempt;
    cx.shard.next_attempt = serial.wrapping_add(1);
    let exchange = Exchange::new(cx.shard.random.as_mut(), &cx.shard.settings.secret);
    let mechanism = Mechanism::from_name(frame.mechanism).map_or("unknown", Mechanism::name);
    let wish = inline.map(Wish::of).unwrap_or_default();
    let from = inline.and_then(|inline| inline.from);
    let along = Along { from, by_token: wish.by_token(), certified: &certified };
    let attempt = Attempt { serial, exchange, mechanism, source: frame.peer, generation: 0, wish };
    let login = cx.shard.logins.entry((link, counter)).or_default();
    // A second `<auth/>` before the first is answered ends both: the exchange is out of step.
    let out_of_turn = login.attempt.replace(Box::new(attempt)).is_some();
    let asker = Asker { link, counter, serial };
    if out_of_turn {
        return feed(cx, asker, Input::Abort(SaslCondition::MalformedRequest));
    }
    feed(
        cx,
        asker,
        Input::Start {
            mechanism: frame.mechanism,
            initial: frame.initial,
            security: frame.security,
            binding: frame.binding,
            domain: frame.domain,
            along,
        },
    );
}

/// `<response/>` came (§6.4.3).
pub fn on_response(cx: &mut Cx<'_>, link: LinkId, frame: &AuthResponse<'_>) {
    on_word(cx, link, frame.counter, Input::Response(frame.data), SaslCondition::MalformedRequest);
}

/// `<abort/>` came (§6.4.4).
pub fn on_abort(cx: &mut Cx<'_>, link: LinkId, counter: u64) {
    on_word(cx, link, counter, Input::Abort(SaslCondition::Aborted), SaslCondition::Aborted);
}

/// A word within an exchange; without one it fails for `otherwise`.
fn on_word(cx: &mut Cx<'_>, link: LinkId, counter: u64, input: Input<'_>, otherwise: SaslCondition) {
    let Some(login) = cx.shard.logins.get(&(link, counter)) else {
        // This shard's part is over (moved, timed out): no attempts to count.
        cx.out.frame(link, &ToEdge::AuthFailure(AuthFailure { counter, condition: otherwise, last: false }));
        return;
    };
    match &login.attempt {
        Some(attempt) => feed(cx, Asker { link, counter, serial: attempt.serial }, input),
        None => fail(cx, link, counter, None, None, otherwise),
    }
}

/// The socket closed, or its link is gone.
pub fn on_closed(cx: &mut Cx<'_>, link: LinkId, counter: u64) {
    release(cx, link, counter);
    cx.shard.logins.remove(&(link, counter));
}

/// The socket is nobody's any more; the account may leave memory.
fn release(cx: &mut Cx<'_>, link: LinkId, counter: u64) {
    let account = cx.shard.logins.get_mut(&(link, counter)).and_then(|login| login.account.take());
    if let Some(account) = account.and_then(|key| cx.account_mut(key)) {
        account.pins = account.pins.saturating_sub(1);
    }
}

/// Closes the sockets that authenticated as this account and are not bound yet.
pub fn close_all(cx: &mut Cx<'_>, account: AccountKey, condition: StreamCondition, text: &str) {
    let sockets = cx.shard.logins.iter().filter(|(_, login)| login.account == Some(account));
    for (link, counter) in sockets.map(|(socket, _)| *socket).collect::<Vec<_>>() {
        let condition = Some(condition);
        cx.out.frame(link, &ToEdge::Close(Close { counter, generation: None, condition, text }));
        on_closed(cx, link, counter);
    }
}

/// Forgets sockets that went on elsewhere and whose end nobody reported here.
pub fn sweep(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    cx.shard
        .logins
        .retain(|_, login| login.account.is_some() || now_ms.saturating_sub(login.used_ms) < limits::LOGIN_IDLE_MS);
}

fn attempt<'c>(cx: &'c mut Cx<'_>, asker: Asker) -> Option<&'c mut Attempt> {
    let login = cx.shard.logins.get_mut(&(asker.link, asker.counter))?;
    login.used_ms = cx.now.mono_ms;
    login.attempt.as_deref_mut().filter(|attempt| attempt.serial == asker.serial)
}

/// One input to the exchange, and what comes of it.
fn feed(cx: &mut Cx<'_>, asker: Asker, input: Input<'_>) {
    let Some(attempt) = attempt(cx, asker) else { return };
    let mut out = Vec::new();
    attempt.exchange.handle(input, &mut out);
    let Asker { link, counter, .. } = asker;
    for output in out {
        match output {
            Output::Challenge(data) => {
                cx.out.frame(link, &ToEdge::AuthChallenge(AuthChallenge { counter, data: &data }));
            }
            Output::LoadCredentials(jid) | Output::LoadTokens(jid) => load(cx, asker, &jid),
            Output::Derive(task) => derive(cx, asker, task),
            Output::Success { account, proved } => on_proved(cx, asker, account, proved),
            Output::Failure(condition) => on_failure(cx, asker, condition),
        }
    }
}

/// The client says who it is: here, or at another shard.
fn load(cx: &mut Cx<'_>, asker: Asker, jid: &BareJid) {
    let Some(source) = attempt(cx, asker).map(|attempt| attempt.source) else { return };
    let slot = cx.shard.settings.slot_key.slot(jid.as_str());
    let owner = cx.shard.slot_owner(slot);
    if !handover::is_known(owner) {
        return feed(cx, asker, Input::Abort(SaslCondition::TemporaryAuthFailure));
    }
    if owner != cx.shard.settings.index {
        cx.out.frame(asker.link, &ToEdge::Moved(Moved { counter: asker.counter, slot }));
        if let Some(login) = cx.shard.logins.get_mut(&(asker.link, asker.counter)) {
            login.attempt = None;
        }
        return;
    }
    if !cx.shard.attempts.may_try(jid, source, cx.now.mono_ms) {
        return feed(cx, asker, Input::Abort(SaslCondition::TemporaryAuthFailure));
    }
    cx.load_credentials(jid, move |cx, found| on_loaded(cx, asker, found));
}

/// PLAIN: the workers' time is everybody's.
fn derive(cx: &mut Cx<'_>, asker: Asker, task: Task) {
    let Some(source) = attempt(cx, asker).map(|attempt| attempt.source) else { return };
    if !cx.shard.plain_failures.may(&Prefix::of(source), cx.now.mono_ms) {
        return feed(cx, asker, Input::Abort(SaslCondition::TemporaryAuthFailure));
    }
    cx.derive(task, Box::new(move |cx, derived| feed(cx, asker, Input::Derived(derived))));
}

fn on_loaded(cx: &mut Cx<'_>, asker: Asker, found: Result<Option<(Credentials, Vec<Device>)>, StorageFailed>) {
    let Some(attempt) = attempt(cx, asker) else { return };
    match found {
        Ok(found) => {
            attempt.generation = found.as_ref().map_or(0, |(credentials, _)| credentials.generation);
            if attempt.exchange.wants_tokens() {
                let tokens = found.map(|(_, devices)| attempt.wish.tokens(&devices)).unwrap_or_default();
                feed(cx, asker, Input::Tokens(&tokens));
            } else {
                feed(cx, asker, Input::Credentials(found.as_ref().map(|(credentials, _)| credentials)));
            }
        }
        Err(StorageFailed) => feed(cx, asker, Input::Abort(SaslCondition::TemporaryAuthFailure)),
    }
}

/// The client is who it says, by the credentials as they were when it began.
fn on_proved(cx: &mut Cx<'_>, asker: Asker, jid: BareJid, proved: Proved) {
    let Some((source, generation)) = attempt(cx, asker).map(|attempt| (attempt.source, attempt.generation)) else {
        return;
    };
    // Tries side by side must not get past the limit that each found room under.
    if !cx.shard.attempts.may_try(&jid, source, cx.now.mono_ms) {
        return on_failure(cx, asker, SaslCondition::TemporaryAuthFailure);
    }
    let account = jid.clone();
    cx.with_account(&account, move |cx, key| {
        if attempt(cx, asker).is_none() {
            return;
        }
        let Some((key, account)) = key.and_then(|key| cx.account(key).map(|account| (key, account))) else {
            return on_failure(cx, asker, SaslCondition::TemporaryAuthFailure);
        };
        // Re-keyed meanwhile: what was proved is an old password. What a token stands for is judged with it.
        if proved.token.is_none() && account.credentials_generation != generation {
            return on_failure(cx, asker, SaslCondition::NotAuthorized);
        }
        on_tokens(cx, asker, key, proved);
    });
}

/// What the login means for its client's tokens; most have none. What changes is stored before the client hears of
/// anything, and where that fails it is let in all the same, unless a token or its count could then be used again.
fn on_tokens(cx: &mut Cx<'_>, asker: Asker, key: AccountKey, proved: Proved) {
    let Some(wish) = attempt(cx, asker).map(|attempt| attempt.wish.clone()) else { return };
    let times = Times { now_ms: cx.now.utc_ms, life_ms: cx.shard.settings.limits.token_ms };
    let shard = &mut *cx.shard;
    let Some(account) = shard.accounts.get(key) else { return };
    let plan = match fast::plan(account, &wish, proved.token.as_ref(), times, shard.random.as_mut()) {
        Ok(plan) => plan,
        Err(condition) => return on_failure(cx, asker, condition),
    };
    let (jid, disabled) = (account.jid.clone(), account.disabled.is_some());
    if let Some(source) = attempt(cx, asker).map(|attempt| attempt.source) {
        cx.shard.attempts.succeeded(&jid, source);
    }
    // §6.5.2, and only to who knows the password: all else is as with any account.
    if disabled {
        return on_failure(cx, asker, SaslCondition::AccountDisabled);
    }
    if plan.changes.is_empty() {
        return succeed(cx, asker, key, proved.data.as_deref(), None);
    }
    cx.write(key, plan.changes, move |cx, answer| {
        let stored = matches!(answer, Answer::Applied);
        if let (true, Some(account)) = (stored, cx.account_mut(key)) {
            account.devices = plan.devices;
        }
        if stored || !plan.must_be_stored {
            succeed(cx, asker, key, proved.data.as_deref(), plan.made.filter(|_| stored));
        } else {
            on_failure(cx, asker, SaslCondition::TemporaryAuthFailure);
        }
    });
}

fn succeed(cx: &mut Cx<'_>, asker: Asker, key: AccountKey, data: Option<&[u8]>, made: Option<Made>) {
    let Asker { link, counter, .. } = asker;
    // Its socket may have gone while its tokens were stored.
    let Some(mechanism) = attempt(cx, asker).map(|attempt| attempt.mechanism) else { return };
    let Some(jid) = cx.account(key).map(|account| account.jid.clone()) else { return };
    if let Some(login) = cx.shard.logins.get_mut(&(link, counter)) {
        login.attempt = None;
        login.account = Some(key);
    }
    crate::shard::pin(cx, key);
    if let Some(Made { token, expires_ms }) = made {
        cx.out.frame(link, &ToEdge::FastToken(FastToken { counter, token: token.expose(), expires_ms }));
    }
    cx.out.frame(link, &ToEdge::AuthSuccess(AuthSuccess { counter, account: jid.as_str(), data }));
    cx.event(Event::LoggedIn { account: jid.to_string(), mechanism });
}

/// The exchange failed: counted against the source if it was a guess at this account.
fn on_failure(cx: &mut Cx<'_>, asker: Asker, condition: SaslCondition) {
    let Some(attempt) = attempt(cx, asker) else { return };
    let (source, mechanism, claimed) = (attempt.source, attempt.mechanism, attempt.exchange.claimed().cloned());
    let mut condition = condition;
    if let Some(jid) = claimed.as_ref().filter(|_| condition == SaslCondition::NotAuthorized) {
        // Above the limit a wrong password is answered like a right one.
        if !cx.shard.attempts.may_try(jid, source, cx.now.mono_ms) {
            condition = SaslCondition::TemporaryAuthFailure;
        }
        cx.shard.attempts.failed(jid, source, cx.now.mono_ms);
        if mechanism == Mechanism::Plain.name() {
            cx.shard.plain_failures.count(Prefix::of(source), cx.now.mono_ms);
        }
    }
    fail(cx, asker.link, asker.counter, claimed.as_ref(), Some(source), condition);
}

/// `<failure/>` (§6.4.5), the last one a stream gets if it had its share.
fn fail(
    cx: &mut Cx<'_>,
    link: LinkId,
    counter: u64,
    claimed: Option<&BareJid>,
    source: Option<IpAddr>,
    condition: SaslCondition,
) {
    let now_ms = cx.now.mono_ms;
    release(cx, link, counter);
    let login = cx.shard.logins.entry((link, counter)).or_default();
    login.used_ms = now_ms;
    login.attempt = None;
    login.failures = login.failures.saturating_add(1);
    let last = login.failures >= limits::LOGIN_FAILURES_MAX;
    if last {
        on_closed(cx, link, counter);
    }
    cx.out.frame(link, &ToEdge::AuthFailure(AuthFailure { counter, condition, last }));
    cx.event(Event::LoginFailed { account: claimed.map(BareJid::to_string), source, condition });
}
