//! Frames of a shard, each to the client or the table it is for.

use crate::client::{Client, place};
use crate::link::{Link, LinkError};
use crate::reattach;
use crate::shared::Shared;
use crate::slab::Slab;
use crate::stream::Input;
use hearth_wire::StreamCondition;
use hearth_wire::codec::WireError;
use hearth_wire::ids::ShardIndex;
use hearth_wire::stanza::{Overlay, Stanza};
use hearth_wire::to_edge::{Target, ToEdge, Welcome};
use std::time::Duration;

/// Handles every whole frame that the link has read; what is left of the bytes stays there.
pub(crate) fn frames(shard: ShardIndex, clients: &mut Slab<Client>, cx: &mut Shared) -> Result<(), LinkError> {
    let Some(link) = cx.link(shard) else { return Ok(()) };
    let input = link.take_input();
    let mut used = 0usize;
    let mut done = Ok(());
    while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
        match Link::split(rest).and_then(|split| match split {
            Some((bytes, len)) => frame(shard, bytes, clients, cx).map(|()| len),
            None => Ok(0),
        }) {
            Ok(0) => break,
            Ok(len) => used = used.saturating_add(len),
            Err(error) => {
                done = Err(error);
                break;
            }
        }
    }
    if let Some(link) = cx.link(shard) {
        link.keep_input(input, used);
    }
    done
}

fn frame(shard: ShardIndex, bytes: &[u8], clients: &mut Slab<Client>, cx: &mut Shared) -> Result<(), LinkError> {
    // Kinds of a later release are skipped.
    let Some(frame) = ToEdge::decode(bytes).map_err(LinkError::Wire)? else { return Ok(()) };
    let mut to = |counter, cx: &mut Shared, input: Input<'_>| {
        with(counter, clients, cx, |client, cx| {
            client.answered(cx);
            client.input(input, cx);
        });
    };
    match frame {
        ToEdge::Welcome(welcome) => on_welcome(shard, &welcome, clients, cx)?,
        ToEdge::Refused(refused) => return Err(LinkError::Refused(refused.reason.to_owned())),
        ToEdge::Heartbeat(_) => {}
        ToEdge::Echo(echo) => {
            let took =
                cx.link(shard).and_then(|link| link.on_echo(&echo)).map(|sent_us| cx.turn_us.saturating_sub(sent_us));
            if let Some(took_us) = took {
                cx.round_trips.note(Duration::from_micros(took_us));
            }
        }
        ToEdge::LinkCredit(credit) => {
            if let Some(link) = cx.link(shard) {
                link.on_credit(&credit);
            }
        }
        ToEdge::SlotOwner(owner) => {
            cx.directory.on_slot_owner(&owner);
            wake_held(clients, cx);
        }
        ToEdge::Authentication(f) => {
            if !cx.directory.on_authentication(&f) {
                return Err(LinkError::Wire(WireError::BadTree));
            }
        }
        ToEdge::Certified(f) => {
            if !cx.directory.on_certified(&f) {
                return Err(LinkError::Wire(WireError::BadTree));
            }
        }
        ToEdge::Domain(domain) => {
            if !cx.directory.on_domain(&domain) {
                return Err(LinkError::Wire(WireError::BadTree));
            }
            if !cx.tls.has(domain.domain) {
                cx.live.announce(domain.domain);
            }
            wake_held(clients, cx);
        }
        ToEdge::DomainGone(gone) => on_domain_gone(gone.domain, clients, cx),
        ToEdge::AuthChallenge(f) => to(f.counter, cx, Input::Challenge(f.data)),
        ToEdge::AuthSuccess(f) => to(f.counter, cx, Input::Success { account: f.account, data: f.data }),
        ToEdge::FastToken(f) => {
            let Ok(token) = std::str::from_utf8(f.token) else { return Err(LinkError::Wire(WireError::BadTree)) };
            to(f.counter, cx, Input::Token { token, expires_ms: f.expires_ms });
        }
        ToEdge::AuthFailure(f) => to(f.counter, cx, Input::Failure { condition: f.condition, last: f.last }),
        ToEdge::Moved(f) => to(f.counter, cx, Input::Moved(f.slot)),
        ToEdge::Bound(f) => to(f.counter, cx, Input::Bound(&f)),
        ToEdge::BindRefused(f) => to(f.counter, cx, Input::BindRefused(f.condition)),
        ToEdge::Resumed(f) => to(f.counter, cx, Input::Resumed(&f)),
        ToEdge::ResumeFailed(f) => to(f.counter, cx, Input::ResumeFailed { condition: f.condition, h: f.h }),
        ToEdge::SmEnabled(f) => {
            let config = std::sync::Arc::clone(&cx.config);
            let location = config.resume_location.as_deref();
            to(f.counter, cx, Input::SmEnabled { enabled: &f, location });
        }
        ToEdge::PreAuthReply(f) => {
            let mut xml = Vec::new();
            let stanza = Stanza::decode(f.stanza).map_err(LinkError::Wire)?;
            crate::render::stanza(&stanza, &Overlay::default(), &mut xml).map_err(LinkError::Wire)?;
            to(f.counter, cx, Input::Reply(&xml));
        }
        ToEdge::Settled(f) => with(f.counter, clients, cx, |client, cx| client.on_settled(&f, cx)),
        ToEdge::Capsule(f) => with(f.counter, clients, cx, |client, _| {
            if let Some(session) = client.session() {
                session.on_capsule(&f);
            }
        }),
        ToEdge::AskedBefore(f) => with(f.counter, clients, cx, |client, _| {
            if let Some(session) = client.session() {
                session.on_asked_before(&f);
            }
        }),
        ToEdge::Stored(f) => with(f.counter, clients, cx, |client, _| {
            if let Some(session) = client.session() {
                session.on_stored(&f);
            }
        }),
        ToEdge::Deliver(f) => {
            credited(shard, bytes, cx);
            deliver(std::slice::from_ref(&f.target), None, f.stanza, clients, cx)?;
        }
        ToEdge::DeliverLogged(f) => {
            credited(shard, bytes, cx);
            deliver(std::slice::from_ref(&f.deliver.target), Some(f.log), f.deliver.stanza, clients, cx)?;
        }
        ToEdge::Multicast(f) => {
            credited(shard, bytes, cx);
            deliver(&f.targets, None, f.stanza, clients, cx)?;
        }
        ToEdge::MulticastLogged(f) => {
            credited(shard, bytes, cx);
            deliver(&f.multicast.targets, Some(f.log), f.multicast.stanza, clients, cx)?;
        }
        ToEdge::Close(f) => {
            cx.detached.on_close(f.counter, f.generation);
            with(f.counter, clients, cx, |client, cx| {
                if f.generation.is_none_or(|generation| client.is(generation)) {
                    client.input(Input::CoreClose { condition: f.condition, text: f.text }, cx);
                }
            });
        }
        ToEdge::Attached(f) => reattach::on_attached(shard, &f, clients, cx),
    }
    Ok(())
}

fn credited(shard: ShardIndex, frame: &[u8], cx: &mut Shared) {
    if let Some(link) = cx.link(shard) {
        link.on_credited(frame.len());
    }
}

/// Renders a stanza for each of its recipients; `log`: it is that record of their account's log.
fn deliver(
    targets: &[Target<'_>],
    log: Option<u64>,
    bytes: &[u8],
    clients: &mut Slab<Client>,
    cx: &mut Shared,
) -> Result<(), LinkError> {
    let stanza = Stanza::decode(bytes).map_err(LinkError::Wire)?;
    for target in targets {
        if let Some(client) = find(target.counter, clients) {
            client.deliver(target, log, &stanza, bytes.len(), cx);
        }
    }
    Ok(())
}

pub(crate) fn find(counter: u64, clients: &mut Slab<Client>) -> Option<&mut Client> {
    clients.get_mut(place(counter)).filter(|client| client.counter() == counter)
}

/// Does something with the client a frame names, if it is still there; then lets it go on reading.
fn with(counter: u64, clients: &mut Slab<Client>, cx: &mut Shared, act: impl FnOnce(&mut Client, &mut Shared)) {
    let Some(client) = find(counter, clients) else { return };
    act(client, cx);
    if client.can_resume(cx) {
        cx.again.push(place(counter));
    }
}

fn on_welcome(
    shard: ShardIndex,
    welcome: &Welcome,
    clients: &mut Slab<Client>,
    cx: &mut Shared,
) -> Result<(), LinkError> {
    if let Some(link) = cx.link(shard) {
        link.on_welcome(welcome)?;
    }
    cx.directory.on_welcome(welcome);
    tracing::info!(event = "link_up", shard, shards = welcome.shards);
    // A core that came back with fewer shards has none behind the rest.
    let count = usize::from(cx.directory.shards()).max(usize::from(shard).saturating_add(1));
    while cx.links.len() > count {
        let stay = cx.links.pop().is_some_and(|link| link.attaches());
        let gone = ShardIndex::try_from(cx.links.len()).unwrap_or(ShardIndex::MAX);
        reattach::on_link_lost(gone, stay, clients, cx);
    }
    while cx.links.len() < usize::from(cx.directory.shards()) {
        let next = ShardIndex::try_from(cx.links.len()).unwrap_or(ShardIndex::MAX);
        cx.links.push(Link::new(next));
    }
    wake_held(clients, cx);
    Ok(())
}

/// RFC 6120 §4.9.3.5: the domain's streams end.
fn on_domain_gone(domain: &str, clients: &mut Slab<Client>, cx: &mut Shared) {
    cx.directory.on_domain_gone(domain);
    for place in 0..clients.bound() {
        if let Some(client) = clients.get_mut(place).filter(|client| client.domain() == Some(domain)) {
            client.input(Input::CoreClose { condition: Some(StreamCondition::HostGone), text: "" }, cx);
        }
    }
}

/// Clients whose header waits for the core go on if it is whole now.
fn wake_held(clients: &mut Slab<Client>, cx: &mut Shared) {
    if !cx.links_ready() {
        return;
    }
    for place in std::mem::take(&mut cx.held) {
        if let Some(client) = clients.get_mut(place) {
            client.on_directory(cx);
        }
    }
}
