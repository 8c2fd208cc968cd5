//! What came of it: one row for each test, and what was left out, said at the end.

use std::time::Duration;

use crate::say;

/// Violations that are shown of each test.
const SHOWN: usize = 10;

/// The rows so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<String>,
    left_out: Vec<String>,
    is_bad: bool,
}

impl Report {
    /// A test with what it counted and what was broken.
    pub(crate) fn row(
        &mut self,
        number: &str,
        name: &str,
        what: &str,
        seed: u64,
        took: Duration,
        violations: impl IntoIterator<Item = String>,
    ) {
        let violations: Vec<String> = violations.into_iter().collect();
        self.is_bad |= !violations.is_empty();
        let result = match violations.len() {
            0 => "ok".to_owned(),
            count => format!("**{count} broken**"),
        };
        let took = took.as_secs();
        let row = format!("| {number} | {name} | {what} | {result} | {seed} | {took} s |");
        say(&row);
        for violation in violations.iter().take(SHOWN) {
            say(&format!("   {violation}"));
        }
        self.rows.push(row);
    }

    /// A test that could not be made here.
    pub(crate) fn left_out(&mut self, why: &str) {
        say(&format!("LEFT OUT: {why}"));
        self.left_out.push(why.to_owned());
    }

    /// Whether every row is good.
    pub(crate) const fn is_good(&self) -> bool {
        !self.is_bad
    }

    /// All of it as a table.
    pub(crate) fn print(&self) {
        say("\n| row | test | what and how many | result | seed | time |\n|---|---|---|---|---|---|");
        self.rows.iter().for_each(|row| say(row));
        self.left_out.iter().for_each(|why| say(&format!("LEFT OUT: {why}")));
    }
}
