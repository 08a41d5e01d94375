//! placeholder

pub mod derive;
pub mod random;
pub mod register;
pub mod sasl;
pub mod tally;
