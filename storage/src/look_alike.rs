//! Which names are taken by how they look (UTS #39).
//!
//! Names with more than ASCII have a row in `looks`, by their skeleton; a name of ASCII alone is found there if one of them
//! looks like it. What is of ASCII alone has no row: all there could be are made of the skeleton and looked for in the directory,
//! and are not compared with each other, for `ml` and `rn1` are names that people have.
//!
//! A build from before writes no rows, and another version of Unicode has other skeletons: `looks` in `meta` tells with which
//! version, and at which start of a core, the rows were whole. If the last start was another one, they are made anew.

use crate::store::{ChangeSet, Denied};
use crate::tables::{META_LOOKS, Table, Tables, TablesMut, directory_key, range_end};
use crate::{Change, Refusal, StoreError, limits, record};
use hearth_wire::BareJid;
use hearth_wire::ids::SlotEpoch;
use hearth_wire::look_alike::{UNICODE_VERSION, in_ascii, skeleton};

/// Start of the keys of all that look like this.
fn prefix(domain: &str, skeleton: &str) -> Vec<u8> {
    [domain.as_bytes(), &[0], skeleton.as_bytes(), &[0]].concat()
}

/// The row of an account that needs one.
fn key(account: &BareJid) -> Option<Vec<u8>> {
    let name = account.localpart().filter(|name| !name.is_ascii())?;
    let mut key = prefix(account.domainpart(), &skeleton(name));
    key.extend_from_slice(account.as_str().as_bytes());
    Some(key)
}

pub(crate) fn put(tables: &mut impl TablesMut, account: &BareJid) -> Result<(), StoreError> {
    key(account).map_or(Ok(()), |key| tables.put(Table::Looks, &key, &[]))
}

pub(crate) fn remove(tables: &mut impl TablesMut, account: &BareJid) -> Result<(), StoreError> {
    key(account).map_or(Ok(()), |key| tables.remove(Table::Looks, &key))
}

/// Whether each name of the set that must not look like another does not, as the tables are now.
pub(crate) fn check(tables: &mut impl Tables, set: &ChangeSet) -> Result<(), Denied> {
    for change in &set.changes {
        let Change::MustNotLookAlike { account } = change else { continue };
        let Some(name) = account.localpart() else { continue };
        let skeleton = skeleton(name);
        let mut found = with_more_than_ascii(tables, account, &skeleton)?;
        if found.is_none() && !name.is_ascii() {
            let Some(names) = in_ascii(&skeleton, limits::LOOK_ALIKES_MAX) else {
                return Err(Denied::Refused(Refusal::LooksLike(None)));
            };
            found = in_directory(tables, account.domainpart(), &names)?;
        }
        if found.is_some() {
            return Err(Denied::Refused(Refusal::LooksLike(found)));
        }
    }
    Ok(())
}

fn with_more_than_ascii(
    tables: &mut impl Tables,
    account: &BareJid,
    skeleton: &str,
) -> Result<Option<BareJid>, StoreError> {
    let prefix = prefix(account.domainpart(), skeleton);
    let mut found = None;
    tables.scan(Table::Looks, &prefix, &range_end(&prefix), &mut |key, _| {
        let other = address("looks", key.get(prefix.len()..).unwrap_or_default())?;
        // It is said of a name that it is taken, not that it looks like itself.
        found = Some(other).filter(|other| other != account);
        Ok(found.is_none())
    })?;
    Ok(found)
}

fn in_directory(tables: &mut impl Tables, domain: &str, names: &[String]) -> Result<Option<BareJid>, StoreError> {
    for name in names {
        // Some are no localparts, so nobody has them.
        let Ok(other) = BareJid::new(Some(name), domain) else { continue };
        if tables.get(Table::Directory, &directory_key(domain, other.as_str()))?.is_some() {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Makes all rows anew unless they are whole: at the start of a core under epoch `now`, behind that of `before`.
pub(crate) fn renew(tables: &mut impl TablesMut, before: Option<&[u8]>, now: SlotEpoch) -> Result<(), StoreError> {
    let whole_at = |epoch: SlotEpoch| record::encode(&(epoch, UNICODE_VERSION));
    let before = before.map(|bytes| record::decode("epoch", bytes)).transpose()?;
    let whole = before.map(whole_at).is_some_and(|whole| tables.get(Table::Meta, META_LOOKS) == Ok(Some(whole)));
    if !whole {
        while let page @ [_, ..] = page(tables, Table::Looks, &[])?.as_slice() {
            page.iter().try_for_each(|key| tables.remove(Table::Looks, key))?;
        }
        let mut from = Vec::new();
        while let page @ [.., last] = page(tables, Table::Directory, &from)?.as_slice() {
            for key in page {
                let account = key.rsplit(|byte| *byte == 0).next().unwrap_or_default();
                put(tables, &address("directory", account)?)?;
            }
            from = [last.as_slice(), &[0]].concat(); // The next possible key.
        }
    }
    tables.put(Table::Meta, META_LOOKS, &whole_at(now))
}

/// Some keys from `from` on: of a directory those only that are not ASCII alone.
fn page(tables: &mut impl Tables, table: Table, from: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    tables.scan(table, from, &[0xff], &mut |key, _| {
        if table != Table::Directory || !key.is_ascii() {
            keys.push(key.to_vec());
        }
        Ok(keys.len() < limits::LOOK_ALIKE_PAGE)
    })?;
    Ok(keys)
}

fn address(what: &str, bytes: &[u8]) -> Result<BareJid, StoreError> {
    let parsed = std::str::from_utf8(bytes).ok().and_then(|text| BareJid::parse(text).ok());
    parsed.ok_or_else(|| StoreError::Corrupt { what: format!("{what} key") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_stay_what_they_are() {
        let jid = |text| BareJid::parse(text).unwrap();
        assert_eq!(key(&jid("аdа@b")).unwrap(), "b\0ada\0аdа@b".as_bytes());
        assert_eq!((key(&jid("ada@b")), key(&jid("ada@bücher.example")), key(&jid("b"))), (None, None, None));
    }
}
