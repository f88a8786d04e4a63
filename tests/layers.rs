//! No module imports one that stands above it in docs/architecture.md.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate, the highest first, as the documentation has them.
fn layers() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(name, _)| name.to_owned()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, without tests.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_tests {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_tests {
            found.push(path);
        }
    }
}

/// The modules of the crate that a file names in code.
fn imports(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            // A list holds other lists: a name at its beginning or after a comma outside of these is a module.
            Some(list) => {
                let mut depth = 0;
                let mut is_first = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_first = true,
                        _ if is_first && !c.is_whitespace() => {
                            found.push(name(&list[at..]));
                            is_first = false;
                        }
                        _ => {}
                    }
                }
            }
            None => found.push(name(rest)),
        }
    }
    found
}

#[test]
fn no_module_imports_one_above_it() {
    let layers = layers();
    let place = |name: &str| layers.iter().position(|layer| layer == name);
    let source = root().join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    assert!(found.len() > 200, "{found:?}");
    let mut wrong = Vec::new();
    for path in found {
        let inside = path.strip_prefix(&source).unwrap();
        let own = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if own == "lib" || own == "main" {
            continue;
        }
        let own_place = place(own).unwrap_or_else(|| panic!("docs/architecture.md does not list {own}"));
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            if place(&import).is_some_and(|place| place < own_place) {
                wrong.push(format!("{} imports {import}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_read_from_code_alone() {
    let text = "use crate::run::{self, Options};\nuse crate::{apply, plan::{Plan, Group}};\n// crate::cli\n\
        fn f() { crate::report::g() }\n#[cfg(test)]\nmod tests { use crate::bench; }";
    assert_eq!(imports(text), ["run", "apply", "plan", "report"]);
}
