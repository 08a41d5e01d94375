//! From a socket to an authenticated account: SASL exchanges on their way.

use crate::account::AccountKey;
use crate::cx::Cx;
use crate::link::LinkId;
use hearth_wire::to_core::{AuthResponse, Authenticate, PreAuthIq};

/// A socket that is not bound yet.
#[derive(Default)]
pub struct Login {
    /// Authenticated as this account, which is pinned in memory until bind or close.
    pub account: Option<AccountKey>,
    pub failures: u8,
}

/// `<auth/>` came.
pub fn on_authenticate(_cx: &mut Cx<'_>, _link: LinkId, _frame: &Authenticate<'_>) {}

/// `<response/>` came.
pub fn on_response(_cx: &mut Cx<'_>, _link: LinkId, _frame: &AuthResponse<'_>) {}

/// `<abort/>` came.
pub fn on_abort(_cx: &mut Cx<'_>, _link: LinkId, _counter: u64) {}

/// An iq before authentication came.
pub fn on_pre_auth_iq(_cx: &mut Cx<'_>, _link: LinkId, _frame: &PreAuthIq<'_>) {}

/// The socket closed, or its link is gone.
pub fn on_closed(cx: &mut Cx<'_>, link: LinkId, counter: u64) {
    let Some(login) = cx.shard.logins.remove(&(link, counter)) else { return };
    if let Some(account) = login.account.and_then(|key| cx.account_mut(key)) {
        account.pins = account.pins.saturating_sub(1);
    }
}
