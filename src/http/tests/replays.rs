//! Replays, and what nobody has heard, as the door tells them.

use super::*;

async fn get(door: &Door, path: &str) -> Value {
    let answer = ask(door, request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    answer.json()
}

fn replay(body: &Value) -> TestRequest {
    request(Method::POST, "/v1/subscriptions/work/replay")
        .insert_header(("tidegate-operator", "ann"))
        .set_payload(body.to_string())
}

#[test]
fn a_replay_is_accepted_counted_before_and_shown_to_its_end() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for id in ["a", "b"] {
            assert_eq!(ask(&door, plain("{}").insert_header(("idempotency-key", id))).await.status, 202);
        }
        site.running.idle().await;

        let dry = ask(&door, replay(&json!({"from": "start", "dry_run": true}))).await;
        let begun = ask(&door, replay(&json!({"since": "2026-01-01T00:00:00Z", "reason": "rate"}))).await;
        site.running.idle().await;

        let counts = json!({"looked": 2, "new": 0, "again": 2, "open": 0, "dead": 0, "gone": 0});
        assert_eq!((dry.status.as_u16(), dry.json()), (200, counts));
        assert_eq!((begun.status.as_u16(), &begun.json()["state"]), (202, &json!("running")));
        assert_eq!(begun.headers.get("location").expect("a place"), "/v1/replays/work-1");
        let shown = get(&door, "/v1/replays/work-1").await;
        assert_eq!((&shown["state"], &shown["counts"]["again"]), (&json!("done"), &json!(2)));
        assert_eq!((&shown["by"], &shown["reason"]), (&json!("ann"), &json!("rate")));
        assert_eq!(get(&door, "/v1/replays?subscription=work&state=done").await["items"], json!([shown]));
        assert_eq!(get(&door, "/v1/replays?state=running").await["items"], json!([]));
        assert_eq!(get(&door, "/v1/subscriptions/work/state/").await, json!({"handled": 4}));
        assert_eq!(get(&door, "/v1/subscriptions/work").await["replays"], 1);
        let stopped = ask(&door, request(Method::POST, "/v1/replays/work-1/stop")).await;
        assert_eq!((stopped.status.as_u16(), stopped.problem().as_str()), (409, "refused"));
    });
}

#[test]
fn a_replay_that_says_too_little_or_too_much_is_refused_with_the_place() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for (body, pointer) in [
            (json!({}), ""),
            (json!({"since": "2026-01-01T00:00:00Z", "from": 1}), "/from"),
            (json!({"since": "yesterday"}), "/since"),
            (json!({"from": "now"}), "/from"),
            (json!({"from": 1, "until": "never"}), "/until"),
            (json!({"from": 1, "name": "Bad Name"}), "/name"),
            (json!({"from": 1, "name": "!order.placed"}), "/name"),
            (json!({"from": 1, "key": "k".repeat(2_000)}), "/key"),
            (json!({"from": 1, "reason": "r".repeat(2_000)}), "/reason"),
            (json!({"from": 1, "reset": true}), ""),
            (json!({"from": -1}), ""),
        ] {
            let answer = ask(&door, replay(&body)).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "malformed"), "{body}");
            assert!(
                answer.json().to_string().contains(&format!("\"{pointer}\"")),
                "{body}: {}",
                answer.json()
            );
        }
        let odd = request(Method::POST, "/v1/subscriptions/odd/replay").set_payload(r#"{"from":"start"}"#);
        assert_eq!(ask(&door, odd).await.status, 404);
        assert_eq!(ask(&door, request(Method::GET, "/v1/replays/work-1")).await.status, 404);
        assert_eq!(ask(&door, request(Method::GET, "/v1/replays?cursor=odd")).await.status, 400);
    });
}

#[test]
fn what_nobody_hears_is_listed() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for id in ["a", "b"] {
            let event = request(Method::POST, "/v1/events/order.lost")
                .insert_header((CONTENT_TYPE, "application/json"))
                .insert_header(("idempotency-key", id))
                .set_payload("{}");
            assert_eq!(ask(&door, event).await.status, 202);
        }

        let first = get(&door, "/v1/unrouted?limit=1").await;
        let next = first["next"].as_str().expect("a cursor");
        let second = get(&door, &format!("/v1/unrouted?limit=1&cursor={next}")).await;

        assert_eq!((&first["items"][0]["id"], &second["items"][0]["id"]), (&json!("b"), &json!("a")));
        assert_eq!(
            (&first["total"], &first["names"]),
            (&json!(2), &json!([{"name": "order.lost", "events": 2}]))
        );
        assert_eq!(second["next"], Value::Null);
        let filtered = get(&door, "/v1/subscriptions/work/filtered").await;
        assert_eq!(filtered, json!({"items": [], "next": null}));
        assert_eq!(ask(&door, request(Method::GET, "/v1/subscriptions/odd/filtered")).await.status, 404);
        assert_eq!(ask(&door, request(Method::GET, "/v1/unrouted?cursor=x")).await.status, 400);
    });
}
