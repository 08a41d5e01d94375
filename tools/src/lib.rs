//! Tools around Hearth: what its binaries and tests share.

pub mod client;
pub mod ctl;
pub mod load;
pub mod scram;
pub mod transcript;
pub mod xml;
