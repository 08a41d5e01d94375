//! Records of the tables: a version byte, then a postcard struct. A published version never
//! changes: a new shape is a new version, and the old one stays readable.
//!
//! ```text
//!  ┌─────────┬──────────────────────────┐
//!  │ version │ postcard struct of kind  │     what the key says is not repeated in the record
//!  └─────────┴──────────────────────────┘
//! ```

use crate::{BareJidText, Executed, ExecutedStanza, RosterItem, StoreError, StoredRequest, Subscription};
use hearth_wire::ids::StreamId;
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

/// [`Executed`] without its stream, which is in the key.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ExecutedRecord {
    credentials: Option<u64>,
    stanzas: Vec<ExecutedStanza>,
}

impl ExecutedRecord {
    pub(crate) fn of(executed: &Executed) -> ExecutedRecord {
        ExecutedRecord { credentials: executed.credentials, stanzas: executed.stanzas.clone() }
    }

    pub(crate) fn with(self, stream: StreamId) -> Executed {
        Executed { stream, credentials: self.credentials, stanzas: self.stanzas }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceRecord;
    use crate::{Contacts, Device, ParkedRecord, RegistrationRules, SessionRecord, TOKEN_BYTES, Token, TokenBinding};
    use crate::{
        Credentials, Disabled, DomainRecord, EdgeRecord, EdgeRun, LastSeen, Listing, LogId, LogMarks, ScramKeys,
        Settled,
    };
    use hearth_wire::ids::{Generation, StreamId};
    use proptest::prelude::*;

    fn check<T: Serialize + for<'a> Deserialize<'a>>(value: &T, expected: &str) {
        let bytes = encode(value);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected, "the stored form has changed: that needs a new version");
        let read: T = decode("test", &bytes).unwrap();
        assert_eq!(encode(&read), bytes);
        let later = [&[RECORD_VERSION + 1], &bytes[1..]].concat();
        assert_eq!(decode::<T>("test", &later).err(), Some(StoreError::UnknownVersion { found: 2, known: 1 }));
        for short in 0..bytes.len() {
            assert!(decode::<T>("test", &bytes[..short]).is_err());
        }
        assert!(decode::<T>("test", &[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn stored_bytes_stay_what_they_are() {
        let keys = |byte| ScramKeys {
            iterations: 10_000,
            salt: vec![byte; 2],
            stored_key: vec![byte + 1; 3],
            server_key: vec![byte + 2; 3],
        };
        let item = RosterItem {
            contact: "in the key".into(),
            name: Some("Ada".into()),
            groups: vec!["x".into(), "yz".into()],
            subscription: Subscription::From,
            ask: true,
            approved: false,
        };
        let request = StoredRequest { contact: "in the key".into(), stanza: vec![9, 8], received_ms: 300 };
        check(&AccountRecord { born_at: 300 }, "01ac02");
        check(
            &Credentials { generation: 2, sha1: keys(1), sha256: keys(4), sha512: keys(7) },
            "0102904e0201010302020203030303904e0204040305050503060606904e0207070308080803090909",
        );
        check(&300u64, "01ac02");
        check(&LogMarks { low_water: LogId(5), undelivered: vec![LogId(1), LogId(300)] }, "01050201ac02");
        check(&LastSeen { at_ms: 300, status: None }, "01ac0200");
        check(&Disabled { since_ms: 300, reason: Some("Spam".into()) }, "01ac0201045370616d");
        check(&LastSeen { at_ms: 300, status: Some("Bye".into()) }, "01ac020103427965");
        check(&RosterItemRecord::of(&item), "01010341646102017802797a020100");
        check(&RequestRecord::of(&request), "01ac02020908");
        let stanzas = vec![ExecutedStanza { number: 300, hash: [1, 2, 3, 4] }];
        let mut executed = Executed { stream: StreamId([9; 16]), credentials: None, stanzas };
        check(&ExecutedRecord::of(&executed), "010001ac0201020304");
        executed.credentials = Some(300);
        check(&ExecutedRecord::of(&executed), "0101ac0201ac0201020304");
        let token = Token {
            secret: [7; TOKEN_BYTES],
            binding: TokenBinding::EndPoint,
            issued_ms: 300,
            expires_ms: 0,
            count: 1,
            credentials: 2,
        };
        let device = Device {
            id: [9; 16],
            software: Some("Pen".into()),
            name: None,
            used_ms: 300,
            current: None,
            new: Some(token),
        };
        check(
            &DeviceRecord::of(&device),
            "01010350656e00ac020001070707070707070707070707070707070707070707070707070707070707070701ac02000102",
        );
        check(&BlobRecord { bytes: vec![1, 2, 3] }, "0103010203");
        let listing = Listing { first: Some("a".into()), nick: Some("bc".into()), ..Listing::default() };
        check(&listing, "01010161000102626300");
        check(
            &StoreRecord { slot_key: [1; 16], secret: [2; 32], store_id: [3; 16] },
            "0101010101010101010101010101010101020202020202020202020202020202020202020202020202020202020202020203030303030303030303030303030303",
        );
        let mut domain = DomainRecord::new("a.b");
        check(&domain, "0103612e62000000000000000000000000");
        domain.set("y", false);
        domain.set("x", false);
        domain.set("x", true);
        let edge = EdgeRecord { name: "a".to_owned(), key: vec![7, 8], added_ms: 300, revoked_ms: Some(1) };
        check(&edge, "010161020708ac020101");
        let session = SessionRecord {
            stream: StreamId([1; 16]),
            generation: Generation { epoch: 2, counter: 300 },
            contents: vec![8, 9],
            parked: None,
        };
        check(&session, "010101010101010101010101010101010102ac0202080900");
        let unwritten = vec![(6, LogId(300))];
        let parked = Some(ParkedRecord { until_ms: 300, settled: 4, entry: 7, written: 5, unwritten, log: LogId(9) });
        check(
            &SessionRecord { parked, ..session },
            "010101010101010101010101010101010102ac0202080901ac020407050106ac0209",
        );
        check(&Settled { epoch: 300, shards: 2 }, "01ac0202");
        check(&EdgeRun { edge: "a".to_owned(), incarnation: 300, event_loops: 2 }, "010161ac0202");
        check(&domain, "0103612e62020178010179000000000000000000000000");
        let rules = RegistrationRules {
            per_address: Some(3),
            per_hour: Some(300),
            password_chars_min: Some(8),
            reserved: Some(vec!["x".to_owned()]),
        };
        let contacts = Contacts { admin: vec!["xmpp:a@b".to_owned()], ..Contacts::default() };
        let full = DomainRecord { registration_rules: rules, contacts, ..DomainRecord::new("a.b") };
        check(&full, "0103612e6200010301ac02010801010178000108786d70703a6140620000000000");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn arbitrary_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            for _ in 0..2 {
                let _ = decode::<AccountRecord>("test", &bytes);
                let _ = decode::<Credentials>("test", &bytes);
                let _ = decode::<u64>("test", &bytes);
                let _ = decode::<LogMarks>("test", &bytes);
                let _ = decode::<LastSeen>("test", &bytes);
                let _ = decode::<Disabled>("test", &bytes);
                let _ = decode::<RosterItemRecord>("test", &bytes);
                let _ = decode::<RequestRecord>("test", &bytes);
                let _ = decode::<ExecutedRecord>("test", &bytes);
                let _ = decode::<DeviceRecord>("test", &bytes);
                let _ = decode::<BlobRecord>("test", &bytes);
                let _ = decode::<StoreRecord>("test", &bytes);
                let _ = decode::<DomainRecord>("test", &bytes);
                let _ = decode::<Listing>("test", &bytes);
                let _ = decode::<EdgeRecord>("test", &bytes);
                let _ = decode::<EdgeRun>("test", &bytes);
                let _ = decode::<SessionRecord>("test", &bytes);
                bytes.insert(0, RECORD_VERSION);
            }
        }
    }
}
