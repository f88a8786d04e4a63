//! Fails when a search has found remaining rows that reference rows to be deleted.

use tokio_postgres::Row;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName, plain};

/// The most keys shown in an error.
pub(super) const KEYS_SHOWN: usize = 5;

/// Fails if rows of `from` reference rows of `table` that vanish, through the foreign key `key`. `found` holds their number
/// and the first of their keys as text.
///
/// # Errors
/// [`Kind::Guard`] with both.
pub(super) fn refuse(found: &Row, table: &TableName, from: &TableName, key: &Ident) -> Result<()> {
    let rows: i64 = found.get(0);
    if rows == 0 {
        return Ok(());
    }
    let keys: Option<String> = found.get(1);
    let message = format!(
        "{}: {rows} rows of {} ({}) would still reference rows to be deleted: {}",
        table.plain(),
        from.plain(),
        plain(key),
        keys.unwrap_or_default()
    );
    Err(Error::new(Phase::Apply, Kind::Guard, message).hint(
        "Nothing was changed. Delete these rows or point them at other rows first, or keep the rows they \
         reference in the source.",
    ))
}
