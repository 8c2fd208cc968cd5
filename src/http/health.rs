//! Health: for those who watch the process.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::Door;
use super::code::Code;
use super::problem::{HttpError, Problem};
use crate::bus::Readiness;

/// When to ask again.
const AGAIN: Duration = Duration::from_secs(1);
/// What `prometheus-client` writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// That all is well.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    /// `ok` or `ready`.
    status: &'static str,
}

/// Tells that the process lives, whatever the bus does.
#[utoipa::path(
    get, path = "/health", tag = "operation", operation_id = "health",
    responses((status = 200, description = "The process lives", body = Health))
)]
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Tells whether the bus takes events.
#[utoipa::path(
    get, path = "/ready", tag = "operation", operation_id = "ready",
    responses(
        (status = 200, description = "It does", body = Health),
        (status = 503, description = "It does not, and why", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let detail = match door.bus.readiness() {
        Readiness::Ready => match door.bus.stalled() {
            None => return Ok(HttpResponse::Ok().json(Health { status: "ready" })),
            Some(long) => {
                let long = long.as_secs_f64();
                format!(
                    "a commit has been under way for {long:.1} s: the disk does not answer; look at the disk"
                )
            }
        },
        Readiness::Starting => "the bus recovers from disk".to_owned(),
        Readiness::Draining => "the bus drains for its shutdown".to_owned(),
        Readiness::Unhealthy { cause } if door.bus.is_read_only() => {
            format!(
                "the bus takes no events, and tells statuses as they are on disk until it is restarted: {cause}"
            )
        }
        Readiness::Unhealthy { cause } => format!("the bus takes no events: {cause}"),
    };
    Err(HttpError::new(Code::NotReady, detail).with_retry_after(AGAIN))
}

/// Tells all counters, in the `OpenMetrics` text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", operation_id = "metrics",
    responses((status = 200, description = "The counters", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(door: web::Data<Door>) -> HttpResponse {
    HttpResponse::Ok().content_type(METRICS_TYPE).body((door.metrics)())
}
