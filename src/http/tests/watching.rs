//! Watching: polls, long polls and streams of a flow that moves.

use actix_web::http::header::{ETAG, RETRY_AFTER};

use super::kit::{NEVER, open};
use super::*;

/// Nothing but what the bus tells wakes who waits.
fn told_only() -> Settings {
    Settings { look_again: NEVER, ..Settings::default() }
}

fn get() -> TestRequest {
    request(Method::GET, "/v1/events/1")
}

fn follow() -> TestRequest {
    get().insert_header(("accept", "text/event-stream"))
}

async fn publish(door: &Door, id: &str, body: &str) {
    let answer = ask(door, plain(body).insert_header(("idempotency-key", id))).await;
    assert_eq!(answer.status, 202);
}

async fn steer(door: &Door, verb: &str) {
    let answer = ask(door, request(Method::POST, &format!("/v1/subscriptions/work/{verb}"))).await;
    assert_eq!(answer.status, 200);
}

/// Waits for the status to be another than the one of `tag`.
async fn news(door: &Door, tag: &str) -> Answer {
    ask(door, get().insert_header(("if-none-match", tag.to_owned())).insert_header(("prefer", "wait=50")))
        .await
}

#[test]
fn a_status_that_is_known_is_not_sent_again() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        steer(&door, "pause").await;
        publish(&door, "1", "{}").await;

        let first = ask(&door, get()).await;
        let tag = first.header(ETAG).to_owned();
        let same = ask(&door, get().insert_header(("if-none-match", format!("\"x\", W/{tag}")))).await;
        let head = ask(&door, request(Method::HEAD, "/v1/events/1")).await;

        assert_eq!((first.status.as_u16(), first.header(RETRY_AFTER)), (200, "1"));
        assert_eq!(first.json()["status"], "accepted");
        assert_eq!((same.status.as_u16(), same.body.len(), same.header(ETAG)), (304, 0, tag.as_str()));
        assert_eq!(head.header(ETAG), tag);
    });
}

#[test]
fn a_long_poll_is_told_when_the_attempt_starts_and_of_every_change_to_the_end() {
    let site = Site::new();
    site.run(async {
        let door = site.door(told_only());
        steer(&door, "pause").await;
        publish(&door, "1", r#"{"hold":true,"todo":"retry"}"#).await;
        let accepted = ask(&door, get()).await;

        let (started, ()) = tokio::join!(news(&door, accepted.header(ETAG)), steer(&door, "resume"));
        assert_eq!(started.json()["status"], "processing");
        assert_eq!(started.json()["deliveries"][0]["state"], "inflight");
        assert_eq!(started.json()["deliveries"][0]["attempts"], 1);

        site.let_go();
        let mut seen = started;
        while seen.json()["deliveries"][0]["state"] != "waiting" {
            seen = news(&door, seen.header(ETAG)).await;
        }
        assert_eq!(seen.json()["deliveries"][0]["error"], "not now");

        site.let_go();
        let (_, ()) = tokio::join!(news(&door, seen.header(ETAG)), site.advance(Duration::from_secs(2)));
        let ended = ask(&door, get()).await;
        assert_eq!((&ended.json()["status"], ended.header(RETRY_AFTER)), (&json!("failed"), ""));
        assert_eq!(ended.json()["deliveries"][0]["state"], "dead");
    });
}

#[test]
fn a_long_poll_notices_that_another_flow_holds_its_key() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { look_again: Duration::from_millis(10), ..Settings::default() });
        let keyed = |id: &str, body: &str| {
            plain(body).insert_header(("idempotency-key", id.to_owned())).insert_header(("tidegate-key", "k"))
        };
        ask(&door, keyed("0", r#"{"todo":"retry"}"#)).await;
        ask(&door, keyed("1", "{}")).await;
        site.running.idle().await;

        let asked = ask(&door, get().insert_header(("prefer", "wait=50")));
        let dies = async {
            // By then the poll has most likely read what it waits to see changed.
            for _ in 0..20 {
                door.bus.status("/http", "1").await.expect("a status");
            }
            site.advance(Duration::from_secs(2)).await;
        };
        // At the end of its wait it would be read once more.
        let before = Duration::from_secs(30);
        let (answer, ()) =
            tokio::time::timeout(before, async { tokio::join!(asked, dies) }).await.expect("news in time");

        assert_eq!(answer.json()["status"], "failed");
        assert_eq!(answer.json()["deliveries"][0]["state"], "parked");
        assert_eq!((&answer.json()["open"], &answer.json()["dead"]), (&json!(1), &json!(0)));
    });
}

#[test]
fn a_door_that_closes_keeps_nobody_waiting() {
    let site = Site::new();
    site.run(async {
        let door = site.door(told_only());
        publish(&door, "1", r#"{"hold":true}"#).await;
        site.entered().await;
        let wait = || get().insert_header(("prefer", "wait=50"));

        let closes = async { door.close() };
        let (before, ()) = tokio::join!(ask(&door, wait()), closes);
        let after = ask(&door, wait()).await;
        let stream = ask(&door, follow()).await;

        assert_eq!((before.status.as_u16(), after.status.as_u16()), (200, 200));
        assert_eq!(before.json()["status"], "processing");
        assert!(String::from_utf8_lossy(&stream.body).contains("event: status"));
    });
}

/// The kinds of messages in a stream, and the ids it gave.
fn messages(text: &str) -> (Vec<&str>, Vec<u64>) {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let ids =
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().expect("a number"));
    (kinds, ids.collect())
}

#[test]
fn a_stream_tells_all_that_has_happened_and_goes_on_where_it_broke_off() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        publish(&door, "1", r#"{"todo":"retry"}"#).await;
        site.running.idle().await;
        site.advance(Duration::from_secs(2)).await;

        let whole = String::from_utf8(ask(&door, follow()).await.body).expect("text");
        let (kinds, ids) = messages(&whole);
        let since = |id: u64| ask(&door, follow().insert_header(("last-event-id", id.to_string())));
        let rest = String::from_utf8(since(ids[0]).await.body).expect("text");
        let nothing = String::from_utf8(since(ids[ids.len() - 1]).await.body).expect("text");
        let odd = ask(&door, follow().insert_header(("last-event-id", "odd"))).await;

        assert!(whole.starts_with("retry: 1000\n\n"), "{whole}");
        assert_eq!(kinds, ["event", "attempt", "attempt", "status"]);
        assert!(ids.is_sorted() && !ids.is_empty(), "{ids:?}");
        assert!(whole.contains("\"status\":\"failed\"") && whole.contains("not now"), "{whole}");
        assert_eq!(messages(&rest).0, ["attempt", "attempt", "status"], "{rest}");
        assert_eq!(messages(&nothing).0, ["status"], "{nothing}");
        assert_eq!((odd.status.as_u16(), odd.problem().as_str()), (400, "malformed"));
    });
}

#[test]
fn a_stream_shows_an_attempt_that_runs_and_ends_with_the_flow() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { heartbeat: NEVER, ..told_only() });
        steer(&door, "pause").await;
        publish(&door, "1", r#"{"hold":true}"#).await;
        let mut stream = open(&door, follow()).await;
        assert_eq!(stream.next().await.as_deref(), Some("retry: 1000\n\n"));
        let first = stream.next().await.expect("a piece");

        let (running, ()) = tokio::join!(stream.next(), steer(&door, "resume"));
        site.let_go();
        let mut rest = String::new();
        while let Some(piece) = stream.next().await {
            rest.push_str(&piece);
        }

        assert!(first.contains("\"status\":\"accepted\""), "{first}");
        assert!(
            running.as_deref().is_some_and(|text| text.contains("\"state\":\"inflight\"")),
            "{running:?}"
        );
        assert!(rest.contains("event: attempt") && rest.contains("\"status\":\"done\""), "{rest}");
    });
}

#[test]
fn a_silent_stream_gives_signs_of_life() {
    let site = Site::new();
    site.run(async {
        let beat = Duration::from_millis(5);
        let door = site.door(Settings { heartbeat: beat, ..Settings::default() });
        steer(&door, "pause").await;
        publish(&door, "1", "{}").await;
        let mut stream = open(&door, follow()).await;
        let _begin = (stream.next().await, stream.next().await);

        assert_eq!(stream.next().await.as_deref(), Some(": alive\n\n"));
        assert_eq!(stream.next().await.as_deref(), Some(": alive\n\n"));
    });
}

#[test]
fn streams_are_bounded() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { max_streams: 0, ..Settings::default() });
        publish(&door, "1", "{}").await;

        let refused = ask(&door, follow()).await;
        let unknown = ask(&site.door(Settings::default()), follow().uri("/v1/events/2")).await;

        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (503, "saturated"));
        assert_eq!(refused.header(RETRY_AFTER), "15");
        assert_eq!((unknown.status.as_u16(), unknown.problem().as_str()), (404, "not-found"));
    });
}

#[test]
fn a_stream_that_the_client_leaves_makes_room_for_the_next() {
    use std::io::{BufRead as _, BufReader};
    const FOLLOW: &[u8] = b"GET /v1/events/1 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
    let site = Site::new();
    site.run(async {
        let settings = Settings { workers: Some(1), max_streams: 1, heartbeat: NEVER, ..told_only() };
        let door = site.door(settings);
        steer(&door, "pause").await;
        publish(&door, "1", "{}").await;

        let first_line = |stream: &std::net::TcpStream| {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).expect("a line");
            line
        };
        let (first, second, rounds) = over_tcp(door, move |address| {
            let open = connect(address, FOLLOW);
            let first = first_line(&open);
            let second = first_line(&connect(address, FOLLOW));
            drop(open);
            let rounds =
                (0..10_000).take_while(|_| !first_line(&connect(address, FOLLOW)).contains(" 200 ")).count();
            (first, second, rounds)
        })
        .await;

        assert!(first.contains(" 200 ") && second.contains(" 503 "), "{first} {second}");
        assert!(rounds < 10_000, "the first stream was never closed");
    });
}

#[test]
fn a_flow_is_shown_whole_and_has_a_tag() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        publish(&door, "1", "{}").await;
        site.running.idle().await;
        let flow = ask(&door, get()).await.json()["flow"].as_str().expect("a flow").to_owned();
        let get = || request(Method::GET, &format!("/v1/flows/{flow}"));

        let whole = ask(&door, get()).await;
        let same = ask(&door, get().insert_header(("if-none-match", whole.header(ETAG).to_owned()))).await;
        let unknown = ask(&door, request(Method::GET, "/v1/flows/odd")).await;

        let told = whole.json();
        for field in ["flow", "status", "result", "events", "pending"] {
            assert!(told.get(field).is_some(), "{field}");
        }
        for field in ["id", "source", "name", "causation", "time", "deliveries"] {
            assert!(told["events"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(told["events"][0]["deliveries"][0]["history"][0]["outcome"], "done");
        assert_eq!(same.status, 304);
        assert_eq!((unknown.status.as_u16(), unknown.problem().as_str()), (404, "not-found"));
    });
}
