//! Which apply method a table gets: an explicitly chosen one must be possible, `auto` takes the best that is.

use super::method::{Case, Fate, Rules};
use super::{Group, TablePlan, chunks};
use crate::config::{ApplyMethod, Config, Strategy};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Catalog;
use crate::pg::name::TableName;

/// Gives every table of every group its method and the reason for it.
///
/// # Errors
/// [`Kind::Refused`] with the reason and with the methods that would work.
pub(super) fn choose(
    tables: &mut [TablePlan],
    groups: &[Group],
    config: &Config,
    target: &Catalog,
    methods: &[&dyn Rules],
) -> Result<()> {
    for group in groups {
        let choice = Choice { tables, members: group.tables().collect(), target, methods };
        for Chosen { table, method, reason } in choice.make(config)? {
            let table = &mut tables[table];
            table.apply = method;
            table.apply_reason = reason;
            if methods.iter().any(|rules| rules.method() == method && !rules.uses_staging()) {
                table.uses_staging = false;
                chunks::one_of_all(&mut table.chunks, table.source_relation.as_ref());
            }
        }
    }
    Ok(())
}

/// What is chosen for one table.
struct Chosen {
    table: usize,
    method: ApplyMethod,
    reason: String,
}

/// Something against a method that a table would get.
struct Objection {
    table: usize,
    method: ApplyMethod,
    why: String,
}

/// What a method may say against a table: [`Rules::refusal`] or [`Rules::drawback`].
type Opinion = fn(&dyn Rules, &Case<'_>) -> Option<String>;

const REFUSAL: Opinion = |rules, case| rules.refusal(case);
const DRAWBACK: Opinion = |rules, case| rules.drawback(case);

/// The choice for one group, whose tables depend on each other.
struct Choice<'a> {
    tables: &'a [TablePlan],
    members: Vec<usize>,
    target: &'a Catalog,
    methods: &'a [&'a dyn Rules],
}

impl Choice<'_> {
    fn make(&self, config: &Config) -> Result<Vec<Chosen>> {
        let mut refused: Option<Objection> = None;
        let mut slow: Option<Objection> = None;
        for automatic in self.preference() {
            let method_of = |table: usize| self.configured_or(table, automatic);
            if let Some(objection) = self.objection(&method_of, REFUSAL) {
                refused.get_or_insert(objection);
                continue;
            }
            let drawback = self.objection(&method_of, DRAWBACK);
            match drawback.filter(|drawback| self.is_automatic(drawback.table)) {
                None => return Ok(self.chosen(automatic, slow.as_ref())),
                Some(drawback) => {
                    slow.get_or_insert(drawback);
                }
            }
        }
        // A method that is slow is better than none.
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
        if !self.is_automatic(table) {
            plan.apply
        } else if self.compares(automatic) && plan.key.is_none() {
            ApplyMethod::Delete
        } else {
            automatic
        }
    }

    fn compares(&self, method: ApplyMethod) -> bool {
        self.rules(method).is_some_and(Rules::compares)
    }

    /// Nobody can be kept from any row of this group.
    fn is_empty(&self) -> bool {
        let is_empty = |&table: &usize| self.tables[table].live.leaves.iter().all(|leaf| leaf.pages == 0);
        self.members.iter().all(is_empty)
    }

    /// The methods that `auto` tries, best first. A live table is best served by what writes its differences only, or
    /// else by what lets readers go on; where all tables of the group are empty, nothing is to be compared and the
    /// cheapest comes first, which is the one that locks most.
    fn preference(&self) -> Vec<ApplyMethod> {
        let mut automatic: Vec<_> = self.methods.iter().filter(|rules| rules.is_automatic()).collect();
        if self.is_empty() {
            automatic.sort_by_key(|rules| (rules.compares(), std::cmp::Reverse(rules.lock())));
        }
        automatic.iter().map(|rules| rules.method()).collect()
    }

    fn rules(&self, method: ApplyMethod) -> Option<&dyn Rules> {
        self.methods.iter().find(|rules| rules.method() == method).copied()
    }

    /// The first table of the group with something against the method that it would get.
    fn objection(&self, method_of: &dyn Fn(usize) -> ApplyMethod, opinion: Opinion) -> Option<Objection> {
        let fate = |name: &TableName| {
            self.members
                .iter()
                .find(|&&table| self.tables[table].name == *name)
                .map(|&table| Fate { method: method_of(table), is_whole: self.tables[table].scope.is_none() })
        };
        self.members.iter().find_map(|&table| {
            let method = method_of(table);
            let why = match self.rules(method) {
                None => Some("this version does not have it".to_owned()),
                Some(rules) => {
                    let plan = &self.tables[table];
                    let target = self.target.relations.get(&plan.name)?;
                    opinion(rules, &Case { table: plan, target, fate: &fate })
                }
            };
            why.map(|why| Objection { table, method, why })
        })
    }

    fn chosen(&self, automatic: ApplyMethod, slow: Option<&Objection>) -> Vec<Chosen> {
        let note = slow
            .map_or(String::new(), |slow| format!("; {} would be slow: {}", slow.method.name(), slow.why));
        let waits = |method| self.rules(method).map_or("", Rules::waits);
        let one = |&table: &usize| {
            let method = self.configured_or(table, automatic);
            let reason = match (self.is_automatic(table), self.is_empty()) {
                (false, _) => format!("as configured: {}", waits(method)),
                (true, true) => format!("auto: the table is empty; {}{note}", waits(method)),
                (true, false) if method != automatic => {
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
        let possible = self.alternatives(table);
        let is_referenced =
            self.target.relations.get(&plan.name).is_some_and(|target| !target.referenced_by.is_empty());
        let hint = if !possible.is_empty() {
            format!("Possible here: apply = {}.", possible.join(" or "))
        } else if is_referenced {
            "Add the referencing tables to the config, so that they are replaced in the same transaction."
                .to_owned()
        } else {
            "Give the role the right that it lacks, or connect as the table's owner.".to_owned()
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

    /// The methods that would work for a table if every `auto` table of its group used them too.
    fn alternatives(&self, table: usize) -> Vec<String> {
        let strategy = self.tables[table].strategy;
        self.methods
            .iter()
            .filter(|rules| rules.strategy() == strategy)
            .map(|rules| rules.method())
            .filter(|&method| {
                let method_of = |other: usize| {
                    if other == table { method } else { self.configured_or(other, method) }
                };
                self.objection(&method_of, REFUSAL).is_none()
            })
            .map(|method| format!("\"{}\"", method.name()))
            .collect()
    }
}
