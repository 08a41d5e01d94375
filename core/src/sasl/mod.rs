//! Authentication (RFC 6120 §6): which mechanisms a stream is offered, and one exchange of one.
//!
//! ```text
//!  New ─Start─▶ parsed? ─LoadCredentials─▶ Loading ─Credentials─▶ SCRAM: Challenge ─▶ Proof ─Response─▶ over
//!   │                ▲                        │
//!   └─Start, no data─┘ Challenge "" ─▶ First  └─▶ PLAIN: Derive ─▶ Deriving ─Derived─▶ over
//! ```
//!
//! [`Exchange`] is a pure machine: one input, then drain every output, then the next input. Any input
//! that has no business in a state ends it as a failure; once over, it ignores what still comes, so
//! late answers do no harm. Success leaves it at one place, behind all checks.
//!
//! **Unknown accounts** are answered as known ones with a wrong password: a salt that is a keyed
//! hash of the address, the usual iterations, the same computations, `not-authorized` at the end.

pub mod attempts;
pub mod crypto;
mod plain;
mod scram;
#[cfg(test)]
pub(crate) mod tests;
mod token;

use crate::derive::{Derived, Task};
use crate::domain::Switch;
use crate::features::{self, Feature, Spec};
use crate::limits;
use crate::random::Random;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crypto::{Hash, Secret};
use hearth_storage::{Credentials, DomainRecord, ScramKeys, TOKEN_BYTES, Token, TokenBinding};
use hearth_wire::to_core::{ChannelBinding, Security};
use hearth_wire::{BareJid, SaslCondition, prep, tree};

/// Namespace of RFC 6120 §6.
pub const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Namespace of XEP-0440.
pub const NS_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// Namespace of XEP-0388.
pub const NS_SASL2: &str = "urn:xmpp:sasl:2";
/// RFC 9266.
const TLS_EXPORTER: &str = "tls-exporter";
/// RFC 5929 §4.
const TLS_SERVER_END_POINT: &str = "tls-server-end-point";

/// Authentication and what comes along with it in one request; what it says on a stream is the edge's.
pub const INLINE_PROFILE: Feature = Feature { spec: Spec::Xep(388, "1.0.4"), ..Feature::EMPTY };
/// Where there are no passwords, or beside them.
pub const EXTERNAL: Switch = Switch {
    name: "client_certificates",
    default: false,
    help: "clients may log in by certificates that edges verify (XEP-0178)",
};

/// The certificate is verified by the edge, whose it is and whether that is an account is looked at here.
pub const CERTIFICATES: Feature = Feature { spec: Spec::Xep(178, "1.2"), switch: Some(&EXTERNAL), ..Feature::EMPTY };
/// Each stream is told what it can be bound to.
pub const BINDING_TYPES: Feature = Feature { spec: Spec::Xep(440, "1.0.0"), ..Feature::EMPTY };
/// Nobody between client and server changes what is offered, unnoticed.
pub const DOWNGRADE_PROTECTION: Feature = Feature { spec: Spec::Xep(474, "0.5.0"), ..Feature::EMPTY };

/// The mechanisms this server knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mechanism {
    External,
    ScramSha512Plus,
    ScramSha256Plus,
    ScramSha1Plus,
    ScramSha512,
    ScramSha256,
    ScramSha1,
    Plain,
    TokenExporter,
    TokenEndPoint,
    TokenUnbound,
}

impl Mechanism {
    /// Strongest first.
    pub const ALL: [Mechanism; 8] = [
        Mechanism::External,
        Mechanism::ScramSha512Plus,
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
    ];

    /// Those that prove a token, and are offered for nothing else (XEP-0484 §3.1).
    pub const TOKENS: [Mechanism; 3] = [Mechanism::TokenExporter, Mechanism::TokenEndPoint, Mechanism::TokenUnbound];

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::External => "EXTERNAL",
            Mechanism::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
            Mechanism::TokenExporter => "HT-SHA-256-EXPR",
            Mechanism::TokenEndPoint => "HT-SHA-256-ENDP",
            Mechanism::TokenUnbound => "HT-SHA-256-NONE",
        }
    }

    /// The mechanism of this name.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().chain(Mechanism::TOKENS).find(|mechanism| mechanism.name() == name)
    }

    /// What a token is bound to that is proved by it; `None` if none is.
    pub const fn token_binding(self) -> Option<TokenBinding> {
        match self.kind() {
            Kind::Token(binding) => Some(binding),
            Kind::Scram { .. } | Kind::Plain | Kind::External => None,
        }
    }

    /// What it binds to the TLS channel, or hashes with.
    const fn kind(self) -> Kind {
        match self {
            Mechanism::External => Kind::External,
            Mechanism::ScramSha512Plus => Kind::Scram { hash: Hash::Sha512, plus: true },
            Mechanism::ScramSha256Plus => Kind::Scram { hash: Hash::Sha256, plus: true },
            Mechanism::ScramSha1Plus => Kind::Scram { hash: Hash::Sha1, plus: true },
            Mechanism::ScramSha512 => Kind::Scram { hash: Hash::Sha512, plus: false },
            Mechanism::ScramSha256 => Kind::Scram { hash: Hash::Sha256, plus: false },
            Mechanism::ScramSha1 => Kind::Scram { hash: Hash::Sha1, plus: false },
            Mechanism::Plain => Kind::Plain,
            Mechanism::TokenExporter => Kind::Token(TokenBinding::Exporter),
            Mechanism::TokenEndPoint => Kind::Token(TokenBinding::EndPoint),
            Mechanism::TokenUnbound => Kind::Token(TokenBinding::None),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Scram { hash: Hash, plus: bool },
    Plain,
    Token(TokenBinding),
    External,
}

/// What a stream is, as far as the choice of mechanisms depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    pub security: Security,
    /// Whether the stream has `tls-exporter` data (RFC 9266).
    pub exporter: bool,
    /// Whether the stream has `tls-server-end-point` data (RFC 5929 §4).
    pub end_point: bool,
    /// Whether the client has shown a certificate of an address of the domain (XEP-0178 §2).
    pub certified: bool,
}

impl Offer {
    /// A stream that is as its edge says.
    pub fn of(security: Security, binding: &ChannelBinding<'_>) -> Offer {
        let (exporter, end_point) = (binding.tls_exporter.is_some(), binding.tls_server_end_point.is_some());
        Offer { security, exporter, end_point, certified: false }
    }

    /// The same, of a client that has shown a certificate of these addresses of the domain.
    pub fn with_certificate(self, addresses: &[BareJid]) -> Offer {
        Offer { certified: !addresses.is_empty(), ..self }
    }

    /// Whether a stream like this is offered the mechanism; those of tokens along with XEP-0388 only.
    pub fn has(self, mechanism: Mechanism) -> bool {
        let tls = matches!(self.security, Security::Tls12 | Security::Tls13);
        match mechanism.kind() {
            Kind::Scram { plus, .. } => !plus || (tls && (self.exporter || self.end_point)),
            // RFC 6120 §13.8.3, or a listener whose operator allows clear login on loopback.
            Kind::Plain => tls || self.security == Security::ClearLoopback,
            Kind::Token(TokenBinding::Exporter) => tls && self.exporter,
            Kind::Token(TokenBinding::EndPoint) => tls && self.end_point,
            Kind::Token(TokenBinding::None) => tls,
            Kind::External => tls && self.certified,
        }
    }

    fn plus(self) -> bool {
        self.has(Mechanism::ScramSha256Plus)
    }

    /// The types of channel binding that are announced (XEP-0440), sorted; where there are none, the stream has no
    /// `<sasl-channel-binding/>`.
    fn bindings(self) -> impl Iterator<Item = &'static str> {
        let there = [(TLS_EXPORTER, self.exporter), (TLS_SERVER_END_POINT, self.end_point)];
        there.into_iter().filter(move |(_, there)| *there && self.plus()).map(|(name, _)| name)
    }

    /// Mechanisms and types of channel binding that the stream is offered, by RFC 6120 and by XEP-0388 alike, as
    /// XEP-0474 §5.1 joins them.
    fn listed(self) -> String {
        let mut mechanisms: Vec<&str> = offered(self).map(Mechanism::name).collect();
        mechanisms.sort_unstable();
        let mut listed = mechanisms.join("\x1e");
        let bindings: Vec<&str> = self.bindings().collect();
        if !bindings.is_empty() {
            listed.push('\x1f');
            listed.push_str(&bindings.join("\x1e"));
        }
        listed
    }
}

/// Mechanisms of a stream, strongest first.
pub fn offered(offer: Offer) -> impl Iterator<Item = Mechanism> {
    Mechanism::ALL.into_iter().filter(move |mechanism| offer.has(*mechanism))
}

/// Writes `<mechanisms/>` (RFC 6120 §6.4.1) and, with channel binding, `<sasl-channel-binding/>`
/// (XEP-0440 §2) of exactly the types that this stream has.
pub fn features(offer: Offer, out: &mut tree::Builder) {
    out.open(Some(NS_SASL), "mechanisms");
    for mechanism in offered(offer) {
        out.leaf(None, "mechanism", mechanism.name());
    }
    out.close();
    if offer.plus() {
        out.open(Some(NS_CHANNEL_BINDING), "sasl-channel-binding");
        for name in offer.bindings() {
            out.open(None, "channel-binding").attr("type", name).close();
        }
        out.close();
    }
}

/// Writes `<authentication/>` (XEP-0388 §2.1): the same mechanisms, and what may come along. Only inside TLS.
pub fn inline_features(offer: Offer, domain: &DomainRecord, out: &mut tree::Builder) {
    out.open(Some(NS_SASL2), "authentication");
    for mechanism in offered(offer) {
        out.leaf(None, "mechanism", mechanism.name());
    }
    out.open(None, "inline");
    for add in features::of(domain).filter_map(|feature| feature.inline) {
        add(offer, out);
    }
    out.close().close();
}

/// What an exchange takes.
#[derive(Debug)]
pub enum Input<'a> {
    /// `<auth/>`. `initial` is `None` if the element was empty and `Some(&[])` for `=`.
    Start {
        mechanism: &'a str,
        initial: Option<&'a [u8]>,
        security: Security,
        binding: ChannelBinding<'a>,
        domain: &'a str,
        along: Along<'a>,
    },
    /// `<response/>`.
    Response(&'a [u8]),
    /// Answer to [`Output::LoadCredentials`]; `None` if there is no such account.
    Credentials(Option<&'a Credentials>),
    /// Answer to [`Output::LoadTokens`]: those of the client that asks, however many.
    Tokens(&'a [Token]),
    /// Answer to [`Output::Derive`].
    Derived(Derived),
    /// `<abort/>`, or the caller gives up for a reason of its own.
    Abort(SaslCondition),
}

/// What a client says besides, by XEP-0388.
#[derive(Clone, Copy, Default, Debug)]
pub struct Along<'a> {
    /// Bare JID that it called itself in its header (§2.4).
    pub from: Option<&'a str>,
    /// It means to prove a token (XEP-0484 §3.4).
    pub by_token: bool,
    /// By either profile: it has shown a certificate of these addresses, which its edge verified (XEP-0178 §2).
    pub certified: &'a [BareJid],
}

/// What an exchange asks for or says.
#[derive(Debug)]
pub enum Output {
    /// `<challenge/>`.
    Challenge(Vec<u8>),
    /// Answered by [`Input::Credentials`]. The address is what the client claims, nothing more.
    LoadCredentials(BareJid),
    /// Answered by [`Input::Tokens`]; none if there is no such account.
    LoadTokens(BareJid),
    /// Answered by [`Input::Derived`], worked out off the shard.
    Derive(Task),
    /// `<success/>`: the client has proved to be this account. The exchange is over.
    Success { account: BareJid, proved: Proved },
    /// `<failure/>`. The exchange is over.
    Failure(SaslCondition),
}

/// What a client has proved.
#[derive(Default, Debug)]
pub struct Proved {
    /// Additional data with success.
    pub data: Option<Vec<u8>>,
    /// By this token; `None`: by the password.
    pub token: Option<Secret>,
}

/// One authentication exchange of one stream.
pub struct Exchange {
    state: State,
    /// Keys the pretence for unknown accounts.
    secret: Secret,
    /// The server's part of the nonce, printable.
    nonce: String,
    account: Option<BareJid>,
}

enum State {
    New,
    /// The mechanism is client-first and the client sent nothing: an empty challenge is out.
    First(Start),
    /// Credentials are asked for.
    Loading(Loading),
    /// SCRAM: the server's first message is out.
    Proof(scram::Proof),
    /// PLAIN: the keys of the password that came are being derived.
    Deriving(plain::Deriving),
    Over,
}

/// What of `<auth/>` outlives it.
struct Start {
    kind: Kind,
    /// What the stream was offered.
    offer: Offer,
    exporter: Option<Secret>,
    end_point: Option<Secret>,
    domain: String,
    from: Option<String>,
    certified: Vec<BareJid>,
}

enum Loading {
    Scram(scram::First),
    Plain(plain::Message),
    Token(token::Message),
    /// The certificate has said it all.
    External,
}

impl Exchange {
    /// Draws the nonce. `secret` keys the salts of unknown accounts; it must outlive restarts.
    pub fn new(random: &mut dyn Random, secret: &[u8; 32]) -> Exchange {
        let mut nonce = [0; limits::SCRAM_NONCE_BYTES];
        random.fill_bytes(&mut nonce);
        Exchange { state: State::New, secret: Secret::new(*secret), nonce: BASE64.encode(nonce), account: None }
    }

    /// It waits for tokens, not for credentials.
    pub fn wants_tokens(&self) -> bool {
        matches!(self.state, State::Loading(Loading::Token(_)))
    }

    /// The account the client claims to be, once it has said so. Proved only by [`Output::Success`].
    pub fn claimed(&self) -> Option<&BareJid> {
        self.account.as_ref()
    }

    /// True once it succeeded or failed.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The machine's single door.
    pub fn handle(&mut self, input: Input<'_>, out: &mut Vec<Output>) {
        // Whatever is not put back is dropped, secrets with it.
        let state = std::mem::replace(&mut self.state, State::Over);
        let next = match (state, input) {
            (State::Over, _) => return,
            (_, Input::Abort(condition)) => Err(condition),
            (State::New, Input::Start { mechanism, initial, security, binding, domain, along }) => {
                let offer = Offer::of(security, &binding).with_certificate(along.certified);
                self.on_start(offer, mechanism, initial, binding, (domain, along), out)
            }
            (State::First(start), Input::Response(data)) => self.on_first(&start, data, out),
            (State::Loading(Loading::Token(message)), Input::Tokens(tokens)) => {
                self.on_verdict(message.verify(tokens, &self.token_pretence()), out)
            }
            (State::Loading(loading), Input::Credentials(found)) => self.on_credentials(loading, found, out),
            (State::Proof(proof), Input::Response(data)) => self.on_verdict(proof.verify(data), out),
            (State::Deriving(deriving), Input::Derived(derived)) => self.on_verdict(deriving.verify(&derived), out),
            // Answers to what was not asked are the caller's slip and change nothing.
            (
                state @ (State::New | State::First(_) | State::Loading(_) | State::Proof(_) | State::Deriving(_)),
                Input::Credentials(_) | Input::Tokens(_) | Input::Derived(_),
            ) => Ok(state),
            // The client speaks out of turn (RFC 6120 §6.5.7).
            (
                State::New | State::First(_) | State::Loading(_) | State::Proof(_) | State::Deriving(_),
                Input::Start { .. } | Input::Response(_),
            ) => Err(SaslCondition::MalformedRequest),
        };
        self.state = next.unwrap_or_else(|condition| {
            out.push(Output::Failure(condition));
            State::Over
        });
    }

    fn on_start(
        &mut self,
        offer: Offer,
        mechanism: &str,
        initial: Option<&[u8]>,
        binding: ChannelBinding<'_>,
        (domain, along): (&str, Along<'_>),
        out: &mut Vec<Output>,
    ) -> Result<State, SaslCondition> {
        let fits = |m: &Mechanism| offer.has(*m) && (m.token_binding().is_none() || along.by_token);
        let mechanism = Mechanism::from_name(mechanism).filter(fits).ok_or(SaslCondition::InvalidMechanism)?;
        let start = Start {
            kind: mechanism.kind(),
            offer,
            exporter: binding.tls_exporter.map(Secret::new),
            end_point: binding.tls_server_end_point.map(Secret::new),
            domain: domain.to_owned(),
            from: along.from.map(str::to_owned),
            certified: along.certified.to_vec(),
        };
        match initial {
            Some(data) => self.on_first(&start, data, out),
            None => {
                // RFC 4422 §5 (2a): the client is asked for what it could have sent at once.
                out.push(Output::Challenge(Vec::new()));
                Ok(State::First(start))
            }
        }
    }

    /// The client's first message, however it came.
    fn on_first(&mut self, start: &Start, data: &[u8], out: &mut Vec<Output>) -> Result<State, SaslCondition> {
        let (account, authzid, loading) = match start.kind {
            Kind::Scram { hash, plus } => {
                let (first, name, authzid) = scram::First::parse(message(data)?, hash, plus, start)?;
                (self::account(&name, &start.domain)?, authzid, Loading::Scram(first))
            }
            Kind::Token(binding) => {
                let (message, name) = token::Message::parse(data, binding, start)?;
                (self::account(name, &start.domain)?, None, Loading::Token(message))
            }
            Kind::External => (external(message(data)?, &start.certified)?, None, Loading::External),
            Kind::Plain => {
                let (message, name, authzid) = plain::Message::parse(message(data)?)?;
                (self::account(name, &start.domain)?, authzid.map(str::to_owned), Loading::Plain(message))
            }
        };
        check_authzid(authzid.as_deref(), &account)?;
        // Who calls itself another than it proves to be is confused, or somebody would confuse us.
        if start.from.as_deref().is_some_and(|from| from != account.as_str()) {
            return Err(SaslCondition::InvalidAuthzid);
        }
        self.account = Some(account.clone());
        out.push(match loading {
            Loading::Token(_) => Output::LoadTokens(account),
            Loading::Scram(_) | Loading::Plain(_) | Loading::External => Output::LoadCredentials(account),
        });
        Ok(State::Loading(loading))
    }

    fn on_credentials(
        &mut self,
        loading: Loading,
        found: Option<&Credentials>,
        out: &mut Vec<Output>,
    ) -> Result<State, SaslCondition> {
        let account = self.account.as_ref().ok_or(SaslCondition::TemporaryAuthFailure)?;
        let hash = match &loading {
            Loading::Scram(first) => first.hash,
            Loading::Plain(_) => plain::HASH,
            // Whoever vouched for the address does not say whether there is an account.
            Loading::External if found.is_some() => return self.on_verdict(Ok(Proved::default()), out),
            Loading::External => return Err(SaslCondition::NotAuthorized),
            // It asked for something else: nothing comes of this.
            Loading::Token(_) => plain::HASH,
        };
        let keys = Keys::pick(hash, found, &self.secret, account);
        Ok(match loading {
            Loading::Scram(first) => {
                let (challenge, proof) = first.challenge(keys, &self.nonce);
                out.push(Output::Challenge(challenge));
                State::Proof(proof)
            }
            Loading::Plain(message) => {
                let (task, deriving) = message.derive(keys);
                out.push(Output::Derive(task));
                State::Deriving(deriving)
            }
            other @ (Loading::Token(_) | Loading::External) => State::Loading(other),
        })
    }

    /// The one place where success leaves.
    fn on_verdict(
        &mut self,
        verdict: Result<Proved, SaslCondition>,
        out: &mut Vec<Output>,
    ) -> Result<State, SaslCondition> {
        let proved = verdict?;
        let account = self.account.clone().ok_or(SaslCondition::TemporaryAuthFailure)?;
        out.push(Output::Success { account, proved });
        Ok(State::Over)
    }

    /// In the place of tokens that there are not, so that these take as long as others.
    fn token_pretence(&self) -> [u8; TOKEN_BYTES] {
        let mut secret = [0; TOKEN_BYTES];
        let tag = Hash::Sha256.hmac(self.secret.expose(), &[b"token"]);
        secret.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        secret
    }
}

/// Keys to verify against: an account's, or a pretence that nothing proves.
struct Keys {
    known: bool,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Secret,
    server_key: Secret,
}

impl Keys {
    /// Makes up the pretence whether it is needed or not, so that both ways cost the same.
    fn pick(hash: Hash, found: Option<&Credentials>, secret: &Secret, account: &BareJid) -> Keys {
        let pretence = pretence(hash, secret, account);
        let keys = found.map_or(&pretence, |credentials| match hash {
            Hash::Sha1 => &credentials.sha1,
            Hash::Sha256 => &credentials.sha256,
            Hash::Sha512 => &credentials.sha512,
        });
        Keys {
            known: found.is_some(),
            iterations: keys.iterations,
            salt: keys.salt.clone(),
            stored_key: Secret::new(keys.stored_key.as_slice()),
            server_key: Secret::new(keys.server_key.as_slice()),
        }
    }
}

/// What an account that does not exist would have stored: the same on every attempt.
fn pretence(hash: Hash, secret: &Secret, account: &BareJid) -> ScramKeys {
    // As long as the longest key that a hash here has.
    let make = |what: &[u8], len: usize| {
        let tag = Hash::Sha512
            .hmac(secret.expose(), &[what, b"\0", hash.name().as_bytes(), b"\0", account.as_str().as_bytes()]);
        tag.as_ref().iter().copied().take(len).collect::<Vec<u8>>()
    };
    ScramKeys {
        iterations: limits::SCRAM_ITERATIONS,
        salt: make(b"salt", limits::SCRAM_SALT_BYTES),
        stored_key: make(b"stored key", hash.output_len()),
        server_key: make(b"server key", hash.output_len()),
    }
}

/// A client's message as text, within its limit.
fn message(data: &[u8]) -> Result<&str, SaslCondition> {
    if data.len() > limits::SASL_MESSAGE_BYTES_MAX {
        return Err(SaslCondition::MalformedRequest);
    }
    std::str::from_utf8(data).map_err(|_| SaslCondition::MalformedRequest)
}

/// The account a simple user name means (RFC 6120 §6.3.7). A name that no account can have is
/// answered like one that no account has.
fn account(name: &str, domain: &str) -> Result<BareJid, SaslCondition> {
    BareJid::new(Some(name), domain).map_err(|_| SaslCondition::NotAuthorized)
}

/// SASLprep (RFC 4013); `None` if the text cannot be prepared or nothing is left of it.
pub fn prepare_password(text: &str) -> Option<Secret> {
    prep::saslprep(text).ok().map(|prepared| Secret::new(prepared.as_bytes()))
}

/// XEP-0178 §2: the one address of the certificate, or the one that the client names of several.
fn external(authzid: &str, certified: &[BareJid]) -> Result<BareJid, SaslCondition> {
    match (authzid, certified) {
        ("", [only]) => Ok(only.clone()),
        ("", _) => Err(SaslCondition::InvalidAuthzid),
        (named, _) => {
            let named = BareJid::parse(named).map_err(|_| SaslCondition::InvalidAuthzid)?;
            certified.iter().find(|address| **address == named).cloned().ok_or(SaslCondition::InvalidAuthzid)
        }
    }
}

/// RFC 6120 §6.3.8: nobody acts for another here, so an authorization identity is the account's
/// own bare address or is not sent.
fn check_authzid(authzid: Option<&str>, account: &BareJid) -> Result<(), SaslCondition> {
    match authzid {
        None | Some("") => Ok(()),
        Some(text) if BareJid::parse(text).is_ok_and(|jid| jid == *account) => Ok(()),
        Some(_) => Err(SaslCondition::InvalidAuthzid),
    }
}
