//! Bodies that arrive slowly, on many connections at once: the server keeps as much of them as there is room for and answers
//! the others that they come back later. Without that room a client could take any amount of memory.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use support::{Server, Site};

const CONNECTIONS: usize = 100;
const BODY: usize = 3_000_000;
const PART: usize = 2_000_000;
/// Of all parts together 200 MB would be kept, in buffers that grow: 304 MB were measured. Each connection has buffers besides,
/// some 0.4 MB: 81 MB.
const MOST: u64 = 150 << 20;

/// The most memory that the process has had, in bytes.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Begins to publish a text of [`BODY`] bytes.
fn begin(address: &str, body: &[u8]) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let head = format!(
        "POST /v1/events/flood.rose HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {BODY}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(&body[..PART]).unwrap();
    connection
}

/// Sends the rest and returns the status.
fn finish(mut connection: TcpStream, body: &[u8]) -> String {
    connection.write_all(&body[PART..]).unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

#[test]
fn bodies_that_do_not_end_take_no_more_memory_than_there_is() {
    let site = Site::new()
        .set("http.max_body", "4MiB")
        .set("bus.queue_bytes", "8MiB")
        .set("http.body_timeout", "60s");
    let server = site.start();
    let address = server.url().trim_start_matches("http://").to_owned();
    let body = format!("\"{}\"", "a".repeat(BODY - 2)).into_bytes();
    assert_eq!(finish(begin(&address, &body), &body), "202", "one alone");
    let before = peak(&server);

    let begun: Vec<_> = (0..CONNECTIONS).map(|_| begin(&address, &body)).collect();
    // Small ones come in one piece and find their way.
    assert_eq!(server.plain("flood.fell", &json!({})).send().status, 202);
    let answers: Vec<_> = begun.into_iter().map(|connection| finish(connection, &body)).collect();

    let count = |status: &str| answers.iter().filter(|answer| *answer == status).count();
    assert_eq!(count("202") + count("503"), CONNECTIONS, "{answers:?}");
    assert!(count("503") > CONNECTIONS / 2, "{answers:?}");
    let grown = peak(&server) - before;
    assert!(grown < MOST, "{grown} bytes more than before");
    assert_eq!(finish(begin(&address, &body), &body), "202", "there is room again");
    assert!(server.stop().0.success());
}
