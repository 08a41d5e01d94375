//! Jabber Search over a domain's own accounts, where the domain switches its directory on.
//!
//! Nobody is in the directory who did not ask for it. The way to ask is what clients have: a vCard says of
//! itself how private it is, and who publishes one with `<CLASS><PUBLIC/></CLASS>` (XEP-0054) is listed
//! with the names and the address in it. All of that was readable before to whoever knew the JID; now it can
//! be found without. A vCard without CLASS, or of another, says no such thing, and takes back what an earlier one
//! said, in the same commit. What is listed is kept whether the directory is on or not, so that the switch
//! needs no work and asks nobody twice.
//!
//! Found is whose field begins as the term does, whatever its case. Only the domain's own users may search, a
//! bounded number of times, and not for nothing, so that the directory is not read out as a whole.

use crate::cx::Cx;
use crate::domain::Switch;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::forms::{self, Field, FieldType, Filled};
use crate::iq::Iq;
use crate::limits;
use crate::result_sets::{self, Page};
use crate::route::bare;
use crate::tally::Bounds;
use crate::vcard;
use hearth_storage::{Answer, Ask, ListedField, Listing, Search, fold};
use hearth_wire::tree::{Builder, Element};
use hearth_wire::{BareJid, StanzaCondition};

/// Namespace of the questions, and type of their form.
pub const NS: &str = "jabber:iq:search";

/// Whether a domain has a directory.
pub const DIRECTORY: Switch = Switch {
    name: "directory",
    default: false,
    help: "users find those who publish a vCard of class PUBLIC by name (XEP-0055)",
};

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(55, "1.3"),
    switch: Some(&DIRECTORY),
    disco_server: &[NS],
    iq: &[IqHandler { ns: NS, element: "query", scopes: &[Scope::Server], run: on_iq }],
    ..Feature::EMPTY
};

/// Of [`crate::shard::Shard::searches`].
pub const BOUNDS: Bounds = Bounds {
    events_max: limits::SEARCHES_MAX,
    window_ms: limits::SEARCHES_WINDOW_MS,
    rows_max: limits::SEARCHES_ROWS_MAX,
};

const INSTRUCTIONS: &str = "Fill in how one or more fields begin to find people who let themselves be found.";

const FIELDS: [(ListedField, &str, &str); 4] = [
    (ListedField::First, "first", "Given Name"),
    (ListedField::Last, "last", "Family Name"),
    (ListedField::Nick, "nick", "Nickname"),
    (ListedField::Email, "email", "Email Address"),
];

/// What a vCard lets be found of its owner; `None` if nothing. A name that is not in parts stands where the
/// given name would; what is longer than [`limits::LISTED_BYTES_MAX`] is left out.
pub fn listing(card: &Element<'_>) -> Option<Listing> {
    card.child(vcard::NS, "CLASS")?.child(vcard::NS, "PUBLIC")?;
    let value = |element: Option<Element<'_>>| {
        let text = element?.text();
        let text = text.trim();
        (text.len() <= limits::LISTED_BYTES_MAX && !fold(text).is_empty()).then(|| Box::from(text))
    };
    let part = |of, name| value(card.child(vcard::NS, of)?.child(vcard::NS, name));
    let (mut first, last) = (part("N", "GIVEN"), part("N", "FAMILY"));
    if first.is_none() && last.is_none() {
        first = value(card.child(vcard::NS, "FN"));
    }
    let nick = value(card.child(vcard::NS, "NICKNAME"));
    let mut emails = card.children().filter(|child| child.is(vcard::NS, "EMAIL"));
    let email = emails.find_map(|email| value(email.child(vcard::NS, "USERID")));
    let listing = Listing { first, last, nick, email };
    (!listing.is_empty()).then_some(listing)
}

fn on_iq(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let session = iq.asker.and_then(|key| cx.session(key));
    let asker = session.map(|session| (session.account, session.jid.bare()));
    // Users of another domain of this server are strangers here.
    let own = |jid: &BareJid| iq.stanza.to.map(bare) == Some(jid.domainpart());
    let (account, jid) = asker.filter(|(_, jid)| own(jid)).ok_or(StanzaCondition::Forbidden)?;
    if !iq.is_set() {
        iq.reply(cx, &to_fill_in());
        return Ok(());
    }
    let asked = Asked::read(&iq.question)?;
    let after = match asked.page.as_ref().and_then(|page| page.after.as_deref()) {
        Some(after) => Some(BareJid::parse(after).map_err(|_| StanzaCondition::ItemNotFound)?),
        None => None,
    };
    let most = limits::SEARCH_RESULTS_MAX;
    let limit = asked.page.as_ref().and_then(|page| page.max).unwrap_or(most).min(most);
    let slot = cx.account(account).ok_or(StanzaCondition::ServiceUnavailable)?.slot;
    let now_ms = cx.now.mono_ms;
    if !cx.shard.searches.may(&jid, now_ms) {
        return Err(StanzaCondition::ResourceConstraint);
    }
    let search = Search { domain: jid.domainpart().to_owned(), terms: asked.terms, after, limit };
    cx.shard.searches.count(jid, now_ms);
    let (form, page) = (asked.form, asked.page.is_some());
    let later = search.after.is_some();
    let waiting = iq.wait(cx);
    let then = move |cx: &mut Cx<'_>, answer| match answer {
        Answer::Found(Some(found)) => waiting.reply(cx, &results(&found, form, page, later)),
        Answer::Found(None) => waiting.refuse(cx, StanzaCondition::ItemNotFound),
        _ => waiting.refuse(cx, StanzaCondition::ResourceConstraint),
    };
    cx.ask(slot, Ask::Search { search }, Box::new(then));
    Ok(())
}

/// A search as it was asked.
struct Asked {
    /// At least one, none empty.
    terms: Vec<(ListedField, String)>,
    /// By a form: so is the answer.
    form: bool,
    page: Option<Page>,
}

impl Asked {
    /// Nothing filled in is `not-acceptable`, a field twice `bad-request`. What the service did not ask for
    /// is passed over, and an asterisk at the end, which people add where they expect to have to.
    fn read(query: &Element<'_>) -> Result<Asked, StanzaCondition> {
        let page = Page::within(query)?;
        let form = Filled::within(query, NS)?;
        let mut terms = Vec::new();
        for (field, name, _) in FIELDS {
            let text = match &form {
                Some(form) => form.get(name).map(str::to_owned),
                None => {
                    let mut fields = query.children().filter(|child| child.is(NS, name));
                    let text = fields.next().map(|field| field.text());
                    if fields.next().is_some() {
                        return Err(StanzaCondition::BadRequest);
                    }
                    text
                }
            };
            let text = text.unwrap_or_default();
            let text = text.trim().trim_end_matches('*');
            if text.len() > limits::SEARCH_TERM_BYTES_MAX {
                return Err(StanzaCondition::PolicyViolation);
            }
            if !fold(text).is_empty() {
                terms.push((field, text.to_owned()));
            }
        }
        if terms.is_empty() {
            return Err(StanzaCondition::NotAcceptable);
        }
        Ok(Asked { terms, form: form.is_some(), page })
    }
}

fn fields() -> [Field; 4] {
    FIELDS.map(|(_, name, label)| Field::new(name, FieldType::TextSingle, label))
}

/// What can be searched by, for clients with forms and without (§2.1, §3).
fn to_fill_in() -> Vec<u8> {
    let mut out = Builder::new();
    out.open(Some(NS), "query").leaf(None, "instructions", INSTRUCTIONS);
    for (_, name, _) in FIELDS {
        out.open(None, name).close();
    }
    forms::to_fill_in(&mut out, NS, "User Directory", INSTRUCTIONS, &fields());
    out.close();
    out.finish()
}

/// The answer; nobody found is an empty query (§2.1), but for the page behind the last (XEP-0059 §2.2).
fn results(found: &[(BareJid, Listing)], form: bool, page: bool, later: bool) -> Vec<u8> {
    let mut out = Builder::new();
    out.open(Some(NS), "query");
    match (found.is_empty(), form) {
        (true, _) => {}
        (false, true) => as_form(&mut out, found),
        (false, false) => as_items(&mut out, found),
    }
    if page && (later || !found.is_empty()) {
        let ends = found.first().zip(found.last());
        result_sets::write(&mut out, ends.map(|(first, last)| (first.0.as_str(), last.0.as_str())));
    }
    out.close();
    out.finish()
}

fn as_items(out: &mut Builder, found: &[(BareJid, Listing)]) {
    for (jid, listing) in found {
        out.open(None, "item").attr("jid", jid.as_str());
        for (field, name, _) in FIELDS {
            out.leaf(None, name, listing.get(field).unwrap_or_default());
        }
        out.close();
    }
}

/// Every item has all that is reported (XEP-0004 §3.4).
fn as_form(out: &mut Builder, found: &[(BareJid, Listing)]) {
    forms::open(out, "result", NS);
    out.open(None, "reported");
    Field::new("jid", FieldType::JidSingle, "Jabber ID").write(out);
    fields().iter().for_each(|field| field.write(out));
    out.close();
    let value = |out: &mut Builder, var: &str, text: &str| {
        out.open(None, "field").attr("var", var).leaf(None, "value", text).close();
    };
    for (jid, listing) in found {
        out.open(None, "item");
        value(out, "jid", jid.as_str());
        for (field, name, _) in FIELDS {
            value(out, name, listing.get(field).unwrap_or_default());
        }
        out.close();
    }
    out.close();
}

#[cfg(test)]
mod tests;
