//! Finds the staged row that a statement was writing when the server refused it.
//!
//! The server does not say which row of an INSERT … SELECT or UPDATE … FROM failed. So the transaction is repeated, and each
//! row is noted when its values are computed, which is after the previous row was written. A sequence holds the note, because
//! its value survives a rollback (manual, 9.17).

use tokio_postgres::Client;

use super::merge::Sides;
use super::{Ready, triggers};
use crate::error::{Error, Kind, Phase, Result, shortened};

/// The sequence.
const SEQUENCE: &str = "pg_temp.bulkload_row";

/// The sequence's value while no row is being written.
const NONE: i64 = 1;

/// Bits of a row's place: 32 for its page, 16 for its item.
const PLACE_BITS: u32 = 48;

/// The most bytes shown of a refused row's key.
const KEY_BYTES_MAX: usize = 300;

/// Advice about a row that the target refuses when it is applied.
const MEND: &str = "Nothing was changed. Correct the row in the source, or filter it out with where.";

/// Returns whether an error may be about a row rather than about the server: data (class 22), a constraint (23, except
/// foreign keys, whose DETAIL names the key), a view's CHECK OPTION (44), a limit (54), or an error raised by a trigger (P0).
pub(super) fn is_about_a_row(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(code.code().get(..2), Some("22" | "23" | "44" | "54" | "P0")) && code.code() != "23503"
    })
}

/// Prepares the session to trace rows.
///
/// # Errors
/// Any server error.
pub(super) async fn prepare(client: &Client) -> Result<()> {
    let sql =
        format!("create sequence if not exists {SEQUENCE}; select pg_catalog.setval('{SEQUENCE}', {NONE})");
    client.batch_execute(&sql).await.map_err(|e| Error::pg(Phase::Apply, "preparing to trace rows", &e))
}

/// Returns SQL for a value of an entry's staged row that notes the row when it is computed. `place` is the row's ctid.
pub(super) fn noting(value: &str, entry: usize, place: &str) -> String {
    let entry = (entry as u64 + 1) << PLACE_BITS;
    let number =
        |n| format!("pg_catalog.split_part(pg_catalog.btrim({place}::text, '()'), ',', {n})::bigint");
    format!(
        "case when pg_catalog.setval('{SEQUENCE}', {entry} + {} * 65536 + {}) > 0 then {value} end",
        number(1),
        number(2)
    )
}

/// Returns SQL for a column that notes the end of writing: only AFTER triggers follow.
pub(super) fn finished() -> String {
    format!("pg_catalog.setval('{SEQUENCE}', {NONE})")
}

/// Adds the refused row's key to the error of a transaction. `again` is the error of the same transaction with rows traced.
pub(super) async fn name(client: &Client, group: &[Vec<&Ready<'_>>], first: Error, again: &Error) -> Error {
    if again.kind() == Kind::Cancelled {
        return Error::cancelled(Phase::Apply);
    }
    let noted = match again.code() == first.code() {
        true => noted(client, group).await,
        false => None,
    };
    let error = triggers::explain(first, group);
    let Some((entry, key)) = noted else { return error };
    let table = group.iter().flatten().find(|table| table.plan.entry == entry);
    let name = table.map(|table| table.plan.name.plain()).unwrap_or_default();
    let message = format!("{}; the row of {name} is {}", error.message(), shortened(&key, KEY_BYTES_MAX));
    let hint = error.advice().map(str::to_owned);
    error.instead(message).hint(hint.unwrap_or_else(|| MEND.to_owned()))
}

/// Returns the table's entry and the readable key of the noted row; `None` if there is none.
async fn noted(client: &Client, group: &[Vec<&Ready<'_>>]) -> Option<(usize, String)> {
    let noted: i64 = client.query_one(&format!("select last_value from {SEQUENCE}"), &[]).await.ok()?.get(0);
    let entry = usize::try_from(noted >> PLACE_BITS).ok()?.checked_sub(1)?;
    let table = group.iter().flatten().find(|table| table.plan.entry == entry)?;
    table.plan.key.as_ref()?;
    let sides = Sides { plan: table.plan, staging: table.staging.as_ref()? };
    let (page, item) = ((noted >> 16) & 0xffff_ffff, noted & 0xffff);
    let sql = format!(
        "select {} from {} where s.place = '({page},{item})'::tid",
        sides.key_text("s"),
        sides.staged("s")
    );
    let key: String = client.query_one(&sql, &[]).await.ok()?.get(0);
    Some((entry, key))
}
