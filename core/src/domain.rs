//! Domains are data: what this core serves and how. Each has switches; a feature declares its own, and
//! [`SWITCHES`] lists them for configuration, store and `hearthctl domain`.

use crate::{message, register, sasl, search};
use hearth_storage::DomainRecord;

/// Every switch a domain has, in the order it is shown.
pub const SWITCHES: &[&Switch] = &[&sasl::EXTERNAL, &message::LOG_OFF, &register::REGISTRATION, &search::DIRECTORY];

/// Something a domain does or does not do.
#[derive(Debug)]
pub struct Switch {
    /// In the configuration file, the store and on the command line.
    pub name: &'static str,
    /// What holds where nobody said anything.
    pub default: bool,
    /// One line: what it means when it is on.
    pub help: &'static str,
}

impl Switch {
    /// The switch of this name.
    pub fn find(name: &str) -> Option<&'static Switch> {
        SWITCHES.iter().copied().find(|switch| switch.name == name)
    }

    /// Whether it is on at a domain.
    pub fn is_on(&self, domain: &DomainRecord) -> bool {
        domain.switch(self.name).unwrap_or(self.default)
    }
}

/// The domains every shard knows, sorted.
#[derive(Clone, Debug, Default)]
pub struct Domains(Vec<DomainRecord>);

impl Domains {
    pub fn new(mut records: Vec<DomainRecord>) -> Domains {
        records.sort_by(|a, b| a.domain.cmp(&b.domain));
        Domains(records)
    }

    pub fn get(&self, domain: &str) -> Option<&DomainRecord> {
        self.0.binary_search_by(|record| record.domain.as_str().cmp(domain)).ok().and_then(|at| self.0.get(at))
    }

    /// The domain is this from now on.
    pub fn put(&mut self, record: DomainRecord) {
        match self.0.binary_search_by(|other| other.domain.cmp(&record.domain)) {
            Ok(at) => self.0.get_mut(at).into_iter().for_each(|there| *there = record.clone()),
            Err(at) => self.0.insert(at, record),
        }
    }

    /// The domain is none from now on.
    pub fn remove(&mut self, domain: &str) {
        self.0.retain(|record| record.domain != domain);
    }

    pub fn contains(&self, domain: &str) -> bool {
        self.get(domain).is_some()
    }

    /// Whether a switch is on at a domain; not at one that is not served.
    pub fn is_on(&self, domain: &str, switch: &Switch) -> bool {
        self.get(domain).is_some_and(|record| switch.is_on(record))
    }

    pub fn iter(&self) -> impl Iterator<Item = &DomainRecord> {
        self.0.iter()
    }
}
