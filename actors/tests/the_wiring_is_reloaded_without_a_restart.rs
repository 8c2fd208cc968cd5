//! A running server takes another wiring: by SIGHUP, by the command line, and from the files by itself when it
//! was told to. What is wrong with the files changes nothing and is said.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use support::{Server, Site, open, until};

const NOTIFY: &str = "[subscription.notify]\nstep = \"notify\"\non = [\"purchase.completed\", \"purchase.refused\", \"purchase.refund_completed\"]\n";

fn topology(site: &Site) -> String {
    fs::read_to_string(site.config().join("topology.toml")).unwrap()
}

fn write(site: &Site, text: &str) {
    fs::write(site.config().join("topology.toml"), text).unwrap();
}

fn edit(site: &Site, from: &str, to: &str) {
    let text = topology(site);
    assert!(text.contains(from), "{from}");
    write(site, &text.replacen(from, to, 1));
}

fn hang_up(server: &Server) {
    let sent = Command::new("kill").arg("-HUP").arg(server.id().to_string()).status().unwrap();
    assert!(sent.success());
}

fn state(server: &Server, name: &str) -> Value {
    let page = server.client().get_json("/v1/subscriptions");
    let found = page["items"].as_array().unwrap().iter().find(|item| item["name"] == name).cloned();
    found.unwrap_or_default()
}

fn until_state(server: &Server, name: &str, wanted: &str) -> Value {
    until(&format!("{name} is {wanted}"), || {
        let now = state(server, name);
        if now["state"] == wanted { Ok(now) } else { Err(format!("{now}, {}", server.log())) }
    })
}

#[test]
fn the_command_line_shows_the_difference_and_then_applies_it() {
    let site = Site::new().own_config();
    let server = site.start();
    open(&server, &["a"], 1_000, &["world"]);
    edit(&site, "concurrency = 64                    # it mostly waits", "concurrency = 3 # it mostly waits");
    edit(&site, "[subscription.audit]", "[subscription.ledger]");
    edit(&site, "latency = \"0s\"", "latency = \"1ms\"");

    let dry = server.run(&["reload", "--dry-run"]);
    let before = state(&server, "ledger");
    let real = server.run(&["reload", "--reason", "a new ledger", "--by", "ann"]);
    let again = server.run(&["reload", "--json"]);

    assert_eq!((dry.code, real.code, again.code), (Some(0), Some(0), Some(0)), "{dry:?} {real:?}");
    for line in [
        "+ ledger: step audit, on purchase.>",
        "~ pay: concurrency 64 -> 3",
        "- audit: orphaned, backlog 0, dead letters 0 stay",
        "! needs a restart: app.bank.latency \"0s\" -> \"1ms\"",
    ] {
        assert!(dry.stdout.contains(line) && real.stdout.contains(line), "{line}: {dry:?} {real:?}");
    }
    assert!(dry.stdout.starts_with("this would change") && before.is_null(), "{dry:?}");
    assert!(real.stdout.starts_with("the wiring is reloaded"), "{real:?}");
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&again["applied"], &again["needs_restart"][0]["key"]),
        (&json!(false), &json!("app.bank.latency"))
    );
    assert!(server.log().contains("by=\"ann\""), "{}", server.log());
    server.buy("o1", "a", 10);
    server.until_status("o1", "done");
    server.until_idle();
    assert_eq!(state(&server, "audit")["state"], "orphaned");
    let book = server.client().get_json("/v1/subscriptions/ledger/state/a");
    assert!(book["events"].as_u64().unwrap() >= 5, "{book}");
}

#[test]
fn a_hang_up_reloads_and_a_config_with_errors_is_told_and_kept_out() {
    let site = Site::new().own_config();
    let server = site.start();
    let whole = topology(&site);

    edit(&site, "[subscription.notify]", "[subscription.tell]");
    hang_up(&server);
    until_state(&server, "tell", "running");
    assert_eq!(state(&server, "notify")["state"], "orphaned");

    edit(&site, "step = \"refund\"", "step = \"refnud\"");
    let refused = server.client().post("/v1/reload").json(&json!({"reason": "by test"})).send();
    assert_eq!(refused.status, 422, "{refused:?}");
    let problem = refused.json();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("config-refused"), &json!(false)));
    assert!(problem["detail"].as_str().unwrap().contains("unknown step `refnud`"), "{problem:#}");
    assert!(problem["errors"][0]["pointer"].as_str().unwrap().contains("topology.toml:"), "{problem:#}");
    hang_up(&server);
    until("the log tells of it", || {
        let log = server.log();
        let told = log.matches("the config is refused").count();
        if told >= 2 { Ok(()) } else { Err(log) }
    });
    assert_eq!(state(&server, "refund")["state"], "running");
    let cli = server.run(&["reload"]);
    assert_eq!(cli.code, Some(1), "{cli:?}");
    assert!(cli.stderr.contains("refnud"), "{cli:?}");

    write(&site, &whole);
    hang_up(&server);
    until_state(&server, "notify", "running");
    assert_eq!(state(&server, "tell")["state"], "orphaned");
    assert!(server.stop().0.success(), "a hang-up does not end it");
}

#[test]
fn the_files_are_watched_when_it_is_wished_and_nothing_is_taken_away_by_that() {
    let site = Site::new().own_config().set("reload.watch", "true");
    let server = site.start();
    let whole = topology(&site);
    let step = "[subscription.second]\nstep = \"notify\"\non = [\"purchase.completed\"]\n";

    // As an editor does it: in pieces, the first of which is no config.
    write(&site, &format!("{whole}[subscription.sec"));
    write(&site, &format!("{whole}{step}"));
    until_state(&server, "second", "running");

    // A file that was cut short is a config without the rest.
    let cut = &whole[..whole.find("[subscription.notify]").unwrap()];
    write(&site, cut);
    until("it is refused", || {
        let log = server.log();
        if log.contains("the files name no more: ") { Ok(()) } else { Err(log) }
    });
    for name in ["second", "notify", "audit", "restore_bank"] {
        assert_eq!(state(&server, name)["state"], "running", "{name}");
    }

    // When it is meant, a person says so.
    write(&site, &format!("{cut}{NOTIFY}"));
    assert_eq!(server.run(&["reload"]).code, Some(0));
    assert_eq!(
        (&state(&server, "second")["state"], &state(&server, "notify")["state"]),
        (&json!("orphaned"), &json!("running"))
    );
}
