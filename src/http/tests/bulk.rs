//! Bulk: acts on many dead letters, their jobs, and the audit.

use actix_web::http::header::LOCATION;

use super::*;

/// So many dead letters, each of a key of its own.
async fn dead(site: &Site, door: &Door, count: usize) {
    for n in 1..=count {
        let event = plain(r#"{"todo":"die"}"#).insert_header(("tidegate-key", format!("k{n}")));
        assert_eq!(ask(door, event.insert_header(("idempotency-key", format!("o{n}")))).await.status, 202);
    }
    site.running.idle().await;
}

fn bulk(act: &str, body: &Value) -> TestRequest {
    request(Method::POST, &format!("/v1/dead-letters/{act}"))
        .insert_header(("tidegate-operator", "ann"))
        .set_payload(body.to_string())
}

async fn read(door: &Door, path: &str) -> Value {
    let answer = ask(door, request(Method::GET, path)).await;
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.json());
    answer.json()
}

#[test]
fn a_bulk_act_is_a_job_that_is_watched_at_its_location() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        dead(&site, &door, 5).await;

        let accepted =
            ask(&door, bulk("skip", &json!({"all": true, "reason": "paid by hand", "rate": "2/s"}))).await;
        let location = accepted.header(LOCATION).to_owned();
        site.running.idle().await;
        let job = read(&door, &location).await;
        assert_eq!(accepted.status, 202);
        assert_eq!(location, format!("/v1/jobs/{}", accepted.json()["id"].as_str().expect("an id")));
        assert_eq!(
            (&job["state"], &job["act"], &job["rate"]),
            (&json!("running"), &json!("skip"), &json!("2/s"))
        );
        assert_eq!((&job["by"], &job["reason"]), (&json!("ann"), &json!("paid by hand")));
        assert_eq!(job["counts"], json!({"matched": 5, "done": 1, "refused": 0, "gone": 0}));

        let stopped = ask(&door, request(Method::POST, &format!("{location}/stop"))).await;
        site.advance(Duration::from_mins(1)).await;
        assert_eq!((stopped.status.as_u16(), &stopped.json()["state"]), (200, &json!("stopped")));
        assert_eq!(read(&door, "/v1/jobs?state=stopped").await["items"][0]["counts"]["done"], 1);
        assert_eq!(read(&door, "/v1/jobs?state=running").await["items"], json!([]));
        let resumed = ask(&door, request(Method::POST, &format!("{location}/resume"))).await;
        assert_eq!(resumed.json()["state"], "running");
        for _ in 0..10 {
            site.advance(Duration::from_millis(500)).await;
        }

        let job = read(&door, &location).await;
        assert_eq!((&job["state"], &job["counts"]["done"]), (&json!("finished"), &json!(5)));
        assert!(job["finished"].is_string());
        assert_eq!(ask(&door, request(Method::POST, &format!("{location}/stop"))).await.status, 409);
        let page = read(&door, &format!("{location}/items?limit=3")).await;
        let cursor = page["next"].as_str().expect("a cursor");
        let rest = read(&door, &format!("{location}/items?limit=3&cursor={cursor}")).await;
        assert_eq!((page["items"][2]["n"].as_u64(), rest["items"][0]["n"].as_u64()), (Some(3), Some(4)));
        assert_eq!((&rest["items"][0]["done"], &rest["items"][0]["event"]), (&json!(true), &json!("o4")));
        assert_eq!(rest["next"], Value::Null);
        assert_eq!(read(&door, "/v1/dead-letters").await["items"], json!([]));
    });
}

#[test]
fn a_dry_run_answers_how_many_and_starts_nothing() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        dead(&site, &door, 3).await;

        let said = ask(&door, bulk("retry", &json!({"all": true, "dry_run": true}))).await;
        let one = ask(&door, bulk("skip", &json!({"key": "k2", "dry_run": true}))).await;
        site.running.idle().await;

        let body = said.json();
        assert_eq!(
            (said.status.as_u16(), &body["dry_run"], &body["matched"]),
            (200, &json!(true), &json!(3))
        );
        assert_eq!((&body["groups"][0]["count"], &body["items"][0]["event"]), (&json!(3), &json!("o1")));
        assert_eq!((one.status.as_u16(), &one.json()["matched"]), (200, &json!(1)));
        assert_eq!(read(&door, "/v1/jobs").await["items"], json!([]));
        let group = body["groups"][0]["group"].as_str().expect("a group");
        let alike = ask(&door, bulk("retry", &json!({"group": group, "dry_run": true}))).await;
        assert_eq!(alike.json()["matched"], 3);
    });
}

#[test]
fn a_bulk_act_says_what_it_is_for() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        dead(&site, &door, 1).await;

        for (act, body, status, part) in [
            ("retry", json!({}), 400, "/all"),
            ("retry", json!({"all": false, "reason": "x"}), 400, "/all"),
            ("skip", json!({"all": true}), 400, "/reason"),
            ("skip", json!({"all": true, "reason": "x", "at": "2030-01-01T00:00:00Z"}), 400, "/at"),
            ("retry", json!({"all": true, "rate": 0}), 400, "/rate"),
            ("retry", json!({"all": true, "rate": "fast"}), 400, "/rate"),
            ("retry", json!({"since": "yesterday"}), 400, "/since"),
            ("retry", json!({"dead_reason": "odd"}), 400, "/dead_reason"),
            ("retry", json!({"group": "odd"}), 400, "/group"),
            ("retry", json!({"key": "k".repeat(1_025)}), 400, "/key"),
            ("retry", json!({"all": true, "reason": "x".repeat(1_001)}), 400, "/reason"),
            ("retry", json!({"subscripton": "work"}), 400, "subscripton"),
            ("retry", json!({"subscription": "wrok"}), 404, "wrok"),
        ] {
            let answer = ask(&door, bulk(act, &body)).await;
            let said = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
            assert_eq!(answer.status.as_u16(), status, "{body}: {said}");
            answer.problem();
            assert!(said.contains(part), "{body}: {said}");
        }
        assert_eq!(read(&door, "/v1/jobs").await["items"], json!([]));
        assert_eq!(ask(&door, bulk("retry", &json!({"all": true, "rate": 5}))).await.json()["rate"], "5/s");
    });
}

#[test]
fn a_bulk_retry_may_be_for_later() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        dead(&site, &door, 2).await;

        let job = ask(&door, bulk("retry", &json!({"all": true, "after": "5m"}))).await.json();
        site.running.idle().await;
        let waiting = read(&door, "/v1/events/o1").await;
        site.advance(Duration::from_mins(5)).await;

        assert!(job["at"].is_string());
        assert_eq!((&waiting["dead"], &waiting["deliveries"][0]["state"]), (&json!(0), &json!("waiting")));
        assert_eq!(read(&door, "/v1/events/o1").await["deliveries"][0]["attempts"], 2);
    });
}

#[test]
fn the_audit_lists_who_did_what() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        dead(&site, &door, 2).await;
        let letters = read(&door, "/v1/dead-letters").await;
        let id = letters["items"][0]["id"].as_str().expect("an id").to_owned();
        let skip = request(Method::POST, &format!("/v1/dead-letters/{id}/skip"))
            .insert_header(("tidegate-operator", "ann"))
            .set_payload(r#"{"reason":"paid by hand"}"#);
        assert_eq!(ask(&door, skip).await.status, 200);

        let by_ann = read(&door, "/v1/audit?by=ann&name=tidegate.dead_letter.skipped").await;
        let fact = &by_ann["items"][0];
        assert_eq!(
            (&fact["by"], &fact["reason"], &fact["about"]),
            (&json!("ann"), &json!("paid by hand"), &json!(id))
        );
        assert_eq!(fact["data"]["before"]["state"], "dead");
        let deaths = read(&door, "/v1/audit?name=tidegate.delivery.dead&limit=1").await;
        assert_eq!(deaths["items"][0]["data"]["event"], "o2", "the newest first");
        let cursor = deaths["next"].as_str().expect("a cursor");
        let older =
            read(&door, &format!("/v1/audit?name=tidegate.delivery.dead&limit=1&cursor={cursor}")).await;
        assert_eq!(older["items"][0]["data"]["event"], "o1");
        assert_eq!(read(&door, "/v1/audit?until=2020-01-01T00:00:00Z").await["items"], json!([]));
    });
}

#[test]
fn what_there_is_none_of_or_cannot_be_read_is_refused() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());

        for (method, path, status, code) in [
            (Method::GET, "/v1/dead-letters/retry", 405, "method-not-allowed"),
            (Method::GET, "/v1/jobs?state=odd", 400, "malformed"),
            (Method::GET, "/v1/jobs/none", 404, "not-found"),
            (Method::GET, "/v1/jobs/none/items", 404, "not-found"),
            (Method::POST, "/v1/jobs/none/stop", 404, "not-found"),
            (Method::GET, "/v1/audit?since=yesterday", 400, "malformed"),
            (Method::GET, "/v1/audit?cursor=odd", 400, "malformed"),
        ] {
            let answer = ask(&door, request(method, path)).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (status, code), "{path}");
        }
    });
}
