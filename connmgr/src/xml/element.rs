//! Tokens of one first-level element straight to the binary tree.

use super::{Limits, Scope, XmlError};

/// Stacks reused from stanza to stanza, so that the steady state allocates nothing. One per event loop.
#[derive(Debug, Default)]
pub struct Scratch {}

/// Appends exactly one encoded element ([`hearth_wire::tree`]) to `out`. The element names its namespace itself; what is
/// inside inherits. After an error `out` is as long as before.
pub fn parse_element(
    _bytes: &[u8],
    _scope: &Scope,
    _limits: &Limits,
    _scratch: &mut Scratch,
    _out: &mut Vec<u8>,
) -> Result<(), XmlError> {
    Err(XmlError::Syntax)
}
