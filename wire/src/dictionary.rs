//! Well-known names and namespaces by number. **Append only**: a number, once released, means its
//! text for ever, and a new entry is understood one release before it is emitted.
//!
//! Numbers 1 to 126 take one byte on the link, the rest two. What is missing here still crosses,
//! spelt out. [`number`] asks an open-addressed table that the compiler fills: a hash of the length
//! and at most sixteen bytes, then nearly always one comparison.

mod entries;

use entries::ENTRIES;

/// The number that stands for the parent's namespace.
pub const INHERIT: u16 = 0;

/// The number of the empty text: no namespace.
const EMPTY: u16 = 1;

/// Slots of the table.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 12;

/// Most entries, so that the table's chains stay short. The compiler says when it is time to double it.
const ENTRIES_MAX: usize = SLOTS / 4;

/// For each slot the number of the entry that hashes there or a little before; 0 where there is none.
static TABLE: [u16; SLOTS] = table();

/// For each number whether its text is a name.
static NAMES: [bool; ENTRIES_MAX] = names();

/// The text of a number; `None` for [`INHERIT`] and for numbers of a later release.
pub fn entry(number: u16) -> Option<&'static str> {
    if number == INHERIT { None } else { ENTRIES.get(usize::from(number)).copied() }
}

/// The number of a text, if it has one.
pub fn number(text: &str) -> Option<u16> {
    // The namespace of nearly every attribute, and the one text that is slow to compare.
    if text.is_empty() {
        return Some(EMPTY);
    }
    let mut at = slot(text.as_bytes());
    // Ends: the compiler made sure that slots stay free.
    loop {
        let number = *TABLE.get(at)?;
        if number == 0 {
            return None;
        }
        if ENTRIES.get(usize::from(number)).is_some_and(|entry| *entry == text) {
            return Some(number);
        }
        at = next(at);
    }
}

/// Whether the number's text may name an element or attribute; others name namespaces.
pub fn is_name(number: u16) -> bool {
    NAMES.get(usize::from(number)).is_some_and(|is_name| *is_name)
}

/// How many entries there are, number 0 included.
pub fn len() -> usize {
    ENTRIES.len()
}

const fn next(slot: usize) -> usize {
    (slot + 1) & (SLOTS - 1)
}

/// Where a text's chain begins. Entries are told apart by length, first and last eight bytes.
const fn slot(text: &[u8]) -> usize {
    let (head, tail) = if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
    } else if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64)
    } else if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        (u16::from_le_bytes(*head) as u64, u16::from_le_bytes(*tail) as u64)
    } else if let Some(only) = text.first() {
        (*only as u64, 0)
    } else {
        (0, 0)
    };
    let mixed = (head ^ tail.rotate_left(23) ^ text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The best mixed bits of a product are its highest.
    (mixed >> (64 - SLOT_BITS)) as u16 as usize
}

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn table() -> [u16; SLOTS] {
    assert!(ENTRIES.len() <= ENTRIES_MAX, "make the table larger");
    let mut table = [0; SLOTS];
    let mut number: u16 = 1;
    while (number as usize) < ENTRIES.len() {
        let text = ENTRIES[number as usize].as_bytes();
        let mut at = slot(text);
        while table[at] != 0 {
            assert!(!equal(ENTRIES[table[at] as usize].as_bytes(), text), "an entry twice");
            at = next(at);
        }
        table[at] = number;
        number += 1;
    }
    table
}

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn names() -> [bool; ENTRIES_MAX] {
    let mut names = [false; ENTRIES_MAX];
    let mut number = 1;
    while number < ENTRIES.len() {
        names[number] = crate::xml::is_ascii_name(ENTRIES[number].as_bytes());
        number += 1;
    }
    names
}

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::{SaslCondition, StanzaCondition, StreamCondition};

    /// Entries pinned by [`released_numbers_keep_their_text`]: raise it at each release, together with the sum.
    const PINNED: usize = 875;
    const PINNED_SUM: u64 = 4_954_856_833_606_409_034;

    #[test]
    fn released_numbers_keep_their_text() {
        // FNV-1a over the texts, each behind its length.
        let sum = ENTRIES.iter().take(PINNED).fold(0xcbf2_9ce4_8422_2325, |sum, entry| {
            let bytes = u8::try_from(entry.len()).into_iter().chain(entry.bytes());
            bytes.fold(sum, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        assert!(ENTRIES.len() >= PINNED);
        assert_eq!(sum, PINNED_SUM, "an entry that was released moved or changed: append, never reorder");
    }

    #[test]
    fn every_entry_has_its_number_and_no_other() {
        for (number_of, text) in (0..).zip(ENTRIES).skip(1) {
            assert_eq!(number(text), Some(number_of), "{text:?} twice, or lost");
            assert_eq!(entry(number_of), Some(*text));
        }
        assert_eq!(entry(INHERIT), None);
        assert_eq!(number(ENTRIES[usize::from(INHERIT)]), None);
        assert_eq!(entry(u16::try_from(len()).unwrap()), None);
        assert!(is_name(number("body").unwrap()) && !is_name(number("urn:xmpp:ping").unwrap()));
        assert!(!is_name(INHERIT) && !is_name(EMPTY) && !is_name(u16::MAX));
        for unknown in ["", "b", "bo", "bod", "bodyy", "urn:xmpp:sid:9", "http://jabber.org/protocol/muc#nothing"] {
            assert_eq!(number(unknown).is_some(), ENTRIES.contains(&unknown), "{unknown:?}");
        }
    }

    #[test]
    fn every_condition_has_a_number() {
        let stream = StreamCondition::ALL.iter().map(|condition| condition.element());
        let stanza = StanzaCondition::ALL.iter().map(|condition| condition.element());
        let sasl = SaslCondition::ALL.iter().map(|condition| condition.element());
        for name in stream.chain(stanza).chain(sasl) {
            assert!(number(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_every_message_carries_takes_one_byte() {
        for text in ["", "jabber:client", "body", "id", "urn:xmpp:sid:0", "origin-id", "stanza-id", "request", "lang"] {
            assert!(number(text).is_some_and(|number| number <= 126), "{text}");
        }
    }

    #[test]
    fn chains_are_short() {
        let mut far = Vec::new();
        for (at, number) in TABLE.iter().enumerate().filter(|(_, number)| **number != 0) {
            far.push(at.wrapping_sub(slot(ENTRIES[usize::from(*number)].as_bytes())) % SLOTS);
        }
        assert_eq!(far.len() + 1, ENTRIES.len());
        let (sum, longest) = (far.iter().sum::<usize>(), far.iter().max());
        assert!(sum * 4 < far.len() && longest < Some(&6), "{sum} further probes, at most {longest:?}");
    }
}
