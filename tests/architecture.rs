//! Imports go one way, files stay small, and each outside crate lives in its room.
//!
//! The table is the one in ARCHITECTURE.md. It is read here as data; a forbidden import fails with the
//! file and the edge.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Room, and the rooms it may import, in reading order: every import points to an earlier line.
const ROOMS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("clock", &["event"]),
    ("activity", &[]),
    ("retry", &["event"]),
    ("cron", &["event"]),
    ("metrics", &[]),
    ("step", &["event", "clock"]),
    ("config", &["event", "cron", "step"]),
    ("topology", &["event", "step", "config"]),
    ("store", &["event", "clock"]),
    ("committer", &["event", "clock", "activity", "store"]),
    ("delivery", &["event", "clock", "activity", "retry", "metrics", "step", "store", "committer"]),
    ("bus", &["event", "clock", "activity", "cron", "metrics", "step", "store", "committer", "delivery"]),
    ("http", &["event", "clock", "metrics", "bus"]),
    (
        "runtime",
        &[
            "event",
            "clock",
            "activity",
            "retry",
            "cron",
            "metrics",
            "step",
            "config",
            "topology",
            "store",
            "committer",
            "delivery",
            "bus",
            "http",
        ],
    ),
    ("cli", &["event", "clock", "step", "config", "topology", "store", "runtime", "bus"]),
    ("testing", &["event", "clock", "step", "config", "store", "bus", "runtime"]),
];

/// Outside crates that may be named in some rooms only. `room/file` narrows it to one file.
const CRATES: &[(&str, &[&str])] = &[
    ("sled", &["store"]),
    ("config", &["config/load.rs"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("indicatif", &["cli"]),
    ("ureq", &["cli"]),
    ("actix_web", &["http"]),
    ("actix", &["bus", "delivery", "runtime", "step/actor.rs"]),
    ("postcard", &["store"]),
    ("lz4_flex", &["store"]),
    ("foldhash", &["store", "delivery", "bus"]),
    ("prometheus_client", &["metrics"]),
    ("rustix", &["clock", "store"]),
    ("notify", &["runtime/watch.rs"]),
];

const FILE_LINES_MAX: usize = 500;

#[test]
fn rooms_import_only_what_the_table_allows() {
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ROOMS.iter().map(|(room, may)| (*room, may.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for file in sources("src") {
        let Some(room) = room_of(&file) else { continue };
        let Some(may) = allowed.get(room.as_str()) else {
            wrong.push(format!("{}: room `{room}` is not in the table", file.display()));
            continue;
        };
        for target in imported_rooms(&production(&file)) {
            if target != room && allowed.contains_key(target.as_str()) && !may.contains(target.as_str()) {
                wrong.push(format!("{}: `{room}` may not import `{target}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_only_points_upwards() {
    let mut defined = BTreeSet::new();
    for (room, may) in ROOMS {
        for target in *may {
            assert!(defined.contains(target), "`{room}` may import `{target}`, which stands below it");
        }
        defined.insert(*room);
    }
}

#[test]
fn each_outside_crate_is_named_in_its_room_only() {
    let mut wrong = Vec::new();
    for file in sources("src") {
        let place = file.strip_prefix(root().join("src")).unwrap().display().to_string();
        let text = production(&file);
        for (name, rooms) in CRATES {
            let is_at_home = rooms.iter().any(|room| {
                place == *room || place.starts_with(&format!("{room}/")) || place == format!("{room}.rs")
            });
            if !is_at_home && names_crate(&text, name) {
                wrong.push(format!("{place}: names crate `{name}`, which belongs to {rooms:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_runtime_knows_no_business_word() {
    let words = ["purchase", "refund", "bank", "CheckFunds", "check_funds"];
    let mut wrong = Vec::new();
    // The help texts show a newcomer calls that work on the shipped flow.
    for file in sources("src").into_iter().filter(|file| !file.ends_with("cli/help.rs")) {
        for (number, line) in production(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                wrong.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_small_enough_to_read() {
    let mut wrong = Vec::new();
    for file in ["src", "actors", "bench", "soak"].into_iter().flat_map(sources) {
        let lines = production(&file).lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{}: {lines} lines, {FILE_LINES_MAX} at most", file.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_page_has_the_same_table() {
    let rooms = ROOMS.iter().map(|(room, may)| {
        ((*room).to_owned(), may.iter().map(|target| (*target).to_owned()).collect::<Vec<_>>())
    });

    assert_eq!(
        rooms_of_the_page(),
        rooms.collect::<Vec<_>>(),
        "ROOMS and the code map of ARCHITECTURE.md differ"
    );
}

#[test]
fn every_room_of_the_table_has_its_sources() {
    let found: BTreeSet<String> = sources("src").iter().filter_map(|file| room_of(file)).collect();

    assert_eq!(found, ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect());
}

/// A panic in a step is a failed attempt only where panics unwind.
#[test]
fn panics_unwind_in_every_profile() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let says = |setting: &str| manifest.lines().any(|line| line.trim() == setting);

    assert!(says("panic = \"unwind\"") && !says("panic = \"abort\""));
}

/// Test names are sentences: what is quoted with three underscores or more is taken for one.
#[test]
fn the_tests_that_the_pages_name_exist() {
    let files = ["src", "tests", "actors"].into_iter().flat_map(sources_and_tests);
    let code: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut missing = Vec::new();
    let mut named = 0;
    for page in ["README.md", "ARCHITECTURE.md"] {
        for name in quoted(&fs::read_to_string(root().join(page)).unwrap().replace("```", "")) {
            let is_sentence = name.matches('_').count() >= 3
                && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if is_sentence {
                named += 1;
                if !code.contains(&format!("fn {name}(")) {
                    missing.push(format!("{page}: no test is called `{name}`"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
    assert!(named > 20, "the pages name only {named} tests");
}

#[test]
fn a_declared_module_of_tests_hides_nothing_that_follows() {
    assert!(opens_a_module("#[cfg(test)]\npub(super) mod tests {\n"));
    assert!(opens_a_module("#[cfg(test)]\n#[expect(\n    lint\n)]\nmod tests {\n"));
    assert!(!opens_a_module("#[cfg(test)]\nmod tests;\nmod other {\n"));
}

#[test]
fn the_check_itself_sees_a_forbidden_import() {
    let seen = imported_rooms("use crate::{bus::Bus, event};\nlet x = crate::http::problem();\n");

    assert_eq!(seen, ["bus", "event", "http"].map(String::from).into());
}

/// The rooms of ARCHITECTURE.md: the rows of its code map, each with the rooms it may import.
fn rooms_of_the_page() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map = page.split("\n## ").find(|section| section.starts_with("Code map")).unwrap();
    let rows = map.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [room, _, imports] = <[&str; 3]>::try_from(cells).unwrap();
        (quoted(room).concat(), quoted(imports))
    })
    .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The sources under a folder, those of its tests left out.
fn sources(folder: &str) -> Vec<PathBuf> {
    let base = root().join(folder);
    let is_test = |file: &PathBuf| file.strip_prefix(&base).unwrap().iter().any(|part| part == "tests");
    let mut found = sources_and_tests(folder);
    found.retain(|file| !is_test(file));
    assert!(!found.is_empty(), "no sources under {folder}");
    found
}

fn sources_and_tests(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

/// The file without its inline tests; a file that is all tests reads as empty.
fn production(file: &Path) -> String {
    if is_only_for_tests(file) {
        return String::new();
    }
    let text = fs::read_to_string(file).unwrap();
    let end = text.match_indices("#[cfg(test)]\n").map(|(at, _)| at).find(|at| opens_a_module(&text[*at..]));
    text[..end.unwrap_or(text.len())].to_owned()
}

/// Whether the file's module, or one that it is in, is declared for tests only.
fn is_only_for_tests(file: &Path) -> bool {
    let places = file.ancestors().take_while(|place| place.ancestors().any(|above| above.ends_with("src")));
    places.filter(|place| !place.ends_with("mod.rs")).any(|module| {
        let (Some(name), Some(folder)) = (module.file_stem().and_then(|name| name.to_str()), module.parent())
        else {
            return false;
        };
        let above = ["mod.rs", "lib.rs", "main.rs"].map(|name| folder.join(name));
        let text = above.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
        text.contains(&format!("#[cfg(test)]\nmod {name};"))
    })
}

/// Whether an attribute stands over `mod … {`, and not over `mod …;` or something else.
fn opens_a_module(text: &str) -> bool {
    let is_attribute = |line: &&str| line.starts_with(['#', ' ', ')']);
    let item = text.lines().find(|line| !is_attribute(line)).unwrap_or_default();
    item.contains("mod ") && item.ends_with('{')
}

fn room_of(file: &Path) -> Option<String> {
    let place = file.strip_prefix(root().join("src")).unwrap();
    let first = place.iter().next().unwrap().to_str().unwrap();
    let room = first.trim_end_matches(".rs");
    (room != "lib").then(|| room.to_owned())
}

fn imported_rooms(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let end = list.find("};").unwrap_or(list.len());
            rooms.extend(top_level(&list[..end]).into_iter().map(first_word));
        } else {
            rooms.insert(first_word(part));
        }
    }
    rooms.remove("");
    rooms
}

fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn names_crate(text: &str, name: &str) -> bool {
    // Where a room has the name of a crate, the crate is written `::config::`.
    let is_room = ROOMS.iter().any(|(room, _)| room == &name);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(&format!("{name}::")).any(|(at, _)| {
            let before = &line[..at];
            let is_rooted = before.ends_with("::") && !before[..before.len() - 2].ends_with(is_word);
            let is_path_start = !before.ends_with("::") && !before.ends_with(is_word);
            is_rooted || (is_path_start && !is_room)
        })
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
