//! Records of the tables: a version byte, then a postcard struct. A published version never
//! changes: a new shape is a new version, and the old one stays readable.
//!
//! ```text
//!  ┌─────────┬──────────────────────────┐
//!  │ version │ postcard struct of kind  │     what the key says is not repeated in the record
//!  └─────────┴──────────────────────────┘
//! ```

use crate::{BareJidText, RosterItem, StoreError, StoredRequest, Subscription};
use serde::{Deserialize, Serialize};

/// The version this build writes, of every kind of record.
pub(crate) const RECORD_VERSION: u8 = 1;

/// That an account exists, and where its log begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AccountRecord {
    pub(crate) born_at: u64,
}

/// [`RosterItem`] without its contact, which is in the key.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct RosterItemRecord {
    name: Option<Box<str>>,
    groups: Vec<Box<str>>,
    subscription: Subscription,
    ask: bool,
    approved: bool,
}

impl RosterItemRecord {
    pub(crate) fn of(item: &RosterItem) -> RosterItemRecord {
        RosterItemRecord {
            name: item.name.clone(),
            groups: item.groups.clone(),
            subscription: item.subscription,
            ask: item.ask,
            approved: item.approved,
        }
    }

    pub(crate) fn with(self, contact: BareJidText) -> RosterItem {
        let RosterItemRecord { name, groups, subscription, ask, approved } = self;
        RosterItem { contact, name, groups, subscription, ask, approved }
    }
}

/// [`StoredRequest`] without its contact, which is in the key.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct RequestRecord {
    received_ms: u64,
    #[serde(with = "serde_bytes")]
    stanza: Vec<u8>,
}

impl RequestRecord {
    pub(crate) fn of(request: &StoredRequest) -> RequestRecord {
        RequestRecord { received_ms: request.received_ms, stanza: request.stanza.clone() }
    }

    pub(crate) fn with(self, contact: BareJidText) -> StoredRequest {
        StoredRequest { contact, stanza: self.stanza, received_ms: self.received_ms }
    }
}

/// A blob, as it was given.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    #[serde(with = "serde_bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// What was made when the store was created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoreRecord {
    pub(crate) slot_key: [u8; 16],
    pub(crate) secret: [u8; 32],
    pub(crate) store_id: [u8; 16],
}

/// The bytes to store.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // Writing our own structs into memory has no failure: no maps of unknown length, no I/O.
    let written = postcard::to_extend(record, vec![RECORD_VERSION]);
    debug_assert!(written.is_ok());
    written.unwrap_or_default()
}

/// Reads a record; `what` names its kind for the operator. Any bytes are allowed.
pub(crate) fn decode<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&RECORD_VERSION, body)) => match postcard::take_from_bytes(body) {
            Ok((record, [])) => Ok(record),
            Ok(_) | Err(_) => Err(StoreError::Corrupt { what: format!("{what} record") }),
        },
        Some((&found, _)) if found > RECORD_VERSION => {
            Err(StoreError::UnknownVersion { found: u32::from(found), known: u32::from(RECORD_VERSION) })
        }
        Some(_) | None => Err(StoreError::Corrupt { what: format!("{what} record") }),
    }
}
