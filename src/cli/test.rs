//! `test`: runs the tests of the wiring that the config files hold.

use serde::Serialize;

use super::App;
use super::args::TestArgs;
use super::failure::{Exit, Failure};
use super::output::{Output, Tone, clean, clean_line, plural};
use super::{tree, wiring};
use crate::config::{Settings, TestSettings};
use crate::runtime::{Trial, trial};

/// What came of one test, for scripts.
#[derive(Debug, Serialize)]
struct Outcome {
    test: String,
    passed: bool,
    failures: Vec<String>,
}

/// Runs the tests that are asked for, each on an empty in-memory store with steps of its own.
pub(super) fn test(app: &App, args: &TestArgs, output: Output) -> Result<Exit, Failure> {
    let wiring = match wiring::load(app, &args.config) {
        Ok(wiring) if !wiring.problems.has_errors() => wiring,
        Ok(wiring) => {
            wiring::report(&wiring.problems, output);
            return Ok(Exit::No);
        }
        Err(problems) => {
            wiring::report(&problems, output);
            return Ok(Exit::No);
        }
    };
    let settings = wiring.settings;
    for name in &args.names {
        if !settings.tests.contains_key(name) {
            let known = settings.tests.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Failure::Usage(format!("there is no [test.{name}]; known tests: {known}")));
        }
    }
    let wanted =
        settings.tests.values().filter(|test| args.names.is_empty() || args.names.contains(&test.name));
    let mut outcomes = Vec::new();
    for test in wanted {
        let came = one(app, &settings, test);
        tell(test, &came, output);
        let failures = came.map_or_else(|failure| vec![failure], |trial| trial.failures);
        outcomes.push(Outcome { test: test.name.clone(), passed: failures.is_empty(), failures });
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    if output.is_json {
        output.document(&serde_json::json!({ "tests": outcomes }));
    } else if outcomes.is_empty() {
        output.text("there are no tests; write [test.<name>] with `send` and `expect` into tests.toml");
    } else {
        output.text(&format!("{}, {failed} failed", plural(outcomes.len() as u64, "test")));
    }
    Ok(Exit::yes(failed == 0))
}

/// Runs one test in a folder of its own, which is gone afterwards.
fn one(app: &App, settings: &Settings, test: &TestSettings) -> Result<Trial, String> {
    let folder = format!("tidegate-test-{}-{}", std::process::id(), test.name);
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).map_err(|error| format!("no folder for the test: {error}"))?;
    let mut settings = settings.clone();
    settings.store.path.clone_from(&folder);
    let steps = (app.steps)(&settings).map_err(|error| error.to_string());
    let came = steps.and_then(|steps| trial(&settings, steps, test).map_err(|error| error.to_string()));
    // What is left of it lies among the temporary files.
    drop(std::fs::remove_dir_all(&folder));
    came
}

fn tell(test: &TestSettings, came: &Result<Trial, String>, output: Output) {
    if output.is_json {
        return;
    }
    let paint = output.paint;
    let name = clean_line(&test.name);
    match came {
        Ok(trial) if trial.failures.is_empty() => {
            output.text(&format!("{} {name}", paint.tint(Tone::Good, "ok    ")));
        }
        Ok(trial) => {
            let mut lines = vec![format!("{} {name}", paint.tint(Tone::Bad, "failed"))];
            lines.extend(trial.failures.iter().map(|failure| format!("  {}", clean_line(failure))));
            lines.extend(trial.flows.iter().map(|flow| tree::render(flow, paint)));
            output.text(&lines.join("\n"));
        }
        Err(problem) => {
            output.text(&format!("{} {name}\n  {}", paint.tint(Tone::Bad, "failed"), clean(problem)));
        }
    }
}
