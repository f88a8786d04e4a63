//! Chooses the apply method of every table. An explicitly configured method must be possible; `auto` takes the best
//! possible one.
//!
//! The ranking for all tables of a group together:
//!
//! 1. If all tables are empty, no session can be kept waiting and there is nothing to compare, so the fastest method
//!    wins. That is `swap`, which writes rows once and builds indexes afterwards, or `truncate` for a small table or
//!    one with dependent objects (see 3).
//! 2. `delta`, which writes least and never blocks readers. Tables without a key are emptied by `delete` in the same
//!    transaction.
//! 3. If no table has a key, `swap`: everyone waits only for milliseconds, whatever the size. Exceptions: a small
//!    table, where `delete` finishes before anyone notices, and a table with dependent objects, which must ask for
//!    `swap` explicitly, because subscribers of a publication would not receive the rows and dependent objects would
//!    have to be recreated. `auto` never mixes `swap` with other methods, because everyone would wait for those as
//!    well.
//! 4. `delete`, which does not block readers; then `truncate`.
//!
//! Methods that are possible but slow rank below all others. If one table of the group is configured to be swapped,
//! the others are swapped too where possible.

use std::cmp::Reverse;

use super::method::{Case, Fate, Rules};
use super::{Group, Storage, TablePlan, chunks};
use crate::config::{ApplyMethod, Config, Said, Strategy};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Catalog;
use crate::pg::name::{Ident, TableName, plain};

/// Gives every table of every group its method and the reason for it.
///
/// # Errors
/// [`Kind::Refused`] with the reason and the methods that would work.
pub(super) fn choose(
    tables: &mut [TablePlan],
    groups: &[Group],
    config: &Config,
    target: &Catalog,
    methods: &[&dyn Rules],
) -> Result<()> {
    // New tables are built side by side under their final names, so those of two schemas could collide.
    let mut swapped: Option<Ident> = None;
    for group in groups {
        let members = group.tables().collect();
        let choice = Choice { tables, members, target, methods, swapped: swapped.as_ref() };
        for Chosen { table, method, reason } in choice.make(config)? {
            let table = &mut tables[table];
            table.apply = method;
            table.apply_reason = reason;
            if method == ApplyMethod::Swap {
                swapped.get_or_insert_with(|| table.name.schema.clone());
            }
            if methods.iter().any(|rules| rules.method() == method && !rules.uses_staging()) {
                table.uses_staging = false;
                chunks::one_of_all(&mut table.chunks, table.source_relation.as_ref());
            }
        }
    }
    Ok(())
}

/// The choice for one table.
struct Chosen {
    table: usize,
    method: ApplyMethod,
    reason: String,
}

/// An objection to a method that a table would get.
struct Objection {
    table: usize,
    method: ApplyMethod,
    why: String,
}

/// A check of a method against a table: [`Rules::refusal`] or [`Rules::drawback`].
type Opinion = fn(&dyn Rules, &Case<'_>) -> Option<String>;

const REFUSAL: Opinion = |rules, case| rules.refusal(case);
const RELUCTANCE: Opinion = |rules, case| rules.reluctance(case);
const DRAWBACK: Opinion = |rules, case| rules.drawback(case);

/// The choice for one group of interdependent tables.
struct Choice<'a> {
    tables: &'a [TablePlan],
    members: Vec<usize>,
    target: &'a Catalog,
    methods: &'a [&'a dyn Rules],
    /// The schema of the tables that are already swapped.
    swapped: Option<&'a Ident>,
}

impl Choice<'_> {
    fn make(&self, config: &Config) -> Result<Vec<Chosen>> {
        let mut refused: Option<Objection> = None;
        let mut slow: Option<Objection> = None;
        for automatic in self.preference() {
            let method_of = |table: usize| self.configured_or(table, automatic);
            if automatic == ApplyMethod::Swap && self.mixes(&method_of) {
                continue;
            }
            if let Some(objection) = self.objection(&method_of, REFUSAL) {
                refused.get_or_insert(objection);
                continue;
            }
            if let Some(objection) = self.objection_of_auto(&method_of, RELUCTANCE) {
                refused.get_or_insert(objection);
                continue;
            }
            match self.objection_of_auto(&method_of, DRAWBACK) {
                None => return Ok(self.chosen(automatic, slow.as_ref())),
                Some(drawback) => {
                    slow.get_or_insert(drawback);
                }
            }
        }
        // A slow method is better than none.
        match (slow, refused) {
            (Some(slow), _) => Ok(self.chosen(slow.method, Some(&slow))),
            (None, refused) => Err(self.refuse(refused, config)),
        }
    }

    fn is_automatic(&self, table: usize) -> bool {
        self.tables[table].apply == ApplyMethod::Auto
    }

    fn configured_or(&self, table: usize, automatic: ApplyMethod) -> ApplyMethod {
        let plan = &self.tables[table];
        if self.is_automatic(table) { self.with_its_key(table, automatic) } else { plan.apply }
    }

    /// Returns the method, or its substitute for a table without the key it needs.
    fn with_its_key(&self, table: usize, method: ApplyMethod) -> ApplyMethod {
        if self.compares(method) && self.tables[table].key.is_none() { ApplyMethod::Delete } else { method }
    }

    fn compares(&self, method: ApplyMethod) -> bool {
        self.rules(method).is_some_and(Rules::compares)
    }

    /// Returns whether some tables of the group would use `swap` and others another method.
    fn mixes(&self, method_of: &dyn Fn(usize) -> ApplyMethod) -> bool {
        let swapped = self.members.iter().filter(|&&table| method_of(table) == ApplyMethod::Swap).count();
        swapped > 0 && swapped < self.members.len()
    }

    /// Returns whether a table of the group is configured to be swapped.
    fn swaps(&self) -> bool {
        self.members.iter().any(|&table| self.tables[table].apply == ApplyMethod::Swap)
    }

    /// Returns whether all tables of the group are empty, so that no lock on them can keep anyone from a row.
    fn is_empty(&self) -> bool {
        self.members.iter().all(|&table| self.tables[table].live.is_empty)
    }

    /// Returns the methods that `auto` tries, best first.
    fn preference(&self) -> Vec<ApplyMethod> {
        let mut automatic: Vec<_> = self.methods.iter().filter(|rules| rules.is_automatic()).collect();
        let is_swap = |rules: &&&dyn Rules| rules.method() == ApplyMethod::Swap;
        if self.swaps() {
            automatic.sort_by_key(|rules| !is_swap(rules));
        } else if self.is_empty() {
            automatic.sort_by_key(|rules| (!is_swap(rules), rules.compares(), Reverse(rules.lock())));
        } else if self.members.iter().all(|&table| self.tables[table].key.is_none()) {
            automatic.retain(|rules| !rules.compares());
        }
        automatic.iter().map(|rules| rules.method()).collect()
    }

    fn rules(&self, method: ApplyMethod) -> Option<&dyn Rules> {
        self.methods.iter().find(|rules| rules.method() == method).copied()
    }

    /// Returns the first table of the group with an objection to the method it would get.
    fn objection(&self, method_of: &dyn Fn(usize) -> ApplyMethod, opinion: Opinion) -> Option<Objection> {
        self.objection_of(&self.members, method_of, opinion)
    }

    /// Likewise, among the tables whose method is `auto`.
    fn objection_of_auto(
        &self,
        method_of: &dyn Fn(usize) -> ApplyMethod,
        opinion: Opinion,
    ) -> Option<Objection> {
        let automatic: Vec<usize> =
            self.members.iter().copied().filter(|&table| self.is_automatic(table)).collect();
        self.objection_of(&automatic, method_of, opinion)
    }

    fn objection_of(
        &self,
        tables: &[usize],
        method_of: &dyn Fn(usize) -> ApplyMethod,
        opinion: Opinion,
    ) -> Option<Objection> {
        let fate = |name: &TableName| {
            let fate = |&table: &usize| {
                let plan = &self.tables[table];
                let is_whole = plan.scope.is_none() && plan.live.holds(name);
                Fate { method: method_of(table), is_whole }
            };
            let mut writing = self.members.iter().filter(|&&table| self.tables[table].live.overlaps(name));
            writing.next().map(fate)
        };
        tables.iter().find_map(|&table| {
            let method = method_of(table);
            let why = match self.rules(method) {
                None => Some("this version does not support it".to_owned()),
                Some(rules) => {
                    let plan = &self.tables[table];
                    let target = self.target.relations.get(&plan.name)?;
                    if let Some(first) = self.swapped_elsewhere(table, method_of) {
                        let first = plain(first);
                        let why = format!(
                            "a run swaps tables of one schema only, and it swaps tables of {first} first"
                        );
                        return Some(Objection { table, method, why });
                    }
                    if let Some(why) = plan.resets_what_is_kept(method) {
                        return Some(Objection { table, method, why });
                    }
                    let is_same = |&&other: &&usize| plan.live.overlaps(&self.tables[other].name);
                    let is_shared = self.members.iter().filter(is_same).count() > 1;
                    let others = self.members.iter().filter(|&&other| other != table);
                    let others: Vec<&Storage> = others.map(|&other| &self.tables[other].storage).collect();
                    opinion(
                        rules,
                        &Case {
                            table: plan,
                            target,
                            is_shared,
                            version: self.target.server.version,
                            others: &others,
                            fate: &fate,
                        },
                    )
                }
            };
            why.map(|why| Objection { table, method, why })
        })
    }

    /// Returns the schema of the first swapped table, if this table would be swapped too and is in another schema.
    fn swapped_elsewhere(&self, table: usize, method_of: &dyn Fn(usize) -> ApplyMethod) -> Option<&Ident> {
        let is_swapped = |table: usize| method_of(table) == ApplyMethod::Swap;
        let schema = |table: usize| &self.tables[table].name.schema;
        let first = self.members.iter().copied().find(|&member| is_swapped(member)).map(schema);
        self.swapped.or(first).filter(|first| is_swapped(table) && *first != schema(table))
    }

    fn chosen(&self, automatic: ApplyMethod, slow: Option<&Objection>) -> Vec<Chosen> {
        let note = slow.map_or(String::new(), |slow| format!("; {} {}", slow.method.name(), slow.why));
        let waits = |method| self.rules(method).map_or("", Rules::waits);
        let why_empty = match automatic {
            ApplyMethod::Swap => "; rows are written once, and indexes are built afterwards",
            _ => "",
        };
        let one = |&table: &usize| {
            let method = self.configured_or(table, automatic);
            let reason = match (self.is_automatic(table), self.is_empty()) {
                (false, _) => format!("as configured: {}", waits(method)),
                (true, true) => format!("auto: the table is empty; {}{why_empty}", waits(method)),
                (true, false) if self.tables[table].key.is_none() => {
                    format!("auto: it has no key; {}{note}", waits(method))
                }
                (true, false) => format!("auto: {}{note}", waits(method)),
            };
            Chosen { table, method, reason }
        };
        self.members.iter().map(one).collect()
    }

    fn refuse(&self, refused: Option<Objection>, config: &Config) -> Error {
        let Some(Objection { table, method, why }) = refused else {
            return Error::new(Phase::Plan, Kind::Internal, "no apply method exists");
        };
        let plan = &self.tables[table];
        let strategy = plan.strategy;
        let alone = |other: usize, method| {
            if other == table { method } else { self.configured_or(other, method) }
        };
        let together = |other: usize, method| match self.tables[other].strategy == strategy {
            true => self.with_its_key(other, method),
            false => self.configured_or(other, method),
        };
        let (alone, together) = (self.possible(strategy, alone), self.possible(strategy, together));
        let is_referenced =
            self.target.relations.get(&plan.name).is_some_and(|target| !target.referenced_by.is_empty());
        let hint = if !alone.is_empty() {
            format!("Possible here: apply = {}.", alone.join(" or "))
        } else if !together.is_empty() {
            format!("Possible for all tables of the transaction together: apply = {}.", together.join(" or "))
        } else if is_referenced {
            match plan.said() {
                Said::Config => "Add the referencing tables to the config, so that they are replaced in the same transaction.",
                Said::Flags => "Pass files for the referencing tables as well, so that they are replaced in the same transaction.",
            }
            .to_owned()
        } else {
            "Grant the role the missing privilege, or connect as the table's owner.".to_owned()
        };
        let message = if plan.apply == ApplyMethod::Auto {
            format!(
                "{}: no apply method is possible, not even \"{}\": {why}",
                plan.name.plain(),
                method.name()
            )
        } else if plan.strategy != Strategy::Replace {
            format!("{}: strategy = \"{}\" is not possible: {why}", plan.name.plain(), plan.strategy)
        } else {
            format!("{}: apply = \"{}\" is not possible: {why}", plan.name.plain(), method.name())
        };
        Error::new(Phase::Plan, Kind::Refused, message)
            .at(config.tables[plan.entry].apply.at.clone())
            .hint(hint)
    }

    /// Returns the methods of a strategy that would work if the group's tables got the method that `method_of`
    /// returns.
    fn possible(
        &self,
        strategy: Strategy,
        method_of: impl Fn(usize, ApplyMethod) -> ApplyMethod,
    ) -> Vec<String> {
        self.methods
            .iter()
            .filter(|rules| rules.strategy() == strategy)
            .map(|rules| rules.method())
            .filter(|&method| self.objection(&|table| method_of(table, method), REFUSAL).is_none())
            .map(|method| format!("\"{}\"", method.name()))
            .collect()
    }
}
