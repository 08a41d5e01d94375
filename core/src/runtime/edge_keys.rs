//! Edges that may link over TLS, as the acceptor needs them: which key is whose. The store has the same list.

#![expect(clippy::disallowed_types, reason = "shared by the acceptor and operators' threads; no shard sees it")]

use hearth_link::PublicKey;
use hearth_link::tls::{Keyring, Standing};
use hearth_storage::EdgeRecord;
use std::sync::{PoisonError, RwLock};

/// See the module.
pub(crate) struct EdgeKeys(RwLock<Vec<EdgeRecord>>);

impl EdgeKeys {
    pub(crate) fn new(records: Vec<EdgeRecord>) -> EdgeKeys {
        EdgeKeys(RwLock::new(records))
    }

    /// Adds an edge, or replaces what is known of its name.
    pub(crate) fn put(&self, record: EdgeRecord) {
        let mut records = self.0.write().unwrap_or_else(PoisonError::into_inner);
        records.retain(|known| known.name != record.name);
        records.push(record);
        records.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<EdgeRecord> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn get(&self, name: &str) -> Option<EdgeRecord> {
        self.all().into_iter().find(|record| record.name == name)
    }

    /// Acts with the name of a key if it is good; no key is revoked meanwhile, so whoever revokes one and then
    /// tells the shards reaches every link that was let in with it.
    pub(crate) fn admit(&self, key: &PublicKey, act: impl FnOnce(&str)) -> bool {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match records.iter().find(|record| record.key == key.der() && record.revoked_ms.is_none()) {
            Some(record) => {
                act(&record.name);
                true
            }
            None => false,
        }
    }
}

impl Keyring for EdgeKeys {
    fn standing(&self, key: &PublicKey) -> Standing {
        let records = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match records.iter().find(|record| record.key == key.der()) {
            None => {
                tracing::warn!(event = "link_refused", reason = "unknown key", key = key.fingerprint());
                Standing::Unknown
            }
            Some(EdgeRecord { name, revoked_ms: None, .. }) => Standing::Known(name.clone()),
            Some(EdgeRecord { name, revoked_ms: Some(_), .. }) => {
                tracing::warn!(event = "link_refused", reason = "revoked key", edge = name);
                Standing::Revoked(name.clone())
            }
        }
    }
}
