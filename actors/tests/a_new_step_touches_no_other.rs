//! A step that is bound later: one more table in the wiring, and nothing else changes, on disk or running.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Server, Site, open, purchase};

fn extra(site: &Site, from: &str) {
    let table = format!(
        "\n[subscription.extra]\nstep = \"audit\"\non = [\"purchase.completed\"]\nfrom = \"{from}\"\n"
    );
    let file = site.config().join("local.toml");
    fs::write(file, table).unwrap();
}

fn buy(server: &Server, orders: std::ops::Range<u64>) {
    for n in orders {
        let status = server.done("purchase.submitted", &purchase(&format!("o{n}"), "alice", 1));
        assert_eq!(status["result"]["outcome"], "completed");
    }
    server.until_idle();
}

/// How many completed purchases the extra step has seen.
fn seen(server: &Server) -> u64 {
    let reply = server.client().get("/v1/subscriptions/extra/state/alice").send();
    if reply.status == 404 {
        0
    } else {
        reply.json()["by_name"]["purchase.completed"]["count"].as_u64().unwrap()
    }
}

fn restart(server: Server, site: &Site) -> Server {
    assert!(server.stop().0.success());
    let server = site.start();
    server.until_idle();
    server
}

/// What the others have done, for a look at whether it has changed.
fn others(server: &Server) -> Vec<Value> {
    let kept = ["check_funds", "audit"];
    let states = kept.map(|name| server.client().get_json(&format!("/v1/subscriptions/{name}/state/alice")));
    let dead = Value::from(server.dead_letters(""));
    states.into_iter().chain([dead]).collect()
}

#[test]
fn a_table_more_is_all_it_takes_and_it_sees_what_comes() {
    let site = Site::new().own_config();
    let server = site.start();
    open(&server, &["alice"], 100, &["world"]);
    buy(&server, 0..3);
    let before = others(&server);

    extra(&site, "now");
    let server = restart(server, &site);
    let (after, at_first) = (others(&server), seen(&server));
    buy(&server, 3..5);

    assert_eq!(after, before, "nobody else was moved by it");
    assert_eq!((at_first, seen(&server)), (0, 2), "from now on");
    let view = server.subscription("extra");
    assert_eq!((&view["state"], &view["on"]), (&json!("running"), &json!(["purchase.completed"])));
}

#[test]
fn one_that_asks_for_the_start_sees_what_was_before_it() {
    let site = Site::new().own_config();
    let server = site.start();
    open(&server, &["alice"], 100, &["world"]);
    buy(&server, 0..3);

    extra(&site, "start");
    let server = restart(server, &site);
    let caught_up = seen(&server);
    buy(&server, 3..4);
    let server = restart(server, &site);

    assert_eq!(caught_up, 3);
    assert_eq!(seen(&server), 4, "and none a second time");
}

#[test]
fn one_that_is_taken_away_keeps_its_backlog_and_goes_on_when_it_is_back() {
    let site = Site::new().own_config();
    extra(&site, "now");
    let server = site.start();
    open(&server, &["alice"], 100, &["world"]);
    let paused = server.client().post("/v1/subscriptions/extra/pause").send();
    for n in 0..4 {
        server.buy(&format!("b{n}"), "alice", 1);
        server.until_status(&format!("b{n}"), "done");
    }
    assert_eq!((paused.status, &server.subscription("extra")["backlog"]), (200, &json!(4)));

    fs::remove_file(site.config().join("local.toml")).unwrap();
    assert!(server.stop().0.success());
    let server = site.start();
    let orphaned = server.subscription("extra");
    let meanwhile = server.done("purchase.submitted", &purchase("meanwhile", "alice", 1));
    extra(&site, "now");
    assert!(server.stop().0.success());
    let server = site.start();
    let back = server.subscription("extra");
    assert_eq!(server.client().post("/v1/subscriptions/extra/resume").send().status, 200);
    server.until_idle();

    assert_eq!((&orphaned["state"], &orphaned["backlog"]), (&json!("orphaned"), &json!(4)));
    assert_eq!(meanwhile["result"]["outcome"], "completed", "nobody waits for what is orphaned");
    assert_eq!(back["state"], "paused", "a person has paused it, a person resumes it");
    assert!(seen(&server) >= 4, "the backlog was kept: {}", seen(&server));
}
