//! Fake: a server of a few lines for the tests of the client verbs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use super::args::ServerArgs;
use super::client::Client;

/// What came in.
#[derive(Debug)]
pub(super) struct Request {
    /// Path and query.
    pub(super) path: String,
    /// The header `Prefer`.
    pub(super) prefer: Option<String>,
    /// The header `Tidegate-Operator`.
    pub(super) operator: Option<String>,
    /// The body.
    pub(super) body: String,
}

/// Status and body.
pub(super) type Reply = (u16, String);

type Judge = dyn Fn(&Request) -> Reply + Send + Sync;

/// Serves on a free port for the rest of the test; gives its address. Every reply says `Retry-After: 0`.
pub(super) fn serve(judge: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let judge: Arc<Judge> = Arc::new(judge);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let judge = Arc::clone(&judge);
            std::thread::spawn(move || talk(&stream, judge.as_ref()));
        }
    });
    url
}

/// A client of it.
pub(super) fn client(url: &str) -> Client {
    Client::new(&ServerArgs { url: url.to_owned(), by: None }).unwrap()
}

/// A reply with a document.
pub(super) fn json(status: u16, body: &serde_json::Value) -> Reply {
    (status, body.to_string())
}

/// A reply with problem details.
pub(super) fn problem(status: u16, detail: &str) -> Reply {
    json(status, &serde_json::json!({ "title": "refused", "status": status, "detail": detail }))
}

/// Answers one request after the other until the client closes.
fn talk(stream: &TcpStream, judge: &Judge) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut head, mut length, mut prefer, mut operator) = (String::new(), 0, None, None);
        reader.read_line(&mut head).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok()?;
                }
                Some((name, value)) if name.eq_ignore_ascii_case("prefer") => {
                    prefer = Some(value.trim().to_owned());
                }
                Some((name, value)) if name.eq_ignore_ascii_case("tidegate-operator") => {
                    operator = Some(value.trim().to_owned());
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (status, body) = judge(&Request { path, prefer, operator, body: String::from_utf8(body).ok()? });
        let length = body.len();
        write!(writer, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nretry-after: 0\r\n\r\n{body}")
            .ok()?;
    }
}
