//! Whole items out of a stream that arrives in pieces. Holds no memory between whole items.

use super::limits::ELEMENT_BYTES_MAX;
use super::scan::{Element, Kind, Scanner};

/// What follows an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    GoOn,
    /// Nothing of this stream: a new one begins (RFC 6120 §4.3.3).
    NewStream,
}

/// The beginning of an item whose end has not arrived, and where in the stream it is.
#[derive(Debug, Default)]
pub(crate) struct Framing {
    scanner: Scanner,
    partial: Vec<u8>,
}

impl Framing {
    /// Gives each whole element to `on_element`. `Ok(false)`: the stream has ended.
    ///
    /// # Errors
    /// Those of `on_element`, and an element without end.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        mut on_element: impl FnMut(Element<'_>) -> Result<Next, String>,
    ) -> Result<bool, String> {
        if self.partial.is_empty() {
            let (done, going_on) = self.scan(bytes, &mut on_element)?;
            self.partial.extend_from_slice(bytes.get(done..).unwrap_or_default());
            return Ok(going_on);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(bytes);
        let (done, going_on) = self.scan(&whole, &mut on_element)?;
        whole.drain(..done);
        if whole.len() > ELEMENT_BYTES_MAX {
            return Err("an element without end".into());
        }
        if !whole.is_empty() {
            self.partial = whole; // else its memory goes back: idle sessions hold none
        }
        Ok(going_on)
    }

    /// Says how many bytes are done with and whether the stream goes on.
    fn scan(
        &mut self,
        buffer: &[u8],
        on_element: &mut impl FnMut(Element<'_>) -> Result<Next, String>,
    ) -> Result<(usize, bool), String> {
        while let Some(item) = self.scanner.next(buffer) {
            let element = Element(buffer.get(item.range).unwrap_or_default());
            match item.kind {
                Kind::Header => {}
                Kind::End => return Ok((buffer.len(), false)),
                Kind::Element => {
                    if on_element(element)? == Next::NewStream {
                        self.scanner = Scanner::default();
                        return Ok((buffer.len(), true));
                    }
                }
            }
        }
        Ok((self.scanner.rewind(), true))
    }
}
