//! `reload`: a running server takes the wiring of its config files, or says what it would change.

use std::fmt::Write as _;

use super::args::ReloadArgs;
use super::client::{Client, JSON};
use super::failure::{Exit, Failure};
use super::output::{Output, clean};
use crate::bus::{KeyDiff, SubscriptionDiff, WiringDiff};

/// Runs the command.
pub(super) fn reload(args: &ReloadArgs, output: Output) -> Result<Exit, Failure> {
    let ask = serde_json::json!({ "dry_run": args.dry_run, "reason": args.reason }).to_string();
    let answer = Client::new(&args.server)?.post("/v1/reload", JSON, &ask)?;
    if output.is_json {
        output.text(&answer.body);
        return Ok(Exit::Done);
    }
    let diff: WiringDiff = answer.parse()?;
    output.text(&clean(&told(&diff)));
    for warning in &diff.warnings {
        output.note(&clean(warning));
    }
    Ok(Exit::Done)
}

/// The difference as people read it: a line for each subscription and key.
fn told(diff: &WiringDiff) -> String {
    let mut text = if diff.applied {
        "the wiring is reloaded".to_owned()
    } else if diff.is_empty() {
        "the wiring is as the config says".to_owned()
    } else {
        "this would change; nothing has".to_owned()
    };
    let waiting = |one: &SubscriptionDiff| format!("backlog {}, dead letters {}", one.backlog, one.dead);
    let mut line = |mark: char, name: &str, what: String| {
        // Writing into a text cannot fail.
        let _is_written = write!(text, "\n{mark} {name}: {what}").is_ok();
    };
    for one in &diff.added {
        line('+', &one.name, format!("step {}, on {}", one.step, one.on.join(" ")));
    }
    for one in &diff.attached {
        line('+', &one.name, format!("back, step {}, {}", one.step, waiting(one)));
    }
    for one in &diff.changed {
        let keys: Vec<String> = one.keys.iter().map(key).collect();
        let how = if one.is_replaced { " (its attempts end first)" } else { "" };
        line('~', &one.name, format!("{}{how}", keys.join(", ")));
    }
    for one in &diff.orphaned {
        line('-', &one.name, format!("orphaned, {} stay", waiting(one)));
    }
    for one in &diff.needs_restart {
        line('!', "needs a restart", key(one));
    }
    text
}

fn key(diff: &KeyDiff) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("{} {} -> {}", diff.key, text(&diff.from), text(&diff.to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_a_line_for_each_subscription() {
        let one = |name: &str| SubscriptionDiff {
            name: name.to_owned(),
            step: "s".to_owned(),
            ..Default::default()
        };
        let key = KeyDiff { key: "rate".to_owned(), from: None, to: Some("5 per 1s".to_owned()) };
        let diff = WiringDiff {
            applied: true,
            added: vec![SubscriptionDiff { on: vec!["a.b".to_owned()], ..one("new") }],
            changed: vec![SubscriptionDiff { keys: vec![key.clone()], is_replaced: true, ..one("pay") }],
            orphaned: vec![SubscriptionDiff { backlog: 7, dead: 1, ..one("old") }],
            needs_restart: vec![KeyDiff { key: "http.bind".to_owned(), ..key }],
            ..WiringDiff::default()
        };

        assert_eq!(
            told(&diff),
            "the wiring is reloaded\n\
             + new: step s, on a.b\n\
             ~ pay: rate nothing -> 5 per 1s (its attempts end first)\n\
             - old: orphaned, backlog 7, dead letters 1 stay\n\
             ! needs a restart: http.bind nothing -> 5 per 1s"
        );
        assert_eq!(told(&WiringDiff::default()), "the wiring is as the config says");
    }
}
