//! A user trigger, and the facts about it that are known without running it.

use crate::pg::name::{Ident, TableName, plain};

/// An event that fires a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// INSERT, and COPY
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
    /// TRUNCATE
    Truncate,
}

impl Event {
    /// Returns the event as SQL.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }
}

/// A trigger of a table or of one of its partitions.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property that the catalog has as a bool")]
pub struct Trigger {
    /// Its name.
    pub name: Ident,
    /// The table that has it: the requested one, or one that inherits from it.
    pub table: TableName,
    /// Whether it fires in ordinary sessions (not DISABLE, not ENABLE REPLICA).
    pub is_enabled: bool,
    /// Whether it is a partition's copy of the partitioned table's trigger.
    pub is_copy: bool,
    /// Whether our role may disable it: it owns the table, or is a member of the owner.
    pub may_alter: bool,
    /// True for FOR EACH ROW, false for FOR EACH STATEMENT.
    pub for_each_row: bool,
    /// True for BEFORE, false for AFTER.
    pub is_before: bool,
    /// The events that fire it.
    pub events: Vec<Event>,
    /// Whether it has a WHEN, and so may not fire for each of them.
    pub has_condition: bool,
    /// The columns of UPDATE OF; empty for any column.
    pub update_of: Vec<Ident>,
    /// Its function.
    pub function: TableName,
    /// The function's text: its body, or the name of a C function.
    pub source: String,
}

impl Trigger {
    /// Returns whether it may change a row before it is written, or discard it.
    #[must_use]
    pub fn may_change_rows(&self) -> bool {
        self.is_before && self.for_each_row
    }

    /// Returns whether its function's text contains a statement that writes to a table. Functions that it calls and dynamic
    /// SQL are not examined.
    #[must_use]
    pub fn writes_to(&self, table: &TableName) -> bool {
        let text = self.source.to_lowercase();
        let is_part_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '"');
        let words: Vec<&str> =
            text.split(|c: char| !is_part_of_word(c)).filter(|word| !word.is_empty()).collect();
        let written = |at: usize| {
            let rest = match words.get(at..)? {
                ["insert", "into", rest @ ..]
                | ["delete", "from", rest @ ..]
                | ["merge", "into", rest @ ..] => rest,
                ["update" | "truncate", "table", rest @ ..] | ["update" | "truncate", rest @ ..] => rest,
                _ => return None,
            };
            let rest = if let ["only", rest @ ..] = rest { rest } else { rest };
            rest.first().copied()
        };
        let (schema, name) = (table.schema.as_str().to_lowercase(), table.name.as_str().to_lowercase());
        (0..words.len()).filter_map(written).any(|word| {
            let word = word.replace('"', "");
            word == name || word == format!("{schema}.{name}")
        })
    }
}

impl std::fmt::Display for Trigger {
    /// Formats the trigger as `touch (BEFORE INSERT OR UPDATE OF v, each row, calls public.touch)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let event = |event: &Event| match event {
            Event::Update if !self.update_of.is_empty() => {
                let columns: Vec<String> = self.update_of.iter().map(plain).collect();
                format!("UPDATE OF {}", columns.join(", "))
            }
            _ => event.sql().to_owned(),
        };
        let events: Vec<String> = self.events.iter().map(event).collect();
        write!(
            f,
            "{} ({} {}, each {}{}, calls {})",
            plain(&self.name),
            if self.is_before { "BEFORE" } else { "AFTER" },
            events.join(" OR "),
            if self.for_each_row { "row" } else { "statement" },
            if self.has_condition { " that satisfies its WHEN" } else { "" },
            self.function.plain(),
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row trigger `touch` of `public.t`, with a function of this text.
    pub(crate) fn trigger(is_before: bool, events: &[Event], source: &str) -> Trigger {
        Trigger {
            name: Ident::new("touch"),
            table: TableName::new("public", "t"),
            is_enabled: true,
            is_copy: false,
            may_alter: true,
            for_each_row: true,
            is_before,
            events: events.to_vec(),
            has_condition: false,
            update_of: Vec::new(),
            function: TableName::new("public", "f"),
            source: source.to_owned(),
        }
    }

    #[test]
    fn what_a_function_writes_to_is_read_from_its_text() {
        let writes = |source: &str| {
            trigger(false, &[Event::Insert], source).writes_to(&TableName::new("public", "Stock"))
        };
        for source in [
            "begin insert into stock(id) values (1); end",
            "INSERT\n INTO public.stock VALUES (1)",
            "update only \"public\".\"Stock\" set n = 1",
            "delete from stock;",
            "truncate table stock",
            "merge into stock as s using x",
        ] {
            assert!(writes(source), "{source}");
        }
        for source in
            ["select * from stock", "insert into stock_log values (1)", "update other.stock set n = 1", ""]
        {
            assert!(!writes(source), "{source}");
        }
    }

    #[test]
    fn a_trigger_is_shown_as_it_was_created() {
        let mut shown = trigger(true, &[Event::Insert, Event::Update], "");
        shown.update_of = vec![Ident::new("v")];
        assert_eq!(shown.to_string(), "touch (BEFORE INSERT OR UPDATE OF v, each row, calls public.f)");
    }
}
