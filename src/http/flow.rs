//! Flow: everything that happened in one business run.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Door;
use super::problem::{HttpError, Problem};
use super::request::{query, segment};
use super::status::tagged;
use crate::bus::view::FlowView;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FlowQuery {
    /// `true`: with each delivery the state that its step keeps for its key, as it is now; how it was before
    /// and after the delivery is not recorded.
    #[serde(default)]
    state: bool,
}

/// Tells everything that happened in a flow.
///
/// Its events in the order of acknowledgement, each with its deliveries and their attempts, and the steps
/// that it may still reach.
#[utoipa::path(
    get, path = "/v1/flows/{id}", tag = "flows", operation_id = "flow",
    params(
        ("id" = String, Path, description = "The flow id, percent-encoded"),
        FlowQuery,
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of what is known"),
    ),
    responses(
        (status = 200, description = "The flow", body = FlowView, headers(("ETag" = String))),
        (status = 304, description = "Nothing has changed"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn flow(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let FlowQuery { state } = query(&request)?;
    let flow = segment(&request, 3)?;
    let view = if state { door.bus.flow_with_state(&flow).await? } else { door.bus.flow(&flow).await? };
    tagged(&request, &door, &view, view.version, view.status, None)
}
