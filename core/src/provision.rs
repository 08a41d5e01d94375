//! The life of an account: made, re-keyed, disabled and enabled, removed, by its owner or by the operator.
//!
//! ```text
//!  create    ─Derive─▶ keys ─CreateAccount─▶ done
//!  re-key    ─Derive─▶ keys ─SetCredentials─▶ other sessions, pending logins and all tokens end ─▶ done
//!  disable   ─PutDisabled─▶ sessions, pending logins and tokens end ─▶ done
//!  enable    ─PutDisabled─▶ done
//!  remove    ─DeleteAccount─▶ done ─▶ sessions end ─▶ subscriptions end ─▶ forgotten
//! ```
//! One change of credentials per account at a time, so that two of them end in the order they came.

use crate::account::{Absent, AccountKey};
use crate::capsule;
use crate::cx::Cx;
use crate::degraded;
use crate::derive::{Derived, Task};
use crate::fast;
use crate::login;
use crate::outputs::Event;
use crate::sasl::crypto::Secret;
use crate::session::{Origin, SessionKey};
use hearth_storage::{Answer, Ask, Change, Credentials, Disabled, Refusal};
use hearth_wire::stanza::{SharedStanza, Stanza, StanzaKind, StanzaType};
use hearth_wire::{BareJid, StreamCondition};

#[cfg(test)]
mod tests;

/// How a change ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is durable.
    Done,
    Exists,
    /// To others it would look like this account, or like more names than are looked for.
    LooksLike(Option<BareJid>),
    NoAccount,
    /// Try again in a moment: the workers are busy, or another change of this account is under way.
    Busy,
    /// Storage could not; nothing was changed.
    Failed(String),
}

/// What is done with the outcome.
pub type Then = Box<dyn FnOnce(&mut Cx<'_>, Outcome) + Send>;

/// Whether an account may have a name that looks like another's of its domain (UTS #39).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookAlikes {
    Refused,
    Allowed,
}

/// Makes an account with a prepared password.
pub fn create(cx: &mut Cx<'_>, jid: BareJid, password: Secret, look_alikes: LookAlikes, then: Then) {
    with_keys(cx, jid, password, then, move |cx, jid, credentials, then| {
        let slot = cx.shard.settings.slot_key.slot(jid.as_str());
        let mut changes = vec![Change::CreateAccount { account: jid.clone(), credentials }];
        if look_alikes == LookAlikes::Refused {
            changes.insert(0, Change::MustNotLookAlike { account: jid.clone() });
        }
        if let Some(error) = degraded::unstorable(cx, &changes) {
            return finish(cx, &jid, Outcome::Failed(error.to_string()), then);
        }
        cx.ask(
            slot,
            Ask::Apply { changes },
            Box::new(move |cx, answer| {
                let outcome = outcome(&answer);
                if outcome == Outcome::Done {
                    changed(cx, &jid, "created");
                }
                if let Answer::Failed(error) = answer {
                    cx.event(Event::StorageFailed { doing: "create an account", cause: error.to_string() });
                }
                finish(cx, &jid, outcome, then);
            }),
        );
    });
}

/// Gives an account another password, prepared. All its streams end but the one whose stanza asks for it: whoever
/// holds them may have the old one.
pub fn set_password(cx: &mut Cx<'_>, jid: BareJid, password: Secret, by: Option<Origin>, then: Then) {
    with_keys(cx, jid, password, then, move |cx, jid, mut credentials, then| {
        cx.with_account_or_why(&jid.clone(), move |cx, key| {
            let key = match key {
                Ok(key) => key,
                Err(why) => return finish(cx, &jid, absent(&why), then),
            };
            let before = cx.account(key).map_or(0, |account| account.credentials_generation);
            credentials.generation = credentials.generation.max(before.saturating_add(1));
            let generation = credentials.generation;
            let mut changes = vec![Change::SetCredentials { account: jid.clone(), credentials }];
            changes.extend(cx.account(key).map(fast::end_all).unwrap_or_default());
            cx.write_by(key, by, changes, move |cx, answer| {
                let outcome = outcome(&answer);
                if outcome == Outcome::Done {
                    fast::ended(cx, key);
                    if let Some(account) = cx.account_mut(key) {
                        account.credentials_generation = generation;
                    }
                    let keep = by.filter(|by| cx.session_of_origin(by).is_some()).map(|by| by.session);
                    close_streams(cx, key, keep, "password changed");
                    if let Some(session) = keep {
                        // The next core lets nobody go on under the old ones.
                        capsule::changed(cx, session);
                    }
                    changed(cx, &jid, "password changed");
                }
                finish(cx, &jid, outcome, then);
            });
        });
    });
}

/// Lets nobody log in to an account until it is enabled. Its streams end with `not-authorized`; who then
/// proves its password gets `account-disabled` (RFC 6120 §6.5.2), who does not learns nothing. To all
/// others it is an account that is offline: messages wait, requests are answered on its behalf, contacts
/// stay, and nothing tells that it is disabled. The reason is the operators' own, nobody else is shown it.
/// Disabling once more replaces the reason.
pub fn disable(cx: &mut Cx<'_>, jid: BareJid, reason: Option<Box<str>>, then: Then) {
    let now_ms = cx.now.utc_ms;
    set_disabled(cx, jid, then, "disabled", move |before| {
        let since_ms = before.map_or(now_ms, |before| before.since_ms);
        Some(Disabled { since_ms, reason })
    });
}

/// Undoes [`disable`]; an account that is enabled stays so.
pub fn enable(cx: &mut Cx<'_>, jid: BareJid, then: Then) {
    set_disabled(cx, jid, then, "enabled", |_| None);
}

fn set_disabled(
    cx: &mut Cx<'_>,
    jid: BareJid,
    then: Then,
    change: &'static str,
    make: impl FnOnce(Option<&Disabled>) -> Option<Disabled> + Send + 'static,
) {
    cx.with_account_or_why(&jid.clone(), move |cx, key| {
        let found = key.and_then(|key| cx.account(key).map(|account| (key, account)).ok_or(Absent::NoAccount));
        let (key, account) = match found {
            Ok(found) => found,
            Err(why) => return then(cx, absent(&why)),
        };
        let disabled = make(account.disabled.as_deref());
        let mut changes = vec![Change::PutDisabled { account: jid.clone(), disabled: disabled.clone() }];
        let ends = disabled.is_some();
        if ends {
            changes.extend(fast::end_all(account));
        }
        cx.write(key, changes, move |cx, answer| {
            let outcome = outcome(&answer);
            if outcome == Outcome::Done {
                if let Some(account) = cx.account_mut(key) {
                    account.disabled = disabled.map(Box::new);
                }
                if ends {
                    fast::ended(cx, key);
                    close_streams(cx, key, None, "account disabled");
                }
                changed(cx, &jid, change);
            }
            then(cx, outcome);
        });
    });
}

/// Ends every session of an account, every pending login and every token: whoever is to come back needs the password.
pub fn revoke(cx: &mut Cx<'_>, jid: BareJid, then: Then) {
    cx.with_account_or_why(&jid.clone(), move |cx, key| {
        let found = key.and_then(|key| cx.account(key).map(|account| (key, account)).ok_or(Absent::NoAccount));
        let (key, account) = match found {
            Ok(found) => found,
            Err(why) => return then(cx, absent(&why)),
        };
        let changes = fast::end_all(account);
        let end = move |cx: &mut Cx<'_>| close_streams(cx, key, None, "ended by the operator");
        if changes.is_empty() {
            end(cx);
            return then(cx, Outcome::Done);
        }
        cx.write(key, changes, move |cx, answer| {
            let outcome = outcome(&answer);
            if outcome == Outcome::Done {
                fast::ended(cx, key);
                end(cx);
                changed(cx, &jid, "tokens revoked");
            }
            then(cx, outcome);
        });
    });
}

/// Removes an account and everything stored of it. `then` runs before its sessions end, so that the
/// one that asked gets its answer.
pub fn remove(cx: &mut Cx<'_>, jid: BareJid, then: Then) {
    cx.with_account_or_why(&jid.clone(), move |cx, key| {
        let key = match key {
            Ok(key) => key,
            Err(why) => return then(cx, absent(&why)),
        };
        cx.write(key, vec![Change::DeleteAccount { account: jid.clone() }], move |cx, answer| {
            let outcome = outcome(&answer);
            let done = outcome == Outcome::Done;
            then(cx, outcome);
            if done {
                close_streams(cx, key, None, "account removed");
                end_subscriptions(cx, key, &jid);
                cx.retire(key);
                changed(cx, &jid, "deleted");
            }
        });
    });
}

/// Derives what is stored of a password, unless another change of the account is under way.
fn with_keys(
    cx: &mut Cx<'_>,
    jid: BareJid,
    password: Secret,
    then: Then,
    store: impl FnOnce(&mut Cx<'_>, BareJid, Credentials, Then) + Send + 'static,
) {
    if !cx.shard.rekeying.insert(jid.clone()) {
        return then(cx, Outcome::Busy);
    }
    let task = Task::store(password, cx.shard.random.as_mut());
    cx.derive(
        task,
        Box::new(move |cx, derived| match derived {
            Derived::All { sha1, sha256, sha512 } => {
                // Milliseconds since 1970 grow over deletions too, so a generation never comes back.
                store(cx, jid, Credentials { generation: cx.now.utc_ms, sha1, sha256, sha512 }, then);
            }
            Derived::Keys(_) | Derived::Busy => finish(cx, &jid, Outcome::Busy, then),
        }),
    );
}

fn finish(cx: &mut Cx<'_>, jid: &BareJid, outcome: Outcome, then: Then) {
    cx.shard.rekeying.remove(jid);
    then(cx, outcome);
}

fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Answer::Applied => Outcome::Done,
        Answer::Refused(Refusal::Exists) => Outcome::Exists,
        Answer::Refused(Refusal::LooksLike(other)) => Outcome::LooksLike(other.clone()),
        Answer::Refused(Refusal::NoAccount) => Outcome::NoAccount,
        Answer::Refused(Refusal::Fenced) => Outcome::Busy,
        Answer::Failed(error) => Outcome::Failed(error.to_string()),
        Answer::Loaded(_)
        | Answer::Blob(_)
        | Answer::Appended(_)
        | Answer::Already(_)
        | Answer::Overtaken
        | Answer::Records(_)
        | Answer::Accounts(_)
        | Answer::Found(_) => Outcome::Failed("an answer to another question".to_owned()),
    }
}

fn absent(why: &Absent) -> Outcome {
    match why {
        Absent::NoAccount => Outcome::NoAccount,
        Absent::Busy => Outcome::Busy,
        Absent::Failed(cause) => Outcome::Failed(cause.to_string()),
    }
}

fn changed(cx: &mut Cx<'_>, jid: &BareJid, change: &'static str) {
    cx.event(Event::AccountChanged { account: jid.to_string(), change });
}

/// XEP-0077 §3.2: `not-authorized`, with the reason, to every stream of the account but one.
fn close_streams(cx: &mut Cx<'_>, key: AccountKey, keep: Option<SessionKey>, reason: &'static str) {
    let sessions = cx.account(key).map(|account| account.sessions.clone()).unwrap_or_default();
    for session in sessions.into_iter().filter(|session| Some(*session) != keep) {
        cx.close_session(session, Some(StreamCondition::NotAuthorized), reason);
    }
    login::close_all(cx, key, StreamCondition::NotAuthorized, reason);
}

/// XEP-0077 §3.2: whoever was subscribed, or asked to be, learns that it is over.
fn end_subscriptions(cx: &mut Cx<'_>, key: AccountKey, jid: &BareJid) {
    let Some(account) = cx.account_mut(key) else { return };
    let (roster, requests) = (std::mem::take(&mut account.roster), std::mem::take(&mut account.requests));
    let mut tell = |contact: &str, ty: StanzaType| {
        let stanza = Stanza { from: Some(jid.as_str()), to: Some(contact), ..Stanza::new(StanzaKind::Presence, ty) };
        cx.route(SharedStanza::new(&stanza), None);
    };
    for item in &roster {
        if item.ask() || item.seen_by_us() {
            tell(item.address(), StanzaType::Unsubscribe);
        }
        if item.sees_us() {
            tell(item.address(), StanzaType::Unsubscribed);
        }
    }
    requests.iter().for_each(|request| tell(&request.contact, StanzaType::Unsubscribed));
}
