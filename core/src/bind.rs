//! Resource binding (RFC 6120 §7): an authenticated socket becomes a session.

use crate::account::AccountKey;
use crate::capsule;
use crate::cx::Cx;
use crate::limits;
use crate::link::LinkId;
use crate::outputs::Event;
use crate::session::{Inbound, Outbound, Session, SessionKey, Visibility};
use hearth_wire::ids::StreamId;
use hearth_wire::to_core::Bind;
use hearth_wire::to_edge::{BindRefused, Bound, ToEdge};
use hearth_wire::{StanzaCondition, StreamCondition};

/// The client asks for a resource; one is made if it asks for none (§7.6).
pub fn on_bind(cx: &mut Cx<'_>, link: LinkId, frame: &Bind<'_>) {
    let counter = frame.counter;
    if cx.shard.draining.is_some() {
        // The client comes again, and finds the core that follows.
        return refuse(cx, link, counter, StanzaCondition::ResourceConstraint);
    }
    let account = cx.shard.logins.get(&(link, counter)).and_then(|login| login.account);
    let Some(jid) = account.and_then(|key| cx.account(key)).map(|account| account.jid.clone()) else {
        return refuse(cx, link, counter, StanzaCondition::NotAllowed);
    };
    if !cx.shard.domains.contains(jid.domainpart()) {
        // Removed since the login; the edge hears of it.
        return refuse(cx, link, counter, StanzaCondition::NotAllowed);
    }
    let (resource, credit) = (frame.resource.map(str::to_owned), frame.credit);
    cx.with_account(&jid, move |cx, account| match account {
        Some(account) => {
            if let Err(condition) = bind(cx, link, counter, account, resource.as_deref(), credit) {
                refuse(cx, link, counter, condition);
            }
        }
        None => refuse(cx, link, counter, StanzaCondition::InternalServerError),
    });
}

fn refuse(cx: &mut Cx<'_>, link: LinkId, counter: u64, condition: StanzaCondition) {
    cx.out.frame(link, &ToEdge::BindRefused(BindRefused { counter, condition }));
}

fn bind(
    cx: &mut Cx<'_>,
    link: LinkId,
    counter: u64,
    account: AccountKey,
    resource: Option<&str>,
    credit: u64,
) -> Result<(), StanzaCondition> {
    // The socket may have closed while the account was busy. A broken edge may have given it to another session.
    if !cx.shard.logins.contains_key(&(link, counter)) || cx.shard.by_socket.contains_key(&(link, counter)) {
        return Ok(());
    }
    let known = cx.account(account).map(|account| (account.jid.clone(), account.slot));
    let (bare, slot) = known.ok_or(StanzaCondition::InternalServerError)?;
    let random;
    let resource = match resource {
        Some(resource) => resource,
        None => {
            random = StreamId(cx.random()).to_string();
            &random
        }
    };
    let jid = bare.with_resource(resource).map_err(|_| StanzaCondition::BadRequest)?;
    // §7.7.2.2: the newest wins; the old session's unavailable goes out before the new one is bound.
    if let Some(old) = cx.session_of(account, jid.as_str()) {
        cx.close_session(old, Some(StreamCondition::Conflict), "replaced by a newer session");
    }
    if cx.account(account).is_none_or(|account| account.sessions.len() >= limits::SESSIONS_PER_ACCOUNT_MAX) {
        return Err(StanzaCondition::ResourceConstraint);
    }
    cx.shard.logins.remove(&(link, counter));
    let generation = cx.next_generation(slot);
    let session = Session {
        account,
        jid: jid.clone(),
        stream: StreamId(cx.random()),
        generation,
        before: generation,
        since: generation,
        bound: generation,
        link,
        counter,
        sm: None,
        capsule_due: false,
        on_record: false,
        earlier: None,
        inbound: Inbound::new(),
        outbound: Outbound::new(credit),
        presence: None,
        priority: 0,
        visibility: Visibility::Visible,
        said_unavailable: false,
        interested: false,
        blocklist_asked: false,
        directed: None,
        questions: None,
    };
    let (stream, in_credit) = (session.stream, session.inbound.credit(cx.shard.settings.limits.session_window_bytes));
    let key = SessionKey(cx.shard.sessions.insert(session));
    cx.shard.by_socket.insert((link, counter), key);
    if let Some(account) = cx.account_mut(account) {
        account.pins = account.pins.saturating_sub(1);
        account.sessions.push(key);
    }
    cx.out.frame(link, &ToEdge::Bound(Bound { counter, stream, generation, jid: jid.as_str(), credit: in_credit }));
    capsule::changed(cx, key);
    cx.event(Event::SessionStarted { jid: jid.as_str().to_owned() });
    Ok(())
}
