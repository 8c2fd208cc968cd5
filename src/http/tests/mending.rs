//! Mending: one dead letter at a time, over HTTP.

use super::*;

/// Dead letters of keys `a` and `b`; the first has one behind it.
async fn dead(site: &Site, door: &Door) -> Vec<String> {
    for (id, key) in [("a", "a"), ("b", "b")] {
        publish(door, id, key, r#"{"todo":"die"}"#).await;
        site.running.idle().await;
    }
    publish(door, "behind", "a", "{}").await;
    site.running.idle().await;
    let letters = get(door, "/v1/dead-letters").await;
    let ids = letters["items"].as_array().expect("items").iter().map(|letter| &letter["id"]);
    ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

async fn publish(door: &Door, id: &str, key: &str, data: &str) {
    let event = plain(data).insert_header(("tidegate-key", key)).insert_header(("idempotency-key", id));
    assert_eq!(ask(door, event).await.status, 202);
}

async fn get(door: &Door, path: &str) -> Value {
    let answer = ask(door, request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    answer.json()
}

async fn act(door: &Door, id: &str, act: &str, body: &str) -> (u16, Value) {
    let asked = request(Method::POST, &format!("/v1/dead-letters/{id}/{act}"));
    let answer =
        ask(door, asked.insert_header(("tidegate-operator", "ann")).set_payload(body.to_owned())).await;
    (answer.status.as_u16(), answer.json())
}

#[test]
fn an_edit_takes_data_and_tells_the_event_that_takes_the_place() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let ids = dead(&site, &door).await;
        let shown = get(&door, &format!("/v1/dead-letters/{}", ids[0])).await;
        assert_eq!((&shown["behind"], &shown["data"]), (&json!(1), &json!({"todo": "die"})));
        let waiting = get(&door, &format!("/v1/dead-letters/{}/waiting", ids[0])).await;
        assert_eq!((&waiting["items"][0]["event"], &waiting["next"]), (&json!("behind"), &Value::Null));

        for (body, pointer) in [
            ("", ""),
            (r#"{"reason":"typo"}"#, ""),
            (r#"{"data":{"todo":"odd"}}"#, "/data"),
            (r#"{"data":{},"odd":1}"#, ""),
        ] {
            let (status, problem) = act(&door, &ids[0], "edit", body).await;
            assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(pointer)), "{problem}");
        }
        let (status, edited) =
            act(&door, &ids[0], "edit", r#"{"data":{"todo":"succeed"},"reason":"typo"}"#).await;
        let (late, problem) = act(&door, &ids[0], "edit", r#"{"data":{}}"#).await;
        site.running.idle().await;

        assert_eq!(
            (status, &edited["status"], &edited["events"][0]["name"]),
            (200, &json!("skipped"), &json!("order.placed"))
        );
        assert_eq!((late, &problem["code"]), (409, &json!("refused")), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains("superseded by")), "{problem}");
        let id = edited["events"][0]["id"].as_str().expect("an id");
        let status = get(&door, &format!("/v1/events/{id}?source=/tidegate/edit")).await;
        assert_eq!((&status["status"], &status["deliveries"][0]["state"]), (&json!("done"), &json!("done")));
        let behind = get(&door, "/v1/events/behind").await;
        assert_eq!(behind["status"], "done");
    });
}

#[test]
fn a_retry_takes_a_time_in_one_of_two_ways() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let ids = dead(&site, &door).await;

        for (body, pointer) in [
            (r#"{"at":"tomorrow"}"#, "/at"),
            (r#"{"after":"soon"}"#, "/after"),
            (r#"{"at":"2030-01-01T00:00:00Z","after":"5m"}"#, "/after"),
        ] {
            let (status, problem) = act(&door, &ids[0], "retry", body).await;
            assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(pointer)), "{problem}");
        }
        let at = act(&door, &ids[0], "retry", r#"{"at":"2090-01-01T00:00:00Z","reason":"then"}"#).await;
        let after = act(&door, &ids[1], "retry", r#"{"after":"2h","force":true}"#).await;

        let due = "2090-01-01T00:00:00.000Z";
        assert_eq!(at, (200, json!({"id": ids[0], "status": "waiting", "due": due})));
        assert_eq!((after.0, &after.1["status"]), (200, &json!("waiting")));
        let delivery = get(&door, "/v1/events/a").await["deliveries"][0].clone();
        assert_eq!((&delivery["state"], &delivery["due"]), (&json!("waiting"), &json!(due)));
        let (status, problem) = act(&door, &ids[0], "skip", r#"{"reason":"no"}"#).await;
        assert_eq!(status, 409, "{problem}");
    });
}

#[test]
fn what_was_done_by_hand_needs_a_reason_and_names_what_the_step_emits() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let ids = dead(&site, &door).await;

        for (body, pointer) in [
            (r#"{"emits":[]}"#, "/reason"),
            (r#"{"reason":"x","emits":[{"name":"order.placed","data":{}}]}"#, "/emits/0/name"),
        ] {
            let (status, problem) = act(&door, &ids[0], "done", body).await;
            assert_eq!((status, &problem["errors"][0]["pointer"]), (400, &json!(pointer)), "{problem}");
        }
        let done = act(&door, &ids[0], "done", r#"{"reason":"by phone","result":{"paid":1.50}}"#).await;
        site.running.idle().await;

        assert_eq!(done, (200, json!({"id": ids[0], "status": "done"})));
        let status = get(&door, "/v1/events/a").await;
        assert_eq!((&status["status"], &status["result"]), (&json!("done"), &json!({"paid": 1.5})));
        assert_eq!(get(&door, "/v1/events/behind").await["status"], "done");
    });
}

#[test]
fn groups_are_listed_and_filter_the_list() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let ids = dead(&site, &door).await;

        let groups = get(&door, "/v1/dead-letters/groups?subscription=work").await;

        let group = &groups["items"][0];
        assert_eq!((groups["items"].as_array().map(Vec::len), &groups["next"]), (Some(1), &Value::Null));
        assert_eq!(
            (&group["count"], &group["sample"], &group["reason"]),
            (&json!(2), &json!(ids[0]), &json!("fatal"))
        );
        let name = group["group"].as_str().expect("a group");
        let first = get(&door, &format!("/v1/dead-letters?group={name}&limit=1")).await;
        assert_eq!((&first["items"][0]["id"], &first["items"][0]["group"]), (&json!(ids[0]), &json!(name)));
        let cursor = first["next"].as_str().expect("a cursor");
        let second = get(&door, &format!("/v1/dead-letters?group={name}&limit=1&cursor={cursor}")).await;
        assert_eq!(second["items"][0]["id"], json!(ids[1]));
        for (path, status) in [
            ("/v1/dead-letters?group=odd", 400),
            ("/v1/dead-letters/groups?subscription=odd", 404),
            ("/v1/dead-letters/groups?limit=0", 400),
            ("/v1/dead-letters/work-99/waiting", 404),
        ] {
            assert_eq!(ask(&door, request(Method::GET, path)).await.status, status, "{path}");
        }
    });
}
