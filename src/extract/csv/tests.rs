//! Compares the reader with the csv crate, at every position where a file can be split.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::reader::Tally;
use super::reader::read_blocks;
use super::split::{Scanner, Start};
use super::*;
use crate::batch::{Batch, BatchPool, RowOrigin};
use crate::config::{Characters, Dialect};
use crate::error::Result;
use crate::plan::{CsvFile, csv_file};
use crate::transform::{RejectBuffer, unescaped};

fn file(bytes: &[u8]) -> CsvFile {
    CsvFile { fields: 2, ..csv_file(bytes.len() as u64) }
}

/// The reader's output: rows and rejects in file order.
#[derive(Debug, Default)]
struct Collected {
    copy: Vec<u8>,
    places: Vec<(RowOrigin, Vec<u8>)>,
    rejects: Vec<u8>,
    rejected: u64,
    bytes: u64,
}

impl Outlet for Collected {
    fn rows(&mut self, batch: Batch, bytes: u64) -> Result<()> {
        self.copy.extend_from_slice(batch.data());
        self.bytes += bytes;
        if let Some(origin) = &batch.origin {
            self.places.extend(origin.rows.iter().map(|&place| (place, origin.raw(place).to_vec())));
        }
        Ok(())
    }

    fn rejects(&mut self, rejects: &RejectBuffer) -> Result<()> {
        self.rejects.extend_from_slice(rejects.lines());
        self.rejected += rejects.rejects().count;
        Ok(())
    }
}

/// One row or reject: number, line, raw.
type Seen = (u64, u64, Vec<u8>);

impl Collected {
    /// All records, good and bad, in file order.
    fn seen(&self) -> Vec<Seen> {
        let mut seen: Vec<Seen> =
            self.places.iter().map(|(place, raw)| (place.row, place.line, raw.clone())).collect();
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&self.rejects[..]);
        for record in reader.byte_records().map(std::result::Result::unwrap) {
            let number = |field: usize| String::from_utf8_lossy(&record[field]).parse().unwrap();
            seen.push((number(2), number(4), record[6].to_vec()));
        }
        seen.sort();
        seen
    }

    /// The rows, NULL as `None`.
    fn rows(&self) -> Vec<Vec<Option<Vec<u8>>>> {
        let value = |item: &[u8]| (item != b"\\N").then(|| unescaped(item, &mut Vec::new()).to_vec());
        let lines = self.copy.split_inclusive(|&byte| byte == b'\n').map(|line| &line[..line.len() - 1]);
        lines.map(|line| line.split(|&byte| byte == b'\t').map(value).collect()).collect()
    }
}

fn slice<'a>(file: &'a CsvFile, dialect: &'a Dialect, fields: usize) -> Slice<'a> {
    Slice {
        file,
        dialect,
        layout: Layout { is_loaded: vec![true; fields], ..Layout::default() },
        names: vec!["a", "b", "c"],
        reject_columns: (0..fields).map(Some).collect(),
        start: Start::OF_FILE,
        until: None,
        place: 0,
    }
}

fn read_text(text: &[u8], slice: &Slice<'_>, block: usize) -> Result<(Collected, Tally)> {
    let mut outlet = Collected::default();
    let begin = usize::try_from(slice.start.offset).unwrap();
    let tally = read_blocks(slice, &mut &text[begin..], |_| 0, block, &BatchPool::default(), &mut outlet)?;
    assert_eq!(tally.rows, outlet.places.len() as u64);
    assert_eq!(tally.records, outlet.seen().len() as u64);
    assert_eq!(tally.records - tally.rows, outlet.rejected);
    Ok((outlet, tally))
}

fn headless() -> Dialect {
    Dialect { header: false, ..Dialect::default() }
}

/// The rows of a text without rejects.
fn rows(text: &[u8], dialect: &Dialect, fields: usize) -> Vec<Vec<Option<String>>> {
    let file = file(text);
    let (collected, _) = read_text(text, &slice(&file, dialect, fields), 1 << 16).unwrap();
    assert_eq!(collected.rejected, 0, "{}", String::from_utf8_lossy(&collected.rejects));
    let text = |value: Option<Vec<u8>>| value.map(|value| String::from_utf8(value).unwrap());
    collected.rows().into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| (*value != "NULL").then(|| (*value).to_owned())).collect()
}

fn with_crate(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let fields = |record: csv::ByteRecord| record.iter().map(<[u8]>::to_vec).collect();
    reader.byte_records().map(|record| fields(record.unwrap())).collect()
}

/// Physical lines, by any line end, and where they begin.
fn line_begins(text: &[u8]) -> Vec<usize> {
    let mut begins = vec![0];
    for at in 0..text.len() {
        let ends = text[at] == b'\n' || (text[at] == b'\r' && text.get(at + 1) != Some(&b'\n'));
        if ends {
            begins.push(at + 1);
        }
    }
    begins
}

/// Where the part with nominal start `wanted` begins; `piece` bytes are scanned at once.
fn start_at(text: &[u8], wanted: usize, characters: Characters, piece: usize) -> Start {
    let mut scanner = Scanner::new(characters);
    let mut at = 0;
    loop {
        let block = &text[at..text.len().min(at + piece)];
        let (taken, start) = scanner.advance(block, wanted as u64);
        at += taken;
        if let Some(start) = start {
            return start;
        }
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        6 => Just(&b"a"[..]),
        4 => Just(&b","[..]),
        3 => Just(&b"\n"[..]),
        2 => Just(&b"\""[..]),
        2 => Just(&b"\"\""[..]),
        2 => Just(&b"\"x\ny\""[..]),
        1 => Just(&b",\""[..]),
        1 => Just(&b"\","[..]),
        1 => Just(&b"\r\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"\\"[..]),
        1 => Just(&b"\t"[..]),
        1 => Just("é".as_bytes()),
    ];
    vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn records_are_those_of_the_csv_crate_wherever_a_file_is_cut(text in text(), block in 2_usize..9, piece in 1_usize..9) {
        let (file, dialect) = (file(&text), headless());
        let whole = slice(&file, &dialect, 2);
        // An unclosed quote is an error here; the csv crate guesses.
        let Ok((all, tally)) = read_text(&text, &whole, 1 << 16) else { return Ok(()) };
        let expected = with_crate(&text);
        prop_assert_eq!(tally.records, expected.len() as u64);
        let seen = all.seen();
        for ((_, _, raw), expected) in seen.iter().zip(&expected) {
            prop_assert_eq!(&with_crate(raw)[0], expected);
        }
        let values = |row: Vec<Option<Vec<u8>>>| row.into_iter().map(Option::unwrap_or_default).collect();
        let rows: Vec<Vec<Vec<u8>>> = all.rows().into_iter().map(values).collect();
        prop_assert_eq!(rows, expected.into_iter().filter(|fields| fields.len() == 2).collect::<Vec<_>>());
        let begins = line_begins(&text);
        for (_, line, raw) in &seen {
            prop_assert!(text[begins[usize::try_from(*line).unwrap() - 1]..].starts_with(raw));
        }
        prop_assert_eq!(&read_text(&text, &whole, block).unwrap().0.seen(), &seen);
        for wanted in 1..=text.len() {
            let start = start_at(&text, wanted, dialect.characters, piece);
            prop_assert!(start.offset >= wanted as u64);
            let first = Slice { until: Some(wanted as u64), ..slice(&file, &dialect, 2) };
            let second = Slice { start, ..slice(&file, &dialect, 2) };
            let (first, tally) = read_text(&text, &first, block).unwrap();
            let (second, _) = read_text(&text, &second, block).unwrap();
            let shifted = second.seen().into_iter().map(|(row, line, raw)| (row + tally.records, line, raw));
            prop_assert_eq!(&first.seen().into_iter().chain(shifted).collect::<Vec<_>>(), &seen, "cut at {}", wanted);
            prop_assert_eq!([first.copy, second.copy].concat(), all.copy.clone());
        }
    }

    #[test]
    fn comments_and_escapes_do_not_confuse_where_a_file_is_cut(text in vec(prop::sample::select(&b"a,\"\n#\\"[..]), 0..40)) {
        let characters = Characters { escape: Some(b'\\'), comment: Some(b'#'), ..Dialect::default().characters };
        let (file, dialect) = (file(&text), Dialect { characters, ..headless() });
        let Ok((all, _)) = read_text(&text, &slice(&file, &dialect, 2), 1 << 16) else { return Ok(()) };
        for wanted in 1..=text.len() {
            let start = start_at(&text, wanted, characters, 3);
            let first = Slice { until: Some(wanted as u64), ..slice(&file, &dialect, 2) };
            let second = Slice { start, ..slice(&file, &dialect, 2) };
            let (first, tally) = read_text(&text, &first, 5).unwrap();
            let (second, _) = read_text(&text, &second, 5).unwrap();
            let shifted = second.seen().into_iter().map(|(row, line, raw)| (row + tally.records, line, raw));
            prop_assert_eq!(first.seen().into_iter().chain(shifted).collect::<Vec<_>>(), all.seen(), "cut at {}", wanted);
        }
    }
}

#[test]
fn values_are_what_copy_would_read() {
    let text = b"1,a\n2,\n3,\"\"\n4,\"x,\"\"y\"\"\nz\"\r\n5,\\.\n\"6\",\\N\r7,a\tb\n8,\"q\"r\"\n9,5\" disk";
    let expected = [
        ["1", "a"],
        ["2", "NULL"],
        ["3", ""],
        ["4", "x,\"y\"\nz"],
        ["5", "\\."],
        ["6", "\\N"],
        ["7", "a\tb"],
        ["8", "qr\""],
        ["9", "5\" disk"],
    ];
    assert_eq!(rows(text, &headless(), 2), expected.map(|row| some(&row)));
    let file = file(text);
    let dialect = headless();
    let (collected, _) = read_text(text, &slice(&file, &dialect, 2), 64).unwrap();
    assert!(collected.copy.starts_with(b"1\ta\n2\t\\N\n3\t\n4\tx,\"y\"\\nz\n5\t\\\\.\n6\t\\\\N\n7\ta\\tb\n"));
}

#[test]
fn a_dialect_is_obeyed() {
    let characters =
        Characters { delimiter: b';', quote: Some(b'\''), escape: Some(b'\\'), comment: Some(b'#') };
    let dialect = Dialect { characters, null: "NULL".to_owned(), ..Dialect::default() };
    let text = "\u{feff}a;b\n#no; row ' at all\n1;NULL\n2;\n\n3;'NULL'\n4;'it''s \\' \\\\ \\x'\n";
    let expected = [["1", "NULL"], ["2", ""], ["4", "it's ' \\ \\x"]];
    let found = rows(text.as_bytes(), &dialect, 2);
    assert_eq!(found[2], [Some("3".to_owned()), Some("NULL".to_owned())], "a quoted value is not NULL");
    let others: Vec<_> =
        found.into_iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, row)| row).collect();
    assert_eq!(others, expected.map(|row| some(&row)));
    let unquoted = Dialect { characters: Characters { quote: None, ..headless().characters }, ..headless() };
    assert_eq!(rows(b"\"1,2\"\n", &unquoted, 2), [some(&["\"1", "2\""])]);
}

#[test]
fn an_empty_line_is_a_row_of_one_column_and_nothing_elsewhere() {
    assert_eq!(rows(b"a\n\n\"\"\n", &headless(), 1), [some(&["a"]), some(&["NULL"]), some(&[""])]);
    assert_eq!(rows(b"\n\n1,2\n\n", &headless(), 2), [some(&["1", "2"])]);
    assert_eq!(rows(b"\n\na\n\n1\n", &Dialect::default(), 1), [some(&["NULL"]), some(&["1"])]);
}

#[test]
fn columns_are_left_behind_repeated_and_added() {
    let text = b"a,b,c\n1,2,3\n\"x\"\"y\",,z\n";
    let (file, dialect) = (file(text), Dialect::default());
    let added = vec![Added::Constant(b"k".to_vec()), Added::Field(1), Added::Field(0), Added::Place];
    let layout = Layout { is_loaded: vec![true, false, true], added, ..Layout::default() };
    let slice = Slice { layout, place: 1 << 40, ..slice(&file, &dialect, 3) };
    let (collected, _) = read_text(text, &slice, 7).unwrap();
    let expected = "1\t3\tk\t2\t1\t1099511627778\nx\"y\tz\tk\t\\N\tx\"y\t1099511627779\n";
    assert_eq!(String::from_utf8(collected.copy).unwrap(), expected);
}

#[test]
fn values_of_a_column_that_mean_null_are_null_where_it_is_loaded() {
    let text = b"a,b\n0,0\n\"0\",\"0\"\n00,-1\n-1,x\n\"\"\"0\",\"0\"0\n,\n";
    let (file, dialect) = (file(text), Dialect::default());
    let layout = Layout {
        is_loaded: vec![true, true],
        null_values: vec![(0, vec!["0".to_owned()]), (0, vec!["-1".to_owned()])],
        added: vec![Added::Field(0)],
    };
    let slice = Slice { layout, ..slice(&file, &dialect, 2) };
    let (collected, _) = read_text(text, &slice, 7).unwrap();
    let expected = "\\N\t0\t0\n\\N\t0\t0\n00\t-1\t00\n\\N\tx\t-1\n\"0\t00\t\"0\n\\N\t\\N\t\\N\n";
    assert_eq!(String::from_utf8(collected.copy).unwrap(), expected);
}

#[test]
fn bad_records_are_rejected_with_their_place_and_the_others_are_rows() {
    let text = b"a,b\n1,ok\n2\n\"3\",\"x\ny\",z\n4,\xff\n5,a\0b\n\xe4\xc3\xb6,6\n7,ok\n8,\xc3";
    for block in [3, 16, 1 << 16] {
        let (file, dialect) = (file(text), Dialect::default());
        let (collected, tally) = read_text(text, &slice(&file, &dialect, 2), block).unwrap();
        assert_eq!(collected.copy, b"1\tok\n7\tok\n");
        assert_eq!((tally.records, tally.rows, collected.rejected), (8, 2, 6));
        let expected = "too few fields: found 1 instead of 2,,2,t.csv,3,,2,2,\n\
            too many fields: found 3 instead of 2,,3,t.csv,4,,\"\"\"3\"\",\"\"x\ny\"\",z\",3,\"x\ny\"\n\
            invalid UTF-8 in column b,,4,t.csv,6,b,\"4,\\xff\",4,\\xff\n\
            a NUL byte in column b,,5,t.csv,7,b,\"5,a\\x00b\",5,a\\x00b\n\
            invalid UTF-8 in column a,,6,t.csv,8,a,\"\\xe4ö,6\",\\xe4ö,6\n\
            invalid UTF-8 in column b,,8,t.csv,10,b,\"8,\\xc3\",8,\\xc3\n";
        assert_eq!(String::from_utf8(collected.rejects).unwrap(), expected);
    }
}

#[test]
fn quotes_that_are_never_closed_are_an_error_with_their_line() {
    let text = b"a,b\n1,2\n3,\"4\n5,6\n";
    let (file, dialect) = (file(text), Dialect::default());
    let error = read_text(text, &slice(&file, &dialect, 2), 4).unwrap_err();
    assert_eq!(
        error.message(),
        "t.csv:3: a quoted field in this record is not closed before the end of the file"
    );
}

#[test]
fn a_huge_row_is_handed_on_in_pieces() {
    /// Remembers how large batches were.
    struct Largest(Collected, usize);
    impl Outlet for Largest {
        fn rows(&mut self, batch: Batch, bytes: u64) -> Result<()> {
            self.1 = self.1.max(batch.len());
            Outlet::rows(&mut self.0, batch, bytes)
        }
        fn rejects(&mut self, rejects: &RejectBuffer) -> Result<()> {
            Outlet::rejects(&mut self.0, rejects)
        }
    }
    let huge = "x\ty\"\"".repeat(1 << 20);
    let text = format!("1,2\n3,\"{huge}\"\n5,6\n");
    let (file, dialect) = (file(text.as_bytes()), headless());
    let mut outlet = Largest(Collected::default(), 0);
    let pool = BatchPool::default();
    let tally =
        read_blocks(&slice(&file, &dialect, 2), &mut text.as_bytes(), |_| 0, 1 << 18, &pool, &mut outlet)
            .unwrap();
    assert_eq!(tally.rows, 3);
    assert!(outlet.1 < 1 << 19, "{}", outlet.1);
    let expected = format!("1\t2\n3\t{}\n5\t6\n", "x\\ty\"".repeat(1 << 20));
    assert!(outlet.0.copy == expected.as_bytes());
    assert_eq!(outlet.0.bytes, text.len() as u64);
}

#[test]
fn parts_of_a_file_on_disk_are_found_once_and_by_any_stream() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let text: String = (0..50_000).map(|i| format!("{i},\"{}\n\"\n", "x".repeat(i % 7))).collect();
    std::fs::write(&path, &text).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    let facts = CsvFile { path: path.clone(), modified: metadata.modified().ok(), ..file(text.as_bytes()) };
    let splits = Arc::new(Splits::default());
    let dialect = headless();
    let read_part = |part: u32, parts: u32| {
        let start = splits.start((0, 0), &facts, dialect.characters, (part, parts)).unwrap();
        let until = (part + 1 < parts).then(|| facts.nominal_start(part + 1, parts));
        let mut outlet = Collected::default();
        let slice = Slice { start, until, ..slice(&facts, &dialect, 2) };
        read(&slice, &BatchPool::default(), &mut outlet).unwrap();
        outlet
    };
    let parts: Vec<Collected> = [4, 1, 3, 0, 2].into_iter().map(|part| read_part(part, 5)).collect();
    let copy = |part: usize| &parts[part].copy;
    let rows: Vec<u8> = [3, 1, 4, 2, 0].into_iter().flat_map(copy).copied().collect();
    assert_eq!(rows, text.replace(',', "\t").replace('"', "").replace("\n\n", "\\n\n").into_bytes());
    assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), text.len() as u64);
    std::fs::write(&path, "a").unwrap();
    let error = splits.start((0, 1), &facts, dialect.characters, (1, 2)).unwrap_err();
    assert!(error.message().contains("was changed"), "{error}");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    /// Changes the file after the first rows.
    struct Changing<'a>(Option<&'a dyn Fn()>);
    impl Outlet for Changing<'_> {
        fn rows(&mut self, _: Batch, _: u64) -> Result<()> {
            self.0.take().into_iter().for_each(|change| change());
            Ok(())
        }
        fn rejects(&mut self, _: &RejectBuffer) -> Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.csv");
    let text = "1,2\n".repeat(1 << 19);
    let open = || std::fs::File::options().append(true).open(&path).unwrap();
    let grow = || std::io::Write::write_all(&mut open(), b"3,4\n").unwrap();
    let cut = || open().set_len(1 << 20).unwrap();
    let changes: [(&dyn Fn(), bool); 3] = [(&|| (), true), (&grow, false), (&cut, false)];
    for (change, is_fine) in changes {
        std::fs::write(&path, &text).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().ok();
        let facts = CsvFile { path: path.clone(), modified, ..file(text.as_bytes()) };
        let dialect = headless();
        let read = read(&slice(&facts, &dialect, 2), &BatchPool::default(), &mut Changing(Some(change)));
        match read {
            Ok(tally) => assert!(is_fine && tally.rows == 1 << 19),
            Err(error) => {
                assert!(!is_fine && error.message() == "t.csv was changed during the run", "{error}");
            }
        }
    }
}
