//! Blocking Command: addresses an account wants nothing of, and that hear nothing of it.
//!
//! ```text
//!  <block/> ──▶ store ──▶ unavailable to who is blocked ──▶ result, push to whoever asked for the list
//!
//!  from a blocked address                        to a blocked address
//!  presence: dropped                             everything: <not-acceptable/> with <blocked/>
//!  message: service-unavailable                  broadcasts and probes pass it by
//!  iq: service-unavailable, answers dropped
//! ```
//! The blocked see little of what there is: their presence and questions look as to an account that does not exist or to one
//! nobody is at, and their messages are refused as XEP-0191 §3.3 says. Subscriptions
//! stay as they are, so that nobody is told of a block and an unblock restores all ("polite blocking", XEP-0191
//! §4). What is blocked is a JID of any form, matched as XEP-0191 §6 says: a resource alone sees nothing of what is
//! broadcast to its bare JID, but messages to that JID are for the account, whichever of its resources takes them.
//! An account can block neither itself nor, whatever domain it blocks, its own server.

use crate::account::{Account, AccountKey};
use crate::capsule;
use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::limits;
use crate::message::{self, Absent};
use crate::presence::fanout::{self, Want};
use crate::reply;
use crate::route::bare;
use crate::session::{Origin, SessionKey};
use hearth_storage::{Answer, Change};
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{Builder, Element};
use hearth_wire::{Jid, StanzaCondition, jid};

#[cfg(test)]
mod tests;

/// XEP-0191 §3.1.
pub const NS: &str = "urn:xmpp:blocking";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(191, "1.3"),
    disco_server: &[NS],
    iq: &[
        IqHandler { ns: NS, element: "blocklist", scopes: &[Scope::Account], run: list },
        IqHandler { ns: NS, element: "block", scopes: &[Scope::Account], run: block },
        IqHandler { ns: NS, element: "unblock", scopes: &[Scope::Account], run: unblock },
    ],
    ..Feature::EMPTY
};

/// Blocked addresses of one account, prepared, sorted, each once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BlockList(Vec<Box<str>>);

impl BlockList {
    /// From addresses in any order; nothing if there are none.
    pub fn new(mut addresses: Vec<Box<str>>) -> Option<Box<BlockList>> {
        addresses.sort_unstable();
        addresses.dedup();
        (!addresses.is_empty()).then(|| Box::new(BlockList(addresses)))
    }

    fn has(&self, address: &str) -> bool {
        self.0.binary_search_by(|other| (**other).cmp(address)).is_ok()
    }

    /// XEP-0191 §6: the address itself, its bare JID, its domain.
    fn matches(&self, address: &str) -> bool {
        self.has(address) || self.has(bare(address)) || self.has(jid::split(address).1)
    }
}

impl Account {
    /// Whether the account wants nothing of a prepared address.
    pub fn blocks(&self, address: &str) -> bool {
        self.blocked.as_deref().is_some_and(|list| list.matches(address) && !self.is_own(address))
    }

    /// The resources of a bare address that are blocked by their full JIDs.
    pub fn blocked_resources<'a>(&'a self, bare: &'a str) -> impl Iterator<Item = &'a str> {
        let list = self.blocked.as_deref().map(|list| list.0.as_slice()).unwrap_or_default();
        let after = list.get(list.partition_point(|item| **item <= *bare)..).unwrap_or_default();
        // Between the bare address and its resources there may be those of longer names: '.' sorts before '/'.
        let begins = after.iter().map(|item| &**item).take_while(move |item| item.starts_with(bare));
        begins.filter(move |item| item.get(bare.len()..).is_some_and(|rest| rest.starts_with('/')))
    }

    /// Of the account itself, or of the server that serves it.
    fn is_own(&self, address: &str) -> bool {
        let (localpart, domainpart, _) = jid::split(address);
        bare(address) == self.jid.as_str() || (localpart.is_none() && domainpart == self.jid.domainpart())
    }
}

// ---- what does not pass ---------------------------------------------------------------------

/// Whether this stanza for an account comes from who is blocked there, and has been dealt with (XEP-0191 §3.3).
pub fn stops_inbound(cx: &mut Cx<'_>, key: AccountKey, stanza: &SharedStanza, origin: Option<Origin>) -> bool {
    let view = stanza.view();
    let from = view.from.unwrap_or_default();
    if !cx.account(key).is_some_and(|account| account.blocks(from)) {
        return false;
    }
    let refusal = match view.kind {
        StanzaKind::Presence => None,
        StanzaKind::Message => {
            (message::nobody_there(&view) != Absent::Drop).then_some(StanzaCondition::ServiceUnavailable)
        }
        StanzaKind::Iq => view.is_request().then_some(StanzaCondition::ServiceUnavailable),
    };
    match refusal {
        Some(condition) => cx.refuse(stanza, origin, condition),
        None => cx.settle(origin),
    }
    true
}

/// Whether one of this shard's sessions sends to who its account blocks, and was told so. Errors and results are
/// dropped: an answer is never answered.
pub fn stops_outbound(cx: &mut Cx<'_>, session: SessionKey, stanza: &Stanza<'_>) -> bool {
    let account = cx.session(session).and_then(|session| cx.account(session.account));
    let Some((account, to)) = account.zip(stanza.to) else { return false };
    if !account.blocks(to) {
        return false;
    }
    if let Some(error) = reply::blocked(stanza) {
        cx.deliver(session, &error, &Overlay::default(), None);
    }
    true
}

// ---- the list -------------------------------------------------------------------------------

/// XEP-0191 §3.2: from now on the resource hears of changes.
fn list(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let (Some(asker), Some(key)) = (iq.asker, iq.account) else { return Err(StanzaCondition::Forbidden) };
    if iq.is_set() {
        return Err(StanzaCondition::BadRequest);
    }
    let list = cx.account(key).and_then(|account| account.blocked.as_deref());
    let payload = element("blocklist", list.map(|list| list.0.as_slice()).unwrap_or_default());
    if let Some(session) = cx.session_mut(asker) {
        session.blocklist_asked = true;
    }
    capsule::changed(cx, asker);
    iq.reply(cx, &payload);
    Ok(())
}

/// An element of the protocol with these items.
fn element(name: &str, items: &[Box<str>]) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.open(Some(NS), name);
    for item in items {
        tree.open(None, "item").attr("jid", item).close();
    }
    tree.close();
    tree.finish()
}

/// The addresses a request names.
fn items(iq: &Iq<'_>) -> Result<Vec<Box<str>>, StanzaCondition> {
    if iq.is_set() { named(&iq.question) } else { Err(StanzaCondition::BadRequest) }
}

fn named(question: &Element<'_>) -> Result<Vec<Box<str>>, StanzaCondition> {
    let mut items = Vec::new();
    for item in question.children().filter(|child| child.is(NS, "item")) {
        let jid = item.attr("jid").ok_or(StanzaCondition::BadRequest)?;
        items.push(Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?.as_str().into());
    }
    items.sort_unstable();
    items.dedup();
    Ok(items)
}

/// XEP-0191 §3.3.
fn block(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let items = items(iq)?;
    let key = iq.account.ok_or(StanzaCondition::Forbidden)?;
    let account = cx.account(key).ok_or(StanzaCondition::InternalServerError)?;
    if items.is_empty() {
        return Err(StanzaCondition::BadRequest);
    }
    if items.iter().any(|item| bare(item) == account.jid.as_str()) {
        return Err(StanzaCondition::NotAllowed);
    }
    let old = account.blocked.as_deref().map(|list| list.0.as_slice()).unwrap_or_default();
    let new: Vec<Box<str>> = items.iter().filter(|item| !old.contains(item)).cloned().collect();
    let bytes = old.iter().chain(&new).map(|item| item.len()).fold(0, usize::saturating_add);
    if old.len().saturating_add(new.len()) > limits::BLOCKED_MAX || bytes > limits::BLOCKED_BYTES_MAX {
        return Err(StanzaCondition::ResourceConstraint);
    }
    let owner = account.jid.clone();
    let changes = new.iter().map(|jid| Change::PutBlocked { account: owner.clone(), jid: jid.clone() }).collect();
    store(cx, iq, key, changes, move |cx| {
        hide(cx, key, &new);
        if let Some(account) = cx.account_mut(key) {
            let old = account.blocked.take().map(|list| list.0).unwrap_or_default();
            account.blocked = BlockList::new([old, new].concat());
        }
        push(cx, key, &element("block", &items));
    });
    Ok(())
}

/// XEP-0191 §3.4, §3.5: without items, all.
fn unblock(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let items = items(iq)?;
    let key = iq.account.ok_or(StanzaCondition::Forbidden)?;
    let account = cx.account(key).ok_or(StanzaCondition::InternalServerError)?;
    let old = account.blocked.as_deref().map(|list| list.0.as_slice()).unwrap_or_default();
    let (gone, left): (Vec<_>, Vec<_>) =
        old.iter().cloned().partition(|item| items.is_empty() || items.binary_search(item).is_ok());
    let owner = account.jid.clone();
    let changes = gone.iter().map(|jid| Change::RemoveBlocked { account: owner.clone(), jid: jid.clone() }).collect();
    store(cx, iq, key, changes, move |cx| {
        if let Some(account) = cx.account_mut(key) {
            account.blocked = BlockList::new(left);
        }
        push(cx, key, &element("unblock", &items));
        show(cx, key, gone);
    });
    Ok(())
}

/// A change that is stored: its pushes may have been lost. They tell of what it named as that is now.
pub fn set_again(cx: &mut Cx<'_>, key: AccountKey, question: &Element<'_>) {
    let (Ok(items), Some(account)) = (named(question), cx.account(key)) else { return };
    let list = account.blocked.as_deref();
    let all = list.map(|list| list.0.clone()).unwrap_or_default();
    if items.is_empty() {
        push(cx, key, &element("unblock", &[]));
        if !all.is_empty() {
            push(cx, key, &element("block", &all));
        }
        return;
    }
    let (blocked, free): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| all.binary_search(item).is_ok());
    for (name, items) in [("block", blocked), ("unblock", free)] {
        if !items.is_empty() {
            push(cx, key, &element(name, &items));
        }
    }
}

/// Stores the changes, if there are any, answers, and goes on.
fn store(
    cx: &mut Cx<'_>,
    iq: &Iq<'_>,
    key: AccountKey,
    changes: Vec<Change>,
    then: impl FnOnce(&mut Cx<'_>) + Send + 'static,
) {
    if changes.is_empty() {
        iq.reply(cx, &[]);
        return then(cx);
    }
    let waiting = iq.wait(cx);
    cx.write(key, changes, move |cx, answer| match answer {
        Answer::Applied => {
            waiting.reply(cx, &[]);
            then(cx);
        }
        _ => waiting.refuse(cx, StanzaCondition::ResourceConstraint),
    });
}

/// To every resource that asked for the list, the one that changed it among them. What clients answer is ignored.
fn push(cx: &mut Cx<'_>, key: AccountKey, payload: &[u8]) {
    let id = format!("block-{}", u64::from_le_bytes(cx.random()));
    let push = SharedStanza::new(&Stanza { id: Some(&id), payload, ..Stanza::new(StanzaKind::Iq, StanzaType::Set) });
    let sessions = cx.account(key).map(|account| account.sessions.clone()).unwrap_or_default();
    for session in sessions {
        let Some(to) = cx.session(session).filter(|session| session.blocklist_asked).map(|s| s.jid.clone()) else {
            continue;
        };
        cx.deliver(session, &push, &Overlay { to: Some(to.as_str()), ..Overlay::default() }, None);
    }
}

// ---- presence -------------------------------------------------------------------------------

/// Who is blocked from now on sees each resource that it saw become unavailable, whether by subscription or
/// directly. Before the list changes, behind which nothing passes.
fn hide(cx: &mut Cx<'_>, key: AccountKey, new: &[Box<str>]) {
    let Some(account) = cx.account(key) else { return };
    let Some(list) = BlockList::new(new.to_vec()) else { return };
    let matches = |account: &Account, address: &str| list.matches(address) && !account.is_own(address);
    let seen = |address: &str| account.contact(address).is_some_and(|contact| contact.sees_us());
    let contacts = account.roster.iter().filter(|contact| contact.sees_us()).map(|contact| contact.address());
    let mut contacts: Vec<Box<str>> =
        contacts.filter(|contact| matches(account, contact) && !account.blocks(contact)).map(Into::into).collect();
    // A resource that is blocked alone sees what its account is sent no more than now.
    let resources = list.0.iter().filter(|item| item.contains('/') && seen(bare(item)) && !list.matches(bare(item)));
    contacts.extend(resources.cloned());
    contacts.sort_unstable();
    for session in account.sessions.clone() {
        let Some(account) = cx.account(key) else { return };
        let told: Vec<Box<str>> = cx
            .session(session)
            .and_then(|session| session.directed.as_deref())
            .map(|told| told.iter().filter(|to| matches(account, to)).cloned().collect())
            .unwrap_or_default();
        let available = cx.session(session).is_some_and(|session| session.available());
        fanout::hide_from(cx, session, if available { &contacts } else { &[] }, |to| told.iter().any(|t| **t == *to));
    }
}

/// Who is blocked no longer and may see the account sees each resource, and is seen again.
fn show(cx: &mut Cx<'_>, key: AccountKey, gone: Vec<Box<str>>) {
    let Some(account) = cx.account(key) else { return };
    let Some(list) = BlockList::new(gone) else { return };
    let contacts = account.roster.iter().filter(|contact| {
        list.matches(contact.address()) && !account.blocks(contact.address()) && !account.is_own(contact.address())
    });
    let mut wants: Vec<(Want, Box<str>)> = contacts
        .filter_map(|contact| Some((Want::of(contact.sees_us(), contact.seen_by_us())?, contact.address().into())))
        .collect();
    let resources = list.0.iter().filter(|item| {
        let seen = account.contact(bare(item)).is_some_and(|contact| contact.sees_us());
        item.contains('/') && seen && !list.has(bare(item)) && !account.blocks(item)
    });
    wants.extend(resources.map(|item| (Want::Notify, item.clone())));
    let presences: Vec<SharedStanza> =
        account.sessions.iter().filter_map(|key| cx.session(*key)?.presence.clone()).collect();
    for presence in presences {
        fanout::send_to(cx, &presence, wants.iter().map(|(want, to)| (*want, &**to)));
    }
}
