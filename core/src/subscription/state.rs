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

    /// Whether what the user's own stanza says is so.
    pub fn holds(self, action: Action) -> bool {
        match action {
            Action::Subscribe => self.to != Half::No,
            Action::Unsubscribe => self.to == Half::No,
            Action::Subscribed => self.from == Half::Yes,
            Action::Unsubscribed => self.from == Half::No,
        }
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

    /// The tables of the appendix as data: see its own words at the top.
    const TABLES: &str = include_str!("../../transcripts/tables/subscription_states.txt");

    /// The nine states by the names of Appendix A.1.
    const STATES: [(&str, State); 9] = [
        ("None", State { to: Half::No, from: Half::No }),
        ("None + Pending Out", State { to: Half::Pending, from: Half::No }),
        ("None + Pending In", State { to: Half::No, from: Half::Pending }),
        ("None + Pending Out+In", State { to: Half::Pending, from: Half::Pending }),
        ("To", State { to: Half::Yes, from: Half::No }),
        ("To + Pending In", State { to: Half::Yes, from: Half::Pending }),
        ("From", State { to: Half::No, from: Half::Yes }),
        ("From + Pending Out", State { to: Half::Pending, from: Half::Yes }),
        ("Both", State { to: Half::Yes, from: Half::Yes }),
    ];

    fn state(name: &str) -> State {
        STATES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1
    }

    fn action(name: &str) -> Action {
        let all = [Action::Subscribe, Action::Subscribed, Action::Unsubscribe, Action::Unsubscribed];
        *all.iter().find(|action| action.stanza_type().attribute() == Some(name)).unwrap_or_else(|| panic!("{name}"))
    }

    /// Puts one row of the file to the machine.
    fn row(table: &str, row: &str) {
        let case = format!("{table}:{row}");
        let mut cells = row.split('|').map(str::trim);
        let [existing, does, new] = [(); 3].map(|()| cells.next().expect("three cells"));
        let existing = state(existing);
        let expected = if new.is_empty() || new == "pre-approval" { existing } else { state(new) };
        let (does, reply) = does.split_once(" + ").map_or((does, None), |(does, reply)| (does, Some(action(reply))));
        let passes = does == "MUST";
        let words: Vec<&str> = table.split([' ', ',']).collect();
        match words[0] {
            "out" => {
                let step = existing.outbound(action(words[1]));
                let approved = match words[1] {
                    "subscribed" if new == "pre-approval" => Some(true),
                    "unsubscribed" => Some(false),
                    _ => None,
                };
                assert_eq!(step, Outbound { state: expected, route: passes, approved }, "{case}");
            }
            "in" => {
                let step = existing.inbound(action(words[1]), table.contains("pre-approved"));
                assert_eq!(step, Inbound { state: expected, deliver: passes, reply }, "{case}");
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_row_of_appendix_a() {
        let (mut table, mut rows) = ("", 0);
        for line in TABLES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with(' ') {
                row(table, line);
                rows += 1;
            } else {
                table = line;
            }
        }
        assert_eq!(rows, 8 * 9 + 6);
    }

    #[test]
    fn what_is_stored_and_the_state_say_the_same() {
        for (_, state) in STATES {
            let request = state.from == Half::Pending;
            assert_eq!(State::of(state.subscription(), state.ask(), request), state);
        }
    }
}
