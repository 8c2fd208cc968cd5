//! Steering: the bus, subscriptions and keys that are paused, drained and resumed over HTTP.

use super::*;

async fn act(door: &Door, path: &str, body: &str) -> (u16, Value) {
    let asked = request(Method::POST, path)
        .insert_header(("tidegate-operator", "ann"))
        .insert_header(("prefer", "wait=5"))
        .set_payload(body.to_owned());
    let answer = ask(door, asked).await;
    (answer.status.into(), answer.json())
}

async fn look(door: &Door, path: &str) -> Value {
    let answer = ask(door, request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    answer.json()
}

#[test]
fn the_whole_bus_is_paused_drained_and_resumed() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        assert_eq!(look(&door, "/v1/bus").await["state"], "running");

        let (status, paused) = act(&door, "/v1/bus/pause", r#"{"reason":"moving"}"#).await;
        assert_eq!((status, &paused["state"], &paused["paused_by"]), (200, &json!("paused"), &json!("ann")));
        assert_eq!(ask(&door, plain(r#"{"todo":"nothing"}"#)).await.status, 202, "events are taken");
        site.running.idle().await;
        let stands = look(&door, "/v1/bus").await;
        assert!(stands["backlog"].as_u64() > Some(0), "{stands}");
        assert_eq!((&stands["inflight"], &stands["reason"]), (&json!(0), &json!("moving")));
        let (status, drained) = act(&door, "/v1/bus/drain", "").await;
        assert_eq!((status, &drained["inflight"]), (200, &json!(0)));

        let (status, resumed) = act(&door, "/v1/bus/resume", "{}").await;
        assert_eq!((status, &resumed["state"], resumed.get("since")), (200, &json!("running"), None));
        site.running.idle().await;
        assert_eq!(look(&door, "/v1/bus").await["backlog"], 0);
        for (path, body) in [("/v1/bus/pause", "x"), ("/v1/bus/drain", r#"{"why":"x"}"#)] {
            assert_eq!(act(&door, path, body).await.0, 400, "{path} {body}");
        }
    });
}

#[test]
fn keys_are_parked_listed_and_resumed() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let subscriptions = look(&door, "/v1/subscriptions").await;
        let name = subscriptions["items"]
            .as_array()
            .and_then(|items| items.iter().find_map(|item| item["name"].as_str()))
            .expect("a subscription");
        let path = |end: &str| format!("/v1/subscriptions/{name}/{end}");

        for key in ["", "a/b%20c", "ü"] {
            let body = json!({ "key": key, "reason": "asked" }).to_string();
            let (status, parked) = act(&door, &path("keys/park"), &body).await;
            assert_eq!(
                (status, &parked["key"], &parked["by"]),
                (200, &json!(key), &json!("ann")),
                "{parked}"
            );
        }
        let listed = look(&door, &path("keys?limit=2")).await;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
        let cursor = listed["next"].as_str().expect("a cursor");
        let cursor = percent_encoding::utf8_percent_encode(cursor, percent_encoding::NON_ALPHANUMERIC);
        let listed = look(&door, &path(&format!("keys?limit=2&cursor={cursor}"))).await;
        assert_eq!((&listed["items"][0]["key"], &listed["next"]), (&json!("ü"), &Value::Null));
        let (status, resumed) = act(&door, &path("keys/resume"), r#"{"key":""}"#).await;
        assert_eq!((status, &resumed["held"]), (200, &Value::Null));

        for (asked, status) in [
            (act(&door, &path("keys/resume"), r#"{"key":""}"#).await, 409),
            (act(&door, &path("keys/park"), "{}").await, 400),
            (act(&door, "/v1/subscriptions/nobody/keys/park", r#"{"key":"a"}"#).await, 404),
            (act(&door, &path("keys/park"), &json!({ "key": "k".repeat(2_000) }).to_string()).await, 409),
            (act(&door, "/v1/subscriptions/nobody/drain", "").await, 404),
        ] {
            assert_eq!(asked.0, status, "{:?}", asked.1);
        }
        let wrong = ask(&door, request(Method::GET, &path("keys?cursor=x"))).await;
        assert_eq!(wrong.status, 400);
        let (status, drained) = act(&door, &path("drain"), "").await;
        assert_eq!((status, &drained["state"], &drained["inflight"]), (200, &json!("paused"), &json!(0)));
    });
}
