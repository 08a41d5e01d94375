//! What an operator may ask of a running core: one JSON line in, one JSON line out, over the Unix
//! socket `control.sock` of the data folder.
//!
//! ```text
//! {"command":"user_add","account":"ada@localhost","password":"…"}
//! {"ok":{"done":{}}}            {"error":{"kind":"exists","message":"…","next":"…"}}
//! ```

use serde::{Deserialize, Serialize};

/// Names a command under way.
pub type ControlId = u64;

/// The commands, as `hearthctl` sends them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Status {},
    UserAdd {
        account: String,
        password: String,
    },
    UserDelete {
        account: String,
    },
    UserPassword {
        account: String,
        password: String,
    },
    /// Accounts of a domain after one of them, in order, at most `limit`.
    UserList {
        domain: String,
        after: Option<String>,
        limit: u32,
    },
    SessionsList {
        account: Option<String>,
        limit: u32,
    },
    /// A full JID, or a bare one for all its sessions.
    SessionsKick {
        jid: String,
    },
}

/// The answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Ok(Done),
    Error(Refused),
}

/// What a command did or found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    Done {},
    Status(Status),
    Users(Vec<String>),
    Sessions(Vec<SessionInfo>),
    Kicked { sessions: u64 },
}

/// Why a command did nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    pub kind: RefusedKind,
    pub message: String,
    /// What to do about it.
    pub next: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedKind {
    BadRequest,
    Exists,
    NotFound,
    Unavailable,
}

/// State of the core; figures of several shards add up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub uptime_s: u64,
    pub shards: u16,
    pub edges: Vec<String>,
    pub links: u64,
    pub sessions: u64,
    pub accounts_loaded: u64,
    pub domains: Vec<String>,
    /// Domains whose message log is off: there the promise to lose nothing does not hold.
    pub log_off: Vec<String>,
    pub stanzas_in: u64,
    pub stanzas_out: u64,
    pub messages_logged: u64,
    /// `ok`, or what storage said last.
    pub storage: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionInfo {
    pub jid: String,
    pub stream: String,
    pub edge: String,
    /// `None` before initial presence.
    pub priority: Option<i8>,
    pub interested: bool,
}
