//! Bodies that do not arrive, are too large, or too many.

use super::*;

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let site = Site::new();
    site.run(async {
    let settings = Settings { body_timeout: Duration::from_millis(50), ..Settings::default() };

    let answer = exchange(
        &site,
        settings,
        b"POST /v1/events/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"body-timeout\""), "{answer}");
    });
}

#[test]
fn a_body_that_is_too_large_is_answered_before_it_is_read() {
    let site = Site::new();
    site.run(async {
    let settings = Settings { max_body: 10, ..Settings::default() };

    let answer = exchange(
        &site,
        settings,
        b"POST /v1/events/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    });
}

#[test]
fn a_body_that_grows_too_large_piece_by_piece_is_refused() {
    let site = Site::new();
    site.run(async {
    let settings = Settings { max_body: 10, ..Settings::default() };

    let answer = exchange(
        &site,
        settings,
        b"POST /v1/events/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n6\r\n\"aaaaa\r\n6\r\naaaaa\"\r\n0\r\n\r\n",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    });
}

#[test]
fn a_body_that_nobody_reads_does_not_spoil_the_connection() {
    let site = Site::new();
    site.run(async {
    let answer = exchange(
        &site,
        Settings::default(),
        b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;

    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("HTTP/1.1 200 "), "{answer}");
    });
}

#[test]
fn bodies_in_pieces_have_room_together_and_what_finds_none_is_sent_again_later() {
    /// The head and a part of a body of 600 bytes.
    const BEGUN: &[u8] = b"POST /v1/events/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 602\r\n\r\n\"";
    let site = Site::new();
    site.run(async {
        let talk = |address| {
            use std::io::{Read as _, Write as _};
            let mut rest = vec![b'a'; 600];
            rest.push(b'"');
            let begin = || {
                let mut stream = connect(address, BEGUN);
                stream.write_all(rest.get(..500).expect("a part")).expect("sent");
                // So that it does not come in one piece.
                std::thread::park_timeout(Duration::from_millis(50));
                stream
            };
            let finish = |mut stream: std::net::TcpStream| {
                let mut answer = [0; 4_096];
                stream.write_all(rest.get(500..).expect("the rest")).expect("sent");
                let read = stream.read(&mut answer).expect("an answer");
                String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned()
            };
            let first = begin();
            // On a machine that is busy the server may see one as a whole all the same.
            let mut others = (0..50).map(|_| finish(begin()));
            let refused =
                others.find(|answer| !answer.starts_with("HTTP/1.1 202 ")).expect("one without room");
            [refused, finish(first), finish(begin())]
        };
        let settings = Settings { workers: Some(1), bodies_max: 900, ..Settings::default() };

        let [refused, first, later] = over_tcp(site.door(settings), talk).await;

        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
        assert!(
            refused.contains("\"code\":\"saturated\"") && refused.contains("bus.queue_bytes"),
            "{refused}"
        );
        assert!(first.starts_with("HTTP/1.1 202 "), "{first}");
        assert!(later.starts_with("HTTP/1.1 202 "), "{later}");
    });
}
