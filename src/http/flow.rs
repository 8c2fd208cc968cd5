//! Flow: everything that happened in one business run.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::problem::{HttpError, Problem, Refusals};
use super::request::{operator_name, query, segment};
use super::status::tagged;
use super::{Door, body};
use crate::bus::Operator;
use crate::bus::view::{FlowStatus, FlowView};

/// The most bytes of a reason.
const REASON_MAX: usize = 1000;

/// The body of a cancel.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    /// Why the flow is undone; it is kept with the act.
    reason: String,
}

/// The answer to a cancel.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct CancelAnswer {
    /// The flow.
    flow: String,
    /// Where it stands now: `compensating`, `stuck` or `compensated`.
    status: FlowStatus,
}

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
        Refusals
    )
)]
pub(super) async fn flow(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let FlowQuery { state } = query(&request)?;
    let flow = segment(&request, 3)?;
    let view = if state { door.bus.flow_with_state(&flow).await? } else { door.bus.flow(&flow).await? };
    tagged(&request, &door, &view, view.version, view.status, None)
}

/// Has a flow undone.
///
/// The undos that its steps have recorded are emitted, the last one first; nothing else of the flow runs any
/// more, and its dead letters are skipped. Repeating is safe: a flow that is undone is answered as it stands.
#[utoipa::path(
    post, path = "/v1/flows/{id}/cancel", tag = "flows", operation_id = "cancel_flow",
    params(("id" = String, Path, description = "The flow id, percent-encoded")),
    request_body = CancelRequest,
    responses(
        (status = 200, description = "It is being undone", body = CancelAnswer),
        (status = "4XX", description = "Refused; 409 past its point of no return", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let flow = segment(&request, 3)?;
    let asked: CancelRequest = serde_json::from_slice(&body).map_err(|error| {
        HttpError::malformed("", format!("the body is not {{\"reason\": \"…\"}}: {error}"))
    })?;
    if asked.reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    if asked.reason.trim().is_empty() {
        return Err(HttpError::malformed("/reason", "is missing; say why the flow is undone"));
    }
    let operator = Operator { by: operator_name(&request)?, reason: asked.reason };
    let status = door.bus.cancel_flow(&flow, operator).await?;
    Ok(HttpResponse::Ok().json(CancelAnswer { flow, status }))
}
