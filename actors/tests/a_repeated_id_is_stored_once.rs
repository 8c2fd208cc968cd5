//! The same source and id is one event, however often, from wherever and across which restart it comes.

mod support;

use serde_json::{Value, json};
use support::{Reply, Server, Site, open, purchase};

const BATCH: &str = "application/cloudevents-batch+json";

fn event(id: &str, amount: u64) -> Value {
    let data = purchase(id, "alice", amount);
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "purchase.submitted", "data": data})
}

fn batch(server: &Server, events: &[Value]) -> Reply {
    let body = Value::from(events).to_string();
    server.client().post("/v1/events").header("content-type", BATCH).body(body).send()
}

#[test]
fn a_hundred_publications_at_once_and_one_after_a_kill_are_one_event() {
    let site = Site::new();
    let server = site.start();
    open(&server, &["alice"], 100, &["world"]);

    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let post = || server.with_id("purchase.submitted", "o1", &purchase("o1", "alice", 30)).send();
        let callers: Vec<_> = (0..100).map(|_| scope.spawn(post)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    server.until_status("o1", "done");
    server.until_idle();
    server.kill();
    let server = site.start();
    let later = server.with_id("purchase.submitted", "o1", &purchase("o1", "alice", 30)).send();
    let other = server.with_id("purchase.submitted", "o1", &purchase("o1", "alice", 31)).send();
    let renamed = server.with_id("purchase.refused", "o1", &purchase("o1", "alice", 30)).send();
    server.until_idle();

    let fresh = replies.iter().filter(|reply| reply.header("idempotency-replayed").is_empty()).count();
    assert_eq!(fresh, 1, "exactly one of them was the first");
    for reply in replies.iter().chain([&later]) {
        assert_eq!((reply.status, reply.json()), (202, replies[0].json()));
        assert_eq!(reply.header("location"), replies[0].header("location"));
    }
    assert_eq!(later.header("idempotency-replayed"), "true");
    for reply in [other, renamed] {
        assert_eq!((reply.status, reply.problem().as_str()), (422, "idempotency-key-reused"));
    }
    let funds = server.funds("alice");
    assert_eq!((&funds["balance"], &funds["paid"]), (&json!(70), &json!(30)));
    let book = server.client().get_json("/v1/subscriptions/audit/state/alice");
    assert_eq!(book["by_name"]["purchase.submitted"]["count"], 1);
}

#[test]
fn a_batch_with_a_taken_id_is_refused_whole_and_a_repeated_batch_is_the_same_answer() {
    let site = Site::new();
    let server = site.start();
    open(&server, &["alice"], 100, &["world"]);

    let first = batch(&server, &[event("b1", 1), event("b2", 2), event("b3", 3)]);
    let again = batch(&server, &[event("b1", 1), event("b2", 2), event("b3", 3)]);
    let mixed = batch(&server, &[event("b4", 4), event("b2", 20), event("b5", 5)]);
    let broken = batch(&server, &[event("b6", 6), json!({"specversion": "1.0", "id": "b7"})]);
    let twice = batch(&server, &[event("b8", 8), event("b8", 8)]);
    let torn = batch(&server, &[event("b9", 9), event("b9", 10)]);
    server.until_idle();
    server.kill();
    let server = site.start();

    assert_eq!((first.status, again.status), (202, 202));
    let ids: Vec<Value> =
        first.json()["events"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids, ["b1", "b2", "b3"], "in order");
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!((mixed.status, mixed.problem().as_str()), (422, "idempotency-key-reused"));
    assert_eq!(mixed.json()["errors"][0]["pointer"], "/1", "{:?}", mixed.json());
    assert_eq!((broken.status, broken.problem().as_str()), (400, "malformed"));
    assert!(broken.json()["errors"][0]["pointer"].as_str().unwrap().starts_with("/1"), "{}", broken.json());
    assert_eq!(twice.status, 202, "the same event twice in a batch is one: {twice:?}");
    assert_eq!(torn.status, 422, "{torn:?}");
    let known = |id: &str| server.client().get(&format!("/v1/events/{id}?source=/shop")).send().status;
    assert_eq!(["b1", "b2", "b3", "b8"].map(known), [200; 4]);
    assert_eq!(["b4", "b5", "b6", "b7", "b9"].map(known), [404; 5], "nothing of a refused batch is stored");
    assert_eq!(server.funds("alice")["paid"], 1 + 2 + 3 + 8);
}

#[test]
fn an_id_belongs_to_its_source() {
    let site = Site::new();
    let server = site.start();
    let mut others = event("o1", 1);
    others["source"] = json!("/desk");

    let shop = batch(&server, &[event("o1", 1)]);
    let desk = batch(&server, &[others]);
    let plain = server.with_id("purchase.submitted", "o1", &purchase("o1", "alice", 9)).send();

    let flows =
        [&shop.json()["events"][0], &desk.json()["events"][0], &plain.json()].map(|e| e["flow"].clone());
    assert_ne!(flows[0], flows[1]);
    assert_ne!(flows[0], flows[2]);
    assert_eq!([shop.status, desk.status, plain.status], [202; 3]);
    assert!([&shop, &desk, &plain].iter().all(|reply| reply.header("idempotency-replayed").is_empty()));
}

#[test]
fn time_does_not_make_another_event_but_key_and_subject_do() {
    let site = Site::new();
    let server = site.start();
    let with = |name: &str, value: &str| {
        let mut event = event("o1", 1);
        event[name] = json!(value);
        event
    };

    let first = batch(&server, &[event("o1", 1)]);
    let timed = batch(&server, &[with("time", "2020-01-01T00:00:00Z")]);
    let keyed = batch(&server, &[with("partitionkey", "bob")]);
    let about = batch(&server, &[with("subject", "x")]);
    let typed = batch(&server, &[with("datacontenttype", "application/vnd.a+json")]);

    assert_eq!([&first, &timed].map(|reply| reply.status), [202; 2]);
    assert_eq!(timed.header("idempotency-replayed"), "true");
    assert_eq!([&keyed, &about, &typed].map(|reply| reply.status), [422; 3]);
}
