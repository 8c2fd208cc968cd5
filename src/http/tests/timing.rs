//! Time: delayed events by header and attribute, moved and taken back, and schedules.

use super::*;

fn keyed(id: &str) -> TestRequest {
    plain("{}").insert_header(("idempotency-key", id))
}

fn act(path: &str, body: &str) -> TestRequest {
    request(Method::POST, path)
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header(("tidegate-operator", "ann"))
        .set_payload(body.to_owned())
}

async fn due(door: &Door, id: &str) -> Value {
    let status = ask(door, request(Method::GET, &format!("/v1/events/{id}"))).await.json();
    status["deliveries"][0]["due"].clone()
}

#[test]
fn an_event_is_delayed_by_a_header_or_an_attribute() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let at = "2026-03-31T09:00:00.000Z";
        let event = json!({"specversion": "1.0", "id": "c", "source": "/http", "type": "order.placed",
            "deliverat": at, "data": {}});
        let cloud = request(Method::POST, "/v1/events")
            .insert_header((CONTENT_TYPE, "application/cloudevents+json"))
            .set_payload(event.to_string());
        for asked in [
            keyed("a").insert_header(("tidegate-deliver-at", "2026-03-31T11:00:00+02:00")),
            keyed("b").insert_header(("tidegate-delay", "60m")),
            cloud,
        ] {
            assert_eq!(ask(&door, asked).await.status, 202);
        }

        for id in ["a", "b", "c"] {
            assert_eq!(due(&door, id).await, at, "{id}");
        }
        site.advance(Duration::from_hours(1)).await;
        for id in ["a", "b", "c"] {
            let status = ask(&door, request(Method::GET, &format!("/v1/events/{id}"))).await.json();
            assert_eq!(status["status"], "done", "{id}");
        }
        for (name, value) in [
            ("tidegate-deliver-at", "tomorrow"),
            ("tidegate-deliver-at", ""),
            ("tidegate-delay", "5"),
            ("tidegate-delay", "-5m"),
            ("tidegate-delay", "99999999999d"),
        ] {
            let answer = ask(&door, keyed("d").insert_header((name, value))).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "malformed"), "{value}");
            assert!(answer.json().to_string().contains(name), "{:?}", answer.json());
        }
        let both =
            keyed("d").insert_header(("tidegate-delay", "1s")).insert_header(("tidegate-deliver-at", at));
        assert_eq!(ask(&door, both).await.status, 400);
        assert_eq!(ask(&door, request(Method::GET, "/v1/events/d")).await.status, 404, "nothing was stored");
    });
}

#[test]
fn a_delayed_event_is_moved_and_taken_back_by_its_id() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        assert_eq!(ask(&door, keyed("a/b").insert_header(("tidegate-delay", "1h"))).await.status, 202);

        let moved = ask(&door, act("/v1/events/a%2Fb/reschedule", r#"{"after":"2h","reason":"late"}"#)).await;
        assert_eq!((moved.status.as_u16(), &moved.json()["id"]), (200, &json!("a/b")));
        assert_eq!(due(&door, "a%2Fb").await, "2026-03-31T10:00:00.000Z");
        let moved =
            ask(&door, act("/v1/events/a%2Fb/reschedule?source=/http", r#"{"at":"2026-04-01T00:00:00Z"}"#));
        assert_eq!(moved.await.status, 200);
        assert_eq!(due(&door, "a%2Fb").await, "2026-04-01T00:00:00.000Z");
        let cancelled = ask(&door, act("/v1/events/a%2Fb/cancel", "")).await;
        let told = cancelled.json();
        assert_eq!((cancelled.status.as_u16(), &told["status"]), (200, &json!("done")));
        assert_eq!(told["deliveries"][0]["state"], "skipped");

        for (path, body, status, code) in [
            ("/v1/events/a%2Fb/cancel", "", 409, "refused"),
            ("/v1/events/a%2Fb/reschedule", r#"{"after":"1s"}"#, 409, "refused"),
            ("/v1/events/odd/cancel", "{}", 404, "not-found"),
            ("/v1/events/a%2Fb/cancel?source=/other", "{}", 404, "not-found"),
            ("/v1/events/a%2Fb/cancel?sorce=/http", "{}", 400, "malformed"),
            ("/v1/events/a%2Fb/cancel", r#"{"raeson":"x"}"#, 400, "malformed"),
            ("/v1/events/a%2Fb/reschedule", "", 400, "malformed"),
            ("/v1/events/a%2Fb/reschedule", r#"{"at":"x","after":"1s"}"#, 400, "malformed"),
            ("/v1/events/a%2Fb/reschedule", r#"{"at":"soon"}"#, 400, "malformed"),
            ("/v1/events/a%2Fb/reschedule", r#"{"after":"soon"}"#, 400, "malformed"),
        ] {
            let answer = ask(&door, act(path, body)).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, code), "{path} {body}");
        }
        let facts = door.bus.reader();
        let told: Vec<_> =
            (1..=4).filter_map(|n| facts.envelope(crate::store::Seq(n)).ok().flatten()).collect();
        let names: Vec<&str> = told.iter().map(|event| event.name.as_str()).collect();
        let moved = "tidegate.event.rescheduled";
        assert_eq!(names, ["order.placed", moved, moved, "tidegate.event.cancelled"]);
        let fact: Value = serde_json::from_slice(&told[1].data).expect("json");
        assert_eq!(
            (&fact["by"], &fact["reason"], &fact["event"]),
            (&json!("ann"), &json!("late"), &json!("a/b"))
        );
    });
}

#[test]
fn an_event_named_like_an_act_can_still_be_published() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let answer = ask(&door, act("/v1/events/cancel", "{}")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (202, &json!("accepted")));
    });
}

#[test]
fn schedules_are_listed() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let table = |cron: &str| {
            crate::cron::TimeTable::new(
                crate::cron::Cron::parse(cron).expect("cron"),
                crate::cron::Zone::utc(),
            )
        };
        let schedule = |name: &str, cron: &str| crate::bus::Schedule {
            name: name.to_owned(),
            event: crate::event::EventName::new("order.placed").expect("a name"),
            table: table(cron),
            missed: crate::bus::Missed::Skip,
            data: None,
            key: None,
        };
        door.bus.set_schedules(vec![schedule("z", "0 * * * *"), schedule("a", "0 0 1 1 *")]);
        site.running.idle().await;
        site.advance(Duration::from_hours(1)).await;

        let list = ask(&door, request(Method::GET, "/v1/schedules")).await.json();

        let z = json!({"name": "z", "event": "order.placed", "cron": "0 * * * *", "zone": "UTC",
            "missed": "skip", "last": "2026-03-31T09:00:00.000Z", "next": "2026-03-31T10:00:00.000Z"});
        assert_eq!((&list["items"][1], &list["next"]), (&z, &Value::Null));
        assert_eq!((&list["items"][0]["name"], &list["items"][0]["last"]), (&json!("a"), &Value::Null));
        assert_eq!(ask(&door, request(Method::GET, "/v1/schedules?x=1")).await.status, 400);
    });
}
