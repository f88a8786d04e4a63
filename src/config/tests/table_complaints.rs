//! Errors about tables: exact message, location and hint.

use super::{check, check_table};

#[test]
fn values_of_a_table() {
    check(&[
        ("[[table]]\nname = 5", "f.toml:2:8: name: expected a table name as in SQL, found an integer", ""),
        (
            "[[table]]\nname = 'a b'",
            "f.toml:2:8: name: \"a b\" is not a valid SQL name; quote it with \"\"",
            "",
        ),
        (
            "[[table]]\nname = 'a.b.c'",
            "f.toml:2:8: name: \"a.b.c\" has more than two parts; expected table or schema.table",
            "",
        ),
        (
            "[[table]]\nname = '${SECRET} x'",
            "f.toml:2:8: name: expected a table name as in SQL, found \"${SECRET} x\"",
            "",
        ),
    ]);
    check_table(&[
        (
            "[[table]]\nname = 'u'\n[[table]]\nname = 'PUBLIC.T'",
            "f.toml:6:8: name: the table public.t is already defined at line 2",
            "Keep one [[table]] per target table.",
        ),
        ("where = ' '", "f.toml:3:9: where: expected a non-empty string, found \" \"", ""),
        (
            "strategy = 'merge'",
            "f.toml:3:12: strategy: expected one of replace, upsert, insert, found \"merge\"",
            "",
        ),
        (
            "apply = 'trunc'",
            "f.toml:3:9: apply: expected one of auto, swap, delta, delete, truncate, direct, found \"trunc\"",
            "",
        ),
        ("key = []", "f.toml:3:7: key: expected at least one column name, found an empty array", ""),
        ("key = 'id'", "f.toml:3:7: key: expected an array of column names, found a string", ""),
        ("key = ['id', 'ID']", "f.toml:3:14: an item of key: the column \"id\" is listed twice", ""),
        ("key = ['']", "f.toml:3:8: an item of key: \"\" has an empty part", ""),
        (
            "watermark = 'updated_at'",
            "f.toml:3:13: watermark: expected an array of source columns, or \"xmin\", found \"updated_at\"",
            "Write columns in brackets: watermark = [\"updated_at\"]",
        ),
        (
            "watermark = 5",
            "f.toml:3:13: watermark: expected an array of source columns, or \"xmin\", found an integer",
            "",
        ),
        (
            "watermark = []",
            "f.toml:3:13: watermark: expected at least one column name, found an empty array",
            "",
        ),
        (
            "watermark = ['a', 'xmin']",
            "f.toml:3:13: watermark: xmin cannot be combined with columns",
            "Write watermark = \"xmin\", without brackets.",
        ),
    ]);
}

#[test]
fn settings_that_contradict_each_other() {
    check_table(&[
        (
            "from = 'a'\nquery = 'select 1'",
            "f.toml:4:9: query: conflicts with from: a table's rows come from one source",
            "Keep from or query, not both.",
        ),
        (
            "csv = 'a'\ncolumns.lossy = 'error'",
            "f.toml:4:17: lossy: has no effect here: values in files have no type, so casts of them lose nothing",
            "Remove lossy.",
        ),
        (
            "csv = 'a'\nverify_ignore = ['v']",
            "f.toml:4:17: verify_ignore: has no effect here: it requires a PostgreSQL source, but the rows come from csv",
            "Remove verify_ignore.",
        ),
        (
            "csv = 'a'\nquery = 'select 1'",
            "f.toml:3:7: csv: conflicts with query: a table's rows come from one source",
            "Keep query or csv, not both.",
        ),
        (
            "strategy = 'upsert'\napply = 'delta'",
            "f.toml:4:9: apply: has no effect here: it applies only to strategy = \"replace\"",
            "Remove apply.",
        ),
        (
            "strategy = 'insert'\nmax_shrink = 1",
            "f.toml:4:14: max_shrink: has no effect here: only strategy = \"replace\" removes rows",
            "Remove max_shrink.",
        ),
        (
            "scope = 'a'\napply = 'swap'",
            "f.toml:4:9: apply: this method replaces the whole table, but scope keeps the rows outside it",
            "Use apply = \"auto\" or \"delta\", or remove scope.",
        ),
        (
            "scope = 'a'\napply = 'truncate'",
            "f.toml:4:9: apply: this method replaces the whole table, but scope keeps the rows outside it",
            "Use apply = \"auto\" or \"delta\", or remove scope.",
        ),
        (
            "scope = 'a'\napply = 'direct'",
            "f.toml:4:9: apply: this method replaces the whole table, but scope keeps the rows outside it",
            "Use apply = \"auto\" or \"delta\", or remove scope.",
        ),
        (
            "watermark_overlap = '1m'",
            "f.toml:3:21: watermark_overlap: has no effect here: the table has no watermark",
            "Remove watermark_overlap.",
        ),
        (
            "full_every = '1d'",
            "f.toml:3:14: full_every: has no effect here: the table has no watermark",
            "Remove full_every.",
        ),
        (
            "watermark = 'xmin'\nwatermark_overlap = '1m'",
            "f.toml:4:21: watermark_overlap: has no effect here: watermark = \"xmin\" is exact",
            "Remove watermark_overlap.",
        ),
        (
            "watermark = 'xmin'\nquery = 'select 1'",
            "f.toml:3:13: watermark: a query has no xmin; only a table has one",
            "Name columns of the query: watermark = [\"updated_at\"]",
        ),
        (
            "csv = 'a'\nwhere = 'b'",
            "f.toml:4:9: where: has no effect here: it requires a PostgreSQL source, but the rows come from csv",
            "Remove where.",
        ),
        (
            "csv = 'a'\nwatermark = ['b']",
            "f.toml:4:13: watermark: has no effect here: it requires a PostgreSQL source, but the rows come from csv",
            "Remove watermark.",
        ),
        (
            "csv = 'a'\nformat = 'text'",
            "f.toml:4:10: format: has no effect here: it requires a PostgreSQL source, but the rows come from csv",
            "Remove format.",
        ),
        (
            "csv = []",
            "f.toml:3:7: csv: expected a path such as \"seed/*.csv\", or an array of them, found an empty array",
            "",
        ),
        (
            "[table.csv]\nfiles = 'a'\ndelimiter = ';;'",
            "f.toml:5:13: delimiter: expected a single ASCII character, such as \";\" or \"\\t\"",
            "",
        ),
        ("[table.csv]\nfiles = 'a'\nquote = ','", "f.toml:5:9: quote: it is also the delimiter", ""),
        (
            "[table.csv]\nfiles = 'a'\nencoding = 'klingon'",
            "f.toml:5:12: encoding: expected the name of an encoding, found \"klingon\"",
            "Examples: utf-8, windows-1252, iso-8859-15, utf-16le, shift_jis, gbk.",
        ),
        (
            "csv = 'a'\n[table.columns]\nset = { b = { expr = 'now()' } }",
            "f.toml:5:13: the column \"b\" has an expr, which requires a PostgreSQL source, but the rows come from csv",
            "Use a constant, or a default on the target column.",
        ),
    ]);
}

#[test]
fn two_rules_for_one_column() {
    check_table(&[
        (
            "columns.skip = ['a', 'b', 'a']",
            "f.toml:3:27: the column \"a\" is listed twice in skip",
            "Keep one of the two.",
        ),
        (
            "columns.skip = ['a']\ncolumns.rename = { a = 'b' }",
            "f.toml:4:24: the column \"a\" is both in skip and in rename",
            "Keep one of the two.",
        ),
        (
            "columns.rename = { a = 'c', b = 'c' }",
            "f.toml:3:33: the column \"c\" is the new name of two columns",
            "Rename one of them differently.",
        ),
        (
            "columns.rename = { a = 'b' }\ncolumns.set = { b = 1 }",
            "f.toml:4:21: the column \"b\" is filled by rename and by set",
            "Keep one of the two.",
        ),
        (
            "columns.rename = { a = 'b' }\ncolumns.default = { b = 1 }",
            "f.toml:4:25: the column \"b\" is filled by rename and by default",
            "Keep one of the two.",
        ),
        (
            "columns.set = { b = 1 }\ncolumns.default = { b = 1 }",
            "f.toml:4:25: the column \"b\" is filled by set and by default",
            "Keep one of the two.",
        ),
        (
            "columns.skip = ['b']\ncolumns.default = { b = 1 }",
            "f.toml:4:25: the column \"b\" is both in skip and in default",
            "Use set to fill a column regardless of the source.",
        ),
        (
            "columns.set = { b = 1 }\n[[table.lookup]]\ncolumn='b'\nfrom='u'\nmatch={a='a'}\nvalue='v'",
            "f.toml:5:8: column: \"b\" is already filled by set",
            "Keep one of the two.",
        ),
        (
            "columns.rename = { a = 'b' }\n[[table.lookup]]\ncolumn='b'\nfrom='u'\nmatch={a='a'}\nvalue='v'",
            "f.toml:5:8: column: \"b\" is already filled by rename",
            "Keep one of the two.",
        ),
        (
            "[[table.lookup]]\ncolumn='b'\nfrom='u'\nmatch={a='a'}\nvalue='v'\n[[table.lookup]]\ncolumn='B'\nfrom='u'\nmatch={a='a'}\nvalue='v'",
            "f.toml:9:8: column: \"b\" is filled by two lookups",
            "Keep one [[table.lookup]] per column.",
        ),
        (
            "[[table.reference]]\ncolumns=['a']\nto='u(b)'\n[[table.reference]]\ncolumns=['a']\nto='u(b)'",
            "f.toml:7:9: columns: this reference is declared twice",
            "Keep one [[table.reference]] per foreign key.",
        ),
    ]);
}

#[test]
fn values_of_columns_lookups_and_references() {
    check_table(&[
        ("columns.skip = 'a'", "f.toml:3:16: skip: expected an array of column names, found a string", ""),
        (
            "columns.skip = ['']",
            "f.toml:3:17: an item of skip: expected a literal column name of 1 to 63 bytes, found \"\"",
            "Names in [table.columns] are literal: they are neither folded to lower case nor quoted.",
        ),
        ("columns.skip = [1]", "f.toml:3:17: an item of skip: expected a column name, found an integer", ""),
        (
            "columns.rename = ['a']",
            "f.toml:3:18: rename: expected a table with one key per column, found an array",
            "",
        ),
        ("columns.rename = { a = 1 }", "f.toml:3:24: rename.a: expected a column name, found an integer", ""),
        (
            "columns.set = { \"\" = 1 }",
            "f.toml:3:17: set: expected a column name of 1 to 63 bytes, found \"\"",
            "Names in [table.columns] are literal: they are neither folded to lower case nor quoted.",
        ),
        (
            "columns.set = { a = [1] }",
            "f.toml:3:21: set.a: expected a constant, or { expr = \"SQL\" }, found an array",
            "Write an array as a string in PostgreSQL syntax: \"{1,2}\".",
        ),
        (
            "columns.set = { a = { sql = 'now()' } }",
            "f.toml:3:21: set.a: expected a constant, or { expr = \"SQL\" }, found a table with other keys",
            "",
        ),
        (
            "columns.set = { a = { expr = '' } }",
            "f.toml:3:30: set.a.expr: expected a non-empty string, found \"\"",
            "",
        ),
        (
            "columns.lossy = 'ignore'",
            "f.toml:3:17: lossy: expected one of warn, error, allow, found \"ignore\"",
            "",
        ),
        ("columns.extra = 'ignore'", "f.toml:3:17: extra: expected one of warn, error, found \"ignore\"", ""),
        (
            "[[table.lookup]]\ncolumn='b'\nfrom='u'\nvalue='v'\nmatch={}",
            "f.toml:7:7: match: expected a table such as { job_id = \"id\" }, found an empty table",
            "",
        ),
        (
            "[[table.lookup]]\ncolumn='b'\nfrom='u'\nvalue='v'\nmatch={'a b'='a'}",
            "f.toml:7:8: match: \"a b\" is not a valid SQL name; quote it with \"\"",
            "",
        ),
        (
            "[[table.lookup]]\ncolumn='b'\nfrom='u'\nvalue='v'\nmatch={a='a', A='b'}",
            "f.toml:7:15: match: the column \"a\" is listed twice",
            "",
        ),
        (
            "[[table.lookup]]\ncolumn='b'\nfrom='u'\nvalue='v'\nmatch={a='a'}\non_missing='skip'",
            "f.toml:8:12: on_missing: expected one of null, reject, found \"skip\"",
            "",
        ),
        (
            "[[table.reference]]\ncolumns=['a']\nto='u'",
            "f.toml:5:4: to: expected a table and its columns, such as \"public.clients(client_id)\", found \"u\"",
            "",
        ),
        (
            "[[table.reference]]\ncolumns=['a']\nto='u()'",
            "f.toml:5:4: to: expected a table and its columns, such as \"public.clients(client_id)\", found \"u()\"",
            "",
        ),
        (
            "[[table.reference]]\ncolumns=['a']\nto='u(b, c)'",
            "f.toml:5:4: to: expected the same number of columns as in columns (1), found 2",
            "",
        ),
        (
            "[[table.reference]]\ncolumns=['a','b']\nto='u(b, b)'",
            "f.toml:5:4: to: the column \"b\" is listed twice",
            "",
        ),
        (
            "[[table.reference]]\ncolumns=['a']\nto='u(b)'\non_orphan='drop'",
            "f.toml:6:11: on_orphan: expected one of reject, null, fail, keep, found \"drop\"",
            "",
        ),
        (
            "[[table.reference]]\ncolumns=['a']\nto='u(b)'\nnull_values=[[]]",
            "f.toml:6:14: an item of null_values: expected a constant, found an array",
            "",
        ),
    ]);
}
