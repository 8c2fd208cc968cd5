//! Openapi: the description of the door, made from the handlers.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::OpenApi;

use super::{
    audit, bulk, dead_letters, delayed, envelope, explain, flow, health, mend, problem, publish, reload,
    replays, schedules, search, status, steering, subscriptions, unheard, upkeep,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidegate",
        description = "A durable event bus. An answer of 202 means that the event is on disk. Every error is \
            `application/problem+json`; its `code` is for programs, `retryable` says whether the same request \
            may succeed later.",
    ),
    paths(
        publish::publish,
        publish::publish_plain,
        status::status,
        envelope::envelope,
        explain::explain,
        search::events,
        search::flows,
        flow::flow,
        flow::cancel,
        dead_letters::list,
        dead_letters::show,
        dead_letters::groups,
        dead_letters::waiting,
        mend::retry,
        mend::skip,
        mend::edit,
        mend::done,
        bulk::retry,
        bulk::skip,
        bulk::list,
        bulk::show,
        bulk::items,
        bulk::stop,
        bulk::resume,
        audit::audit,
        delayed::cancel,
        delayed::reschedule,
        schedules::list,
        subscriptions::list,
        subscriptions::show,
        subscriptions::pause,
        subscriptions::resume,
        subscriptions::state,
        reload::reload,
        steering::drain,
        steering::keys,
        steering::park,
        steering::resume,
        steering::bus,
        steering::pause_bus,
        steering::resume_bus,
        steering::drain_bus,
        unheard::unrouted,
        unheard::filtered,
        replays::replay,
        replays::list,
        replays::show,
        replays::stop,
        upkeep::verify,
        upkeep::verification,
        upkeep::backup,
        health::health,
        health::ready,
        health::metrics,
        problem::explain,
        openapi,
    )
)]
pub(super) struct Document;

/// Written once: it never changes while the process runs.
static TEXT: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());

/// Describes this API.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operation", operation_id = "openapi",
    responses((status = 200, description = "This document", body = serde_json::Value))
)]
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(TEXT.as_str())
}
