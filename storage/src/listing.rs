//! Who may be found by name: what people list of themselves, and the index that finds it by the
//! beginning of any of its fields.

use crate::record;
use crate::tables::{Table, Tables, TablesMut};
use crate::{StoreError, limits};
use hearth_wire::BareJid;
use serde::{Deserialize, Serialize};

/// What can be searched by (XEP-0055); the number is stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ListedField {
    /// Given name.
    First = 1,
    /// Family name.
    Last = 2,
    Nick = 3,
    Email = 4,
}

impl ListedField {
    pub const ALL: [ListedField; 4] = [ListedField::First, ListedField::Last, ListedField::Nick, ListedField::Email];
}

/// What somebody lets be found of herself, as it is shown; at most
/// [`limits::LISTED_FIELD_BYTES_MAX`] each.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Listing {
    pub first: Option<Box<str>>,
    pub last: Option<Box<str>>,
    pub nick: Option<Box<str>>,
    pub email: Option<Box<str>>,
}

impl Listing {
    pub fn get(&self, field: ListedField) -> Option<&str> {
        match field {
            ListedField::First => self.first.as_deref(),
            ListedField::Last => self.last.as_deref(),
            ListedField::Nick => self.nick.as_deref(),
            ListedField::Email => self.email.as_deref(),
        }
    }

    /// Whether there is anything to find it by.
    pub fn is_empty(&self) -> bool {
        ListedField::ALL.iter().all(|field| self.folded(*field).is_none())
    }

    fn folded(&self, field: ListedField) -> Option<String> {
        self.get(field).map(fold).filter(|folded| !folded.is_empty())
    }

    fn begins_with(&self, (field, folded): &(ListedField, String)) -> bool {
        self.folded(*field).is_some_and(|value| value.starts_with(folded.as_str()))
    }

    /// Bytes of its longest field.
    pub(crate) fn longest(&self) -> usize {
        ListedField::ALL.iter().filter_map(|field| self.get(*field)).map(str::len).max().unwrap_or(0)
    }
}

/// What is compared: lower case, words one space apart, no control characters.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !folded.is_empty() {
            folded.push(' ');
        }
        folded.push_str(&word.to_lowercase());
    }
    folded
}

/// A question to the index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    pub domain: String,
    /// How fields begin, whatever the case; all must fit. One without a letter counts for nothing, and
    /// without any that does nobody is found.
    pub terms: Vec<(ListedField, String)>,
    /// Goes on behind this account.
    pub after: Option<BareJid>,
    /// At most [`limits::FOUND_MAX`] are found.
    pub limit: u32,
}

/// Who was found, in an order that stays the same for the same terms; fewer than there are where more
/// than [`limits::SEARCH_KEYS_MAX`] entries begin as the longest term does. `None`: the account to go on
/// behind is not, or no longer, among them.
pub type Found = Option<Vec<(BareJid, Listing)>>;

/// Start of all keys of a domain's listings: the listings themselves, or the index by a field.
fn prefix(domain: &str, field: Option<ListedField>) -> Vec<u8> {
    let mut key = Vec::with_capacity(domain.len().saturating_add(64));
    key.extend_from_slice(domain.as_bytes());
    key.extend_from_slice(&[0, field.map_or(0, |field| field as u8)]);
    key
}

pub(crate) fn listing_key(account: &BareJid) -> Vec<u8> {
    let mut key = prefix(account.domainpart(), None);
    key.extend_from_slice(account.as_str().as_bytes());
    key
}

/// `folded` holds no 00.
pub(crate) fn index_key(account: &BareJid, field: ListedField, folded: &str) -> Vec<u8> {
    let mut key = prefix(account.domainpart(), Some(field));
    key.extend_from_slice(folded.as_bytes());
    key.push(0);
    key.extend_from_slice(account.as_str().as_bytes());
    key
}

fn index_keys(account: &BareJid, listing: &Listing) -> impl Iterator<Item = Vec<u8>> {
    let key = |field| Some(index_key(account, field, &listing.folded(field)?));
    ListedField::ALL.into_iter().filter_map(key)
}

fn load(tables: &mut impl Tables, account: &BareJid) -> Result<Option<Listing>, StoreError> {
    match tables.get(Table::Listings, &listing_key(account))? {
        Some(bytes) => record::decode("listing", &bytes).map(Some),
        None => Ok(None),
    }
}

/// Replaces what an account lists.
pub(crate) fn put(tables: &mut impl TablesMut, account: &BareJid, listing: &Listing) -> Result<(), StoreError> {
    remove(tables, account)?;
    let bytes = record::encode(listing);
    tables.put(Table::Listings, &listing_key(account), &bytes)?;
    index_keys(account, listing).try_for_each(|key| tables.put(Table::Listings, &key, &bytes))
}

/// Takes an account's listing out of every index.
pub(crate) fn remove(tables: &mut impl TablesMut, account: &BareJid) -> Result<(), StoreError> {
    let Some(listing) = load(tables, account)? else { return Ok(()) };
    tables.remove(Table::Listings, &listing_key(account))?;
    index_keys(account, &listing).try_for_each(|key| tables.remove(Table::Listings, &key))
}

/// Walks the index of the longest term, the first of equals, and keeps what fits the others.
pub(crate) fn search(tables: &mut impl Tables, search: &Search) -> Result<Found, StoreError> {
    let folded = search.terms.iter().map(|(field, text)| (*field, fold(text)));
    let mut terms: Vec<(ListedField, String)> = folded.filter(|(_, text)| !text.is_empty()).collect();
    terms.sort_by_key(|(field, text)| (std::cmp::Reverse(text.len()), *field));
    let limit = usize::try_from(search.limit.min(limits::FOUND_MAX)).unwrap_or(usize::MAX);
    let Some((field, text)) = terms.first() else { return Ok(Some(Vec::new())) };
    let mut from = prefix(&search.domain, Some(*field));
    from.extend_from_slice(text.as_bytes());
    let to = behind(&from);
    if let Some(after) = &search.after {
        if after.domainpart() != search.domain {
            return Ok(None);
        }
        let Some(listing) = load(tables, after)?.filter(|listing| terms.iter().all(|term| listing.begins_with(term)))
        else {
            return Ok(None);
        };
        from = index_key(after, *field, &listing.folded(*field).unwrap_or_default());
        from.push(0); // The next possible key.
    }
    let mut found = Vec::new();
    let mut keys: u32 = 0;
    if limit == 0 {
        return Ok(Some(found));
    }
    tables.scan(Table::Listings, &from, &to, &mut |key, value| {
        keys = keys.saturating_add(1);
        let listing: Listing = record::decode("listing", value)?;
        if terms.iter().all(|term| listing.begins_with(term)) {
            found.push((account_of(key)?, listing));
        }
        Ok(found.len() < limit && keys < limits::SEARCH_KEYS_MAX)
    })?;
    Ok(Some(found))
}

/// End of the range of all keys that begin so.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1); // No byte of UTF-8 is ff.
    }
    end
}

fn account_of(key: &[u8]) -> Result<BareJid, StoreError> {
    let account = key.rsplit(|byte| *byte == 0).next().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let parsed = account.and_then(|account| BareJid::parse(account).ok());
    parsed.ok_or_else(|| StoreError::Corrupt { what: "listing key".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared() {
        for (text, folded) in [
            ("Ada", "ada"),
            ("  Ada\t King \n", "ada king"),
            ("ÉMILIE", "émilie"),
            ("a\0b\u{7f}", "a b"),
            (" \0 ", ""),
            ("Ada@Example.ORG", "ada@example.org"),
        ] {
            assert_eq!(fold(text), folded, "{text:?}");
        }
    }

    #[test]
    fn stored_keys_stay_what_they_are() {
        let account = BareJid::parse("a@b").unwrap();
        assert_eq!(listing_key(&account), b"b\x00\x00a@b");
        for (field, key) in ListedField::ALL.into_iter().zip([
            &b"b\x00\x01x y\x00a@b"[..],
            b"b\x00\x02x y\x00a@b",
            b"b\x00\x03x y\x00a@b",
            b"b\x00\x04x y\x00a@b",
        ]) {
            assert_eq!(index_key(&account, field, "x y"), key);
            assert_eq!(account_of(key).unwrap(), account);
        }
        assert_eq!(behind("é".as_bytes()), b"\xc3\xaa");
    }
}
