//! Audit: who did what, when and why, and what the system found.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Door;
use super::dead_letters::page_limit;
use super::problem::{HttpError, Refusals};
use super::request::{moment, query};
use crate::bus::view::Page;
use crate::bus::{FactFilter, FactView};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// The fact's name, such as `tidegate.dead_letter.retried`.
    name: Option<String>,
    /// Told at this time or later, RFC 3339.
    since: Option<String>,
    /// Told before this time, RFC 3339.
    until: Option<String>,
    /// What it is about (a dead letter, a subscription, a flow, a job), or the event that it came of.
    about: Option<String>,
    /// Who acted.
    by: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Lists what operators did and what the system found, the newest first.
///
/// A page may be short or even empty and still have a `next`: a question looks at a bounded number of facts.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit", operation_id = "audit", params(AuditQuery),
    responses(
        (status = 200, description = "A page of facts", body = Page<FactView>),
        Refusals
    )
)]
pub(super) async fn audit(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: AuditQuery = query(&request)?;
    let time = |name: &str, text: Option<String>| text.map(|text| moment(name, &text)).transpose();
    let filter = FactFilter {
        name: asked.name,
        since: time("since", asked.since)?,
        until: time("until", asked.until)?,
        about: asked.about,
        by: asked.by,
    };
    let page = door.bus.audit(filter, asked.cursor, page_limit(asked.limit)?).await?;
    Ok(HttpResponse::Ok().json(page))
}
