//! The link as bytes: every frame there and back, hostile bytes, and the bytes that must never change.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that stops is a test that failed")]

mod frames;
mod golden;
mod samples;
