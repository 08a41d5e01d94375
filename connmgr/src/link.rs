//! A loop's link to one shard: dialling, frames, credit, heartbeats, round trips (wire's crate documentation has the layout).
//!
//! A link is flushed once a turn of the loop. It is dead after three seconds of silence, at the first broken
//! frame, or when its socket ends; it is dialled again with growing, jittered pauses.

use crate::dialer::Dialer;
use crate::limits::{
    ECHO_MS, HEARTBEAT_MS, LINK_CREDIT_STEP_BYTES, LINK_OUTPUT_HIGH_BYTES, LINK_READ_BYTES_PER_TURN, LINK_SILENCE_MS,
    LINK_WINDOW_BYTES, REDIAL_MS_MAX, REDIAL_MS_MIN, REDIAL_SOON_MS, REDIAL_SOON_MS_MAX,
};
use hearth_link::{Output, Socket, Watch};
use hearth_wire::codec::{self, FRAME_BYTES_MAX, PREFIX_BYTES};
use hearth_wire::ids::ShardIndex;
use hearth_wire::to_core::{self, Echo, Heartbeat, LinkCredit, PREAMBLE_MAGIC, ToCore};
use hearth_wire::to_edge::Welcome;
use mio::{Registry, Token};
use std::collections::VecDeque;
use std::fmt;
use std::io;

/// The latest link version that an edge of this build speaks.
const VERSION_MAX: u16 = to_core::VERSION_ATTACH;

/// Who this loop is, for `Hello`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) edge: String,
    pub(crate) incarnation: u64,
    pub(crate) event_loop: u16,
    pub(crate) event_loops: u16,
}

/// Why a link ended.
#[derive(Debug)]
pub(crate) enum LinkError {
    Io(io::Error),
    Closed,
    Silent,
    Wire(codec::WireError),
    Refused(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Io(error) => error.fmt(f),
            LinkError::Closed => f.write_str("closed by the core"),
            LinkError::Silent => f.write_str("silent for too long"),
            LinkError::Wire(error) => error.fmt(f),
            LinkError::Refused(reason) => write!(f, "refused by the core: {reason}"),
        }
    }
}

/// See the module.
pub(crate) struct Link {
    shard: ShardIndex,
    socket: Option<(Socket, Watch)>,
    /// `Welcome` came.
    up: bool,
    /// What is spoken then.
    version: u16,
    /// Behind the last session that was named here.
    pub(crate) all_sent: bool,
    /// Frames for the core.
    out: Output,
    /// Frames of the core not yet whole.
    input: Vec<u8>,
    sent_bytes: u64,
    credit_bytes: u64,
    received_bytes: u64,
    granted_bytes: u64,
    last_sent_ms: u64,
    last_received_ms: u64,
    /// When the question of how long a round trip takes went out, microseconds: under way.
    echo_sent_us: Option<u64>,
    /// When it is due again.
    echo_at_ms: u64,
    redial_at_ms: u64,
    redial_pause_ms: u64,
    /// Since when it is down.
    down_since_ms: Option<u64>,
    /// Clients that are not read because this link has no room, by their counters: whoever waits longest first.
    pub(crate) waiting: VecDeque<u64>,
    /// There is more room than before.
    freed: bool,
    /// The first of them has a stanza that is larger than the room: nobody overtakes it, until there is more.
    short: bool,
}

impl Link {
    /// A link that is dialled at once.
    pub(crate) fn new(shard: ShardIndex) -> Link {
        Link {
            shard,
            socket: None,
            up: false,
            version: 0,
            all_sent: false,
            out: Output::default(),
            input: Vec::new(),
            sent_bytes: 0,
            credit_bytes: 0,
            received_bytes: 0,
            granted_bytes: 0,
            last_sent_ms: 0,
            last_received_ms: 0,
            echo_sent_us: None,
            echo_at_ms: 0,
            redial_at_ms: 0,
            redial_pause_ms: REDIAL_MS_MIN,
            down_since_ms: None,
            waiting: VecDeque::new(),
            freed: false,
            short: false,
        }
    }

    /// The core has answered: clients may be spoken of.
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Sessions outlive this link.
    pub(crate) fn attaches(&self) -> bool {
        self.up && self.version >= to_core::VERSION_ATTACH
    }

    /// Bytes of credited frames that may be sent now; 0 while too much waits for the socket.
    pub(crate) fn credit(&self) -> u64 {
        if self.up && !self.is_full() { self.credit_bytes.saturating_sub(self.sent_bytes) } else { 0 }
    }

    /// Whether the first of those who wait may have its turn.
    pub(crate) fn serves(&self) -> bool {
        !self.waiting.is_empty() && !self.short && self.credit() > 0
    }

    /// Lets a client wait for room. `short`: what it has to say is larger than what there is; and it has said nothing else in this turn,
    /// so that it keeps its place.
    pub(crate) fn wait(&mut self, counter: u64, short: bool) {
        self.short |= short;
        if short { self.waiting.push_front(counter) } else { self.waiting.push_back(counter) }
    }

    /// Too much waits for the socket.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting_bytes() >= LINK_OUTPUT_HIGH_BYTES as u64
    }

    /// What waits for the socket.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.out.waiting() as u64
    }

    /// Where frames are appended. Credited ones are counted by [`Link::charge`].
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        self.out.end()
    }

    /// Bytes of a credited frame that was appended.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes as u64);
    }

    /// Sends a frame that needs no credit; false while the link is down.
    pub(crate) fn send(&mut self, frame: &ToCore<'_>) -> bool {
        if self.up {
            frame.encode(self.out.end());
        }
        self.up
    }

    /// Dials if it is time to.
    pub(crate) fn dial(
        &mut self,
        dialer: &Dialer,
        identity: &Identity,
        registry: &Registry,
        token: Token,
        now_ms: u64,
    ) -> Result<(), LinkError> {
        if self.socket.is_some() || now_ms < self.redial_at_ms {
            return Ok(());
        }
        let mut socket = dialer.dial().map_err(LinkError::Io)?;
        let watch = Watch::begin(&mut socket, registry, token).map_err(LinkError::Io)?;
        self.socket = Some((socket, watch));
        (self.last_sent_ms, self.last_received_ms) = (now_ms, now_ms);
        self.granted_bytes = LINK_WINDOW_BYTES;
        self.out.end().extend_from_slice(&PREAMBLE_MAGIC);
        self.out.end().extend_from_slice(&self.shard.to_le_bytes());
        ToCore::Hello(to_core::Hello {
            version_min: to_core::VERSION_MIN,
            version_max: VERSION_MAX,
            edge: &identity.edge,
            incarnation: identity.incarnation,
            event_loop: identity.event_loop,
            event_loops: identity.event_loops,
            shard: self.shard,
            link_credit: self.granted_bytes,
        })
        .encode(self.out.end());
        Ok(())
    }

    /// The core has answered, in a version that was offered.
    pub(crate) fn on_welcome(&mut self, welcome: &Welcome) -> Result<(), LinkError> {
        if !(to_core::VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
            return Err(LinkError::Refused(format!("it speaks version {}", welcome.version)));
        }
        (self.up, self.version) = (true, welcome.version);
        self.credit_bytes = welcome.link_credit;
        (self.redial_pause_ms, self.down_since_ms) = (REDIAL_MS_MIN, None);
        Ok(())
    }

    /// The core restates its credit.
    pub(crate) fn on_credit(&mut self, credit: &LinkCredit) {
        if credit.bytes > self.credit_bytes {
            self.credit_bytes = credit.bytes;
            self.freed = true;
        }
    }

    /// An answer to [`Echo`]: when the question went out, if it is of that.
    pub(crate) fn on_echo(&mut self, echo: &Echo) -> Option<u64> {
        self.echo_sent_us.take_if(|sent_us| *sent_us == echo.token)
    }

    /// A credited frame of the core, with its prefix, was read.
    pub(crate) fn on_credited(&mut self, frame_bytes: usize) {
        self.received_bytes = self.received_bytes.saturating_add(frame_bytes.saturating_add(PREFIX_BYTES) as u64);
        let limit = self.received_bytes.saturating_add(LINK_WINDOW_BYTES);
        if limit.saturating_sub(self.granted_bytes) >= LINK_CREDIT_STEP_BYTES {
            self.granted_bytes = limit;
            ToCore::LinkCredit(LinkCredit { bytes: limit }).encode(self.out.end());
        }
    }

    /// Reads what has come, as far as one turn allows; true if more may wait. The frames are taken
    /// with [`Link::take_input`].
    pub(crate) fn read(&mut self, scratch: &mut [u8], now_ms: u64) -> Result<bool, LinkError> {
        let Some((socket, _)) = &mut self.socket else { return Ok(false) };
        let mut total = 0usize;
        while total < LINK_READ_BYTES_PER_TURN {
            match socket.read(scratch) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(n) => {
                    self.last_received_ms = now_ms;
                    self.input.extend_from_slice(scratch.get(..n).unwrap_or_default());
                    total = total.saturating_add(n);
                    if n < scratch.len() {
                        return Ok(socket.has_ended());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(LinkError::Io(e)),
            }
        }
        Ok(true)
    }

    /// All bytes read; what is not a whole frame comes back with [`Link::keep_input`].
    pub(crate) fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Gives the buffer back, less its first `used` bytes.
    pub(crate) fn keep_input(&mut self, mut input: Vec<u8>, used: usize) {
        input.drain(..used.min(input.len()));
        if input.is_empty() && input.capacity() > LINK_READ_BYTES_PER_TURN / 4 {
            input = Vec::new();
        }
        self.input = input;
    }

    /// The first whole frame of `input`, and its bytes with prefix.
    pub(crate) fn split(input: &[u8]) -> Result<Option<(&[u8], usize)>, LinkError> {
        codec::split(input, FRAME_BYTES_MAX).map_err(LinkError::Wire)
    }

    /// Sends what waits. True if there is more room than before.
    pub(crate) fn flush(&mut self, now_ms: u64, registry: &Registry) -> Result<bool, LinkError> {
        let was_full = self.is_full();
        let blocked = self.write(now_ms)?;
        if let Some((socket, watch)) = &mut self.socket {
            watch.follow(blocked, socket, registry).map_err(LinkError::Io)?;
        }
        self.freed |= was_full && !self.is_full();
        self.short &= !self.freed;
        Ok(std::mem::take(&mut self.freed))
    }

    /// True if some of it waits for room.
    fn write(&mut self, now_ms: u64) -> Result<bool, LinkError> {
        let Some((socket, _)) = &mut self.socket else { return Ok(false) };
        let written = self.out.write(socket, LINK_OUTPUT_HIGH_BYTES);
        let (bytes, blocked) = written.map_err(|error| match error.kind() {
            io::ErrorKind::WriteZero => LinkError::Closed,
            _ => LinkError::Io(error),
        })?;
        if bytes > 0 {
            self.last_sent_ms = now_ms;
        }
        Ok(blocked)
    }

    /// Once in a while: round trip, heartbeat and silence.
    pub(crate) fn on_tick(&mut self, now_ms: u64, turn_us: u64) -> Result<(), LinkError> {
        if self.socket.is_none() {
            return Ok(());
        }
        if now_ms.saturating_sub(self.last_received_ms) >= LINK_SILENCE_MS {
            return Err(LinkError::Silent);
        }
        // Behind a core that has not answered there is nothing to measure yet.
        if self.up && self.echo_sent_us.is_none() && now_ms >= self.echo_at_ms {
            self.echo_at_ms = now_ms.saturating_add(ECHO_MS);
            self.echo_sent_us = Some(turn_us);
            ToCore::Echo(Echo { token: turn_us }).encode(self.out.end());
        }
        if self.up && self.out.waiting() == 0 && now_ms.saturating_sub(self.last_sent_ms) >= HEARTBEAT_MS {
            ToCore::Heartbeat(Heartbeat {}).encode(self.out.end());
        }
        Ok(())
    }

    /// The link is dead: forgets everything of it and plans the next dial. `random` spreads the dials
    /// of many loops and edges.
    pub(crate) fn drop_connection(&mut self, now_ms: u64, random: u64) {
        let (pause, since) = (self.redial_pause_ms, self.down_since_ms.unwrap_or(now_ms));
        let soon = now_ms.saturating_sub(since) < REDIAL_SOON_MS;
        *self = Link::new(self.shard);
        self.down_since_ms = Some(since);
        let jitter = random % pause.div_ceil(2).max(1);
        self.redial_at_ms = now_ms.saturating_add(pause).saturating_sub(jitter);
        let most = if soon { REDIAL_SOON_MS_MAX } else { REDIAL_MS_MAX };
        self.redial_pause_ms = pause.saturating_mul(2).min(most);
    }

    /// Whether no dial has failed since the link was last up: the failure is news.
    pub(crate) fn failed_first(&self) -> bool {
        self.redial_pause_ms == REDIAL_MS_MIN
    }

    /// When [`Link::on_tick`] or [`Link::dial`] has something to do at the latest.
    pub(crate) fn next_ms(&self) -> u64 {
        if self.socket.is_none() {
            return self.redial_at_ms;
        }
        let silent = self.last_received_ms.saturating_add(LINK_SILENCE_MS);
        if !self.up {
            return silent;
        }
        let echo = if self.echo_sent_us.is_none() { self.echo_at_ms } else { u64::MAX };
        silent.min(self.last_sent_ms.saturating_add(HEARTBEAT_MS)).min(echo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redials_wait_longer_each_time_and_differ() {
        let mut link = Link::new(3);
        let (mut now, mut soon, mut later) = (1000, Vec::new(), Vec::new());
        for random in (0..200).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            link.drop_connection(now, random);
            let wait = link.next_ms() - now;
            if now < 1000 + REDIAL_SOON_MS {
                soon.push(wait)
            } else {
                later.push(wait)
            }
            now += wait;
        }
        assert!(soon.iter().all(|wait| (REDIAL_MS_MIN / 2..=REDIAL_SOON_MS_MAX).contains(wait)), "{soon:?}");
        assert!(soon.len() > 75 && later.len() > 20, "{} {}", soon.len(), later.len());
        assert!(later[..2].iter().all(|wait| *wait < 1_000), "it grows from there: {later:?}");
        assert!(later[10..].iter().all(|wait| (REDIAL_MS_MAX / 2..=REDIAL_MS_MAX).contains(wait)), "{later:?}");
        assert!(later.iter().collect::<std::collections::BTreeSet<_>>().len() > 10, "they differ");
        assert_eq!(link.shard, 3);
    }

    #[test]
    fn credit_is_restated_before_it_is_used_up() {
        let mut link = Link::new(0);
        link.granted_bytes = LINK_WINDOW_BYTES;
        let mut last = 0;
        for _ in 0..1000 {
            link.on_credited(100_000);
            assert!(link.granted_bytes > link.received_bytes && link.granted_bytes >= last);
            last = link.granted_bytes;
        }
        assert!(link.out().len() < 1000 * 10 && !link.out().is_empty());
    }
}
