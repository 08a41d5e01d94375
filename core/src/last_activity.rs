//! Last Activity: how long the server runs, when an account was last there.
//!
//! An account's last presence ([`LastSeen`]) is noted when its last available resource goes, and
//! stored with what is stored late; a stop of the core counts as a moment of presence. After a crash
//! what was noted in the last seconds is gone, as after any moment without presence.

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::limits;
use crate::presence::fanout::{available, sight};
use crate::route::bare;
use crate::subscription::state::Half;
use hearth_storage::LastSeen;
use hearth_wire::StanzaCondition;
use hearth_wire::stanza::Stanza;
use hearth_wire::tree::{self, Builder, CLIENT};

/// Namespace of the question.
pub const NS: &str = "jabber:iq:last";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(12, "2.0"),
    disco_server: &[NS],
    disco_account: &[NS],
    iq: &[
        IqHandler { ns: NS, element: "query", scopes: &[Scope::Server], run: of_server },
        IqHandler { ns: NS, element: "query", scopes: &[Scope::Account, Scope::AccountOfOther], run: of_account },
    ],
    ..Feature::EMPTY
};

/// XEP-0012 §5: seconds since the core started.
fn of_server(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    let uptime_ms = cx.now.mono_ms;
    answer(cx, iq, uptime_ms, None);
    Ok(())
}

/// XEP-0012 §3: 0 while someone is there to see, else the time since. Who may not see the account's
/// presence gets `forbidden`, which an account that does not exist says too ([`crate::iq`]). An
/// account that never was there has nothing to tell: `item-not-found`.
fn of_account(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let account = iq.account.and_then(|key| cx.account(key)).ok_or(StanzaCondition::Forbidden)?;
    // One's own resources are told that one is there: they are.
    if iq.asker.is_none() && sight(account, iq.stanza.from.map(bare).unwrap_or_default()) != Half::Yes {
        return Err(StanzaCondition::Forbidden);
    }
    if iq.is_set() {
        return Err(StanzaCondition::NotAllowed);
    }
    if iq.asker.is_some() || !available(cx, account).is_empty() {
        answer(cx, iq, 0, None);
        return Ok(());
    }
    let seen = account.last_seen.as_deref().cloned().ok_or(StanzaCondition::ItemNotFound)?;
    let since_ms = cx.now.utc_ms.saturating_sub(seen.at_ms);
    answer(cx, iq, since_ms, seen.status.as_deref());
    Ok(())
}

fn answer(cx: &mut Cx<'_>, iq: &Iq<'_>, ms: u64, status: Option<&str>) {
    let mut tree = Builder::new();
    tree.open(Some(NS), "query").attr("seconds", &(ms / 1000).to_string()).text(status.unwrap_or_default()).close();
    iq.reply(cx, &tree.finish());
}

/// XEP-0012 §4: whether a question to a resource of the account may reach it: only from those who
/// see the account's presence, or this resource's. What is no such question may.
pub fn may_reach_resource(cx: &Cx<'_>, key: AccountKey, iq: &Stanza<'_>) -> bool {
    if !iq.is_request() || !tree::first(iq.payload).is_some_and(|question| question.is(NS, "query")) {
        return true;
    }
    let (Some(account), Some(from), Some(to)) = (cx.account(key), iq.from, iq.to) else { return false };
    if sight(account, bare(from)) == Half::Yes {
        return true;
    }
    cx.session_of(key, to).and_then(|key| cx.session(key)).is_some_and(|session| session.told(from))
}

/// A resource of the account went, with this presence; if it was the last one, the account was last
/// seen now.
pub fn on_unavailable(cx: &mut Cx<'_>, key: AccountKey, presence: &Stanza<'_>) {
    let Some(account) = cx.account(key) else { return };
    if available(cx, account).is_empty() {
        note(cx, key, status(presence));
    }
}

/// The core stops: whoever is there now was last seen now, for all that is known later.
pub fn on_stop(cx: &mut Cx<'_>, key: AccountKey) {
    let Some(account) = cx.account(key) else { return };
    if !available(cx, account).is_empty() {
        note(cx, key, None);
    }
}

fn note(cx: &mut Cx<'_>, key: AccountKey, status: Option<Box<str>>) {
    let at_ms = cx.now.utc_ms;
    if let Some(account) = cx.account_mut(key) {
        account.last_seen = Some(Box::new(LastSeen { at_ms, status }));
        account.seen_dirty = true;
    }
}

/// The presence's `<status/>` (RFC 6121 §4.7.2.2), cut to [`limits::LAST_STATUS_BYTES_MAX`]: the one
/// without a language of its own, or else the first.
fn status(presence: &Stanza<'_>) -> Option<Box<str>> {
    let mut all = tree::children(presence.payload).filter(|child| child.is(CLIENT, "status"));
    let first = all.next()?;
    let plain = |status: &tree::Element<'_>| status.attr_ns("http://www.w3.org/XML/1998/namespace", "lang").is_none();
    let chosen = if plain(&first) { first } else { all.find(plain).unwrap_or(first) };
    let text = chosen.text_cow();
    let mut end = text.len().min(limits::LAST_STATUS_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).filter(|text| !text.is_empty()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Client, Core, stanza};

    fn ask(core: &mut Core, client: Client, to: &str) -> String {
        core.send(client, &format!("<iq type='get' id='l' to='{to}'><query xmlns='jabber:iq:last'/></iq>"));
        core.take(client).concat()
    }

    fn result(from: &str, seconds: u64, status: &str) -> String {
        let from = format!("<iq type='result' id='l' from='{from}' to='ada@example.org/desk'>");
        let status = if status.is_empty() { "/>".to_owned() } else { format!(">{status}</query>") };
        format!("{from}<query xmlns='jabber:iq:last' seconds='{seconds}'{status}</iq>")
    }

    #[test]
    fn the_last_resource_to_go_is_what_counts() {
        let mut core = Core::new(2);
        core.friends("ada@example.org", "bob@example.org");
        let ada = core.login("ada@example.org/desk");
        assert!(ask(&mut core, ada, "bob@example.org").contains("item-not-found"), "never was there");
        let (phone, home) = (core.login("bob@example.org/phone"), core.login("bob@example.org/home"));
        assert!(ask(&mut core, ada, "bob@example.org").contains("item-not-found"), "nobody saw these");
        core.send(phone, "<presence/>");
        core.send(home, "<presence/>");
        core.send(phone, "<presence type='unavailable'><status>Going home</status></presence>");
        core.advance(5_000);
        assert_eq!(ask(&mut core, ada, "bob@example.org"), result("bob@example.org", 0, ""));
        core.send(
            home,
            "<presence type='unavailable'><status xml:lang='de'>Nacht</status><status>Night</status></presence>",
        );
        core.advance(903_000);
        assert_eq!(ask(&mut core, ada, "bob@example.org"), result("bob@example.org", 903, "Night"));
        core.send(home, "<presence/>");
        core.close(home, false);
        core.advance(61_999);
        assert_eq!(ask(&mut core, ada, "bob@example.org"), result("bob@example.org", 61, ""));
    }

    #[test]
    fn it_is_stored_late_and_read_again() {
        let mut core = Core::new(1);
        core.friends("ada@example.org", "bob@example.org");
        let bob = core.login("bob@example.org/phone");
        core.send(bob, "<presence/>");
        core.advance(limits::MARKS_STORE_MS);
        core.failing = true;
        core.send(bob, "<presence type='unavailable'><status>Bye</status></presence>");
        let at_ms = core.now.utc_ms;
        core.close(bob, true);
        core.advance(limits::ACCOUNT_IDLE_MS);
        assert_eq!(core.stored("bob@example.org").last_seen, None);
        assert!(core.loaded("bob@example.org").is_some(), "kept until it is stored");
        core.failing = false;
        for _ in 0..3 {
            core.advance(limits::MARKS_STORE_MS);
        }
        let seen = Some(LastSeen { at_ms, status: Some("Bye".into()) });
        assert_eq!(core.stored("bob@example.org").last_seen, seen);
        core.advance(limits::ACCOUNT_IDLE_MS);
        core.advance(limits::MARKS_STORE_MS);
        assert!(core.loaded("bob@example.org").is_none());
        let ada = core.login("ada@example.org/desk");
        assert!(ask(&mut core, ada, "bob@example.org").contains(">Bye<"));
    }

    #[test]
    fn a_stop_of_the_core_is_a_moment_of_presence() {
        let mut core = Core::new(1);
        let (ada, bob) = (core.login("ada@example.org/desk"), core.login("bob@example.org/phone"));
        core.send(ada, "<presence/>");
        core.stop();
        assert_eq!(core.stored("ada@example.org").last_seen, Some(LastSeen { at_ms: core.now.utc_ms, status: None }));
        assert_eq!(core.stored("bob@example.org").last_seen, None);
        let _ = bob;
    }

    /// XEP-0012 §4, §8: no question of a stranger reaches a resource, and no answer tells who is there.
    #[test]
    fn strangers_are_told_the_same_whoever_is_there() {
        let mut core = Core::new(2);
        let (eve, bob) = (core.login("eve@example.org/x"), core.login("bob@example.org/phone"));
        core.send(bob, "<presence/>");
        core.take(bob);
        for to in [
            "bob@example.org",
            "bob@example.org/phone",
            "bob@example.org/gone",
            "nobody@example.org",
            "nobody@example.org/x",
        ] {
            let answer = ask(&mut core, eve, to);
            assert!(answer.contains("<error type='auth'><forbidden "), "{to}: {answer}");
        }
        assert_eq!(core.take(bob), [""; 0]);
        // Who got directed presence of a resource sees that one.
        core.send(bob, "<presence to='eve@example.org/x'/>");
        core.take(eve);
        core.send(eve, "<iq type='get' id='l' to='bob@example.org/phone'><query xmlns='jabber:iq:last'/></iq>");
        assert_eq!(core.take(bob).len(), 1);
        assert!(ask(&mut core, eve, "bob@example.org").contains("forbidden"));
    }

    #[test]
    fn a_status_is_cut_between_characters() {
        let long = "é".repeat(limits::LAST_STATUS_BYTES_MAX);
        let status = |body: &str| status(&stanza(&format!("<presence>{body}</presence>")).view());
        assert_eq!(status(&format!("<status>{long}</status>")).unwrap().len(), limits::LAST_STATUS_BYTES_MAX - 1);
        assert_eq!(status("<status/>"), None);
        assert_eq!(status("<show>away</show>"), None);
        assert_eq!(status("<status xml:lang='de'>Nacht</status>").as_deref(), Some("Nacht"));
    }
}
