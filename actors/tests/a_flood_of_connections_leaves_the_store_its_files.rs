//! More connections than there may be open files: the server answers those that it holds, goes on storing, and takes
//! new ones when others end. Without a limit the connections would take the files that the journal's next segment
//! needs, and the process would end.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use support::{Site, until};

const OPEN_FILES: u64 = 160;
const CONNECTIONS: usize = 400;

/// 8,000 letters in which nothing comes twice, so that they cannot be packed.
fn noise(n: usize) -> String {
    let mut state = n as u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    (0..1_000).map(|_| draw()).collect()
}

/// Publishes over a connection that is kept, and returns the status.
fn publish(connection: &mut TcpStream, n: usize) -> String {
    let body =
        json!({ "order": format!("o{n}"), "account": "a", "fund": "world", "amount": 1, "pad": noise(n) })
            .to_string();
    let head = format!(
        "POST /v1/events/purchase.submitted HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nidempotency-key: \"o{n}\"\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(body.as_bytes()).unwrap();
    let mut answer = vec![0; 4_096];
    let read = connection.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[9..read.min(12)]).into_owned()
}

#[test]
fn a_flood_of_connections_leaves_the_store_its_files() {
    let site =
        Site::new().limited("-n", OPEN_FILES).set("store.segment_bytes", "64KiB").set("http.workers", "2");
    let server = site.start();
    support::open(&server, &["a"], 1_000_000, &["world"]);
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut first = TcpStream::connect(&address).unwrap();
    first.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(publish(&mut first, 0), "202");

    // The operating system takes them all; the server holds what it may.
    let held: Vec<_> = (0..CONNECTIONS).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    assert!(held.len() > usize::try_from(OPEN_FILES).unwrap());
    // Each is an event of 8 KiB: several segments.
    for n in 1..60 {
        assert_eq!(publish(&mut first, n), "202");
    }
    let files = std::fs::read_dir(site.data().join("journal")).unwrap().map(|file| file.unwrap().file_name());
    let segments = files.filter(|file| file.to_string_lossy().ends_with(".journal")).count();
    assert!(segments > 3, "{segments}");

    drop(held);
    let fresh = until("a new connection is answered", || {
        let answer = server.client().get("/ready").try_send();
        answer.map(|reply| reply.status).map_err(|error| error.to_string())
    });
    assert_eq!(fresh, 200);
    server.until_status("o59", "done");
    assert!(server.stop().0.success());
}
