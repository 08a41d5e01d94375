//! XML in and out, by way of the public functions only.

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod corpus;
mod cuts;
mod headers;
mod independent;
mod reader;
mod round_trip;
mod trees;
mod well_formed;
