//! From one session to everybody who sees it, and back what a probe finds.
//!
//! A broadcast is encoded once. Its recipients are grouped by the shard that owns them, each group one
//! message that carries notifications and probes together; there each account is found by its address
//! as text, accounts nobody is online at cost nothing, and all sessions behind one edge loop share one
//! frame. Probes are answered with the sessions' own stanzas, shared by reference.
//!
//! ```text
//!  <presence/> ─▶ roster ─┬─ this shard ────────────────▶ receive ─▶ one frame per link
//!                         └─ shard 2: stanza, n recipients ─▶ receive ─▶ …
//!                                    ◀─ presences of those who were probed
//! ```
//! Where another shard's outbox is full, the last broadcast of each session waits for room
//! ([`send_due`]): a session that changes its presence meanwhile replaces what waits.

use crate::account::{Absent, Account, AccountKey, Work};
use crate::capsule;
use crate::cx::Cx;
use crate::route::{PeerMessage, bare};
use crate::session::{Session, SessionKey};
use crate::subscription::bare_stanza;
use crate::subscription::state::{Action, Half, State};
use hearth_wire::BareJid;
use hearth_wire::ids::ShardIndex;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};

// ---- recipients -----------------------------------------------------------------------------

/// What is wanted of one recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// It gets the stanza.
    Notify,
    /// Its presence is wanted in return.
    Probe,
    /// Both.
    Exchange,
    /// The resource gets the stanza unless it is available: then it had it by way of its bare JID.
    NotifyHidden,
    /// The resource gets nothing of what goes to its bare JID, which follows (XEP-0191 §6: it alone is blocked).
    Except,
}

impl Want {
    /// Of a contact; nothing may be wanted of it.
    pub fn of(notify: bool, probe: bool) -> Option<Want> {
        match (notify, probe) {
            (true, false) => Some(Want::Notify),
            (false, true) => Some(Want::Probe),
            (true, true) => Some(Want::Exchange),
            (false, false) => None,
        }
    }

    const fn letter(self) -> char {
        match self {
            Want::Notify => 'n',
            Want::Probe => 'p',
            Want::Exchange => 'x',
            Want::NotifyHidden => 'h',
            Want::Except => 'e',
        }
    }

    fn read(letter: &str) -> Want {
        match letter {
            "p" => Want::Probe,
            "x" => Want::Exchange,
            "h" => Want::NotifyHidden,
            "e" => Want::Except,
            _ => Want::Notify,
        }
    }

    fn probes(self) -> bool {
        matches!(self, Want::Probe | Want::Exchange)
    }
}

/// Addresses of one shard and what is wanted of each, in one allocation: a letter, the address, NUL,
/// which no address has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recipients {
    text: String,
    count: usize,
}

impl Recipients {
    pub fn push(&mut self, want: Want, address: &str) {
        self.text.push(want.letter());
        self.text.push_str(address);
        self.text.push('\0');
        self.count = self.count.saturating_add(1);
    }

    /// An address, without those of its resources that the sender blocks.
    fn push_allowed(&mut self, sender: &Account, want: Want, address: &str) {
        if want != Want::Probe {
            sender.blocked_resources(address).for_each(|resource| self.push(Want::Except, resource));
        }
        self.push(want, address);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Want, &str)> {
        self.text.split_terminator('\0').filter_map(|entry| {
            let (letter, address) = entry.split_at_checked(1)?;
            Some((Want::read(letter), address))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Its size in memory.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// A broadcast that waits for room.
#[derive(Clone, Debug)]
pub struct Due {
    stanza: SharedStanza,
    probe: bool,
}

/// The account's resources that get its presence: those that are available, and the invisible ones.
pub fn receiving(cx: &Cx<'_>, account: &Account) -> Vec<SessionKey> {
    account.sessions.iter().copied().filter(|key| cx.session(*key).is_some_and(|s| s.receives_presence())).collect()
}

/// The account's available resources.
pub fn available(cx: &Cx<'_>, account: &Account) -> Vec<SessionKey> {
    account.sessions.iter().copied().filter(|key| cx.session(*key).is_some_and(|s| s.available())).collect()
}

// ---- out ------------------------------------------------------------------------------------

/// Sends a session's presence to all contacts that see the account (RFC 6121 §4.2.2, §4.4.2, §4.5.2),
/// with `probe` also asks those it sees for theirs (§4.3.1). `whatever_room` is for a session that
/// will not be there to do it later.
pub fn broadcast(cx: &mut Cx<'_>, session: SessionKey, stanza: &SharedStanza, probe: bool, whatever_room: bool) {
    let Some((key, available)) = cx.session(session).map(|session| (session.account, session.available())) else {
        return;
    };
    let by_shard = contacts(cx, key, true, probe);
    note(cx, &by_shard);
    for (shard, recipients) in (0..).zip(by_shard) {
        if recipients.is_empty() {
            continue;
        }
        let bytes = (stanza.bytes().len() as u64).saturating_add(recipients.bytes() as u64);
        let other = shard != cx.shard.settings.index;
        let waits = cx.shard.presence_due.get(&(shard, session)).map(|due| due.probe);
        if other && !whatever_room && (waits.is_some() || !cx.shard.outbox_has_room(shard, bytes)) {
            let probe = probe || (available && waits.unwrap_or(false));
            cx.shard.presence_due.insert((shard, session), Due { stanza: stanza.clone(), probe });
        } else {
            send(cx, shard, stanza, recipients);
        }
    }
}

/// What one stanza becomes, for the figures.
fn note(cx: &mut Cx<'_>, by_shard: &[Recipients]) {
    let all = by_shard.iter().map(|recipients| recipients.len() as u64).fold(0, u64::saturating_add);
    let stats = &mut cx.shard.stats;
    stats.presence_recipients = stats.presence_recipients.wrapping_add(all);
    stats.presence_recipients_most = stats.presence_recipients_most.max(all);
}

/// Asks all contacts that the account sees for their presence, and tells them nothing (XEP-0186 §3.1).
pub fn probe_all(cx: &mut Cx<'_>, session: SessionKey) {
    let Some((key, asking)) = cx.session(session).map(|s| (s.account, unavailable(s.jid.as_str()))) else { return };
    for (shard, recipients) in (0..).zip(contacts(cx, key, false, true)) {
        if !recipients.is_empty() {
            send(cx, shard, &asking, recipients);
        }
    }
}

/// The account's contacts by shard.
fn contacts(cx: &Cx<'_>, key: AccountKey, notify: bool, probe: bool) -> Vec<Recipients> {
    let mut by_shard = vec![Recipients::default(); usize::from(cx.shard.settings.shards)];
    let Some(account) = cx.account(key) else { return by_shard };
    for contact in account.roster.iter().filter(|contact| !account.blocks(contact.address())) {
        let Some(want) = Want::of(notify && contact.sees_us(), probe && contact.seen_by_us()) else { continue };
        let shard = cx.shard.slot_owner(contact.slot());
        if let Some(recipients) = by_shard.get_mut(usize::from(shard)) {
            recipients.push_allowed(account, want, contact.address());
        }
    }
    by_shard
}

/// Sends a session's presence to a list of addresses, bare and full.
pub fn send_to<'a>(cx: &mut Cx<'_>, stanza: &SharedStanza, to: impl Iterator<Item = (Want, &'a str)>) {
    let mut by_shard = vec![Recipients::default(); usize::from(cx.shard.settings.shards)];
    let sender = stanza.view().from.and_then(|from| cx.account(cx.shard.accounts.find(bare(from))?));
    for (want, address) in to {
        let shard = cx.shard.owner(bare(address));
        match (by_shard.get_mut(usize::from(shard)), sender) {
            (Some(recipients), Some(sender)) => recipients.push_allowed(sender, want, address),
            (Some(recipients), None) => recipients.push(want, address),
            (None, _) => {}
        }
    }
    note(cx, &by_shard);
    for (shard, recipients) in (0..).zip(by_shard) {
        if !recipients.is_empty() {
            send(cx, shard, stanza, recipients);
        }
    }
}

fn send(cx: &mut Cx<'_>, shard: ShardIndex, stanza: &SharedStanza, recipients: Recipients) {
    if shard == cx.shard.settings.index {
        receive(cx, shard, stanza, &recipients);
    } else {
        let slot = stanza.view().from.map(|from| cx.shard.settings.slot_key.slot(bare(from)));
        let epoch = slot.map_or(0, |slot| cx.shard.slots.epoch(slot));
        cx.send_peer(shard, PeerMessage::Presence { stanza: stanza.clone(), recipients, epoch });
    }
}

/// The contact gets current presence of each available resource (§3.1.5).
pub fn tell_available(cx: &mut Cx<'_>, key: AccountKey, contact: &BareJid) {
    let Some(account) = cx.account(key).filter(|account| !account.blocks(contact.as_str())) else { return };
    let presences: Vec<SharedStanza> =
        account.sessions.iter().filter_map(|key| cx.session(*key)?.presence.clone()).collect();
    for presence in presences {
        send_to(cx, &presence, std::iter::once((Want::Notify, contact.as_str())));
    }
}

/// The contact sees each available resource become unavailable (§3.2.2, §3.3.3), whatever that resource
/// sent it directly (§4.6.1).
pub fn tell_unavailable(cx: &mut Cx<'_>, key: AccountKey, contact: &BareJid) {
    let Some(account) = cx.account(key).filter(|account| !account.blocks(contact.as_str())) else { return };
    for session in available(cx, account) {
        hide_from(cx, session, &[contact.as_str().into()], |to| bare(to) == contact.as_str());
    }
}

/// A session becomes unavailable to these addresses, sorted, that broadcasts reach, and to those it sent
/// directed presence to; each hears it once.
pub fn hide_from(cx: &mut Cx<'_>, session: SessionKey, contacts: &[Box<str>], directed: impl Fn(&str) -> bool) {
    capsule::changed(cx, session);
    let Some(session) = cx.session_mut(session) else { return };
    let stanza = unavailable(session.jid.as_str());
    let told = session.take_directed(directed);
    let reached = |address: &str| contacts.binary_search_by(|contact| (**contact).cmp(address)).is_ok();
    let direct = told.iter().filter(|to| !reached(to)).map(|to| {
        let twice = to.contains('/') && (reached(bare(to)) || told.iter().any(|other| **other == *bare(to)));
        (if twice { Want::NotifyHidden } else { Want::Notify }, &**to)
    });
    send_to(cx, &stanza, contacts.iter().map(|to| (Want::Notify, &**to)).chain(direct));
}

/// What the server says for a resource that is gone (§4.5.2).
pub fn unavailable(from: &str) -> SharedStanza {
    SharedStanza::new(&Stanza { from: Some(from), ..Stanza::new(StanzaKind::Presence, StanzaType::Unavailable) })
}

/// End of a turn: broadcasts that waited, as far as there is room by now.
pub fn send_due(cx: &mut Cx<'_>) {
    if cx.shard.presence_due.is_empty() {
        return;
    }
    for shard in 0..cx.shard.settings.shards {
        let all = (shard, SessionKey(0))..=(shard, SessionKey(u32::MAX));
        while let Some(session) = cx.shard.presence_due.range(all.clone()).next().map(|((_, session), _)| *session) {
            if !send_one_due(cx, shard, session, false) {
                break;
            }
        }
    }
}

/// The session ends: nothing of it may wait any longer. With `say` it is sent whatever room there is,
/// else what follows says it all.
pub fn end_due(cx: &mut Cx<'_>, session: SessionKey, say: bool) {
    if cx.shard.presence_due.is_empty() {
        return;
    }
    for shard in 0..cx.shard.settings.shards {
        if say {
            send_one_due(cx, shard, session, true);
        } else {
            cx.shard.presence_due.remove(&(shard, session));
        }
    }
}

/// Sends what waits of a session for a shard, to whom the roster says by now; false if there is no room.
fn send_one_due(cx: &mut Cx<'_>, shard: ShardIndex, session: SessionKey, whatever_room: bool) -> bool {
    let Some(due) = cx.shard.presence_due.get(&(shard, session)).cloned() else { return true };
    let account = cx.session(session).map(|session| session.account);
    let recipients = account.and_then(|key| contacts(cx, key, true, due.probe).into_iter().nth(usize::from(shard)));
    let recipients = recipients.unwrap_or_default();
    let bytes = (due.stanza.bytes().len() as u64).saturating_add(recipients.bytes() as u64);
    if !whatever_room && !cx.shard.outbox_has_room(shard, bytes) {
        return false;
    }
    cx.shard.presence_due.remove(&(shard, session));
    if !recipients.is_empty() {
        send(cx, shard, &due.stanza, recipients);
    }
    true
}

// ---- in -------------------------------------------------------------------------------------

/// Presence for accounts of this shard, and probes of them, from a session of `asker`.
pub fn receive(cx: &mut Cx<'_>, asker: ShardIndex, stanza: &SharedStanza, recipients: &Recipients) {
    let view = stanza.view();
    let Some(from) = view.from else { return };
    let mut targets: Vec<(SessionKey, &str)> = Vec::new();
    let mut found = Vec::new();
    let mut strangers = Vec::new();
    let mut blocked: Vec<&str> = Vec::new();
    for (want, to) in recipients.iter() {
        if want == Want::Except {
            blocked.push(to);
            continue;
        }
        let except = std::mem::take(&mut blocked);
        let Some(key) = cx.shard.accounts.find(bare(to)) else { continue };
        let Some(account) = cx.account(key).filter(|account| !account.sessions.is_empty()) else { continue };
        // As if nobody were there (XEP-0191 §3.3).
        if account.blocks(from) {
            continue;
        }
        if !account.is_free() {
            one_by_one(cx, key, &view, want, to, &except);
            continue;
        }
        match want {
            Want::Probe | Want::Except => {}
            Want::NotifyHidden => targets.extend(hidden(cx, key, to).map(|session| (session, to))),
            Want::Notify | Want::Exchange if to.contains('/') => {
                targets.extend(cx.session_of(key, to).map(|session| (session, to)));
            }
            Want::Notify | Want::Exchange => {
                let gets = |session: &Session| {
                    session.receives_presence() && (except.is_empty() || !except.contains(&session.jid.as_str()))
                };
                let sessions = account.sessions.iter().filter(|key| cx.session(**key).is_some_and(gets));
                targets.extend(sessions.map(|key| (*key, to)));
            }
        }
        if want.probes() {
            match sight(account, bare(from)) {
                Half::Yes => found.extend(account.sessions.iter().filter_map(|key| cx.session(*key)?.presence.clone())),
                Half::No => strangers.push(account.jid.clone()),
                Half::Pending => {}
            }
        }
    }
    if view.ty == StanzaType::Unavailable {
        targets.iter().for_each(|(session, _)| forget_directed(cx, *session, from));
    }
    cx.fan_out(targets, stanza);
    answer(cx, asker, from, found);
    for stranger in strangers {
        cx.route(bare_stanza(Action::Unsubscribed, &stranger, bare(from), None), None);
    }
}

/// Whether somebody may see the account.
pub fn sight(account: &Account, asker: &str) -> Half {
    if asker == account.jid.as_str() {
        return Half::Yes;
    }
    State::of_contact(account.contact(asker), account.request(asker).is_some()).from
}

/// The account's resource of this address, if it is connected but not available.
fn hidden(cx: &Cx<'_>, account: AccountKey, full_jid: &str) -> Option<SessionKey> {
    cx.session_of(account, full_jid).filter(|key| cx.session(*key).is_some_and(|session| !session.receives_presence()))
}

/// Behind what the account already waits for, in order.
fn one_by_one(cx: &mut Cx<'_>, key: AccountKey, view: &Stanza<'_>, want: Want, to: &str, except: &[&str]) {
    let stanza = SharedStanza::new(&Stanza { to: Some(to), ..*view });
    match want {
        Want::NotifyHidden => {
            let then = move |cx: &mut Cx<'_>, account: Result<AccountKey, Absent>| {
                let found = account.ok().zip(stanza.view().to).and_then(|(account, to)| hidden(cx, account, to));
                if let Some(session) = found {
                    cx.deliver_in_turn(session, &stanza, &Overlay::default());
                }
            };
            // A queue is gone on with when the account is ready again, so a ready one has none.
            if cx
                .account(key)
                .is_some_and(|account| account.state == crate::account::State::Ready && account.queue.is_empty())
            {
                return then(cx, Ok(key));
            }
            return cx.enqueue(key, Work::Call(Box::new(then)));
        }
        Want::Notify | Want::Exchange if !except.is_empty() => {
            let sessions = cx.account(key).map(|account| receiving(cx, account)).unwrap_or_default();
            let all = sessions.into_iter().filter_map(|session| Some(cx.session(session)?.jid.clone()));
            for jid in all.filter(|jid| !except.contains(&jid.as_str())).collect::<Vec<_>>() {
                cx.inbound(SharedStanza::new(&Stanza { to: Some(jid.as_str()), ..*view }), None);
            }
        }
        Want::Notify | Want::Exchange => cx.inbound(stanza, None),
        Want::Probe | Want::Except => {}
    }
    if want.probes() {
        let probe = Stanza { from: view.from, to: Some(to), ..Stanza::new(StanzaKind::Presence, StanzaType::Probe) };
        cx.inbound(SharedStanza::new(&probe), None);
    }
}

/// Sends what a probe found to the session that asked.
pub fn answer(cx: &mut Cx<'_>, asker: ShardIndex, to: &str, presences: Vec<SharedStanza>) {
    if presences.is_empty() {
        return;
    }
    if asker == cx.shard.settings.index {
        deliver_answers(cx, to, &presences);
    } else {
        cx.send_peer(asker, PeerMessage::Presences { to: to.into(), presences });
    }
}

/// What probes found, for a session of this shard (or, for a bare JID, all that are available). It comes behind
/// what the account waits for: older presence may be among that, of a session before the one that was found.
pub fn deliver_answers(cx: &mut Cx<'_>, to: &str, presences: &[SharedStanza]) {
    let Some(key) = cx.shard.accounts.find(bare(to)) else { return };
    let Some(account) = cx.account(key) else { return };
    if !account.is_free() {
        for presence in presences {
            cx.inbound(SharedStanza::new(&Stanza { to: Some(to), ..presence.view() }), None);
        }
        return;
    }
    let mut sessions = if to.contains('/') { Vec::from_iter(cx.session_of(key, to)) } else { receiving(cx, account) };
    // Who has become unavailable since it asked would keep what nobody corrects.
    sessions.retain(|session| cx.session(*session).is_some_and(|session| !session.said_unavailable));
    let overlay = Overlay { to: Some(to), ..Overlay::default() };
    for presence in presences {
        if presence.view().from.is_some_and(|from| cx.account(key).is_some_and(|account| account.blocks(from))) {
            continue;
        }
        cx.multicast_in_turn(&sessions, presence, &overlay);
    }
}

/// §4.6.1: who sent unavailable presence need not be told again.
pub fn forget_directed(cx: &mut Cx<'_>, key: SessionKey, from: &str) {
    if let Some(session) = cx.session_mut(key) {
        session.take_directed(|to| to == from);
    }
    capsule::changed(cx, key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_come_out_as_they_went_in() {
        let mut recipients = Recipients::default();
        let wants = [Want::Notify, Want::Probe, Want::Exchange, Want::NotifyHidden];
        let all = wants.into_iter().zip(["ada@example.org", "grace@example.org/desk", "x", "y/z"]).collect::<Vec<_>>();
        all.iter().for_each(|(want, address)| recipients.push(*want, address));
        assert_eq!(recipients.iter().collect::<Vec<_>>(), all);
        assert_eq!(recipients.len(), all.len());
    }
}
