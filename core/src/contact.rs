//! A roster item as it stays in memory (RFC 6121 §2.1.2): 24 bytes and one text, for an account may
//! have thousands and a core millions of them.

use hearth_storage::{RosterItem, Subscription};
use hearth_wire::ids::{Slot, SlotKey};

const ASK: u8 = 1;
const APPROVED: u8 = 2;

/// Between groups in the text: XML has no such character.
const SEPARATOR: char = '\0';

/// One contact of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    /// Address, name, groups; lengths tell where one ends and the next begins.
    text: Box<str>,
    address_bytes: u16,
    name_bytes: u16,
    slot: Slot,
    subscription: Subscription,
    flags: u8,
}

impl Contact {
    /// Takes a stored item. Its slot is worked out once, so that no broadcast has to.
    pub fn new(item: &RosterItem, slots: &SlotKey) -> Contact {
        let name = item.name.as_deref().unwrap_or_default();
        let groups = item.groups.iter().map(|group| group.len().saturating_add(1)).sum::<usize>();
        let bytes = item.contact.len().saturating_add(name.len()).saturating_add(groups.saturating_sub(1));
        let mut text = String::with_capacity(bytes);
        text.push_str(&item.contact);
        text.push_str(name);
        for (index, group) in item.groups.iter().enumerate() {
            if index > 0 {
                text.push(SEPARATOR);
            }
            text.push_str(group);
        }
        // The limits of a roster set keep both lengths far below.
        let length = |part: &str| u16::try_from(part.len()).unwrap_or(u16::MAX);
        Contact {
            text: text.into_boxed_str(),
            address_bytes: length(&item.contact),
            name_bytes: length(name),
            slot: slots.slot(&item.contact),
            subscription: item.subscription,
            flags: if item.ask { ASK } else { 0 } | if item.approved { APPROVED } else { 0 },
        }
    }

    /// The item as it is stored.
    pub fn item(&self) -> RosterItem {
        RosterItem {
            contact: self.address().into(),
            name: self.name().map(Into::into),
            groups: self.groups().map(Into::into).collect(),
            subscription: self.subscription,
            ask: self.ask(),
            approved: self.approved(),
        }
    }

    /// The contact's prepared bare JID.
    pub fn address(&self) -> &str {
        self.text.get(..usize::from(self.address_bytes)).unwrap_or(&self.text)
    }

    /// The name the user gave; never empty.
    pub fn name(&self) -> Option<&str> {
        let start = usize::from(self.address_bytes);
        self.text.get(start..start.saturating_add(usize::from(self.name_bytes))).filter(|name| !name.is_empty())
    }

    /// The groups the user put it into.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let start = usize::from(self.address_bytes).saturating_add(usize::from(self.name_bytes));
        self.text.get(start..).unwrap_or_default().split(SEPARATOR).filter(|group| !group.is_empty())
    }

    /// Of the contact's account.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    pub fn subscription(&self) -> Subscription {
        self.subscription
    }

    /// A request of ours to this contact is under way (§2.1.2.2).
    pub fn ask(&self) -> bool {
        self.flags & ASK != 0
    }

    /// A request of the contact will be approved unasked (§3.4).
    pub fn approved(&self) -> bool {
        self.flags & APPROVED != 0
    }

    /// The contact gets our presence: `from` or `both`.
    pub fn sees_us(&self) -> bool {
        matches!(self.subscription, Subscription::From | Subscription::Both)
    }

    /// We get the contact's presence: `to` or `both`.
    pub fn seen_by_us(&self) -> bool {
        matches!(self.subscription, Subscription::To | Subscription::Both)
    }

    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_survives_being_packed() {
        let groups = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let item = RosterItem {
            contact: "grace@example.org".into(),
            name: Some("Grace 🙂".into()),
            groups: groups(&["Navy", "Yale friends"]),
            subscription: Subscription::Both,
            ask: false,
            approved: true,
        };
        for (name, groups, ask) in [
            (item.name.clone(), item.groups.clone(), false),
            (None, item.groups.clone(), true),
            (item.name.clone(), groups(&[]), true),
            (None, groups(&["x"]), false),
            (None, groups(&[]), false),
        ] {
            let item = RosterItem { name, groups, ask, approved: !ask, ..item.clone() };
            let contact = Contact::new(&item, &SlotKey([7; 16]));
            assert_eq!(contact.item(), item);
            assert_eq!(contact.slot(), SlotKey([7; 16]).slot("grace@example.org"));
        }
        assert_eq!(size_of::<Contact>(), 24);
    }
}
