//! Searching: lists of flows and events.

use super::*;

async fn list(door: &Door, path: &str) -> Value {
    let answer = ask(door, request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    answer.json()
}

fn ids(list: &Value, place: &str) -> Vec<String> {
    let id = |item: &Value| item.pointer(place).and_then(Value::as_str).expect("an id").to_owned();
    list["items"].as_array().expect("items").iter().map(id).collect()
}

/// Orders o1 to o3 with the keys `a`, `b` and `a`, a second apart; o2 is dead.
async fn three_orders(site: &Site, door: &Door) {
    for (id, key, todo) in [("o1", "a", "succeed"), ("o2", "b", "die"), ("o3", "a", "succeed")] {
        let event = plain(&format!(r#"{{"todo":"{todo}"}}"#)).insert_header(("tidegate-key", key));
        assert_eq!(ask(door, event.insert_header(("idempotency-key", id))).await.status, 202);
        site.running.idle().await;
        site.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn flows_are_listed_by_status_key_name_and_time() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_orders(&site, &door).await;
        let first = "/first/id";

        for (filter, expected) in [
            ("", vec!["o3", "o2", "o1"]),
            ("status=failed", vec!["o2"]),
            ("status=dead", vec!["o2"]),
            ("status=done", vec!["o3", "o1"]),
            ("status=processing", vec![]),
            ("key=a", vec!["o3", "o1"]),
            ("name=order.placed&key=b", vec!["o2"]),
            ("name=order.lost", vec![]),
            ("since=2026-03-31T08:00:01Z", vec!["o3", "o2"]),
            ("until=2026-03-31T10:00:01%2B02:00", vec!["o1"]),
        ] {
            let found = list(&door, &format!("/v1/flows?{filter}")).await;
            let found = ids(&found, first);
            // The act of dying is told by an event of the bus's own, which may begin a flow itself.
            let found: Vec<_> = found.into_iter().filter(|id| id.starts_with('o')).collect();
            assert_eq!(found, expected, "{filter}");
        }
        let page = list(&door, "/v1/flows?key=a&limit=1").await;
        let next = page["next"].as_str().expect("a cursor");
        let rest = list(&door, &format!("/v1/flows?key=a&limit=1&cursor={next}")).await;
        assert_eq!(ids(&page, first), ["o3"]);
        assert_eq!(ids(&rest, first), ["o1"]);
        let flow = &page["items"][0];
        let own = list(&door, &format!("/v1/flows/{}", flow["flow"].as_str().expect("an id"))).await;
        for field in ["flow", "status", "open", "dead", "version"] {
            assert_eq!(flow[field], own[field], "{field}");
        }
    });
}

#[test]
fn events_are_listed_and_with_an_id_the_status_is_told_as_ever() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_orders(&site, &door).await;
        let id = "/id";

        let listed = list(&door, "/v1/events?name=order.placed").await;
        assert_eq!(ids(&listed, id), ["o3", "o2", "o1"]);
        let event = &listed["items"][1];
        assert_eq!((&event["key"], &event["deliveries"][0]["state"]), (&json!("b"), &json!("dead")));
        let flow = event["flow"].as_str().expect("a flow");
        let of_flow = list(&door, &format!("/v1/events?flow={flow}&name=order.placed")).await;
        assert_eq!(ids(&of_flow, id), ["o2"]);
        let of_key = list(&door, "/v1/events?key=a&since=2026-03-31T08:00:01Z&limit=9").await;
        assert_eq!(ids(&of_key, id), ["o3"]);
        assert_eq!(of_key["next"], Value::Null);
        let status = list(&door, "/v1/events?id=o1&source=/http").await;
        assert_eq!((&status["id"], &status["status"]), (&json!("o1"), &json!("done")));
    });
}

#[test]
fn a_list_that_is_asked_for_wrongly_says_how_it_is_asked_for() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for (path, word) in [
            ("/v1/flows?status=lost", "accepted, processing"),
            ("/v1/flows?since=yesterday", "RFC 3339"),
            ("/v1/flows?cursor=pay-7", "cursor"),
            ("/v1/flows?limit=0", "limit"),
            ("/v1/flows?subscription=work", "subscription"),
            ("/v1/events?until=2026-03-31", "RFC 3339"),
            ("/v1/events?source=/http", "id"),
            ("/v1/events?id=o1&key=a", "key"),
        ] {
            let answer = ask(&door, request(Method::GET, path)).await;
            assert_eq!(answer.status, 400, "{path}");
            assert!(answer.json().to_string().contains(word), "{path}: {}", answer.json());
        }
    });
}

#[test]
fn a_flow_tells_the_states_of_its_keys_when_asked() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        three_orders(&site, &door).await;
        let flows = list(&door, "/v1/flows?key=a&limit=1").await;
        let flow = flows["items"][0]["flow"].as_str().expect("a flow");

        let with = list(&door, &format!("/v1/flows/{flow}?state=true")).await;
        let without = list(&door, &format!("/v1/flows/{flow}")).await;

        let delivery = |flow: &Value| flow["events"][0]["deliveries"][0].clone();
        assert_eq!(delivery(&with)["key_state"], json!({"handled": 2}), "as it is now");
        assert_eq!(delivery(&without).get("key_state"), None);
        let strange = ask(&door, request(Method::GET, &format!("/v1/flows/{flow}?states=true"))).await;
        assert_eq!(strange.status, 400);
    });
}
