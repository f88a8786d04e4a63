//! Rejects rows that passed but were refused by the server.

use super::codec::{Binary, Codec, Text, malformed};
use super::program::{Program, Scratch};
use super::reject::{Place, Reason, RejectBuffer};
use super::resolve::{Row, State};
use super::row_splitter::Rows;
use super::tally::Tally;
use crate::error::Result;
use crate::pg::format::Format;

/// A row that only the server found to be bad.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The label it is counted under, without values.
    pub kind: &'a str,
    /// The full reason.
    pub text: &'a str,
    /// The violated constraint.
    pub constraint: Option<&'a str>,
    /// The column at fault, if it is a single one.
    pub column: Option<&'a str>,
}

impl Program {
    /// Rejects rows that passed, for reasons found only by the server: their numbers in the batch, from 0, and the
    /// reasons. Returns how they were counted when they passed.
    ///
    /// # Errors
    /// As [`Program::run`].
    /// As [`Program::run`].
    pub fn refuse<'r>(
        &self,
        rows: &Rows,
        scratch: &mut Scratch,
        refused: impl IntoIterator<Item = (usize, Refused<'r>)>,
        rejects: &mut RejectBuffer,
    ) -> Result<Tally> {
        match self.rules.format {
            Format::Binary => self.refuse_rows::<Binary>(rows, scratch, refused, rejects),
            Format::Text => self.refuse_rows::<Text>(rows, scratch, refused, rejects),
        }
    }

    fn refuse_rows<'r, C: Codec>(
        &self,
        rows: &Rows,
        scratch: &mut Scratch,
        refused: impl IntoIterator<Item = (usize, Refused<'r>)>,
        rejects: &mut RejectBuffer,
    ) -> Result<Tally> {
        let Scratch { all_offsets: offsets, reader, .. } = scratch;
        let (data, columns) = (rows.data(), offsets.columns());
        C::split(data, rows.ends(), offsets)?;
        let mut state = State::new(&self.rules);
        let mut tally = Tally::default();
        for (number, refused) in refused {
            let Some(offsets) = offsets.rows().nth(number) else {
                return Err(malformed(format_args!("no row {number} in a batch")));
            };
            let row = Row { data, offsets, columns };
            let origin = rows.origin().and_then(|origin| Some((origin, *origin.rows.get(number)?)));
            let ordinal = origin.map_or(rows.first() + number as u64, |(_, at)| at.row);
            self.judge::<C>(row, &mut state, reader, ordinal)?;
            self.count(&state, &mut tally);
            tally.rejected += 1;
            let Refused { kind, text, constraint, column } = refused;
            let text = text.as_bytes();
            let place = origin.map(|(origin, at)| Place {
                file: &origin.file,
                line: at.line,
                column,
                raw: origin.raw(at),
            });
            self.write_reject::<C>(&Reason { kind, text, constraint, row: ordinal, place }, row, rejects)?;
        }
        Ok(tally)
    }
}
