//! Once: a client's stanza that changed its account is not executed again when its edge sends it again.
//!
//! ```text
//!  set ──▶ Cx::write ──▶ change, and (stream, number, hash): one commit ──▶ result, push, settled
//!                                    ╳ the core dies
//!  again ──▶ in the list: the result again, and what others may not have been told
//! ```
//! Whatever came between stays: another resource's change is not undone, a version is not raised twice. A number
//! is in the list until its edge must have heard that it is settled; the list of a session that has ended goes with a
//! later change of the account.
//! What changed nothing is not in the list: nobody has heard of it, and it may as well happen now.
//!
//! Messages are found in the log by the same names (`message.rs`).

use crate::account::{Account, AccountKey};
use crate::cx::Cx;
use crate::limits;
use crate::link::Link;
use crate::route::bare;
use crate::session::{Origin, SessionKey};
use crate::subscription::state::Action;
use crate::{blocking, reply, roster, subscription};
use aws_lc_rs::digest;
use hearth_storage::{Change, Executed, ExecutedStanza};
use hearth_wire::ids::StreamId;
use hearth_wire::jid;
use hearth_wire::stanza::{Overlay, Stanza, StanzaKind, StanzaType};

#[cfg(test)]
mod tests;

/// What sessions of an account changed of late.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List(Vec<Of>);

/// As [`Executed`].
#[derive(Clone, PartialEq, Eq, Debug)]
struct Of {
    stream: StreamId,
    credentials: Option<u64>,
    stanzas: Vec<Noted>,
}

/// Times are `Now::mono_ms`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Noted {
    stanza: ExecutedStanza,
    noted_ms: u64,
    /// When it was first seen to be settled: behind others that are not, it may be so long after it was executed.
    settled_ms: Option<u64>,
}

impl Of {
    /// When the last of them was noted.
    fn last_ms(&self) -> u64 {
        self.stanzas.iter().map(|noted| noted.noted_ms).max().unwrap_or(0)
    }

    /// Forgets those of which the session's edge must have heard that they are settled, all up to `settled` are.
    fn forget_settled(&mut self, settled: u64, now_ms: u64) {
        self.stanzas.retain_mut(|noted| {
            if noted.stanza.number <= settled {
                noted.settled_ms.get_or_insert(now_ms);
            }
            noted.settled_ms.is_none_or(|settled_ms| now_ms.saturating_sub(settled_ms) < limits::EXECUTED_KEPT_MS)
        });
    }
}

impl List {
    /// As stored; nothing if nothing is.
    pub fn new(stored: Vec<Executed>, now_ms: u64) -> Option<Box<List>> {
        let of = |Executed { stream, credentials, stanzas }| Of {
            stream,
            credentials,
            stanzas: stanzas.into_iter().map(|stanza| Noted { stanza, noted_ms: now_ms, settled_ms: None }).collect(),
        };
        (!stored.is_empty()).then(|| Box::new(List(stored.into_iter().map(of).collect())))
    }

    fn of(&self, stream: StreamId) -> Option<&Of> {
        self.0.iter().find(|of| of.stream == stream)
    }
}

/// Of a stanza that may change its sender's account, as its edge encoded it; nothing of all others, most of which
/// are long.
pub fn hash(own: &str, stanza: &Stanza<'_>, encoded: &[u8]) -> [u8; 4] {
    let here = |to: &str| bare(to) == own || jid::split(to).0.is_none();
    let may = match stanza.kind {
        StanzaKind::Iq => stanza.ty == StanzaType::Set && stanza.to.is_none_or(here),
        StanzaKind::Presence => Action::of(stanza.ty).is_some(),
        StanzaKind::Message => false,
    };
    let digest = may.then(|| digest::digest(&digest::SHA256, encoded));
    digest.and_then(|digest| digest.as_ref().first_chunk().copied()).unwrap_or_default()
}

/// The stanza of one of the account's own sessions that is being executed, if it may be sent again.
pub fn cause(cx: &Cx<'_>, key: AccountKey) -> Option<Origin> {
    let origin = cx.shard.current.map(|current| current.origin).or(cx.shard.executing)?;
    may_come_again(cx, key, &origin).then_some(origin)
}

fn may_come_again(cx: &Cx<'_>, key: AccountKey, origin: &Origin) -> bool {
    let here = origin.shard == cx.shard.settings.index;
    let session = cx.session(origin.session).filter(|session| here && session.stream == origin.stream);
    session.is_some_and(|session| {
        let link = cx.shard.links.get(&session.link);
        // By its edge, or by its client when that resumes it, here or, should this core die, from what is on record.
        let resumes = session.sm.as_ref().is_some_and(|sm| sm.token.is_some());
        session.account == key && (link.is_some_and(Link::attaches) || resumes)
    })
}

/// Adds to the changes that they were made for this stanza. The account has the list that is returned once they
/// are stored; `None`: the list it has.
pub fn note(cx: &mut Cx<'_>, key: AccountKey, by: Option<Origin>, changes: &mut Vec<Change>) -> Option<Box<List>> {
    let by = by.filter(|by| may_come_again(cx, key, by))?;
    // With the account goes all that is known of its sessions.
    if changes.is_empty() || changes.iter().any(|change| matches!(change, Change::DeleteAccount { .. })) {
        return None;
    }
    let credentials = changes.iter().find_map(|change| match change {
        Change::SetCredentials { credentials, .. } => Some(credentials.generation),
        _ => None,
    });
    let (now_ms, settled) = (cx.now.mono_ms, cx.session(by.session)?.inbound.settled());
    let account = cx.account(key)?;
    let mut list = account.executed.clone().unwrap_or_default();
    let owner = || account.jid.clone();
    // Those that have ended, too: an edge that has not heard of it may return one to the next core.
    let all_here = cx.shard.recovery.is_none() && cx.shard.not_returned.is_empty();
    let lives = |stream| account.sessions.iter().any(|key| cx.session(*key).is_some_and(|s| s.stream == stream));
    let mut goes = |of: &Of| changes.push(Change::RemoveExecuted { account: owner(), stream: of.stream });
    list.0.retain(|of| {
        let stays = !all_here || lives(of.stream) || now_ms.saturating_sub(of.last_ms()) < limits::EXECUTED_ENDED_MS;
        if !stays {
            goes(of);
        }
        stays
    });
    while list.0.len() >= limits::EXECUTED_SESSIONS_MAX {
        let ended = list.0.iter().enumerate().filter(|(_, of)| !lives(of.stream));
        let Some((oldest, of)) = ended.min_by_key(|(_, of)| of.last_ms()) else { break };
        goes(of);
        list.0.remove(oldest);
    }
    let at = list.0.iter().position(|of| of.stream == by.stream).unwrap_or(list.0.len());
    if at == list.0.len() {
        list.0.push(Of { stream: by.stream, credentials: None, stanzas: Vec::new() });
    }
    let of = list.0.get_mut(at)?;
    of.credentials = credentials.or(of.credentials);
    of.forget_settled(settled, now_ms);
    of.stanzas.retain(|noted| noted.stanza.number != by.number);
    let stanza = ExecutedStanza { number: by.number, hash: by.hash };
    of.stanzas.push(Noted { stanza, noted_ms: now_ms, settled_ms: None });
    let over = of.stanzas.len().saturating_sub(limits::EXECUTED_MAX);
    of.stanzas.drain(..over);
    let stanzas = of.stanzas.iter().map(|noted| noted.stanza).collect();
    let executed = Executed { stream: of.stream, credentials: of.credentials, stanzas };
    changes.push(Change::PutExecuted { account: owner(), executed });
    Some(list)
}

/// Whether a session may go on that was bound under these credentials: those of today, or it changed them itself.
pub fn may_go_on(account: &Account, stream: StreamId, credentials: u64) -> bool {
    let own = account.executed.as_deref().and_then(|list| list.of(stream)).and_then(|of| of.credentials);
    [Some(credentials), own].contains(&Some(account.credentials_generation))
}

/// Whether the stanza being handled was executed before; if so, that has been answered.
pub fn again(cx: &mut Cx<'_>, session: SessionKey, stanza: &Stanza<'_>) -> bool {
    let Some(origin) = cx.shard.current.map(|current| current.origin).filter(|origin| origin.again) else {
        return false;
    };
    let same = ExecutedStanza { number: origin.number, hash: origin.hash };
    let key = cx.session(session).map(|session| session.account);
    let list = key.and_then(|key| cx.account(key)).and_then(|account| account.executed.as_deref());
    let Some(key) = key.filter(|_| {
        let of = list.and_then(|list| list.of(origin.stream));
        of.is_some_and(|of| of.stanzas.iter().any(|noted| noted.stanza == same))
    }) else {
        return false;
    };
    match (stanza.kind, Action::of(stanza.ty)) {
        (StanzaKind::Iq, _) => {
            // No set that changes an account has another result.
            cx.deliver(session, &reply::result(stanza, &[]), &Overlay::default(), None);
            match reply::question(stanza) {
                Ok(question) if question.is(roster::NS, "query") => roster::set_again(cx, key, &question),
                Ok(question) if question.ns() == blocking::NS => blocking::set_again(cx, key, &question),
                Ok(_) | Err(_) => {}
            }
        }
        (StanzaKind::Presence, Some(action)) => subscription::outbound_again(cx, key, stanza, action),
        (StanzaKind::Presence, None) | (StanzaKind::Message, _) => {}
    }
    true
}
