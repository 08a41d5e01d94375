//! The load program: many XMPP clients on one thread, and what they cost the server.
//!
//! ```text
//! scenario/*  what is done and measured      ── begin, send ──▶ net.rs    mio loop, all connections
//!     ▲                                                          │ bytes
//!     │ Event (event.rs)                     transport.rs socket, TLS   login.rs, scram.rs negotiation, sm.rs
//!     └────────────────────────────────────── scan.rs whole elements ◀─┘
//! probe.rs   CPU and memory of the server's processes     report.rs   table, JSON
//! comparison.rs   runs side by side        plot.rs     the same as bar charts
//! ```
//!
//! The server's figures are what counts. What the load program spends on its own work it tries to
//! spend outside of what it measures, but both share a machine: rates and tails depend on that, CPU time per
//! unit of work and bytes per session hardly do.

mod args;
mod comparison;
pub(crate) mod error;
mod event;
pub(crate) mod framing;
pub(crate) mod histogram;
pub(crate) mod limits;
mod login;
mod net;
mod plot;
pub(crate) mod probe;
pub(crate) mod report;
pub(crate) mod scan;
mod scenario;
pub(crate) mod scram;
mod sm;
mod timer;
pub(crate) mod transport;

pub use args::{Args, Scenario};
pub use comparison::Comparison;
pub use error::LoadError;
pub use plot::charts;
pub use report::Report;
pub use scenario::run;
