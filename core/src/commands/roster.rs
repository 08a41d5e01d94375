//! `hearthctl roster`: contacts of an account, shown, and made by an operator who knows who knows whom.

use super::user::{absent, no_account, own_domain, storage_failed};
use super::{
    Arguments, Call, Command, ControlId, Done, Field, Group, Kind, Parameter, Process, Refused, RefusedKind, Run,
    Shape, Target, Value, Who,
};
use crate::account::AccountKey;
use crate::cx::Cx;
use crate::limits;
use crate::presence::fanout;
use crate::roster::{self, Edit, NotStored};
use crate::subscription::Farewell;
use hearth_storage::{RosterItem, Subscription};
use hearth_wire::BareJid;
use serde_json::{Map, Value as Json};

const ACCOUNT: Parameter =
    Parameter::required("account", Kind::Account, "whose contacts: name@domain, or just the name");
const CONTACT: Parameter = Parameter::required("contact", Kind::Jid, "the contact's address");

pub(super) const GROUP: Group =
    Group { name: "roster", help: "Contacts of an account.", commands: &[SHOW, ADD, REMOVE] };

const SHOW: Command = Command {
    name: "roster show",
    help: "An account's contacts, with their subscriptions as RFC 6121 has them.",
    details: "To: the account sees the contact. From: the contact sees the account. Both: each sees the other.\n\
              Asked is yes while the account's own request waits for an answer.",
    parameters: &[ACCOUNT],
    examples: &["roster show ada@localhost"],
    who: Who::DomainAdmin,
    result: Shape::Rows(&[
        Field::new("contact", "contact"),
        Field::new("subscription", "subscription"),
        Field::new("asked", "asked"),
        Field::new("name", "name"),
        Field::new("groups", "groups"),
    ]),
    run: Run::Owner("account", show),
    ..Command::BASE
};

const ADD: Command = Command {
    name: "roster add",
    help: "Add a contact to an account, or change its name and groups.",
    details: "The account's clients see it at once. With --both each of the two, accounts of this server, has the\n\
              other as a contact and sees their presence, without anybody being asked.",
    parameters: &[
        ACCOUNT,
        CONTACT,
        Parameter::option("name", Kind::Text, "what the account calls the contact"),
        Parameter::many("group", Kind::Text, "a group the contact is in"),
        Parameter::option("both", Kind::Switch, "each sees the other"),
    ],
    examples: &[
        "roster add ada@localhost grace@localhost --both",
        "roster add ada grace@localhost --name Grace --group Work",
    ],
    changes: true,
    result: Shape::Did("account"),
    run: Run::Process(add),
    ..Command::BASE
};

const REMOVE: Command = Command {
    name: "roster remove",
    help: "Remove a contact from an account. Neither sees the other any more.",
    details: "As if the account's user did it (RFC 6121 §2.5): the contact keeps its own entry.",
    parameters: &[ACCOUNT, CONTACT],
    examples: &["roster remove ada@localhost grace@localhost"],
    who: Who::DomainAdmin,
    changes: true,
    result: Shape::Did("account"),
    run: Run::Owner("account", remove),
    ..Command::BASE
};

fn show(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (id, jid) = (call.id, super::user::account(cx, &call)?);
    cx.with_account_or_why(&jid.clone(), move |cx, key| {
        let account =
            key.map_err(|why| absent(&jid, why)).and_then(|key| cx.account(key).ok_or_else(|| no_account(&jid)));
        let rows =
            account.map(|account| Done::rows(account.roster.iter().map(|contact| row(&contact.item())).collect()));
        super::answer(cx, id, rows);
    });
    Ok(None)
}

fn row(item: &RosterItem) -> Map<String, Json> {
    let subscription = match item.subscription {
        Subscription::None => "none",
        Subscription::To => "to",
        Subscription::From => "from",
        Subscription::Both => "both",
    };
    Map::from_iter([
        ("contact".to_owned(), Json::from(&*item.contact)),
        ("subscription".to_owned(), Json::from(subscription)),
        ("asked".to_owned(), Json::from(item.ask)),
        ("name".to_owned(), Json::from(item.name.as_deref())),
        ("groups".to_owned(), item.groups.iter().map(|group| Json::from(&**group)).collect()),
    ])
}

/// One entry, or with `--both` two: the account's, the contact's, and then presence both ways. Whoever is
/// stopped in between finds it half done, and may do it again.
fn add(process: &Process<'_>, arguments: &Arguments) -> Result<Done, Refused> {
    let (account, contact) = pair(arguments)?;
    if !arguments.switch("both") {
        process.ask(Target::Owner(&account), put, arguments)?;
        return Ok(Done::did(account.as_str(), format!("has {contact} as a contact")));
    }
    let back = Arguments::made(vec![
        ("account", Value::Account(contact.clone())),
        ("contact", Value::Jid(account.clone().into())),
        ("both", Value::Switch(true)),
    ]);
    // Before anything is done: whether there is such a contact.
    process.ask(Target::Owner(&contact), exists, &back)?;
    process.ask(Target::Owner(&account), put, arguments)?;
    process.ask(Target::Owner(&contact), put, &back)?;
    process.ask(Target::Owner(&contact), tell, &back)?;
    process.ask(Target::Owner(&account), tell, arguments)?;
    Ok(Done::did(account.as_str(), format!("{contact} and they see each other")))
}

/// The account and its contact, checked.
fn pair(arguments: &Arguments) -> Result<(BareJid, BareJid), Refused> {
    let (account, contact) = (arguments.account("account")?, arguments.jid("contact")?.into_bare());
    if account == contact {
        let message = format!("{account} cannot be a contact of its own");
        return Err(Refused::new(RefusedKind::BadRequest, message, "name two addresses"));
    }
    Ok((account, contact))
}

/// What a function does with an account, once it is ready.
type WithAccount = Box<dyn FnOnce(&mut Cx<'_>, AccountKey) -> Result<Option<Done>, Refused> + Send>;

fn with_account(cx: &mut Cx<'_>, id: ControlId, jid: BareJid, f: WithAccount) -> Result<Option<Done>, Refused> {
    own_domain(cx, jid.domainpart())?;
    cx.with_account_or_why(&jid.clone(), move |cx, key| {
        match key.map_err(|why| absent(&jid, why)).and_then(|key| f(cx, key)) {
            Ok(Some(done)) => super::answer(cx, id, Ok(done)),
            Ok(None) => {}
            Err(refused) => super::answer(cx, id, Err(refused)),
        }
    });
    Ok(None)
}

fn exists(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (jid, _) = pair(&call.arguments)?;
    with_account(cx, call.id, jid, Box::new(|_, _| Ok(Some(Done::did("", "is there")))))
}

/// Stores the entry and pushes it (RFC 6121 §2.1.6).
fn put(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let ((jid, contact), id, arguments) = (pair(&call.arguments)?, call.id, call.arguments);
    let put: WithAccount = Box::new(move |cx, key| {
        let account = cx.account(key).ok_or_else(|| storage_failed("the account is gone"))?;
        let old = account.contact(contact.as_str()).map(crate::contact::Contact::item);
        let mut item = named(old.unwrap_or_else(|| roster::new_item(&contact)), &arguments)?;
        let both = arguments.switch("both");
        if both {
            (item.subscription, item.ask) = (Subscription::Both, false);
        }
        if !roster::has_room(account, &item, &cx.shard.settings.slot_key) {
            let message = format!("the roster of {} is full", account.jid);
            return Err(Refused::new(RefusedKind::Unavailable, message, "see `hearthctl limits roster`"));
        }
        // A request of the contact that waited is answered by this.
        let edit = Edit::put(item);
        let edit = if both { edit.without_request(contact.clone()) } else { edit };
        roster::store(cx, key, edit, move |cx, stored| {
            let result = match stored {
                Ok(()) => {
                    roster::push(cx, key, contact.as_str());
                    Ok(Done::did("", "stored"))
                }
                Err(NotStored) => Err(storage_failed("the roster could not be stored")),
            };
            super::answer(cx, id, result);
        });
        Ok(None)
    });
    with_account(cx, id, jid, put)
}

/// With the name and the groups that were given; those that were not stay as they are.
fn named(item: RosterItem, arguments: &Arguments) -> Result<RosterItem, Refused> {
    let (name, groups) = (arguments.text_if("name"), arguments.texts("group"));
    let long = |text: &str| text.is_empty() || text.len() > limits::ROSTER_NAME_BYTES_MAX;
    if name.is_some_and(long) || groups.iter().any(|group| long(group)) || groups.len() > limits::ROSTER_ITEM_GROUPS_MAX
    {
        let message = format!(
            "a name or a group is empty or longer than {} bytes, or there are more than {} groups",
            limits::ROSTER_NAME_BYTES_MAX,
            limits::ROSTER_ITEM_GROUPS_MAX
        );
        return Err(Refused::new(RefusedKind::BadRequest, message, "give shorter ones"));
    }
    let mut named: Vec<Box<str>> = Vec::new();
    for group in groups {
        if !named.iter().any(|other| **other == *group) {
            named.push(group.into());
        }
    }
    let groups = if named.is_empty() { item.groups } else { named };
    Ok(RosterItem { name: name.map(Into::into).or(item.name), groups, ..item })
}

/// RFC 6121 §3.1.5: whoever is subscribed now sees the account's available resources.
fn tell(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let (jid, contact) = pair(&call.arguments)?;
    let tell: WithAccount = Box::new(move |cx, key| {
        fanout::tell_available(cx, key, &contact);
        Ok(Some(Done::did("", "told")))
    });
    with_account(cx, call.id, jid, tell)
}

fn remove(cx: &mut Cx<'_>, call: Call) -> Result<Option<Done>, Refused> {
    let ((jid, contact), id) = (pair(&call.arguments)?, call.id);
    let account = jid.clone();
    let remove: WithAccount = Box::new(move |cx, key| {
        let old =
            cx.account(key).and_then(|account| account.contact(contact.as_str())).map(crate::contact::Contact::item);
        let old = old.ok_or_else(|| {
            let message = format!("{contact} is no contact of {account}");
            Refused::new(RefusedKind::NotFound, message, "see `hearthctl roster show`")
        })?;
        let farewell = Farewell::new(cx, key, &old);
        let edit = Edit::remove(contact.clone()).without_request(contact.clone());
        roster::store(cx, key, edit, move |cx, stored| {
            let result = match stored {
                Ok(()) => {
                    roster::push(cx, key, contact.as_str());
                    farewell.say(cx, key, &contact);
                    Ok(Done::did(account.as_str(), format!("has {contact} as a contact no more")))
                }
                Err(NotStored) => {
                    farewell.forget(cx);
                    Err(storage_failed("the roster could not be stored"))
                }
            };
            super::answer(cx, id, result);
        });
        Ok(None)
    });
    with_account(cx, id, jid, remove)
}
