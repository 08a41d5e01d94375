//! The core's configuration file: read once, checked whole, passed down as plain values.

use crate::domain::{SWITCHES, Switch};
use crate::random::Random;
use hearth_storage::{Boot, Change, DomainRecord, Fresh, Storage, StoreError};
use hearth_wire::ids::SlotKey;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Most shards of one core; a shard is a thread.
pub const SHARDS_MAX: u16 = 256;

/// The file, key by key; `core.toml` shows the defaults.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the store and the sockets.
    pub data: PathBuf,
    /// Threads that own accounts.
    pub shards: u16,
    /// Domains that are created if the store does not have them; settings here win.
    pub domains: Vec<Domain>,
    /// Offer login without TLS to clients that an edge says are on loopback. For load tests.
    pub clear_login: bool,
    /// Unix socket for links, relative to `data`; empty for none.
    pub link_unix: PathBuf,
    /// TCP address for links that are not encrypted; loopback only.
    pub link_tcp: Option<SocketAddr>,
    /// TCP address for links of edges on other machines: mutual TLS, keys by `hearthctl edge add`.
    pub link_tls: Option<SocketAddr>,
    pub log: Log,
    pub storage: StorageConfig,
}

/// One domain.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Domain {
    pub name: String,
    /// [`crate::domain::SWITCHES`] that the file sets: they win over what the store has, at each start.
    #[serde(flatten, deserialize_with = "switches")]
    pub switches: BTreeMap<String, bool>,
}

impl Domain {
    /// A domain of which the file says nothing more.
    pub fn new(name: &str) -> Domain {
        Domain { name: name.to_owned(), switches: BTreeMap::new() }
    }
}

/// The keys beside a domain's name: an error names the key.
fn switches<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, bool>, D::Error> {
    let switch = |(name, value): (String, toml::Value)| match value.as_bool() {
        Some(on) => Ok((name, on)),
        None => Err(serde::de::Error::custom(format!("domains.{name} = {value}: expected true or false"))),
    };
    BTreeMap::<String, toml::Value>::deserialize(deserializer)?.into_iter().map(switch).collect()
}

/// What is logged, and how.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// The store.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Memory for recently used pages, MiB.
    pub cache_mib: usize,
    pub sync: Sync,
}

impl Default for StorageConfig {
    fn default() -> StorageConfig {
        StorageConfig { cache_mib: 4, sync: Sync::Full }
    }
}

/// When a write counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// When the disk has it.
    Full,
    /// When the operating system has it: for measuring only, a power loss loses messages.
    None,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("./hearth-data"),
            shards: 1,
            domains: vec![Domain::new("localhost")],
            clear_login: false,
            link_unix: PathBuf::from("link.sock"),
            link_tcp: None,
            link_tls: None,
            log: Log::default(),
            storage: StorageConfig::default(),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, CoreError> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            CoreError::Config(format!("{}: {cause}: give a readable file with --config", path.display()))
        })?;
        Config::parse(&text).map_err(|message| CoreError::Config(format!("{}: {message}", path.display())))
    }

    /// Checks the text of a file.
    pub fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
        config.check()?;
        Ok(config)
    }

    /// What no type can say. The message names key, value and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return Err(format!("shards = {}: expected 1 to {SHARDS_MAX}", self.shards));
        }
        if self.domains.is_empty() {
            return Err("domains = []: expected at least one [[domains]] with a name".to_owned());
        }
        for domain in &self.domains {
            let prepared = hearth_wire::jid::prepare_domainpart(&domain.name);
            if !prepared.is_ok_and(|prepared| *prepared == *domain.name) {
                return Err(format!("domains.name = {:?}: expected a domain in lower case", domain.name));
            }
            if let Some(unknown) = domain.switches.keys().find(|name| Switch::find(name).is_none()) {
                let known: Vec<&str> = SWITCHES.iter().map(|switch| switch.name).collect();
                return Err(format!("domains.{unknown} of {}: expected name, {}", domain.name, known.join(", ")));
            }
        }
        if let Some(address) = self.link_tcp.filter(|address| !address.ip().is_loopback()) {
            return Err(format!(
                "link_tcp = \"{address}\": expected a loopback address, for it is not encrypted: use link_tls"
            ));
        }
        if self.link_unix.as_os_str().is_empty() && self.link_tcp.is_none() && self.link_tls.is_none() {
            return Err("link_unix = \"\" without link_tcp or link_tls: expected a way for edges to connect".to_owned());
        }
        if !crate::logging::LEVELS.contains(&self.log.level.as_str()) {
            return Err(format!("log.level = {:?}: expected error, warn, info, debug or trace", self.log.level));
        }
        if !(1..=65_536).contains(&self.storage.cache_mib) {
            return Err(format!("storage.cache_mib = {}: expected 1 to 65536", self.storage.cache_mib));
        }
        Ok(())
    }

    /// Where edges on this machine connect.
    pub fn link_unix(&self) -> Option<PathBuf> {
        (!self.link_unix.as_os_str().is_empty()).then(|| self.data.join(&self.link_unix))
    }

    /// The key by which edges know this core; made at first use.
    pub(crate) fn link_key(&self) -> PathBuf {
        self.data.join("link.key")
    }

    /// Where `hearthctl` connects.
    pub fn control(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// The domains at a start: those of the store, those of the file that it did not have yet, and
    /// the switches that the file sets. Whatever differs from the store is a change.
    pub(crate) fn domain_records(&self, mut records: Vec<DomainRecord>) -> (Vec<DomainRecord>, Vec<Change>) {
        let mut changes = Vec::new();
        for domain in &self.domains {
            let stored = records.iter().position(|record| record.domain == domain.name);
            let mut record = match stored {
                Some(at) => records.swap_remove(at),
                None => DomainRecord::new(domain.name.clone()),
            };
            let before = record.clone();
            domain.switches.iter().for_each(|(name, on)| record.set(name, *on));
            if stored.is_none() || record != before {
                changes.push(Change::PutDomain { domain: record.clone() });
            }
            records.push(record);
        }
        (records, changes)
    }

    /// Opens the store, creating the folder for its owner alone.
    pub(crate) fn storage(&self, random: &mut dyn Random) -> Result<(Storage, Boot), StoreError> {
        let mut fresh = Fresh { slot_key: SlotKey([0; 16]), secret: [0; 32], store_id: [0; 16] };
        random.fill_bytes(&mut fresh.slot_key.0);
        random.fill_bytes(&mut fresh.secret);
        random.fill_bytes(&mut fresh.store_id);
        let mut store = hearth_storage::StorageConfig::new(&self.data, fresh);
        store.redb.cache_bytes = self.storage.cache_mib.saturating_mul(1024 * 1024);
        store.disk.sync = match self.storage.sync {
            Sync::Full => hearth_storage::Sync::Full,
            Sync::None => hearth_storage::Sync::None,
        };
        Storage::open(&store)
    }
}

/// Why a core does not run.
#[derive(Debug)]
pub enum CoreError {
    Config(String),
    Storage {
        path: PathBuf,
        cause: StoreError,
    },
    Listen {
        address: String,
        cause: std::io::Error,
    },
    /// The key for links over TLS.
    Key(String),
    Os {
        doing: &'static str,
        cause: std::io::Error,
    },
}

impl CoreError {
    pub(crate) fn os(doing: &'static str, cause: std::io::Error) -> CoreError {
        CoreError::Os { doing, cause }
    }

    /// Distinct per kind; 2 is wrong usage, as argh has it.
    pub fn exit_code(&self) -> u8 {
        match self {
            CoreError::Config(_) => 3,
            CoreError::Listen { .. } => 4,
            CoreError::Storage { .. } => 5,
            CoreError::Os { .. } => 6,
            CoreError::Key(_) => 7,
        }
    }
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreError::Config(message) | CoreError::Key(message) => f.write_str(message),
            CoreError::Storage { path, cause } => write!(f, "store in {}: {cause}", path.display()),
            CoreError::Listen { address, cause } => write!(f, "listen on {address}: {cause}"),
            CoreError::Os { doing, cause } => write!(f, "{doing}: {cause}"),
        }
    }
}

impl std::error::Error for CoreError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_default() {
        assert_eq!(Config::parse(include_str!("../core.toml")).unwrap(), Config::default());
    }

    /// What the file says wins, what it is silent about stays as the operator left it.
    #[test]
    fn domains_of_the_file_and_of_the_store() {
        let text = "[[domains]]\nname = \"a.example\"\nregistration = true\n[[domains]]\nname = \"b.example\"";
        let config = Config::parse(text).unwrap();
        let mut stored = [DomainRecord::new("a.example"), DomainRecord::new("c.example")];
        stored[0].set("registration", false);
        stored[0].set("log_off", true);
        let (records, changes) = config.domain_records(stored.to_vec());
        let [.., a, b] = &records[..] else { panic!("{records:?}") };
        assert_eq!((a.switch("registration"), a.switch("log_off")), (Some(true), Some(true)));
        assert_eq!((records.len(), b), (3, &DomainRecord::new("b.example")));
        assert_eq!(changes, [a, b].map(|domain| Change::PutDomain { domain: domain.clone() }));
        assert_eq!(config.domain_records(records).1, []);
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |text: &str| Config::parse(text).unwrap_err();
        assert!(wrong("shards = 0").contains("shards = 0"));
        assert!(wrong("link_tcp = \"192.0.2.1:1\"").contains("loopback"));
        assert!(wrong("colour = 1").contains("colour"));
        assert!(wrong("[[domains]]\nname = \"EXAMPLE.org\"").contains("EXAMPLE.org"));
        let switch = wrong("[[domains]]\nname = \"a.example\"\nregistrations = true");
        assert!(switch.contains("registrations of a.example: expected name, log_off, registration"), "{switch}");
        assert!(
            wrong("[[domains]]\nname = \"a.example\"\nregistration = 1")
                .contains("domains.registration = 1: expected true")
        );
        assert!(wrong("[log]\nlevel = \"loud\"").contains("loud"));
    }
}
