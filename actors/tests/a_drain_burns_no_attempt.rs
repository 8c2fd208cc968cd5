//! SIGTERM: what is acknowledged stays, what runs may end, what does not counts as nothing.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, Dice, Server, Site, Watch, open, purchase, until};

const LIMIT: Duration = Duration::from_secs(10);

fn until_paying(server: &Server, count: u64) {
    until("payments run", || {
        let pay = server.subscription("pay");
        if pay["inflight"] == count { Ok(()) } else { Err(pay.to_string()) }
    });
}

/// The attempts of each delivery of the flow that `pay` has.
fn pay_attempts(server: &Server, order: &str) -> u64 {
    let flow = server.status(order)["flow"].as_str().unwrap().to_owned();
    let flow = server.client().get_json(&format!("/v1/flows/{flow}"));
    let deliveries =
        flow["events"].as_array().unwrap().iter().flat_map(|e| e["deliveries"].as_array().unwrap());
    deliveries.filter(|d| d["subscription"] == "pay").map(|d| d["attempts"].as_u64().unwrap()).sum()
}

/// Publishes until the door is closed; gives what was acknowledged, and the problems of refusals.
fn publish(client: &Client, prefix: &str, refusals: &Mutex<BTreeMap<String, u64>>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let id = format!("{prefix}-{n}");
        let post = client.post("/v1/events/purchase.submitted").header("idempotency-key", &id);
        match post.json(&purchase(&id, "alice", 1)).try_send() {
            Ok(reply) if reply.status == 202 => acknowledged.push(id),
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{reply:?}");
                assert!(
                    reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0),
                    "{reply:?}"
                );
                *refusals.lock().unwrap().entry(reply.problem()).or_default() += 1;
                Watch::start().let_pass(Duration::from_millis(5));
            }
            Err(_) => break,
        }
    }
    acknowledged
}

#[test]
fn ten_restarts_under_load_lose_nothing_and_end_in_time() {
    let mut dice = Dice::new();
    let site = Site::new().set("shutdown.drain", "2s");
    let server = site.start();
    open(&server, &["alice", "slow-1"], 1_000_000, &["world"]);
    assert!(server.stop().0.success());
    let mut acknowledged = Vec::new();
    let refusals = Mutex::default();

    for round in 0..10 {
        let server = site.start();
        server.buy(&format!("slow-{round}"), "slow-1", 1);
        acknowledged.push(format!("slow-{round}"));
        std::thread::scope(|scope| {
            let clients: Vec<_> =
                (0..3).map(|n| (server.client().clone(), format!("r{round}-{n}"))).collect();
            let refusals = &refusals;
            let publishers: Vec<_> = clients
                .into_iter()
                .map(|(client, prefix)| scope.spawn(move || publish(&client, &prefix, refusals)))
                .collect();
            Watch::start().let_pass(Duration::from_millis(dice.roll(300)));
            let (status, took) = server.stop();
            assert_eq!(status.code(), Some(0), "round {round}: {status}");
            assert!(took < LIMIT, "round {round}: it took {took:?}");
            acknowledged.extend(publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()));
        });
    }
    let server = site.start();
    until("everything has come to its end", || {
        let busy = server.busy();
        if busy.is_empty() { Ok(()) } else { Err(busy.join(", ")) }
    });

    println!("{} acknowledged; refused: {refusals:?}", acknowledged.len());
    assert_eq!(server.dead_letters(""), [Value::Null; 0]);
    for order in &acknowledged {
        let status = server.status(order);
        assert_eq!(status["result"]["outcome"], "completed", "{status}");
    }
    for round in 0..10 {
        assert_eq!(pay_attempts(&server, &format!("slow-{round}")), 1, "slow-{round}");
    }
    assert_eq!(server.funds("alice")["paid"], acknowledged.len() as u64 - 10);
    assert!(refusals.lock().unwrap().contains_key("draining"), "{refusals:?}");
    assert_eq!(refusals.lock().unwrap().len(), 1, "{refusals:?}");
}

#[test]
fn an_attempt_that_the_drain_interrupts_counts_as_nothing_and_runs_again() {
    let site = Site::new().set("shutdown.drain", "100ms");
    let server = site.start();
    open(&server, &["slow-1"], 100, &["world"]);

    server.buy("o1", "slow-1", 30);
    until_paying(&server, 1);
    let mut server = server;
    for _ in 0..3 {
        let (status, took) = server.stop();
        assert!(status.success() && took < Duration::from_secs(4), "{status}, {took:?}");
        server = site.start();
        until_paying(&server, 1);
    }
    let status = server.until_status("o1", "done");
    server.until_idle();

    assert_eq!(status["result"]["outcome"], "completed");
    assert_eq!(pay_attempts(&server, "o1"), 1);
    assert_eq!((&server.funds("slow-1")["paid"], &server.funds("slow-1")["held"]), (&json!(30), &json!(0)));
}

#[test]
fn while_it_drains_publishers_are_refused_and_those_who_look_on_are_answered() {
    let site = Site::new();
    let server = site.start();
    open(&server, &["slow-1"], 100, &["world"]);
    server.buy("o1", "slow-1", 30);
    until_paying(&server, 1);
    let client = server.client().clone();
    let poll = client.clone();
    let poller = std::thread::spawn(move || poll.get("/v1/events/o1").header("prefer", "wait=30").send());

    let watch = Watch::start();
    server.terminate();
    let ready = until("it drains", || match client.get("/ready").send() {
        reply if reply.status == 503 => Ok(reply),
        reply => Err(format!("{reply:?}")),
    });
    let refused = client.post("/v1/events/purchase.submitted").header("idempotency-key", "o2");
    let refused = refused.json(&purchase("o2", "slow-1", 1)).send();
    let seen = client.get_json("/v1/events/o1");
    let polled = poller.join().unwrap();
    let status = server.wait();
    let took = watch.elapsed();
    let server = site.start();

    assert_eq!(ready.problem(), "not-ready");
    assert_eq!((refused.status, refused.problem().as_str()), (503, "draining"));
    assert!(refused.json()["retryable"].as_bool().unwrap());
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(seen["status"], "processing");
    assert_eq!(polled.status, 200, "who waits gets what is known: {polled:?}");
    assert_eq!((status.code(), took < LIMIT), (Some(0), true), "{took:?}");
    assert_eq!(server.client().get("/v1/events/o2").send().status, 404, "nothing stored when refused");
    assert_eq!(server.until_status("o1", "done")["result"]["outcome"], "completed");
    assert_eq!(pay_attempts(&server, "o1"), 1, "it had the time to end");
}

#[test]
fn an_open_stream_does_not_hold_up_the_end() {
    let site = Site::new().set("shutdown.drain", "100ms");
    let server = site.start();
    open(&server, &["slow-1"], 100, &["world"]);
    server.buy("o1", "slow-1", 30);
    until_paying(&server, 1);
    let stream = server.client().get("/v1/events/o1").stream();

    let (status, took) = server.stop();
    drop(stream);

    assert!(status.success() && took < Duration::from_secs(4), "{status}, {took:?}");
}
