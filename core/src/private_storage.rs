//! Private XML Storage: what an account's clients keep for themselves, bookmarks (XEP-0048) among it.
//!
//! All elements of an account are one blob outside its snapshot, a forest with one tree per name; a
//! set reads it, replaces what it names and writes it, while the account does nothing else. An empty
//! element takes its name away.

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::limits;
use hearth_storage::{Answer, Ask, Blob, Change};
use hearth_wire::StanzaCondition;
use hearth_wire::tree::{self, Builder, CLIENT, Element};

/// Namespace of the question.
pub const NS: &str = "jabber:iq:private";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(49, "1.2"),
    disco_server: &[NS],
    disco_account: &[NS],
    iq: &[IqHandler { ns: NS, element: "query", scopes: &[Scope::Account, Scope::AccountOfOther], run: on_iq }],
    ..Feature::EMPTY
};

fn on_iq(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    // XEP-0049 §4: nobody but the owner.
    if iq.asker.is_none() {
        return Err(StanzaCondition::Forbidden);
    }
    let elements = asked(&iq.question)?;
    if iq.is_set() { set(cx, iq, &elements) } else { get(cx, iq, &elements) }
}

/// XEP-0049 §2.3: at least one element, each of a namespace of its own.
fn asked<'a>(query: &Element<'a>) -> Result<Vec<Element<'a>>, StanzaCondition> {
    let elements: Vec<Element<'_>> = query.children().take(limits::PRIVATE_ELEMENTS_MAX.saturating_add(1)).collect();
    let own = |element: &Element<'_>| ![NS, CLIENT, ""].contains(&element.ns());
    if elements.is_empty() || !elements.iter().all(own) {
        return Err(StanzaCondition::NotAcceptable);
    }
    if elements.len() > limits::PRIVATE_ELEMENTS_MAX {
        return Err(StanzaCondition::PolicyViolation);
    }
    let twice = |(at, element): (usize, &Element<'_>)| {
        elements.iter().skip(at.saturating_add(1)).any(|other| same(other, element))
    };
    if elements.iter().enumerate().any(twice) {
        return Err(StanzaCondition::BadRequest);
    }
    Ok(elements)
}

fn same(one: &Element<'_>, other: &Element<'_>) -> bool {
    one.is(other.ns(), other.name())
}

/// Answers what is kept under the names asked for, of one namespace (§2.3), empty where nothing is.
fn get(cx: &mut Cx<'_>, iq: &Iq<'_>, elements: &[Element<'_>]) -> Result<(), StanzaCondition> {
    if elements.windows(2).any(|pair| matches!(pair, [a, b] if a.ns() != b.ns())) {
        return Err(StanzaCondition::NotAcceptable);
    }
    let account = iq.account.and_then(|key| cx.account(key)).ok_or(StanzaCondition::ServiceUnavailable)?;
    let (slot, jid) = (account.slot, account.jid.clone());
    let names: Vec<(String, String)> =
        elements.iter().map(|element| (element.ns().to_owned(), element.name().to_owned())).collect();
    let waiting = iq.wait(cx);
    let then = move |cx: &mut Cx<'_>, answer| {
        let Answer::Blob(kept) = answer else { return waiting.refuse(cx, StanzaCondition::ResourceConstraint) };
        let kept = kept.unwrap_or_default();
        let mut tree = Builder::new();
        tree.open(Some(NS), "query");
        for (ns, name) in &names {
            match tree::child(&kept, ns, name) {
                Some(element) => tree.element(&element),
                None => tree.open(Some(ns), name).close(),
            };
        }
        tree.close();
        waiting.reply(cx, &tree.finish());
    };
    cx.ask(slot, Ask::LoadBlob { account: jid, blob: Blob::Private }, Box::new(then));
    Ok(())
}

/// Replaces what is kept under these names, all or nothing.
fn set(cx: &mut Cx<'_>, iq: &Iq<'_>, elements: &[Element<'_>]) -> Result<(), StanzaCondition> {
    if elements.iter().any(|element| element.bytes().len() > limits::PRIVATE_ELEMENT_BYTES_MAX) {
        return Err(StanzaCondition::PolicyViolation);
    }
    let key = iq.account.ok_or(StanzaCondition::ServiceUnavailable)?;
    let account = cx.account(key).ok_or(StanzaCondition::ServiceUnavailable)?.jid.clone();
    let mut forest = Builder::new();
    elements.iter().for_each(|element| {
        forest.element(element);
    });
    let new = forest.finish();
    let waiting = iq.wait(cx);
    let load = Ask::LoadBlob { account: account.clone(), blob: Blob::Private };
    cx.read_then_write(key, load, move |cx, answer| {
        let Answer::Blob(kept) = answer else { return waiting.refuse(cx, StanzaCondition::ResourceConstraint) };
        let Some(bytes) = merged(&kept.unwrap_or_default(), &new) else {
            return waiting.refuse(cx, StanzaCondition::PolicyViolation);
        };
        let bytes = (!bytes.is_empty()).then_some(bytes);
        let change = Change::PutBlob { account, blob: Blob::Private, bytes };
        cx.write(key, vec![change], move |cx, answer| match answer {
            Answer::Applied => waiting.reply(cx, &[]),
            _ => waiting.refuse(cx, StanzaCondition::ResourceConstraint),
        });
    });
    Ok(())
}

/// What is kept with the new elements in the place of those of the same names; `None` if that is more
/// than an account may keep. What shrinks always fits.
fn merged(kept: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let mut forest = Builder::new();
    let mut count: usize = 0;
    let old = tree::children(kept).filter(|old| !tree::children(new).any(|element| same(&element, old)));
    let full = tree::children(new).filter(|element| element.attr_count() > 0 || !element.content().is_empty());
    for element in old.chain(full) {
        forest.element(&element);
        count = count.saturating_add(1);
    }
    let bytes = forest.finish();
    let fits = bytes.len() <= limits::PRIVATE_BYTES_MAX && count <= limits::PRIVATE_ELEMENTS_MAX;
    (fits || bytes.len() <= kept.len()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Client, Core};

    fn set(core: &mut Core, client: Client, elements: &str) -> String {
        core.send(client, &format!("<iq type='set' id='s'><query xmlns='jabber:iq:private'>{elements}</query></iq>"));
        core.take(client).concat()
    }

    fn get(core: &mut Core, client: Client, element: &str) -> String {
        core.send(client, &format!("<iq type='get' id='g'><query xmlns='jabber:iq:private'>{element}</query></iq>"));
        let answer = core.take(client).concat();
        match answer.split_once("<query xmlns='jabber:iq:private'>") {
            Some((_, rest)) if !answer.contains("<error") => rest.split_once("</query>").unwrap().0.to_owned(),
            _ => answer,
        }
    }

    const DONE: &str = "<iq type='result' id='s' to='ada@example.org/desk'/>";

    #[test]
    fn elements_are_replaced_one_by_one() {
        let mut core = Core::new(1);
        let ada = core.login("ada@example.org/desk");
        let a = "<a xmlns='urn:a' x='1'><b>text</b></a>";
        assert_eq!(set(&mut core, ada, &format!("{a}<a xmlns='urn:b'>other</a>")), DONE);
        assert_eq!(get(&mut core, ada, "<a xmlns='urn:a'/>"), a);
        assert_eq!(set(&mut core, ada, "<a xmlns='urn:a'>new</a>"), DONE);
        assert_eq!(get(&mut core, ada, "<a xmlns='urn:a'/>"), "<a xmlns='urn:a'>new</a>");
        assert_eq!(get(&mut core, ada, "<a xmlns='urn:b'/>"), "<a xmlns='urn:b'>other</a>");
        assert_eq!(
            get(&mut core, ada, "<b xmlns='urn:b'/><a xmlns='urn:b'/>"),
            "<b xmlns='urn:b'/><a xmlns='urn:b'>other</a>"
        );
        assert_eq!(set(&mut core, ada, "<a xmlns='urn:a'/><a xmlns='urn:b'/>"), DONE);
        assert_eq!(get(&mut core, ada, "<a xmlns='urn:a'/>"), "<a xmlns='urn:a'/>");
        let jid = hearth_wire::BareJid::parse("ada@example.org").unwrap();
        let blob = Ask::LoadBlob { account: jid.clone(), blob: Blob::Private };
        assert!(matches!(core.ask_store(&jid, blob), Answer::Blob(None)), "nothing is left");
        assert_eq!(core.unsettled(ada), 0);
    }

    /// Two clients set at the same time: none of it is lost.
    #[test]
    fn sets_do_not_run_into_each_other() {
        let mut core = Core::new(1);
        let (ada, phone) = (core.login("ada@example.org/desk"), core.login("ada@example.org/phone"));
        core.holding = true;
        for (client, name) in [(ada, "a"), (phone, "b")] {
            let element = format!("<x xmlns='urn:{name}'>{name}</x>");
            core.send(
                client,
                &format!("<iq type='set' id='s'><query xmlns='jabber:iq:private'>{element}</query></iq>"),
            );
        }
        while core.answer_one() {}
        core.holding = false;
        core.forget();
        assert_eq!(get(&mut core, ada, "<x xmlns='urn:a'/>"), "<x xmlns='urn:a'>a</x>");
        assert_eq!(get(&mut core, ada, "<x xmlns='urn:b'/>"), "<x xmlns='urn:b'>b</x>");
    }

    #[test]
    fn what_is_wrong_or_too_much_is_refused() {
        let mut core = Core::new(1);
        let ada = core.login("ada@example.org/desk");
        for (elements, condition) in [
            ("", "not-acceptable"),
            ("<a/>", "not-acceptable"),
            ("<a xmlns='jabber:client'/>", "not-acceptable"),
            ("<a xmlns='urn:a'>1</a><a xmlns='urn:a'>2</a>", "bad-request"),
        ] {
            assert!(set(&mut core, ada, elements).contains(condition), "{elements}");
            assert!(get(&mut core, ada, elements).contains(condition), "{elements}");
        }
        assert!(get(&mut core, ada, "<a xmlns='urn:a'/><a xmlns='urn:b'/>").contains("not-acceptable"));
        let long = |ns: usize, bytes| format!("<a xmlns='urn:{ns}'>{}</a>", "x".repeat(bytes));
        assert!(set(&mut core, ada, &long(0, limits::PRIVATE_ELEMENT_BYTES_MAX)).contains("policy-violation"));
        let most = limits::PRIVATE_ELEMENT_BYTES_MAX - 100;
        let fit = limits::PRIVATE_BYTES_MAX / (most + 100);
        for ns in 0..fit {
            assert_eq!(set(&mut core, ada, &long(ns, most)), DONE);
        }
        assert!(set(&mut core, ada, &long(fit, most)).contains("policy-violation"));
        assert_eq!(get(&mut core, ada, &format!("<a xmlns='urn:{fit}'/>")), format!("<a xmlns='urn:{fit}'/>"));
        assert_eq!(set(&mut core, ada, &long(0, 1)), DONE);
        assert_eq!(set(&mut core, ada, &long(fit, most / 2)), DONE);
        let many: String = (0..=limits::PRIVATE_ELEMENTS_MAX).map(|n| format!("<a xmlns='urn:m{n}'>1</a>")).collect();
        assert!(set(&mut core, ada, &many).contains("policy-violation"));
        core.failing = true;
        assert!(set(&mut core, ada, "<a xmlns='urn:f'>1</a>").contains("resource-constraint"));
        core.unreadable = true;
        assert!(set(&mut core, ada, "<a xmlns='urn:f'>1</a>").contains("resource-constraint"));
        assert!(get(&mut core, ada, "<a xmlns='urn:f'/>").contains("resource-constraint"));
        (core.failing, core.unreadable) = (false, false);
        assert_eq!(set(&mut core, ada, "<a xmlns='urn:f'>1</a>"), DONE);
        assert_eq!(core.unsettled(ada), 0);
    }
}
