//! The subscription states of RFC 6121 Appendix A as a pure machine.
//!
//! The nine states are two halves of three each: whether we see the contact, and whether the contact
//! sees us. A stanza moves one half only.
//!
//! ```text
//!  we see the contact (`to`)                       the contact sees us (`from`)
//!
//!      ──subscribe out──▶         ──subscribed in──▶        ──subscribe in──▶          ──subscribed out──▶
//!  No                     Pending                    Yes No                   Pending                     Yes
//!      ◀────────── unsubscribe out, unsubscribed in ────     ◀────────── unsubscribed out, unsubscribe in ───
//! ```

use crate::contact::Contact;
use hearth_storage::{RosterItem, Subscription};
use hearth_wire::stanza::StanzaType;

/// One half of a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Half {
    No,
    /// Asked for, not answered.
    Pending,
    Yes,
}

/// A state of Appendix A.1, from the account's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// "Pending Out" is `Pending`.
    pub to: Half,
    /// "Pending In" is `Pending`.
    pub from: Half,
}

/// The four stanzas that change states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

impl Action {
    /// `None` for every other presence.
    pub fn of(ty: StanzaType) -> Option<Action> {
        match ty {
            StanzaType::Subscribe => Some(Action::Subscribe),
            StanzaType::Subscribed => Some(Action::Subscribed),
            StanzaType::Unsubscribe => Some(Action::Unsubscribe),
            StanzaType::Unsubscribed => Some(Action::Unsubscribed),
            _ => None,
        }
    }

    pub fn stanza_type(self) -> StanzaType {
        match self {
            Action::Subscribe => StanzaType::Subscribe,
            Action::Subscribed => StanzaType::Subscribed,
            Action::Unsubscribe => StanzaType::Unsubscribe,
            Action::Unsubscribed => StanzaType::Unsubscribed,
        }
    }
}

/// What the user's own stanza does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outbound {
    pub state: State,
    /// The contact gets it.
    pub route: bool,
    /// The pre-approval of the contact from now on (§3.4); `None` leaves it.
    pub approved: Option<bool>,
}

/// What a contact's stanza does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inbound {
    pub state: State,
    /// The user gets it.
    pub deliver: bool,
    /// What the server answers on the user's behalf.
    pub reply: Option<Action>,
}

impl State {
    /// From what is stored: the roster item, and whether a request of the contact is kept.
    pub fn new(item: Option<&RosterItem>, request: bool) -> State {
        item.map_or(State::of(Subscription::None, false, request), |item| {
            State::of(item.subscription, item.ask, request)
        })
    }

    /// As [`State::new`], of an item in memory.
    pub fn of_contact(contact: Option<&Contact>, request: bool) -> State {
        contact.map_or(State::of(Subscription::None, false, request), |contact| {
            State::of(contact.subscription(), contact.ask(), request)
        })
    }

    fn of(subscription: Subscription, ask: bool, request: bool) -> State {
        let half = |yes, pending| match (yes, pending) {
            (true, _) => Half::Yes,
            (false, true) => Half::Pending,
            (false, false) => Half::No,
        };
        State {
            to: half(matches!(subscription, Subscription::To | Subscription::Both), ask),
            from: half(matches!(subscription, Subscription::From | Subscription::Both), request),
        }
    }

    /// `subscription` of the roster item (§2.1.2.5).
    pub fn subscription(self) -> Subscription {
        match (self.to == Half::Yes, self.from == Half::Yes) {
            (true, true) => Subscription::Both,
            (true, false) => Subscription::To,
            (false, true) => Subscription::From,
            (false, false) => Subscription::None,
        }
    }

    /// `ask` of the roster item (§2.1.2.2).
    pub fn ask(self) -> bool {
        self.to == Half::Pending
    }

    /// Appendix A.2.
    pub fn outbound(self, action: Action) -> Outbound {
        let State { to, from } = self;
        let (state, route) = match (action, to, from) {
            (Action::Subscribe, Half::No, _) => (State { to: Half::Pending, from }, true),
            (Action::Subscribe, Half::Pending | Half::Yes, _) => (self, true),
            (Action::Unsubscribe, _, _) => (State { to: Half::No, from }, true),
            (Action::Subscribed, _, Half::Pending) => (State { to, from: Half::Yes }, true),
            (Action::Subscribed, _, Half::No | Half::Yes) => (self, false),
            (Action::Unsubscribed, _, Half::Pending | Half::Yes) => (State { to, from: Half::No }, true),
            (Action::Unsubscribed, _, Half::No) => (self, false),
        };
        let approved = match (action, from) {
            (Action::Subscribed, Half::No) => Some(true),
            (Action::Unsubscribed, _) => Some(false),
            _ => None,
        };
        Outbound { state, route, approved }
    }

    /// Appendix A.3. `approved`: the user has approved this contact before it asked.
    pub fn inbound(self, action: Action, approved: bool) -> Inbound {
        let State { to, from } = self;
        let (state, deliver, reply) = match (action, to, from) {
            (Action::Subscribe, _, Half::No) if approved => {
                (State { to, from: Half::Yes }, false, Some(Action::Subscribed))
            }
            (Action::Subscribe, _, Half::No) => (State { to, from: Half::Pending }, true, None),
            (Action::Subscribe, _, Half::Pending) => (self, false, None),
            (Action::Subscribe, _, Half::Yes) => (self, false, Some(Action::Subscribed)),
            (Action::Unsubscribe, _, Half::Pending | Half::Yes) => {
                (State { to, from: Half::No }, true, Some(Action::Unsubscribed))
            }
            (Action::Unsubscribe, _, Half::No) => (self, false, None),
            (Action::Subscribed, Half::Pending, _) => (State { to: Half::Yes, from }, true, None),
            (Action::Subscribed, Half::No | Half::Yes, _) => (self, false, None),
            (Action::Unsubscribed, Half::Pending | Half::Yes, _) => (State { to: Half::No, from }, true, None),
            (Action::Unsubscribed, Half::No, _) => (self, false, None),
        };
        Inbound { state, deliver, reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nine states by the names of Appendix A.1.
    const NONE: State = State { to: Half::No, from: Half::No };
    const NONE_OUT: State = State { to: Half::Pending, from: Half::No };
    const NONE_IN: State = State { to: Half::No, from: Half::Pending };
    const NONE_OUT_IN: State = State { to: Half::Pending, from: Half::Pending };
    const TO: State = State { to: Half::Yes, from: Half::No };
    const TO_IN: State = State { to: Half::Yes, from: Half::Pending };
    const FROM: State = State { to: Half::No, from: Half::Yes };
    const FROM_OUT: State = State { to: Half::Pending, from: Half::Yes };
    const BOTH: State = State { to: Half::Yes, from: Half::Yes };

    const ALL: [State; 9] = [NONE, NONE_OUT, NONE_IN, NONE_OUT_IN, TO, TO_IN, FROM, FROM_OUT, BOTH];
    const YES: bool = true;
    const NO: bool = false;

    /// One row per existing state: whether it is routed, and the new state.
    #[track_caller]
    fn outbound(action: Action, rows: [(State, bool, State); 9]) {
        for ((existing, route, new), expected) in rows.into_iter().zip(ALL) {
            assert_eq!(existing, expected);
            let step = existing.outbound(action);
            assert_eq!((step.route, step.state), (route, new), "{action:?} in {existing:?}");
        }
    }

    /// One row per existing state: whether it is delivered, and the new state.
    #[track_caller]
    fn inbound(action: Action, rows: [(State, bool, State); 9]) {
        for ((existing, deliver, new), expected) in rows.into_iter().zip(ALL) {
            assert_eq!(existing, expected);
            let step = existing.inbound(action, false);
            assert_eq!((step.deliver, step.state), (deliver, new), "{action:?} in {existing:?}");
        }
    }

    #[test]
    fn table_2_outbound_subscribe() {
        outbound(
            Action::Subscribe,
            [
                (NONE, YES, NONE_OUT),
                (NONE_OUT, YES, NONE_OUT),
                (NONE_IN, YES, NONE_OUT_IN),
                (NONE_OUT_IN, YES, NONE_OUT_IN),
                (TO, YES, TO),
                (TO_IN, YES, TO_IN),
                (FROM, YES, FROM_OUT),
                (FROM_OUT, YES, FROM_OUT),
                (BOTH, YES, BOTH),
            ],
        );
    }

    #[test]
    fn table_3_outbound_unsubscribe() {
        outbound(
            Action::Unsubscribe,
            [
                (NONE, YES, NONE),
                (NONE_OUT, YES, NONE),
                (NONE_IN, YES, NONE_IN),
                (NONE_OUT_IN, YES, NONE_IN),
                (TO, YES, NONE),
                (TO_IN, YES, NONE_IN),
                (FROM, YES, FROM),
                (FROM_OUT, YES, FROM),
                (BOTH, YES, FROM),
            ],
        );
    }

    #[test]
    fn table_4_outbound_subscribed() {
        outbound(
            Action::Subscribed,
            [
                (NONE, NO, NONE),
                (NONE_OUT, NO, NONE_OUT),
                (NONE_IN, YES, FROM),
                (NONE_OUT_IN, YES, FROM_OUT),
                (TO, NO, TO),
                (TO_IN, YES, BOTH),
                (FROM, NO, FROM),
                (FROM_OUT, NO, FROM_OUT),
                (BOTH, NO, BOTH),
            ],
        );
        for state in ALL {
            let approves = [NONE, NONE_OUT, TO].contains(&state);
            assert_eq!(state.outbound(Action::Subscribed).approved, approves.then_some(true), "{state:?}");
        }
    }

    #[test]
    fn table_5_outbound_unsubscribed() {
        outbound(
            Action::Unsubscribed,
            [
                (NONE, NO, NONE),
                (NONE_OUT, NO, NONE_OUT),
                (NONE_IN, YES, NONE),
                (NONE_OUT_IN, YES, NONE_OUT),
                (TO, NO, TO),
                (TO_IN, YES, TO),
                (FROM, YES, NONE),
                (FROM_OUT, YES, NONE_OUT),
                (BOTH, YES, TO),
            ],
        );
        assert!(ALL.into_iter().all(|state| state.outbound(Action::Unsubscribed).approved == Some(false)));
    }

    #[test]
    fn table_6_inbound_subscribe() {
        inbound(
            Action::Subscribe,
            [
                (NONE, YES, NONE_IN),
                (NONE_OUT, YES, NONE_OUT_IN),
                (NONE_IN, NO, NONE_IN),
                (NONE_OUT_IN, NO, NONE_OUT_IN),
                (TO, YES, TO_IN),
                (TO_IN, NO, TO_IN),
                (FROM, NO, FROM),
                (FROM_OUT, NO, FROM_OUT),
                (BOTH, NO, BOTH),
            ],
        );
        for state in ALL {
            let reply = (state.from == Half::Yes).then_some(Action::Subscribed);
            assert_eq!(state.inbound(Action::Subscribe, false).reply, reply, "{state:?}");
        }
        // Footnote 1.
        for (existing, new) in [(NONE, FROM), (NONE_OUT, FROM_OUT), (TO, BOTH)] {
            let step = existing.inbound(Action::Subscribe, true);
            assert_eq!(step, Inbound { state: new, deliver: false, reply: Some(Action::Subscribed) });
        }
    }

    #[test]
    fn table_7_inbound_unsubscribe() {
        inbound(
            Action::Unsubscribe,
            [
                (NONE, NO, NONE),
                (NONE_OUT, NO, NONE_OUT),
                (NONE_IN, YES, NONE),
                (NONE_OUT_IN, YES, NONE_OUT),
                (TO, NO, TO),
                (TO_IN, YES, TO),
                (FROM, YES, NONE),
                (FROM_OUT, YES, NONE_OUT),
                (BOTH, YES, TO),
            ],
        );
        for state in ALL {
            let step = state.inbound(Action::Unsubscribe, false);
            assert_eq!(step.reply, step.deliver.then_some(Action::Unsubscribed), "{state:?}");
        }
    }

    #[test]
    fn table_8_inbound_subscribed() {
        inbound(
            Action::Subscribed,
            [
                (NONE, NO, NONE),
                (NONE_OUT, YES, TO),
                (NONE_IN, NO, NONE_IN),
                (NONE_OUT_IN, YES, TO_IN),
                (TO, NO, TO),
                (TO_IN, NO, TO_IN),
                (FROM, NO, FROM),
                (FROM_OUT, YES, BOTH),
                (BOTH, NO, BOTH),
            ],
        );
    }

    #[test]
    fn table_9_inbound_unsubscribed() {
        inbound(
            Action::Unsubscribed,
            [
                (NONE, NO, NONE),
                (NONE_OUT, YES, NONE),
                (NONE_IN, NO, NONE_IN),
                (NONE_OUT_IN, YES, NONE_IN),
                (TO, YES, NONE),
                (TO_IN, YES, NONE_IN),
                (FROM, NO, FROM),
                (FROM_OUT, YES, FROM),
                (BOTH, YES, FROM),
            ],
        );
    }

    #[test]
    fn what_is_stored_and_the_state_say_the_same() {
        for state in ALL {
            let request = state.from == Half::Pending;
            assert_eq!(State::of(state.subscription(), state.ask(), request), state);
        }
    }
}
