//! Frames as named values, in the order of their structs: what both printers print.

use hearth_wire::condition::{SaslCondition, StanzaCondition, StreamCondition};
use hearth_wire::ids::{Generation, Slot, StreamId};
use hearth_wire::stanza::{Carbon, Delay, StanzaFault, StanzaIdOverlay};
use hearth_wire::to_core::{Authenticate, Fast, OpenQuestion, Security, ToCore, UserAgent};
use hearth_wire::to_edge::{Deliver, Multicast, Target, ToEdge};
use std::net::IpAddr;

/// Named values in order.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) Vec<(&'static str, Value<'a>)>);

/// A value that both printers know how to print.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// An option that is not there; not printed.
    Absent,
    Number(u64),
    Flag(bool),
    Text(&'a str),
    /// Our own words: names of variants, addresses of peers.
    Word(String),
    /// Perhaps secret.
    Bytes(&'a [u8]),
    /// Bytes of which only the number is shown.
    Hidden(usize),
    /// An encoded stanza.
    Stanza(&'a [u8]),
    /// An encoded payload.
    Forest(&'a [u8]),
    Fields(Fields<'a>),
    List(Vec<Fields<'a>>),
}

impl Fields<'_> {
    /// Replaces bytes by their number.
    pub(super) fn hide_bytes(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| value.hide());
    }
}

impl Value<'_> {
    pub(super) fn hide(&mut self) {
        match self {
            Value::Bytes(bytes) => *self = Value::Hidden(bytes.len()),
            Value::Fields(fields) => fields.hide_bytes(),
            Value::List(list) => list.iter_mut().for_each(Fields::hide_bytes),
            Value::Absent
            | Value::Number(_)
            | Value::Flag(_)
            | Value::Text(_)
            | Value::Word(_)
            | Value::Hidden(_)
            | Value::Stanza(_)
            | Value::Forest(_) => {}
        }
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! from {
    ($($type:ty => |$value:ident| $make:expr;)+) => {
        $(impl<'a> From<$type> for Value<'a> {
            fn from($value: $type) -> Value<'a> {
                $make
            }
        })+
    };
}
from! {
    u64 => |number| Value::Number(number);
    u16 => |number| Value::Number(number.into());
    u32 => |number| Value::Number(number.into());
    bool => |flag| Value::Flag(flag);
    &'a str => |text| Value::Text(text);
    &'a [u8] => |bytes| Value::Bytes(bytes);
    Slot => |slot| Value::Number(slot.index().into());
    Generation => |generation| Value::Word(format!("{}.{}", generation.epoch, generation.counter));
    StreamId => |stream| Value::Word(stream.to_string());
    IpAddr => |peer| Value::Word(peer.to_string());
    Security => |security| Value::Word(format!("{security:?}"));
    StanzaFault => |fault| Value::Word(format!("{fault:?}"));
    StreamCondition => |condition| Value::Text(condition.element());
    StanzaCondition => |condition| Value::Text(condition.element());
    SaslCondition => |condition| Value::Text(condition.element());
    Delay<'a> => |delay| Value::Fields(fields!(delay; from, stamp_ms));
    StanzaIdOverlay<'a> => |id| Value::Fields(fields!(id; id, by));
    UserAgent<'a> => |agent| Value::Fields(Fields(vec![
        ("id", Value::Word(hex(&agent.id))),
        ("software", agent.software.into()),
        ("device", agent.device.into()),
    ]));
    Fast => |fast| Value::Fields(fields!(fast; count, invalidate));
    Carbon<'a> => |carbon| Value::Fields(fields!(carbon; sent, from, to));
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(option: Option<T>) -> Value<'a> {
        option.map_or(Value::Absent, T::into)
    }
}

/// Fields of a struct by their names; `as` says what bytes are.
macro_rules! fields {
    ($of:expr; $($field:ident $(as $kind:ident)?),* $(,)?) => {
        Fields(vec![$((stringify!($field), fields!(@ $of.$field, $($kind)?))),*])
    };
    (@ $value:expr,) => { Value::from($value) };
    (@ $value:expr, $kind:ident) => { Value::$kind($value) };
}
use fields;

pub(super) fn to_core<'a>(frame: &ToCore<'a>) -> Fields<'a> {
    match frame {
        ToCore::Hello(f) => {
            fields!(f; version_min, version_max, edge, incarnation, event_loop, event_loops, shard, link_credit)
        }
        ToCore::Heartbeat(_) => Fields(Vec::new()),
        ToCore::LinkCredit(f) => fields!(f; bytes),
        ToCore::Authenticate(f) => authenticate(f),
        ToCore::AuthenticateInline(f) => {
            let mut fields = authenticate(&f.authenticate);
            fields.0.extend(fields!(f; from, agent, fast, request_token).0);
            fields
        }
        ToCore::Certificate(f) => {
            Fields(vec![("counter", Value::from(f.counter)), ("addresses", Value::Word(f.addresses.join(" ")))])
        }
        ToCore::AuthResponse(f) => fields!(f; counter, data),
        ToCore::AuthAbort(f) => fields!(f; counter),
        ToCore::Bind(f) => fields!(f; counter, resource, credit),
        ToCore::Stanza(f) | ToCore::StanzaAgain(f) => fields!(f; counter, generation, number, fault, stanza as Stanza),
        ToCore::Written(f) => fields!(f; counter, generation, entry, credit),
        ToCore::Closed(f) => fields!(f; counter, generation, clean),
        ToCore::PreAuthIq(f) => fields!(f; counter, slot, epoch, domain, peer, security, stanza as Stanza),
        ToCore::Drained(f) => fields!(f; draining),
        ToCore::SmEnable(f) => fields!(f; counter, generation, number, resume, max_s),
        ToCore::Resume(f) => fields!(f; counter, previd, h, credit),
        ToCore::Attach(f) => {
            let mut fields = fields!(
                f; counter, stream, generation, sealed, settled, number, entry, written, delivered_bytes, credit, log,
                closed
            );
            let unwritten = f.unwritten.iter().map(|logged| fields!(logged; entry, log)).collect();
            fields.0.push(("unwritten", Value::List(unwritten)));
            fields.0.push(("recent", logs(&f.recent)));
            fields
        }
        ToCore::Recent(f) => {
            let mut fields = fields!(f; counter);
            fields.0.push(("logs", logs(&f.logs)));
            fields
        }
        ToCore::AllSent(_) => Fields(Vec::new()),
        ToCore::Echo(f) => fields!(f; token),
        ToCore::OpenQuestions(f) => {
            let mut fields = fields!(f; counter, whole);
            fields.0.push(("open", open_questions(&f.open)));
            fields
        }
    }
}

pub(super) fn to_edge<'a>(frame: &ToEdge<'a>) -> Fields<'a> {
    match frame {
        // The slot key is a secret of the link: whoever knows it can pile accounts onto one slot.
        ToEdge::Welcome(f) => fields!(f; version, shards, link_credit),
        ToEdge::Heartbeat(_) => Fields(Vec::new()),
        ToEdge::LinkCredit(f) => fields!(f; bytes),
        ToEdge::SlotOwner(f) => fields!(f; first, last, epoch, shard),
        ToEdge::Domain(f) => fields!(
            f; domain, features_clear as Forest, features_tls as Forest, features_tls_end_point as Forest,
            features_tls_exporter as Forest, features_tls_bound as Forest, features_authenticated as Forest
        ),
        ToEdge::Authentication(f) => fields!(
            f; domain, tls as Forest, tls_end_point as Forest, tls_exporter as Forest, tls_bound as Forest
        ),
        ToEdge::Certified(f) => fields!(
            f; domain, features_tls as Forest, features_tls_end_point as Forest, features_tls_exporter as Forest,
            features_tls_bound as Forest
        ),
        ToEdge::FastToken(f) => fields!(f; counter, token, expires_ms),
        ToEdge::DomainGone(f) => fields!(f; domain),
        ToEdge::AuthChallenge(f) => fields!(f; counter, data),
        ToEdge::AuthSuccess(f) => fields!(f; counter, account, data),
        ToEdge::AuthFailure(f) => fields!(f; counter, condition, last),
        ToEdge::Moved(f) => fields!(f; counter, slot),
        ToEdge::Bound(f) => fields!(f; counter, stream, generation, jid, credit),
        ToEdge::BindRefused(f) => fields!(f; counter, condition),
        ToEdge::Settled(f) => fields!(f; counter, generation, number, credit),
        ToEdge::Deliver(f) => deliver(f),
        ToEdge::Multicast(f) => multicast(f),
        ToEdge::Close(f) => fields!(f; counter, generation, condition, text),
        ToEdge::PreAuthReply(f) => fields!(f; counter, stanza as Stanza),
        ToEdge::Capsule(f) => fields!(f; counter, generation, sealed),
        ToEdge::Echo(f) => fields!(f; token),
        ToEdge::Refused(f) => fields!(f; reason),
        ToEdge::SmEnabled(f) => fields!(f; counter, generation, entry, previd, max_s),
        ToEdge::Resumed(f) => {
            fields!(f; counter, stream, generation, jid, number, sm_number, entry, sm_entry, credit)
        }
        ToEdge::ResumeFailed(f) => fields!(f; counter, condition, h),
        ToEdge::Attached(f) => fields!(f; counter, before, generation, received, settled, credit),
        ToEdge::AskedBefore(f) => {
            let mut fields = fields!(f; counter, generation, whole);
            fields.0.push(("open", open_questions(&f.open)));
            fields
        }
        ToEdge::Stored(f) => fields!(f; counter, generation, entry),
        ToEdge::DeliverLogged(f) => logged(f.log, deliver(&f.deliver)),
        ToEdge::MulticastLogged(f) => logged(f.log, multicast(&f.multicast)),
    }
}

fn authenticate<'a>(frame: &Authenticate<'a>) -> Fields<'a> {
    let mut fields = fields!(frame; counter, slot, epoch, domain, peer, security, mechanism, initial);
    fields.0.extend(fields!(frame.binding; tls_exporter, tls_server_end_point).0);
    fields
}

fn logs<'a>(logs: &[u64]) -> Value<'a> {
    Value::List(logs.iter().map(|log| Fields(vec![("log", Value::Number(*log))])).collect())
}

fn open_questions<'a>(open: &[OpenQuestion<'a>]) -> Value<'a> {
    Value::List(open.iter().map(|question| fields!(question; id, to)).collect())
}

fn deliver<'a>(frame: &Deliver<'a>) -> Fields<'a> {
    let mut fields = target(&frame.target);
    fields.0.push(("stanza", Value::Stanza(frame.stanza)));
    fields
}

fn multicast<'a>(frame: &Multicast<'a>) -> Fields<'a> {
    let targets = Value::List(frame.targets.iter().map(target).collect());
    Fields(vec![("targets", targets), ("stanza", Value::Stanza(frame.stanza))])
}

fn logged(log: u64, mut frame: Fields<'_>) -> Fields<'_> {
    frame.0.push(("log", log.into()));
    frame
}

fn target<'a>(target: &Target<'a>) -> Fields<'a> {
    let mut fields = fields!(target; counter, generation, entry);
    fields.0.extend(fields!(target.overlay; to, delay, stanza_id, carbon).0);
    fields
}
