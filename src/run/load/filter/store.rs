//! What is remembered of a table's rows for those that refer to it: keys, or values by key.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pg::format::Format;
use crate::pg::key_kind::KeyKind;
use crate::pg::name::{Ident, TableName, list};
use crate::plan::Keys;
use crate::transform::{
    Collect, InputColumn, KeyColumn, KeySet, KeySetBuilder, LookupBuilder, LookupMap, Output, OutputColumn,
    Rules,
};

/// How long a store waits for the last worker of a given-up attempt to let go of it.
const LET_GO_TRIES: u32 = 1000;
const LET_GO_TICK: Duration = Duration::from_millis(5);

/// Keys of a table, or values by key.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) what: What,
    state: Mutex<State>,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct What {
    /// Whose rows.
    pub(super) keys: Keys,
    pub(super) table: TableName,
    /// The columns of the key, and how their values are read.
    pub(super) columns: Vec<Ident>,
    pub(super) kinds: Vec<KeyKind>,
    /// What is looked up by the key; without it, the keys alone are remembered.
    pub(super) value: Option<Value>,
}

/// A column that is looked up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) column: Ident,
    /// The form in which they are wanted.
    pub(super) format: Format,
}

#[derive(Debug)]
enum State {
    Open(Builder),
    Known(Known),
    GivenUp,
}

#[derive(Debug)]
enum Builder {
    Keys(Arc<KeySetBuilder>),
    Values(Arc<LookupBuilder>),
}

/// What a store holds when it is complete.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Keys(Arc<KeySet>),
    Values(Arc<LookupMap>),
}

impl Known {
    fn memory_bytes(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.memory_bytes(),
            Self::Values(values) => values.memory_bytes(),
        }
    }
}

impl Builder {
    fn new(what: &What) -> Self {
        match &what.value {
            None => Self::Keys(Arc::default()),
            // The plan has only keys with one value looked up while rows stream by: their order does not matter.
            Some(value) => Self::Values(Arc::new(LookupBuilder::new(value.format, None))),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.memory_bytes(),
            Self::Values(values) => values.memory_bytes(),
        }
    }

    fn is_shared(&self) -> bool {
        match self {
            Self::Keys(keys) => Arc::strong_count(keys) > 1,
            Self::Values(values) => Arc::strong_count(values) > 1,
        }
    }

    /// Ends the building; as long as it holds much. `None` if somebody goes on adding.
    fn freeze(self) -> Option<Known> {
        Some(match self {
            Self::Keys(keys) => Known::Keys(Arc::new(Arc::into_inner(keys)?.freeze())),
            Self::Values(values) => Known::Values(Arc::new(Arc::into_inner(values)?.freeze())),
        })
    }
}

impl Store {
    /// An empty one.
    pub(super) fn open(what: What) -> Self {
        let state = Mutex::new(State::Open(Builder::new(&what)));
        Self { what, state }
    }

    /// One that never was.
    pub(super) fn given_up(what: What) -> Self {
        Self { what, state: Mutex::new(State::GivenUp) }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*lock(&self.state), State::Open(_))
    }

    pub(super) fn is_given_up(&self) -> bool {
        matches!(*lock(&self.state), State::GivenUp)
    }

    pub(super) fn give_up(&self) {
        *lock(&self.state) = State::GivenUp;
    }

    /// What it holds, once it is complete.
    pub(super) fn known(&self) -> Option<Known> {
        match &*lock(&self.state) {
            State::Known(known) => Some(known.clone()),
            State::Open(_) | State::GivenUp => None,
        }
    }

    /// Bytes that it holds, and whether it grows.
    pub(super) fn memory_bytes(&self) -> (usize, bool) {
        match &*lock(&self.state) {
            State::Open(builder) => (builder.memory_bytes(), true),
            State::Known(known) => (known.memory_bytes(), false),
            State::GivenUp => (0, false),
        }
    }

    /// What collects it from rows of its table that consist of these columns; `None` if it is not wanted (any more).
    pub(super) fn collect(&self, position: impl Fn(&Ident) -> Option<usize>) -> Option<Collect> {
        let State::Open(builder) = &*lock(&self.state) else { return None };
        let columns = self.what.columns.iter().zip(&self.what.kinds);
        let columns = columns.map(|(name, &kind)| Some(KeyColumn { column: position(name)?, kind }));
        let columns = columns.collect::<Option<Vec<_>>>()?;
        Some(match builder {
            Builder::Keys(into) => Collect::Keys { columns, into: into.clone() },
            Builder::Values(into) => {
                let value = position(&self.what.value.as_ref()?.column)?;
                Collect::Values { columns, value, into: into.clone() }
            }
        })
    }

    /// The statement that fetches it from a live table, and the rules that collect it from there.
    pub(super) fn fetching(&self) -> Option<(String, Rules)> {
        let What { table, columns, value, .. } = &self.what;
        let format = value.as_ref().map_or(Format::Binary, |value| value.format);
        let wanted: Vec<&Ident> = columns.iter().chain(value.as_ref().map(|value| &value.column)).collect();
        let collect = self.collect(|name| wanted.iter().position(|wanted| *wanted == name))?;
        let text = |name: &Ident| name.as_str().to_owned();
        let output = |(field, name): (usize, &&Ident)| OutputColumn {
            name: text(name),
            value: Output::Field(field),
            render: None,
        };
        let rules = Rules {
            table: table.plain(),
            format,
            input: wanted.iter().map(|name| InputColumn { name: text(name), render: None }).collect(),
            output: wanted.iter().enumerate().map(output).collect(),
            lookups: Vec::new(),
            null_values: Vec::new(),
            references: Vec::new(),
            collect: vec![collect],
            reject_columns: Vec::new(),
            emits: false,
        };
        let sql = format!("copy (select {} from {table}) to stdout (format {format})", list(wanted));
        Some((sql, rules))
    }

    /// All of it has been collected, or not: it is known now, or given up.
    pub(super) async fn close(&self, is_complete: bool) {
        let taken = if is_complete { self.take().await } else { None };
        let known = match taken {
            Some(builder) => tokio::task::spawn_blocking(move || builder.freeze()).await.ok().flatten(),
            None => None,
        };
        let mut state = lock(&self.state);
        if matches!(*state, State::Open(_)) {
            *state = known.map_or(State::GivenUp, State::Known);
        }
    }

    /// The builder, when nobody else holds it any more.
    async fn take(&self) -> Option<Builder> {
        for _ in 0..LET_GO_TRIES {
            {
                let State::Open(builder) = &mut *lock(&self.state) else { return None };
                if !builder.is_shared() {
                    return Some(std::mem::replace(builder, Builder::new(&self.what)));
                }
            }
            // A worker of an attempt that was given up is about to end.
            tokio::time::sleep(LET_GO_TICK).await;
        }
        None
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking worker left behind belongs to a table that has failed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
