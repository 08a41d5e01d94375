//! `hearthctl edge …`: keys for edges on other machines, made, listed, revoked. Runs on operators' threads.

#![expect(clippy::disallowed_types, reason = "one change of the list at a time; no shard waits for it")]

use super::Clock;
use super::edge_keys::EdgeKeys;
use super::mail::{Mail, Mailbox};
use crate::commands::{Arguments, Call, Done, OnShard, Refused, RefusedKind, Reply, Rows};
use crossbeam_channel::bounded;
use hearth_link::{Bundle, PrivateKey, PublicKey};
use hearth_storage::EdgeRecord;
use serde_json::{Map, Value as Json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the store may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How edges reach this core over TLS, if it takes them.
#[derive(Clone)]
pub(crate) struct TlsDoor {
    pub(crate) address: SocketAddr,
    pub(crate) key: PublicKey,
}

impl TlsDoor {
    /// The address that edges dial: as the operator says, or the one listened on if that is one machine's.
    fn dialled_as(&self, said: Option<&str>) -> Result<String, Refused> {
        match said {
            Some(core) if is_host_and_port(core) => Ok(core.to_owned()),
            Some(core) => {
                let message = format!("{core:?} is not an address to dial");
                let next = "write HOST:PORT, such as core.example.org:5270";
                Err(Refused::new(RefusedKind::BadRequest, message, next))
            }
            None if !self.address.ip().is_unspecified() => Ok(self.address.to_string()),
            None => {
                let message = format!("the core listens on {}: by which address do edges dial it?", self.address);
                let next = format!("add --core HOST:{}", self.address.port());
                Err(Refused::new(RefusedKind::BadRequest, message, next))
            }
        }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct EdgeAdmin {
    pub(crate) keys: Arc<EdgeKeys>,
    pub(crate) door: Option<TlsDoor>,
    pub(crate) shards: Vec<Mailbox>,
    pub(crate) clock: Clock,
    pub(crate) changing: Arc<Mutex<()>>,
}

impl EdgeAdmin {
    /// Makes a key for a new edge, or a new key for one that was revoked. The file to carry over, and the
    /// fingerprint of the key.
    pub(crate) fn add(&self, name: &str, core: Option<&str>) -> Result<(Bundle, String), Refused> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !hearth_link::is_edge_name(name) {
            let message = format!("{name:?} cannot be the name of an edge");
            return Err(Refused::new(
                RefusedKind::BadRequest,
                message,
                "use letters, digits, '.', '_' and '-', at most 64",
            ));
        }
        if self.keys.get(name).is_some_and(|edge| edge.revoked_ms.is_none()) {
            let next = format!("`hearthctl edge revoke {name}` first, if its key is to be another");
            return Err(Refused::new(RefusedKind::Exists, format!("edge {name} has a key already"), next));
        }
        let Some(door) = &self.door else {
            let next = "set link_tls = \"[::]:5270\" in the core's configuration and start it again";
            return Err(Refused::new(RefusedKind::Unavailable, "this core takes no links over TLS", next));
        };
        let core = door.dialled_as(core)?;
        let failed = |error: hearth_link::KeyError| {
            Refused::new(RefusedKind::Unavailable, error.to_string(), "see the core's log")
        };
        let key = PrivateKey::generate().map_err(failed)?;
        let public = key.public().map_err(failed)?;
        let added_ms = self.clock.now().utc_ms;
        self.store(EdgeRecord { name: name.to_owned(), key: public.der().to_vec(), added_ms, revoked_ms: None })?;
        tracing::info!(event = "edge_added", edge = name, key = public.fingerprint());
        let bundle = Bundle { name: name.to_owned(), core, key, core_key: door.key.clone() };
        Ok((bundle, public.fingerprint()))
    }

    /// Strikes an edge's key: its links are cut, and it makes no new ones.
    pub(crate) fn revoke(&self, name: &str) -> Result<(), Refused> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(edge) = self.keys.get(name) else {
            let next = "see `hearthctl edge list`";
            return Err(Refused::new(RefusedKind::NotFound, format!("there is no edge {name} with a key"), next));
        };
        if edge.revoked_ms.is_none() {
            self.store(EdgeRecord { revoked_ms: Some(self.clock.now().utc_ms), ..edge })?;
            tracing::info!(event = "edge_revoked", edge = name);
        }
        for shard in &self.shards {
            shard.send(Mail::EdgeRevoked { edge: name.to_owned() });
        }
        Ok(())
    }

    /// All edges that have or had a key, by name.
    pub(crate) fn keys(&self) -> Vec<EdgeRecord> {
        self.keys.all()
    }

    /// Rows of all shards together.
    pub(crate) fn ask_all(&self, run: OnShard) -> Result<Vec<Map<String, Json>>, Refused> {
        let (reply, answers) = bounded(self.shards.len().max(1));
        for shard in &self.shards {
            let call = Call::new(None, run, Arguments::default());
            shard.send(Mail::Control { call, reply: reply.clone() });
        }
        let mut all = Vec::new();
        for _ in &self.shards {
            match answers.recv_timeout(ANSWER) {
                Ok(Reply::Ok(Done::Rows(Rows { rows, .. }))) => all.extend(rows),
                Ok(Reply::Error(refused)) => return Err(refused),
                Ok(Reply::Ok(_)) | Err(_) => return Err(unavailable("a shard did not answer")),
            }
        }
        Ok(all)
    }

    /// Writes it down, then acts on it.
    fn store(&self, edge: EdgeRecord) -> Result<(), Refused> {
        let (reply, answer) = bounded(1);
        let sent = self.shards.first().is_some_and(|shard| shard.send(Mail::PutEdge { edge: edge.clone(), reply }));
        if !sent {
            return Err(unavailable("the core is stopping"));
        }
        match answer.recv_timeout(ANSWER) {
            Ok(Reply::Ok(_)) => {
                self.keys.put(edge);
                Ok(())
            }
            Ok(Reply::Error(refused)) => Err(refused),
            Err(_) => Err(unavailable("the store did not answer")),
        }
    }
}

/// `HOST:PORT`, where an IPv6 address stands in brackets.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = !host.is_empty() && !host.contains([':', '/', ' ', '"', '\\']) && !host.contains(char::is_control);
    let bracketed = text.parse::<SocketAddr>().is_ok();
    (plain || bracketed) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn unavailable(message: &str) -> Refused {
    Refused::new(RefusedKind::Unavailable, message, "see the core's log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_dial() {
        for good in ["core.example.org:5270", "192.0.2.1:1", "[2001:db8::1]:5270", "localhost:65535"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in ["core", "core:", ":5270", "core:0", "core:70000", "2001:db8::1:5270", "a b:1", "x\"y:1", "tls:a:1"]
        {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
