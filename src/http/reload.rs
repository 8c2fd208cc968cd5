//! Reload: the wiring of the config files, taken while the bus runs.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;

use super::code::Code;
use super::problem::{Fault, HttpError, Problem, Refusals};
use super::request::operator_name;
use super::{Door, body};
use crate::bus::{Operator, ReloadAsk, ReloadError, WiringDiff};

/// The most bytes of a reason.
const REASON_MAX: usize = 1000;

/// What to do; an empty body reloads.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadRequest {
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
}

/// Loads and checks the config anew and takes its wiring, or tells what is wrong and changes nothing.
#[utoipa::path(
    post, path = "/v1/reload", tag = "operation", operation_id = "reload",
    request_body = ReloadRequest,
    responses(
        (status = 200, description = "What has changed, or with `dry_run` what would", body = WiringDiff),
        (status = 422, description = "The config has errors; the wiring of before is in force", body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn reload(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let ReloadRequest { dry_run, reason } = asked(&body)?;
    let operator = Operator { by: operator_name(&request)?, reason };
    let diff = door.bus.reload(ReloadAsk { dry_run, keeps_all: false, operator }).await?;
    Ok(HttpResponse::Ok().json(diff))
}

fn asked(body: &Bytes) -> Result<ReloadRequest, HttpError> {
    if body.is_empty() {
        return Ok(ReloadRequest::default());
    }
    let asked: ReloadRequest = serde_json::from_slice(body).map_err(|error| {
        HttpError::malformed("", format!("the body is not {{\"dry_run\": …, \"reason\": \"…\"}}: {error}"))
    })?;
    if asked.reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    Ok(asked)
}

impl From<ReloadError> for HttpError {
    fn from(error: ReloadError) -> Self {
        let text = error.to_string();
        match error {
            ReloadError::Refused { faults, .. } => {
                let faults =
                    faults.into_iter().map(|fault| Fault { pointer: fault.place, detail: fault.detail });
                Self::new(Code::ConfigRefused, text).with_faults(faults.collect())
            }
            ReloadError::NotNow { .. } | ReloadError::NoConfig => Self::new(Code::Refused, text),
            ReloadError::Query(error) => error.into(),
        }
    }
}
