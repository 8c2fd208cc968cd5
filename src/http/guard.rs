//! Guard: what stands around every request: its id, its span, the limit on headers, and a net under panics.
//!
//! The guard is the only place that renders problems, so that each bears the request's id, and so that
//! what the server refuses by itself looks the same as what a handler refuses.

use std::panic::AssertUnwindSafe;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{ResponseError as _, web};
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Door;
use super::code::Code;
use super::problem::{HttpError, MEDIA_TYPE, REQUEST_ID};
use crate::clock::Stopwatch;

/// The longest request id that is taken over from the client, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// Runs one request.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(request.headers());
    let counted = Counted::begin(&request);
    let span = tracing::info_span!(
        "request", request_id = %id, method = request.method().as_str(), path = %counted.route,
        status = Empty, event_id = Empty
    );
    let answer = match check_headers(&request).and_then(|()| check_site(&request)) {
        Ok(()) => run(request, next, &id, &span).await,
        Err(refusal) => Err(refusal.with_instance(&id)),
    };
    counted.end(&span, answer.as_ref().map_or_else(HttpError::status_code, ServiceResponse::status));
    answer.map_err(Error::from)
}

async fn run(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    id: &str,
    span: &tracing::Span,
) -> Result<ServiceResponse<BoxBody>, HttpError> {
    // Nothing that a handler shares outlives its panic: the bus behind the handle runs on its own threads.
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().instrument(span.clone()).await;
    match outcome {
        Ok(Ok(response)) => Ok(render(response, id)),
        Ok(Err(error)) => Err(named(&error, id)),
        Err(_panic) => {
            // The message of a panic may hold a payload: the panic hook has shown it on standard error.
            span.in_scope(|| tracing::error!("a handler panicked, the request is answered with 500"));
            Err(HttpError::new(Code::Internal, "a handler failed; report it with this request's id")
                .with_instance(id))
        }
    }
}

fn check_headers(request: &ServiceRequest) -> Result<(), HttpError> {
    let limit = request.app_data::<web::Data<Door>>().map_or(usize::MAX, |door| door.settings.headers_max);
    let count = request.headers().len();
    if count <= limit {
        return Ok(());
    }
    let detail = format!("the request has {count} headers; the limit is {limit}");
    Err(HttpError::new(Code::HeadersTooLarge, detail).closing())
}

/// Refuses what the page of another site makes a browser send: a bus on loopback asks for no token, and a
/// post without a media type, or with that of a form, needs no consent of the bus. A browser that is too old
/// to name the site names the page's origin.
fn check_site(request: &ServiceRequest) -> Result<(), HttpError> {
    let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    let is_foreign = match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => matches!(site, b"cross-site" | b"same-site"),
        (None, Some(origin)) => {
            let own = header("host").unwrap_or_default();
            origin.strip_prefix(b"http://").or(origin.strip_prefix(b"https://")) != Some(own)
        }
        (None, None) => false,
    };
    if request.method().is_safe() || !is_foreign {
        return Ok(());
    }
    Err(HttpError::new(Code::CrossSite, "a browser may not act here for a page of another site").closing())
}

/// The client's id for the request when it is a sane one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &&str| !id.is_empty() && id.len() <= REQUEST_ID_MAX;
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_sane);
    given.map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// Names the request in the answer; an error becomes a problem with that name.
fn render(response: ServiceResponse<impl MessageBody + 'static>, id: &str) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let known = response.response().error().and_then(|error| error.as_error::<HttpError>());
        let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
        let problem = match known {
            Some(error) => Some(error.clone()),
            None if is_problem => None,
            None => {
                Some(HttpError::new(Code::of_status(status), "the server refused the request as it stands"))
            }
        };
        if let Some(problem) = problem {
            return response.into_response(problem.with_instance(id).error_response());
        }
    }
    let mut response = response.map_into_boxed_body();
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// An error that no handler answered for.
fn named(error: &Error, id: &str) -> HttpError {
    let status = error.as_response_error().status_code();
    let known = error.as_error::<HttpError>().cloned();
    known.unwrap_or_else(|| HttpError::new(Code::of_status(status), error.to_string())).with_instance(id)
}

/// A request that is counted when it is answered; a stream counts when it begins.
struct Counted {
    /// The template of the path, never the path itself: it ends up in a label.
    route: String,
    door: Option<web::Data<Door>>,
    since: Stopwatch,
}

impl Counted {
    fn begin(request: &ServiceRequest) -> Self {
        Self {
            route: request.match_pattern().unwrap_or_else(|| "other".to_owned()),
            door: request.app_data::<web::Data<Door>>().cloned(),
            since: Stopwatch::start(),
        }
    }

    fn end(self, span: &tracing::Span, status: StatusCode) {
        span.record("status", status.as_u16());
        span.in_scope(|| {
            if status.is_server_error() {
                tracing::warn!("request failed");
            } else {
                tracing::debug!("request answered");
            }
        });
        if let Some(door) = self.door {
            door.counters.requested(self.route, status.as_u16(), self.since.elapsed());
        }
    }
}
