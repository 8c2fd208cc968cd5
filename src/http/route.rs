//! Route: which path and method leads to which handler.

use actix_web::guard::fn_guard;
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route};

use super::code::Code;
use super::problem::{ACCEPT_POST, EVENT_TYPES, HttpError};
use super::{
    Door, audit, bulk, dead_letters, delayed, envelope, explain, flow, health, mend, openapi, problem,
    publish, reload, replays, schedules, search, status, steering, subscriptions, unheard, upkeep,
};

const READ: &str = "GET, HEAD, OPTIONS";
const ACT: &str = "POST, OPTIONS";
const READ_AND_ACT: &str = "GET, HEAD, POST, OPTIONS";
const JSON: &str = "application/json";

/// Adds all routes of the door.
///
/// Problems get their final shape from the guard that [`app`](super::app) puts around them.
pub fn configure(routes: &mut ServiceConfig, door: Door) {
    routes.app_data(web::Data::new(door));
    events(routes);
    operators(routes);
    routes
        .service(get("/health", health::health))
        .service(get("/ready", health::ready))
        .service(get("/metrics", health::metrics))
        .service(get("/problems/{code}", problem::explain))
        .service(get("/openapi.json", openapi::openapi))
        .default_service(web::route().to(not_found));
}

fn events(routes: &mut ServiceConfig) {
    routes
        .service(
            resource("/v1/events", READ_AND_ACT, Some(EVENT_TYPES))
                .route(acting().to(publish::publish))
                .route(reading().to(search::events)),
        )
        .service(
            resource("/v1/events/{id}", READ_AND_ACT, Some(JSON))
                .route(acting().to(publish::publish_plain))
                .route(reading().to(status::status)),
        )
        .service(get("/v1/events/{id}/envelope", envelope::envelope))
        .service(get("/v1/explain/{id}", explain::explain))
        .service(get("/v1/flows", search::flows))
        .service(post("/v1/events/{id}/cancel", delayed::cancel))
        .service(post("/v1/events/{id}/reschedule", delayed::reschedule))
        .service(get("/v1/flows/{id}", flow::flow));
}

fn operators(routes: &mut ServiceConfig) {
    routes
        .service(post("/v1/flows/{id}/cancel", flow::cancel))
        .service(get("/v1/dead-letters", dead_letters::list))
        // No dead letter has one of these ids: they end with a number.
        .service(get("/v1/dead-letters/groups", dead_letters::groups))
        .service(post("/v1/dead-letters/retry", bulk::retry))
        .service(post("/v1/dead-letters/skip", bulk::skip))
        .service(get("/v1/dead-letters/{id}", dead_letters::show))
        .service(get("/v1/dead-letters/{id}/waiting", dead_letters::waiting))
        .service(post("/v1/dead-letters/{id}/retry", mend::retry))
        .service(post("/v1/dead-letters/{id}/skip", mend::skip))
        .service(post("/v1/dead-letters/{id}/edit", mend::edit))
        .service(post("/v1/dead-letters/{id}/done", mend::done))
        .service(get("/v1/jobs", bulk::list))
        .service(get("/v1/jobs/{id}", bulk::show))
        .service(get("/v1/jobs/{id}/items", bulk::items))
        .service(post("/v1/jobs/{id}/stop", bulk::stop))
        .service(post("/v1/jobs/{id}/resume", bulk::resume))
        .service(get("/v1/audit", audit::audit))
        .service(get("/v1/schedules", schedules::list))
        .service(post("/v1/reload", reload::reload))
        .service(post("/v1/store/backup", upkeep::backup))
        .service(
            resource("/v1/store/verify", READ_AND_ACT, Some(JSON))
                .route(web::post().to(upkeep::verify))
                .route(web::get().to(upkeep::verification))
                .route(web::head().to(upkeep::verification)),
        )
        .service(get("/v1/subscriptions", subscriptions::list))
        .service(get("/v1/subscriptions/{name}", subscriptions::show))
        .service(post("/v1/subscriptions/{name}/pause", subscriptions::pause))
        .service(post("/v1/subscriptions/{name}/resume", subscriptions::resume))
        .service(post("/v1/subscriptions/{name}/drain", steering::drain))
        .service(get("/v1/subscriptions/{name}/keys", steering::keys))
        .service(post("/v1/subscriptions/{name}/keys/park", steering::park))
        .service(post("/v1/subscriptions/{name}/keys/resume", steering::resume))
        .service(get("/v1/bus", steering::bus))
        .service(post("/v1/bus/pause", steering::pause_bus))
        .service(post("/v1/bus/resume", steering::resume_bus))
        .service(post("/v1/bus/drain", steering::drain_bus))
        .service(get("/v1/subscriptions/{name}/filtered", unheard::filtered))
        .service(post("/v1/subscriptions/{name}/replay", replays::replay))
        .service(get("/v1/replays", replays::list))
        .service(get("/v1/replays/{id}", replays::show))
        .service(post("/v1/replays/{id}/stop", replays::stop))
        .service(get("/v1/unrouted", unheard::unrouted))
        // A key may be empty, and a slash in it may come unencoded.
        .service(get("/v1/subscriptions/{name}/state/{key:.*}", subscriptions::state));
}

fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    resource(path, READ, None).route(reading().to(handler))
}

fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: actix_web::Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    resource(path, ACT, Some(JSON)).route(acting().to(handler))
}

/// A route of GET and HEAD. actix's own guards of methods remember for each request which were tried, in five
/// allocations, for its answer to a method that there is not; ours is in [`resource`].
fn reading() -> Route {
    web::route().guard(fn_guard(|request| matches!(request.head().method, Method::GET | Method::HEAD)))
}

/// A route of POST.
fn acting() -> Route {
    web::route().guard(fn_guard(|request| request.head().method == Method::POST))
}

/// A resource that answers `OPTIONS`, and any method it does not know with 405.
fn resource(path: &str, allow: &'static str, takes: Option<&'static str>) -> Resource {
    let other = move |request: HttpRequest| async move { other_method(&request, allow, takes) };
    web::resource(path).default_service(web::route().to(other))
}

fn other_method(
    request: &HttpRequest,
    allow: &'static str,
    takes: Option<&'static str>,
) -> Result<HttpResponse, HttpError> {
    if request.method() != Method::OPTIONS {
        let detail = format!("{} is not for this path; it takes {allow}", request.method());
        return Err(HttpError::new(Code::MethodNotAllowed, detail).with_allow(allow));
    }
    let mut response = HttpResponse::NoContent();
    response.insert_header((ALLOW, allow));
    if let Some(types) = takes {
        response.insert_header((ACCEPT_POST, types));
    }
    Ok(response.finish())
}

async fn not_found(request: HttpRequest) -> Result<HttpResponse, HttpError> {
    if request.method() == Method::OPTIONS && request.path() == "*" {
        return Ok(HttpResponse::NoContent().insert_header((ALLOW, READ_AND_ACT)).finish());
    }
    Err(HttpError::new(Code::NotFound, "no such path; `/openapi.json` lists them all"))
}
