//! placeholder

pub mod derive;
pub mod random;
pub mod sasl;
pub mod tally;
