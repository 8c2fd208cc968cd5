//! Publishing: what is answered when the event is taken, and when it is not.

use actix_web::http::header::{LOCATION, RETRY_AFTER};

use super::*;
use crate::bus::{PublishError, QueryError};
use crate::store::StoreError;

fn keyed(id: &str, body: &str) -> TestRequest {
    plain(body).insert_header(("idempotency-key", format!("\"{id}\"")))
}

#[test]
fn an_event_on_disk_is_answered_with_its_place_and_that_leads_back_to_it() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let asked = plain(" {\"a\": 1.50} ")
            .insert_header(("idempotency-key", "\"a/b \\\"c\\\"\""))
            .insert_header(("tidegate-key", "k"))
            .insert_header(("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));

        let answer = ask(&door, asked).await;
        site.running.idle().await;
        let status = ask(&door, request(Method::GET, answer.header(LOCATION))).await;

        assert_eq!(answer.status, 202);
        assert_eq!(answer.header(LOCATION), "/v1/events/a%2Fb%20%22c%22?source=/http");
        assert_eq!(answer.header(RETRY_AFTER), "1");
        let told = answer.json();
        let flow = told["flow"].as_str().expect("a flow").to_owned();
        assert_eq!(
            told,
            json!({"id": "a/b \"c\"", "source": "/http", "flow": flow, "status": "accepted", "durability": "memory"})
        );
        let read = status.json();
        assert_eq!((&read["id"], &read["flow"]), (&told["id"], &told["flow"]));
        assert_eq!((&read["status"], &read["result"]), (&json!("done"), &json!("sent")));
        let event = door.bus.reader().envelope(crate::store::Seq(1)).expect("read").expect("an event");
        assert_eq!((event.data.as_ref(), event.key.as_str()), (b" {\"a\": 1.50} ".as_slice(), "k"));
        assert!(event.traceparent.is_some());
    });
}

#[test]
fn an_odd_id_gets_a_location_that_leads_back_to_it() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for id in [".", "..", "%2F", "a?b=c&d#e", "é 😀", "//", "+"] {
            let body =
                json!({"specversion": "1.0", "id": id, "source": "urn:x:%20", "type": "nobody.listens"});
            let event = request(Method::POST, "/v1/events")
                .insert_header((CONTENT_TYPE, "application/cloudevents+json"))
                .set_payload(body.to_string());
            let answer = ask(&door, event).await;
            let status = ask(&door, request(Method::GET, answer.header(LOCATION))).await;
            assert_eq!((status.status.as_u16(), &status.json()["id"]), (200, &json!(id)), "{id}");
            assert_eq!(status.json()["status"], "done", "nobody listens, so all is at rest");
        }
    });
}

#[test]
fn a_repeat_says_so_and_another_body_is_refused() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let first = ask(&door, keyed("1", "{}")).await;
        site.running.idle().await;

        let again = ask(&door, keyed("1", "{}")).await;
        let waited = ask(&door, keyed("1", "{}").insert_header(("prefer", "wait=1"))).await;
        let other = ask(&door, keyed("1", "{\"a\":1}")).await;

        assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (202, ""));
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"));
        assert_eq!(again.json(), first.json());
        assert_eq!((waited.status.as_u16(), waited.header("idempotency-replayed")), (200, "true"));
        assert_eq!((other.status.as_u16(), other.problem().as_str()), (422, "idempotency-key-reused"));
    });
}

#[test]
fn what_curl_sends_is_taken_when_it_is_json() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let form = |id: &str, body: &str| {
            let asked = request(Method::POST, "/v1/events/order.placed").set_payload(body.to_owned());
            asked
                .insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"))
                .insert_header(("idempotency-key", id.to_owned()))
        };

        let taken = ask(&door, form("1", "{\"a\":1}")).await;
        let as_json = ask(&door, keyed("1", "{\"a\":1}")).await;
        let real_form = ask(&door, form("2", "a=1&b=2")).await;
        let foreign = ask(&door, form("3", "{}").insert_header(("origin", "https://elsewhere"))).await;
        let own = form("4", "{}").insert_header(("origin", "http://bus:1")).insert_header(("host", "bus:1"));
        let own = ask(&door, own).await;
        let text = ask(&door, plain("{}").insert_header((CONTENT_TYPE, "text/plain"))).await;

        assert_eq!(taken.status, 202);
        assert_eq!(as_json.header("idempotency-replayed"), "true", "the two are one media type");
        assert_eq!((real_form.status.as_u16(), real_form.problem().as_str()), (400, "malformed"));
        assert!(real_form.json()["detail"].as_str().expect("a detail").ends_with("send one JSON value"));
        assert_eq!((foreign.status.as_u16(), foreign.problem().as_str()), (403, "cross-site"));
        assert_eq!(own.status, 202);
        assert_eq!((text.status.as_u16(), text.problem().as_str()), (415, "unsupported-media-type"));
        assert_eq!(
            text.json()["detail"],
            "the media type `text/plain` is not taken here; send the payload as `application/json` in UTF-8"
        );
    });
}

#[test]
fn batches_are_answered_in_order_and_may_be_empty() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { batch_max: 2, ..Settings::default() });
        let batch = |body: &str| {
            request(Method::POST, "/v1/events")
                .insert_header((CONTENT_TYPE, "application/cloudevents-batch+json"))
                .set_payload(body.to_owned())
        };
        let event = |id: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"a"}}"#);
        let (x, y) = (event("x"), event("y"));

        let two = ask(&door, batch(&format!("[{x},{y}]"))).await;
        let again = ask(&door, batch(&format!("[{x},{y}]"))).await;
        let none = ask(&door, batch("[]")).await;
        let bad = ask(&door, batch(&format!("[{},{}]", event("z"), event("")))).await;
        let many = ask(&door, batch(&format!("[{x},{x},{x}]"))).await;
        let not_stored = ask(&door, request(Method::GET, "/v1/events/z?source=/s")).await;

        assert_eq!((two.status.as_u16(), &two.json()["events"][1]["id"]), (202, &json!("y")));
        assert_eq!(two.header(RETRY_AFTER), "1");
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!((none.status.as_u16(), none.json()), (202, json!({"events": []})));
        assert_eq!((bad.status.as_u16(), &bad.json()["errors"][0]["pointer"]), (400, &json!("/1/id")));
        assert_eq!((many.status.as_u16(), many.problem().as_str()), (413, "batch-too-large"));
        assert_eq!(not_stored.status, 404);
    });
}

#[test]
fn refusals_of_the_bus_have_their_codes() {
    let name = |name: &str| crate::event::EventName::new(name).expect("a name");
    let (saturated, conflict) = (
        PublishError::Saturated { retry_after: Duration::from_millis(2500) },
        PublishError::Conflict { index: 0, id: "1".into(), source_name: "/s".into() },
    );
    let cases: [(HttpError, u16, &str, Option<u64>); 15] = [
        (saturated.into(), 503, "saturated", Some(3)),
        (PublishError::Starting.into(), 503, "not-ready", Some(1)),
        (PublishError::Draining.into(), 503, "draining", Some(5)),
        (PublishError::DiskFull { free: 1, reserve: 2 }.into(), 507, "disk-full", Some(30)),
        (conflict.into(), 422, "idempotency-key-reused", None),
        (PublishError::Reserved { name: name("tidegate.x") }.into(), 403, "reserved-name", None),
        (
            PublishError::ReservedSource { source_name: "/tidegate".to_owned() }.into(),
            422,
            "reserved-source",
            None,
        ),
        (PublishError::Unheard { name: name("a"), suggestion: None }.into(), 422, "unknown-event", None),
        (PublishError::TooMany { limit: 1 }.into(), 413, "batch-too-large", None),
        (PublishError::BadExpiry { text: "soon".into() }.into(), 400, "malformed", None),
        (PublishError::Stopped { cause: "disk".into() }.into(), 503, "stopped", Some(5)),
        (QueryError::NotFound { what: "x".into() }.into(), 404, "not-found", None),
        (QueryError::Gone { what: "x".into() }.into(), 410, "gone", None),
        (QueryError::Refused { why: "x".into() }.into(), 409, "refused", None),
        (QueryError::Saturated.into(), 503, "saturated", Some(1)),
    ];
    Site::new().run(async {
        for (error, status, code, retry_after) in cases {
            let error = error.with_instance("r1");
            let response = actix_web::ResponseError::error_response(&error);
            let (status_, headers) = (response.status(), response.headers().clone());
            let body = actix_web::body::to_bytes(response.into_body()).await.expect("a body").to_vec();
            let answer = Answer { status: status_, headers, body };
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, code));
            let expected = retry_after.map(|seconds| seconds.to_string()).unwrap_or_default();
            assert_eq!(answer.header(RETRY_AFTER), expected, "{code}");
            assert_eq!(answer.json()["retryable"], json!(retry_after.is_some()), "{code}");
        }
    });
}

#[test]
fn a_bus_that_drains_or_has_failed_takes_nothing_and_says_so() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for source in ["/tidegate", "/tidegate/pay"] {
            let event = json!({"specversion": "1.0", "id": "1", "source": source, "type": "order.placed", "data": {}});
            let forged = request(Method::POST, "/v1/events")
                .insert_header((CONTENT_TYPE, "application/cloudevents+json"))
                .set_payload(event.to_string());
            let forged = ask(&door, forged).await;
            assert_eq!((forged.status.as_u16(), forged.problem().as_str()), (422, "reserved-source"));
        }
        let reserved = ask(&door, plain("{}").uri("/v1/events/tidegate.x")).await;
        assert_eq!((reserved.status.as_u16(), reserved.problem().as_str()), (403, "reserved-name"));
        assert_eq!(ask(&door, request(Method::GET, "/ready")).await.status, 200);

        site.running.health().draining();
        let draining = ask(&door, plain("{}")).await;
        let ready = ask(&door, request(Method::GET, "/ready")).await;
        site.running.health().failed(StoreError::Poisoned { cause: "a test".into() });
        let stopped = ask(&door, plain("{}")).await;

        assert_eq!((draining.status.as_u16(), draining.problem().as_str()), (503, "draining"));
        assert_eq!(draining.header(RETRY_AFTER), "5");
        assert_eq!((ready.status.as_u16(), ready.problem().as_str()), (503, "not-ready"));
        assert_eq!((stopped.status.as_u16(), stopped.problem().as_str()), (503, "stopped"));
        assert_eq!(ask(&door, request(Method::GET, "/health")).await.status, 200);
    });
}

#[test]
fn prefer_wait_answers_with_the_status_when_the_flow_ends_in_time() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { look_again: kit::NEVER, ..Settings::default() });
        let held = || plain("{\"hold\":true}");

        let asked = ask(&door, held().insert_header(("prefer", "respond-async, Wait=600; x=y")));
        let ends = async {
            site.entered().await;
            site.let_go();
        };
        let (answer, ()) = tokio::join!(asked, ends);
        let late = ask(&door, held().insert_header(("prefer", "wait=0"))).await;

        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("done")));
        assert_eq!(answer.header("preference-applied"), "wait=60");
        assert!(answer.header(LOCATION).starts_with("/v1/events/"));
        assert_eq!((late.status.as_u16(), &late.json()["status"]), (202, &json!("accepted")));
    });
}

#[test]
fn a_key_that_is_not_the_events_own_is_refused() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let event = r#"{"specversion":"1.0","id":"x","source":"/s","type":"a"}"#;
        let posted = |kind: &str, body: &str, key: &str| {
            let asked = request(Method::POST, "/v1/events").set_payload(body.to_owned());
            asked.insert_header((CONTENT_TYPE, kind)).insert_header(("idempotency-key", key))
        };
        let (one, many) = ("application/cloudevents+json", "application/cloudevents-batch+json");

        let other = ask(&door, posted(one, event, "y")).await;
        let of_many = ask(&door, posted(many, &format!("[{event}]"), "x")).await;
        let stored = ask(&door, request(Method::GET, "/v1/events/x?source=/s")).await;
        let own = ask(&door, posted(one, event, "x")).await;

        for refused in [other, of_many] {
            assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (400, "malformed"));
            assert_eq!(refused.json()["errors"][0]["pointer"], "idempotency-key");
        }
        assert_eq!((stored.status.as_u16(), own.status.as_u16()), (404, 202));
    });
}

#[test]
fn a_plain_payload_is_json_in_utf8_and_no_cloudevent() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for (kind, remedy) in [
            ("application/json; charset=iso-8859-1", "as `application/json` in UTF-8"),
            ("application/xml", "as `application/json` in UTF-8"),
            ("application/cloudevents+json", "post CloudEvents to `/v1/events`"),
        ] {
            let asked = request(Method::POST, "/v1/events/order.placed").set_payload("{}");
            let refused = ask(&door, asked.insert_header((CONTENT_TYPE, kind))).await;

            assert_eq!(
                (refused.status.as_u16(), refused.problem().as_str()),
                (415, "unsupported-media-type")
            );
            assert!(refused.json()["detail"].as_str().expect("a detail").ends_with(remedy), "{kind}");
        }
    });
}

#[test]
fn a_traceparent_that_is_none_is_left_out() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for (seq, text) in (1..).zip(["00-1-2-01", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"])
        {
            let taken = ask(&door, plain("{}").insert_header(("traceparent", text))).await;
            site.running.idle().await;

            let event = door.bus.reader().envelope(crate::store::Seq(seq)).expect("read").expect("an event");
            assert_eq!((taken.status.as_u16(), event.traceparent.as_deref()), (202, None), "{text}");
        }
    });
}
