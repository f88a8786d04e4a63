//! The target's triggers that a run fires, and the consequences.

use super::TablePlan;
use crate::config::{ApplyMethod, Triggers};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Event, Trigger};
use crate::pg::name::plain;

/// The rows whose NOT NULL and CHECK constraints can be judged before they are written; a trigger may change the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgedRows {
    /// Every row.
    All,
    /// Rows that will be inserted.
    Inserted,
    /// Rows that will update a live row.
    Updated,
    /// None: the target checks them when they are applied.
    None,
}

impl TablePlan {
    /// Returns the events that the apply method causes on the live table.
    fn events(&self) -> &'static [Event] {
        match self.apply {
            ApplyMethod::Delta => &[Event::Insert, Event::Update, Event::Delete],
            ApplyMethod::Upsert => &[Event::Insert, Event::Update],
            ApplyMethod::Insert => &[Event::Insert],
            ApplyMethod::Delete => &[Event::Delete, Event::Insert],
            ApplyMethod::Truncate | ApplyMethod::Direct => &[Event::Truncate, Event::Insert],
            ApplyMethod::Swap | ApplyMethod::Auto => &[],
        }
    }

    /// Returns whether a trigger fires for an event on this table.
    fn fires_for(&self, trigger: &Trigger, event: Event) -> bool {
        let is_ours = trigger.table == self.live.name;
        trigger.events.contains(&event)
            // A statement on the table is not a statement on its partitions, except TRUNCATE.
            && (trigger.for_each_row || is_ours || event == Event::Truncate)
            && (event != Event::Update
                || trigger.update_of.is_empty()
                || trigger.update_of.iter().any(|column| self.is_loaded(column)))
    }

    /// Returns the triggers that fire when the table is applied, without partitions' copies.
    pub fn firing(&self) -> impl Iterator<Item = &Trigger> {
        self.live.triggers.iter().filter(|trigger| {
            self.triggers == Triggers::Fire
                && trigger.is_enabled
                && !trigger.is_copy
                && self.events().iter().any(|&event| self.fires_for(trigger, event))
        })
    }

    /// Returns the triggers that may change the rows of an event before they are written.
    fn mending(&self, event: Event) -> impl Iterator<Item = &Trigger> {
        let is_done = self.events().contains(&event);
        self.firing()
            .filter(move |trigger| is_done && trigger.may_change_rows() && self.fires_for(trigger, event))
    }

    /// Returns the triggers that may change a row's values, before or after it is written.
    pub fn changing(&self) -> impl Iterator<Item = &Trigger> {
        let before = [Event::Insert, Event::Update].map(|event| self.mending(event).next().is_some());
        let is_before = before.contains(&true);
        self.firing().filter(move |trigger| {
            let events = [Event::Insert, Event::Update];
            let fires =
                events.iter().any(|&event| self.events().contains(&event) && self.fires_for(trigger, event));
            fires && if is_before { trigger.may_change_rows() } else { !trigger.is_before }
        })
    }

    /// Returns the rows whose NOT NULL and CHECK constraints can be judged in staging.
    #[must_use]
    pub fn judged_rows(&self) -> JudgedRows {
        let mends = |event| self.mending(event).next().is_some();
        let updates = self.events().contains(&Event::Update);
        match (mends(Event::Insert), mends(Event::Update)) {
            (false, false) => JudgedRows::All,
            (false, true) => JudgedRows::Inserted,
            (true, false) if updates => JudgedRows::Updated,
            _ => JudgedRows::None,
        }
    }
}

/// Reports which triggers fire and the consequences. The apply methods must have been chosen.
///
/// # Errors
/// [`Kind::Refused`] if triggers are to be off and the role may not disable them.
pub(super) fn tell(tables: &mut [TablePlan], at: &[Location], event_triggers: &[String]) -> Result<()> {
    for number in 0..tables.len() {
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        let table = &tables[number];
        match table.triggers {
            Triggers::Off => notes.extend(disabled(table, &at[table.entry], event_triggers)?),
            Triggers::Fire => {
                notes.extend(table.firing().map(firing));
                notes.extend(judged(table));
                for trigger in table.firing() {
                    let others = tables.iter().filter(|other| other.name != table.name);
                    let written: Vec<String> = others
                        .filter(|other| trigger.writes_to(&other.name))
                        .map(|other| other.name.plain())
                        .collect();
                    if !written.is_empty() {
                        warnings.push(format!(
                            "trigger {} writes to {}, which this run also loads; triggers = \"off\" prevents that",
                            plain(&trigger.name),
                            written.join(", ")
                        ));
                    }
                }
            }
        }
        tables[number].notes.extend(notes);
        tables[number].warnings.extend(warnings);
    }
    Ok(())
}

/// Describes a trigger that fires.
fn firing(trigger: &Trigger) -> String {
    let effect = if trigger.may_change_rows() {
        "it may change or suppress rows"
    } else if trigger.is_before {
        "it may write to other tables"
    } else {
        "it may write to this and other tables"
    };
    format!("trigger {trigger} fires: {effect}")
}

/// Notes which rows are left to the target.
fn judged(table: &TablePlan) -> Option<String> {
    let (which, event) = match table.judged_rows() {
        JudgedRows::All => return None,
        JudgedRows::Inserted => ("of rows that are updated", Event::Update),
        JudgedRows::Updated => ("of rows that are inserted", Event::Insert),
        JudgedRows::None => ("", Event::Insert),
    };
    let names: Vec<String> = table.mending(event).map(|trigger| plain(&trigger.name)).collect();
    let which = if which.is_empty() { String::new() } else { format!(" {which}") };
    Some(format!(
        "NOT NULL and CHECK{which} are left to the target because {} may change them: one bad row fails the transaction",
        names.join(", ")
    ))
}

/// Checks what disabling triggers requires.
fn disabled(table: &TablePlan, at: &Location, event_triggers: &[String]) -> Result<Option<String>> {
    if table.apply == ApplyMethod::Swap || table.live.triggers.is_empty() {
        return Ok(None);
    }
    if let Some(trigger) = table.live.triggers.iter().find(|trigger| !trigger.may_alter) {
        let message = format!(
            "{}: triggers = \"off\" is not possible: the role may not disable trigger {} of {}",
            table.name.plain(),
            plain(&trigger.name),
            trigger.table.plain()
        );
        return Err(Error::new(Phase::Plan, Kind::Refused, message)
            .at(at.clone())
            .hint(
                "Connect as the table's owner (before PostgreSQL 13, as a superuser if a partition has a copy of the \
                 trigger), or remove triggers = \"off\" and let them fire.",
            ));
    }
    let mut names: Vec<String> = table
        .live
        .triggers
        .iter()
        .filter(|trigger| !trigger.is_copy && trigger.is_enabled)
        .map(|trigger| plain(&trigger.name))
        .collect();
    names.dedup();
    if names.is_empty() {
        return Ok(None);
    }
    let heard = match event_triggers {
        [] => String::new(),
        names => format!(", which fires event triggers ({})", names.join(", ")),
    };
    Ok(Some(format!(
        "ALTER TABLE disables {} within the transaction and restores them{heard}",
        names.join(", ")
    )))
}
