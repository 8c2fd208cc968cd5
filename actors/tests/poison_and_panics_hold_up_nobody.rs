//! Events that cannot be handled, and steps that panic, cost their own key and nobody else.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Server, Site, open, purchase, until};

const PANICKING: usize = 10;
const HEALTHY: usize = 25;

/// The whole of a batch, in one request.
fn publish(server: &Server, orders: &[(String, Value)]) {
    for orders in orders.chunks(500) {
        let events: Vec<Value> = orders
            .iter()
            .map(|(id, data)| {
                json!({"specversion": "1.0", "id": id, "source": "/http", "type": "purchase.submitted", "data": data})
            })
            .collect();
        let post =
            server.client().post("/v1/events").header("content-type", "application/cloudevents-batch+json");
        assert_eq!(post.body(Value::from(events).to_string()).send().status, 202);
    }
}

fn keys(letters: &[Value]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_hundred_panics_and_some_poison_among_five_hundred_others() {
    let site = Site::new();
    let server = site.start();
    let panicking: Vec<String> = (0..PANICKING).map(|n| format!("panic-{n}")).collect();
    let healthy: Vec<String> = (0..HEALTHY).map(|n| format!("healthy-{n}")).collect();
    let accounts: Vec<&str> = panicking.iter().chain(&healthy).map(String::as_str).collect();
    open(&server, &accounts, 10_000, &["world"]);
    let mut orders = Vec::new();
    for n in 0..600 {
        let (id, account) = if n % 6 == 0 {
            (format!("panic-{n}"), &panicking[n / 6 % PANICKING])
        } else {
            (format!("good-{n}"), &healthy[n % HEALTHY])
        };
        orders.push((id.clone(), purchase(&id, account, 1)));
        if n % 30 == 0 {
            orders.push((format!("poison-{n}"), json!({"order": n, "account": ["no", "text"]})));
        }
    }

    publish(&server, &orders);
    for (id, _) in orders.iter().filter(|(id, _)| id.starts_with("good")) {
        let status = server.until_status(id, "done");
        assert_eq!(status["result"]["outcome"], "completed", "{status}");
    }
    let dead = until("every panicking account has its dead letter", || {
        let dead = server.dead_letters("&subscription=pay");
        if dead.len() == PANICKING { Ok(dead) } else { Err(format!("{} dead letters", dead.len())) }
    });

    assert_eq!(keys(&dead), panicking.iter().cloned().collect());
    for letter in &dead {
        assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("attempts"), &json!(4)), "{letter:#}");
    }
    let poison = server.dead_letters("&reason=undecodable");
    let of_poison: BTreeSet<&str> = poison.iter().map(|letter| letter["event"].as_str().unwrap()).collect();
    let wanted = orders.iter().map(|(id, _)| id.as_str()).filter(|id| id.starts_with("poison-")).collect();
    assert!(poison.iter().all(|letter| letter["attempts"] == 1), "{poison:#?}");
    assert!(of_poison.is_subset(&wanted), "{of_poison:?}");
    assert_eq!(
        server.subscription("pay")["backlog"],
        100 - PANICKING as u64,
        "the others wait behind their own"
    );

    // The first of a key that is given up lets the next one have its turn, and only that one.
    let given_up = dead.iter().find(|letter| letter["key"] == "panic-3").unwrap();
    let skip = format!("/v1/dead-letters/{}/skip", given_up["id"].as_str().unwrap());
    assert_eq!(server.client().post(&skip).json(&json!({"reason": "test"})).send().status, 200);
    until("the next one dies too", || {
        let dead = server.dead_letters("&subscription=pay&key=panic-3");
        match dead.as_slice() {
            [one] if one["id"] != given_up["id"] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    server.kill();
    let server = site.start();
    assert_eq!(server.dead_letters("&subscription=pay").len(), PANICKING, "a restart forgets none");
    assert_eq!(
        server.done("purchase.submitted", &purchase("last", "healthy-0", 1))["result"]["outcome"],
        "completed"
    );
    assert_eq!(server.subscription("pay")["backlog"], 99 - PANICKING as u64);
}
