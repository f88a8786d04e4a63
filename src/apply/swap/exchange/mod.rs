//! Exchanges new tables for live ones, in the group's transaction, and does the work that follows its commit.
//!
//! 1. **Prepare** ([`Prepared::new`]), before any lock: reads the objects that depend on the live tables and turns them into
//!    statements, and takes a [`mod@fingerprint`] of everything that is attached to the tables or depends on them.
//! 2. **Search** ([`Prepared::search`]): locks the referencing tables outside the group against writers, and searches them for
//!    rows that would lose their match. Readers do not wait meanwhile.
//! 3. **Lock**: views to be recreated, the outermost first, as readers lock them; then tables, in one order; then sequences. From
//!    here to the commit readers wait.
//! 4. **Exchange** ([`Prepared::exchange`]): one message to the server. The fingerprint must be unchanged since step 1. The tables
//!    change places, and dependent objects are bound to the new ones. Then the fingerprint must be the same again, and nothing may
//!    depend on the old tables.
//! 5. **Settle** ([`settle()`]), after the commit: validates foreign keys and drops old tables, under the same lock budget. The
//!    next run finishes what a kill interrupts.

mod dependants;
mod dispose;
mod fingerprint;
mod keys;
mod settle;

use std::time::Duration;

use tokio_postgres::{Client, Statement};

pub(crate) use dispose::{Patience, dispose};
pub(in crate::apply) use keys::Key;
pub(in crate::apply) use settle::settle;
pub(crate) use settle::validate;

use self::dependants::Bound;
use self::fingerprint::Fingerprint;
use super::Pair;
use super::options::KeptOptions;
use crate::apply::locks::{Rank, Wanted};
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::{Ident, TableName};
use crate::plan::method::TableLock;
use crate::report::state::Unvalidated;

/// Session settings for the exchange: schema-qualified names, generic plans, and no checking of function bodies. To check
/// one, the server rewrites it as its caller would, and stops at the first policy on the way.
const SETTINGS: &str = "set local search_path to ''; set local plan_cache_mode to force_generic_plan;
    set local check_function_bodies to off";

/// Restores them: triggers may rely on the role's own.
const RESET: &str = "set local search_path to default; set local plan_cache_mode to default;
    set local check_function_bodies to default";

/// An exchange, with everything that can be found out without a lock.
pub(in crate::apply) struct Prepared {
    pairs: Vec<Pair>,
    /// Tables of the group that other methods write after the exchange.
    rewritten: Vec<TableName>,
    bound: Bound,
    sequences: Vec<Wanted>,
    /// Statements that move extended statistics along.
    statistics: Vec<String>,
    /// New tables that get their names only at their destination: the server then names their array types again.
    named_late: Vec<Oid>,
    queries: Queries,
    /// Options that are not compared.
    kept_options: KeptOptions,
    before: Fingerprint,
}

/// The queries that also run under the locks. They are prepared once, since planning takes longer than the rest.
struct Queries {
    fingerprint: Statement,
    dependants: Statement,
    keys: Statement,
}

impl Queries {
    async fn new(client: &Client, server_version: u32) -> Result<Self> {
        let fingerprint = fingerprint::query(server_version);
        let (fingerprint, dependants, keys) = futures::try_join!(
            client.prepare(&fingerprint),
            client.prepare(include_str!("dependants.sql")),
            client.prepare(include_str!("keys.sql")),
        )
        .map_err(|e| Error::pg(Phase::Apply, "preparing the exchange", &e))?;
        Ok(Self { fingerprint, dependants, keys })
    }
}

impl Pair {
    /// Returns the new table's name before the exchange.
    fn new_table(&self) -> TableName {
        TableName { schema: self.new_schema.clone(), name: self.name.name.clone() }
    }

    /// Returns the old table's name after the exchange.
    fn old_table(&self) -> TableName {
        TableName { schema: self.old_schema.clone(), name: self.name.name.clone() }
    }
}

/// Returns the OIDs of the live and the new tables, in one order.
fn oids(pairs: &[Pair]) -> (Vec<Oid>, Vec<Oid>) {
    pairs.iter().map(|pair| (pair.live, pair.new)).unzip()
}

impl Prepared {
    /// Prepares the exchange in its own transaction, so that no lock taken for reading remains. `rewritten` are the tables of
    /// the group that other methods write; `budget` bounds the waits for current locks.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`] if an object that depends on a table cannot be recreated;
    /// [`crate::error::Kind::Lock`]; any server error.
    pub(in crate::apply) async fn new(
        client: &Client,
        server_version: u32,
        pairs: Vec<Pair>,
        rewritten: Vec<TableName>,
        budget: Duration,
    ) -> Result<Self> {
        let failed = |e: tokio_postgres::Error| Error::pg(Phase::Apply, "preparing the exchange", &e);
        let budget_ms = budget.as_millis().max(1);
        let begin = format!("begin; set local lock_timeout = '{budget_ms}ms'; {SETTINGS}");
        client.batch_execute(&begin).await.map_err(failed)?;
        let (live, new) = oids(&pairs);
        let (queries, kept_options) =
            futures::try_join!(Queries::new(client, server_version), kept_options(client, &pairs))?;
        let bound = dependants::read(client, &queries, &pairs, &kept_options, server_version).await?;
        let sequences = sequences(client, &live).await?;
        let statistics = statistics(client, &pairs).await?;
        let named_late = named_late(client, &pairs).await?;
        let before = fingerprint::take(client, &queries.fingerprint, &live, &new, &kept_options).await?;
        client.batch_execute("commit").await.map_err(failed)?;
        Ok(Self { pairs, rewritten, bound, sequences, statistics, named_late, queries, kept_options, before })
    }

    /// Locks and searches the tables outside the group that reference these. The locks are kept. Returns how much of the
    /// budget is used up.
    ///
    /// # Errors
    /// [`crate::error::Kind::Lock`]; [`crate::error::Kind::Guard`] if a row would lose its match; any server error.
    pub(in crate::apply) async fn search(&self, client: &Client, budget: Duration) -> Result<Duration> {
        keys::lock_and_search(client, &self.bound.keys, &self.pairs, &self.rewritten, budget).await
    }

    /// Searches the rows that the transaction itself wrote after the exchange.
    ///
    /// # Errors
    /// As [`Prepared::search`].
    pub(in crate::apply) async fn search_rewritten(&self, client: &Client, own: &[Key]) -> Result<()> {
        keys::search_rewritten(client, &self.bound.keys, &self.pairs, &self.rewritten).await?;
        keys::search_rewritten(client, own, &self.pairs, &self.rewritten).await
    }

    /// Returns whether a table is replaced by the exchange.
    pub(in crate::apply) fn replaces(&self, table: Oid) -> bool {
        self.pairs.iter().any(|pair| pair.live == table)
    }

    /// Returns whether the transaction does nothing else.
    pub(in crate::apply) fn is_alone(&self) -> bool {
        self.rewritten.is_empty()
    }

    /// Returns the locks that it takes.
    pub(in crate::apply) fn wanted(&self) -> Vec<Wanted> {
        let tables = self.pairs.iter();
        let tables =
            tables.map(|pair| Wanted::table(pair.name.clone(), pair.live, TableLock::AccessExclusive));
        tables.chain(self.bound.wanted.iter().cloned()).chain(self.sequences.iter().cloned()).collect()
    }

    /// Exchanges the tables, in the group's transaction and under its locks. Returns the new tables' own foreign keys that
    /// still have to be searched and validated.
    ///
    /// # Errors
    /// [`crate::error::Kind::Lock`] if something changed since the exchange was prepared; [`crate::error::Kind::Guard`] if
    /// anything would differ from before; any server error.
    pub(in crate::apply) async fn exchange(&self, client: &Client) -> Result<Vec<Key>> {
        let (live, new) = oids(&self.pairs);
        let Queries { fingerprint, dependants, keys } = &self.queries;
        let before = async {
            // Both messages are sent before either is answered.
            let (set, now) = futures::join!(
                self.run(client, SETTINGS),
                fingerprint::take(client, fingerprint, &live, &new, &self.kept_options)
            );
            set?;
            self.before.refuse_change(&now?)
        };
        let after = async {
            let (after, left, keys) = futures::join!(
                fingerprint::take(client, fingerprint, &new, &live, &self.kept_options),
                dependants::dependants(client, dependants, &live),
                keys::read(client, keys, &self.pairs),
            );
            dependants::refuse_left_behind(&self.bound, &left?)?;
            self.before.refuse_difference(&after?)?;
            keys
        };
        let keys = if stops_within() {
            before.await?;
            self.change_in_steps(client).await?;
            after.await?
        } else {
            // All statements are sent before any is answered: while other sessions wait for the server, it does not wait for
            // us.
            let steps = self.steps().concat().join(";\n");
            let (before, changed, after) = futures::join!(before, self.run(client, &steps), after);
            before?;
            changed?;
            after?
        };
        if !self.is_alone() {
            self.run(client, RESET).await?;
        }
        Ok(keys)
    }

    /// Returns the foreign keys to validate after the commit.
    pub(in crate::apply) fn unvalidated(&self, own: &[Key]) -> Vec<Unvalidated> {
        self.bound.keys.iter().chain(own).filter_map(Key::unvalidated).collect()
    }

    /// Runs the same statements one by one, for tests that interrupt them.
    async fn change_in_steps(&self, client: &Client) -> Result<()> {
        let [detach, moves, attach] = self.steps().map(|statements| statements.join(";\n"));
        self.run(client, &detach).await?;
        fail::fail_point!("swap.step_detached");
        self.run(client, &moves).await?;
        fail::fail_point!("swap.step_moved");
        self.run(client, &attach).await?;
        fail::fail_point!("swap.step_attached");
        Ok(())
    }

    /// Returns the statements, grouped by purpose.
    fn steps(&self) -> [Vec<String>; 3] {
        let mut moves = self.statistics.clone();
        for pair in &self.pairs {
            moves.push(format!("alter table {} set schema {}", pair.name, pair.old_schema));
        }
        let mut names = Vec::new();
        for pair in &self.pairs {
            let (mut new, schema, name) = (pair.new_table(), &pair.name.schema, &pair.name.name);
            if self.named_late.contains(&pair.new) {
                let by_the_way = Ident::new(format!("bulkload: table {}", pair.new));
                moves.push(format!("alter table {new} rename to {by_the_way}"));
                names.push(format!("alter table {schema}.{by_the_way} rename to {name}"));
                new.name = by_the_way;
            }
            moves.push(format!("alter table {new} set schema {schema}"));
        }
        moves.extend(names);
        let late = self.pairs.iter().flat_map(|pair| pair.late.iter().cloned());
        let attach = late.chain(self.bound.attach.iter().cloned()).collect();
        [self.bound.detach.clone(), moves, attach]
    }

    async fn run(&self, client: &Client, sql: &str) -> Result<()> {
        let names: Vec<String> = self.pairs.iter().map(|pair| pair.name.plain()).collect();
        let failed = |e| Error::pg(Phase::Apply, format!("exchanging {}", names.join(", ")), &e);
        client.batch_execute(sql).await.map_err(failed)
    }
}

/// Returns the options of the live tables, and of the views over them, that only the server can set.
async fn kept_options(client: &Client, pairs: &[Pair]) -> Result<KeptOptions> {
    let (live, _) = oids(pairs);
    match pairs.first() {
        Some(pair) => KeptOptions::read(client, &pair.new_schema, &live).await,
        None => Ok(KeptOptions::default()),
    }
}

/// Returns whether a test stops at one of the steps, which are then sent one by one.
fn stops_within() -> bool {
    fail::has_failpoints() && fail::list().iter().any(|(name, _)| name.starts_with("swap.step_"))
}

/// Returns the new tables whose array types have names that are taken in the destination schema.
async fn named_late(client: &Client, pairs: &[Pair]) -> Result<Vec<Oid>> {
    let (live, new) = oids(pairs);
    let rows = client
        .query(include_str!("array_types.sql"), &[&live, &new])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading the names of types", &e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Returns the locks on the sequences that go away with the old tables. SET SCHEMA takes them, and a session that has drawn a
/// value in an open transaction holds one. LOCK TABLE does not accept sequences.
async fn sequences(client: &Client, tables: &[Oid]) -> Result<Vec<Wanted>> {
    let rows = client
        .query(include_str!("sequences.sql"), &[&tables])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading sequences", &e))?;
    let wanted = |row: &tokio_postgres::Row| {
        let name = TableName::new(row.get::<_, &str>("schema"), row.get::<_, &str>("name"));
        let owner = Ident::new(row.get::<_, &str>("owner"));
        Wanted {
            rank: Rank::Sequence,
            statement: format!("alter sequence {name} owner to {owner}"),
            ..Wanted::table(name, row.get("oid"), TableLock::AccessExclusive)
        }
    };
    Ok(rows.iter().map(wanted).collect())
}

/// Returns the statements that move extended statistics. SET SCHEMA of a table leaves them where they are, and those of the
/// new table may belong in another schema than the table.
async fn statistics(client: &Client, pairs: &[Pair]) -> Result<Vec<String>> {
    let (live, new) = oids(pairs);
    let tables = [live, new].concat();
    let rows = client
        .query(include_str!("statistics.sql"), &[&tables])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading extended statistics", &e))?;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for row in &rows {
        let (table, name): (Oid, &str) = (row.get("table_oid"), row.get("name"));
        let full = TableName::new(row.get::<_, &str>("schema"), name);
        if let Some(pair) = pairs.iter().find(|pair| pair.live == table) {
            old.push(format!("alter statistics {full} set schema {}", pair.old_schema));
        } else if let Some(pair) = pairs.iter().find(|pair| pair.new == table) {
            let same = |row: &&tokio_postgres::Row| {
                row.get::<_, Oid>("table_oid") == pair.live && row.get::<_, &str>("name") == name
            };
            let schema = rows.iter().find(same).map(|row| Ident::new(row.get::<_, &str>("schema")));
            let schema = schema.unwrap_or_else(|| pair.name.schema.clone());
            new.push(format!("alter statistics {full} set schema {schema}"));
        }
    }
    Ok([old, new].concat())
}
