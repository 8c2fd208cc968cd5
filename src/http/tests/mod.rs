//! The door before a real bus on the in-memory engine: what it refuses, what it says of itself, and how it
//! behaves over real connections.

use std::time::Duration;

use actix_web::http::header::{ALLOW, CONTENT_TYPE};
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::*;

mod bodies;
mod bulk;
mod kit;
mod mending;
mod operators;
mod publishing;
mod replays;
mod searching;
mod steering;
mod timing;
mod watching;

use kit::Site;

struct Answer {
    status: StatusCode,
    headers: actix_web::http::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn header(&self, name: impl AsRef<str>) -> &str {
        self.headers.get(name.as_ref()).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Checks the shape that every problem has, and returns its code.
    fn problem(&self) -> String {
        assert_eq!(self.header(CONTENT_TYPE), "application/problem+json");
        let problem = self.json();
        let code = problem["code"].as_str().expect("a code").to_owned();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["type"], format!("/problems/{code}"));
        assert_eq!(problem["instance"].as_str(), Some(self.header("x-request-id")));
        assert!(!self.header("x-request-id").is_empty());
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        assert!(problem["title"].is_string() && problem["retryable"].is_boolean());
        code
    }
}

async fn ask(door: &Door, request: TestRequest) -> Answer {
    let service = init_service(app(door.clone()).service(web::resource("/panic").to(panics))).await;
    match actix_web::dev::Service::call(&service, request.to_request()).await {
        Ok(response) => {
            let (status, headers) = (response.status(), response.headers().clone());
            Answer { status, headers, body: read_body(response).await.to_vec() }
        }
        // What the server does with an error that no response came of.
        Err(error) => {
            let response = error.error_response();
            let (status, headers) = (response.status(), response.headers().clone());
            let body = actix_web::body::to_bytes(response.into_body()).await.expect("a body");
            Answer { status, headers, body: body.to_vec() }
        }
    }
}

async fn panics() -> HttpResponse {
    panic!("for a test")
}

fn request(method: Method, path: &str) -> TestRequest {
    TestRequest::with_uri(path).method(method)
}

fn plain(body: &str) -> TestRequest {
    request(Method::POST, "/v1/events/order.placed")
        .insert_header((CONTENT_TYPE, "application/json"))
        .set_payload(body.to_owned())
}

#[test]
fn what_the_server_refuses_by_itself_is_a_problem_too() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { max_body: 10, ..Settings::default() });

        for (asked, status, code) in [
            (request(Method::GET, "/nowhere"), 404, "not-found"),
            (request(Method::GET, "/v1/events/a/b"), 404, "not-found"),
            (request(Method::DELETE, "/v1/events"), 405, "method-not-allowed"),
            (request(Method::PUT, "/health"), 405, "method-not-allowed"),
            (plain("\"far too long\""), 413, "too-large"),
            (request(Method::POST, "/v1/events").set_payload("{}"), 415, "unsupported-media-type"),
            (plain("{}").insert_header(("content-encoding", "gzip")), 415, "unsupported-media-type"),
            (
                request(Method::POST, "/v1/events/a").insert_header((CONTENT_TYPE, "text/plain")),
                415,
                "unsupported-media-type",
            ),
            (request(Method::GET, "/panic"), 500, "internal"),
            (request(Method::GET, "/v1/events/x?sorce=y"), 400, "malformed"),
            (request(Method::GET, "/v1/events/%ff"), 400, "malformed"),
            (request(Method::GET, "/v1/dead-letters?limit=0"), 400, "malformed"),
            (request(Method::GET, "/v1/dead-letters?limit=x"), 400, "malformed"),
            (request(Method::GET, "/v1/dead-letters?reason=odd"), 400, "malformed"),
            (request(Method::GET, "/v1/subscriptions?cursor=odd"), 400, "malformed"),
            (request(Method::GET, "/problems/odd"), 404, "not-found"),
            (plain("{}").insert_header(("sec-fetch-site", "cross-site")), 403, "cross-site"),
            (plain("{}").insert_header(("sec-fetch-site", "same-site")), 403, "cross-site"),
            (plain("{}").insert_header(("origin", "http://elsewhere")), 403, "cross-site"),
            (plain("{}").insert_header(("origin", "null")), 403, "cross-site"),
        ] {
            let answer = ask(&door, asked).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().as_str()),
                (status, code),
                "{:?}",
                answer.json()
            );
        }
        let not_allowed = ask(&door, request(Method::PATCH, "/v1/events")).await;
        assert_eq!(not_allowed.header(ALLOW), "GET, HEAD, POST, OPTIONS");
        let not_known = ask(&door, request(Method::POST, "/v1/events").set_payload("{}")).await;
        assert!(not_known.header("accept-post").contains("application/cloudevents+json"));
    });
}

#[test]
fn too_many_headers_are_refused() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings { headers_max: 3, ..Settings::default() });
        let mut asked = request(Method::GET, "/health");
        for n in 0..4 {
            asked = asked.insert_header((format!("x-{n}"), "y"));
        }

        let answer = ask(&door, asked).await;

        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (431, "headers-too-large"));
    });
}

#[test]
fn malformed_events_are_refused_with_all_places() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let event = request(Method::POST, "/v1/events")
            .insert_header((CONTENT_TYPE, "application/cloudevents+json"))
            .set_payload(r#"{"specversion":"1.0","id":"","source":"a b"}"#);

        let answer = ask(&door, event).await;

        assert_eq!(answer.problem(), "malformed");
        let pointers: Vec<Value> = answer.json()["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(|e| e["pointer"].clone())
            .collect();
        assert_eq!(pointers, ["/id", "/source", "/type"]);
    });
}

#[test]
fn plain_bodies_are_json_and_told_where_they_are_not() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        for bad in ["", "{\"a\":}", "nope", "{} {}", &"[".repeat(5000)] {
            let answer = ask(&door, plain(bad)).await;
            assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "malformed"), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        assert_eq!(ask(&door, plain(&deep)).await.status, 400);
        assert!(
            ask(&door, plain("{\"a\":}")).await.json()["detail"]
                .as_str()
                .expect("a detail")
                .contains("column 6")
        );
        for (name, value) in
            [("ce-id", "1"), ("idempotency-key", "\"\""), ("idempotency-key", "\"a"), ("tidegate-key", "")]
        {
            let answer = ask(&door, plain("{}").insert_header((name, value))).await;
            assert_eq!(answer.status, 400, "{name}");
            assert_eq!(answer.json()["errors"][0]["pointer"], name);
        }
        let name = ask(&door, request(Method::POST, "/v1/events/Not%20A%20Name").set_payload("{}")).await;
        assert_eq!((name.status.as_u16(), name.problem().as_str()), (400, "malformed"));
    });
}

#[test]
fn every_kind_of_problem_can_be_looked_up() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let codes: std::collections::BTreeSet<&str> =
            code::Code::ALL.iter().map(|code| code.facts().1).collect();
        assert_eq!(codes.len(), code::Code::ALL.len());

        for code in codes {
            let answer = ask(&door, request(Method::GET, &format!("/problems/{code}"))).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["type"]),
                (200, &json!(format!("/problems/{code}")))
            );
        }
    });
}

async fn echo(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    #[derive(serde::Deserialize)]
    struct Asked {
        id: Option<String>,
        source: String,
    }
    let asked: Asked = request::query(&request)?;
    let id = match asked.id {
        Some(id) => id,
        None => request::segment(&request, 3)?,
    };
    Ok(HttpResponse::Ok().json((asked.source, id)))
}

#[actix_web::test]
async fn the_url_of_a_status_leads_back_to_its_event() {
    let service = init_service(
        App::new().route("/v1/events/{id}", web::get().to(echo)).route("/v1/events", web::get().to(echo)),
    )
    .await;
    let long = "é/".repeat(680);
    for id in [
        "a/b c?%é#",
        "a%2Fb",
        "%",
        "%25",
        "+ +",
        ".",
        "..",
        "...",
        "a..b",
        "😀",
        "\\",
        "a;b=c&d",
        "//",
        "/",
        long.as_str(),
    ] {
        for source in ["/http", "//h/a?b=c&d=e+f#g", "urn:x:%20"] {
            let url = request::status_url(source, id);
            assert!(url.is_ascii() && !url.contains("/./") && !url.contains("/../"), "{url}");
            let answer = call_service(&service, TestRequest::with_uri(&url).to_request()).await;
            let read: (String, String) = serde_json::from_slice(&read_body(answer).await).expect(&url);
            assert_eq!(read, (source.to_owned(), id.to_owned()), "{url}");
        }
    }
}

#[test]
fn options_tell_what_a_path_takes() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());

        let events = ask(&door, request(Method::OPTIONS, "/v1/events")).await;
        let health = ask(&door, request(Method::OPTIONS, "/health")).await;

        assert_eq!((events.status.as_u16(), events.header(ALLOW)), (204, "GET, HEAD, POST, OPTIONS"));
        assert!(events.header("accept-post").contains("application/cloudevents-batch+json"));
        assert_eq!((health.status.as_u16(), health.header(ALLOW)), (204, "GET, HEAD, OPTIONS"));
    });
}

#[test]
fn a_request_keeps_the_id_that_the_client_gave_it() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());
        let named = |id: &str| request(Method::GET, "/health").insert_header(("x-request-id", id.to_owned()));

        assert_eq!(ask(&door, named("abc-1")).await.header("x-request-id"), "abc-1");
        let long = "x".repeat(500);
        assert_ne!(ask(&door, named(&long)).await.header("x-request-id"), long);
        assert_eq!(ask(&door, named("abc-1").uri("/nowhere")).await.header("x-request-id"), "abc-1");
    });
}

#[test]
fn every_route_is_in_the_api_document() {
    let site = Site::new();
    site.run(async {
        let door = site.door(Settings::default());

        let document = ask(&door, request(Method::GET, "/openapi.json")).await.json();

        let paths = document["paths"].as_object().expect("paths");
        let served = include_str!("../route.rs").matches("(\"/").count();
        assert_eq!(paths.len(), served, "a route was added or lost: name it in the document");
        for (path, methods) in paths {
            let concrete = path
                .replace("{id}", "known")
                .replace("{name}", "known")
                .replace("{key}", "k")
                .replace("{code}", "gone");
            for method in methods.as_object().expect("methods").keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
                let status = ask(&door, request(method, &concrete)).await;
                assert_ne!(status.status.as_u16(), 405, "{path}");
                assert!(!String::from_utf8_lossy(&status.body).contains("no such path"), "{path}");
            }
            let allowed = ask(&door, request(Method::OPTIONS, &concrete)).await;
            let documented = methods.as_object().expect("methods").len();
            let served =
                allowed.header(ALLOW).split(", ").filter(|m| !matches!(*m, "HEAD" | "OPTIONS")).count();
            assert_eq!(served, documented, "{path}");
        }
    });
}

/// Runs `talk` against a real server on a port of its own.
async fn over_tcp<T: Send + 'static>(
    door: Door,
    talk: impl FnOnce(std::net::SocketAddr) -> T + Send + 'static,
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let server = serve(listener, door.clone()).expect("a server");
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);
    let told = tokio::task::spawn_blocking(move || talk(address)).await.expect("a thread");
    door.close();
    handle.stop(true).await;
    running.await.expect("joined").expect("stopped");
    told
}

fn connect(address: std::net::SocketAddr, text: &[u8]) -> std::net::TcpStream {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(text).expect("sent");
    stream
}

/// Sends `text` and reads until the server closes the connection.
async fn exchange(site: &Site, settings: Settings, text: &'static [u8]) -> String {
    use std::io::Read as _;
    let talk = move |address| {
        let mut answer = String::new();
        connect(address, text).read_to_string(&mut answer).expect("an answer and the end");
        answer
    };
    over_tcp(site.door(Settings { workers: Some(1), ..settings }), talk).await
}

#[test]
fn an_unknown_method_is_a_problem_over_the_wire_too() {
    let site = Site::new();
    site.run(async {
        let answer =
            exchange(&site, Settings::default(), b"BREW / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                .await;

        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    });
}

#[test]
fn a_connection_beyond_the_limit_waits_until_another_one_ends() {
    const ASKED: &[u8] = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let site = Site::new();
    site.run(async {
        let talk = |address| {
            use std::io::Read as _;
            let mut answer = [0; 12];
            let mut first = connect(address, ASKED);
            first.read_exact(&mut answer).expect("the first is answered");
            let mut second = connect(address, ASKED);
            second.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            let early = second.read_exact(&mut answer).map_err(|error| error.kind());
            drop(first);
            second.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            second.read_exact(&mut answer).expect("the second is answered in its turn");
            (early, answer)
        };
        let settings = Settings { workers: Some(1), max_connections: 1, ..Settings::default() };

        let (early, late) = over_tcp(site.door(settings), talk).await;

        assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
        assert_eq!(&late, b"HTTP/1.1 200");
    });
}
