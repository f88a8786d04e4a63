//! Which rows were rejected, from the rejects files of earlier runs.

use std::collections::HashSet;
use std::path::Path;

use super::difference::Key;
use crate::pg::name::Ident;
use crate::report::state::Unapplied;

/// The keys of rejected rows; `None` if a file cannot be read any more, or does not tell.
pub(super) fn keys(unapplied: &Unapplied, columns: &[&Ident]) -> Option<HashSet<Key>> {
    let mut keys = HashSet::new();
    for file in &unapplied.files {
        read(Path::new(file), columns, &mut keys)?;
    }
    Some(keys)
}

fn read(path: &Path, columns: &[&Ident], keys: &mut HashSet<Key>) -> Option<()> {
    let mut reader = csv::Reader::from_path(path).ok()?;
    let header = reader.headers().ok()?.clone();
    // The source's columns follow the file's own, one of which may have the same name.
    let place = |name: &&Ident| {
        header
            .iter()
            .enumerate()
            .skip(OWN_COLUMNS)
            .find(|(_, column)| *column == name.as_str())
            .map(|(i, _)| i)
    };
    let places: Vec<usize> = columns.iter().map(place).collect::<Option<_>>()?;
    for record in reader.records() {
        let record = record.ok()?;
        keys.insert(places.iter().map(|&i| record.get(i).map(str::to_owned)).collect());
    }
    Some(())
}

/// `reason`, `constraint` and `row`.
const OWN_COLUMNS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_sources_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, "reason,constraint,row,row,v\n\"a, b\",fk,,7,x\nc,fk,,8,y\n").unwrap();
        let mut unapplied =
            Unapplied { rejected: 2, skipped: 0, files: vec![path.to_string_lossy().into_owned()] };
        let column = Ident::new("row");
        let found = keys(&unapplied, &[&column]).unwrap();
        assert_eq!(found, HashSet::from([vec![Some("7".to_owned())], vec![Some("8".to_owned())]]));
        assert_eq!(keys(&unapplied, &[&Ident::new("reason")]), None);
        unapplied.files.push("gone.csv".to_owned());
        assert_eq!(keys(&unapplied, &[&column]), None);
    }
}
