//! Prints a captured link byte stream frame by frame.
//!
//! ```text
//!  bytes ──▶ split ──▶ decode ──▶ fields::Fields ──▶ human (indented trees) or JSON (a line a frame)
//! ```
//! Whatever the bytes are, each problem is one line and the next frame follows, as long as lengths
//! can be believed. Passwords and keys cross links: bytes that are neither stanzas nor features are
//! shown as their number unless asked for.

mod fields;
mod human;
mod json;
#[cfg(test)]
mod tests;

use argh::FromArgs;
use fields::Fields;
use hearth_wire::codec::{FRAME_BYTES_MAX, PREFIX_BYTES, WireError, split};
use hearth_wire::to_core::{PREAMBLE_BYTES, PREAMBLE_MAGIC, ToCore};
use hearth_wire::to_edge::ToEdge;
use std::io::{self, Read, Write};

/// Bytes asked of the input at once.
const READ_BYTES: usize = 64 * 1024;

/// Namespace of what features stand in.
const STREAMS: &str = "http://etherx.jabber.org/streams";

/// Print a captured link byte stream frame by frame. Stanzas are shown as trees, other bytes
/// (SASL data, sealed records, keys) as their number.
#[derive(FromArgs, Debug)]
#[argh(
    name = "wiredump",
    example = "socat -r to-core.bin -R to-edge.bin UNIX-LISTEN:tap.sock UNIX-CONNECT:core.sock   # edges dial tap.sock\n{command_name} --to-core to-core.bin\n{command_name} --to-edge --json < to-edge.bin | jq .body",
    note = "Each line begins with the frame's place in the stream. Exit codes: 0 all was read, 1 some bytes were not a frame, 2 no input."
)]
pub struct Args {
    /// frames an edge sent to a core (a preamble in front is recognised)
    #[argh(switch)]
    pub to_core: bool,
    /// frames a core sent to an edge
    #[argh(switch)]
    pub to_edge: bool,
    /// one JSON object per frame instead of text
    #[argh(switch)]
    pub json: bool,
    /// show all bytes in hexadecimal, passwords in SASL messages too
    #[argh(switch)]
    pub bytes: bool,
    /// file to read; standard input if there is none
    #[argh(positional)]
    pub file: Option<String>,
}

/// Which way the frames went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    ToCore,
    ToEdge,
}

impl Args {
    /// The direction asked for; it cannot be told from the bytes.
    pub fn direction(&self) -> Option<Direction> {
        match (self.to_core, self.to_edge) {
            (true, false) => Some(Direction::ToCore),
            (false, true) => Some(Direction::ToEdge),
            (true, true) | (false, false) => None,
        }
    }
}

/// What one piece of the stream turned out to be.
enum Piece<'a> {
    Preamble { shard: u16 },
    Frame { kind: u8, name: &'static str, fields: Fields<'a>, trailing: usize },
    Unknown { kind: u8, body: fields::Value<'a> },
    Broken { problem: String, frame: fields::Value<'a> },
}

/// How to print, and where in the stream we are.
#[derive(Clone, Copy, Debug)]
pub struct Dump {
    direction: Direction,
    json: bool,
    bytes: bool,
    at: u64,
    all_read: bool,
}

impl Dump {
    /// Frames of `direction`, as the arguments ask.
    pub fn new(direction: Direction, args: &Args) -> Dump {
        Dump { direction, json: args.json, bytes: args.bytes, at: 0, all_read: true }
    }

    /// Prints everything the input has; false if some of it was no frame.
    pub fn run(mut self, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<bool> {
        let mut buffer = Vec::new();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let read = match input.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
            let (used, go_on) = self.print_whole(&buffer, output)?;
            buffer.drain(..used.min(buffer.len()));
            if read == 0 && go_on && !buffer.is_empty() {
                let problem = format!("{} bytes of a frame that ends later", buffer.len());
                self.print(buffer.len(), Piece::Broken { problem, frame: fields::Value::Bytes(&buffer) }, output)?;
            }
            output.flush()?;
            if read == 0 || !go_on {
                return Ok(self.all_read);
            }
        }
    }

    /// Prints the whole pieces at the start of the buffer. How many bytes they take, and whether to go on behind them.
    fn print_whole(&mut self, buffer: &[u8], output: &mut dyn Write) -> io::Result<(usize, bool)> {
        let mut used = 0usize;
        loop {
            let rest = buffer.get(used..).unwrap_or_default();
            if let Some(preamble) = self.preamble(rest) {
                self.print(PREAMBLE_BYTES, preamble, output)?;
                used = used.saturating_add(PREAMBLE_BYTES);
                continue;
            }
            match split(rest, FRAME_BYTES_MAX) {
                Ok(None) => return Ok((used, true)),
                Ok(Some((frame, taken))) => {
                    self.print(taken, self.decode(frame), output)?;
                    used = used.saturating_add(taken);
                }
                Err(WireError::Empty) => {
                    let problem = WireError::Empty.to_string();
                    self.print(PREFIX_BYTES, Piece::Broken { problem, frame: fields::Value::Bytes(&[]) }, output)?;
                    used = used.saturating_add(PREFIX_BYTES);
                }
                Err(error) => {
                    let problem = format!("{error}: the rest cannot be read");
                    self.print(0, Piece::Broken { problem, frame: fields::Value::Bytes(&[]) }, output)?;
                    return Ok((used, false));
                }
            }
        }
    }

    fn preamble(&self, rest: &[u8]) -> Option<Piece<'static>> {
        if self.at > 0 || self.direction == Direction::ToEdge {
            return None;
        }
        let shard = rest.strip_prefix(&PREAMBLE_MAGIC)?.first_chunk()?;
        Some(Piece::Preamble { shard: u16::from_le_bytes(*shard) })
    }

    fn decode<'a>(&self, frame: &'a [u8]) -> Piece<'a> {
        /// Both directions have the same functions.
        macro_rules! decode {
            ($direction:ident, $fields:path) => {
                match $direction::decode(frame) {
                    Ok(Some(decoded)) => {
                        let mut again = Vec::with_capacity(frame.len().saturating_add(PREFIX_BYTES));
                        decoded.encode(&mut again);
                        let trailing = frame.len().saturating_add(PREFIX_BYTES).saturating_sub(again.len());
                        Piece::Frame { kind: decoded.kind(), name: decoded.name(), fields: $fields(&decoded), trailing }
                    }
                    Ok(None) => {
                        let (kind, body) = frame.split_first().unwrap_or((&0, &[]));
                        Piece::Unknown { kind: *kind, body: fields::Value::Bytes(body) }
                    }
                    Err(error) => Piece::Broken { problem: error.to_string(), frame: fields::Value::Bytes(frame) },
                }
            };
        }
        match self.direction {
            Direction::ToCore => decode!(ToCore, fields::to_core),
            Direction::ToEdge => decode!(ToEdge, fields::to_edge),
        }
    }

    /// Prints one piece of `bytes` bytes and goes on behind it.
    fn print(&mut self, bytes: usize, mut piece: Piece<'_>, output: &mut dyn Write) -> io::Result<()> {
        if matches!(piece, Piece::Broken { .. }) {
            self.all_read = false;
        }
        if !self.bytes {
            match &mut piece {
                Piece::Frame { fields, .. } => fields.hide_bytes(),
                Piece::Unknown { body: bytes, .. } | Piece::Broken { frame: bytes, .. } => bytes.hide(),
                Piece::Preamble { .. } => {}
            }
        }
        if self.json {
            json::piece(self.at, bytes, &piece, output)?;
        } else {
            human::piece(self.at, bytes, &piece, output)?;
        }
        self.at = self.at.saturating_add(bytes as u64);
        Ok(())
    }
}
