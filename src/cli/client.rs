//! Client: one call to the server's HTTP interface.
//!
//! A call never follows a redirect and never goes through a proxy: the answer must be the bus's own. What
//! went wrong is told apart by what the caller can do about it: nothing was reached, the outcome is unknown,
//! or the server has said no (see [`Failure`]).

use std::io::ErrorKind;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::args::ServerArgs;
use super::failure::{Failure, Problem};

/// Media type of plain JSON.
pub(super) const JSON: &str = "application/json";
/// Media type of one event in structured mode.
pub(super) const CLOUDEVENT: &str = "application/cloudevents+json";
/// Media type of many events.
pub(super) const CLOUDEVENTS: &str = "application/cloudevents-batch+json";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take, on top of the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an answer: a flow with very many events is large, an endless answer is a mistake.
const ANSWER_BYTES: u64 = 256 << 20;
/// Most connections that are kept open, as many as `--concurrency` allows.
const CONNECTIONS: usize = 256;

/// The most bytes of an operator's name.
const OPERATOR_MAX: usize = 200;

/// What a path segment or a query value may hold as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Speaks with one server; shared by threads.
#[derive(Debug)]
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    /// Who acts.
    by: Option<String>,
}

/// An answer that says yes.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its body.
    pub(super) body: String,
    /// Whether the server says that it has known the event before.
    pub(super) is_replayed: bool,
    url: String,
}

impl Client {
    /// A client of the server that the arguments name. Nothing is connected yet.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the address is none.
    pub(super) fn new(server: &ServerArgs) -> Result<Self, Failure> {
        let url = server.url.trim();
        let host = match url.split_once("://") {
            Some(("http", host)) => host,
            Some(_) => "",
            None => url,
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() {
            let remedy = "write http://HOST:PORT (TLS ends at a proxy in front)";
            return Err(Failure::Usage(format!("{url:?} is no address of a server; {remedy}")));
        }
        let base = format!("http://{host}");
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, base, by: operator(server.by.as_deref())? })
    }

    /// Asks for `path`; with `wait` the server may hold the answer back until something has changed.
    ///
    /// # Errors
    /// As the module says.
    pub(super) fn get(&self, path: &str, wait: Option<Duration>) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.get(&url).header("accept", JSON);
        if let Some(wait) = wait {
            request = request.header("prefer", format!("wait={}", wait.as_secs()));
        }
        let patience = ANSWER_TIMEOUT.saturating_add(wait.unwrap_or_default());
        self.read(url, request.config().timeout_global(Some(patience)).build().call())
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// As the module says.
    pub(super) fn post(&self, path: &str, media_type: &str, body: &str) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        self.send(url, media_type, body, None)
    }

    /// Sends an operator's act to `path`; with `wait` the server may hold the answer back.
    ///
    /// # Errors
    /// As the module says.
    pub(super) fn act(&self, path: &str, body: &str, wait: Option<Duration>) -> Result<Answer, Failure> {
        self.send(format!("{}{path}", self.base), JSON, body, wait)
    }

    /// Has the server make something large, which is read piece by piece.
    ///
    /// # Errors
    /// As the module says.
    pub(super) fn stream(&self, path: &str) -> Result<Box<dyn std::io::Read>, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url).header("content-type", JSON);
        if let Some(by) = &self.by {
            request = request.header("tidegate-operator", by);
        }
        let outcome = request.send("{}");
        match outcome {
            Ok(response) if response.status().is_success() => {
                Ok(Box::new(response.into_body().into_reader()))
            }
            refused => {
                Err(self.read(url, refused).err().unwrap_or_else(|| Failure::No("no answer".to_owned())))
            }
        }
    }

    /// What it means that an answer broke off.
    pub(super) fn broken(&self, error: &std::io::Error) -> Failure {
        Failure::Broken { url: self.base.clone(), cause: error.to_string() }
    }

    fn send(
        &self,
        url: String,
        media_type: &str,
        body: &str,
        wait: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let mut request = self.agent.post(&url).header("accept", JSON).header("content-type", media_type);
        if let Some(by) = &self.by {
            request = request.header("tidegate-operator", by);
        }
        if let Some(wait) = wait {
            request = request.header("prefer", format!("wait={}", wait.as_secs()));
        }
        let patience = ANSWER_TIMEOUT.saturating_add(wait.unwrap_or_default());
        self.read(url, request.config().timeout_global(Some(patience)).build().send(body))
    }

    fn read(
        &self,
        url: String,
        outcome: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, Failure> {
        let mut response = outcome.map_err(|error| self.failed(&error))?;
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.trim().to_owned());
        let is_replayed = header("idempotency-replayed").is_some_and(|value| value == "true");
        let retry_after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES).lossy_utf8(true).read_to_string();
        let body = body.map_err(|error| self.failed(&error))?;
        if status.is_success() {
            return Ok(Answer { body, is_replayed, url });
        }
        let problem = Problem { retry_after, ..problem_of(status.as_u16(), &body) };
        Err(Failure::Refused(Box::new(problem)))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow; unknown is unknown")]
    fn failed(&self, error: &ureq::Error) -> Failure {
        let (url, cause) = (self.base.clone(), error.to_string());
        match error {
            ureq::Error::Io(io) if was_never_connected(io.kind()) => {
                Failure::Unreachable { url, cause: io.to_string(), offline: None }
            }
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Failure::Unreachable { url, cause, offline: None }
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::Usage(format!("{url}: {cause}")),
            ureq::Error::Protocol(_)
            | ureq::Error::LargeResponseHeader(..)
            | ureq::Error::BodyExceedsLimit(_) => Failure::Strange { url, cause },
            _ => Failure::Broken { url, cause },
        }
    }
}

impl Answer {
    /// The body as a value.
    ///
    /// # Errors
    /// [`Failure::Strange`] when it is something else.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.body)
            .map_err(|error| Failure::Strange { url: self.url.clone(), cause: error.to_string() })
    }
}

/// Who acts: as it is said, else the user of this machine.
///
/// # Errors
/// [`Failure::Usage`] when the name cannot be sent; one of the machine's that cannot is left out.
fn operator(said: Option<&str>) -> Result<Option<String>, Failure> {
    let fits =
        |name: &str| name.len() <= OPERATOR_MAX && !name.contains(|c: char| c.is_control() || !c.is_ascii());
    match said {
        Some(name) if !fits(name) => Err(Failure::Usage(format!(
            "{name:?} cannot be sent as a name; write up to {OPERATOR_MAX} ASCII characters with --by"
        ))),
        Some(name) => Ok(Some(name.to_owned()).filter(|name| !name.is_empty())),
        None => Ok(std::env::var("USER").ok().filter(|name| !name.is_empty() && fits(name))),
    }
}

/// A text as one segment of a path or one value of a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// The path of an event's status.
pub(super) fn status_path(id: &str, source: &str) -> String {
    let (id, source) = (encoded(id), encoded(source));
    // `.` and `..` are no segments of a path, however they are written.
    if matches!(&*id, "." | "..") {
        format!("/v1/events?id={id}&source={source}")
    } else {
        format!("/v1/events/{id}?source={source}")
    }
}

fn was_never_connected(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable
            | ErrorKind::NotFound
    )
}

/// Reads problem details; an answer that holds none (from a proxy, say) is told by its first line.
fn problem_of(status: u16, body: &str) -> Problem {
    let known = serde_json::from_str::<Problem>(body).ok().filter(|problem| !problem.title.is_empty());
    let problem = known.unwrap_or_else(|| Problem {
        title: "the server has refused".to_owned(),
        detail: body.lines().next().map(|line| line.chars().take(200).collect()),
        ..Problem::default()
    });
    Problem { status: Some(status), ..problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> ServerArgs {
        ServerArgs { url: url.to_owned(), by: None }
    }

    #[test]
    fn an_address_may_leave_out_the_scheme_but_not_name_another() {
        assert_eq!(Client::new(&server("bus:7070/")).unwrap().base, "http://bus:7070");
        assert_eq!(Client::new(&server("http://bus:7070")).unwrap().base, "http://bus:7070");
        for bad in ["", "https://bus", "ftp://bus", "http://"] {
            assert!(matches!(Client::new(&server(bad)), Err(Failure::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn who_acts_is_said_or_the_user_of_the_machine() {
        let client = |by: &str| Client::new(&ServerArgs { by: Some(by.to_owned()), ..server("bus") });

        assert_eq!(client("ann").unwrap().by.as_deref(), Some("ann"));
        assert_eq!(client("").unwrap().by, None);
        for bad in ["a\nb", "é", &"a".repeat(201)] {
            assert!(matches!(client(bad), Err(Failure::Usage(_))), "{bad}");
        }
        let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
        assert_eq!(Client::new(&server("bus")).unwrap().by, user);
    }

    #[test]
    fn every_act_says_who_acts() {
        let url = crate::cli::fake::serve(|request| {
            crate::cli::fake::json(200, &serde_json::json!(request.operator))
        });
        let client = Client::new(&ServerArgs { by: Some("ann".to_owned()), ..server(&url) }).unwrap();

        assert_eq!(client.post("/v1/jobs/j1/stop", JSON, "{}").unwrap().body, r#""ann""#);
    }

    #[test]
    fn ids_are_encoded_whole() {
        assert_eq!(status_path("a/b?c é", "/http"), "/v1/events/a%2Fb%3Fc%20%C3%A9?source=%2Fhttp");
    }

    #[test]
    fn a_refusal_is_read_with_its_remedy_and_without_problem_details_by_its_first_line() {
        let body =
            r#"{"title":"saturated","detail":"queue is full","remedy":"try later","status":503,"limit":8}"#;

        let told = problem_of(503, body);
        let foreign = problem_of(502, "<html>bad gateway\nmore");

        assert_eq!(told.to_string(), "saturated (503)\n  queue is full\n  = try later");
        assert_eq!(told.rest["limit"], 8);
        assert_eq!(foreign.to_string(), "the server has refused (502)\n  <html>bad gateway");
    }

    #[test]
    fn a_closed_port_is_told_with_the_address_and_the_way_to_start() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::new(&server(&format!("127.0.0.1:{port}"))).unwrap();

        let failure = client.get("/health", None).unwrap_err();

        assert!(matches!(failure, Failure::Unreachable { .. }), "{failure}");
        let text = failure.to_string();
        assert!(text.contains(&port.to_string()) && text.contains("tidegate serve"), "{text}");
    }
}
