//! The manual's table of claims (`src/manual/runtime.rs`) is complete and true to the tree: every number of network.md is
//! there, and every row names tests that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rows without a proof yet.
const MISSING: &[&str] = &[];

/// The rows there have to be: each part with its last number.
const PARTS: &[(&str, usize)] = &[
    ("A.1-", 10),
    ("A.2-", 12),
    ("A.3-", 26),
    ("A.4-", 6),
    ("A.5-", 5),
    ("A.6-", 2),
    ("A.7-", 3),
    ("A.8-", 1),
    ("A.9-", 1),
    ("A.10-", 36),
    ("T-", 7),
    ("B.", 39),
];

/// Number of the row, names of its tests.
fn claims() -> BTreeMap<String, Vec<String>> {
    let page = root().join("src/manual/runtime.rs");
    let page = fs::read_to_string(page).expect("the table of claims");
    let mut claims = BTreeMap::new();
    for line in page.lines() {
        let Some(row) = line.strip_prefix("//! |") else {
            continue;
        };
        let cells: Vec<&str> = row.trim_end_matches('|').split('|').collect();
        let number = cells[0].trim();
        if number == "no." || number.starts_with("---") {
            continue;
        }
        assert_eq!(cells.len(), 4, "four columns: {line}");
        let names = cells[3].split('`').skip(1).step_by(2);
        let names = names.map(str::to_owned).collect();
        let before = claims.insert(number.to_owned(), names);
        assert_eq!(before, None, "{number} is there twice");
    }
    claims
}

/// The names of all tests, those of the packages below `benches` included.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files() {
        let text = fs::read_to_string(&path).expect("a readable file");
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") {
                marked = true;
            } else if let Some((name, _)) = line.strip_prefix("fn ").and_then(|l| l.split_once('('))
            {
                if marked {
                    names.insert(name.to_owned());
                }
                marked = false;
            }
        }
    }
    names
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["src", "tests", "benches"].map(|f| root().join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable directory") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_number_is_in_the_table() {
    let wanted = PARTS
        .iter()
        .flat_map(|(part, last)| (1..=*last).map(move |n| format!("{part}{n}")));
    let wanted: BTreeSet<String> = wanted.collect();
    let there: BTreeSet<String> = claims().into_keys().collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    let unknown: Vec<_> = there.difference(&wanted).collect();
    assert!(missing.is_empty(), "not in the table: {missing:?}");
    assert!(unknown.is_empty(), "nobody claimed: {unknown:?}");
}

#[test]
fn every_claim_names_tests_that_exist() {
    let tests = tests();
    let mut wrong = Vec::new();
    for (number, names) in claims() {
        let gone: Vec<_> = names.iter().filter(|n| !tests.contains(*n)).collect();
        let proven = !names.is_empty() && gone.is_empty();
        match (proven, MISSING.contains(&number.as_str())) {
            (false, false) => wrong.push(format!("{number}: no proof, or gone: {gone:?}")),
            (true, true) => wrong.push(format!("{number} is proven: take it off the list")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
