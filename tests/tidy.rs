//! The code's own form: which room may use which, how long files get, what may not appear, and that the README's
//! claims have files beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every Rust file of the package, with its text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                let name = path
                    .file_name()
                    .and_then(|n| n.to_str())
                    .unwrap_or_default();
                if name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                let path = path.strip_prefix(root()).expect("below the root");
                found.push((path.to_path_buf(), text));
            }
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "no sources found below {}",
        root().display()
    );
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text without its `mod tests`, which by custom stands last in a file.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

/// Whether the path stands in the line, and not only the beginning of a longer name.
fn names(line: &str, path: &str) -> bool {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(path)
        .any(|(at, _)| !goes_on(&line[at + path.len()..]))
}

fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

const ALL: &[&str] = &["src", "tests", "benches", "examples"];

#[test]
fn rooms_use_each_other_in_one_direction() {
    // design.md 2: `proto` and `net` know no other room; `tc` knows both; stores know no server.
    let rules: &[(&str, &[&str])] = &[
        (
            "src/net/",
            &[
                "crate::proto",
                "crate::tc",
                "crate::client",
                "crate::codec",
                "crate::cli",
                "crate::config",
                "crate::xid",
            ],
        ),
        (
            "src/proto/",
            &[
                "crate::net",
                "crate::tc",
                "crate::client",
                "crate::codec",
                "crate::cli",
                "crate::config",
                "crate::xid",
            ],
        ),
        (
            "src/xid.rs",
            &[
                "crate::net",
                "crate::tc",
                "crate::client",
                "crate::cli",
                "crate::config",
            ],
        ),
        (
            "src/codec.rs",
            &["crate::tc", "crate::client", "crate::cli"],
        ),
        ("src/tc/", &["crate::cli", "crate::client", "crate::sim"]),
        ("src/client/", &["crate::cli", "crate::config", "crate::tc"]),
        ("src/tc/store/", &["crate::net", "tc::server"]),
        ("src/config", &["crate::cli"]),
    ];
    let mut wrong = Vec::new();
    let mut applied = vec![0; rules.len()];
    for (path, text) in sources(&["src"]) {
        let name = path.to_string_lossy();
        // A module of tests in a file of its own may use what the tests of the file beside it may.
        if name.ends_with("/tests.rs") || name.contains("/tests/") {
            continue;
        }
        for (index, (room, forbidden)) in rules.iter().enumerate() {
            if !name.starts_with(room) {
                continue;
            }
            applied[index] += 1;
            for (number, line) in without_tests(&text).lines().enumerate() {
                for other in *forbidden {
                    if names(code(line), other) {
                        wrong.push(format!(
                            "{name}:{}: {room} must not use {other}",
                            number + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        applied.iter().all(|n| *n > 0),
        "a rule names a room that is gone: {applied:?}"
    );
}

#[test]
fn files_stay_readable() {
    let mut long = Vec::new();
    for (path, text) in sources(ALL) {
        let lines = without_tests(&text)
            .lines()
            .filter(|l| !code(l).trim().is_empty())
            .count();
        if lines > FILE_LINES_MAX {
            long.push(format!(
                "{}: {lines} lines of code, at most {FILE_LINES_MAX}",
                path.display()
            ));
        }
    }
    assert!(
        long.is_empty(),
        "a noun is missing in:\n{}",
        long.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> = sources(ALL)
        .iter()
        .filter(|(_, text)| !text.lines().take(8).any(|l| l.starts_with("//!")))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(
        silent.is_empty(),
        "no `//!` at the head of:\n{}",
        silent.join("\n")
    );
}

#[test]
fn files_are_named_by_nouns_of_the_field() {
    let vague = [
        "utils", "util", "common", "helpers", "helper", "manager", "misc", "impl",
    ];
    let wrong: Vec<String> = sources(ALL)
        .iter()
        .filter(|(path, _)| {
            let stem = path
                .file_stem()
                .and_then(|s| s.to_str())
                .unwrap_or_default();
            vague.contains(&stem)
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "vague names:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_the_runtime() {
    let wrong: Vec<String> = sources(&["src"])
        .iter()
        .filter(|(path, _)| !path.starts_with("src/net"))
        .filter(|(_, text)| {
            without_tests(text).lines().any(|line| {
                ["unsafe {", "unsafe fn", "unsafe impl"]
                    .iter()
                    .any(|u| code(line).contains(u))
            })
        })
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(
        wrong.is_empty(),
        "unsafe outside net:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_word_of_unfinished_work() {
    // Spelled in two parts, so that this file does not find itself.
    let words = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources(ALL) {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w)) {
                wrong.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every path in backticks that looks like one of this repository's files must be one.
#[test]
fn the_readme_names_files_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README.md");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for quoted in readme.split('`').skip(1).step_by(2) {
        let path = quoted.split([' ', ':', '#']).next().unwrap_or_default();
        let ours = ["src/", "tests/", "benches/", "examples/", ".ci/"]
            .iter()
            .any(|p| path.starts_with(p));
        if ours && !path.contains(['*', '{', '<']) {
            checked += 1;
            if !root().join(path).exists() {
                wrong.push(path.to_owned());
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the README names what is not there: {wrong:?}"
    );
    assert!(checked > 0, "the README names no file at all");
}

/// Crates of a build with these features and no others, this one counted.
fn crates_of(features: &str) -> usize {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--no-default-features",
            "--features",
            features,
        ])
        .args([
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo");
    let errors = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "cargo tree: {errors}");
    let text = String::from_utf8(tree.stdout).expect("text");
    let crates: BTreeSet<&str> = text
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    crates.len()
}

/// Who embeds the runtime builds little, and the README says how much.
#[test]
fn the_small_build_stays_small() {
    let small = crates_of("");
    println!("no features: {small} crates");
    assert!(small > 5, "cargo tree says nothing");
    assert!(small < 20, "{small} crates, this one counted");
    let readme = fs::read_to_string(root().join("README.md")).expect("a README.md");
    for features in ["", "tls", "tls,ws,compress", "client"] {
        let crates = crates_of(features);
        println!("{features:?}: {crates} crates");
        let option = match features {
            "" => String::new(),
            some => format!(" --features {some}"),
        };
        let row = format!("`cargo build --no-default-features{option}` | ");
        let line = readme.lines().find(|l| l.contains(&row));
        let line = line.unwrap_or_else(|| panic!("no row {row:?} in the README"));
        let said = format!("{crates} crates");
        assert!(
            line.contains(&said),
            "the README should say {said:?}: {line}"
        );
    }
}

/// Small enough to read in one sitting; comments, blank lines and the file's own tests do not count.
const FILE_LINES_MAX: usize = 800;
