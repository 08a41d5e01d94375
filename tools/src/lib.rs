//! Tools around Hearth: what its binaries and tests share.

pub mod attack;
pub mod chaos;
pub mod client;
pub mod ctl;
pub mod dns;
pub mod embedded;
pub mod load;
pub mod relay;
pub mod scram;
pub mod seed;
pub mod sim;
pub mod transcript;
pub mod wiredump;
pub mod xml;
