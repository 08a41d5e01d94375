//! Numbers only go forward: of sessions at their edges, of rosters.

use super::Rule;
use hearth_wire::ids::{Generation, StreamId};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub(in crate::sim) struct Streams {
    /// As the edges have them: the attachment, and the settled mark.
    sessions: BTreeMap<StreamId, (Generation, u64)>,
    rosters: BTreeMap<String, u64>,
}

impl Streams {
    pub(in crate::sim) fn session(
        &mut self,
        stream: StreamId,
        jid: &str,
        generation: Generation,
        settled: u64,
    ) -> Result<(), Rule> {
        let known = self.sessions.entry(stream).or_insert((generation, settled));
        let of = || jid.to_owned();
        if generation < known.0 {
            return Err(Rule::Backwards { what: "the generation", of: of() });
        }
        if settled < known.1 {
            return Err(Rule::Backwards { what: "the settled mark", of: of() });
        }
        *known = (generation, settled);
        Ok(())
    }

    pub(in crate::sim) fn roster(&mut self, account: &str, version: u64) -> Result<(), Rule> {
        match self.rosters.get_mut(account) {
            Some(known) if version < *known => {
                Err(Rule::Backwards { what: "the roster's version", of: account.to_owned() })
            }
            Some(known) => {
                *known = version;
                Ok(())
            }
            None => {
                self.rosters.insert(account.to_owned(), version);
                Ok(())
            }
        }
    }
}
