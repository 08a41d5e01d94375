//! The log at one point, for a backup: which segments it had, and how long each was.

use super::record::log_id;
use super::sealed::Sealed;
use super::{Active, SegmentLog, segment};
use crate::disk::{DiskFile, io_error};
use crate::{LogId, StoreError};
use std::fs::File;
use std::io;
use std::sync::Arc;

/// The log as it was when it was pinned. Nothing is held back by it: what is appended since lies behind the
/// ends noted here, and what is dropped meanwhile is not found any more.
pub(crate) struct Pinned {
    sealed: Arc<Vec<Arc<Sealed>>>,
    /// Number and end of the segment that was appended to.
    active: Option<(u32, u32)>,
    pub(crate) head: LogId,
}

/// A segment up to where it reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PinnedSegment {
    pub(crate) number: u32,
    pub(crate) bytes: u64,
}

impl PinnedSegment {
    /// Its name in `log/`.
    pub(crate) fn name(&self) -> String {
        segment::path("".as_ref(), self.number).display().to_string()
    }

    pub(crate) fn index_name(&self) -> String {
        segment::index_path("".as_ref(), self.number).display().to_string()
    }
}

impl Pinned {
    /// The newest first: what old ones are dropped while others are copied, is missing at the end.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = PinnedSegment> + '_ {
        let active = self.active.map(|(number, end)| PinnedSegment { number, bytes: u64::from(end) });
        let sealed = self.sealed.iter().rev().map(|sealed| &sealed.summary);
        active.into_iter().chain(sealed.map(|summary| PinnedSegment { number: summary.segment, bytes: summary.bytes }))
    }
}

impl SegmentLog {
    /// Notes what is visible now; waits for no append.
    pub(crate) fn pin(&self) -> Pinned {
        let visible = self.visible();
        let active = visible.active.as_ref().map(|Active { number, contents, .. }| (*number, contents.end));
        debug_assert!(active.is_none_or(|(number, end)| visible.head <= log_id(number, end)));
        Pinned { sealed: visible.sealed.clone(), active, head: visible.head }
    }

    /// `None`: it was dropped since it was pinned.
    pub(crate) fn open_pinned(&self, pinned: &PinnedSegment) -> Result<Option<DiskFile>, StoreError> {
        let opened = self.shared.open_sealed(pinned.number)?;
        // Dropped ones leave the list first, so one that is missing and listed was taken by somebody else.
        if opened.is_none() && self.pin().newest_first().any(|listed| listed.number == pinned.number) {
            return Err(StoreError::Corrupt { what: format!("log segment {} is missing", pinned.number) });
        }
        Ok(opened)
    }

    /// The index of a sealed segment, if it is in a file by now; a store makes it anew where it is missing.
    pub(crate) fn open_index(&self, pinned: &PinnedSegment) -> Result<Option<File>, StoreError> {
        match File::open(segment::index_path(&self.shared.dir, pinned.number)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("opening a log index", &error)),
        }
    }
}
