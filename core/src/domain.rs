//! Domains are data: what this core serves and how.

use hearth_storage::DomainRecord;

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

    pub fn contains(&self, domain: &str) -> bool {
        self.get(domain).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &DomainRecord> {
        self.0.iter()
    }
}
