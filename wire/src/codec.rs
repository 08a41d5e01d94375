//! Length-prefixed frames and the errors of decoding.

use crate::limits::ELEMENTS_UNSEEN_MAX;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;

pub use crate::limits::FRAME_BYTES_MAX;

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
    /// The tree inside is broken, too deep or says what XML cannot.
    BadTree,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::TooLong { len, max } => write!(f, "frame of {len} bytes, at most {max} are allowed"),
            WireError::Empty => f.write_str("frame without a kind"),
            WireError::Malformed { kind } => write!(f, "frame of kind {kind} does not decode"),
            WireError::BadStanza => f.write_str("stanza does not decode"),
            WireError::BadTree => f.write_str("payload is broken, too deep or not XML"),
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

/// Lets postcard append to a buffer that others wrote to and will write to.
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

/// Appends a value without prefix or kind.
pub(crate) fn append_body<T: Serialize>(out: &mut Vec<u8>, body: &T) {
    // Serialising our own structs into memory has no failure: no maps of unknown length, no I/O.
    let done = postcard::serialize_with_flavor(body, Tail(out));
    debug_assert!(done.is_ok());
}

/// Appends one frame. The body is written in place behind a prefix that is patched afterwards.
pub(crate) fn append<T: Serialize>(out: &mut Vec<u8>, kind: u8, body: &T) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind]);
    append_body(out, body);
    let len = out.len().saturating_sub(start).saturating_sub(PREFIX_BYTES);
    debug_assert!(len <= FRAME_BYTES_MAX, "a frame of {len} bytes, which the peer will refuse");
    if let Some(prefix) = out.get_mut(start..start.saturating_add(PREFIX_BYTES)) {
        prefix.copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// Decodes the struct at the start of `body`; trailing bytes belong to a later release.
pub(crate) fn body<'a, T: Deserialize<'a>>(kind: u8, body: &'a [u8]) -> Result<T, WireError> {
    postcard::take_from_bytes(body).map(|(value, _)| value).map_err(|_| WireError::Malformed { kind })
}

/// Reads a list without believing the count in front of it: serde would set aside a megabyte for a frame
/// of ten bytes. More than `MAX` elements do not decode.
pub(crate) fn bounded<'de, T: Deserialize<'de>, D: Deserializer<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let count = seq.size_hint().unwrap_or(0);
            if count > MAX {
                return Err(A::Error::custom("too many elements"));
            }
            let mut list = Vec::with_capacity(count.min(ELEMENTS_UNSEEN_MAX));
            while let Some(element) = seq.next_element()? {
                list.push(element);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

/// Declares the frames of one direction: the enum, `encode` and `decode`.
macro_rules! frames {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $number:literal => $variant:ident($body:ty)),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug)]
        pub enum $name<'a> { $($(#[$vdoc])* $variant($body)),+ }

        impl<'a> $name<'a> {
            /// Number and name of every kind this build knows.
            pub const KINDS: &'static [(u8, &'static str)] = &[$(($number, stringify!($variant))),+];

            /// Appends this frame, with its length prefix, to `out`. Keeping it under
            /// [`FRAME_BYTES_MAX`](crate::codec::FRAME_BYTES_MAX) is the sender's business.
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

            /// The frame's kind as it is written on the link.
            pub fn kind(&self) -> u8 {
                match self { $($name::$variant(_) => $number),+ }
            }

            /// The frame's name, for logs and wire dumps.
            pub fn name(&self) -> &'static str {
                match self { $($name::$variant(_) => stringify!($variant)),+ }
            }
        }
    };
}
pub(crate) use frames;
