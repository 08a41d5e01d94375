//! In-band registration (XEP-0077): accounts made before login where a domain allows it, passwords
//! changed and accounts removed by their owners.

mod query;

pub use query::{Request, Submitted, write_feature, write_fields};

/// Namespace of the questions.
pub const NS_REGISTER: &str = "jabber:iq:register";
/// Namespace of the stream feature.
pub const NS_FEATURE: &str = "http://jabber.org/features/iq-register";
