//! The accounts in memory of one shard: by index, and by address without storing it twice.

use crate::account::{Account, AccountKey};
use crate::slab::Slab;
use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::HashTable;
use hearth_wire::ids::Slot;
use std::hash::BuildHasher;

pub struct Accounts {
    slab: Slab<Box<Account>>,
    by_jid: HashTable<u32>,
    hasher: SeedableRandomState,
    /// Where the next sweep begins.
    cursor: u32,
}

impl Accounts {
    /// `seed` keeps clients from choosing names that collide.
    pub fn new(seed: u64) -> Accounts {
        Accounts {
            slab: Slab::default(),
            by_jid: HashTable::new(),
            hasher: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            cursor: 0,
        }
    }

    /// The account with this prepared bare address.
    pub fn find(&self, jid: &str) -> Option<AccountKey> {
        let hash = self.hasher.hash_one(jid);
        self.by_jid
            .find(hash, |index| self.slab.get(*index).is_some_and(|account| account.jid.as_str() == jid))
            .map(|index| AccountKey(*index))
    }

    /// Adds an account that is not there yet.
    pub fn insert(&mut self, account: Account) -> AccountKey {
        debug_assert!(self.find(account.jid.as_str()).is_none());
        let hash = self.hasher.hash_one(account.jid.as_str());
        let index = self.slab.insert(Box::new(account));
        let (slab, hasher) = (&self.slab, &self.hasher);
        self.by_jid.insert_unique(hash, index, |index| {
            slab.get(*index).map_or(0, |account| hasher.hash_one(account.jid.as_str()))
        });
        AccountKey(index)
    }

    pub fn get(&self, key: AccountKey) -> Option<&Account> {
        self.slab.get(key.0).map(Box::as_ref)
    }

    pub fn get_mut(&mut self, key: AccountKey) -> Option<&mut Account> {
        self.slab.get_mut(key.0).map(Box::as_mut)
    }

    pub fn remove(&mut self, key: AccountKey) -> Option<Account> {
        self.unlist(key);
        self.slab.remove(key.0).map(|account| *account)
    }

    /// Its address names it no more; whoever has the key still finds it.
    pub fn unlist(&mut self, key: AccountKey) {
        let Some(account) = self.slab.get(key.0) else { return };
        let hash = self.hasher.hash_one(account.jid.as_str());
        if let Ok(entry) = self.by_jid.find_entry(hash, |index| *index == key.0) {
            entry.remove();
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.slab.iter().map(|(_, account)| account.as_ref())
    }

    /// The accounts of a slot, a walk over all: for moves, which are rare.
    pub fn of_slot(&self, slot: Slot) -> Vec<AccountKey> {
        let here = |account: &Account| account.slot == slot && account.moved.is_none() && !account.gone;
        self.slab.iter().filter(|(_, account)| here(account)).map(|(index, _)| AccountKey(index)).collect()
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// How many are of a domain.
    pub fn of_domain(&self, domain: &str) -> usize {
        self.slab.iter().filter(|(_, account)| account.jid.domainpart() == domain).count()
    }

    /// The next accounts to look at, at most `most`, and whether they were the last; each call goes on where the one
    /// before ended, or begins anew.
    pub fn sweep(&mut self, most: usize) -> (Vec<AccountKey>, bool) {
        let end = self.slab.end();
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(end);
        let start = if self.cursor >= end || most == end { 0 } else { self.cursor };
        self.cursor = start.saturating_add(most);
        let keys = (start..self.cursor.min(end)).filter(|index| self.slab.get(*index).is_some()).map(AccountKey);
        (keys.collect(), self.cursor >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_wire::BareJid;

    #[test]
    fn found_until_removed() {
        let mut accounts = Accounts::new(1);
        let slot = Slot::new(0).unwrap();
        let jid = |i: usize| BareJid::parse(&format!("user{i}@x")).unwrap();
        let keys: Vec<_> = (0..100).map(|i| accounts.insert(Account::loading(jid(i), slot))).collect();
        assert_eq!(accounts.find("user7@x"), Some(keys[7]));
        assert!(accounts.remove(keys[7]).is_some());
        assert!(accounts.remove(keys[7]).is_none());
        assert_eq!(accounts.find("user7@x"), None);
        assert_eq!(accounts.find("user8@x"), Some(keys[8]));
        assert_eq!(accounts.insert(Account::loading(jid(7), slot)), keys[7]);
        accounts.unlist(keys[7]);
        assert_eq!((accounts.find("user7@x"), accounts.get(keys[7]).is_some()), (None, true));
        let swept: usize = (0..10).map(|_| accounts.sweep(10).0.len()).sum();
        assert_eq!((swept, accounts.len()), (100, 100));
    }
}
