//! Moves sequences that supply loaded columns past the loaded maximum, within the applying transaction.
//!
//! ALTER SEQUENCE … RESTART is transactional, `setval` is not (manual, ALTER SEQUENCE, "Notes"). The former requires the
//! owner of the sequence. A role with only UPDATE falls back to `setval`, which moves forward only and so does no harm after
//! a rollback.

use tokio_postgres::Client;

use super::Ready;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Sequence;

/// Returns the sequences of a table that [`advance`] will restart, as far as known before the rows are inserted: their locks
/// are taken together with the table's. Without staging this may be any of them.
pub(super) async fn to_restart(client: &Client, table: &Ready<'_>) -> Result<Vec<Sequence>> {
    let mut found = Vec::new();
    for (sequence, extreme) in &table.extremes {
        if !(sequence.is_owner && sequence.may_select) {
            continue;
        }
        let is_due = match *extreme {
            Some(extreme) => {
                next_after(sequence, extreme).is_some() && needs_moving(client, sequence, extreme).await?
            }
            None => table.staging.is_none(),
        };
        if is_due {
            found.push(sequence.clone());
        }
    }
    Ok(found)
}

/// Returns the statement that locks a sequence. Restating the increment changes nothing and takes the lock that blocks
/// nextval.
pub(super) fn locking(sequence: &Sequence) -> String {
    format!("alter sequence {} increment by {}", sequence.name, sequence.increment)
}

/// Moves every sequence that is at or before the farthest loaded value. Returns warnings.
pub(super) async fn advance(client: &Client, extremes: &[(Sequence, Option<i64>)]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (sequence, extreme) in extremes {
        let Some(extreme) = *extreme else { continue };
        if !sequence.may_select {
            warnings.push(format!(
                "cannot tell whether sequence {} must be moved past {extreme}: the role may not read it",
                sequence.name.plain()
            ));
            continue;
        }
        if !needs_moving(client, sequence, extreme).await? {
            continue;
        }
        match next_after(sequence, extreme) {
            None => warnings.push(format!(
                "sequence {} cannot be moved past {extreme}: its limit is {}",
                sequence.name.plain(),
                if sequence.increment > 0 { sequence.maximum } else { sequence.minimum },
            )),
            Some(next) if sequence.is_owner => restart(client, sequence, extreme, next).await?,
            Some(next) if sequence.may_update => set(client, sequence, next).await?,
            Some(_) => warnings.push(format!(
                "sequence {} is behind {extreme}, and the role may not move it",
                sequence.name.plain()
            )),
        }
    }
    Ok(warnings)
}

/// Returns whether the next value would not be past `extreme`.
async fn needs_moving(client: &Client, sequence: &Sequence, extreme: i64) -> Result<bool> {
    let sql = format!("select last_value, is_called from {}", sequence.name);
    let row = client.query_one(&sql, &[]).await.map_err(|e| failed(sequence, &e))?;
    let (last, is_called): (i64, bool) = (row.get(0), row.get(1));
    let next = if is_called { last.saturating_add(sequence.increment) } else { last };
    Ok(if sequence.increment > 0 { next <= extreme } else { next >= extreme })
}

/// Returns the first value of the sequence's own progression beyond `extreme`, so that sequences that share a range by their
/// increments keep sharing it. `None` if there is none within its bounds.
fn next_after(sequence: &Sequence, extreme: i64) -> Option<i64> {
    let (start, step) = (i128::from(sequence.start), i128::from(sequence.increment));
    let steps = ((i128::from(extreme) - start) * step.signum()).div_euclid(step.abs()) + 1;
    let next = i64::try_from(start + steps.max(0) * step).ok()?;
    (sequence.minimum..=sequence.maximum).contains(&next).then_some(next)
}

async fn restart(client: &Client, sequence: &Sequence, extreme: i64, next: i64) -> Result<()> {
    // The value read before is reliable only under the lock.
    let name = &sequence.name;
    client.batch_execute(&locking(sequence)).await.map_err(|e| failed(sequence, &e))?;
    if needs_moving(client, sequence, extreme).await? {
        let sql = format!("alter sequence {name} restart with {next}");
        client.batch_execute(&sql).await.map_err(|e| failed(sequence, &e))?;
    }
    Ok(())
}

async fn set(client: &Client, sequence: &Sequence, next: i64) -> Result<()> {
    let sql = "select pg_catalog.setval($1::text::pg_catalog.regclass, $2, false)";
    client
        .execute(sql, &[&sequence.name.to_string(), &next])
        .await
        .map(drop)
        .map_err(|e| failed(sequence, &e))
}

fn failed(sequence: &Sequence, error: &tokio_postgres::Error) -> Error {
    Error::pg(Phase::Apply, format!("moving sequence {}", sequence.name.plain()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::name::{Ident, TableName};

    fn sequence(start: i64, increment: i64, minimum: i64, maximum: i64) -> Sequence {
        Sequence {
            oid: 1,
            name: TableName::new("public", "s"),
            column: Ident::new("id"),
            is_owned: true,
            increment,
            start,
            minimum,
            maximum,
            is_owner: true,
            may_select: true,
            may_update: true,
        }
    }

    #[test]
    fn the_next_value_stays_in_the_sequences_own_progression() {
        assert_eq!(next_after(&sequence(1, 1, 1, i64::MAX), 41), Some(42));
        assert_eq!(next_after(&sequence(2, 10, 1, i64::MAX), 41), Some(42));
        assert_eq!(next_after(&sequence(2, 10, 1, i64::MAX), 42), Some(52));
        assert_eq!(next_after(&sequence(-1, -1, i64::MIN, -1), -7), Some(-8));
        assert_eq!(next_after(&sequence(-1, -2, i64::MIN, -1), -6), Some(-7));
        assert_eq!(next_after(&sequence(100, 1, 1, i64::MAX), 5), Some(100));
    }

    #[test]
    fn a_sequence_that_ends_earlier_has_no_next_value() {
        assert_eq!(next_after(&sequence(1, 1, 1, 32_767), 32_767), None);
        assert_eq!(next_after(&sequence(1, 1, 1, i64::MAX), i64::MAX), None);
    }
}
