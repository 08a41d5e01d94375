//! Clients: the bytes between them and their edges, and what they do.

use super::lanes::{Carries, Item};
use super::{World, one_of};
use crate::sim::check::Rule;
use crate::sim::client::{Client, Life, address, friend};

impl World {
    /// Whether there is something between a client and its edge.
    fn has_bytes(&self, client: &Client) -> bool {
        let Some((edge, counter)) = client.at else { return false };
        let conn = self.edges.get(edge).and_then(|edge| edge.conns.get(&counter));
        let down = conn.is_none_or(|conn| conn.ended || !conn.output.is_empty());
        !client.output.is_empty() || (down && !client.stalled)
    }

    /// Bytes between some client and its edge, cut anywhere.
    pub(super) fn move_bytes(&mut self) -> Result<(), Rule> {
        let busy: Vec<usize> = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, client)| self.has_bytes(client))
            .map(|(index, _)| index)
            .collect();
        let index = self.pick(busy.len());
        let Some(index) = busy.get(index).copied() else { return Ok(()) };
        let slow = self.clients.get(index).is_some_and(|client| client.slow);
        let Some((edge, counter)) = self.clients.get(index).and_then(|client| client.at) else { return Ok(()) };
        let (up, down) = (self.cut(slow), self.cut(slow));
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        let take = client.output.len().min(up);
        let bytes: Vec<u8> = client.output.drain(..take).collect();
        let Some(edge) = self.edges.get_mut(edge) else { return Ok(()) };
        if !bytes.is_empty() {
            edge.bytes(counter, &bytes);
        }
        if client.stalled {
            return Ok(());
        }
        let Some(conn) = edge.conns.get_mut(&counter) else {
            // The edge closed it.
            self.never_comes(index);
            if let Some(client) = self.clients.get_mut(index) {
                client.gone();
            }
            return Ok(());
        };
        let take = conn.output.len().min(down);
        let bytes: Vec<u8> = conn.output.drain(..take).collect();
        if conn.output.is_empty() {
            edge.written(counter);
        }
        for byte in &bytes {
            self.trace.hash = (self.trace.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let session = client.resource.session;
        if !bytes.is_empty() {
            self.tell(|| format!("client {index} (session {session}) reads: {}", String::from_utf8_lossy(&bytes)));
        }
        let Some(client) = self.clients.get_mut(index) else { return Ok(()) };
        client.read(&bytes, &mut self.checks)
    }

    fn cut(&mut self, slow: bool) -> usize {
        match self.pick(4) {
            0 => 1 + self.pick(3),
            1 => 1 + self.pick(100),
            _ if slow => 1 + self.pick(300),
            _ => 1 << 20,
        }
    }

    pub(super) fn connect(&mut self, index: usize, priority: i8) {
        let edge = self.pick(self.edges.len());
        let session = self.next_session;
        self.next_session += 1;
        self.trace.sessions += 1;
        let (Some(client), Some(at)) = (self.clients.get_mut(index), self.edges.get_mut(edge)) else { return };
        client.connect((edge, at.accept()), session, priority);
    }

    /// Before a client loses its connection: what was written to it and did not reach it never does.
    pub(super) fn never_comes(&mut self, index: usize) {
        let Some(client) = self.clients.get(index) else { return };
        let conn = client.at.and_then(|(edge, counter)| self.edges.get(edge)?.conns.get(&counter));
        let mut rest = client.unfinished().to_vec();
        rest.extend_from_slice(conn.map_or(&[], |conn| &conn.output));
        self.checks.presences.cut(client.resource.session, &String::from_utf8_lossy(&rest));
    }

    /// A client loses its connection, of which its edge hears so much later.
    pub(super) fn cut_off(&mut self, index: usize, late_ms: u64) {
        let Some(client) = self.clients.get(index) else { return };
        let at = client.at;
        self.never_comes(index);
        let Some(client) = self.clients.get_mut(index) else { return };
        client.gone();
        let Some((edge, counter)) = at else { return };
        self.tell(|| format!("client {index} loses its socket {counter} at edge {edge}"));
        if late_ms > 0 {
            let at_ms = self.now.mono_ms + late_ms;
            self.late.push((at_ms, (Carries::Sockets, edge, 0), Item::Eof { edge, counter }));
        } else {
            self.edge_sees_eof(edge, counter);
        }
    }

    /// Whom an edge may not read, it hears nothing of, be it an acknowledgement: after `ack_timeout_s` the socket is
    /// given up. So two clients end that wait for each other: each for what the other has yet to acknowledge.
    pub(super) fn give_up_who_may_not_send(&mut self) {
        for index in 0..self.clients.len() {
            let at = self
                .clients
                .get(index)
                .filter(|client| matches!(client.life, Life::Bound | Life::Leaving))
                .and_then(|client| client.at);
            let session = at.and_then(|(edge, counter)| self.edges.get(edge)?.session(counter));
            if session.is_some_and(|session| !session.has_credit()) {
                self.cut_off(index, 0);
            }
        }
    }

    pub(super) fn edge_sees_eof(&mut self, edge: usize, counter: u64) {
        if let Some(edge) = self.edges.get_mut(edge) {
            edge.vanish(counter);
        }
    }

    /// Someone does something.
    pub(super) fn act(&mut self) -> Result<(), Rule> {
        let index = self.pick(self.clients.len());
        let Some((life, flaky)) = self.clients.get(index).map(|client| (client.life, client.flaky)) else {
            return Ok(());
        };
        match life {
            Life::Away => {
                let priority = one_of(&[0, 0, 5, -1], self.pick(4), 0);
                self.connect(index, priority);
            }
            _ if flaky && self.pick(60) == 0 => self.vanish(index),
            Life::Bound => self.say(index),
            Life::Opening | Life::Authenticating | Life::Reopening | Life::Resuming | Life::Binding | Life::Leaving => {
            }
        }
        Ok(())
    }

    /// A client is gone without a word; some edges notice late.
    pub(super) fn vanish(&mut self, index: usize) {
        let late_ms = if self.pick(3) == 0 { 1 + self.pick(8_000) as u64 } else { 0 };
        self.cut_off(index, late_ms);
    }

    fn say(&mut self, index: usize) {
        if let Some(to) = self.clients.get_mut(index).and_then(|client| client.again.pop_front()) {
            return self.send_message(index, &to);
        }
        let (what, other, choice) = (self.pick(25), self.pick(self.options.users), self.pick(4));
        let bare = address(other);
        let Some(client) = self.clients.get_mut(index) else { return };
        match what {
            0..=9 => {
                let to = if choice < 3 { format!("{bare}/r{choice}") } else { bare };
                self.send_message(index, &to);
            }
            10..=11 => client
                .ask(one_of(&["", "example.org", "elsewhere.example"], choice, ""), "<ping xmlns='urn:xmpp:ping'/>"),
            12 => {
                client.ask(&format!("{bare}/r{choice}"), "<query xmlns='jabber:iq:version'/>");
                let slot = self.slot_key.slot(&address(client.user));
                if self.has_two_owners(slot)
                    && let Some(client) = self.clients.get_mut(index)
                {
                    client.resource.may_lose_answer();
                }
            }
            13 => client.ask(&bare, "<vCard xmlns='vcard-temp'/>"),
            // Contacts for life see each other for life.
            14 if other == friend(client.user) => {}
            14 => {
                let ty = one_of(&["subscribe", "subscribed", "unsubscribe", "unsubscribed"], choice, "");
                client.stanza(&format!("<presence type='{ty}' to='{bare}'/>"));
            }
            15 => {
                client.resource.priority = one_of(&[0, 1, -1, 7], choice, 0);
                client.available();
            }
            16 => client.unavailable(),
            17 if other == friend(client.user) || other == client.user => {}
            17 => client.stanza(&format!("<presence to='{bare}/r{choice}'/>")),
            18 => client.stalled = !client.stalled && choice == 0,
            19..=20 => client.rename(&mut self.checks),
            21..=22 => client.request(),
            23 => client.acknowledge(),
            _ if choice == 0 => client.leave(),
            _ => {}
        }
    }

    fn send_message(&mut self, index: usize, to: &str) {
        let id = self.next_message;
        self.next_message += 1;
        let Some(client) = self.clients.get_mut(index) else { return };
        client.message(id, to);
        self.checks.messages.sent(id, to, client.resource.session);
    }
}
