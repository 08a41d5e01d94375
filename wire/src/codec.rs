//! Length-prefixed frames and the errors of decoding.

use serde::{Deserialize, Serialize};
use std::fmt;

/// No frame is longer, so that neither side buffers more than this for one peer. A stanza of
/// 256 KiB of XML stays under 512 KiB as a tree; a multicast adds at most 4,096 targets.
pub const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of the length prefix.
pub const PREFIX_BYTES: usize = 4;

/// Why bytes of a peer were refused. The link that brought them is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WireError {
    /// The frame says it is longer than allowed.
    TooLong { len: usize, max: usize },
    /// A frame without a kind.
    Empty,
    /// The body does not decode as the struct of its kind.
    Malformed { kind: u8 },
    /// A stanza or tree inside a frame or record does not decode.
    BadStanza,
    /// The tree inside is broken or too deep.
    BadTree,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::TooLong { len, max } => write!(f, "frame of {len} bytes, at most {max} are allowed"),
            WireError::Empty => f.write_str("frame without a kind"),
            WireError::Malformed { kind } => write!(f, "frame of kind {kind} does not decode"),
            WireError::BadStanza => f.write_str("stanza does not decode"),
            WireError::BadTree => f.write_str("payload tree does not decode"),
        }
    }
}

impl std::error::Error for WireError {}

/// The first whole frame (kind and body, without prefix) at the start of `buffer` and how many
/// bytes it takes with its prefix; `None` while more bytes are needed.
pub fn split(buffer: &[u8], max: usize) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let len = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
    if len > max {
        return Err(WireError::TooLong { len, max });
    }
    if len == 0 {
        return Err(WireError::Empty);
    }
    Ok(rest.get(..len).map(|frame| (frame, PREFIX_BYTES.saturating_add(len))))
}

/// Appends one frame. The body is written in place behind a prefix that is patched afterwards.
pub(crate) fn append<T: Serialize>(out: &mut Vec<u8>, kind: u8, body: &T) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.push(kind);
    struct Tail<'a>(&'a mut Vec<u8>);
    impl postcard::ser_flavors::Flavor for Tail<'_> {
        type Output = ();
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }
    // Serialising our own structs into memory has no failure: no maps of unknown length, no I/O.
    let done = postcard::serialize_with_flavor(body, Tail(out));
    debug_assert!(done.is_ok());
    let len = out.len().saturating_sub(start).saturating_sub(PREFIX_BYTES);
    if let Some(prefix) = out.get_mut(start..start.saturating_add(PREFIX_BYTES)) {
        prefix.copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// Decodes the struct at the start of `body`; trailing bytes belong to a later release.
pub(crate) fn body<'a, T: Deserialize<'a>>(kind: u8, body: &'a [u8]) -> Result<T, WireError> {
    postcard::take_from_bytes(body).map(|(value, _)| value).map_err(|_| WireError::Malformed { kind })
}

/// Declares the frames of one direction: the enum, `encode` and `decode`.
macro_rules! frames {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $number:literal => $variant:ident($body:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug)]
        pub enum $name<'a> { $($(#[$vdoc])* $variant($body)),+ }

        impl<'a> $name<'a> {
            /// Appends this frame, with its length prefix, to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self { $($name::$variant(body) => $crate::codec::append(out, $number, body)),+ }
            }

            /// Decodes one frame as [`codec::split`](crate::codec::split) returned it. `None` is a
            /// kind this build does not know: skip it.
            pub fn decode(frame: &'a [u8]) -> Result<Option<$name<'a>>, $crate::codec::WireError> {
                let (kind, body) = frame.split_first().ok_or($crate::codec::WireError::Empty)?;
                Ok(match *kind {
                    $($number => Some($name::$variant($crate::codec::body($number, body)?)),)+
                    _ => None,
                })
            }

            /// The frame's name, for logs and wire dumps.
            pub fn name(&self) -> &'static str {
                match self { $($name::$variant(_) => stringify!($variant)),+ }
            }
        }
    };
}
pub(crate) use frames;
