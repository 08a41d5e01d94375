//! What is looked at after each step, and at rest.

use super::World;
use crate::sim::check::{Rule, Value};
use crate::sim::client::{Client, Life, PAL, address};
use hearth_core::link::LinkId;
use hearth_core::route::bare;
use hearth_wire::BareJid;
use hearth_wire::ids::Slot;
use std::collections::BTreeSet;

impl World {
    /// After each step.
    pub(super) fn check(&mut self, at_rest: bool) -> Result<(), Rule> {
        self.within_limits(at_rest)?;
        self.forward()
    }

    /// Every queue under its limit; at rest none that nobody goes on with.
    fn within_limits(&self, at_rest: bool) -> Result<(), Rule> {
        let check = |what, of: &str, len: usize, most: usize| {
            if len <= most { Ok(()) } else { Err(Rule::Queue { what, of: of.to_owned(), len }) }
        };
        for (index, shard) in self.shards.iter().enumerate() {
            let limits = &shard.settings.limits;
            check("sums of what is under way that are wrong", "", usize::from(!shard.under_way_is_exact()), 0)?;
            check("sums of what is held that are wrong", "", usize::from(!shard.held_is_exact()), 0)?;
            if self.in_turn.get(index) == Some(&false) {
                let held = usize::try_from(shard.held.bytes()).unwrap_or(usize::MAX);
                let most = usize::try_from(limits.held_bytes_all).unwrap_or(usize::MAX);
                check("bytes held for all sessions", "", held, most)?;
            }
            // Beyond the limit comes what its links may bring, and what those before them brought: one window each.
            let links = self.edges.len().max(shard.links.len()).saturating_mul(2);
            let brought = limits.link_window_bytes.saturating_mul(links as u64);
            let most = limits.under_way_bytes.saturating_add(brought);
            let under_way = usize::try_from(shard.under_way.bytes()).unwrap_or(usize::MAX);
            check("bytes under way", "", under_way, usize::try_from(most).unwrap_or(usize::MAX))?;
            for (_, session) in shard.sessions.iter() {
                let (jid, out) = (session.jid.as_str(), &session.outbound);
                // What was emitted to a socket that is lost goes back to what is held; the last one that was taken may
                // pass the limit.
                let back = limits.entries * 500;
                check("held bytes", jid, out.held_bytes, limits.held_bytes + back + 1_000)?;
                check("held stanzas", jid, out.held.len() + out.later.len(), 2 * limits.entries + 1)?;
                let waits = usize::from(out.behind.is_some() && !session.is_parked());
                check("a session that is read for at rest", jid, waits, usize::from(!at_rest))?;
                check("entries", jid, out.entries.len(), limits.entries)?;
            }
            for account in shard.accounts.iter() {
                let jid = account.jid.as_str();
                check("work that waits", jid, account.queue.len(), limits.account_queue)?;
                check("stanzas in order", jid, account.log.pending.len(), limits.pending)?;
                if at_rest {
                    check("work that nobody does", jid, account.queue.len(), 0)?;
                }
            }
            if at_rest {
                let index = shard.settings.index.to_string();
                check("bytes under way at rest", &index, under_way, 0)?;
                check("recoveries", &index, usize::from(shard.recovery.is_some()), 0)?;
                check("resumptions", &index, shard.resuming.len(), 0)?;
            }
        }
        Ok(())
    }

    /// Numbers of sessions and rosters only grow.
    fn forward(&mut self) -> Result<(), Rule> {
        for client in &self.clients {
            let session = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            let Some(session) = session else { continue };
            self.checks.streams.session(session.stream_id(), session.jid(), session.generation(), session.settled())?;
        }
        for shard in &self.shards {
            // Who has lost a slot may not know it yet.
            let newest = |slot| self.shards.iter().all(|other| other.slots.epoch(slot) <= shard.slots.epoch(slot));
            for account in shard.accounts.iter().filter(|account| account.roster_version > 0) {
                if account.moved.is_none() && newest(account.slot) {
                    self.checks.streams.roster(account.jid.as_str(), account.roster_version)?;
                }
            }
        }
        Ok(())
    }

    /// At rest: nobody is there who was announced as gone. The owner of a slot that was taken from it by force says so
    /// of its sessions when it hears of that, whether they have come back at the new one or not.
    pub(super) fn nobody_said_gone(&mut self) -> Result<(), Rule> {
        let World { clients, checks, forced, slot_key, .. } = self;
        let here = |client: &Client, jid: &str, stamp| {
            client.life == Life::Bound && client.resource.jid == jid && client.resource.stamp() == stamp
        };
        checks.presences.check(|jid, stamp| {
            !forced.contains(&slot_key.slot(bare(jid))) && clients.iter().any(|client| here(client, jid, stamp))
        })
    }

    /// Each question has its answer, and nothing is unsettled.
    pub(super) fn all_answered(&self) -> Result<(), Rule> {
        // While a session waits to be resumed, so do questions to it.
        let sessions = self.shards.iter().flat_map(|shard| shard.sessions.iter()).map(|(_, session)| session);
        let owing = sessions.filter(|session| session.is_parked()).filter_map(|session| session.questions.as_deref());
        let owed: BTreeSet<String> = owing.flat_map(|questions| questions.owed()).map(str::to_owned).collect();
        for client in self.clients.iter().filter(|client| client.life == Life::Bound) {
            if let Some((id, count)) = client.resource.unanswered(&owed) {
                return Err(Rule::Answers { client: client.name(), id: id.clone(), count });
            }
            let session = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            if let Some(stanzas) = session.map(|session| session.unsettled()).filter(|stanzas| *stanzas > 0) {
                return Err(Rule::Unsettled { client: client.name(), stanzas });
            }
        }
        Ok(())
    }

    /// Every session has all that was for it, however slowly it read.
    pub(super) fn none_withheld(&self) -> Result<(), Rule> {
        for client in self.clients.iter().filter(|client| client.life == Life::Bound) {
            if let Some(since) = client.resource.since {
                let (account, name) = (address(client.user), client.name());
                self.checks.messages.none_withheld(client.resource.session, since, &account, &name)?;
            }
        }
        Ok(())
    }

    /// No session that only one side knows, none outside its slot's owner, no two owners.
    pub(super) fn no_zombies(&self) -> Result<(), Rule> {
        let zombie = |jid: &str, what| Err(Rule::Zombie { jid: jid.to_owned(), what });
        for (index, shard) in self.shards.iter().enumerate() {
            for (_, session) in shard.sessions.iter().filter(|(_, session)| !session.is_parked()) {
                let edge = self.links.iter().find(|((_, to), link)| *to == index && LinkId(**link) == session.link);
                let edge = edge.and_then(|((edge, _), _)| self.edges.get(*edge));
                let generation = edge.and_then(|edge| edge.session(session.counter)).map(|other| other.generation());
                if generation != Some(session.generation) {
                    return zombie(session.jid.as_str(), "the core has a session that the edge has not");
                }
                if shard.owner(session.jid.bare_str()) != shard.settings.index {
                    return zombie(session.jid.as_str(), "a shard serves a session of another's slot");
                }
            }
        }
        for client in &self.clients {
            let Some((edge, counter)) = client.at else { continue };
            let Some(edge) = self.edges.get(edge) else { continue };
            let Some(session) = edge.session(counter) else { continue };
            let known = edge.shard_of(counter).and_then(|shard| self.shards.get(usize::from(shard)));
            let known = known.is_some_and(|shard| {
                shard.sessions.iter().any(|(_, s)| s.counter == counter && s.generation == session.generation())
            });
            if !known {
                return zombie(&client.resource.jid, "the edge has a session that the core has not");
            }
        }
        for slot in (0..hearth_wire::ids::SLOTS).filter_map(Slot::new) {
            if self.at_rest(slot).is_none() {
                return Err(Rule::Owners { slot: slot.index() });
            }
        }
        Ok(())
    }

    /// What was acknowledged of changes to rosters is in the store, and no change was made twice.
    pub(super) fn rosters_are_right(&self) -> Result<(), Rule> {
        if let Some(value) = self.disk.repeated {
            return Err(Rule::Repeated { value });
        }
        for user in 0..self.options.users {
            let Ok(account) = BareJid::parse(&address(user)) else { continue };
            let roster = self.disk.account(self, &account).map(|snapshot| snapshot.roster).unwrap_or_default();
            let name = roster.iter().find(|item| *item.contact == *PAL).and_then(|item| item.name.as_deref());
            self.checks.rosters.check(account.as_str(), name.and_then(Value::parse))?;
        }
        Ok(())
    }

    /// After everyone left.
    pub(super) fn nothing_left(&self) -> Result<(), Rule> {
        let none = |what, count| if count == 0 { Ok(()) } else { Err(Rule::LeftBehind { what, count }) };
        none("sessions", self.shards.iter().map(|shard| shard.sessions.len()).sum())?;
        none("logins", self.shards.iter().map(|shard| shard.logins.len()).sum())?;
        none("accounts", self.shards.iter().map(|shard| shard.accounts.len()).sum())?;
        none("questions", self.shards.iter().map(|shard| shard.questions.len()).sum())?;
        none("connections", self.edges.iter().map(|edge| edge.conns.len()).sum())?;
        none("sessions without a link", self.edges.iter().filter(|edge| !edge.detached.is_empty()).count())?;
        none("sessions without a socket", self.edges.iter().map(|edge| edge.detached.tombs()).sum())
    }
}
