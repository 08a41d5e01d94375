//! A copy of `hearth.redb` while it is written to: what one read transaction sees, put into a new file.
//!
//! Not the file's bytes: those of one transaction are scattered among those of later ones, and how redb finds
//! them is its own affair. The copy is as compact as the file can be. Pages of the transaction are not used
//! again until it ends, so the file grows meanwhile by what is changed.

use super::views::{ReadTables, WriteTables, redb_error};
use super::{RedbSmall, StoreError};
use crate::limits;
use crate::tables::{self, Table, Tables, TablesMut};
use hearth_wire::ids::SlotEpoch;
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase};
use std::fs::File;
use std::path::Path;
use std::sync::PoisonError;

/// Small state as it was at one point. Where the file fails and is opened anew, redb refuses to read on: nobody
/// would keep a view's pages from being used again.
pub(crate) struct View {
    tables: ReadTables,
    /// Size of the file, for saying how far a copy is.
    pub(crate) file_bytes: u64,
}

/// Keys and values in order.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

impl RedbSmall {
    /// A view, and what `pin` answers while no commit is under way and none begins. Waits for the one under
    /// way; the next waits as long as `pin` takes.
    pub(crate) fn view<T>(&self, pin: impl FnOnce() -> T) -> Result<(View, T), StoreError> {
        let _no_commit = self.writing();
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = &file.db else { return Err(file.unavailable()) };
        let txn = db.begin_read().map_err(|error| redb_error("reading hearth.redb", error))?;
        let file_bytes = std::fs::metadata(self.path()).map_or(0, |metadata| metadata.len());
        Ok((View { tables: ReadTables::new(txn), file_bytes }, pin()))
    }
}

impl View {
    /// Name and newest epoch of the store.
    pub(crate) fn identity(&mut self) -> Result<([u8; 16], SlotEpoch), StoreError> {
        let store_id = tables::store_record(&mut self.tables)?.store_id;
        Ok((store_id, tables::newest_epoch(&mut self.tables)?.0))
    }

    /// Entries of all tables; how many were copied already measures a copy's progress.
    pub(crate) fn entries(&self) -> Result<u64, StoreError> {
        Table::ALL.iter().try_fold(0_u64, |sum, table| Ok(sum.saturating_add(self.tables.len(*table)?)))
    }

    /// Entries behind `after`, in order, about `bytes_max` bytes of them.
    fn page(&mut self, table: Table, after: Option<&[u8]>, bytes_max: usize) -> Result<Entries, StoreError> {
        // The next possible key.
        let from = after.map_or_else(Vec::new, |after| [after, &[0]].concat());
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        // No key begins so: they are text, or begin with a slot's number.
        self.tables.scan(table, &from, &[0xff], &mut |key, value| {
            page.push((key.to_vec(), value.to_vec()));
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            Ok(bytes < bytes_max)
        })?;
        Ok(page)
    }

    /// Puts everything into `file`, which is empty, and syncs it. `copied` hears of every page how many entries
    /// and bytes it had, and may end it.
    pub(crate) fn copy_to<E: From<StoreError>>(
        &mut self,
        file: File,
        mut copied: impl FnMut(u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let copy = open_copy(file)?;
        for table in Table::ALL {
            let mut last: Option<Vec<u8>> = None;
            loop {
                let page = self.page(table, last.as_deref(), limits::COPY_SMALL_BYTES)?;
                let Some((key, _)) = page.last() else { break };
                last = Some(key.clone());
                change(&copy, |tables| page.iter().try_for_each(|(key, value)| tables.put(table, key, value)))?;
                let bytes: usize = page.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum();
                copied(u64::try_from(page.len()).unwrap_or(u64::MAX), u64::try_from(bytes).unwrap_or(u64::MAX))?;
            }
        }
        copy.close().map_err(|error| redb_error("closing the copy of hearth.redb", error).into())
    }
}

/// Makes a copy one that goes on from an earlier point, under a later epoch than `least`. Fails where this build
/// does not know the store.
pub(crate) fn restored(path: &Path, least: SlotEpoch) -> Result<(), StoreError> {
    let opening = |error| crate::disk::io_error("opening hearth.redb", &error);
    let file = File::options().read(true).write(true).open(path).map_err(opening)?;
    let db = open_copy(file)?;
    change(&db, |tables| match tables::schema_exists(tables)? {
        true => tables::restored(tables, least),
        false => Err(StoreError::Corrupt { what: "hearth.redb is empty".to_owned() }),
    })?;
    db.close().map_err(|error| redb_error("closing hearth.redb", error))
}

fn open_copy(file: File) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(limits::COPY_CACHE_BYTES);
    let backend = FileBackend::new(file).map_err(|error| redb_error("opening a copy of hearth.redb", error))?;
    builder.create_with_backend(backend).map_err(|error| redb_error("opening a copy of hearth.redb", error))
}

/// One commit.
fn change(db: &Database, work: impl FnOnce(&mut WriteTables<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
    let txn = db.begin_write().map_err(|error| redb_error("beginning a commit to a copy", error))?;
    let mut view = WriteTables::new(&txn);
    work(&mut view)?;
    drop(view);
    txn.commit().map_err(|error| redb_error("committing to a copy", error))
}
