//! Binary values become the text that the server itself would output. The server is the judge: it sends the same
//! values in both formats.

mod floats;
mod nested;
mod scalars;
mod strings;
mod times;

use std::collections::{BTreeSet, HashMap};

use bulkload::config::Secret;
use bulkload::pg::catalog::{self, Catalog, Oid};
use bulkload::pg::conninfo::{ConnInfo, Environment};
use bulkload::pg::name::{Ident, TableName};
use bulkload::pg::render::{Renderer, can_render, from_copy_text};
use bulkload::pg::session::{self, Session, SessionSettings, Side};
use futures::TryStreamExt as _;
use tokio_postgres::types::{FromSql, Type};

use crate::support::{Db, Servers};

/// A server that shows values as text and as bytes, in a session with the program's own settings.
struct Oracle {
    session: Session,
    _db: Db,
}

/// A value's bytes, whatever its type.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Oracle {
    async fn new() -> Self {
        let db = Db::create(&Servers::shared().source);
        let url = Secret::new(db.socket_url().to_owned());
        let info = ConnInfo::resolve(&url, &Environment::default()).unwrap();
        let session = session::connect(&info, &SessionSettings::new(Side::Source, "render")).await.unwrap();
        Self { session, _db: db }
    }

    async fn run(&self, sql: &str) {
        self.session.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// Whether both forms agree on all values of a query, whose one column is cast to a type.
    #[track_caller]
    fn agrees(&self, sql_type: &str, query: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.table(sql_type).await;
            self.run(&format!("insert into public.t select v::{sql_type} from ({query}) as q (v)")).await;
            self.judge(&format!("{caller}: {sql_type}")).await;
        }
    }

    /// The same for values as their input function takes them.
    #[track_caller]
    fn agrees_on(&self, sql_type: &str, values: &[&str]) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.table(sql_type).await;
            // A column of an anonymous text type would need a cast, which not every type has.
            let values: Vec<String> =
                values.iter().map(|value| format!("('{}')", value.replace('\'', "''"))).collect();
            self.run(&format!("insert into public.t values {}", values.join(", "))).await;
            self.judge(&format!("{caller}: {sql_type}")).await;
        }
    }

    async fn table(&self, sql_type: &str) {
        self.run(&format!("drop table if exists public.t; create table public.t (v {sql_type})")).await;
    }

    /// The catalog's view of `public.t`, and the type of its column.
    async fn catalog(&self) -> (Catalog, Oid) {
        let table = TableName::new("public", "t");
        let names = BTreeSet::from([table.clone()]);
        let catalog = catalog::load(&self.session.client, &names, HashMap::new()).await.unwrap();
        let oid = catalog.relations[&table].column(&Ident::new("v")).unwrap().type_oid;
        (catalog, oid)
    }

    /// Compares the forms of all values in `public.t`.
    async fn judge(&self, what: &str) {
        let (catalog, oid) = self.catalog().await;
        assert!(can_render(&catalog, oid), "{what}: no renderer");
        let renderer = Renderer::for_type(&catalog, oid).unwrap();
        let binary = self.session.client.query("select v from public.t", &[]).await.unwrap();
        let copy: Vec<_> = self
            .session
            .client
            .copy_out("copy public.t to stdout")
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let copy = copy.concat();
        let lines: Vec<&[u8]> = copy.strip_suffix(b"\n").expect("some rows").split(|&b| b == b'\n').collect();
        assert_eq!(binary.len(), lines.len(), "{what}");
        let (mut differences, mut text, mut rendered) = (Vec::new(), Vec::new(), Vec::new());
        for (row, line) in binary.iter().zip(lines) {
            let Raw(value) = row.get(0);
            text.clear();
            rendered.clear();
            let Some(value) = value else {
                assert_eq!(line, b"\\N", "{what}");
                continue;
            };
            from_copy_text(line, &mut text);
            let outcome = renderer.write(&value, &mut rendered);
            if outcome.is_err() || text != rendered {
                let show = String::from_utf8_lossy;
                differences.push(format!("server {} | ours {} {outcome:?}", show(&text), show(&rendered)));
            }
        }
        assert!(
            differences.is_empty(),
            "{what}: {} of {} differ\n{}",
            differences.len(),
            binary.len(),
            differences[..differences.len().min(20)].join("\n")
        );
    }
}

/// Numbers that are the same in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
