//! vcard-temp: kept as it came, shown to whoever asks; what of it can be found by others is up to its owner
//! (`search.rs`).

use crate::cx::Cx;
use crate::features::{Feature, IqHandler, Scope, Spec};
use crate::iq::Iq;
use crate::limits;
use crate::search;
use hearth_storage::{Answer, Ask, Blob, Change};
use hearth_wire::StanzaCondition;
use hearth_wire::tree::Builder;

pub const NS: &str = "vcard-temp";

pub const FEATURE: Feature = Feature {
    spec: Spec::Xep(54, "1.3.0"),
    disco_server: &[NS],
    disco_account: &[NS],
    iq: &[IqHandler { ns: NS, element: "vCard", scopes: &[Scope::Account, Scope::AccountOfOther], run: on_iq }],
    ..Feature::EMPTY
};

fn on_iq(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    match (iq.is_set(), iq.asker) {
        (false, _) => get(cx, iq),
        (true, Some(_)) => set(cx, iq),
        // XEP-0054 §3.3: only the owner.
        (true, None) => Err(StanzaCondition::Forbidden),
    }
}

/// XEP-0054 §3.1, §3.2. One's own missing vCard is empty; another's is as missing as a missing
/// account is, so that nobody learns which.
fn get(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let account = iq.account.and_then(|key| cx.account(key)).ok_or(StanzaCondition::ServiceUnavailable)?;
    let (slot, jid, own) = (account.slot, account.jid.clone(), iq.asker.is_some());
    let waiting = iq.wait(cx);
    let then = move |cx: &mut Cx<'_>, answer| match answer {
        Answer::Blob(Some(vcard)) => waiting.reply(cx, &vcard),
        Answer::Blob(None) if own => {
            let mut tree = Builder::new();
            tree.open(Some(NS), "vCard").close();
            waiting.reply(cx, &tree.finish());
        }
        Answer::Blob(None) => waiting.refuse(cx, StanzaCondition::ServiceUnavailable),
        _ => waiting.refuse(cx, StanzaCondition::ResourceConstraint),
    };
    cx.ask(slot, Ask::LoadBlob { account: jid, blob: Blob::VCard }, Box::new(then));
    Ok(())
}

/// XEP-0054 §3.3: replaces the whole vCard; an empty one removes it.
fn set(cx: &mut Cx<'_>, iq: &Iq<'_>) -> Result<(), StanzaCondition> {
    let key = iq.account.ok_or(StanzaCondition::ServiceUnavailable)?;
    let account = cx.account(key).ok_or(StanzaCondition::ServiceUnavailable)?.jid.clone();
    let vcard = iq.question.bytes();
    if vcard.len() > limits::VCARD_BYTES_MAX {
        return Err(StanzaCondition::PolicyViolation);
    }
    let bytes = iq.question.children().next().is_some().then(|| vcard.to_vec());
    let waiting = iq.wait(cx);
    let listed = Change::PutListing { account: account.clone(), listing: search::listing(&iq.question) };
    let changes = vec![Change::PutBlob { account, blob: Blob::VCard, bytes }, listed];
    cx.write(key, changes, move |cx, answer| match answer {
        Answer::Applied => waiting.reply(cx, &[]),
        _ => waiting.refuse(cx, StanzaCondition::ResourceConstraint),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Core;

    #[test]
    fn set_then_seen_by_owner_and_others() {
        let mut core = Core::new(2);
        let ada = core.login("ada@example.org/desk");
        let bob = core.login("bob@example.org/phone");
        core.send(ada, "<iq type='get' id='0'><vCard xmlns='vcard-temp'/></iq>");
        assert!(core.take(ada).concat().contains("<vCard xmlns='vcard-temp'/>"));
        core.send(bob, "<iq type='get' id='1' to='ada@example.org'><vCard xmlns='vcard-temp'/></iq>");
        assert!(core.take(bob).concat().contains("service-unavailable"));
        core.send(ada, "<iq type='set' id='2'><vCard xmlns='vcard-temp'><FN>Ada</FN></vCard></iq>");
        assert!(core.take(ada).concat().contains("type='result'"));
        core.send(bob, "<iq type='get' id='3' to='ada@example.org'><vCard xmlns='vcard-temp'/></iq>");
        assert!(core.take(bob).concat().contains("<FN>Ada</FN>"));
        core.send(
            bob,
            "<iq type='set' id='4' to='ada@example.org'><vCard xmlns='vcard-temp'><FN>Eve</FN></vCard></iq>",
        );
        assert!(core.take(bob).concat().contains("forbidden"));
        assert_eq!((core.unsettled(ada), core.unsettled(bob)), (0, 0));
    }

    #[test]
    fn a_failed_write_is_refused_and_changes_nothing() {
        let mut core = Core::new(1);
        let ada = core.login("ada@example.org/desk");
        core.failing = true;
        core.send(ada, "<iq type='set' id='2'><vCard xmlns='vcard-temp'><FN>Ada</FN></vCard></iq>");
        assert!(core.take(ada).concat().contains("resource-constraint"));
        core.failing = false;
        core.send(ada, "<iq type='get' id='0'><vCard xmlns='vcard-temp'/></iq>");
        assert!(core.take(ada).concat().contains("<vCard xmlns='vcard-temp'/>"));
    }
}
