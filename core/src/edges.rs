//! Links of edges: greeting, credit, loss.

use crate::account::{AccountKey, State, Work};
use crate::cx::Cx;
use crate::limits;
use crate::link::{Link, LinkId};
use crate::outputs::Event;
use crate::recovery;
use crate::sasl::{EXTERNAL, Offer};
use crate::session::SessionKey;
use crate::slots::handover;
use crate::sm;
use crate::stream_features;
use hearth_storage::{Answer, Ask, Change, DomainRecord, EdgeRun};
use hearth_wire::BareJid;
use hearth_wire::ids::Generation;
use hearth_wire::to_core::{Certificate, Echo, Hello, LinkCredit, Security, ToCore, VERSION_MIN};
use hearth_wire::to_edge::{Authentication, Certified, Domain, DomainGone, Refused, SlotOwner, ToEdge, Welcome};

/// A connection came.
pub fn on_up(cx: &mut Cx<'_>, link: LinkId) {
    cx.shard.links.insert(link, Link::ungreeted());
}

/// The connection came over TLS, with the key of this edge.
pub fn on_key(cx: &mut Cx<'_>, link: LinkId, edge: Box<str>) {
    if let Some(link) = cx.shard.links.get_mut(&link) {
        link.key_of = Some(edge);
    }
}

/// The operator revoked an edge's key: the links made with it end.
pub fn on_revoked(cx: &mut Cx<'_>, edge: &str) {
    let of_edge = |link: &Link| link.up && link.key_of.as_deref() == Some(edge);
    let links: Vec<LinkId> = cx.shard.links.iter().filter(|(_, link)| of_edge(link)).map(|(id, _)| *id).collect();
    for link in links {
        refuse(cx, link, "this edge's key was revoked");
        give_up(cx, link);
    }
}

/// The edge wants to know how long a round trip takes: this turn is part of it.
pub fn on_echo(cx: &mut Cx<'_>, link: LinkId, echo: Echo) {
    cx.out.frame(link, &ToEdge::Echo(echo));
}

/// Talks to an edge no more, and says why. Whatever the connection still brings is not heard.
pub fn refuse(cx: &mut Cx<'_>, link: LinkId, reason: &str) {
    cx.out.frame(link, &ToEdge::Refused(Refused { reason }));
    cx.out.close_links.push(link);
    cx.event(Event::EdgeRefused { link, reason: reason.to_owned() });
    on_down(cx, link);
}

/// Whether a frame is for a socket that is bound already: then it is no frame of an edge that knows its sockets, and heeding it
/// would leave a session that nothing finds.
pub fn is_for_a_taken_socket(cx: &Cx<'_>, link: LinkId, frame: &ToCore<'_>) -> bool {
    let counter = match frame {
        ToCore::Authenticate(frame) => frame.counter,
        ToCore::AuthenticateInline(frame) => frame.authenticate.counter,
        ToCore::PreAuthIq(frame) => frame.counter,
        ToCore::Bind(frame) => frame.counter,
        ToCore::Resume(frame) => frame.counter,
        ToCore::Attach(frame) => frame.counter,
        _ => return false,
    };
    cx.shard.by_socket.contains_key(&(link, counter))
}

/// The edge introduces itself; it learns versions, slots and domains.
pub fn on_hello(cx: &mut Cx<'_>, id: LinkId, hello: &Hello<'_>) {
    let index = cx.shard.settings.index;
    if cx.shard.links.get(&id).is_some_and(|link| !link.up) {
        return;
    }
    let Some(link) = cx.shard.links.get_mut(&id).filter(|link| !link.greeted) else {
        return refuse(cx, id, "a second Hello on one link");
    };
    if !hearth_link::is_edge_name(hello.edge) {
        return refuse(cx, id, "this is no name for an edge");
    }
    let newest = cx.shard.settings.link_version;
    if hello.version_min > newest || hello.version_max < VERSION_MIN {
        return refuse(cx, id, "no link version in common: upgrade the older of edge and core");
    }
    if hello.shard != index {
        return refuse(cx, id, "this link is for another shard");
    }
    if let Some(name) = link.key_of.as_deref().filter(|name| *name != hello.edge) {
        let reason = format!("the key is of edge {name:?}, not of {:?}", hello.edge);
        return refuse(cx, id, &reason);
    }
    if !supersede(cx, id, hello) {
        return refuse(cx, id, "a later run of this edge is linked: edges have names of their own");
    }
    // A flood must not get a window for each link that it comes over: the first credit comes when there is room.
    let window = if cx.shard.takes_more() { cx.shard.settings.limits.link_window_bytes } else { 0 };
    if window == 0 {
        cx.shard.dirty_links.push(id);
    }
    let Some(link) = cx.shard.links.get_mut(&id) else { return };
    link.greeted = true;
    link.granted_bytes = window;
    link.version = newest.min(hello.version_max);
    let (version, attaches) = (link.version, link.attaches());
    link.edge = hello.edge.into();
    link.incarnation = hello.incarnation;
    link.event_loop = hello.event_loop;
    link.credit_bytes = hello.link_credit;
    link.edge_window_bytes = hello.link_credit;
    let welcome = Welcome {
        version,
        shards: cx.shard.settings.shards,
        slot_key: cx.shard.settings.slot_key,
        link_credit: window,
    };
    cx.out.frame(id, &ToEdge::Welcome(welcome));
    announce_slots(cx, id);
    announce_domains(cx, id);
    recovery::on_hello(cx, hello, attaches);
    if attaches {
        keep_run(cx, hello);
    }
    cx.event(Event::EdgeUp { link: id, edge: hello.edge.to_owned(), event_loop: hello.event_loop });
}

/// One live link per edge and event loop. A new one takes the place of one whose death was not noticed yet, and
/// those of an earlier run of the edge go with it. False if it is the new one that is late.
fn supersede(cx: &mut Cx<'_>, id: LinkId, hello: &Hello<'_>) -> bool {
    let same_edge = |link: &Link| link.up && link.greeted && *link.edge == *hello.edge;
    let others = || cx.shard.links.iter().filter(|(other, link)| **other != id && same_edge(link));
    if others().any(|(_, link)| link.incarnation > hello.incarnation) {
        return false;
    }
    let replaced = |link: &Link| link.incarnation < hello.incarnation || link.event_loop == hello.event_loop;
    let old: Vec<LinkId> = others().filter(|(_, link)| replaced(link)).map(|(id, _)| *id).collect();
    for link in old {
        refuse(cx, link, "superseded by a later link of the same edge");
    }
    // Whoever was at an earlier run's sockets is there no more.
    let dead = |link: &Link| *link.edge == *hello.edge && link.incarnation < hello.incarnation;
    let dead: Vec<LinkId> = cx.shard.links.iter().filter(|(_, link)| dead(link)).map(|(id, _)| *id).collect();
    for link in dead {
        give_up(cx, link);
    }
    true
}

/// Which runs of edges may have sessions for the next core to adopt is on record. One shard keeps it for all.
fn keep_run(cx: &mut Cx<'_>, hello: &Hello<'_>) {
    let known = cx.shard.edge_runs.get(hello.edge) == Some(&hello.incarnation);
    let full = cx.shard.edge_runs.len() >= limits::EDGE_RUNS_MAX && !cx.shard.edge_runs.contains_key(hello.edge);
    if cx.shard.settings.index != 0 || known || full {
        return;
    }
    cx.shard.edge_runs.insert(hello.edge.into(), hello.incarnation);
    let run = EdgeRun {
        edge: hello.edge.to_owned(),
        incarnation: hello.incarnation,
        event_loops: hello.event_loops.min(limits::EVENT_LOOPS_MAX),
    };
    write_run(cx, Change::PutEdgeRun { run });
}

/// The edge has no sessions any more.
pub fn forget_run(cx: &mut Cx<'_>, edge: &str) {
    if cx.shard.settings.index != 0 || cx.shard.links.values().any(|link| *link.edge == *edge) {
        return;
    }
    if cx.shard.edge_runs.remove(edge).is_some() {
        write_run(cx, Change::RemoveEdgeRun { edge: edge.to_owned() });
    }
}

/// Not waited for: at worst the next core waits for an edge that does not come, or adopts from one it did not expect.
fn write_run(cx: &mut Cx<'_>, change: Change) {
    let Some(slot) = cx.own_slot() else { return };
    let then = |cx: &mut Cx<'_>, answer| {
        if let Answer::Failed(cause) = answer {
            cx.event(Event::StorageFailed { doing: "record which edges are linked", cause: cause.to_string() });
        }
    };
    cx.ask(slot, Ask::Apply { changes: vec![change] }, Box::new(then));
}

/// One frame for each run of slots: with one shard one says it all. Of slots that this shard has just lost
/// the new owner tells.
fn announce_slots(cx: &mut Cx<'_>, link: LinkId) {
    for (first, last, epoch, shard) in cx.shard.slots.runs() {
        if handover::is_known(shard) {
            cx.out.frame(link, &ToEdge::SlotOwner(SlotOwner { first, last, epoch, shard }));
        }
    }
}

/// What streams of each domain advertise.
fn announce_domains(cx: &mut Cx<'_>, link: LinkId) {
    let domains: Vec<_> = cx.shard.domains.iter().cloned().collect();
    for domain in &domains {
        announce(cx, &[link], domain);
    }
}

/// A domain is served from now on, or its streams advertise something else: every edge is told.
pub fn announce_domain(cx: &mut Cx<'_>, domain: &str) {
    let Some(record) = cx.shard.domains.get(domain).cloned() else { return };
    let links = greeted(cx);
    announce(cx, &links, &record);
}

/// Clear login on loopback is offered from now on, or no more: every edge is told.
pub fn set_clear_login(cx: &mut Cx<'_>, on: bool) {
    cx.shard.settings.clear_login = on;
    for link in greeted(cx) {
        announce_domains(cx, link);
    }
}

/// A domain is served no more: every edge ends its streams (RFC 6120 §4.9.3.5).
pub fn domain_gone(cx: &mut Cx<'_>, domain: &str) {
    for link in greeted(cx) {
        cx.out.frame(link, &ToEdge::DomainGone(DomainGone { domain }));
    }
}

fn greeted(cx: &Cx<'_>) -> Vec<LinkId> {
    cx.shard.links.iter().filter(|(_, link)| link.up && link.greeted).map(|(id, _)| *id).collect()
}

fn announce(cx: &mut Cx<'_>, links: &[LinkId], domain: &DomainRecord) {
    let clear_login = cx.shard.settings.clear_login;
    let before = |security: Security, exporter: bool, end_point: bool| {
        stream_features::before_login(domain, Offer { security, exporter, end_point, certified: false })
    };
    let clear = if clear_login { before(Security::ClearLoopback, false, false) } else { Vec::new() };
    let tls = |exporter, end_point| before(Security::Tls13, exporter, end_point);
    let frame = ToEdge::Domain(Domain {
        domain: &domain.domain,
        features_clear: &clear,
        features_tls: &tls(false, false),
        features_tls_end_point: &tls(false, true),
        features_tls_exporter: &tls(true, false),
        features_tls_bound: &tls(true, true),
        features_authenticated: &stream_features::after_login(domain),
    });
    let tls = |exporter, end_point| {
        let offer = Offer { security: Security::Tls13, exporter, end_point, certified: false };
        stream_features::inline_login(domain, offer)
    };
    let inline = ToEdge::Authentication(Authentication {
        domain: &domain.domain,
        tls: &tls(false, false),
        tls_end_point: &tls(false, true),
        tls_exporter: &tls(true, false),
        tls_bound: &tls(true, true),
    });
    let certified = |exporter, end_point| {
        let offer = Offer { security: Security::Tls13, exporter, end_point, certified: true };
        if !EXTERNAL.is_on(domain) {
            return Vec::new();
        }
        [stream_features::before_login(domain, offer), stream_features::inline_login(domain, offer)].concat()
    };
    let certified = ToEdge::Certified(Certified {
        domain: &domain.domain,
        features_tls: &certified(false, false),
        features_tls_end_point: &certified(false, true),
        features_tls_exporter: &certified(true, false),
        features_tls_bound: &certified(true, true),
    });
    for link in links {
        cx.out.frame(*link, &certified);
        cx.out.frame(*link, &inline);
        cx.out.frame(*link, &frame);
    }
}

/// The client whose login comes next has shown a certificate. An address in another form than the one is nobody's.
pub fn on_certificate(cx: &mut Cx<'_>, link: LinkId, frame: &Certificate<'_>) {
    let prepared =
        |address: &&str| BareJid::parse(address).ok().filter(|jid| jid.as_str() == *address && !jid.is_domain());
    let addresses = frame.addresses.iter().filter_map(prepared).collect();
    if let Some(link) = cx.shard.links.get_mut(&link) {
        link.certificate = Some((frame.counter, addresses));
    }
}

/// Addresses of the domain that the client at a socket has shown a certificate of, right before; none where that is not how
/// one logs in.
pub fn take_certificate(cx: &mut Cx<'_>, link: LinkId, counter: u64, domain: &str) -> Vec<BareJid> {
    let shown = cx.shard.links.get_mut(&link).and_then(|link| link.certificate.take());
    let taken = cx.shard.domains.is_on(domain, &EXTERNAL);
    let mut addresses =
        shown.filter(|(of, _)| *of == counter && taken).map(|(_, addresses)| addresses).unwrap_or_default();
    addresses.retain(|address: &BareJid| address.domainpart() == domain);
    addresses
}

/// A credited frame came; credit is restated when half the window is used. False if there was none for it.
pub fn on_received(cx: &mut Cx<'_>, id: LinkId, bytes: usize) -> bool {
    let window = cx.shard.settings.limits.link_window_bytes;
    let Some(link) = cx.shard.links.get_mut(&id) else { return false };
    link.received_bytes = link.received_bytes.saturating_add(bytes as u64);
    if link.received_bytes > link.granted_bytes {
        refuse(cx, id, "more bytes than the link's credit");
        return false;
    }
    let left = link.granted_bytes.saturating_sub(link.received_bytes);
    if left < window / 2 && !cx.shard.dirty_links.contains(&id) {
        cx.shard.dirty_links.push(id);
    }
    true
}

/// End of a turn: tells edges what they may send now, unless too much is under way (`under_way.rs`) or held (`held.rs`).
pub fn flush_credit(cx: &mut Cx<'_>) {
    if !cx.shard.takes_more() {
        return;
    }
    let window = cx.shard.settings.limits.link_window_bytes;
    let dirty = std::mem::take(&mut cx.shard.dirty_links);
    let may_bring = |id: &LinkId| cx.shard.links.get(id).is_none_or(|link| cx.shard.may_bring(link));
    let (due, later): (Vec<_>, Vec<_>) = dirty.into_iter().partition(may_bring);
    cx.shard.dirty_links = later;
    for id in due {
        if let Some(link) = cx.shard.links.get_mut(&id).filter(|link| link.up) {
            link.granted_bytes = link.received_bytes.saturating_add(window);
            let bytes = link.granted_bytes;
            cx.out.frame(id, &ToEdge::LinkCredit(LinkCredit { bytes }));
        }
    }
}

/// The edge took what was sent: sessions that waited for the link go on.
pub fn on_credit(cx: &mut Cx<'_>, id: LinkId, bytes: u64) {
    let Some(link) = cx.shard.links.get_mut(&id) else { return };
    link.credit_bytes = link.credit_bytes.max(bytes);
    for key in std::mem::take(&mut link.waiting) {
        if let Some(session) = cx.session_mut(key) {
            session.outbound.waits_for_link = false;
        }
        cx.release_held(key);
    }
}

/// The link is gone. Its sessions wait to be attached anew; those of an edge that cannot do that end.
pub fn on_down(cx: &mut Cx<'_>, id: LinkId) {
    let Some(link) = cx.shard.links.get_mut(&id).filter(|link| link.up) else { return };
    link.up = false;
    link.waiting.clear();
    let until_ms = link.attaches().then(|| cx.now.mono_ms.saturating_add(limits::LINK_GRACE_MS));
    link.lost_until_ms = until_ms;
    let edge = link.edge.to_string();
    let lost: Vec<u64> = cx.shard.logins.range((id, 0)..=(id, u64::MAX)).map(|((_, counter), _)| *counter).collect();
    for counter in lost {
        crate::login::on_closed(cx, id, counter);
    }
    let sessions = cx.shard.sessions.iter().filter(|(_, session)| session.link == id).count();
    cx.event(Event::EdgeDown { link: id, edge, sessions });
    match until_ms {
        Some(until_ms) => cx.out.wake_at(until_ms),
        None => close(cx, id),
    }
}

/// Nobody attaches the sessions of a lost link any more.
pub fn give_up(cx: &mut Cx<'_>, id: LinkId) {
    let waits = cx.shard.links.get_mut(&id).filter(|link| !link.up).and_then(|link| link.lost_until_ms.take());
    if waits.is_some() {
        close(cx, id);
    }
}

/// The sessions of a dead link end a few per turn, so that thousands of them hold up nobody.
fn close(cx: &mut Cx<'_>, id: LinkId) {
    cx.shard.closing.push_back((id, 0));
    cx.out.wake_at(cx.now.mono_ms);
}

/// End of a turn: links that were waited for long enough.
pub fn expire_lost(cx: &mut Cx<'_>) {
    let now_ms = cx.now.mono_ms;
    let lost = cx.shard.links.iter().filter_map(|(id, link)| Some((*id, link.lost_until_ms?)));
    let (due, later): (Vec<_>, Vec<_>) = lost.partition(|(_, until_ms)| *until_ms <= now_ms);
    for (id, _) in due {
        give_up(cx, id);
    }
    if let Some(until_ms) = later.into_iter().map(|(_, until_ms)| until_ms).min() {
        cx.out.wake_at(until_ms);
    }
}

/// A client's stream or socket ended; `clean`: by its closing tag. What it sent before still counts: the session
/// ends behind what waits for its account, and when other shards have room for the presence that makes. One that
/// may be resumed is parked.
pub fn on_socket_closed(cx: &mut Cx<'_>, key: SessionKey, clean: bool) {
    let Some(session) = cx.session_mut(key) else { return };
    let (account, generation) = (session.account, session.generation);
    if let Some(sm) = &mut session.sm {
        sm.resuming = None; // Nobody is there to be answered.
    }
    behind_what_waits(cx, account, move |cx| end_or_wait(cx, key, generation, clean));
}

/// Does something when all has been executed that sessions of the account sent: what is done for a stanza is noted with
/// its session (`executed.rs`), which must be there.
fn behind_what_waits(cx: &mut Cx<'_>, account: AccountKey, then: impl FnOnce(&mut Cx<'_>) + Send + 'static) {
    if cx.account(account).is_some_and(|account| account.state == State::Ready && account.queue.is_empty()) {
        then(cx);
    } else {
        cx.enqueue(account, Work::Call(Box::new(move |cx, _| then(cx))));
    }
}

fn end_or_wait(cx: &mut Cx<'_>, key: SessionKey, generation: Generation, clean: bool) {
    let reason = if clean { "stream closed" } else { "connection lost" };
    let Some(session) = cx.session_at(key, generation) else { return };
    if !clean && sm::may_park(session) {
        return sm::park(cx, key);
    }
    let more = cx.shard.closed_in_turn < cx.shard.settings.limits.closes_per_turn;
    if more && cx.shard.ending.is_empty() && cx.shard.may_go_on(cx.shard.closed_in_turn) {
        cx.shard.closed_in_turn = cx.shard.closed_in_turn.saturating_add(1);
        cx.end_session(key, reason);
    } else {
        cx.shard.ending.push_back((key, generation, reason));
    }
}

/// Goes on ending sessions, of closed sockets and of dead links, while the other shards can take the
/// presence it makes: at most one session's broadcast passes the half of an outbox that is theirs.
pub fn close_some(cx: &mut Cx<'_>) {
    let mut closed = std::mem::take(&mut cx.shard.closed_in_turn);
    let most = cx.shard.settings.limits.closes_per_turn;
    while closed < most && cx.shard.may_go_on(closed) {
        let Some((key, generation, reason)) = cx.shard.ending.pop_front() else { break };
        if let Some(session) = cx.session_at(key, generation) {
            let account = session.account;
            behind_what_waits(cx, account, move |cx| {
                if cx.session_at(key, generation).is_some() {
                    cx.end_session(key, reason);
                }
            });
            closed = closed.saturating_add(1);
        }
    }
    while closed < most
        && cx.shard.may_go_on(closed)
        && let Some((id, cursor)) = cx.shard.closing.front().copied()
    {
        if cursor >= cx.shard.sessions.end() {
            cx.shard.closing.pop_front();
            // One that did not say goodbye may have links to other shards: its next run or the next core forgets it.
            if let Some(link) = cx.shard.links.remove(&id).filter(|link| link.draining) {
                forget_run(cx, &link.edge);
            }
            continue;
        }
        let key = SessionKey(cursor);
        if let Some(session) = cx.session(key).filter(|session| session.link == id) {
            if sm::may_park(session) {
                sm::park(cx, key);
            } else {
                cx.end_session(key, "link lost");
            }
            closed = closed.saturating_add(1);
        }
        if let Some(front) = cx.shard.closing.front_mut() {
            front.1 = cursor.saturating_add(1);
        }
    }
    if !cx.shard.ending.is_empty() || !cx.shard.closing.is_empty() {
        let at_ms = if cx.shard.may_go_on(closed) { 0 } else { 1 };
        cx.out.wake_at(cx.now.mono_ms.saturating_add(at_ms));
    }
}

#[cfg(test)]
mod tests;
