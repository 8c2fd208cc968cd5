//! `tidegate backup`, `restore` and `store verify` on the real binary: a backup is taken while publishers go on, the
//! server is killed, and the restored folder holds whatever was acknowledged before the backup began, is sound, and
//! runs on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use support::{Server, Site, finish, tidegate};

const PUBLISHERS: u64 = 3;
/// Purchases that are acknowledged before the first backup.
const BEFORE: usize = 60;

/// A site whose checkpoints and segments are small, so that a backup meets both.
fn busy_site() -> Site {
    Site::new()
        .set("store.checkpoint_interval", "100ms")
        .set("store.checkpoint_bytes", "64KiB")
        .set("store.segment_bytes", "128KiB")
}

/// Publishes until it is told to stop; `acknowledged` gets each id whose 202 has come.
fn publish(server: &Server, publisher: u64, acknowledged: &Mutex<Vec<String>>, is_over: &AtomicBool) {
    let mut n = 0;
    while !is_over.load(Ordering::Acquire) {
        let order = format!("o{publisher}-{n}");
        let data = json!({ "order": order, "account": "a", "fund": "world", "amount": 1 });
        if server.with_id("purchase.submitted", &order, &data).send().status == 202 {
            acknowledged.lock().unwrap().push(order);
        }
        n += 1;
    }
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn what_was_acknowledged_before_a_backup_is_in_it() {
    let site = busy_site();
    let server = site.start();
    support::open(&server, &["a"], 1_000_000, &["world"]);
    let (acknowledged, is_over, left) =
        (Mutex::new(Vec::new()), AtomicBool::new(false), AtomicU64::new(PUBLISHERS));
    let file = site.folder().join("one.backup");
    let before: Vec<String> = std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (server, acknowledged, is_over, left) = (&server, &acknowledged, &is_over, &left);
            scope.spawn(move || {
                publish(server, publisher, acknowledged, is_over);
                left.fetch_sub(1, Ordering::AcqRel);
            });
        }
        support::until("some purchases are acknowledged", || {
            let count = acknowledged.lock().unwrap().len();
            if count >= BEFORE { Ok(()) } else { Err(count.to_string()) }
        });
        let before = acknowledged.lock().unwrap().clone();
        let made = server.run(&["backup", file.to_str().unwrap(), "--json"]);
        let looked = server.run(&["store", "verify", "--json"]);
        is_over.store(true, Ordering::Release);
        assert_eq!(made.code, Some(0), "{made:?}");
        assert_eq!(json_of(&made.stdout)["commit"].as_u64().map(|commit| commit > 0), Some(true));
        assert_eq!((looked.code, &json_of(&looked.stdout)["clean"]), (Some(0), &json!(true)), "{looked:?}");
        before
    });
    server.kill();
    let other = busy_site();
    let data = other.data();

    let restored = finish(tidegate().args(["restore"]).arg(&file).arg("--to").arg(&data));

    assert_eq!(restored.code, Some(0), "{restored:?}");
    let verified = finish(tidegate().args(["store", "verify"]).arg(&data));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let server = other.start();
    for order in &before {
        assert_eq!(
            server.client().get(&format!("/v1/events/{order}?source=%2Fhttp")).send().status,
            200,
            "{order}"
        );
    }
    // What was under way in the backup comes to its end here.
    let last = before.last().unwrap();
    assert_eq!(server.until_status(last, "done")["result"]["outcome"], "completed");
    server.buy("after", "a", 1);
    server.until_status("after", "done");
    server.until_idle();
    assert!(server.stop().0.success());
    let verified = finish(tidegate().args(["store", "verify", "--json"]).arg(&data));
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn the_tools_refuse_what_they_cannot_do_and_say_why() {
    let site = Site::new();
    let server = site.start();
    support::open(&server, &["a"], 100, &["world"]);
    let data = site.data();
    let path = |name: &str| site.folder().join(name);

    let running = finish(tidegate().args(["store", "verify"]).arg(&data));
    assert_eq!(running.code, Some(2), "{running:?}");
    assert!(running.stderr.contains("a server uses this data folder"), "{running:?}");
    assert!(server.stop().0.success());
    let path_of_b = path("b");
    let b = path_of_b.to_str().unwrap();
    for (verb, way) in
        [(["store", "verify"], "`tidegate store verify DIR`"), (["backup", b], "--offline DIR`")]
    {
        // Nobody listens at the port of discard.
        let gone = finish(tidegate().args(verb).args(["--url", "http://127.0.0.1:9"]));
        assert_eq!(gone.code, Some(3), "{gone:?}");
        assert!(gone.stderr.contains(way), "{gone:?}");
    }
    let none = finish(tidegate().args(["store", "verify"]).arg(path("nowhere")));
    assert_eq!(none.code, Some(2), "{none:?}");

    let made = finish(tidegate().args(["backup"]).arg(path("b")).arg("--offline").arg(&data));
    assert_eq!(made.code, Some(0), "{made:?}");
    let again = finish(tidegate().args(["backup"]).arg(path("b")).arg("--offline").arg(&data));
    assert!(again.code == Some(2) && again.stderr.contains("is there already"), "{again:?}");
    let onto = finish(tidegate().args(["restore"]).arg(path("b")).arg("--to").arg(&data));
    assert!(onto.code == Some(2) && onto.stderr.contains("it is not empty"), "{onto:?}");

    let mut bytes = std::fs::read(path("b")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path("bad"), bytes).unwrap();
    let bad = finish(tidegate().args(["restore"]).arg(path("bad")).arg("--to").arg(path("new")));
    assert!(bad.code == Some(2) && bad.stderr.contains("does not match its checksum"), "{bad:?}");
    assert!(!path("new").exists());

    // One byte in the middle of an event.
    let mut segments: Vec<_> =
        std::fs::read_dir(data.join("journal")).unwrap().map(|e| e.unwrap().path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    // Behind its source, so that it is not the pattern of a subscription.
    let at = bytes.windows(20).position(|window| window == b"/http\x0eaccount.opened").unwrap() + 6;
    bytes[at] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();
    let damaged = finish(tidegate().args(["store", "verify", "--json"]).arg(&data));
    let report = json_of(&damaged.stdout);
    assert_eq!((damaged.code, &report["clean"]), (Some(1), &json!(false)), "{damaged:?}");
    let finding = &report["findings"][0];
    assert_eq!(finding["file"], segments[0].display().to_string());
    assert_eq!(finding["events"][0]["name"], "account.opened", "{finding}");
    assert!(finding["offset"].as_u64().is_some_and(|offset| offset < at as u64), "{finding}");
    let refused = finish(tidegate().args(["backup"]).arg(path("c")).arg("--offline").arg(&data));
    assert!(refused.code == Some(2) && !path("c").exists() && !path("c.part").exists(), "{refused:?}");
}
