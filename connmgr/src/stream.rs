//! One client stream from its header to the end (RFC 6120 §4–7), apart from any transport. Pure.
//!
//! Contract: one input, then perform every output in order, then the next input. While [`Stream::reads`]
//! is false no [`Input`] of the client may come in: it waits in the socket. Elements of a bound stream are
//! stanzas and go to its [`Session`] directly, past this machine.
//!
//! ```text
//!  AwaitHeader ──header──▶ Features ──starttls──▶ StartingTls ──TlsReady──▶ AwaitHeader
//!      │   ▲                 │ ▲ ▲
//!    core  └──success──┐  auth │ └──failure, abort──┐        Held: the core is not known yet
//!    away              │     ▼ │                    │        Asked: the core is to answer; not read
//!      ▼               └── Asked ◀──response── Challenged    Binding: as Asked, for a resource
//!    Held ──directory──▶ Features ──bind──▶ Binding ──Bound──▶ (Session)
//! ```
//! Every state may end: by the client's closing tag, which is answered; by a stream error; by the socket.

mod negotiation;
mod sasl;
#[cfg(test)]
mod tests;

use crate::directory::Hosted;
use crate::render;
use crate::session::Session;
use crate::tls::Protection;
use crate::xml::Header;
use hearth_wire::ids::Slot;
use hearth_wire::to_edge::Bound;
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
    /// A first-level element before bind. `more`: more than whitespace of the client lies behind it already.
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
    /// The core's answers (RFC 6120 §6.4).
    Challenge(&'a [u8]),
    Success {
        account: &'a str,
        data: Option<&'a [u8]>,
    },
    Failure {
        condition: SaslCondition,
        last: bool,
    },
    Moved(Slot),
    Bound(&'a Bound<'a>),
    BindRefused(StanzaCondition),
    /// An answer to a registration before authentication, rendered.
    Reply(&'a [u8]),
    /// The core ends the stream.
    CoreClose {
        condition: Option<StreamCondition>,
        text: &'a str,
    },
    /// The link to the shard that knows this client is gone, or never was there.
    LinkLost,
    /// Time is up.
    Deadline(Deadline),
    /// The edge stops.
    Shutdown,
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
    /// Behind what was written, end the connection. Tell the core, if it knows the client.
    End {
        /// The client closed its stream properly.
        clean: bool,
        /// We closed first: wait a bounded time for the client's side (RFC 6120 §4.4).
        linger: bool,
    },
}

/// Questions of a stream before bind.
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
    /// XEP-0077 §3.1.
    Register { at: At, domain: Box<str>, protection: Option<Protection>, stanza: Vec<u8> },
}

/// The SASL exchange's beginning, with what it is bound to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auth {
    pub domain: Box<str>,
    pub protection: Option<Protection>,
    pub mechanism: String,
    pub initial: Option<Vec<u8>>,
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
            Stream::Ended(_) => {}
            Stream::Negotiating(negotiation) => {
                if let Some(next) = negotiation.handle(input, out) {
                    *self = next;
                }
            }
            Stream::Bound(_) => bound(input, out),
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

/// What ends a bound stream.
fn bound(input: Input<'_>, out: &mut Vec<Output>) {
    match input {
        Input::Close => {
            out.push(Output::Write(closing_tag()));
            out.push(Output::End { clean: true, linger: false });
        }
        Input::Eof => out.push(Output::End { clean: false, linger: false }),
        Input::Refused { condition, text } => end_with_error(condition, text, out),
        Input::CoreClose { condition: Some(condition), text } => end_with_error(condition, text, out),
        Input::CoreClose { condition: None, .. } => {
            out.push(Output::Write(closing_tag()));
            out.push(Output::End { clean: false, linger: true });
        }
        // The session is lost with the core's half of it; `reset` asks the client to come again at once.
        Input::LinkLost => end_with_error(StreamCondition::Reset, "the session's server is not reachable", out),
        Input::Deadline(Deadline::Stanza) => end_with_error(StreamCondition::PolicyViolation, "stanza too slow", out),
        Input::Deadline(Deadline::Login | Deadline::Idle) => {
            end_with_error(StreamCondition::ConnectionTimeout, "", out);
        }
        Input::Shutdown => end_with_error(StreamCondition::SystemShutdown, "", out),
        // A header inside a stream; what the framer lets through it may not.
        Input::Header { .. } => end_with_error(StreamCondition::BadFormat, "", out),
        Input::Element { .. } => {
            debug_assert!(false, "elements of a bound stream go to its session");
            end_with_error(StreamCondition::InternalServerError, "", out);
        }
        // Late answers and news that concern streams before bind.
        Input::Directory { .. }
        | Input::TlsReady(_)
        | Input::Challenge(_)
        | Input::Success { .. }
        | Input::Failure { .. }
        | Input::Moved(_)
        | Input::Bound(_)
        | Input::BindRefused(_)
        | Input::Reply(_) => {}
    }
}

fn end_with_error(condition: StreamCondition, text: &str, out: &mut Vec<Output>) {
    let mut bytes = Vec::new();
    render::stream_error(condition, text, &mut bytes);
    render::stream_close(&mut bytes);
    out.push(Output::Write(bytes));
    out.push(Output::End { clean: false, linger: true });
}

fn closing_tag() -> Vec<u8> {
    let mut bytes = Vec::new();
    render::stream_close(&mut bytes);
    bytes
}
