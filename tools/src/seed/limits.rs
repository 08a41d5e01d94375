//! Every bound of the seeder, with its unit and its reason.

use super::people::{CONTACT_GROUP, contact_name};
use hearth_core::limits::{ROSTER_BYTES_MAX, ROSTER_ITEMS_MAX};

/// Most accounts of one run: their order is held in memory. More are refused.
pub(super) const USERS_MAX: u32 = 50_000_000;

/// Accounts asked for at once; one commit of the store takes about as many.
pub(super) const BATCH: usize = 1024;

/// Accounts that may be under way, so that one batch is prepared while another is written. Reached: the next batch
/// waits for answers.
pub(super) const UNDER_WAY_MAX: usize = 4 * BATCH;

/// Memory for the store's pages meanwhile, bytes: inner pages of a million accounts stay in it.
pub(super) const CACHE_BYTES: usize = 256 << 20;

/// Pairs of contacts of one power-law graph, which is held in memory with 16 bytes for each. More are refused.
pub(super) const PAIRS_MAX: u64 = 100_000_000;

/// How much smaller the mean of a power-law graph must be than the most contacts an account may have: nearer to it,
/// there is no room for those who have many. Larger means are refused.
pub(super) const POWER_LAW_SHARE: u32 = 4;

/// Random picks of somebody to befriend before the rest are gone through one by one: enough for all but the first
/// users of a graph, who know nearly everybody.
pub(super) const PICKS_MAX: u32 = 32;

/// Contacts that one account may have: what a core lets into a roster of a user of this domain.
pub(super) fn contacts_max(domain: &str) -> u32 {
    let item = format!("user{}@{domain}{}{CONTACT_GROUP}", u32::MAX, contact_name(u32::MAX)).len();
    u32::try_from(ROSTER_ITEMS_MAX.min(ROSTER_BYTES_MAX / item)).unwrap_or(u32::MAX)
}
