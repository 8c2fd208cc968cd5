//! Drawings of flows, as text.

#![expect(clippy::needless_pass_by_value, reason = "built where it is passed")]

use super::*;

fn delivery_of(subscription: &str, state: &str) -> serde_json::Value {
    serde_json::json!({ "subscription": subscription, "state": state, "attempts": 1, "error": null })
}

fn event(
    id: &str,
    name: &str,
    cause: Option<&str>,
    millis: u32,
    deliveries: serde_json::Value,
) -> serde_json::Value {
    serde_json::json!({
        "commit": 1, "id": id, "source": "/http", "name": name, "causation": cause,
        "time": format!("2026-03-01T12:00:{:02}.{:03}Z", millis / 1_000, millis % 1_000),
        "deliveries": deliveries,
    })
}

fn flow(status: &str, events: serde_json::Value, pending: &[&str]) -> FlowView {
    serde_json::from_value(serde_json::json!({
        "flow": "f1", "status": status, "result": null, "open": 1, "dead": 0,
        "events": events, "pending": pending, "version": 9,
    }))
    .unwrap()
}

#[test]
fn each_event_stands_below_its_cause_with_its_deliveries_first() {
    let flow = flow(
        "processing",
        serde_json::json!([
            event(
                "o1",
                "a.first",
                None,
                0,
                serde_json::json!([delivery_of("one", "done"), delivery_of("audit", "done")])
            ),
            event("e2", "b.second", Some("o1"), 12, serde_json::json!([delivery_of("two", "ready")])),
            event("e3", "c.third", Some("o1"), 1_500, serde_json::json!([])),
            event(
                "e4",
                "d.fourth",
                Some("e2"),
                61_000 / 60,
                serde_json::json!([delivery_of("four", "skipped")])
            ),
        ]),
        &["five"],
    );

    let drawing = render(&flow, Paint::PLAIN);

    assert_eq!(
        drawing,
        "\
flow f1  processing  (4 events, 1 open, 0 dead letters)
└─ a.first  o1  2026-03-01T12:00:00.000Z
   ├─ ✓ one  done  1 attempt
   ├─ ✓ audit  done  1 attempt
   ├─ b.second  e2  +12 ms
   │  ├─ · two  ready  1 attempt
   │  └─ d.fourth  e4  +1.0 s
   │     └─ ↷ four  skipped  1 attempt
   └─ c.third  e3  +1.5 s
      └─ nobody listens
not reached yet: five"
    );
}

#[test]
fn a_delivery_that_went_wrong_tells_every_attempt() {
    let told: DeliveryView = serde_json::from_value(serde_json::json!({
        "subscription": "pay", "state": "waiting", "attempts": 3, "error": "bank timed out",
        "due": "2026-03-01T12:01:00Z", "progress": "asked the bank",
        "history": [
            { "commit": 1, "at": "12:00:01", "outcome": "retry", "error": "bank\u{1b}[2J is gone", "waited_ms": 5, "ran_ms": 2_000 },
            { "commit": 2, "at": "12:00:02", "outcome": "retry", "error": "bank timed out", "waited_ms": 200, "ran_ms": 60_000 },
            { "commit": 3, "at": "12:00:03", "outcome": "retried", "error": "bank is back", "waited_ms": 0, "ran_ms": 0 },
        ],
    }))
    .unwrap();

    assert_eq!(
        delivery(&told, Paint::PLAIN),
        [
            "… pay  waiting  3 attempts, waited 205 ms, ran 1 min 2 s  again at 2026-03-01T12:01:00Z",
            "says: asked the bank",
            "2. 12:00:01  retry: bank\\u{1b}[2J is gone  (ran 2.0 s)",
            "3. 12:00:02  retry: bank timed out  (ran 1 min 0 s)",
            "by hand 12:00:03  retried: bank is back",
        ]
    );
}

#[test]
fn a_delivery_without_a_history_still_tells_its_error() {
    let told = serde_json::json!({ "subscription": "pay", "state": "dead", "attempts": 4, "error": "account is stolen" });

    let lines = delivery(&serde_json::from_value(told).unwrap(), Paint::PLAIN);

    assert_eq!(lines, ["✗ pay  dead  4 attempts", "account is stolen"]);
}

#[test]
fn every_event_is_drawn_once_even_when_causes_are_missing_or_run_in_a_circle() {
    let none = || serde_json::json!([]);
    let flow = flow(
        "done",
        serde_json::json!([
            event("x", "a.loop", Some("y"), 0, none()),
            event("y", "b.loop", Some("x"), 1, none()),
            event("z", "c.alone", Some("z"), 2, none()),
            event("w", "d.orphan", Some("elsewhere"), 3, none()),
        ]),
        &[],
    );

    let drawing = render(&flow, Paint::PLAIN);

    for name in ["a.loop", "b.loop", "c.alone", "d.orphan"] {
        assert_eq!(drawing.matches(name).count(), 1, "{name} in\n{drawing}");
    }
    assert!(drawing.contains("d.orphan  w  caused by elsewhere"), "{drawing}");
}

#[test]
fn a_long_chain_does_not_end_the_process() {
    let events: Vec<_> = (0..3_000)
        .map(|n: u32| {
            let cause = n.checked_sub(1).map(|before| format!("e{before}"));
            event(&format!("e{n}"), "a.b", cause.as_deref(), 0, serde_json::json!([]))
        })
        .collect();

    let drawing = render(&flow("done", serde_json::Value::Array(events), &[]), Paint::PLAIN);

    assert_eq!(drawing.matches("a.b").count(), 3_000);
}

#[test]
fn times_are_told_in_the_unit_that_fits() {
    let cases = [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.0 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min 0 s"),
        (3_661_000, "1 h 1 min"),
    ];
    for (time, expected) in cases {
        assert_eq!(millis(time), expected);
    }
}

#[test]
fn an_event_that_is_only_filtered_says_so() {
    let mut event = event("o1", "a.first", None, 0, serde_json::json!([]));
    event["filtered"] = serde_json::json!(["audit", "notify"]);

    let drawn = render(&flow("done", serde_json::json!([event]), &[]), Paint::PLAIN);

    assert!(drawn.ends_with("└─ kept out by the `where` of audit, notify"), "{drawn}");
}

#[test]
fn a_replay_is_no_attempt() {
    let entry = |outcome: &str| {
        let error = (outcome == "retry").then_some("no");
        serde_json::json!({ "commit": 1, "at": "12:00", "outcome": outcome, "error": error, "waited_ms": 0, "ran_ms": 1 })
    };
    let mut delivery = delivery_of("pay", "done");
    delivery["attempts"] = 3.into();
    delivery["history"] = [entry("retry"), entry("done"), entry("replayed"), entry("done")].to_vec().into();
    let event = event("o1", "a.first", None, 0, serde_json::json!([delivery]));

    let drawn = render(&flow("done", serde_json::json!([event]), &[]), Paint::PLAIN);

    assert!(drawn.contains("by hand 12:00  replayed\n"), "{drawn}");
    assert!(drawn.contains("3. 12:00  done"), "{drawn}");
}

#[test]
fn an_attempt_shows_the_states_that_were_kept_with_it() {
    let tried = |outcome: &str, before: serde_json::Value, after: serde_json::Value| {
        serde_json::json!({
            "commit": 1, "at": "t", "outcome": outcome, "waited_ms": 1, "ran_ms": 2,
            "states": { "before": before, "after": after },
        })
    };
    let mut own = delivery_of("one", "done");
    own["attempts"] = 2.into();
    own["history"] = serde_json::json!([
        tried("retry", serde_json::json!(null), serde_json::json!(null)),
        tried("done", serde_json::json!(null), serde_json::json!({ "n": 1 })),
    ]);
    let flow =
        flow("done", serde_json::json!([event("o1", "a.first", None, 0, serde_json::json!([own]))]), &[]);

    let drawing = render(&flow, Paint::PLAIN);

    assert!(drawing.contains("1. t  retry  (ran 2 ms)\n           state stays none\n"), "{drawing}");
    assert!(drawing.ends_with("2. t  done  (ran 2 ms)\n           state none -> {\"n\":1}"), "{drawing}");
}
