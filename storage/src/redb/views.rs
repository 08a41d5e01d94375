//! redb transactions as [`Tables`].

use crate::StoreError;
use crate::disk::io_error;
use crate::tables::{Table, Tables, TablesMut, Visit};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction};

type Bytes = &'static [u8];

const fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(match table {
        Table::Accounts => "accounts",
        Table::Blobs => "blobs",
        Table::Devices => "devices",
        Table::Directory => "directory",
        Table::Domains => "domains",
        Table::Edges => "edges",
        Table::Executed => "executed",
        Table::Late => "late",
        Table::Listings => "listings",
        Table::Looks => "looks",
        Table::Sessions => "sessions",
        Table::Slots => "slots",
        Table::Meta => "meta",
    })
}

/// The newest layout of redb's own file that this build reads.
const REDB_FILE_VERSION: u32 = 3;

pub(super) fn redb_error(doing: &'static str, error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    if let redb::Error::Io(error) = &error {
        return io_error(doing, error);
    }
    if let redb::Error::Corrupted(what) = error {
        return StoreError::Corrupt { what: format!("hearth.redb: {what}") };
    }
    if let redb::Error::UpgradeRequired(found) = error {
        return StoreError::UnknownVersion { found: u32::from(found), known: REDB_FILE_VERSION };
    }
    StoreError::Io { doing, cause: error.to_string() }
}

pub(super) struct ReadTables {
    txn: ReadTransaction,
}

impl ReadTables {
    pub(super) fn new(txn: ReadTransaction) -> ReadTables {
        ReadTables { txn }
    }

    /// How many entries a table has.
    pub(super) fn len(&self, table: Table) -> Result<u64, StoreError> {
        match self.txn.open_table(definition(table)) {
            Ok(open) => open.len().map_err(|error| redb_error("reading hearth.redb", error)),
            Err(TableError::TableDoesNotExist(_)) => Ok(0),
            Err(error) => Err(redb_error("opening a table", error)),
        }
    }
}

impl Tables for ReadTables {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.txn.open_table(definition(table)) {
            Ok(open) => get(&open, key),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(redb_error("opening a table", error)),
        }
    }

    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        match self.txn.open_table(definition(table)) {
            Ok(open) => scan(&open, from, to, visit),
            Err(TableError::TableDoesNotExist(_)) => Ok(()),
            Err(error) => Err(redb_error("opening a table", error)),
        }
    }
}

/// A write transaction whose tables are opened when first used.
pub(super) struct WriteTables<'t> {
    txn: &'t WriteTransaction,
    open: [Option<redb::Table<'t, Bytes, Bytes>>; Table::COUNT],
    dirty: bool,
}

impl<'t> WriteTables<'t> {
    pub(super) fn new(txn: &'t WriteTransaction) -> WriteTables<'t> {
        WriteTables { txn, open: Default::default(), dirty: false }
    }

    /// Whether anything was written.
    pub(super) fn dirty(&self) -> bool {
        self.dirty
    }

    fn table(&mut self, table: Table) -> Result<&mut redb::Table<'t, Bytes, Bytes>, StoreError> {
        let place = table.place(&mut self.open);
        match place {
            Some(open) => Ok(open),
            None => {
                let opened = self.txn.open_table(definition(table));
                Ok(place.insert(opened.map_err(|error| redb_error("opening a table", error))?))
            }
        }
    }
}

impl Tables for WriteTables<'_> {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(self.table(table)?, key)
    }

    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        scan(self.table(table)?, from, to, visit)
    }
}

impl TablesMut for WriteTables<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.dirty = true;
        match self.table(table)?.insert(key, value) {
            Ok(_) => Ok(()),
            Err(error) => Err(redb_error("writing to hearth.redb", error)),
        }
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.dirty = true;
        match self.table(table)?.remove(key) {
            Ok(_) => Ok(()),
            Err(error) => Err(redb_error("writing to hearth.redb", error)),
        }
    }
}

fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let found = table.get(key).map_err(|error| redb_error("reading hearth.redb", error))?;
    Ok(found.map(|value| value.value().to_vec()))
}

fn scan(table: &impl ReadableTable<Bytes, Bytes>, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
    if from >= to {
        return Ok(());
    }
    let reading = |error| redb_error("reading hearth.redb", error);
    for entry in table.range(from..to).map_err(reading)? {
        let (key, value) = entry.map_err(reading)?;
        if !visit(key.value(), value.value())? {
            break;
        }
    }
    Ok(())
}
