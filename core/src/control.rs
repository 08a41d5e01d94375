//! The control socket's lines: one JSON object in, one out, over the Unix socket `control.sock` of the
//! data folder. What may be asked stands in [`crate::commands`].
//!
//! ```text
//! {"protocol":1,"command":"user add","parameters":{"account":"ada@localhost","password":"…"}}
//! {"ok":{"did":{"subject":"ada@localhost","what":"added"}}}
//! {"error":{"kind":"exists","message":"…","next":"…"}}
//! ```
//! A command that takes longer says before its reply, at least every few seconds, how far it is:
//! ```text
//! {"progress":{"done":5000000,"total":80000000}}
//! ```

use crate::commands::{Progress, Reply};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Raised when an old `hearthctl` would misread or be misread.
pub const PROTOCOL: u32 = 1;

/// A command, as `hearthctl` sends it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub protocol: u32,
    /// Its name, `user add`.
    pub command: String,
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// Of a list that comes in pages: where the page before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// A line of the core.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// The reply is still to come.
    Progress {
        progress: Progress,
    },
    Reply(Reply),
}

impl Request {
    /// A command with its parameters.
    pub fn new(command: &str, parameters: Map<String, Value>) -> Request {
        Request { protocol: PROTOCOL, command: command.to_owned(), parameters, after: None }
    }
}
