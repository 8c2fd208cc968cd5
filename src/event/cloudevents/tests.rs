//! The receiver against the specification: a table of inputs, the official scenarios, round trips.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::event::{Envelope, EventName, Label, Timestamp};

const JSON: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn structured(body: &str) -> Result<Draft, Refusal> {
    match receive(Some(JSON), [], &Bytes::copy_from_slice(body.as_bytes()), 100)? {
        Received::One(draft) => Ok(*draft),
        Received::Batch(_) => panic!("a batch"),
    }
}

fn batch(body: &str) -> Result<Vec<Draft>, Refusal> {
    match receive(Some(BATCH), [], &Bytes::copy_from_slice(body.as_bytes()), 3)? {
        Received::Batch(drafts) => Ok(drafts),
        Received::One(_) => panic!("one event"),
    }
}

/// An event with the required attributes and `more` members.
fn with(more: &str) -> Result<Draft, Refusal> {
    structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"a.b"{more}}}"#))
}

/// A binary event with the required headers, of which `headers` replace or add some.
fn binary(headers: &[(&str, &[u8])], content_type: Option<&str>, body: &str) -> Result<Draft, Refusal> {
    let mut all: Vec<(&str, &[u8])> =
        vec![("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"a.b")];
    all.retain(|(name, _)| !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    all.extend_from_slice(headers);
    match receive(content_type, all, &Bytes::copy_from_slice(body.as_bytes()), 100)? {
        Received::One(draft) => Ok(*draft),
        Received::Batch(_) => panic!("a batch"),
    }
}

fn assert_malformed(refusal: &Refusal, pointer: &str, case: &str) {
    assert_eq!(refusal.class, Class::Malformed, "{case}");
    assert!(refusal.problems.iter().any(|p| p.pointer == pointer), "{case}: {refusal:?} lacks {pointer}");
}

#[test]
fn structured_events_that_are_wrong_are_refused_with_the_place() {
    for (more, pointer) in [
        (r#","time":"yesterday""#, "/time"),
        (r#","time":"2026-03-31""#, "/time"),
        (r#","time":"2026-03-31 14:05:09Z""#, "/time"),
        (r#","time":"2026-02-30T14:05:09Z""#, "/time"),
        (r#","time":"2026-03-31T14:05:09[Europe/Berlin]""#, "/time"),
        (r#","time":"2026-03-31T14:05:09.Z""#, "/time"),
        (r#","time":7"#, "/time"),
        (r#","time":"1969-12-31T23:59:59Z""#, "/time"),
        (r#","deliverat":"soon""#, "/deliverat"),
        (r#","data":1,"data_base64":"AA==""#, "/data"),
        (r#","data":1,"data":2"#, "/data"),
        (r#","data_base64":"***""#, "/data_base64"),
        (r#","data_base64":"AA""#, "/data_base64"),
        (r#","data_base64":{}"#, "/data_base64"),
        (r#","datacontenttype":"text/plain","data":{}"#, "/data"),
        (r#","datacontenttype":"text""#, "/datacontenttype"),
        (r#","datacontenttype":"""#, "/datacontenttype"),
        (r#","dataschema":"schema.json""#, "/dataschema"),
        (r#","dataschema":"""#, "/dataschema"),
        (r#","subject":"""#, "/subject"),
        (r#","subject":"a\u0000b""#, "/subject"),
        (r#","subject":"a\uFFFEb""#, "/subject"),
        (r#","subject":["x"]"#, "/subject"),
        (r#","partitionkey":"""#, "/partitionkey"),
        (r#","Upper":"x""#, "/Upper"),
        (r#","bad_name":"x""#, "/bad_name"),
        (r#","a/b":"x""#, "/a~1b"),
        (r#","":"x""#, "/"),
        (r#","ext":{}"#, "/ext"),
        (r#","ext":1.5"#, "/ext"),
        (r#","ext":1e3"#, "/ext"),
        (r#","ext":2147483648"#, "/ext"),
        (r#","ext":"x","ext":"x""#, "/ext"),
        (r#","id":"2""#, "/id"),
    ] {
        assert_malformed(&with(more).expect_err(more), pointer, more);
    }
}

#[test]
fn required_attributes_are_present_and_not_empty() {
    for (body, pointers) in [
        ("{}", vec!["/specversion", "/id", "/source", "/type"]),
        (r#"{"specversion":"1.0","source":"/s","type":"a"}"#, vec!["/id"]),
        (r#"{"specversion":"1.0","id":null,"source":"/s","type":"a"}"#, vec!["/id"]),
        (r#"{"specversion":"1.0","id":"","source":"/s","type":"a"}"#, vec!["/id"]),
        (r#"{"specversion":"1.0","id":7,"source":"/s","type":"a"}"#, vec!["/id"]),
        (r#"{"specversion":"2.0","id":"1","source":"/s","type":"a"}"#, vec!["/specversion"]),
        (r#"{"specversion":1.0,"id":"1","source":"/s","type":"a"}"#, vec!["/specversion"]),
        (
            r#"{"specversion":"0.3","id":"","source":"","type":"A"}"#,
            vec!["/specversion", "/id", "/source", "/type"],
        ),
    ] {
        let refusal = structured(body).expect_err(body);
        let found: Vec<&str> = refusal.problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(found, pointers, "{body}");
    }
}

#[test]
fn bodies_that_are_no_event_are_refused() {
    for body in ["", "{", "[]", "7", "null", "\"x\"", "{\"id\":}", "{} {}", "\u{feff}{}"] {
        let refusal = structured(body).expect_err(body);
        assert_malformed(&refusal, "", body);
    }
    let not_text =
        receive(Some(JSON), [], &Bytes::from_static(b"{\"id\":\"\xff\"}"), 1).expect_err("not UTF-8");
    assert_malformed(&not_text, "", "not UTF-8");
}

#[test]
fn sources_are_uri_references() {
    for good in [
        "/s",
        "s",
        "//github.com/cloudevents",
        "https://a.b:80/c?d=e#f",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "mailto:cncf@cncf.io",
        "//[::1]:8080/x",
        "#f",
        "?q",
        "./a:b",
        "1-555-123-4567",
        "http://u:p@h/",
        "a%20b",
        "//",
    ] {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"{good}","type":"a"}}"#);
        assert_eq!(structured(&body).expect(good).source, good);
    }
    for bad in [
        "a b c %%",
        "%",
        "%zz",
        "a\\\\b",
        "é",
        "a#b#c",
        "1a:b",
        "http://[::1",
        "http://h:port/",
        "//a@b@c/",
        "/[x]",
        "<a>",
    ] {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"{bad}","type":"a"}}"#);
        assert_malformed(&structured(&body).expect_err(bad), "/source", bad);
    }
}

#[test]
fn data_stays_the_bytes_it_came_as() {
    for (more, data) in [
        (r#","data": {"b" : 1.50, "a":[ ]} "#, r#"{"b" : 1.50, "a":[ ]}"#),
        (r#","data":"text""#, r#""text""#),
        (r#","data":"text","datacontenttype":"application/json""#, r#""text""#),
        (r#","data":"{\"a\":1}","datacontenttype":"application/vnd.x+json; v=1""#, r#""{\"a\":1}""#),
        (r#","datacontenttype":"text/plain","data":"a \"b\" \u00e9""#, "a \"b\" é"),
        (r#","datacontenttype":"text/xml","data":"<x/>""#, "<x/>"),
        (r#","data_base64":"aGVsbG8=""#, "hello"),
        (r#","data_base64":null,"data":7"#, "7"),
        (r#","data":null,"data_base64":"aGVsbG8=""#, "hello"),
        (r#","data":null"#, "null"),
        (r#","data":null,"datacontenttype":"text/plain""#, ""),
        ("", ""),
        (r#","data":123456789012345678901234567890.10"#, "123456789012345678901234567890.10"),
    ] {
        assert_eq!(with(more).expect(more).data, data, "{more}");
    }
}

#[test]
fn data_is_cut_out_of_the_body_without_a_copy() {
    let body =
        Bytes::from_static(br#"{"specversion":"1.0","id":"1","source":"/s","type":"a","data":{"a":1}}"#);

    let received = receive(Some(JSON), [], &body, 1).expect("an event");

    let Received::One(draft) = received else { panic!("a batch") };
    assert!(body.as_ptr_range().contains(&draft.data.as_ptr()));
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!(r#","data":{}{}"#, "[".repeat(depth), "]".repeat(depth));

    assert!(with(&nested(DEPTH_MAX)).is_ok());
    assert_malformed(&with(&nested(DEPTH_MAX + 1)).expect_err("too deep"), "/data", "too deep");
    assert!(with(r#","data":"[[[\"[[[""#).is_ok());
    let deepest = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    assert!(
        serde_json::from_str::<serde_json::Value>(&deepest).is_ok(),
        "the limit is no higher than the decoder's"
    );
    assert!(check_json(format!("[{deepest}]").as_bytes()).is_err());
}

#[test]
fn attributes_find_their_places() {
    let draft = with(
        r#","subject":"x","time":"2026-03-31T16:05:09.25+02:00","datacontenttype":"application/json",
            "dataschema":"https://h/s#1","partitionkey":"k","correlationid":"f","causationid":"c",
            "deliverat":"2026-03-31T14:05:10z","traceparent":"00-a-b-01","expirytime":"2027-01-01T00:00:00Z",
            "int":-7,"zero":-0,"yes":true,"no":false,"gone":null,"averyveryverylongname":"x","empty":"""#,
    )
    .expect("an event");

    assert_eq!(draft.time, Some(Timestamp(1_774_965_909_250)));
    assert_eq!(draft.due, Some(Timestamp(1_774_965_910_000)));
    assert_eq!(draft.subject.as_deref(), Some("x"));
    assert_eq!(draft.schema.as_deref(), Some("https://h/s#1"));
    assert_eq!((draft.key.as_deref(), draft.flow.as_deref()), (Some("k"), Some("f")));
    assert_eq!((draft.causation.as_deref(), draft.traceparent.as_deref()), (Some("c"), Some("00-a-b-01")));
    let extensions: Vec<(&str, &str)> =
        draft.extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        extensions,
        [
            ("averyveryverylongname", "x"),
            ("empty", ""),
            ("expirytime", "2027-01-01T00:00:00Z"),
            ("int", "-7"),
            ("no", "false"),
            ("yes", "true"),
            ("zero", "0"),
        ]
    );
}

#[test]
fn ids_are_any_legal_text() {
    for id in ["a/b c?%é#", "..", "😀", "a\\\"b", "   ", &"x".repeat(IDENTIFIER_MAX)] {
        let body = format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"a"}}"#);
        assert!(structured(&body).is_ok(), "{id}");
    }
    let long = format!(
        r#"{{"specversion":"1.0","id":"{}","source":"/s","type":"a"}}"#,
        "x".repeat(IDENTIFIER_MAX + 1)
    );
    assert_malformed(&structured(&long).expect_err("long"), "/id", "long");
}

#[test]
fn extensions_have_a_limit() {
    use std::fmt::Write as _;
    let many = |n: usize| {
        (0..n).fold(String::new(), |mut text, i| {
            write!(text, r#","e{i}":"x""#).expect("a string");
            text
        })
    };

    assert_eq!(with(&many(EXTENSIONS_MAX)).expect("at the limit").extensions.len(), EXTENSIONS_MAX);
    assert_malformed(&with(&many(EXTENSIONS_MAX + 1)).expect_err("over"), "/e64", "over");
    assert_malformed(&with(&many(500)).expect_err("far over"), "", "far over");
    let heavy = format!(r#","heavy":"{}""#, "x".repeat(EXTENSION_BYTES_MAX));
    assert_malformed(&with(&heavy).expect_err("heavy"), "/heavy", "heavy");
}

#[test]
fn binary_header_values_are_unquoted_then_decoded_once() {
    for (value, decoded) in [
        (&b"plain"[..], "plain"),
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        (b"%61%62", "ab"),
        (b"%2520", "%20"),
        (b"\"a b\"", "a b"),
        (br#""a \"b\" \\ c""#, r#"a "b" \ c"#),
        (b"\"%41\"", "A"),
        (br#"{"othervalue": 5}"#, r#"{"othervalue": 5}"#),
        (br#""a" or "b""#, r#""a" or "b""#),
        (b"\"", "\""),
        (b"%22a%22", "\"a\""),
        ("é".as_bytes(), "é"),
    ] {
        let draft = binary(&[("ce-subject", value)], None, "").expect(decoded);
        assert_eq!(draft.subject.as_deref(), Some(decoded));
    }
}

#[test]
fn binary_events_that_are_wrong_are_refused_with_the_header() {
    for (header, value) in [
        ("ce-id", &b""[..]),
        ("ce-id", b"\"\""),
        ("ce-type", b"Not A Name"),
        ("ce-source", b"a b c %25%25"),
        ("ce-source", b"/a%20b"),
        ("ce-specversion", b"0.3"),
        ("ce-time", b"yesterday"),
        ("ce-subject", b"%C0%A0"),
        ("ce-subject", b"%ff"),
        ("ce-subject", b"\xff"),
        ("ce-subject", b"100%"),
        ("ce-subject", b"%00"),
        ("ce-bad_name-x", b"x"),
        ("ce-", b"x"),
        ("ce-data", b"x"),
        ("ce-datacontenttype", b"application/json"),
    ] {
        let refusal = binary(&[(header, value)], Some("application/json"), "{}").expect_err(header);
        assert_malformed(&refusal, header, header);
    }
    let twice = binary(&[("ce-a", b"1"), ("CE-A", b"1")], None, "").expect_err("twice");
    assert_malformed(&twice, "ce-a", "twice");
    let lonely = receive(None, [("ce-subject", &b"x"[..])], &Bytes::new(), 1).expect_err("lonely");
    assert_eq!(lonely.problems.len(), 4);
}

#[test]
fn binary_data_is_the_body_whatever_it_is() {
    let draft =
        binary(&[("Ce-Ext", b"5"), ("x-other", b"\xff")], Some(" text/plain; charset=utf-8"), "{broken 😀")
            .expect("an event");

    assert_eq!(draft.data, "{broken 😀");
    assert_eq!(draft.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(draft.extensions, BTreeMap::from([("ext".to_owned(), "5".to_owned())]));
    assert_eq!(binary(&[], None, "").expect("no data").content_type, None);
}

#[test]
fn media_types_know_no_case_and_unknown_ones_are_415() {
    let event = Bytes::from_static(br#"{"specversion":"1.0","id":"1","source":"/s","type":"a"}"#);
    for good in [
        "Application/CloudEvents+JSON",
        "application/cloudevents+json; charset=UTF-8",
        "application/cloudevents+json ;x=1",
    ] {
        assert!(matches!(receive(Some(good), [], &event, 1), Ok(Received::One(_))), "{good}");
    }
    for good in [BATCH, "APPLICATION/cloudevents-BATCH+json;charset=\"utf-8\""] {
        assert_eq!(
            receive(Some(good), [], &Bytes::from_static(b"[]"), 1),
            Ok(Received::Batch(Vec::new())),
            "{good}"
        );
    }
    for bad in [
        Some("application/cloudevents+avro"),
        Some("application/cloudevents-batch+xml"),
        Some("application/cloudevents"),
        Some("application/cloudevents+json; charset=utf-16"),
        Some("application/json"),
        Some("text/plain"),
        Some(""),
        None,
    ] {
        let refusal = receive(bad, [("accept", &b"*/*"[..])], &event, 1).expect_err("unknown");
        assert_eq!(refusal.class, Class::UnsupportedMediaType, "{bad:?}");
    }
}

#[test]
fn the_media_type_decides_the_mode_before_the_headers() {
    let event = Bytes::from_static(br#"{"specversion":"1.0","id":"body","source":"/s","type":"a"}"#);

    let received = receive(Some(JSON), [("ce-id", &b"header"[..])], &event, 1);

    assert!(matches!(received, Ok(Received::One(draft)) if draft.id.as_deref() == Some("body")));
}

#[test]
fn a_batch_is_taken_whole_or_told_all_its_problems() {
    let event = |id: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"a"}}"#);

    let good = batch(&format!(" [{}, {}] ", event("1"), event("2"))).expect("two events");
    let bad = batch(&format!("[{}, 7, {}]", event(""), event("3"))).expect_err("two problems");
    let many =
        batch(&format!("[{}]", [event("1"), event("2"), event("3"), event("4")].join(","))).expect_err("4");

    assert_eq!(good.iter().map(|d| d.id.as_deref()).collect::<Vec<_>>(), [Some("1"), Some("2")]);
    assert_eq!(bad.problems.iter().map(|p| p.pointer.as_str()).collect::<Vec<_>>(), ["/0/id", "/1"]);
    assert_eq!(many.class, Class::TooMany);
    assert_eq!(batch("{}").expect_err("an object").class, Class::Malformed);
}

/// The events of the official conformance suite (HTTP feature and `v1` events), in both modes.
#[test]
fn the_conformance_scenarios_pass() {
    let draft = binary(
        &[
            ("ce-id", b"4321-4321-4321-a"),
            ("ce-type", b"example.type.a"),
            ("ce-source", b"//github.com/cloudevents/conformance/yaml/v1"),
            ("ce-subject", b"SUBJECT-1"),
            ("ce-time", b"2018-04-05T03:56:24Z"),
            ("ce-dataschema", b"http://example.com/dataschema"),
            ("ce-example1", br#"{"othervalue": 5}"#),
            ("ce-example2", b"5"),
        ],
        Some("text/plain"),
        "🌍 Hello, 世界",
    )
    .expect("the binary event");
    let minimum = structured(
        r#"{"specversion":"1.0","id":"1","source":"https://github.com/x","type":"io.cloudevents.minimum","data":"😉"}"#,
    )
    .expect("the structured event");

    assert_eq!(draft.source, "//github.com/cloudevents/conformance/yaml/v1");
    assert_eq!(draft.extensions["example1"], r#"{"othervalue": 5}"#);
    assert_eq!(draft.data, "🌍 Hello, 世界");
    assert_eq!(minimum.data, "\"😉\"");
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 1..20)
        .prop_map(|chars| {
            chars.into_iter().filter(|c| values::check_text(&c.to_string()).is_ok()).collect::<String>()
        })
        .prop_filter("not empty", |text| !text.is_empty())
}

fn payload() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    prop_oneof![
        (
            proptest::option::of(Just("application/json".to_owned())),
            any::<(i32, String)>().prop_map(|v| serde_json::to_vec(&v).expect("JSON"))
        ),
        (
            proptest::option::of(Just("application/json".to_owned())),
            proptest::collection::vec(any::<u8>(), 0..40)
        ),
        (Just(Some("text/plain".to_owned())), ".{0,40}".prop_map(String::into_bytes)),
        (Just(Some("application/octet-stream".to_owned())), proptest::collection::vec(any::<u8>(), 0..40)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_the_same(
        (id, key, flow) in (text(), text(), text()),
        (subject, causation) in (proptest::option::of(text()), proptest::option::of(text())),
        time in 0..253_402_300_799_999_u64,
        extensions in proptest::collection::btree_map("x[a-z0-9]{1,19}", text(), 0..5),
        (content_type, data) in payload(),
    ) {
        let (source, name) = ("//host/s".into(), EventName::new("a.b").expect("a name"));
        let label = Label { id, source, name, time: Timestamp(time), key, flow, causation };
        let event = Envelope {
            subject, content_type, schema: Some("urn:s".into()), extensions, ..Envelope::new(label, data.into())
        };

        let written = String::from_utf8(to_structured(&event)).expect("text");
        let read = structured(&written).expect("an event");

        prop_assert_eq!(read.id.as_ref(), Some(&event.id));
        prop_assert_eq!(read.time, Some(event.time));
        prop_assert_eq!(read.key.as_ref(), Some(&event.key));
        prop_assert_eq!(read.flow.as_ref(), Some(&event.flow));
        prop_assert_eq!((&read.subject, &read.causation), (&event.subject, &event.causation));
        prop_assert_eq!(&read.extensions, &event.extensions);
        prop_assert_eq!(&read.content_type, &event.content_type);
        let is_json = values::is_json(event.content_type.as_deref()) && check_json(&event.data).is_ok();
        let expected = if is_json { event.data.trim_ascii() } else { &event.data[..] };
        prop_assert_eq!(&read.data[..], expected);
    }

    #[test]
    fn nothing_that_comes_in_makes_the_receiver_panic(
        content_type in proptest::option::of(prop_oneof![Just(JSON.to_owned()), Just(BATCH.to_owned()), ".{0,20}"]),
        headers in proptest::collection::vec(("ce-[a-z]{0,12}|.{0,6}", proptest::collection::vec(any::<u8>(), 0..12)), 0..6),
        body in prop_oneof![proptest::collection::vec(any::<u8>(), 0..60), "[\\[\\]{}\",:a-z0-9 ]{0,40}".prop_map(String::into_bytes)],
    ) {
        let pairs: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        if let Err(refusal) = receive(content_type.as_deref(), pairs, &body.into(), 4) {
            prop_assert!(!refusal.problems.is_empty());
        }
    }
}
