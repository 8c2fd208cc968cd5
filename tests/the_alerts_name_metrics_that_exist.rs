//! `docs/alerts.yml` is read, each of its rules says what it means and what to do, every metric that it names is one
//! that the bus tells, and `docs/operations.md` knows every alarm.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tidegate::metrics::{Metrics, OfSubscription};

/// One rule, as far as this test needs it.
#[derive(Debug, Default)]
struct Rule {
    alert: String,
    expr: String,
    has_for: bool,
    severity: String,
    annotations: BTreeSet<String>,
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Reads the rules. The file keeps to a narrow shape of YAML: two spaces a level, a key and a value on each line,
/// values with special characters in single quotes. A line of another shape fails.
fn rules(text: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let depth = line.len() - line.trim_start().len();
        let (key, value) = line
            .trim_start()
            .trim_start_matches("- ")
            .split_once(':')
            .unwrap_or_else(|| panic!("line {number}: {line}"));
        let value = value.trim();
        let is_quoted = value.len() > 1 && value.starts_with('\'') && value.ends_with('\'');
        let inner = value.trim_matches('\'');
        assert!(
            is_quoted || !value.contains([':', '{', '}', '#', '\'', '"', '%', '*', '&']),
            "line {number} needs quotes: {line}"
        );
        assert!(!inner.contains('\''), "line {number} has a quote inside: {line}");
        match (depth, key) {
            (0, "groups") | (4, "rules") | (8, "labels" | "annotations") => {
                assert!(value.is_empty(), "line {number}");
            }
            (2, "name") => {
                assert!(line.starts_with("  - ") && inner.starts_with("tidegate-"), "line {number}");
            }
            (6, "alert") => {
                assert!(line.starts_with("      - "), "line {number}");
                rules.push(Rule { alert: inner.to_owned(), ..Rule::default() });
            }
            (8, "expr") => inner.clone_into(&mut rules.last_mut().unwrap().expr),
            (8, "for") => rules.last_mut().unwrap().has_for = value.ends_with(['m', 'h']),
            (10, "severity") => inner.clone_into(&mut rules.last_mut().unwrap().severity),
            (10, "summary" | "meaning" | "action") => {
                assert!(inner.len() > 15 && is_quoted, "line {number}");
                rules.last_mut().unwrap().annotations.insert(key.to_owned());
            }
            _ => panic!("line {number} has no place here: {line}"),
        }
    }
    rules
}

/// The names that begin with `tidegate_`.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("tidegate_")).map(str::to_owned).collect()
}

/// Everything that a bus tells, with something counted in every family: empty ones are not told.
fn told() -> BTreeSet<String> {
    let metrics = Metrics::default();
    let of = OfSubscription { subscription: "s".to_owned() };
    metrics.published("accepted", 1);
    metrics.attempts_of("s").ended("done", Duration::ZERO, Duration::ZERO);
    metrics.breaker_turned("s", "open");
    metrics.scheduled("s", "fired", 1);
    metrics.overran("s");
    metrics.kept_out(&of, 1);
    metrics.requested("/ready".into(), 200, Duration::ZERO);
    for family in [&metrics.backlog, &metrics.inflight, &metrics.dead, &metrics.oldest_seconds] {
        family.get_or_create(&of).set(0);
    }
    let text = metrics.render();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

#[test]
fn every_metric_of_an_alert_exists() {
    let told = told();
    let rules = rules(&page("alerts.yml"));

    let unknown: Vec<_> =
        rules.iter().flat_map(|rule| named(&rule.expr)).filter(|name| !told.contains(name)).collect();

    assert!(rules.len() > 10);
    assert!(unknown.is_empty(), "{unknown:?} is none of {told:#?}");
    assert!(rules.iter().all(|rule| rule.alert == "TidegateDown" || !named(&rule.expr).is_empty()));
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do_and_stands_in_the_operators_page() {
    let operations = page("operations.md");
    let rules = rules(&page("alerts.yml"));
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.alert.as_str()).collect();

    assert_eq!(names.len(), rules.len(), "a name twice");
    for rule in &rules {
        assert!(rule.has_for && matches!(&*rule.severity, "page" | "ticket"), "{rule:?}");
        assert_eq!(rule.annotations.len(), 3, "{rule:?}");
        assert!(
            operations.contains(&format!("`{}`", rule.alert)),
            "{} is not in docs/operations.md",
            rule.alert
        );
    }
    let pages: BTreeSet<String> =
        operations.split('`').filter(|word| word.starts_with("Tidegate")).map(str::to_owned).collect();
    let gone: Vec<_> = pages.iter().filter(|name| !names.contains(name.as_str())).collect();
    assert!(gone.is_empty(), "docs/operations.md names alarms that there are not: {gone:?}");
}

#[test]
fn every_metric_that_the_operators_page_names_exists() {
    let told = told();
    let families: BTreeSet<String> = told.iter().map(|name| family(name)).collect();

    let unknown: Vec<_> = named(&page("operations.md"))
        .into_iter()
        .filter(|name| !told.contains(name) && !families.contains(name))
        .collect();

    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The name without what a histogram adds.
fn family(name: &str) -> String {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
}

/// The reader of the rules is one that can say no.
#[test]
fn a_rule_of_another_shape_is_refused() {
    let whole = page("alerts.yml");
    for (from, to) in [
        ("        expr: '", "        exp: '"),
        ("action: '", "action: "),
        ("  - name: ", "  - nam: "),
        ("for: 1m", "for 1m"),
    ] {
        assert!(whole.contains(from), "{from}");
        let broken = whole.replacen(from, to, 1);
        assert!(std::panic::catch_unwind(|| rules(&broken)).is_err(), "{to} was read");
    }
}
