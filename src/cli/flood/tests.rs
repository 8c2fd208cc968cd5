//! A flood against a server of a few lines: what gets through, what is told, when it stops.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Parser as _;
use serde_json::Value;

use super::*;
use crate::cli::args::{Arguments, Verb};
use crate::cli::fake;

/// A server that lets `judge` answer each batch, and keeps the ids it has said 202 to.
fn server(
    judge: impl Fn(&[Value]) -> fake::Reply + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let stored = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&stored);
    let url = fake::serve(move |request| {
        let events: Vec<Value> = serde_json::from_str(&request.body).unwrap();
        let reply = judge(&events);
        if reply.0 == 202 {
            let ids = events.iter().map(|event| event["id"].as_str().unwrap().to_owned());
            kept.lock().unwrap().extend(ids);
        }
        reply
    });
    (url, stored)
}

fn receipts(events: &[Value]) -> (u16, String) {
    let answers: Vec<Value> = events
        .iter()
        .map(|event| serde_json::json!({ "id": event["id"], "source": event["source"], "flow": "f", "replayed": event["id"] == "o2" }))
        .collect();
    (202, serde_json::json!({ "events": answers }).to_string())
}

/// Runs `tidegate publish order.placed …` against the server, and gives what came of it.
fn run(url: &str, words: &[&str]) -> Tally {
    let line =
        [&["tidegate", "publish", "order.placed", "--id-field", "order", "--url", url], words].concat();
    let Some(Verb::Publish(args)) = Arguments::try_parse_from(line).unwrap().verb else {
        panic!("no publish")
    };
    let client = Client::new(&args.server).unwrap();
    pour(&args, &client).unwrap()
}

const TEMPLATE: &str = r#"{"order":"o{i}"}"#;

#[test]
fn every_event_of_a_flood_arrives_once() {
    let (url, stored) = server(receipts);

    let tally = run(&url, &[TEMPLATE, "--count", "1000", "--batch", "7", "--concurrency", "4"]);

    assert_eq!((tally.accepted, tally.replayed, tally.refused), (1_000, 1, 0));
    let stored = stored.lock().unwrap();
    assert_eq!(stored.len(), 1_000);
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), 1_000);
}

#[test]
fn one_thread_keeps_the_order_of_the_lines() {
    let (url, stored) = server(receipts);

    run(&url, &[TEMPLATE, "--count", "50", "--batch", "4", "--concurrency", "1"]);

    let expected: Vec<String> = (1..=50).map(|n| format!("o{n}")).collect();
    assert_eq!(*stored.lock().unwrap(), expected);
}

#[test]
fn a_bad_line_is_told_by_its_number_and_holds_no_other_back() {
    let (url, stored) = server(|events: &[Value]| {
        let is_bad = |event: &Value| matches!(event["id"].as_str(), Some("o3" | "o9"));
        if events.iter().any(is_bad) { fake::problem(422, "another body") } else { receipts(events) }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("orders.jsonl");
    let lines = (1..=10).map(|n| format!("{{\"order\":\"o{n}\"}}")).collect::<Vec<_>>().join("\n");
    std::fs::write(&path, format!("{lines}\n\nno json\n{{}}\n")).unwrap();

    let tally = run(&url, &[&format!("@{}", path.display()), "--lines"]);

    assert_eq!((tally.accepted, tally.refused), (8, 4));
    assert_eq!(stored.lock().unwrap().len(), 8);
    let told: Vec<_> = tally.errors.iter().map(|error| error.line).collect();
    assert_eq!(told, [3, 9, 12, 13]);
    assert_eq!(tally.errors[0].detail, "another body");
    assert!(tally.failure.is_none());
}

#[test]
fn a_busy_server_is_sent_the_same_events_again() {
    let seen = Mutex::new(BTreeSet::new());
    let (url, stored) = server(move |events: &[Value]| {
        let is_new = seen.lock().unwrap().insert(events.to_vec().first().map(Value::to_string));
        if is_new { fake::problem(503, "queue is full") } else { receipts(events) }
    });

    let tally = run(&url, &[TEMPLATE, "--count", "100", "--batch", "10"]);

    assert_eq!((tally.accepted, tally.refused), (100, 0));
    assert_eq!(stored.lock().unwrap().len(), 100);
}

#[test]
fn a_full_disk_stops_everything_and_counts_nothing_as_refused() {
    let (url, stored) = server(|_: &[Value]| fake::problem(507, "disk is full"));

    let tally = run(&url, &[TEMPLATE, "--count", "100000", "--batch", "10"]);

    assert_eq!((tally.accepted, tally.refused), (0, 0));
    assert!(stored.lock().unwrap().is_empty());
    assert_eq!(tally.failure.unwrap().exit(), Exit::Unreachable);
}

#[test]
fn the_summary_tells_the_first_errors_and_counts_the_rest() {
    let errors = vec![RefusedLine { line: 3, detail: "is\nbad".to_owned() }];
    let tally = Tally { accepted: 1, replayed: 1, refused: 5, errors, failure: None };

    assert_eq!(
        summary(&tally, 2.0),
        "1 event accepted (1 known already), 5 refused in 2.0 s (0/s)\n  line 3: is bad\n  and 4 more"
    );
}
