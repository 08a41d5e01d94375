//! The edge: client sockets in, parsed stanzas over a link to the core.

pub mod limits;
pub mod render;
pub mod xml;
