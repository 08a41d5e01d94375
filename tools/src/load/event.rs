//! What a session's stream brought, reduced to what scenarios look at.

use super::scan::Element;
use std::time::{Duration, Instant};

/// One thing that happened to one user's session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// Logged in (or, when registering, registered), so long after its connection was begun.
    Ready { user: u32, took: Duration },
    /// A message of ours, with the number we gave it.
    Message { user: u32, number: u64, at: Instant },
    /// The server has taken responsibility for a message that was due at `due` (XEP-0198 §4).
    Acknowledged { due: Instant, at: Instant },
    /// Presence with a number of ours in its status, from `from`.
    Flip { user: u32, from: u32, number: u64, at: Instant },
    /// Any other presence: the roster's, or one's own reflected.
    Presence { user: u32 },
    /// Someone asks for a subscription, RFC 6121 §3.1.
    Subscribe { user: u32, from: u32 },
    /// A roster item, from a result or a push; `both` says whether the subscription is complete.
    Contact { user: u32, contact: u32, both: bool },
    /// The answer to a question with a number of ours.
    Answer { user: u32, number: u64, at: Instant },
    /// The whole roster has been told.
    Roster { user: u32 },
    /// A stanza came back as an error.
    Refused { user: u32 },
    /// The connection is gone, wanted or not; `online`: after its login.
    Closed { user: u32, online: bool },
}

/// What to do about a stanza besides reporting it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Duty {
    Nothing,
    /// An iq request: answer with an empty result of this id, to this address.
    Answer {
        id: Vec<u8>,
        to: Option<Vec<u8>>,
    },
}

/// Reads one stanza of a logged-in session.
pub(crate) fn observe(user: u32, stanza: Element<'_>, at: Instant, events: &mut Vec<Event>) -> Duty {
    let kind = stanza.attribute("type").unwrap_or_default();
    match stanza.name() {
        _ if kind == b"error" => events.push(Event::Refused { user }),
        b"message" => {
            if let Some(number) = stanza.attribute("id").and_then(number_of) {
                events.push(Event::Message { user, number, at });
            }
        }
        b"presence" => {
            let from = stanza.attribute("from").and_then(user_of);
            let number = stanza.text_of("status").and_then(number_of);
            events.push(match (kind, from, number) {
                (b"subscribe", Some(from), _) => Event::Subscribe { user, from },
                (b"", Some(from), Some(number)) => Event::Flip { user, from, number, at },
                _ => Event::Presence { user },
            });
        }
        b"iq" => {
            if stanza.contains("jabber:iq:roster") {
                for item in stanza.find_all("item") {
                    let both = item.attribute("subscription") == Some(b"both");
                    if let Some(contact) = item.attribute("jid").and_then(user_of) {
                        events.push(Event::Contact { user, contact, both });
                    }
                }
            }
            if matches!(kind, b"set" | b"get") {
                let id = stanza.attribute("id").unwrap_or_default().to_vec();
                return Duty::Answer { id, to: stanza.attribute("from").map(<[u8]>::to_vec) };
            }
            if stanza.attribute("id") == Some(ROSTER_ID.as_bytes()) {
                events.push(Event::Roster { user });
            } else if let Some(number) = stanza.attribute("id").and_then(number_of) {
                events.push(Event::Answer { user, number, at });
            }
        }
        _ => {}
    }
    Duty::Nothing
}

/// The id of every roster request, so that its answer is known by it.
pub(crate) const ROSTER_ID: &str = "roster";

/// How scenarios mark a stanza: `n` and a hexadecimal number.
fn number_of(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text.strip_prefix(b"n")?).ok()?, 16).ok()
}

/// The number in `user42@…`.
fn user_of(address: &[u8]) -> Option<u32> {
    let (localpart, _) = address.split_at_checked(memchr::memchr(b'@', address)?)?;
    std::str::from_utf8(localpart.strip_prefix(b"user")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stanza: &str, wanted: &[Event]) -> Duty {
        let mut events = Vec::new();
        let at = Instant::now();
        let duty = observe(7, Element(stanza.as_bytes()), at, &mut events);
        for event in &mut events {
            if let Event::Message { at: seen, .. } | Event::Flip { at: seen, .. } = event {
                assert_eq!(*seen, at);
            }
        }
        let text = |events: &[Event]| format!("{events:?}").split("Instant").next().map(str::to_owned);
        assert_eq!(text(&events), text(wanted), "{stanza}");
        duty
    }

    #[test]
    fn stanzas_become_events() {
        let at = Instant::now();
        check(
            "<message from='user1@h/r' id='n1f'><body>x</body></message>",
            &[Event::Message { user: 7, number: 31, at }],
        );
        check("<message id='else'><body>x</body></message>", &[]);
        check("<message id='n1' type='error'><error/></message>", &[Event::Refused { user: 7 }]);
        check(
            "<presence from='user2@h/r'><status>na</status></presence>",
            &[Event::Flip { user: 7, from: 2, number: 10, at }],
        );
        check("<iq type='result' id='n2'/>", &[Event::Answer { user: 7, number: 2, at }]);
        check("<presence from='user2@h' type='subscribe'/>", &[Event::Subscribe { user: 7, from: 2 }]);
        check("<presence from='user2@h/r' type='unavailable'/>", &[Event::Presence { user: 7 }]);
    }

    #[test]
    fn rosters_and_pushes() {
        let items = "<query xmlns='jabber:iq:roster'><item subscription='both' jid='user3@h'/>\
            <item jid='user4@h' subscription='to'><group>g</group></item></query>";
        let contacts =
            [Event::Contact { user: 7, contact: 3, both: true }, Event::Contact { user: 7, contact: 4, both: false }];
        let result = [&contacts[..], &[Event::Roster { user: 7 }]].concat();
        assert_eq!(check(&format!("<iq type='result' id='roster'>{items}</iq>"), &result), Duty::Nothing);
        let duty = check(&format!("<iq type='set' id='p1'>{items}</iq>"), &contacts);
        assert_eq!(duty, Duty::Answer { id: b"p1".to_vec(), to: None });
    }
}
