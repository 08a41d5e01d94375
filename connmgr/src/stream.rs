//! One client stream from its header to the end (RFC 6120 §4–7), apart from any transport. Pure.
//!
//! Contract: one input, then perform every output in order, then the next input. While [`Stream::reads`]
//! is false no [`Input`] of the client may come in: it waits in the socket. Elements of a bound stream are
//! stanzas and go to its [`Session`] directly, past this machine, but for those that [`Session::is_own`] names.
//!
//! ```text
//!  AwaitHeader ──header──▶ Features ──starttls──▶ StartingTls ──TlsReady──▶ AwaitHeader
//!      │   ▲                 │ ▲ ▲
//!    core  └──success──┐  auth │ └──failure, abort──┐        Held: the core is not known yet
//!    away              │     ▼ │                    │        Asked: the core is to answer; not read
//!      ▼               └── Asked ◀──response── Challenged    Binding: as Asked, for a resource
//!    Held ──directory──▶ Features ──bind──▶ Binding ──Bound──▶ (Session)
//!                          │ ▲ ──resume──▶ Resuming ──Resumed──▶ (Session)
//!                          │ └──ResumeFailed──┘
//! ```
//! By XEP-0388 success is not followed by a new stream: Asked leads to Features at once, or, where the client asked for
//! that along with it, to Resuming, and from there on with one answer to both.
//! Every state may end: by the client's closing tag, which is answered; by a stream error; by the socket.

mod negotiation;
mod sasl;
mod sasl2;
#[cfg(test)]
mod tests;

use crate::directory::Hosted;
use crate::render;
use crate::session::Session;
use crate::tls::Protection;
use crate::xml::Header;
use hearth_wire::ids::{Generation, Slot};
use hearth_wire::to_core::Fast;
use hearth_wire::to_edge::{Bound, Resumed, SmEnabled};
use hearth_wire::tree::Element;
use hearth_wire::{SaslCondition, StanzaCondition, StreamCondition};
pub use negotiation::Negotiation;

/// The time an input came: monotonic for timers, UTC for what clients read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono_ms: u64,
    pub utc_ms: u64,
}

/// Facts of the connection that a stream begins on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The operator allows login without TLS here, and the peer is on a loopback address.
    pub clear_login: bool,
    /// 128 random bits.
    pub id: [u8; 16],
}

/// One client's stream.
#[derive(Debug)]
pub enum Stream {
    /// Up to the bound resource; freed then.
    Negotiating(Box<Negotiation>),
    Bound(Box<Session>),
    /// Nothing more is said; what still arrives is thrown away. The session, if there was one, is kept
    /// until its last report.
    Ended(Option<Box<Session>>),
}

/// What can happen to a stream.
#[derive(Debug)]
pub enum Input<'a> {
    /// A stream header, what the directory says of its `to`, and 128 fresh random bits for its id.
    Header {
        header: &'a Header<'a>,
        domain: Hosted<'a>,
        id: [u8; 16],
    },
    /// The directory changed; what it now says of [`Negotiation::held_for`].
    Directory {
        domain: Hosted<'a>,
    },
    /// A first-level element before bind, or one of the session's own. `more`: more than whitespace of the client lies behind it already.
    Element {
        element: Element<'a>,
        more: bool,
    },
    /// `</stream:stream>`
    Close,
    /// XML that must not go on.
    Refused {
        condition: StreamCondition,
        text: &'static str,
    },
    /// The client's half of the connection ended without a closing tag, or the connection broke.
    Eof,
    /// The handshake has finished; on a direct TLS connection the first input.
    TlsReady(Protection),
    /// Right behind it: the client has shown a certificate of these bare JIDs, verified.
    Certified(Vec<Box<str>>),
    /// The core's answers (RFC 6120 §6.4).
    Challenge(&'a [u8]),
    Success {
        account: &'a str,
        data: Option<&'a [u8]>,
    },
    /// Right ahead of `Success`: for the next time (XEP-0484 §3.3).
    Token {
        token: &'a str,
        expires_ms: u64,
    },
    Failure {
        condition: SaslCondition,
        last: bool,
    },
    Moved(Slot),
    Bound(&'a Bound<'a>),
    BindRefused(StanzaCondition),
    /// The core's answers to stream management (XEP-0198). `location`: where the client should come back to.
    Resumed(&'a Resumed<'a>),
    ResumeFailed {
        condition: StanzaCondition,
        h: Option<u32>,
    },
    SmEnabled {
        enabled: &'a SmEnabled<'a>,
        location: Option<&'a str>,
    },
    /// An answer to a registration before authentication, rendered.
    Reply(&'a [u8]),
    /// The core ends the stream.
    CoreClose {
        condition: Option<StreamCondition>,
        text: &'a str,
    },
    /// The link to the shard that knows this client is gone, or never was there.
    LinkLost,
    /// As `LinkLost`; but a session waits for its next link (link version 2).
    Detached,
    /// Time is up.
    Deadline(Deadline),
    /// The edge stops.
    Shutdown(Elsewhere<'a>),
}

/// Which time is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// The client did not log in.
    Login,
    /// A stanza did not end.
    Stanza,
    /// The client was silent.
    Idle,
    /// It stayed silent when it was asked for a sign of life.
    Unanswered,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Bytes for the client.
    Write(Vec<u8>),
    /// The next bytes of the client are a TLS handshake.
    StartTls,
    /// RFC 6120 §4.3.3: the next bytes are a new stream.
    NewStream,
    /// A question for the core.
    Ask(Question),
    /// The client is authenticated: it no longer counts as a stranger.
    Authenticated,
    /// A session exists: its deadline is over.
    Bound,
    /// The client was asked for a sign of life: any byte of it will do.
    Asked,
    /// Behind what was written, end the connection. Tell the core, if it knows the client.
    End {
        /// The client closed its stream properly.
        clean: bool,
        /// We closed first: wait a bounded time for the client's side (RFC 6120 §4.4).
        linger: bool,
    },
}

/// Questions of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// RFC 6120 §6.4.2.
    Authenticate { at: At, auth: Auth },
    /// RFC 6120 §6.4.3.
    Respond(Vec<u8>),
    /// RFC 6120 §6.4.4.
    Abort,
    /// RFC 6120 §7.
    Bind { resource: Option<String> },
    /// XEP-0198 §5.
    Resume { previd: String, h: u32 },
    /// XEP-0198 §3, of a bound session.
    SmEnable { generation: Generation, number: u64, resume: bool, max_s: Option<u32> },
    /// XEP-0077 §3.1.
    Register { at: At, domain: Box<str>, protection: Option<Protection>, stanza: Vec<u8> },
}

impl Question {
    /// Whether the core has work with it, and the client waits for the answer.
    pub fn is_work(&self) -> bool {
        !matches!(self, Question::Abort | Question::SmEnable { .. })
    }
}

/// The SASL exchange's beginning, with what it is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    pub domain: Box<str>,
    pub protection: Option<Protection>,
    pub mechanism: String,
    pub initial: Option<Vec<u8>>,
    /// Those of the client's certificate, of this domain, if the core wants to know.
    pub addresses: Vec<Box<str>>,
    /// What came along, by XEP-0388; `None` by RFC 6120.
    pub inline: Option<Box<Inline>>,
}

/// What `<authenticate/>` (XEP-0388 §2.4) says of the client and what it asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inline {
    /// Bare JID that the client called itself in its header.
    pub from: Option<Box<str>>,
    pub agent: Option<Agent>,
    /// XEP-0484.
    pub fast: Option<Fast>,
    pub request_token: Option<Box<str>>,
}

/// An installation of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    pub id: [u8; 16],
    pub software: Option<Box<str>>,
    pub device: Option<Box<str>>,
}

/// Where a question goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum At {
    /// To the shard that owns this entity's slot.
    Entity(String),
    /// To the shard that owns this slot: the core said so.
    Slot(Slot),
}

impl Stream {
    /// A stream on a fresh connection.
    pub fn new(facts: Facts) -> Stream {
        Stream::Negotiating(Box::new(Negotiation::new(facts)))
    }

    /// The session, while it is bound or has its last words to say.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Stream::Bound(session) | Stream::Ended(Some(session)) => Some(session),
            Stream::Negotiating(_) | Stream::Ended(None) => None,
        }
    }

    /// Whether bytes of the client may be handled now.
    pub fn reads(&self) -> bool {
        match self {
            Stream::Negotiating(negotiation) => negotiation.reads(),
            Stream::Bound(session) => session.has_credit(),
            Stream::Ended(_) => true,
        }
    }

    /// The single door.
    pub fn handle(&mut self, input: Input<'_>, _now: Now, out: &mut Vec<Output>) {
        match self {
            Stream::Ended(None) => {}
            Stream::Ended(Some(session)) => ended(session, &input),
            Stream::Negotiating(negotiation) => {
                if let Some(next) = negotiation.handle(input, out) {
                    *self = next;
                }
            }
            Stream::Bound(session) => bound(session, input, out),
        }
        if out.iter().any(|output| matches!(output, Output::End { .. })) {
            *self = match std::mem::replace(self, Stream::Ended(None)) {
                Stream::Bound(session) => Stream::Ended(Some(session)),
                Stream::Negotiating(_) => Stream::Ended(None),
                ended @ Stream::Ended(_) => ended,
            };
        }
    }
}

/// What still matters to a session whose stream has ended.
fn ended(session: &mut Session, input: &Input<'_>) {
    if matches!(input, Input::Detached) {
        session.on_link_lost();
    } else if matches!(input, Input::CoreClose { .. } | Input::LinkLost) {
        session.give_up();
    }
}

/// A bound stream: most of this ends it.
fn bound(session: &mut Session, input: Input<'_>, out: &mut Vec<Output>) {
    match input {
        Input::Close => {
            out.push(Output::Write(closing_tag()));
            out.push(Output::End { clean: true, linger: false });
        }
        Input::Eof => out.push(Output::End { clean: false, linger: false }),
        Input::Refused { condition, text } => end_with_error(condition, text, out),
        Input::CoreClose { condition, text } => {
            session.give_up();
            match condition {
                Some(condition) => end_with_error(condition, text, out),
                None => {
                    out.push(Output::Write(closing_tag()));
                    out.push(Output::End { clean: false, linger: true });
                }
            }
        }
        // The session is lost with the core's half of it; `reset` asks the client to come again at once.
        Input::LinkLost => {
            session.give_up();
            end_with_error(StreamCondition::Reset, "the session's server is not reachable", out);
        }
        Input::Detached => session.on_link_lost(),
        Input::Deadline(Deadline::Stanza) => end_with_error(StreamCondition::PolicyViolation, "stanza too slow", out),
        Input::Deadline(Deadline::Idle) => session.probe(out),
        // Nobody reads an error there, and a closing tag would end what the client may come back to.
        Input::Deadline(Deadline::Unanswered) if session.is_resumable() => {
            out.push(Output::End { clean: false, linger: false });
        }
        Input::Deadline(Deadline::Login | Deadline::Unanswered) => {
            end_with_error(StreamCondition::ConnectionTimeout, "", out);
        }
        Input::Shutdown(_) if session.is_resumable() => {
            session.last_ack(out);
            out.push(Output::End { clean: false, linger: false });
        }
        Input::Shutdown(elsewhere) => {
            write(out, |bytes| {
                elsewhere.refer(true, bytes);
                render::stream_close(bytes);
            });
            out.push(Output::End { clean: false, linger: true });
        }
        // A header inside a stream; what the framer lets through it may not.
        Input::Header { .. } => end_with_error(StreamCondition::BadFormat, "", out),
        Input::Element { element, .. } => {
            debug_assert!(session.is_own(&element), "stanzas of a bound stream go to its session");
            session.on_own(&element, out);
        }
        Input::SmEnabled { enabled, location } => session.on_enabled(enabled, location, out),
        // Late answers and news that concern streams before bind.
        Input::Directory { .. }
        | Input::TlsReady(_)
        | Input::Certified(_)
        | Input::Challenge(_)
        | Input::Success { .. }
        | Input::Token { .. }
        | Input::Failure { .. }
        | Input::Moved(_)
        | Input::Bound(_)
        | Input::BindRefused(_)
        | Input::Resumed(_)
        | Input::ResumeFailed { .. }
        | Input::Reply(_) => {}
    }
}

/// Where a stopping edge sends its clients, if the operator says so (RFC 6120 §4.9.3.19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Elsewhere<'a> {
    pub host: Option<&'a str>,
    /// Those who have logged in, too: without, they are served elsewhere by whoever they choose.
    pub after_login: bool,
}

impl Elsewhere<'_> {
    /// Writes the error with which a stream ends.
    pub(crate) fn refer(self, logged_in: bool, out: &mut Vec<u8>) {
        match self.host.filter(|_| self.after_login || !logged_in) {
            Some(host) => render::see_other_host(host, out),
            None => render::stream_error(StreamCondition::SystemShutdown, "", out),
        }
    }
}

/// Ends an open stream with an error (RFC 6120 §4.9).
pub(crate) fn end_with_error(condition: StreamCondition, text: &str, out: &mut Vec<Output>) {
    write(out, |bytes| {
        render::stream_error(condition, text, bytes);
        render::stream_close(bytes);
    });
    out.push(Output::End { clean: false, linger: true });
}

fn closing_tag() -> Vec<u8> {
    let mut bytes = Vec::new();
    render::stream_close(&mut bytes);
    bytes
}

/// Writes to the client what `render` appends.
pub(crate) fn write(out: &mut Vec<Output>, render: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = Vec::new();
    render(&mut bytes);
    out.push(Output::Write(bytes));
}
