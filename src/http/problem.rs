//! Problems: everything that goes wrong, as `application/problem+json` (RFC 9457).
//!
//! The mapping from the errors of the bus to [`Code`]s stands here and nowhere else.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use super::code::Code;
use super::request::segment;
use crate::bus::{PublishError, QueryError};
use crate::event::cloudevents::{Class, Refusal};

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// The header that names a request, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that says which media types a resource takes.
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// What `/v1/events` takes; any other media type needs `ce-` headers.
pub(super) const EVENT_TYPES: &str = "application/cloudevents+json, application/cloudevents-batch+json, */*";

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// URI-reference of the kind of problem: `/problems/` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do about it.
    pub detail: String,
    /// The kind, for programs.
    pub code: &'static str,
    /// Id of the request, as in the header `X-Request-Id` and in the log.
    pub instance: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What is wrong where; absent when there is nothing to point at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// How every request may be answered when it is not served.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "the document alone reads it")]
pub(super) enum Refusals {
    #[response(status = "4XX", description = "Refused", content_type = "application/problem+json")]
    Refused(Problem),
    #[response(status = "5XX", description = "Not now", content_type = "application/problem+json")]
    NotNow(Problem),
}

/// One thing that is wrong.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Fault {
    /// A JSON pointer into the body, or the name of a header or a query parameter.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

/// An answer with a status of 400 or more, on its way out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.0.detail)]
pub struct HttpError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    detail: String,
    errors: Vec<Fault>,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    closes: bool,
    instance: String,
}

impl HttpError {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
            closes: false,
            instance: String::new(),
        }))
    }

    /// A malformed request with one place that is wrong.
    pub(super) fn malformed(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.into(), detail.into());
        let shown = if pointer.is_empty() { detail.clone() } else { format!("`{pointer}` {detail}") };
        Self::new(Code::Malformed, shown).with_faults(vec![Fault { pointer, detail }])
    }

    #[must_use]
    pub(super) fn with_faults(mut self, errors: Vec<Fault>) -> Self {
        self.0.errors = errors;
        self
    }

    /// For a request with one event: the text says it all, an index would not.
    #[must_use]
    pub(super) fn without_faults(self) -> Self {
        self.with_faults(Vec::new())
    }

    #[must_use]
    pub(super) fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    #[must_use]
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    #[must_use]
    pub(super) fn with_allow(self, allow: &'static str) -> Self {
        self.with_header(ALLOW, HeaderValue::from_static(allow))
    }

    /// Says which media types are taken here.
    #[must_use]
    pub(super) fn with_accept_post(self, types: &'static str) -> Self {
        self.with_header(ACCEPT_POST, HeaderValue::from_static(types))
    }

    /// Ends the connection after the answer: the rest of the body is not read.
    #[must_use]
    pub(super) fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// Names the request it answers.
    #[must_use]
    pub(super) fn with_instance(mut self, request_id: &str) -> Self {
        request_id.clone_into(&mut self.0.instance);
        self
    }
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        self.0.code.facts().0
    }

    fn error_response(&self) -> HttpResponse {
        let inner = &self.0;
        let (status, code, title, retryable) = inner.code.facts();
        let mut response = HttpResponse::build(status);
        response.content_type(MEDIA_TYPE);
        if let Some(after) = inner.retry_after {
            response.insert_header((RETRY_AFTER, whole_seconds(after).to_string()));
        }
        for (name, value) in &inner.headers {
            response.append_header((name.clone(), value.clone()));
        }
        if inner.closes {
            response.force_close();
        }
        if !inner.instance.is_empty() {
            response.insert_header((REQUEST_ID, inner.instance.as_str()));
        }
        response.json(Problem {
            kind: format!("/problems/{code}"),
            title,
            status: status.as_u16(),
            detail: inner.detail.clone(),
            code,
            instance: inner.instance.clone(),
            retryable,
            errors: inner.errors.clone(),
        })
    }
}

/// A kind of problem.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ProblemKind {
    /// The `type` of its problems.
    r#type: String,
    /// The kind in a few words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// Whether the same request may succeed later.
    retryable: bool,
}

/// Tells what kind of problem a `type` is.
#[utoipa::path(
    get, path = "/problems/{code}", tag = "operation", operation_id = "problem",
    params(("code" = String, Path, description = "The code of a problem")),
    responses(
        (status = 200, description = "The kind", body = ProblemKind),
        (status = 404, description = "There is none of this code", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn explain(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let asked = segment(&request, 2)?;
    for code in Code::ALL {
        let (status, name, title, retryable) = code.facts();
        if name == asked {
            let kind = ProblemKind {
                r#type: format!("/problems/{name}"),
                title,
                status: status.as_u16(),
                retryable,
            };
            return Ok(HttpResponse::Ok().json(kind));
        }
    }
    Err(HttpError::new(Code::NotFound, "there is no problem of this code"))
}

/// Seconds for `Retry-After`: rounded up, at least one.
pub(super) fn whole_seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1)
}

/// How long to wait after an answer that a restart or a moment will change.
const SHORT: Duration = Duration::from_secs(1);
const RESTART: Duration = Duration::from_secs(5);
const ROOM: Duration = Duration::from_secs(30);

impl From<PublishError> for HttpError {
    fn from(error: PublishError) -> Self {
        let text = error.to_string();
        match error {
            PublishError::Saturated { retry_after } => {
                Self::new(Code::Saturated, text).with_retry_after(retry_after)
            }
            PublishError::Starting => Self::new(Code::NotReady, text).with_retry_after(SHORT),
            PublishError::Draining => Self::new(Code::Draining, text).with_retry_after(RESTART),
            PublishError::DiskFull { .. } => Self::new(Code::DiskFull, text).with_retry_after(ROOM),
            PublishError::Conflict { index, .. } => Self::new(Code::IdReused, text.clone())
                .with_faults(vec![Fault { pointer: format!("/{index}"), detail: text }]),
            PublishError::BadExpiry { .. } => Self::malformed("expirytime", text),
            PublishError::Reserved { .. } => Self::new(Code::Reserved, text),
            PublishError::ReservedSource { .. } => Self::new(Code::ReservedSource, text),
            PublishError::Unheard { .. } => Self::new(Code::UnknownEvent, text),
            PublishError::TooMany { .. } => Self::new(Code::BatchTooLarge, text),
            PublishError::Stopped { .. } => Self::new(Code::Stopped, text).with_retry_after(RESTART),
        }
    }
}

impl From<QueryError> for HttpError {
    fn from(error: QueryError) -> Self {
        let text = error.to_string();
        match error {
            QueryError::NotFound { .. } => Self::new(Code::NotFound, text),
            QueryError::Gone { .. } => Self::new(Code::Gone, text),
            QueryError::BadCursor { .. } => Self::malformed("cursor", text),
            QueryError::Refused { .. } => Self::new(Code::Refused, text),
            QueryError::Invalid { pointer, why } => Self::malformed(&pointer, why),
            QueryError::Saturated => Self::new(Code::Saturated, text).with_retry_after(SHORT),
            QueryError::Store(_) => Self::new(Code::StoreUnavailable, text).with_retry_after(RESTART),
        }
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.class {
            Class::Malformed => Code::Malformed,
            Class::UnsupportedMediaType => Code::UnsupportedMediaType,
            Class::TooMany => Code::BatchTooLarge,
        };
        let text = refusal.to_string();
        let faults = refusal.problems.into_iter().map(|p| Fault { pointer: p.pointer, detail: p.detail });
        let error = Self::new(code, text).with_faults(faults.collect());
        if code == Code::UnsupportedMediaType { error.with_accept_post(EVENT_TYPES) } else { error }
    }
}
