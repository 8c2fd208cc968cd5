//! The shipped flow, as the contract describes it, against the real binary.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Server, Site, Watch, open, purchase, until};

/// A server with alice (100), an open fund, and nothing else.
fn opened(site: &Site) -> Server {
    let server = site.start();
    open(&server, &["alice"], 100, &["world"]);
    server
}

fn names(flow: &Value) -> Vec<&str> {
    flow["events"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect()
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn delivery<'a>(event: &'a Value, subscription: &str) -> &'a Value {
    let deliveries = event["deliveries"].as_array().unwrap();
    deliveries.iter().find(|delivery| delivery["subscription"] == subscription).unwrap()
}

fn pots(server: &Server, account: &str) -> (u64, u64, u64) {
    let funds = server.funds(account);
    let pot = |name: &str| funds[name].as_u64().unwrap();
    (pot("balance"), pot("held"), pot("paid"))
}

fn flow_of(server: &Server, receipt: &Value) -> Value {
    server.client().get_json(&format!("/v1/flows/{}", receipt["flow"].as_str().unwrap()))
}

#[test]
fn a_purchase_runs_through_every_step_and_is_completed() {
    let site = Site::new();
    let server = opened(&site);

    let receipt = server.buy("o1", "alice", 30);
    let status = server.until_status("o1", "done");
    server.until_idle();

    assert_eq!(status["result"], json!({"outcome": "completed", "order": "o1"}));
    let flow = flow_of(&server, &receipt);
    assert_eq!(flow["status"], "done");
    assert_eq!((flow["open"].as_u64(), flow["dead"].as_u64()), (Some(0), Some(0)));
    assert_eq!(flow["pending"], json!([]));
    assert_eq!(
        names(&flow),
        [
            "purchase.submitted",
            "purchase.account_checked",
            "purchase.funds_checked",
            "purchase.fund_status_checked",
            "purchase.payment_completed",
            "purchase.completed",
        ]
    );
    let events = flow["events"].as_array().unwrap();
    assert_eq!(events[0]["causation"], Value::Null);
    for pair in events.windows(2) {
        assert_eq!(pair[1]["causation"], pair[0]["id"], "{flow:#}");
        assert!(pair[1]["commit"].as_u64() > pair[0]["commit"].as_u64());
    }
    for (event, heard_by) in [
        (0, ["audit", "check_account"].as_slice()),
        (1, &["audit", "check_funds"]),
        (2, &["audit", "check_fund_status"]),
        (3, &["audit", "pay"]),
        (4, &["allot_shares", "audit", "check_funds"]),
        (5, &["audit", "notify"]),
    ] {
        let deliveries = events[event]["deliveries"].as_array().unwrap();
        let by: BTreeSet<_> = deliveries.iter().map(|d| d["subscription"].as_str().unwrap()).collect();
        assert_eq!(by, heard_by.iter().copied().collect(), "{}", events[event]["name"]);
        for delivery in deliveries {
            assert_eq!(
                (&delivery["state"], &delivery["attempts"]),
                (&json!("done"), &json!(1)),
                "{delivery}"
            );
        }
    }
    assert_eq!(pots(&server, "alice"), (70, 0, 30));
    let book = server.client().get_json("/v1/subscriptions/audit/state/alice");
    assert_eq!(book["events"], 6);
    assert_eq!(book["by_name"]["purchase.completed"], json!({"count": 1, "amount": 30}));
}

#[test]
fn each_check_can_refuse_and_a_refusal_is_done() {
    let site = Site::new();
    let server = opened(&site);
    server.done("fund.opened", &json!({"fund": "moon"}));
    server.done("fund.closed", &json!({"fund": "moon"}));

    for (order, account, fund, amount, reason) in [
        ("no-account", "nobody", "world", 5, "the account is not open"),
        ("no-amount", "alice", "world", 0, "the amount is zero"),
        ("no-funds", "alice", "world", 101, "the account has not enough money"),
        ("no-fund", "alice", "mars", 5, "the fund is not open"),
        ("closed-fund", "alice", "moon", 5, "the fund is not open"),
    ] {
        let data = json!({"order": order, "account": account, "fund": fund, "amount": amount});
        let status = server.done("purchase.submitted", &data);
        assert_eq!(status["result"], json!({"outcome": "refused", "order": order, "reason": reason}));
    }
    server.until_idle();

    assert_eq!(pots(&server, "alice"), (100, 0, 0));
}

#[test]
fn a_fund_that_closes_while_the_payment_runs_sends_the_money_back() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["slow-1"], 50, &[]);

    let receipt = server.buy("o1", "slow-1", 20);
    let midway = until("the payment runs", || {
        let flow = flow_of(&server, &receipt);
        match flow["events"].as_array().unwrap().iter().find(|e| e["name"] == "purchase.fund_status_checked")
        {
            Some(checked) if delivery(checked, "pay")["state"] == "inflight" => Ok(flow),
            _ => Err(flow.to_string()),
        }
    });
    server.done("fund.closed", &json!({"fund": "world"}));
    let status = server.until_status("o1", "done");
    server.until_idle();

    assert_eq!(midway["status"], "processing");
    assert_eq!(texts(&midway["pending"]), ["allot_shares", "notify", "refund"], "not yet reached");
    let reason = "the fund closed before the shares were allotted";
    assert_eq!(status["result"], json!({"outcome": "refunded", "order": "o1", "reason": reason}));
    assert_eq!(pots(&server, "slow-1"), (50, 0, 0));
    let ledger = std::fs::read_to_string(site.data().join("bank.ledger")).unwrap();
    let kinds: Vec<Value> =
        ledger.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds, ["charge", "refund"]);
}

#[test]
fn a_stolen_account_is_a_dead_letter_at_once_and_its_skip_ends_the_flow() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["stolen-1"], 50, &[]);

    server.buy("o1", "stolen-1", 20);
    let status = server.until_status("o1", "failed");

    assert_eq!((&status["result"], &status["dead"]), (&Value::Null, &json!(1)));
    let dead = server.dead_letters("");
    assert_eq!(dead.len(), 1);
    let letter = &dead[0];
    for (field, value) in [
        ("name", "purchase.fund_status_checked"),
        ("subscription", "pay"),
        ("key", "stolen-1"),
        ("reason", "fatal"),
    ] {
        assert_eq!(letter[field], value, "{letter:#}");
    }
    assert_eq!(letter["attempts"], 1);
    assert_eq!(letter["flow"], status["flow"]);
    assert!(
        letter["error"].as_str().unwrap().contains("account `stolen-1` is reported stolen"),
        "{letter:#}"
    );
    let shown = server.client().get_json(&format!("/v1/dead-letters/{}", letter["id"].as_str().unwrap()));
    assert_eq!(shown["id"], letter["id"]);
    assert!(letter["since"].as_str().unwrap().ends_with('Z'));

    let skip = format!("/v1/dead-letters/{}/skip", letter["id"].as_str().unwrap());
    let unsaid = server.client().post(&skip).json(&json!({})).send();
    let skipped = server.client().post(&skip).json(&json!({"reason": "the account is gone"})).send();
    let again = server.client().post(&skip).json(&json!({"reason": "the account is gone"})).send();

    assert_eq!((unsaid.status, unsaid.problem().as_str()), (400, "malformed"));
    assert_eq!(skipped.status, 200, "{skipped:?}");
    assert_eq!(skipped.json()["status"], "skipped");
    assert!(again.status == 404 || again.status == 409, "{again:?}");
    assert_eq!(server.dead_letters(""), [Value::Null; 0]);
    let status = server.until_status("o1", "done");
    assert_eq!((&status["open"], &status["dead"]), (&json!(0), &json!(0)));
}

#[test]
fn a_person_who_gives_an_order_up_releases_its_hold() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["stolen-1"], 50, &[]);
    let receipt = server.buy("o1", "stolen-1", 20);
    server.until_status("o1", "failed");
    assert_eq!(pots(&server, "stolen-1"), (30, 20, 0));
    let letter = server.dead_letters("")[0]["id"].as_str().unwrap().to_owned();

    let skip = server.client().post(&format!("/v1/dead-letters/{letter}/skip"));
    assert_eq!(skip.json(&json!({"reason": "given up"})).send().status, 200);
    let refused = json!({
        "specversion": "1.0", "id": "give-up", "source": "/desk", "type": "purchase.refused",
        "correlationid": receipt["flow"], "data": {"order": "o1", "account": "stolen-1", "reason": "given up"},
    });
    let reply = server.client().post("/v1/events").header("content-type", "application/cloudevents+json");
    assert_eq!(reply.body(refused.to_string()).send().json()["flow"], receipt["flow"]);
    server.until_idle();

    assert_eq!(pots(&server, "stolen-1"), (50, 0, 0));
}

#[test]
fn a_panic_is_a_failed_attempt_and_the_last_one_a_dead_letter() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["panic-1"], 50, &[]);

    server.buy("o1", "panic-1", 20);
    server.until_status("o1", "failed");

    let dead = server.dead_letters("");
    assert_eq!((&dead[0]["reason"], &dead[0]["attempts"]), (&json!("attempts"), &json!(4)));
    assert!(dead[0]["error"].as_str().unwrap().contains("panic"), "{}", dead[0]);
    assert_eq!(dead[0]["history"].as_array().unwrap().len(), 4);
    let alive = server.done("purchase.submitted", &purchase("o2", "alice", 5));
    assert_eq!(alive["result"]["outcome"], "completed");
}

#[test]
fn an_outage_ends_in_a_dead_letter_that_a_retry_after_the_repair_brings_to_its_end() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["outage-1"], 50, &[]);

    let receipt = server.buy("o1", "outage-1", 20);
    server.buy("o2", "outage-1", 5);
    server.until_status("o1", "failed");
    let dead = server.dead_letters("&subscription=pay&key=outage-1");
    let parked = server.until_status("o2", "failed");
    server.done("bank.restored", &json!({"account": "outage-1"}));
    let still = server.status("o1");
    let retry = format!("/v1/dead-letters/{}/retry", dead[0]["id"].as_str().unwrap());
    let retried = server.client().post(&retry).json(&json!({"reason": "the bank works again"})).send();
    let status = server.until_status("o1", "done");
    let second = server.until_status("o2", "done");
    server.until_idle();

    assert_eq!((dead.len(), &dead[0]["attempts"], &dead[0]["reason"]), (1, &json!(4), &json!("attempts")));
    assert_eq!(parked["dead"], 0, "it waits behind the dead letter of its key");
    assert_eq!(still["status"], "failed", "a person retries, nobody else");
    assert_eq!((retried.status, &retried.json()["status"]), (200, &json!("ready")));
    assert_eq!(status["result"]["outcome"], "completed");
    assert_eq!(second["result"]["outcome"], "completed");
    assert_eq!(pots(&server, "outage-1"), (25, 0, 25));
    assert_eq!(server.dead_letters(""), [Value::Null; 0]);
    let flow = flow_of(&server, &receipt);
    let checked =
        flow["events"].as_array().unwrap().iter().find(|e| e["name"] == "purchase.fund_status_checked");
    assert_eq!(delivery(checked.unwrap(), "pay")["state"], "done");
}

#[test]
fn a_publication_is_answered_with_a_receipt_and_a_place_to_ask() {
    let site = Site::new();
    let server = opened(&site);
    let client = server.client();

    let first = server.with_id("purchase.submitted", "a/b ü", &purchase("o1", "alice", 5)).send();
    let again = server.with_id("purchase.submitted", "a/b ü", &purchase("o1", "alice", 5)).send();
    let other = server.with_id("purchase.submitted", "a/b ü", &purchase("o1", "alice", 6)).send();
    let drawn = server.plain("purchase.submitted", &purchase("o2", "alice", 5)).send();

    assert_eq!((first.status, again.status, drawn.status), (202, 202, 202));
    let receipt = first.json();
    assert_eq!((&receipt["id"], &receipt["source"]), (&json!("a/b ü"), &json!("/http")));
    assert_eq!((&receipt["status"], &receipt["durability"]), (&json!("accepted"), &json!("disk")));
    assert_eq!(first.header("location"), "/v1/events/a%2Fb%20%C3%BC?source=/http");
    assert_eq!(first.header("retry-after"), "1");
    assert_eq!(first.header("idempotency-replayed"), "");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json(), receipt);
    assert_eq!((other.status, other.problem().as_str()), (422, "idempotency-key-reused"));
    assert_ne!(drawn.json()["id"], "");
    let status = client.get_json(first.header("location"));
    for field in ["id", "source", "name", "flow", "status", "result", "open", "dead", "deliveries"] {
        assert!(status.get(field).is_some(), "{field}: {status}");
    }
    assert_eq!((&status["id"], &status["flow"]), (&json!("a/b ü"), &receipt["flow"]));
    let one = delivery(&status, "check_account");
    for field in ["subscription", "state", "attempts", "error"] {
        assert!(one.get(field).is_some(), "{field}: {one}");
    }
}

#[test]
fn who_prefers_to_wait_gets_the_end_or_what_is_known_when_the_time_is_over() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["slow-1"], 50, &[]);

    let ended = server
        .with_id("purchase.submitted", "o1", &purchase("o1", "alice", 5))
        .header("prefer", "wait=10")
        .send();
    let watch = Watch::start();
    let over = server
        .with_id("purchase.submitted", "o2", &purchase("o2", "slow-1", 5))
        .header("prefer", "wait=1")
        .send();
    let waited = watch.elapsed();
    let long = server.client().get("/v1/events/o2").header("prefer", "wait=10").send();

    assert_eq!((ended.status, ended.header("preference-applied")), (200, "wait=10"));
    assert_eq!(
        (&ended.json()["status"], ended.header("location")),
        (&json!("done"), "/v1/events/o1?source=/http")
    );
    assert_eq!((over.status, over.header("retry-after")), (202, "1"));
    assert!((900..2000).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!((long.status, &long.json()["status"]), (200, &json!("done")));
    assert_eq!(long.header("retry-after"), "", "there is nothing to wait for");
}

#[test]
fn polling_with_the_tag_of_what_is_known_costs_no_body_and_a_long_poll_waits_for_news() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["slow-1"], 50, &[]);
    server.buy("o1", "slow-1", 5);
    let running = until("the payment runs", || {
        let reply = server.client().get("/v1/events/o1").send();
        let subscription = server.subscription("pay");
        if subscription["inflight"] == 1 { Ok(reply) } else { Err(subscription.to_string()) }
    });

    let tag = |reply: &support::Reply| reply.header("etag").to_owned();
    let current = server.client().get("/v1/events/o1").send();
    let same = server.client().get("/v1/events/o1").header("if-none-match", &tag(&current)).send();
    let news = server
        .client()
        .get("/v1/events/o1")
        .header("if-none-match", &tag(&current))
        .header("prefer", "wait=20")
        .send();

    assert_eq!(running.status, 200);
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(tag(&same), tag(&current));
    assert_eq!(news.status, 200);
    assert_ne!(tag(&news), tag(&current));
}

#[test]
fn the_progress_of_a_flow_is_streamed_and_resumed_where_it_broke_off() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["slow-1"], 50, &[]);
    server.buy("o1", "slow-1", 5);

    let live: Vec<_> = server.client().get("/v1/events/o1").stream().collect();
    let kinds =
        |messages: &[support::Message], kind: &str| messages.iter().filter(|m| m.event == kind).count();
    let middle = live.iter().position(|m| m.id.is_some()).unwrap();
    let seen = live[middle].id.clone().unwrap();
    let resumed: Vec<_> =
        server.client().get("/v1/events/o1").header("last-event-id", &seen).stream().collect();
    let last = live.iter().rev().find_map(|m| m.id.clone()).unwrap();
    let nothing = server
        .client()
        .get("/v1/events/o1")
        .header("last-event-id", "x")
        .header("accept", "text/event-stream")
        .send();

    assert_eq!(live.last().unwrap().event, "status");
    assert_eq!(live.last().unwrap().data["status"], "done");
    assert_eq!(kinds(&live, "event"), 6, "{live:?}");
    assert!(kinds(&live, "attempt") >= 6, "{live:?}");
    let ids: Vec<u64> = live.iter().filter_map(|m| m.id.as_ref()?.parse().ok()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    assert!(last.parse::<u64>().unwrap() > seen.parse().unwrap());
    let of_events = |messages: &[support::Message]| -> Vec<Value> {
        messages.iter().filter(|m| m.event == "event").map(|m| m.data["id"].clone()).collect()
    };
    let after = &of_events(&live)[kinds(&live[..=middle], "event")..];
    assert_eq!(of_events(&resumed), after, "neither repeated nor left out");
    assert_eq!((nothing.status, nothing.problem().as_str()), (400, "malformed"));
}

#[test]
fn dead_letters_are_listed_by_page_and_by_what_they_are() {
    let site = Site::new();
    let server = opened(&site);
    let accounts: Vec<String> = (0..7).map(|n| format!("stolen-{n}")).collect();
    open(&server, &accounts.iter().map(String::as_str).collect::<Vec<_>>(), 50, &[]);
    for (n, account) in accounts.iter().enumerate() {
        server.buy(&format!("o{n}"), account, 5);
    }
    server.until_idle();
    let client = server.client();

    let mut paged = Vec::new();
    let mut path = "/v1/dead-letters?subscription=pay&limit=3".to_owned();
    loop {
        let page = client.get_json(&path);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        paged.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/dead-letters?subscription=pay&limit=3&cursor={next}");
    }

    assert_eq!(paged.iter().collect::<BTreeSet<_>>(), accounts.iter().collect());
    assert_eq!(paged.len(), 7);
    let flow = server.status("o3")["flow"].as_str().unwrap().to_owned();
    for (query, count) in [
        ("&key=stolen-3", 1),
        ("&reason=fatal", 7),
        ("&reason=attempts", 0),
        ("&subscription=refund", 0),
        ("&name=purchase.fund_status_checked", 7),
        ("&name=purchase.submitted", 0),
        (&format!("&flow={flow}"), 1),
    ] {
        assert_eq!(server.dead_letters(query).len(), count, "{query}");
    }
    for wrong in ["limit=0", "limit=x", "reason=sad", "colour=red", "cursor=nonsense"] {
        let reply = client.get(&format!("/v1/dead-letters?{wrong}")).send();
        assert_eq!((reply.status, reply.problem().as_str()), (400, "malformed"), "{wrong}");
    }
}

#[test]
fn a_paused_subscription_keeps_its_backlog_over_a_restart_until_it_is_resumed() {
    let site = Site::new();
    let server = opened(&site);
    let paused = server.client().post("/v1/subscriptions/pay/pause").send();
    for n in 0..5 {
        server.buy(&format!("o{n}"), "alice", 5);
    }
    let backlog = until("five wait", || {
        let pay = server.subscription("pay");
        if pay["backlog"] == 5 { Ok(pay) } else { Err(pay.to_string()) }
    });
    server.kill();
    let server = site.start();
    let after = server.subscription("pay");
    let resumed = server.client().post("/v1/subscriptions/pay/resume").send();
    for n in 0..5 {
        server.until_status(&format!("o{n}"), "done");
    }

    assert_eq!((paused.status, &paused.json()["state"]), (200, &json!("paused")));
    assert_eq!((&backlog["state"], &backlog["inflight"]), (&json!("paused"), &json!(0)));
    assert_eq!((&after["state"], &after["backlog"]), (&json!("paused"), &json!(5)));
    assert_eq!((resumed.status, &resumed.json()["state"]), (200, &json!("running")));
    server.until_idle();
    assert_eq!(pots(&server, "alice"), (75, 0, 25));
}

#[test]
fn subscriptions_are_listed_as_they_are_wired() {
    let site = Site::new();
    let server = site.start();
    let client = server.client();

    let all = client.get_json("/v1/subscriptions");
    let first = client.get_json("/v1/subscriptions?limit=4");
    let second =
        client.get_json(&format!("/v1/subscriptions?limit=500&cursor={}", first["next"].as_str().unwrap()));

    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), 12);
    assert_eq!(all["next"], Value::Null);
    for item in items {
        for field in ["name", "step", "on", "state", "backlog", "inflight", "dead", "oldest_seconds"] {
            assert!(item.get(field).is_some(), "{field}: {item}");
        }
        assert_eq!(item["state"], "running");
    }
    let pages = [first["items"].as_array().unwrap().as_slice(), second["items"].as_array().unwrap()].concat();
    assert_eq!(&pages, items);
    assert_eq!(client.get_json("/v1/subscriptions?state=paused")["items"], json!([]));
    assert_eq!(client.get_json("/v1/subscriptions/audit")["on"], json!(["purchase.>"]));
    for unknown in [
        "/v1/subscriptions/nobody",
        "/v1/subscriptions/pay/state/nobody",
        "/v1/flows/none",
        "/v1/dead-letters/none",
    ] {
        let reply = client.get(unknown).send();
        assert_eq!((reply.status, reply.problem().as_str()), (404, "not-found"), "{unknown}");
    }
}

#[test]
fn those_who_watch_the_process_find_health_readiness_and_metrics() {
    let site = Site::new();
    let server = opened(&site);
    server.done("purchase.submitted", &purchase("o1", "alice", 5));
    server.until_idle();
    let client = server.client();

    let metrics = client.get("/metrics").send();
    let text = String::from_utf8(metrics.body.clone()).unwrap();
    let value = |name: &str| -> f64 {
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    };

    assert_eq!(client.get_json("/health"), json!({"status": "ok"}));
    assert_eq!(client.get_json("/ready"), json!({"status": "ready"}));
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"), "{metrics:?}");
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("tidegate_"), "{line}");
        let number = line.rsplit(' ').next().unwrap();
        assert!(number.parse::<f64>().is_ok(), "{line}");
    }
    let near = |value: f64, wanted: f64| (value - wanted).abs() < 0.1;
    assert!(near(value("tidegate_published_total{outcome=\"accepted\"}"), 3.0), "{text}");
    assert!(near(value("tidegate_attempts_total{subscription=\"pay\",outcome=\"done\"}"), 1.0), "{text}");
    assert!(near(value("tidegate_backlog{subscription=\"pay\"}"), 0.0), "{text}");
    assert!(value("tidegate_commit_seconds_count") >= 3.0);
    assert!(value("tidegate_journal_bytes") > 0.0);
    assert!(value("tidegate_dedupe_window_seconds") > 0.0);
    assert!(value("tidegate_disk_free_bytes") > 0.0);
}

#[test]
fn the_api_document_lists_every_path_that_is_answered() {
    let site = Site::new();
    let server = site.start();
    let document = server.client().get_json("/openapi.json");

    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "/health",
        "/metrics",
        "/openapi.json",
        "/problems/{code}",
        "/ready",
        "/v1/dead-letters",
        "/v1/dead-letters/{id}",
        "/v1/dead-letters/{id}/retry",
        "/v1/dead-letters/{id}/skip",
        "/v1/events",
        "/v1/events/{id}",
        "/v1/flows/{id}",
        "/v1/subscriptions",
        "/v1/subscriptions/{name}",
        "/v1/subscriptions/{name}/pause",
        "/v1/subscriptions/{name}/resume",
        "/v1/subscriptions/{name}/state/{key}",
    ];
    for path in expected {
        assert!(paths.contains(path), "{path} is missing in {paths:?}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        let asked =
            path.replace("{id}", "x").replace("{name}", "x").replace("{key}", "x").replace("{code}", "x");
        let allowed = server.client().request("OPTIONS", &asked).send();
        assert_eq!(allowed.status, 204, "{path} is in the document only");
        for method in methods.as_object().unwrap().keys().filter(|m| ["get", "post"].contains(&m.as_str())) {
            assert!(allowed.header("allow").contains(&method.to_uppercase()), "{method} {path}: {allowed:?}");
        }
    }
}

#[test]
fn what_is_refused_is_a_problem_that_says_what_it_is() {
    let site = Site::new();
    let server = site.start();
    let client = server.client();
    let json = |request: support::Request<'_>, body: &str| {
        request.header("content-type", "application/json").body(body).send()
    };

    for (reply, status, code) in [
        (client.get("/nowhere").send(), 404, "not-found"),
        (client.get("/v1/events/never").send(), 404, "not-found"),
        (client.request("DELETE", "/v1/events/x").send(), 405, "method-not-allowed"),
        (client.request("PUT", "/v1/subscriptions").send(), 405, "method-not-allowed"),
        (
            json(client.post("/v1/events/order.placed"), &format!("\"{}\"", "x".repeat(2 << 20))),
            413,
            "too-large",
        ),
        (
            client.post("/v1/events").body("x").header("content-type", "text/plain").send(),
            415,
            "unsupported-media-type",
        ),
        (
            client.post("/v1/events/a.b").body("x").header("content-type", "text/plain").send(),
            415,
            "unsupported-media-type",
        ),
        (
            json(client.post("/v1/events/a.b").header("content-encoding", "gzip"), "{}"),
            415,
            "unsupported-media-type",
        ),
        (json(client.post("/v1/events/a.b"), "{\"a\":"), 400, "malformed"),
        (json(client.post("/v1/events/A..b"), "{}"), 400, "malformed"),
        (json(client.post("/v1/events/a.b").header("idempotency-key", "\"open"), "{}"), 400, "malformed"),
        (json(client.post("/v1/events/tidegate.own"), "{}"), 403, "reserved-name"),
        (client.get("/v1/events/x?sauce=y").send(), 400, "malformed"),
        (json(client.post("/v1/dead-letters/none/retry"), "{}"), 404, "not-found"),
        (json(client.post("/v1/dead-letters/none/skip"), "{\"reason\":\"x\"}"), 404, "not-found"),
        (client.post("/v1/subscriptions/none/pause").send(), 404, "not-found"),
    ] {
        assert_eq!((reply.status, reply.problem().as_str()), (status, code), "{reply:?}");
    }
    assert_eq!(client.request("DELETE", "/v1/events/x").send().header("allow"), "GET, HEAD, POST, OPTIONS");
    let named = client.get("/nowhere").header("x-request-id", "mine-1").send();
    assert_eq!(named.header("x-request-id"), "mine-1");
    let kind = client.get_json("/problems/idempotency-key-reused");
    assert_eq!(kind["status"], 422);
}

#[test]
fn a_strict_door_refuses_names_that_nobody_hears() {
    let site = Site::new().set("http.strict", "true");
    let server = opened(&site);

    let unheard = server.with_id("weather.changed", "w1", &json!({})).send();
    let loose = Site::new();
    let loose_server = loose.start();
    let taken = loose_server.done("weather.changed", &json!({}));

    assert_eq!((unheard.status, unheard.problem().as_str()), (422, "unknown-event"));
    assert_eq!(server.client().get("/v1/events/w1").send().status, 404);
    assert_eq!((&taken["status"], &taken["deliveries"]), (&json!("done"), &json!([])));
}

#[test]
fn a_payload_that_a_step_cannot_read_is_a_dead_letter_that_says_why() {
    let site = Site::new();
    let server = opened(&site);

    let reply = server.with_id("purchase.submitted", "o1", &json!({"order": "o1"})).send();
    server.until_status("o1", "failed");

    assert_eq!(reply.status, 202);
    let dead = server.dead_letters("&subscription=check_account");
    assert_eq!((&dead[0]["reason"], &dead[0]["attempts"]), (&json!("undecodable"), &json!(1)));
    assert!(dead[0]["error"].as_str().unwrap().contains("account"), "{}", dead[0]);
    let healthy = server.done("purchase.submitted", &purchase("o2", "alice", 5));
    assert_eq!(healthy["result"]["outcome"], "completed");
}

#[test]
fn a_payment_that_was_made_by_hand_lets_the_purchase_go_on_to_its_end() {
    let site = Site::new();
    let server = opened(&site);
    open(&server, &["stolen-1"], 50, &[]);
    server.buy("o1", "stolen-1", 20);
    server.until_status("o1", "failed");
    let id = server.dead_letters("")[0]["id"].as_str().unwrap().to_owned();
    let letter = server.client().get_json(&format!("/v1/dead-letters/{id}"));
    let act = server.client().post(&format!("/v1/dead-letters/{id}/done"));
    let odd = server.client().post(&format!("/v1/dead-letters/{id}/done"));

    let other = json!({"reason": "x", "emits": [{"name": "purchase.completed", "data": {}}]});
    assert_eq!(odd.json(&other).send().status, 400, "pay does not emit that");
    let mut paid = letter["data"].clone();
    paid["payment"] = json!("by-phone-1");
    let emits = json!([{"name": "purchase.payment_completed", "data": paid}]);
    let done = act.json(&json!({"reason": "paid by phone", "emits": emits})).send();

    assert_eq!((done.status, &done.json()["status"]), (200, &json!("done")), "{done:?}");
    let status = server.until_status("o1", "done");
    assert_eq!(status["result"]["outcome"], "completed");
    server.until_idle();
    assert_eq!(pots(&server, "stolen-1"), (30, 0, 20), "the hold is settled as if the step had paid");
}
