//! What becomes of a stanza that a session was sent and its client never acknowledged, once the session ends
//! (XEP-0198 §5; RFC 6121 §8.5.3.2). While a session waits to be resumed, its stanzas wait with it.
//!
//! | stanza | fate |
//! |---|---|
//! | message in the log, type chat, or normal to the bare JID | [`Fate::Waits`] |
//! | message in the log, type normal, to this resource | [`Fate::Refused`] |
//! | message not in the log, type chat or normal | [`Fate::Anew`], as if it came now |
//! | headline, groupchat, error | [`Fate::Dropped`]; groupchat is never bounced: a room would take its occupant for gone |
//! | iq get or set | [`Fate::Refused`], once |
//! | iq result or error | [`Fate::Dropped`] |
//! | presence, subscription stanzas among it | [`Fate::Dropped`]; requests stay with the roster |

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::session::{Held, Session, SessionKey};
use hearth_storage::LogId;
use hearth_wire::StanzaCondition;
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};

#[cfg(test)]
mod tests;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The record is the account's again: another session gets it, or the next one. None that has had it does.
    Waits,
    /// To whoever would get it if it came now; what went to the bare JID went to them already.
    Anew,
    /// Its sender is told `service-unavailable`.
    Refused,
    Dropped,
}

/// The table above.
pub fn of(stanza: &Stanza<'_>, logged: bool) -> Fate {
    let to_resource = stanza.to.is_some_and(|to| to.contains('/'));
    match (stanza.kind, stanza.ty) {
        (StanzaKind::Message, StanzaType::Normal) if logged && to_resource => Fate::Refused,
        (StanzaKind::Message, _) if logged => Fate::Waits,
        (StanzaKind::Message, StanzaType::Chat | StanzaType::Normal) => Fate::Anew,
        (StanzaKind::Iq, StanzaType::Get | StanzaType::Set) => Fate::Refused,
        (StanzaKind::Message | StanzaKind::Iq | StanzaKind::Presence, _) => Fate::Dropped,
    }
}

/// Carries out the fate of what a session of the account will not get.
pub fn meet(cx: &mut Cx<'_>, account: AccountKey, held: Held) {
    let Held { stanza, log, .. } = held;
    let fate = of(&stanza.view(), log.is_some());
    if let Some(id) = log {
        give_back(cx, account, id, fate == Fate::Refused);
    }
    match fate {
        Fate::Waits | Fate::Dropped => {}
        Fate::Refused => cx.refuse(&stanza, None, StanzaCondition::ServiceUnavailable),
        Fate::Anew => {
            let to_resource = stanza.view().to.is_some_and(|to| to.contains('/'));
            let shared = !to_resource && another(cx, account).is_some();
            if !shared {
                cx.inbound(stanza, None);
            }
        }
    }
}

/// The account has a record that a session will not get; `done` if nobody else shall.
pub fn give_back(cx: &mut Cx<'_>, account: AccountKey, id: LogId, done: bool) {
    if let Some(account) = cx.account_mut(account) {
        account.log.inflight_done(id, done);
    }
}

/// A session that gets what is sent to the account's bare JID.
pub fn another(cx: &Cx<'_>, account: AccountKey) -> Option<SessionKey> {
    let account = cx.account(account)?;
    account.sessions.iter().copied().find(|key| cx.session(*key).is_some_and(Session::receives_bare))
}
