//! The core's configuration file: read once, checked whole, passed down as plain values.

use crate::domain::{SWITCHES, Switch};
use crate::random::Random;
use crate::{limits, server_info};
use hearth_storage::{Boot, Change, Contacts, DomainRecord, Fresh, Storage, StoreError};
use hearth_wire::ids::SlotKey;
use hearth_wire::jid;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file in the data folder with the key by which edges know this core.
pub(crate) const LINK_KEY: &str = "link.key";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

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
    /// Where figures are served (OpenMetrics, HTTP); `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How long a stopping core waits for its clients' streams to end, at most, seconds.
    pub drain_s: u32,
    /// How long a client may go on with a token in the place of a password (XEP-0484), days.
    pub token_days: u32,
    pub log: Log,
    pub storage: StorageConfig,
}

/// One domain.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Domain {
    pub name: String,
    /// [`crate::domain::SWITCHES`] that the file sets: they win over what the store has, at each start and
    /// SIGHUP, as does all else that stands here.
    #[serde(flatten, deserialize_with = "switches")]
    pub switches: BTreeMap<String, bool>,
    /// Accounts made in-band per hour: from one address, from everywhere.
    pub registrations_per_address: Option<u32>,
    pub registrations_per_hour: Option<u32>,
    /// Characters of passwords that users choose in-band, at least.
    pub password_chars_min: Option<u32>,
    /// Localparts that nobody may register in-band.
    pub reserved_names: Option<Vec<String>>,
    /// Addresses of those who run the domain, as URIs (XEP-0157).
    pub contacts: Option<Contacts>,
}

impl Domain {
    /// A domain of which the file says nothing more.
    pub fn new(name: &str) -> Domain {
        Domain {
            name: name.to_owned(),
            switches: BTreeMap::new(),
            registrations_per_address: None,
            registrations_per_hour: None,
            password_chars_min: None,
            reserved_names: None,
            contacts: None,
        }
    }

    /// What no type can say.
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if !jid::prepare_domainpart(name).is_ok_and(|prepared| *prepared == **name) {
            return Err(format!("domains.name = {name:?}: expected a domain in lower case"));
        }
        if let Some(unknown) = self.switches.keys().find(|name| Switch::find(name).is_none()) {
            let known: Vec<&str> = SWITCHES.iter().map(|switch| switch.name).collect();
            let options =
                "registrations_per_address, registrations_per_hour, password_chars_min, reserved_names, contacts";
            return Err(format!("domains.{unknown} of {name}: expected name, {}, {options}", known.join(", ")));
        }
        let most = limits::PASSWORD_CHARS_MIN_MAX;
        if let Some(found) = self.password_chars_min.filter(|chars| !(1..=most).contains(chars)) {
            return Err(format!("domains.password_chars_min = {found} of {name}: expected 1 to {most}"));
        }
        let reserved = self.reserved_names.as_deref().unwrap_or_default();
        if reserved.len() > limits::RESERVED_NAMES_MAX {
            let most = limits::RESERVED_NAMES_MAX;
            return Err(format!("domains.reserved_names of {name}: expected at most {most} names"));
        }
        for reserved in reserved {
            if !jid::prepare_localpart(reserved).is_ok_and(|prepared| *prepared == **reserved) {
                return Err(format!("domains.reserved_names: {reserved:?} of {name}: expected a name in lower case"));
            }
        }
        server_info::check(&self.contacts.clone().unwrap_or_default()).map_err(|why| format!("domains.contacts.{why}"))
    }

    /// Makes the stored domain what the file says, where it says something.
    pub(crate) fn apply(&self, record: &mut DomainRecord) {
        self.switches.iter().for_each(|(name, on)| record.set(name, *on));
        let rules = &mut record.registration_rules;
        rules.per_address = self.registrations_per_address.or(rules.per_address);
        rules.per_hour = self.registrations_per_hour.or(rules.per_hour);
        rules.password_chars_min = self.password_chars_min.or(rules.password_chars_min);
        if let Some(reserved) = &self.reserved_names {
            rules.reserved = Some(reserved.clone());
        }
        if let Some(contacts) = &self.contacts {
            record.contacts = contacts.clone();
        }
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
            metrics: None,
            drain_s: 10,
            token_days: u32::try_from(limits::TOKEN_MS / DAY_MS).unwrap_or(1),
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
            domain.check()?;
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
        if !(1..=3_600).contains(&self.drain_s) {
            return Err(format!("drain_s = {}: expected 1 to 3600", self.drain_s));
        }
        let most = limits::TOKEN_DAYS_MAX;
        if !(1..=most).contains(&self.token_days) {
            return Err(format!("token_days = {}: expected 1 to {most}", self.token_days));
        }
        if !(1..=65_536).contains(&self.storage.cache_mib) {
            return Err(format!("storage.cache_mib = {}: expected 1 to 65536", self.storage.cache_mib));
        }
        Ok(())
    }

    /// Keys in which `new` differs that only a restart changes, each with the old and the new value.
    pub(crate) fn fixed_keys_changed(&self, new: &Config) -> Vec<(&'static str, String, String)> {
        let address = |address: &Option<SocketAddr>| address.map_or_else(|| "none".to_owned(), |it| it.to_string());
        let fixed = |config: &Config| {
            let Config { data, shards, link_unix, link_tcp, link_tls, metrics, token_days, log, storage, .. } = config;
            [
                ("data", data.display().to_string()),
                ("shards", shards.to_string()),
                ("link_unix", link_unix.display().to_string()),
                ("link_tcp", address(link_tcp)),
                ("link_tls", address(link_tls)),
                ("metrics", address(metrics)),
                ("token_days", token_days.to_string()),
                ("log.format", format!("{:?}", log.format).to_lowercase()),
                ("storage.cache_mib", storage.cache_mib.to_string()),
                ("storage.sync", format!("{:?}", storage.sync).to_lowercase()),
            ]
        };
        let pairs = fixed(self).into_iter().zip(fixed(new));
        pairs.filter(|(old, new)| old != new).map(|((key, old), (_, new))| (key, old, new)).collect()
    }

    /// `new`, but for what only a restart changes.
    pub(crate) fn of_running(&self, new: Config) -> Config {
        let Config { domains, clear_login, drain_s, .. } = new;
        let log = Log { level: new.log.level, format: self.log.format };
        Config { domains, clear_login, drain_s, log, ..self.clone() }
    }

    /// How long a token is good for, milliseconds.
    pub(crate) fn token_ms(&self) -> u64 {
        u64::from(self.token_days).saturating_mul(DAY_MS)
    }

    /// Where edges on this machine connect.
    pub fn link_unix(&self) -> Option<PathBuf> {
        (!self.link_unix.as_os_str().is_empty()).then(|| self.data.join(&self.link_unix))
    }

    /// The key by which edges know this core; made at first use.
    pub(crate) fn link_key(&self) -> PathBuf {
        self.data.join(LINK_KEY)
    }

    /// Where `hearthctl` connects.
    pub fn control(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    /// The domains at a start: those of the store, those of the file that it did not have yet, and
    /// what the file says of them. Whatever differs from the store is a change.
    pub(crate) fn domain_records(&self, mut records: Vec<DomainRecord>) -> (Vec<DomainRecord>, Vec<Change>) {
        let mut changes = Vec::new();
        for domain in &self.domains {
            let stored = records.iter().position(|record| record.domain == domain.name);
            let mut record = match stored {
                Some(at) => records.swap_remove(at),
                None => DomainRecord::new(domain.name.clone()),
            };
            let before = record.clone();
            domain.apply(&mut record);
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
        assert!(wrong("token_days = 0").contains("token_days = 0: expected 1 to 366"));
        assert!(wrong("drain_s = 0").contains("drain_s = 0: expected 1 to 3600"));
        assert!(wrong("colour = 1").contains("colour"));
        assert!(wrong("[[domains]]\nname = \"EXAMPLE.org\"").contains("EXAMPLE.org"));
        let switch = wrong("[[domains]]\nname = \"a.example\"\nregistrations = true");
        assert!(
            switch.contains("registrations of a.example: expected name, client_certificates, log_off, registration"),
            "{switch}"
        );
        assert!(
            wrong("[[domains]]\nname = \"a.example\"\nregistration = 1")
                .contains("domains.registration = 1: expected true")
        );
        let domain = |text: &str| wrong(&format!("[[domains]]\nname = \"a.example\"\n{text}"));
        assert!(domain("password_chars_min = 0").contains("password_chars_min = 0"));
        assert!(domain("reserved_names = [\"Admin\"]").contains("\"Admin\""));
        assert!(domain("[domains.contacts]\nadmin = [\"me\"]").contains("contacts.admin"));
        assert!(domain("[domains.contacts]\nboss = []").contains("boss"));
        assert!(wrong("[log]\nlevel = \"loud\"").contains("loud"));
    }
}
