//! Whatever is wrong is said with its place and its remedy, and with an exit code.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Finished, Server, Site, open, purchase, tidegate, until};

#[track_caller]
fn says(finished: &Finished, code: i32, texts: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:#?}");
    for text in texts {
        assert!(finished.stderr.contains(text), "{text:?} is not in {finished:#?}");
    }
    assert!(!finished.stderr.contains("panicked"), "{finished:#?}");
}

fn edit(site: &Site, from: &str, to: &str) -> usize {
    let file = site.config().join("topology.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&file, text.replacen(from, to, 1)).unwrap();
    text.lines().position(|line| line.contains(from)).unwrap() + 1
}

#[test]
fn a_typo_in_the_wiring_is_told_with_file_line_and_what_was_meant() {
    for (from, to, told) in [
        ("step = \"pay\"", "step = \"pya\"", ["unknown step", "pay"]),
        ("concurrency = 64 ", "concurency = 64 ", ["concurency", "concurrency"]),
    ] {
        let site = Site::new().own_config();
        let line = edit(&site, from, to);
        let place = format!("topology.toml:{line}:");

        let checked = site.run(&["check"]);
        let served = site.refused();

        says(&checked, 1, &[&place, told[0], told[1]]);
        says(&served, 1, &[&place, told[0], told[1]]);
        assert_eq!(served.stdout, "", "nothing listens");
        assert!(!site.data().exists(), "nothing was touched");
    }
    let site = Site::new().own_config();
    let line = edit(&site, "latency = \"0s\"", "latency = \"soon\"");
    let table = format!("topology.toml:{}:", line - 1);
    says(&site.run(&["check"]), 1, &[&table, "[app.bank]", "\"soon\" is not a duration", "`latency`"]);
}

#[test]
fn every_problem_of_the_config_is_told_at_once_and_as_json_for_scripts() {
    let site = Site::new().own_config();
    let first = edit(&site, "step = \"check_account\"", "step = \"chekc_account\"");
    let second = edit(&site, "step = \"refund\"", "step = \"refnud\"");

    let checked = site.run(&["check"]);
    let json = site.run(&["check", "--json"]);

    says(&checked, 1, &[&format!(":{first}:"), &format!(":{second}:"), "check_account", "refund"]);
    let problems: Value = serde_json::from_str(&json.stdout).unwrap();
    let lines: Vec<Value> =
        problems["errors"].as_array().unwrap().iter().map(|e| e["line"].clone()).collect();
    assert!(lines.contains(&json!(first)) && lines.contains(&json!(second)), "{problems:#}");
    assert_eq!(Site::new().run(&["check"]).code, Some(0));
}

#[test]
fn a_setting_that_does_not_exist_or_does_not_fit_is_told_wherever_it_comes_from() {
    for (key, value, told) in [
        ("http.bnid", "127.0.0.1:0", "bind"),
        ("http.max_body", "1 MeB", "max_body"),
        ("store.engine", "seld", "sled"),
        ("http.dedupe_window", "1s", "dedupe_window"),
    ] {
        says(&Site::new().set(key, value).refused(), 1, &[told]);
    }
    let site = Site::new();
    let by_variable = support::finish(site.command().env("TIDEGATE__HTTP__BNID", "x"));
    says(&by_variable, 1, &["TIDEGATE__HTTP__BNID", "bind"]);
    let nowhere = support::finish(tidegate().args(["check", "--config", "/nowhere/at/all"]));
    says(&nowhere, 1, &["/nowhere/at/all"]);
    let no_verb = support::finish(tidegate().arg("serv"));
    says(&no_verb, 2, &["serve"]);
}

#[test]
fn an_occupied_port_is_told_before_the_store_is_opened() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let site = Site::new();

    let refused = support::finish(site.command().env("TIDEGATE__HTTP__BIND", &address));

    says(&refused, 1, &["cannot listen on", &address, "TIDEGATE__HTTP__BIND"]);
    assert!(!site.data().join("journal").exists());
}

#[test]
fn a_data_folder_that_is_none_or_is_in_use_is_told() {
    let site = Site::new();
    fs::write(site.data(), "a file").unwrap();
    says(&site.refused(), 1, &["data", "cannot"]);
    assert_eq!(fs::read_to_string(site.data()).unwrap(), "a file");
    fs::remove_file(site.data()).unwrap();

    let server = site.start();
    let second = site.refused();

    says(&second, 1, &["another process uses this data folder", "store.path"]);
    assert_eq!(server.client().get_json("/ready"), json!({"status": "ready"}));
}

/// A site with some purchases done, and the server killed.
fn with_history(site: &Site) {
    let server = site.start();
    open(&server, &["alice"], 1_000, &["world"]);
    for n in 0..30 {
        server.done("purchase.submitted", &purchase(&format!("o{n}"), "alice", 1));
        server.buy(&format!("id{n}"), "alice", 1);
    }
    server.until_idle();
    server.kill();
}

fn nothing_is_lost(server: &Server) {
    server.until_idle();
    assert_eq!(server.funds("alice")["paid"], 60);
    for n in 0..30 {
        assert_eq!(server.status(&format!("id{n}"))["status"], "done");
        let again =
            server.with_id("purchase.submitted", &format!("id{n}"), &purchase(&format!("id{n}"), "alice", 1));
        assert_eq!(again.send().header("idempotency-replayed"), "true");
    }
}

fn segments(site: &Site) -> Vec<PathBuf> {
    let files = fs::read_dir(site.data().join("journal")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "journal"));
    files.sort();
    files
}

#[test]
fn a_damaged_journal_refuses_the_start_and_names_file_and_place() {
    let site = Site::new();
    with_history(&site);
    let file = segments(&site).remove(0);
    let sound = fs::read(&file).unwrap();
    let end = sound.iter().rposition(|&byte| byte != 0).unwrap();
    let mut damaged = sound.clone();
    damaged[end / 2] ^= 0x40;
    fs::write(&file, &damaged).unwrap();

    let refused = site.refused();
    fs::write(&file, &sound).unwrap();
    let server = site.start();

    says(&refused, 1, &[file.to_str().unwrap(), "damaged at byte", "backup"]);
    let told = refused.stderr.split("damaged at byte ").nth(1).unwrap();
    let offset: usize = told.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(offset <= end / 2 && end / 2 - offset < 64 * 1024, "{offset} of {}", end / 2);
    nothing_is_lost(&server);
}

#[test]
fn a_torn_tail_is_cut_and_all_before_it_is_there() {
    let site = Site::new();
    with_history(&site);
    let file = segments(&site).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // The begin of a record that never arrived as a whole.
    let begin = end.next_multiple_of(32);
    bytes[begin..begin + 22].copy_from_slice(b"TGcm\x10\0\0\0half a record.");
    fs::write(&file, &bytes).unwrap();

    nothing_is_lost(&site.start());
}

#[test]
fn a_damaged_or_deleted_sled_folder_is_rebuilt_from_the_journal() {
    let site = Site::new().set("store.checkpoint_interval", "200ms");
    let checkpoint = |site: &Site| {
        let server = site.start();
        until("a checkpoint is made", || {
            // A change, so that there is something to fold.
            server.done("weather.changed", &json!({}));
            if site.data().join("checkpoint.mark").exists() { Ok(()) } else { Err("not yet".to_owned()) }
        });
        server.kill();
    };
    with_history(&site);
    checkpoint(&site);

    fs::remove_dir_all(site.data().join("sled")).unwrap();
    let server = site.start();
    nothing_is_lost(&server);
    server.kill();

    checkpoint(&site);
    let db = site.data().join("sled/db");
    let mut bytes = fs::read(&db).unwrap();
    for byte in bytes.iter_mut().skip(200).step_by(97) {
        *byte ^= 0xFF;
    }
    fs::write(&db, bytes).unwrap();
    let server = site.start();
    nothing_is_lost(&server);

    assert!(server.log().contains("moved aside"), "{}", server.log());
    let kept = fs::read_dir(site.data())
        .unwrap()
        .any(|f| f.unwrap().file_name().to_string_lossy().contains(".damaged-"));
    assert!(kept, "what was damaged is kept");
}

/// The checksum of the formats (crc32c), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }))
    })
}

#[test]
fn a_folder_of_a_newer_version_is_left_alone_with_the_way_out() {
    let site = Site::new();
    assert!(site.start().stop().0.success());
    let mark = site.data().join("checkpoint.mark");
    let mut bytes = fs::read(&mark).unwrap();
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    let end = bytes.len() - 4;
    let check = crc32c(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&check);
    fs::write(&mark, &bytes).unwrap();

    let refused = site.refused();

    says(&refused, 1, &["checkpoint.mark", "format version 9", "start the version that wrote it"]);
    assert_eq!(fs::read(&mark).unwrap(), bytes, "it is left as it was");
}

#[test]
fn the_client_says_what_is_wrong_with_what_it_was_given() {
    let site = Site::new();
    let server = site.start();

    says(&server.run(&["publish", "Order.Placed", "{}"]), 2, &["Order.Placed"]);
    says(&server.run(&["publish", "order.placed", "{\"a\":"]), 2, &["JSON"]);
    says(&server.run(&["publish", "tidegate.own", "{}"]), 1, &["reserved"]);
    says(&server.run(&["publish", "order.placed", "@/nowhere.json"]), 2, &["/nowhere.json"]);
    says(&server.run(&["status", "never"]), 1, &["not known"]);
    says(&server.run(&["subscriptions", "pause", "nobody"]), 1, &["nobody"]);
    let nobody = support::finish(tidegate().args(["status", "x", "--url", "http://127.0.0.1:1"]));
    says(&nobody, 3, &["cannot reach http://127.0.0.1:1", "tidegate serve"]);
}
