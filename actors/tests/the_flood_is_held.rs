//! A flood is acknowledged at the speed of the disk, seen as a backlog, and worked off; beyond the limit it
//! is refused before anything of it is stored.

mod support;

use std::fmt::Write as _;

use serde_json::Value;
use support::{Reply, Site, open, purchase, until};

const FLOOD: u64 = 20_000;
const ACCOUNTS: u64 = 50;

#[test]
fn twenty_thousand_purchases_are_taken_at_once_and_all_come_to_their_end() {
    let site = Site::new();
    let server = site.start();
    let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("account-{n}")).collect();
    open(&server, &accounts.iter().map(String::as_str).collect::<Vec<_>>(), 1_000_000, &["world"]);
    // Most are of accounts that nobody opened: they end at the first check, so that a test can wait for all.
    let mut lines = String::new();
    for n in 0..FLOOD {
        let account = if n % 10 == 0 {
            format!("account-{}", n / 10 % ACCOUNTS)
        } else {
            format!("nobody-{}", n % 500)
        };
        writeln!(lines, "{}", purchase(&format!("o{n}"), &account, 1)).unwrap();
    }
    let file = site.folder().join("orders.jsonl");
    std::fs::write(&file, lines).unwrap();
    let data = format!("@{}", file.display());

    let (published, most) = std::thread::scope(|scope| {
        let arguments = ["publish", "purchase.submitted", &data, "--lines", "--id-field", "order", "--json"];
        let server = &server;
        let publisher = scope.spawn(move || server.run(&arguments));
        let mut most = 0;
        while !publisher.is_finished() {
            most = most.max(server.subscription("check_account")["backlog"].as_u64().unwrap());
        }
        (publisher.join().unwrap(), most)
    });
    let tally: Value = serde_json::from_str(&published.stdout).unwrap();
    let first = server.status("o0");
    server.until_idle();
    let again =
        server.run(&["publish", "purchase.submitted", &data, "--lines", "--id-field", "order", "--json"]);

    assert_eq!((published.code, &tally["accepted"]), (Some(0), &Value::from(FLOOD)), "{published:?}");
    assert_eq!(tally["refused"], 0);
    assert!(most > 100, "a backlog of {most} was seen");
    assert_eq!(first["id"], "o0", "the first can be asked for while the flood is worked off");
    assert_eq!(server.dead_letters(""), [Value::Null; 0]);
    for n in (0..FLOOD).step_by(97).chain([FLOOD - 1]) {
        let status = server.status(&format!("o{n}"));
        let outcome = if n % 10 == 0 { "completed" } else { "refused" };
        assert_eq!(
            (&status["status"], &status["result"]["outcome"]),
            (&"done".into(), &outcome.into()),
            "{status}"
        );
    }
    let paid: u64 = accounts.iter().map(|account| server.funds(account)["paid"].as_u64().unwrap()).sum();
    assert_eq!(paid, FLOOD / 10);
    let tally: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&tally["accepted"], &tally["replayed"]),
        (&Value::from(FLOOD), &Value::from(FLOOD)),
        "{again:?}"
    );
}

#[test]
fn beyond_the_limit_publishers_are_refused_and_nothing_of_theirs_is_stored() {
    let site = Site::new().set("bus.queue_events", "1");
    let server = site.start();

    let replies: Vec<(String, Reply)> = until("somebody is refused", || {
        let replies: Vec<(String, Reply)> = std::thread::scope(|scope| {
            let post = |thread: usize| {
                let server = &server;
                move || -> Vec<(String, Reply)> {
                    let one = |n: usize| {
                        let id = format!("t{thread}-{n}");
                        let reply =
                            server.with_id("purchase.submitted", &id, &purchase(&id, "nobody", 1)).send();
                        (id, reply)
                    };
                    (0..50).map(one).collect()
                }
            };
            let threads: Vec<_> = (0..8).map(|thread| scope.spawn(post(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let refused = replies.iter().filter(|(_, reply)| reply.status == 503).count();
        if refused > 0 { Ok(replies) } else { Err("all were taken".to_owned()) }
    });

    for (id, reply) in &replies {
        if reply.status == 202 {
            assert_eq!(server.status(id)["id"], *id);
            continue;
        }
        assert_eq!((reply.status, reply.problem().as_str()), (503, "saturated"), "{reply:?}");
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(server.client().get(&format!("/v1/events/{id}")).send().status, 404, "{id} was refused");
        let retried = until("there is room", || {
            let reply = server.with_id("purchase.submitted", id, &purchase(id, "nobody", 1)).send();
            if reply.status == 202 { Ok(reply) } else { Err(format!("{reply:?}")) }
        });
        assert_eq!(retried.header("idempotency-replayed"), "", "the first time it is taken");
    }
}
