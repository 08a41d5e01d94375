//! The roster (RFC 6121 §2): get, set, push, versions. What a change means for presence is
//! `subscription.rs`.
//!
//! A version is a number that only grows, over deletions of the account too: the time of the change
//! in milliseconds, or one more than the last, above [`VERSION_RANDOM_BITS`] drawn for each change. So a
//! version that a client remembers from before a backup was restored, or from another store, is never taken
//! for one of this store, whatever its clock says, and the client gets the whole roster. 0 is a roster nobody
//! ever changed: empty.

use crate::account::{Account, AccountKey};
use crate::capsule;
use crate::contact::Contact;
use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::limits;
use crate::session::SessionKey;
use crate::subscription::state::{Action, State};
use crate::subscription::{self, Farewell};
use hearth_storage::{Answer, Change, DomainRecord, RosterItem, StoredRequest, Subscription};
use hearth_wire::ids::SlotKey;
use hearth_wire::stanza::{Overlay, SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::{Builder, Element};
use hearth_wire::{BareJid, Jid, StanzaCondition};

#[cfg(test)]
mod tests;

/// RFC 6121 §2.1.
pub const NS: &str = "jabber:iq:roster";

/// Random bits of a version: two histories of one roster meet in a version once in four million times that
/// they change it in the same millisecond.
const VERSION_RANDOM_BITS: u32 = 22;

/// Rosters, their versions (§2.6), pre-approval (§3.4).
pub const FEATURE: Feature = Feature {
    spec: Spec::Rfc(6121),
    iq: &[IqHandler { ns: NS, element: "query", scopes: &[Scope::Account, Scope::AccountOfOther], run }],
    stream_features: Some(stream_features),
    ..Feature::EMPTY
};

fn stream_features(_domain: &DomainRecord, tree: &mut Builder) {
    tree.open(Some("urn:xmpp:features:rosterver"), "ver").close();
    tree.open(Some("urn:xmpp:features:pre-approval"), "sub").close();
}

fn run(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    // §2.3.3: only the account's own resources; those come with their session.
    let (Some(asker), Some(account)) = (iq.asker, iq.account) else { return Err(StanzaCondition::Forbidden) };
    if iq.is_set() { set(cx, iq, account) } else { get(cx, iq, asker, account) }
}

// ---- get ------------------------------------------------------------------------------------

/// §2.2: from now on the resource gets pushes. §2.6.3: what the client has already is not sent.
fn get(cx: &mut Cx<'_>, iq: &Iq<'_>, asker: SessionKey, key: AccountKey) -> Result<(), StanzaCondition> {
    let account = cx.account(key).ok_or(StanzaCondition::InternalServerError)?;
    let version = account.roster_version.to_string();
    let payload = if iq.question.attr("ver") == Some(&version) {
        Vec::new()
    } else {
        let mut tree = Builder::new();
        tree.open(Some(NS), "query").attr("ver", &version);
        account.roster.iter().for_each(|contact| item_element(&mut tree, contact));
        tree.finish()
    };
    if let Some(session) = cx.session_mut(asker) {
        session.interested = true;
    }
    capsule::changed(cx, asker);
    iq.reply(cx, &payload);
    Ok(())
}

/// §2.1.2.
fn item_element(tree: &mut Builder, contact: &Contact) {
    tree.open(None, "item").attr("jid", contact.address());
    if let Some(name) = contact.name() {
        tree.attr("name", name);
    }
    let subscription = match contact.subscription() {
        Subscription::None => "none",
        Subscription::To => "to",
        Subscription::From => "from",
        Subscription::Both => "both",
    };
    tree.attr("subscription", subscription);
    if contact.ask() {
        tree.attr("ask", "subscribe");
    }
    if contact.approved() {
        tree.attr("approved", "true");
    }
    for group in contact.groups() {
        tree.leaf(None, "group", group);
    }
    tree.close();
}

// ---- set ------------------------------------------------------------------------------------

/// What a client wants of one contact.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    contact: BareJid,
    remove: bool,
    name: Option<Box<str>>,
    groups: Vec<Box<str>>,
}

/// Reads a roster set (§2.1.5, §2.3.3). Attributes that are the server's to say are ignored. A
/// contact's full JID means its bare one; the account itself is no contact.
fn parse(question: &Element<'_>, own: &BareJid) -> Result<Wish, StanzaCondition> {
    let mut items = question.children().filter(|child| child.is(NS, "item"));
    let (Some(item), None) = (items.next(), items.next()) else { return Err(StanzaCondition::BadRequest) };
    let jid = item.attr("jid").ok_or(StanzaCondition::BadRequest)?;
    let contact = Jid::parse(jid).map_err(|_| StanzaCondition::JidMalformed)?.into_bare();
    if contact == *own {
        return Err(StanzaCondition::NotAllowed);
    }
    if item.attr("subscription") == Some("remove") {
        return Ok(Wish { contact, remove: true, name: None, groups: Vec::new() });
    }
    let name = item.attr("name").filter(|name| !name.is_empty());
    let mut groups: Vec<Box<str>> = Vec::new();
    for group in item.children().filter(|child| child.is(NS, "group")) {
        let group = group.text();
        if group.is_empty()
            || group.len() > limits::ROSTER_NAME_BYTES_MAX
            || groups.len() >= limits::ROSTER_ITEM_GROUPS_MAX
        {
            return Err(StanzaCondition::NotAcceptable);
        }
        if groups.iter().any(|other| **other == *group) {
            return Err(StanzaCondition::BadRequest);
        }
        groups.push(group.into());
    }
    if name.is_some_and(|name| name.len() > limits::ROSTER_NAME_BYTES_MAX) {
        return Err(StanzaCondition::NotAcceptable);
    }
    Ok(Wish { contact, remove: false, name: name.map(Into::into), groups })
}

fn set(cx: &mut Cx<'_>, iq: &Iq<'_>, key: AccountKey) -> Result<(), StanzaCondition> {
    let slots = cx.shard.settings.slot_key;
    let account = cx.account(key).ok_or(StanzaCondition::InternalServerError)?;
    let Wish { contact, remove, name, groups } = parse(&iq.question, &account.jid)?;
    let old = account.contact(contact.as_str()).map(Contact::item);
    if remove {
        self::remove(cx, iq, key, contact, &old.ok_or(StanzaCondition::ItemNotFound)?);
        return Ok(());
    }
    let item = RosterItem { name, groups, ..old.unwrap_or_else(|| new_item(&contact)) };
    if !has_room(account, &item, &slots) {
        return Err(StanzaCondition::ResourceConstraint);
    }
    let waiting = iq.wait(cx);
    store(cx, key, Edit::put(item), move |cx, stored| match stored {
        Ok(()) => {
            waiting.reply(cx, &[]);
            push(cx, key, contact.as_str());
        }
        Err(NotStored) => waiting.refuse(cx, StanzaCondition::ResourceConstraint),
    });
    Ok(())
}

/// §2.5.2: both subscriptions end, and a request that waits for the user's answer is denied.
fn remove(cx: &mut Cx<'_>, iq: &Iq<'_>, key: AccountKey, contact: BareJid, old: &RosterItem) {
    let farewell = Farewell::new(cx, key, old);
    let waiting = iq.wait(cx);
    store(cx, key, Edit::remove(contact.clone()).without_request(contact.clone()), move |cx, stored| match stored {
        Ok(()) => {
            waiting.reply(cx, &[]);
            push(cx, key, contact.as_str());
            farewell.say(cx, key, &contact);
        }
        Err(NotStored) => {
            waiting.refuse(cx, StanzaCondition::ResourceConstraint);
            farewell.forget(cx);
        }
    });
}

/// A set that is stored: its push may have been lost, and of a removal what the contact was to be told. Which
/// subscriptions there were is not known any more: it is told of both that they are over, if they are still, and
/// ignores what it knows (Appendix A.3).
pub fn set_again(cx: &mut Cx<'_>, key: AccountKey, question: &Element<'_>) {
    let Some(account) = cx.account(key) else { return };
    let own = account.jid.clone();
    let Ok(Wish { contact, remove, .. }) = parse(question, &own) else { return };
    let request = account.request(contact.as_str()).is_some();
    let state = State::of_contact(account.contact(contact.as_str()), request);
    push(cx, key, contact.as_str());
    let over = [Action::Unsubscribe, Action::Unsubscribed].into_iter().filter(|action| remove && state.holds(*action));
    for action in over {
        let origin = cx.defer();
        cx.route(subscription::bare_stanza(action, &own, contact.as_str(), None), origin);
    }
}

/// The item of somebody who is not in the roster yet.
pub fn new_item(contact: &BareJid) -> RosterItem {
    RosterItem {
        contact: contact.as_str().into(),
        name: None,
        groups: Vec::new(),
        subscription: Subscription::None,
        ask: false,
        approved: false,
    }
}

/// Whether the roster with this item stays within its limits. An item that does not grow always fits.
pub fn has_room(account: &Account, item: &RosterItem, slots: &SlotKey) -> bool {
    let new = Contact::new(item, slots).text_bytes();
    let old = account.contact(&item.contact).map(Contact::text_bytes);
    let all = account.roster.iter().map(Contact::text_bytes).fold(new, usize::saturating_add);
    match old {
        Some(old) => new <= old || all.saturating_sub(old) <= limits::ROSTER_BYTES_MAX,
        None => account.roster.len() < limits::ROSTER_ITEMS_MAX && all <= limits::ROSTER_BYTES_MAX,
    }
}

// ---- changes --------------------------------------------------------------------------------

/// What changes of one contact, stored together.
#[derive(Default)]
pub struct Edit {
    item: Option<ItemEdit>,
    request: Option<RequestEdit>,
}

enum ItemEdit {
    Put(RosterItem),
    Remove(BareJid),
}

enum RequestEdit {
    Put(StoredRequest),
    Remove(BareJid),
}

impl Edit {
    /// Inserts or replaces an item.
    pub fn put(item: RosterItem) -> Edit {
        Edit { item: Some(ItemEdit::Put(item)), request: None }
    }

    /// Removes an item.
    pub fn remove(contact: BareJid) -> Edit {
        Edit { item: Some(ItemEdit::Remove(contact)), request: None }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.item.is_none() && self.request.is_none()
    }

    /// The item as it will be, if it is inserted or replaced.
    pub fn item(&self) -> Option<&RosterItem> {
        match &self.item {
            Some(ItemEdit::Put(item)) => Some(item),
            Some(ItemEdit::Remove(_)) | None => None,
        }
    }

    /// Keeps a subscription request.
    #[must_use]
    pub fn with_request(self, request: StoredRequest) -> Edit {
        Edit { request: Some(RequestEdit::Put(request)), ..self }
    }

    /// Forgets the contact's subscription request, if there is one.
    #[must_use]
    pub fn without_request(self, contact: BareJid) -> Edit {
        Edit { request: Some(RequestEdit::Remove(contact)), ..self }
    }

    fn changes(&self, account: &BareJid, version: u64) -> Vec<Change> {
        let mut changes = Vec::with_capacity(3);
        let account = || account.clone();
        match &self.item {
            Some(ItemEdit::Put(item)) => {
                changes.push(Change::PutRosterItem { account: account(), item: item.clone() });
            }
            Some(ItemEdit::Remove(contact)) => {
                changes.push(Change::RemoveRosterItem { account: account(), contact: contact.clone() });
            }
            None => {}
        }
        if self.item.is_some() {
            changes.push(Change::PutRosterVersion { account: account(), version });
        }
        match &self.request {
            Some(RequestEdit::Put(request)) => {
                changes.push(Change::PutRequest { account: account(), request: request.clone() });
            }
            Some(RequestEdit::Remove(contact)) => {
                changes.push(Change::RemoveRequest { account: account(), contact: contact.clone() });
            }
            None => {}
        }
        changes
    }
}

fn next_version(last: u64, now_ms: u64, random: u32) -> u64 {
    let ms = (last >> VERSION_RANDOM_BITS).saturating_add(1).max(now_ms).min(u64::MAX >> VERSION_RANDOM_BITS);
    (ms << VERSION_RANDOM_BITS) | (u64::from(random) >> (u32::BITS - VERSION_RANDOM_BITS))
}

/// The change could not be stored; nothing changed.
pub struct NotStored;

/// Stores an edit, takes it over into memory, and goes on with `then`, which pushes.
pub fn store(
    cx: &mut Cx<'_>,
    key: AccountKey,
    edit: Edit,
    then: impl FnOnce(&mut Cx<'_>, Result<(), NotStored>) + Send + 'static,
) {
    let (now_ms, random) = (cx.now.utc_ms, u32::from_le_bytes(cx.random()));
    let Some(account) = cx.account(key) else { return then(cx, Err(NotStored)) };
    let version = next_version(account.roster_version, now_ms, random);
    let changes = edit.changes(&account.jid, version);
    cx.write(key, changes, move |cx, answer| {
        if !matches!(answer, Answer::Applied) {
            return then(cx, Err(NotStored));
        }
        let slots = cx.shard.settings.slot_key;
        if let Some(account) = cx.account_mut(key) {
            match edit.item {
                Some(ItemEdit::Put(item)) => {
                    account.put_contact(&item, &slots);
                    account.roster_version = version;
                }
                Some(ItemEdit::Remove(contact)) => {
                    account.remove_contact(contact.as_str());
                    account.roster_version = version;
                }
                None => {}
            }
            match edit.request {
                Some(RequestEdit::Put(request)) => account.requests.push(request),
                Some(RequestEdit::Remove(contact)) => {
                    account.requests.retain(|request| *request.contact != *contact.as_str());
                }
                None => {}
            }
        }
        then(cx, Ok(()));
    });
}

/// §2.1.6: one contact as it is now, or as removed, to every interested resource. What clients
/// answer is ignored.
pub fn push(cx: &mut Cx<'_>, key: AccountKey, contact: &str) {
    let Some(account) = cx.account(key) else { return };
    let version = account.roster_version.to_string();
    let mut tree = Builder::new();
    tree.open(Some(NS), "query").attr("ver", &version);
    match account.contact(contact) {
        Some(contact) => item_element(&mut tree, contact),
        None => {
            tree.open(None, "item").attr("jid", contact).attr("subscription", "remove").close();
        }
    }
    // Each push has a version of its own.
    let push = SharedStanza::new(&Stanza {
        id: Some(&format!("push-{version}")),
        payload: &tree.finish(),
        ..Stanza::new(StanzaKind::Iq, StanzaType::Set)
    });
    for session in interested(cx, account) {
        let Some(to) = cx.session(session).map(|session| session.jid.clone()) else { continue };
        let overlay = Overlay { to: Some(to.as_str()), ..Overlay::default() };
        cx.deliver(session, &push, &overlay, None);
    }
}

/// The account's interested resources (§2.2).
pub fn interested(cx: &Cx<'_>, account: &Account) -> Vec<SessionKey> {
    account.sessions.iter().copied().filter(|key| cx.session(*key).is_some_and(|s| s.interested)).collect()
}
