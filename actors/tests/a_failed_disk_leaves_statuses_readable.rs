//! With `store.on_failure = "read_only"` a server whose disk has failed takes and runs nothing any more, says so, and
//! tells what is on disk; without it, it ends. Either way nothing that was acknowledged is lost, and nothing else is
//! told. The disk is made to fail by a limit of zero bytes on the files that the process may write.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say what they skip"
)]

mod support;

use std::process::Command;

use serde_json::json;
use support::{Server, Site, until};

/// From now on every write of the server to a file fails. `false`: this machine has not what it takes.
fn fail_the_disk(server: &Server) -> bool {
    let pid = server.id().to_string();
    let done = Command::new("prlimit").args(["--pid", &pid, "--fsize=0:0"]).status();
    done.is_ok_and(|status| status.success())
}

#[test]
fn a_failed_disk_is_told_and_what_is_on_disk_can_be_read() {
    let site = Site::new().set("store.on_failure", "read_only").ignoring("XFSZ");
    let server = site.start();
    support::open(&server, &["a"], 1_000, &["world"]);
    server.buy("o1", "a", 10);
    server.until_status("o1", "done");
    server.until_idle();
    if !fail_the_disk(&server) {
        eprintln!("skipped: there is no prlimit here");
        return;
    }

    let data = support::purchase("o2", "a", 10);
    let lost = server.with_id("purchase.submitted", "o2", &data).send();

    assert_eq!(lost.status, 503, "{:?}", lost.json());
    let ready = until("it says that it is read only", || {
        let ready = server.client().get("/ready").send();
        if ready.status == 503 { Ok(ready) } else { Err(ready.status.to_string()) }
    });
    assert!(
        ready.json()["detail"].as_str().unwrap().contains("tells statuses as they are on disk"),
        "{:?}",
        ready.json()
    );
    assert_eq!(server.client().get("/health").send().status, 200);
    // What was acknowledged is told; what nobody was told of is not.
    assert_eq!(server.status("o1")["result"]["outcome"], "completed");
    assert_eq!(server.client().get("/v1/events/o2?source=%2Fhttp").send().status, 404);
    assert_eq!(server.funds("a")["balance"], json!(990));
    assert_eq!(server.client().get("/v1/dead-letters").send().status, 200);
    let metrics = server.client().get("/metrics").send();
    assert!(String::from_utf8_lossy(&metrics.body).contains("tidegate_store_failed 1"));
    let again = server.with_id("purchase.submitted", "o3", &support::purchase("o3", "a", 1)).send();
    assert_eq!(again.status, 503);
    let paused = server.client().post("/v1/bus/pause").json(&json!({ "reason": "t" })).send();
    assert!(paused.status >= 500, "{}", paused.status);

    assert!(!server.stop().0.success());
    let server = site.start();
    assert_eq!(server.status("o1")["status"], "done");
    server.with_id("purchase.submitted", "o2", &data).send();
    server.until_status("o2", "done");
}

#[test]
fn by_default_the_process_ends_and_a_restart_has_everything() {
    let site = Site::new().ignoring("XFSZ");
    let server = site.start();
    support::open(&server, &["a"], 1_000, &["world"]);
    if !fail_the_disk(&server) {
        eprintln!("skipped: there is no prlimit here");
        return;
    }

    let data = support::purchase("o1", "a", 10);
    drop(server.with_id("purchase.submitted", "o1", &data).try_send());

    assert!(!server.wait().success());
    let server = site.start();
    assert_eq!(server.funds("a")["balance"], json!(1_000));
    server.with_id("purchase.submitted", "o1", &data).send();
    server.until_status("o1", "done");
}
