//! Guard: what stands around every request: its id, its span, the limit on headers, and a net under panics.
//!
//! The guard is the only place that renders problems, so that each bears the request's id, and so that
//! what the server refuses by itself looks the same as what a handler refuses.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, ResponseError as _, web};
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Door;
use super::code::Code;
use super::problem::{HttpError, MEDIA_TYPE, REQUEST_ID};
use crate::clock::Stopwatch;
use crate::event::drawn_token;

/// The path of all events.
const EVENTS: &str = "/v1/events";
/// The template of the path of one.
const ONE_EVENT: &str = "/v1/events/{id}";
/// The longest request id that is taken over from the client, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// How a browser says which site a page is of.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Runs one request.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(request.headers());
    let counted = Counted::begin(&request);
    // At the level of what is logged of a request that goes well: whatever is logged of one that goes wrong says
    // by itself which it is, and a span costs more than most of a request does.
    let span = tracing::debug_span!(
        "request", request_id = id.as_str(), method = counted.method.as_str(), path = %counted.route,
        status = Empty, event_id = Empty
    );
    let answer = match check_headers(&request).and_then(|()| check_site(&request)) {
        Ok(()) => run(request, next, &id, &span, &counted).await,
        Err(refusal) => Err(refusal.with_instance(id.as_str())),
    };
    counted.end(&span, id.as_str(), answer.as_ref());
    answer.map_err(Error::from)
}

async fn run(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    id: &RequestId,
    span: &tracing::Span,
    counted: &Counted,
) -> Result<ServiceResponse<BoxBody>, HttpError> {
    // Nothing that a handler shares outlives its panic: the bus behind the handle runs on its own threads.
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().instrument(span.clone()).await;
    match outcome {
        Ok(Ok(response)) => Ok(render(response, id)),
        Ok(Err(error)) => Err(named(&error, id.as_str())),
        Err(_panic) => {
            // The message of a panic may hold a payload: the panic hook has shown it on standard error.
            let (method, path) = (counted.method.as_str(), &*counted.route);
            span.in_scope(|| {
                tracing::error!(
                    request_id = id.as_str(),
                    method,
                    path,
                    "a handler panicked, the request is answered with 500"
                );
            });
            Err(HttpError::new(Code::Internal, "a handler failed; report it with this request's id")
                .with_instance(id.as_str()))
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
    if request.method().is_safe() {
        return Ok(());
    }
    let header = |name: HeaderName| request.headers().get(name).map(HeaderValue::as_bytes);
    let is_foreign = match (header(SEC_FETCH_SITE), header(ORIGIN)) {
        (Some(site), _) => matches!(site, b"cross-site" | b"same-site"),
        (None, Some(origin)) => {
            let own = header(HOST).unwrap_or_default();
            origin.strip_prefix(b"http://").or(origin.strip_prefix(b"https://")) != Some(own)
        }
        (None, None) => false,
    };
    if !is_foreign {
        return Ok(());
    }
    Err(HttpError::new(Code::CrossSite, "a browser may not act here for a page of another site").closing())
}

/// The client's id for the request when it is a sane one, else a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let is_sane =
        |id: &&HeaderValue| id.to_str().is_ok_and(|id| !id.is_empty() && id.len() <= REQUEST_ID_MAX);
    let given = headers.get(REQUEST_ID).filter(is_sane).cloned();
    let drawn = || HeaderValue::from_str(drawn_token().simple().encode_lower(&mut [0; 32]));
    RequestId(given.or_else(|| drawn().ok()).unwrap_or(HeaderValue::from_static("unnamed")))
}

/// Names a request, in its answer and in the log: as a header, which it comes and goes as.
struct RequestId(HeaderValue);

impl RequestId {
    fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Names the request in the answer; an error becomes a problem with that name.
fn render(response: ServiceResponse<impl MessageBody + 'static>, id: &RequestId) -> ServiceResponse<BoxBody> {
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
            return response.into_response(problem.with_instance(id.as_str()).error_response());
        }
    }
    let mut response = response.map_into_boxed_body();
    response.headers_mut().insert(REQUEST_ID, id.0.clone());
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
    route: Cow<'static, str>,
    method: Method,
    door: Option<web::Data<Door>>,
    since: Stopwatch,
}

impl Counted {
    fn begin(request: &ServiceRequest) -> Self {
        Self {
            route: template(request),
            method: request.method().clone(),
            door: request.app_data::<web::Data<Door>>().cloned(),
            since: Stopwatch::start(),
        }
    }

    fn end(self, span: &tracing::Span, id: &str, answer: Result<&ServiceResponse<BoxBody>, &HttpError>) {
        let status = answer.map_or_else(HttpError::status_code, ServiceResponse::status);
        span.record("status", status.as_u16());
        span.in_scope(|| {
            if status.is_server_error() {
                let extensions = answer.ok().map(|response| response.request().extensions());
                let event = extensions.as_ref().and_then(|extensions| extensions.get::<AskedFor>());
                let event_id = event.map(|event| &*event.0);
                let (request_id, method, path) = (id, self.method.as_str(), &*self.route);
                tracing::warn!(
                    request_id,
                    method,
                    path,
                    status = status.as_u16(),
                    event_id,
                    "request failed"
                );
            } else {
                tracing::debug!("request answered");
            }
        });
        if let Some(door) = self.door {
            door.counters.requested(self.route, status.as_u16(), self.since.elapsed());
        }
    }
}

/// The event that a request which fails was about; a handler leaves it with the request, for the log.
pub(super) struct AskedFor(pub(super) String);

/// The template of the path. Matching it against all routes takes an allocation for each, so the paths of publishers
/// and pollers are known here.
fn template(request: &ServiceRequest) -> Cow<'static, str> {
    match request.path().strip_prefix(EVENTS) {
        Some("") => EVENTS.into(),
        Some(rest) if rest.len() > 1 && rest.rfind('/') == Some(0) => ONE_EVENT.into(),
        _ => request.match_pattern().map_or(Cow::Borrowed("other"), Cow::Owned),
    }
}
