//! Before a client's first byte: who it is, which a trusted proxy says in a header (`proxy.rs`).

use super::{Client, Life, seconds};
use crate::proxy::{self, Header};
use crate::shared::Shared;
use crate::stream::{Facts, Input, Stream};
use crate::wheel::tick_after;
use std::net::IpAddr;

/// Where a connection comes from, and what its listener allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) peer: IpAddr,
    /// TLS from the first byte.
    pub(crate) direct: bool,
    /// Clients on loopback addresses may log in without TLS.
    pub(crate) clear_login: bool,
}

/// A client that is not authenticated.
pub(super) struct Stranger {
    pub(super) arrival: Arrival,
    /// So much of the header of its proxy has come; `None` once it is whole, or where there is none.
    pub(super) header: Option<Vec<u8>>,
}

impl Client {
    /// Whose connection this is is known: from here on its bytes are its client's.
    pub(super) fn begin(&mut self, arrival: Arrival, cx: &mut Shared) {
        let clear_login = arrival.clear_login && arrival.peer.is_loopback();
        self.stream = Stream::new(Facts { clear_login, id: cx.random.id() });
        self.deadline = tick_after(cx.tick, seconds(cx.config.timeouts.login_s));
        if arrival.direct && self.conn.start_tls(&cx.tls.config(None)).is_err() {
            self.life = Life::Dead;
        }
    }

    /// It is not known yet.
    pub(super) fn awaits_header(&self) -> bool {
        self.stranger.as_ref().is_some_and(|stranger| stranger.header.is_some())
    }

    /// There is no stream yet that could be told anything.
    pub(super) fn on_input_early(&mut self, input: &Input<'_>) {
        if matches!(input, Input::Eof | Input::Shutdown(_)) {
            self.life = Life::Dead;
        }
    }

    /// Bytes of the proxy's header; how many of them were. What is no header ends the connection without a word.
    pub(super) fn on_header_bytes(&mut self, bytes: &[u8], cx: &mut Shared) -> usize {
        let Some(stranger) = &mut self.stranger else { return 0 };
        let mut arrival = stranger.arrival;
        let Some(header) = &mut stranger.header else { return 0 };
        let before = header.len();
        header.extend_from_slice(bytes);
        let Header { client, bytes: used } = match proxy::parse(header) {
            Ok(None) => return bytes.len(),
            Ok(Some(whole)) => whole,
            Err(error) => {
                tracing::warn!(event = "proxy_refused", proxy = %arrival.peer, %error);
                self.life = Life::Dead;
                return bytes.len();
            }
        };
        let used = used.saturating_sub(before);
        stranger.header = None;
        // Else it is the proxy's own.
        if let Some(client) = client {
            tracing::debug!(event = "proxied", handle = self.counter, proxy = %arrival.peer, peer = %client);
            arrival.peer = client.ip();
        }
        stranger.arrival = arrival;
        match cx.enter(arrival.peer) {
            Some(door) => self.door = door,
            None => {
                self.life = Life::Dead;
                return used;
            }
        }
        self.begin(arrival, cx);
        used
    }
}
