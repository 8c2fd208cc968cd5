//! A client that takes every answer as an answer.

use std::io::{BufRead as _, BufReader, Read};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http;

/// Asks one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    client: &'a Client,
    builder: http::request::Builder,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(40)))
            .build();
        Self { agent: config.into(), url: url.to_owned() }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request<'_> {
        let builder = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        Request { client: self, builder, body: Vec::new() }
    }

    pub(crate) fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Request<'_> {
        self.request("POST", path)
    }

    /// The body of an answer that must be 200.
    #[track_caller]
    pub(crate) fn get_json(&self, path: &str) -> Value {
        let reply = self.get(path).send();
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        reply.json()
    }
}

impl Request<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value.as_bytes());
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The answer; panics when there is none.
    #[track_caller]
    pub(crate) fn send(self) -> Reply {
        match self.try_send() {
            Ok(reply) => reply,
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// The answer, or why there is none.
    pub(crate) fn try_send(self) -> Result<Reply, ureq::Error> {
        let mut response = self.client.agent.run(self.builder.body(self.body).unwrap())?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        Ok(Reply { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// Opens a stream of server-sent events.
    pub(crate) fn stream(self) -> Stream {
        let request = self.header("accept", "text/event-stream");
        let response = request.client.agent.run(request.builder.body(()).unwrap()).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let reader: Box<dyn Read> = Box::new(response.into_body().into_reader());
        Stream(BufReader::new(reader))
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header's value, empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem, after a look at whether the body is one.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("/problems/{code}"), "{body}");
        for text in ["title", "detail", "instance"] {
            assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {body}");
        }
        assert!(body["retryable"].is_boolean(), "{body}");
        assert_eq!(body["instance"], self.header("x-request-id"), "{body}");
        code
    }
}

/// Server-sent events, one after the other.
pub(crate) struct Stream(BufReader<Box<dyn Read>>);

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Iterator for Stream {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let (mut id, mut event, mut data) = (None, String::new(), String::new());
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => value.clone_into(&mut event),
                Some(("data", value)) => data.push_str(value),
                None if !event.is_empty() => {
                    return Some(Message { id, event, data: serde_json::from_str(&data).unwrap() });
                }
                _ => {}
            }
        }
    }
}
