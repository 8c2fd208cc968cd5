//! `pause`, `resume`, `drain`: of the whole bus, of a subscription, of a key.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::{DrainArgs, SteerArgs};
use super::client::{Client, encoded};
use super::failure::{Exit, Failure};
use super::output::{Output, clean_line, table};
use crate::bus::view::{BusView, Page, ParkedKeyView, SubscriptionView};

/// Keys asked for at once.
const PAGE: usize = 500;

/// Runs `pause` or `resume`.
pub(super) fn steer(args: &SteerArgs, verb: &str, output: Output) -> Result<Exit, Failure> {
    let client = Client::new(&args.server)?;
    let (path, body) = match (&args.subscription, &args.key) {
        (Some(name), Some(key)) => {
            let act = if verb == "pause" { "park" } else { verb };
            let body = json!({ "key": key, "reason": args.reason });
            (format!("/v1/subscriptions/{}/keys/{act}", encoded(name)), body)
        }
        (Some(name), None) => {
            (format!("/v1/subscriptions/{}/{verb}", encoded(name)), json!({ "reason": args.reason }))
        }
        (None, _) => (format!("/v1/bus/{verb}"), json!({ "reason": args.reason })),
    };
    let answer = client.act(&path, &body.to_string(), None)?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&answer.parse()?));
    }
    Ok(Exit::Done)
}

/// Runs `drain`. It is done when nothing runs; otherwise the answer is no.
pub(super) fn drain(args: &DrainArgs, output: Output) -> Result<Exit, Failure> {
    let path = match &args.subscription {
        Some(name) => format!("/v1/subscriptions/{}/drain", encoded(name)),
        None => "/v1/bus/drain".to_owned(),
    };
    let body = json!({ "reason": args.reason }).to_string();
    let wait = Some(Duration::from_secs(args.wait));
    let answer = Client::new(&args.server)?.act(&path, &body, wait)?;
    let view: Value = answer.parse()?;
    if output.is_json {
        output.text(&answer.body);
    } else {
        output.text(&told(&view));
    }
    let is_still = view.get("inflight").and_then(Value::as_u64) == Some(0);
    Ok(if is_still { Exit::Done } else { Exit::No })
}

/// Runs `subscriptions keys`.
pub(super) fn keys(client: &Client, subscription: &str, output: Output) -> Result<Exit, Failure> {
    let path = format!("/v1/subscriptions/{}/keys?limit={PAGE}", encoded(subscription));
    let (mut all, mut cursor): (Vec<ParkedKeyView>, Option<String>) = (Vec::new(), None);
    loop {
        let next = cursor.map(|cursor| format!("&cursor={}", encoded(&cursor))).unwrap_or_default();
        let page: Page<ParkedKeyView> = client.get(&format!("{path}{next}"), None)?.parse()?;
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if output.is_json {
        output.document(&all);
    } else {
        output.text(&keys_told(&all));
    }
    Ok(Exit::Done)
}

/// An answer in words: the bus, a subscription or a key.
fn told(answer: &Value) -> String {
    if let Ok(one) = serde_json::from_value::<SubscriptionView>(answer.clone()) {
        return format!(
            "subscription {} is {}: {} running, {} waiting, {} dead",
            clean_line(&one.name),
            clean_line(&one.state),
            one.inflight,
            one.backlog,
            one.dead
        );
    }
    if let Ok(bus) = serde_json::from_value::<BusView>(answer.clone()) {
        return format!(
            "the bus is {}: {} running, {} waiting, {} dead",
            clean_line(&bus.state),
            bus.inflight,
            bus.backlog,
            bus.dead
        );
    }
    if let Ok(key) = serde_json::from_value::<ParkedKeyView>(answer.clone()) {
        return keys_told(&[key]);
    }
    let held = answer.get("held").and_then(|held| held.get("behind")).and_then(Value::as_str);
    let held = held.map(|letter| format!("; it waits behind dead letter {} still", clean_line(letter)));
    format!("the key goes on{}", held.unwrap_or_default())
}

fn keys_told(keys: &[ParkedKeyView]) -> String {
    let head = ["SUBSCRIPTION", "KEY", "HELD BY", "SINCE", "WAITING", "WHO", "WHY"];
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let held = match (&key.behind, key.by_hand) {
                (Some(letter), true) => format!("hand, {letter}"),
                (Some(letter), false) => letter.clone(),
                (None, _) => "hand".to_owned(),
            };
            [
                &key.subscription,
                &format!("{:?}", key.key),
                &held,
                &key.since,
                &key.waiting.to_string(),
                key.by.as_ref().unwrap_or(&String::new()),
                key.reason.as_ref().unwrap_or(&String::new()),
            ]
            .map(|cell| clean_line(cell))
            .to_vec()
        })
        .collect();
    table(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;
    use crate::cli::args::ServerArgs;

    fn args(url: &str, subscription: Option<&str>, key: Option<&str>) -> SteerArgs {
        SteerArgs {
            subscription: subscription.map(str::to_owned),
            key: key.map(str::to_owned),
            reason: "why".to_owned(),
            server: ServerArgs { url: url.to_owned(), by: Some("ann".to_owned()) },
        }
    }

    #[test]
    fn the_bus_a_subscription_and_a_key_are_steered_by_one_word() {
        let url = fake::serve(|request| {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            assert_eq!(body["reason"], "why");
            let bus = json!({ "state": "paused", "inflight": 0, "backlog": 3, "dead": 1 });
            match (request.path.as_str(), body["key"].as_str()) {
                ("/v1/bus/pause" | "/v1/subscriptions/pay/resume", None)
                | ("/v1/subscriptions/pay/keys/park", Some("a/b"))
                | ("/v1/subscriptions/pay/keys/resume", Some("")) => fake::json(200, &bus),
                other => fake::problem(404, &format!("{other:?}")),
            }
        });
        let output = Output::new(false, true);

        for (verb, subscription, key) in [
            ("pause", None, None),
            ("resume", Some("pay"), None),
            ("pause", Some("pay"), Some("a/b")),
            ("resume", Some("pay"), Some("")),
        ] {
            assert!(
                steer(&args(&url, subscription, key), verb, output).is_ok(),
                "{verb} {subscription:?} {key:?}"
            );
        }
    }

    #[test]
    fn a_drain_waits_and_says_whether_it_is_over() {
        let url = fake::serve(|request| {
            assert_eq!(request.prefer.as_deref(), Some("wait=7"));
            let inflight = u64::from(request.path.contains("slow"));
            fake::json(200, &json!({ "state": "paused", "inflight": inflight, "backlog": 3, "dead": 1 }))
        });
        let drained = |name: &str| {
            let server = ServerArgs { url: url.clone(), by: None };
            let reason = String::new();
            let args = DrainArgs { subscription: Some(name.to_owned()), wait: 7, reason, server };
            drain(&args, Output::new(false, true)).unwrap()
        };

        assert!(matches!(drained("fast"), Exit::Done));
        assert!(matches!(drained("slow"), Exit::No));
    }

    #[test]
    fn every_kind_of_answer_is_told_in_words() {
        let key = json!({
            "subscription": "pay", "key": "", "by_hand": true, "behind": "pay-7", "since": "2026-03-01T08:00:00Z",
            "by": "ann", "reason": "fraud", "waiting": 4
        });
        for (answer, word) in [
            (
                json!({ "state": "paused", "inflight": 2, "backlog": 3, "dead": 1 }),
                "the bus is paused: 2 running",
            ),
            (
                json!({ "name": "pay", "step": "pay", "on": [], "state": "running", "inflight": 0, "backlog": 3,
                        "dead": 1, "oldest_seconds": 0 }),
                "subscription pay is running",
            ),
            (key.clone(), "hand, pay-7"),
            (json!({ "subscription": "pay", "key": "", "held": null }), "the key goes on"),
            (json!({ "subscription": "pay", "key": "", "held": key }), "behind dead letter pay-7"),
        ] {
            assert!(told(&answer).contains(word), "{}", told(&answer));
        }
    }
}
