//! Operators: dead letters, subscriptions, states and counters.

use super::*;

/// Three dead letters, of keys `a`, `b` and `c`.
async fn three_dead(site: &Site, door: &Door) {
    for key in ["a", "b", "c"] {
        let event = plain(r#"{"todo":"die"}"#).insert_header(("tidegate-key", key));
        assert_eq!(ask(door, event.insert_header(("idempotency-key", key))).await.status, 202);
    }
    site.running.idle().await;
}

async fn list(door: &Door, path: &str) -> Value {
    let answer = ask(door, request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    answer.json()
}

#[test]
fn dead_letters_are_listed_in_pages_and_by_what_they_show() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_dead(&site, &door).await;

        let all = list(&door, "/v1/dead-letters?limit=100000").await;
        let items = all["items"].as_array().expect("items");
        assert_eq!((items.len(), &all["next"]), (3, &Value::Null));
        let letter = &items[1];
        for field in [
            "id",
            "event",
            "source",
            "name",
            "flow",
            "subscription",
            "key",
            "reason",
            "attempts",
            "error",
            "since",
        ] {
            assert!(letter.get(field).is_some(), "{field}");
        }
        assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("fatal"), &json!(1)));
        for field in ["event", "source", "name", "flow", "subscription", "key", "reason"] {
            let value = letter[field].as_str().expect("text");
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            let found = list(&door, &format!("/v1/dead-letters?{field}={value}")).await;
            assert!(found["items"].as_array().expect("items").contains(letter), "{field}");
        }
        assert_eq!(list(&door, "/v1/dead-letters?key=odd").await["items"], json!([]));

        let first = list(&door, "/v1/dead-letters?limit=2").await;
        let cursor = first["next"].as_str().expect("a cursor");
        let second = list(&door, &format!("/v1/dead-letters?limit=2&cursor={cursor}")).await;
        assert_eq!((&first["items"][1], &second["items"][0]), (letter, &items[2]));
        assert_eq!(second["next"], Value::Null);
        let one = list(&door, &format!("/v1/dead-letters/{}", letter["id"].as_str().expect("an id"))).await;
        assert_eq!(one["event"], "b");
    });
}

#[test]
fn repairs_take_a_reason_and_act_once() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_dead(&site, &door).await;
        let letters = list(&door, "/v1/dead-letters").await;
        let id = |n: usize| letters["items"][n]["id"].as_str().expect("an id").to_owned();
        let act = |id: &str, act: &str, body: &str| {
            request(Method::POST, &format!("/v1/dead-letters/{id}/{act}")).set_payload(body.to_owned())
        };

        for (asked, status) in [
            (act(&id(0), "skip", ""), 400),
            (act(&id(0), "skip", r#"{"reason":" "}"#), 400),
            (act(&id(0), "retry", "x"), 400),
            (act("odd", "retry", ""), 404),
        ] {
            assert_eq!(ask(&door, asked).await.status.as_u16(), status);
        }
        let skipped = ask(&door, act(&id(0), "skip", r#"{"reason":"paid by hand"}"#)).await;
        let again = ask(&door, act(&id(0), "skip", r#"{"reason":"paid by hand"}"#)).await;
        let retried = ask(&door, act(&id(1), "retry", "")).await;
        site.running.idle().await;

        assert_eq!(
            (skipped.status.as_u16(), skipped.json()),
            (200, json!({"id": id(0), "status": "skipped"}))
        );
        assert_eq!((again.status.as_u16(), again.problem().as_str()), (409, "refused"));
        assert_eq!((retried.status.as_u16(), retried.json()), (200, json!({"id": id(1), "status": "ready"})));
        assert_eq!(list(&door, "/v1/events/a").await["status"], "done");
        assert_eq!(
            list(&door, "/v1/events/b").await["deliveries"][0]["attempts"],
            2,
            "tried, and dead again"
        );
    });
}

#[test]
fn a_flow_is_cancelled_with_a_reason_and_the_act_is_kept() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_dead(&site, &door).await;
        let flow = list(&door, "/v1/events/a").await["flow"].as_str().expect("a flow").to_owned();
        let cancel = |flow: &str, body: &str| {
            request(Method::POST, &format!("/v1/flows/{flow}/cancel"))
                .insert_header(("tidegate-operator", "ann"))
                .set_payload(body.to_owned())
        };

        for (asked, status) in [
            (cancel(&flow, ""), 400),
            (cancel(&flow, r#"{"reason":" "}"#), 400),
            (cancel("odd", r#"{"reason":"x"}"#), 404),
        ] {
            assert_eq!(ask(&door, asked).await.status.as_u16(), status);
        }
        let first = ask(&door, cancel(&flow, r#"{"reason":"ordered twice"}"#)).await;
        site.running.idle().await;
        let again = ask(&door, cancel(&flow, r#"{"reason":"ordered twice"}"#)).await;

        assert_eq!((first.status.as_u16(), &first.json()["flow"]), (200, &json!(flow)));
        assert_eq!(
            (again.status.as_u16(), again.json()),
            (200, json!({"flow": flow, "status": "compensated"}))
        );
        let view = list(&door, &format!("/v1/flows/{flow}")).await;
        assert_eq!((&view["status"], &view["open"]), (&json!("compensated"), &json!(0)));
        let back = &view["compensation"];
        assert_eq!(
            (&back["state"], &back["by"], &back["reason"], &back["undone"]),
            (&json!("compensated"), &json!("ann"), &json!("ordered twice"), &json!(0))
        );
        assert_eq!(list(&door, "/v1/dead-letters").await["items"].as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn subscriptions_are_listed_and_filtered() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_dead(&site, &door).await;

        let all = list(&door, "/v1/subscriptions").await;

        assert_eq!(
            all,
            json!({"items": [{"name": "work", "step": "work", "on": ["order.placed"], "state": "running",
                "backlog": 0, "inflight": 0, "dead": 3, "oldest_seconds": 0}], "next": null})
        );
        for (query, found) in
            [("name=work", 1), ("step=odd", 0), ("state=paused", 0), ("state=running&step=work", 1)]
        {
            let page = list(&door, &format!("/v1/subscriptions?{query}")).await;
            assert_eq!(page["items"].as_array().map(Vec::len), Some(found), "{query}");
        }
        let paused = ask(&door, request(Method::POST, "/v1/subscriptions/work/pause")).await;
        assert_eq!((paused.status.as_u16(), &paused.json()["state"]), (200, &json!("paused")));
        assert_eq!(ask(&door, request(Method::POST, "/v1/subscriptions/odd/pause")).await.status, 404);
    });
}

#[test]
fn keys_of_a_state_may_be_anything() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for (path, key) in [("", ""), ("a%2Fb%20c", "a/b c"), ("a/b", "a/b"), ("%252F", "%2F"), ("..", "..")]
        {
            let state = || request(Method::GET, &format!("/v1/subscriptions/work/state/{path}"));
            let before = ask(&door, state()).await;
            let event = request(Method::POST, "/v1/events")
                .insert_header((CONTENT_TYPE, "application/cloudevents+json"))
                .set_payload(
                    json!({"specversion": "1.0", "id": key.len().to_string() + path, "source": "/s",
                        "type": "order.placed", "partitionkey": (!key.is_empty()).then_some(key), "data": {}})
                    .to_string(),
                );
            let published = ask(&door, event).await;
            assert_eq!(published.status, 202, "{:?}", published.json());
            site.running.idle().await;
            let after = ask(&door, state()).await;

            assert_eq!((before.status.as_u16(), before.problem().as_str()), (404, "not-found"), "{path}");
            assert_eq!((after.status.as_u16(), after.json()), (200, json!({"handled": 1})), "{path}");
        }
    });
}

#[test]
fn the_counters_tell_of_requests_by_route_and_of_the_work() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_dead(&site, &door).await;
        ask(&door, request(Method::GET, "/v1/events/a")).await;
        ask(&door, request(Method::GET, "/v1/events/unknown")).await;
        ask(&door, request(Method::GET, "/nowhere/at/all")).await;
        ask(&door, request(Method::GET, "/panic")).await;

        let answer = ask(&door, request(Method::GET, "/metrics")).await;

        let text = String::from_utf8(answer.body.clone()).expect("text");
        for line in [
            r#"tidegate_http_requests_total{route="/v1/events/{id}",status="2xx"} 4"#,
            r#"tidegate_http_requests_total{route="/v1/events/{id}",status="4xx"} 1"#,
            r#"tidegate_http_requests_total{route="other",status="4xx"} 1"#,
            r#"tidegate_http_requests_total{route="/panic",status="5xx"} 1"#,
            r#"tidegate_http_request_seconds_count{route="/v1/events/{id}"} 5"#,
            r#"tidegate_published_total{outcome="accepted"} 3"#,
            r#"tidegate_attempts_total{subscription="work",outcome="dead"} 3"#,
            r#"tidegate_wait_seconds_count{subscription="work"} 3"#,
            r#"tidegate_run_seconds_count{subscription="work"} 3"#,
            r#"tidegate_dead_letters{subscription="work"} 3"#,
            r#"tidegate_backlog{subscription="work"} 0"#,
            r#"tidegate_inflight{subscription="work"} 0"#,
            r#"tidegate_oldest_seconds{subscription="work"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        for name in ["commit_changes", "commit_seconds", "checkpoint_lag_commits", "disk_free_bytes"] {
            assert!(text.contains(&format!("tidegate_{name}")), "{name}");
        }
        assert!(answer.header(CONTENT_TYPE).starts_with("application/openmetrics-text"));
        assert!(text.ends_with("# EOF\n"));
    });
}
