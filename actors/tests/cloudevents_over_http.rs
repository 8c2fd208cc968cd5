//! CloudEvents 1.0 over HTTP: what is taken, how it is stored, and what is refused with what status.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use serde_json::{Value, json};
use support::{Client, Reply, Site};

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn structured(client: &Client, media: &str, body: &str) -> Reply {
    client.post("/v1/events").header("content-type", media).body(body).send()
}

/// Headers that are changed, the body, and the status that is due.
type Case = (&'static [(&'static str, &'static str)], &'static str, u16);

/// Binary mode with these headers instead of, or beside, the required ones. An empty value leaves one out.
fn binary(client: &Client, id: &str, change: &[(&str, &str)], body: &str) -> Reply {
    let mut headers = vec![
        ("ce-specversion", "1.0"),
        ("ce-id", id),
        ("ce-source", "/t"),
        ("ce-type", "t.binary"),
        ("content-type", "application/json"),
    ];
    for (name, value) in change {
        headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    let mut request = client.post("/v1/events");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(body).send()
}

/// An event as JSON with these members set; `null` stays, `"-"` takes it away.
fn event(id: &str, change: &Value) -> String {
    let mut event = json!({"specversion": "1.0", "id": id, "source": "/t", "type": "t.structured"});
    for (name, value) in change.as_object().unwrap() {
        if value == "-" {
            event.as_object_mut().unwrap().remove(name);
        } else {
            event[name] = value.clone();
        }
    }
    event.to_string()
}

#[test]
fn structured_events_are_taken_or_refused_as_the_standard_says() {
    let site = Site::new();
    let server = site.start();
    let client = server.client();

    for (n, (change, status)) in [
        (json!({}), 202),
        (json!({"data": {"a": 1}}), 202),
        (json!({"data": [1, "x", null]}), 202),
        (json!({"data": "text", "datacontenttype": "text/plain"}), 202),
        (json!({"data_base64": "AAEC"}), 202),
        (json!({"subject": null, "time": null}), 202),
        (json!({"time": "2026-11-24T10:00:00+02:00"}), 202),
        (json!({"source": "//github.com/cloudevents"}), 202),
        (json!({"source": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"}), 202),
        (json!({"dataschema": "https://example.com/schema"}), 202),
        (json!({"partitionkey": "k", "correlationid": "f", "causationid": "c"}), 202),
        (json!({"myextension": "x", "number1": 7, "flag": true}), 202),
        (json!({"id": "-"}), 400),
        (json!({"type": "-"}), 400),
        (json!({"source": "-"}), 400),
        (json!({"specversion": "-"}), 400),
        (json!({"id": null}), 400),
        (json!({"id": ""}), 400),
        (json!({"source": ""}), 400),
        (json!({"type": ""}), 400),
        (json!({"id": 7}), 400),
        (json!({"specversion": "2.0"}), 400),
        (json!({"specversion": "0.3"}), 400),
        (json!({"time": "yesterday"}), 400),
        (json!({"time": "2026-13-40T00:00:00Z"}), 400),
        (json!({"source": "a b c %%"}), 400),
        (json!({"dataschema": "not absolute"}), 400),
        (json!({"data": 1, "data_base64": "AAEC"}), 400),
        (json!({"data_base64": "no base64!"}), 400),
        (json!({"data_base64": 5}), 400),
        (json!({"bad_name": "x"}), 400),
        (json!({"Upper": "x"}), 400),
        (json!({"nested": {"a": 1}}), 400),
        (json!({"type": "Not A Name"}), 400),
        (json!({"type": "tidegate.mine"}), 403),
        (json!({"subject": ""}), 400),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("s{n}");
        let reply = structured(client, ONE, &event(&id, &change));
        assert_eq!(reply.status, status, "{change}: {}", String::from_utf8_lossy(&reply.body));
        if status == 202 {
            let receipt = reply.json();
            assert_eq!(receipt["id"], id);
            let known = client.get_json(reply.header("location"));
            assert_eq!((&known["source"], &known["name"]), (&receipt["source"], &json!("t.structured")));
            assert_eq!(receipt["source"], *change.get("source").unwrap_or(&json!("/t")));
        } else {
            reply.problem();
            assert_ne!(client.get(&format!("/v1/events/{id}?source=/t")).send().status, 200, "{change}");
        }
    }
}

#[test]
fn media_types_say_how_the_body_is_read() {
    let site = Site::new();
    let server = site.start();
    let client = server.client();
    let one = |id: &str| event(id, &json!({}));

    for (id, media, body, status) in [
        ("m1", "Application/CloudEvents+JSON", one("m1"), 202),
        ("m2", "application/cloudevents+json; charset=utf-8", one("m2"), 202),
        ("m3", "application/cloudevents+json;charset=\"UTF-8\"", one("m3"), 202),
        ("m4", "application/cloudevents+json; charset=latin1", one("m4"), 415),
        ("m5", "application/cloudevents+xml", one("m5"), 415),
        ("m6", "application/json", one("m6"), 415),
        ("m7", "text/plain", one("m7"), 415),
        ("m8", ONE, format!("[{}]", one("m8")), 400),
        ("m9", BATCH, one("m9"), 400),
        ("m10", ONE, "{\"id\":".to_owned(), 400),
        ("m11", ONE, String::new(), 400),
        ("m12", ONE, format!("{} x", one("m12")), 400),
        ("m13", BATCH, format!("[{}]", one("m13")), 202),
    ] {
        let reply = structured(client, media, &body);
        assert_eq!(reply.status, status, "{media} {body}: {}", String::from_utf8_lossy(&reply.body));
        let known = client.get(&format!("/v1/events/{id}?source=/t")).send().status;
        assert_eq!(known, if status == 202 { 200 } else { 404 }, "{media} {body}");
        if status != 202 {
            reply.problem();
        }
    }
    let empty = structured(client, BATCH, "[]");
    assert_eq!((empty.status, empty.json()), (202, json!({"events": []})));
    let many = format!("[{}]", vec![one("x"); 1001].join(","));
    let many = structured(client, BATCH, &many);
    assert_eq!((many.status, many.problem().as_str()), (413, "batch-too-large"));
    let doubled = format!("{{\"id\":\"d1\",{}", &one("d2")[1..]);
    assert_eq!(structured(client, ONE, &doubled).status, 400, "an attribute that is given twice");
}

#[test]
fn binary_events_are_taken_or_refused_as_the_standard_says() {
    let site = Site::new();
    let server = site.start();
    let client = server.client();

    let cases: &[Case] = &[
        (&[], "{\"a\":1}", 202),
        (&[], "{broken", 202),
        (&[], "", 202),
        (&[("content-type", "text/plain")], "any \u{1F600} text", 202),
        (&[("content-type", "")], "opaque", 202),
        (&[("ce-subject", "Euro%20%E2%82%AC")], "{}", 202),
        (&[("ce-subject", "\"a b\"")], "{}", 202),
        (&[("ce-othervalue", "{\"othervalue\": 5}")], "{}", 202),
        (&[("ce-time", "2026-11-24T10:00:00Z")], "{}", 202),
        (&[("ce-source", "//github.com/x")], "{}", 202),
        (&[("ce-partitionkey", "k1")], "{}", 202),
        (&[("ce-id", "")], "{}", 400),
        (&[("ce-source", "")], "{}", 400),
        (&[("ce-type", "")], "{}", 400),
        (&[("ce-specversion", "2.0")], "{}", 400),
        (&[("ce-subject", "%C0%A0")], "{}", 400),
        (&[("ce-subject", "%FF")], "{}", 400),
        (&[("ce-bad_name-x", "x")], "{}", 400),
        (&[("ce-datacontenttype", "application/json")], "{}", 400),
        (&[("ce-time", "noon")], "{}", 400),
        (&[("ce-source", "a b c %%")], "{}", 400),
        (&[("ce-type", "tidegate.mine")], "{}", 403),
    ];
    for (n, (change, body, status)) in cases.iter().enumerate() {
        let id = format!("b{n}");
        let reply = binary(client, &id, change, body);
        assert_eq!(reply.status, *status, "{change:?}: {}", String::from_utf8_lossy(&reply.body));
        if *status == 202 {
            assert_eq!(client.get_json(reply.header("location"))["id"], id);
        } else {
            reply.problem();
            assert_ne!(client.get(&format!("/v1/events/{id}?source=/t")).send().status, 200, "{change:?}");
        }
    }
    let blank = client
        .post("/v1/events")
        .header("ce-specversion", "1.0")
        .header("ce-id", "\"\"")
        .header("ce-source", "/t")
        .header("ce-type", "t.binary");
    assert_eq!(blank.body("{}").send().status, 400, "an id must not be empty");
}

#[test]
fn what_one_mode_stores_the_other_repeats() {
    let site = Site::new();
    let server = site.start();
    let client = server.client();
    let said = json!({"subject": "Euro € \"q\"", "partitionkey": "k 1", "data": {"a": 1}});
    let percent = [
        ("ce-subject", "Euro%20%E2%82%AC%20%22q%22"),
        ("ce-partitionkey", "k%201"),
        ("ce-type", "t.structured"),
    ];
    let quoted = [
        ("ce-subject", "\"Euro %E2%82%AC \\\"q\\\"\""),
        ("ce-partitionkey", "\"k 1\""),
        ("ce-type", "t.structured"),
    ];
    let raw = [("ce-subject", "Euro%20%2520"), ("ce-partitionkey", "k%201"), ("ce-type", "t.structured")];

    let first = structured(client, ONE, &event("e1", &said));
    let again = binary(client, "e1", &percent, "{\"a\":1}");
    let once_more = binary(client, "e1", &quoted, "{\"a\":1}");
    let other = binary(client, "e1", &raw, "{\"a\":1}");
    let plain = client.post("/v1/events/t.plain").header("idempotency-key", "p1").header("tidegate-key", "k");
    let plain = plain.json(&json!({"a": 1})).send();
    let same = json!({"source": "/http", "type": "t.plain", "partitionkey": "k", "data": {"a": 1}});
    let same = structured(client, ONE, &event("p1", &same));

    assert_eq!(first.status, 202, "{first:?}");
    for reply in [&again, &once_more, &same] {
        assert_eq!((reply.status, reply.header("idempotency-replayed")), (202, "true"), "{reply:?}");
    }
    assert_eq!(plain.status, 202);
    assert_eq!(other.status, 422, "decoded once, not twice: {other:?}");
}
