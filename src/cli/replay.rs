//! `replay` and `replays`: earlier events for a subscription, and how far that has come.

use serde_json::{Value, json};

use super::args::{ReplayArgs, ReplaysArgs};
use super::client::{Client, JSON, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line, plural, table};
use crate::bus::view::{Page, ReplayCounts, ReplayView};

/// Runs `replay`.
pub(super) fn replay(args: &ReplayArgs, output: Output) -> Result<Exit, Failure> {
    let path = format!("/v1/subscriptions/{}/replay", encoded(&args.subscription));
    let answer = Client::new(&args.server)?.post(&path, JSON, &body(args)?.to_string())?;
    if output.is_json {
        output.text(&answer.body);
    } else if args.dry_run {
        output.text(&counted(&answer.parse()?));
    } else {
        output.text(&told(&[answer.parse()?]));
    }
    Ok(Exit::Done)
}

/// Runs `replays`.
pub(super) fn replays(args: &ReplaysArgs, output: Output) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let answer = match &args.stop {
        Some(id) => {
            let reason = args.reason.as_deref().unwrap_or("stopped from the command line");
            let path = format!("/v1/replays/{}/stop", encoded(id));
            client.post(&path, JSON, &json!({ "reason": reason }).to_string())?
        }
        None => client.get("/v1/replays?limit=500", None)?,
    };
    if output.is_json {
        output.text(&answer.body);
    } else if args.stop.is_some() {
        output.text(&told(&[answer.parse()?]));
    } else {
        output.text(&told(&answer.parse::<Page<ReplayView>>()?.items));
    }
    Ok(Exit::Done)
}

fn body(args: &ReplayArgs) -> Result<Value, Failure> {
    let from = match args.from.as_deref() {
        None => Value::Null,
        Some("start") => "start".into(),
        Some(number) => {
            let wrong = || format!("--from {number:?} is neither an event's number nor `start`");
            number.parse::<u64>().map_err(|_| Failure::Usage(wrong()))?.into()
        }
    };
    Ok(json!({
        "since": args.since, "from": from, "until": args.until, "name": args.name, "key": args.key,
        "dry_run": args.dry_run, "reason": args.reason,
    }))
}

fn counted(counts: &ReplayCounts) -> String {
    let ReplayCounts { looked, new, again, open, dead, gone } = counts;
    format!(
        "of {} looked at: {again} again, {new} new; left alone: {open} open, {dead} dead, {gone} past retention",
        plural(*looked, "event")
    )
}

fn told(replays: &[ReplayView]) -> String {
    let head =
        ["REPLAY", "STATE", "LOOKED", "AGAIN", "NEW", "OPEN", "DEAD", "GONE", "STARTED", "BY", "REASON"];
    let rows: Vec<Vec<String>> = replays
        .iter()
        .map(|one| {
            let ReplayCounts { looked, new, again, open, dead, gone } = one.counts;
            let numbers = [looked, again, new, open, dead, gone].map(|number| number.to_string());
            let texts = [&one.started, &one.by, one.problem.as_ref().unwrap_or(&one.reason)];
            [&one.id, &one.state]
                .into_iter()
                .chain(&numbers)
                .chain(texts)
                .map(|cell| clean_line(cell))
                .collect()
        })
        .collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Arguments, Verb};
    use super::*;

    fn asked(line: &str) -> Option<ReplayArgs> {
        let verb = Arguments::try_parse_from(line.split_whitespace()).ok()?.verb?;
        if let Verb::Replay(args) = verb { Some(args) } else { None }
    }

    #[test]
    fn where_it_begins_is_said_in_one_way() {
        let args = asked("tidegate replay pay --from start --key a --dry-run").unwrap();
        let said = body(&args).unwrap();
        assert_eq!(
            (&said["from"], &said["key"], &said["dry_run"]),
            (&"start".into(), &"a".into(), &true.into())
        );
        assert_eq!(body(&asked("tidegate replay pay --from 7").unwrap()).unwrap()["from"], 7);
        assert!(body(&asked("tidegate replay pay --from then").unwrap()).is_err());
        assert!(asked("tidegate replay pay").is_none());
        assert!(asked("tidegate replay pay --from 7 --since 2026-03-01T08:00:00Z").is_none());
    }

    #[test]
    fn a_dry_run_reads_as_a_sentence() {
        let counts = ReplayCounts { looked: 9, new: 1, again: 4, open: 2, dead: 1, gone: 0 };

        assert_eq!(
            counted(&counts),
            "of 9 events looked at: 4 again, 1 new; left alone: 2 open, 1 dead, 0 past retention"
        );
    }
}
