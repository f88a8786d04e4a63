//! Rows that stay and refer to rows that vanish: what follows when a search has found some.

use tokio_postgres::Row;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName, plain};

/// As many keys are named in an error.
pub(super) const KEYS_SHOWN: usize = 5;

/// Fails if rows of `from` were found that refer by `key` to what vanishes from `table`. `found` has their number, and the
/// first of their keys as text.
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
