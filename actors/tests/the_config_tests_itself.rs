//! Promise: `tidegate test` runs the tests that the config files hold, without a server and without a trace,
//! and tells what is not as expected.
#![allow(clippy::unwrap_used, reason = "a promise ends where it is broken")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn test(config: &Path, more: &[&str]) -> Output {
    let here = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let command = command.current_dir(here.path()).arg("test").arg("--config").arg(config).args(more);
    let output = command.env("TMPDIR", here.path()).output().unwrap();
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "a test leaves nothing behind");
    output
}

#[test]
fn the_shipped_tests_pass() {
    let output = test(&shipped(), &["--json"]);

    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tests = told["tests"].as_array().unwrap();
    assert!(tests.len() >= 3 && tests.iter().all(|test| test["passed"] == true), "{told}");
    assert!(output.status.success());
}

#[test]
fn what_is_not_as_expected_is_told_with_the_flow() {
    let config = tempfile::tempdir().unwrap();
    for file in ["default.toml", "topology.toml", "tests.toml"] {
        let text = std::fs::read_to_string(shipped().join(file)).unwrap();
        let text = text.replace("balance = 60, held = 0, paid = 40", "balance = 60, held = 0, paid = 41");
        std::fs::write(config.path().join(file), text).unwrap();
    }

    let output = test(config.path(), &["a_purchase_is_completed"]);

    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("state of `check_funds`, key \"alice\"") && text.contains("purchase.completed"),
        "{text}"
    );
    assert!(text.ends_with("1 test, 1 failed\n"), "{text}");
}
