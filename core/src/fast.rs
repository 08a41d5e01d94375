//! Tokens in the place of passwords (XEP-0484): made, used, renewed and ended.
//!
//! ```text
//!  by password, asked for ─▶ new ──used──▶ current ──old──▶ current, new ──used──▶ current
//!                             │               │  a count that does not grow: not authorized
//!                             └───────────────┴─ past its time, re-keyed, revoked: credentials-expired
//! ```
//! A client has two tokens at most (§5.1): the one it uses, and the one made last, which takes its place when it is
//! used for the first time. What changes is durable before the client hears of it. A token stands for the credentials
//! of its time: whoever changes the password ends it, an earlier release too.

use crate::account::{Account, AccountKey};
use crate::cx::Cx;
use crate::features::{Feature, Spec};
use crate::limits::{DEVICES_PER_ACCOUNT_MAX, TOKEN_RENEW_MS};
use crate::random::Random;
use crate::sasl::crypto::{Secret, ct_eq};
use crate::sasl::{Mechanism, Offer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hearth_storage::{Change, Device, TOKEN_BYTES, Token, TokenBinding};
use hearth_wire::SaslCondition;
use hearth_wire::to_core::{AuthenticateInline, Fast};

#[cfg(test)]
mod tests;

const NS: &str = "urn:xmpp:fast:0";

/// No 0-RTT: what a client says in the first flight could be anybody's copy.
pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(484, "0.2.0"),
    inline: Some(|offer, tree| {
        tree.open(Some(NS), "fast");
        for mechanism in Mechanism::TOKENS.into_iter().filter(|mechanism| offer.has(*mechanism)) {
            tree.leaf(None, "mechanism", mechanism.name());
        }
        tree.close();
    }),
    ..Feature::EMPTY
};

/// What a client says of itself and of tokens, along with its authentication.
#[derive(Clone, Default, Debug)]
pub struct Wish {
    device: Option<Description>,
    /// It wants a token for this.
    request: Option<TokenBinding>,
    /// It proves one.
    fast: Option<Fast>,
}

#[derive(Clone, Debug)]
struct Description {
    id: [u8; 16],
    software: Option<Box<str>>,
    name: Option<Box<str>>,
}

impl Wish {
    /// A token is made for an installation that names itself, and for what its stream was offered; else the request is
    /// passed over, and the login goes on (§3.2).
    pub fn of(frame: &AuthenticateInline<'_>) -> Wish {
        let device = frame.agent.map(|agent| Description {
            id: agent.id,
            software: agent.software.map(Into::into),
            name: agent.device.map(Into::into),
        });
        let offer = Offer::of(frame.authenticate.security, &frame.authenticate.binding);
        let mechanism = frame.request_token.and_then(Mechanism::from_name).filter(|mechanism| offer.has(*mechanism));
        let request = mechanism.and_then(Mechanism::token_binding).filter(|_| device.is_some());
        Wish { device, request, fast: frame.fast }
    }

    /// The client proves a token (§3.4).
    pub fn by_token(&self) -> bool {
        self.fast.is_some()
    }

    /// Tokens that this client may prove.
    pub fn tokens(&self, devices: &[Device]) -> Vec<Token> {
        let device = self.device.as_ref().and_then(|known| devices.iter().find(|device| device.id == known.id));
        device.into_iter().flat_map(Device::tokens).cloned().collect()
    }
}

/// A token as clients know it; what both sides compute with is this text. 256 bits.
pub fn text(secret: &[u8; TOKEN_BYTES]) -> Secret {
    Secret::new(BASE64.encode(secret))
}

/// A token that was made, for `<success/>`.
#[derive(Clone, Debug)]
pub struct Made {
    pub token: Secret,
    pub expires_ms: u64,
}

/// What a login changes of its client's tokens.
#[derive(Default)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// The account's devices once that is stored.
    pub devices: Vec<Device>,
    pub made: Option<Made>,
    /// The login is good only if it is: else somebody could use a token, or a count, again.
    pub must_be_stored: bool,
}

/// The clock, and how long a token made now is good for.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub now_ms: u64,
    pub life_ms: u64,
}

/// What becomes of the tokens of a client that has proved a password, or this token of its own. The account is at rest:
/// what was verified may have been ended since.
pub fn plan(
    account: &Account,
    wish: &Wish,
    proved: Option<&Secret>,
    times: Times,
    random: &mut dyn Random,
) -> Result<Plan, SaslCondition> {
    let Some(described) = &wish.device else {
        return if proved.is_some() { Err(SaslCondition::NotAuthorized) } else { Ok(Plan::default()) };
    };
    let at = account.devices.iter().position(|device| device.id == described.id);
    let known = at.and_then(|at| account.devices.get(at));
    let empty = Device { id: described.id, software: None, name: None, used_ms: 0, current: None, new: None };
    let mut device = known.cloned().unwrap_or(empty);
    let (mut renew, mut must_be_stored, mut ends) = (None, false, false);
    if let Some(secret) = proved {
        let fast = wish.fast.unwrap_or(Fast { count: None, invalidate: false });
        must_be_stored = fast.count.is_some() || fast.invalidate;
        let token = use_token(&mut device, secret, &fast, account.credentials_generation, times.now_ms)?;
        let old = times.now_ms.saturating_sub(token.issued_ms) >= TOKEN_RENEW_MS.min(times.life_ms / 2);
        renew = Some(token.binding).filter(|_| old && !fast.invalidate);
        ends = fast.invalidate;
    }
    if ends {
        end(&mut device);
    }
    let mut made = None;
    if let Some(binding) = wish.request.or(renew) {
        let token = make(binding, account.credentials_generation, times, random);
        made = Some(Made { token: text(&token.secret), expires_ms: token.expires_ms });
        // §3.5: in the place of one that was never used.
        device.new = Some(token);
        (device.software, device.name) = (described.software.clone(), described.name.clone());
    }
    if known == Some(&device) || (known.is_none() && made.is_none()) {
        return Ok(Plan::default());
    }
    device.used_ms = times.now_ms;
    Ok(Plan { made, must_be_stored, ..with(account, device) })
}

/// §5.1: the token that was proved, which is the current one from now on; one before it has ended.
fn use_token<'d>(
    device: &'d mut Device,
    secret: &Secret,
    fast: &Fast,
    credentials: u64,
    now_ms: u64,
) -> Result<&'d Token, SaslCondition> {
    let is_it = |token: &Token| ct_eq(&token.secret, secret.expose());
    let is_new = device.new.as_ref().is_some_and(is_it);
    if is_new {
        device.current = device.new.take();
    }
    // Replaced while it was being verified.
    let token = device.current.as_mut().filter(|token| is_it(token)).ok_or(SaslCondition::NotAuthorized)?;
    if now_ms >= token.expires_ms || token.credentials != credentials {
        return Err(SaslCondition::CredentialsExpired);
    }
    if let Some(count) = fast.count {
        // §3.4: somebody says it again.
        if count <= token.count {
            return Err(SaslCondition::NotAuthorized);
        }
        token.count = count;
    }
    Ok(token)
}

fn make(binding: TokenBinding, credentials: u64, times: Times, random: &mut dyn Random) -> Token {
    let mut secret = [0; TOKEN_BYTES];
    random.fill_bytes(&mut secret);
    let Times { now_ms, life_ms } = times;
    Token { secret, binding, issued_ms: now_ms, expires_ms: now_ms.saturating_add(life_ms), count: 0, credentials }
}

/// Its tokens are known, so that whoever comes with one hears what became of it, and of no use.
fn end(device: &mut Device) {
    device.new.iter_mut().chain(&mut device.current).for_each(|token| token.expires_ms = 0);
}

/// The account with this device; where that is one too many, without the one that matters least.
fn with(account: &Account, device: Device) -> Plan {
    let jid = || account.jid.clone();
    let mut devices = account.devices.clone();
    let mut changes = Vec::with_capacity(2);
    devices.retain(|other| other.id != device.id);
    while devices.len() >= DEVICES_PER_ACCOUNT_MAX {
        let least = devices.iter().enumerate().min_by_key(|(_, device)| (!device.is_ended(), device.used_ms));
        let Some(at) = least.map(|(at, _)| at) else { break };
        changes.push(Change::RemoveDevice { account: jid(), id: devices.remove(at).id });
    }
    changes.push(Change::PutDevice { account: jid(), device: device.clone() });
    devices.push(device);
    Plan { changes, devices, made: None, must_be_stored: false }
}

/// All tokens of an account end, with whatever else is stored with that; [`ended`] once it is.
pub fn end_all(account: &Account) -> Vec<Change> {
    let devices = account.devices.iter().filter(|device| !device.is_ended());
    let ended = devices.map(|device| {
        let mut device = device.clone();
        end(&mut device);
        Change::PutDevice { account: account.jid.clone(), device }
    });
    ended.collect()
}

/// What [`end_all`] changes is stored.
pub fn ended(cx: &mut Cx<'_>, key: AccountKey) {
    if let Some(account) = cx.account_mut(key) {
        account.devices.iter_mut().for_each(end);
    }
}
