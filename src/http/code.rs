//! Code: the kinds of problems, for programs.
//!
//! A code fixes the status, the title and whether the same request may succeed later.

use actix_web::http::StatusCode;

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Malformed,
    Reserved,
    CrossSite,
    NotFound,
    MethodNotAllowed,
    BodyTimeout,
    Refused,
    Gone,
    TooLarge,
    BatchTooLarge,
    UnsupportedMediaType,
    IdReused,
    ReservedSource,
    UnknownEvent,
    ConfigRefused,
    HeadersTooLarge,
    Internal,
    Saturated,
    Draining,
    Stopped,
    NotReady,
    StoreUnavailable,
    DiskFull,
}

impl Code {
    /// All of them.
    pub(super) const ALL: [Self; 23] = [
        Self::Malformed,
        Self::Reserved,
        Self::CrossSite,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::Refused,
        Self::Gone,
        Self::TooLarge,
        Self::BatchTooLarge,
        Self::UnsupportedMediaType,
        Self::IdReused,
        Self::ReservedSource,
        Self::UnknownEvent,
        Self::ConfigRefused,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::Saturated,
        Self::Draining,
        Self::Stopped,
        Self::NotReady,
        Self::StoreUnavailable,
        Self::DiskFull,
    ];

    /// Status, name, title, and whether the same request may succeed later.
    #[expect(clippy::too_many_lines, reason = "one table, a line for each code")]
    pub(super) const fn facts(self) -> (StatusCode, &'static str, &'static str, bool) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "the request is malformed", false),
            Self::Reserved => (StatusCode::FORBIDDEN, "reserved-name", "the event name is reserved", false),
            Self::CrossSite => {
                (StatusCode::FORBIDDEN, "cross-site", "a page of another site sent this", false)
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "there is no such thing", false),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "the method is not allowed here",
                false,
            ),
            Self::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "body-timeout", "the body took too long", true)
            }
            Self::Refused => (StatusCode::CONFLICT, "refused", "it cannot be done as things stand", false),
            Self::Gone => (StatusCode::GONE, "gone", "its time to live is over", false),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large", false),
            Self::BatchTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "batch-too-large", "the batch has too many events", false)
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "the media type is not known",
                false,
            ),
            Self::IdReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "the id is taken by another event",
                false,
            ),
            Self::ReservedSource => {
                (StatusCode::UNPROCESSABLE_ENTITY, "reserved-source", "the source is the bus's own", false)
            }
            Self::UnknownEvent => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown-event", "nobody listens to this event", false)
            }
            Self::ConfigRefused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "config-refused", "the config has errors", false)
            }
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "the request has too many headers",
                false,
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server has a fault", true),
            Self::Saturated => {
                (StatusCode::SERVICE_UNAVAILABLE, "saturated", "there is too much to do", true)
            }
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", "the bus is shutting down", true),
            Self::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopped", "the bus has stopped", true),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the bus is not ready", true),
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", "the store cannot be read", true)
            }
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full", "the disk is full", true),
        }
    }

    /// The code that comes nearest to a status which the server has set by itself.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::BodyTimeout,
            413 => Self::TooLarge,
            415 => Self::UnsupportedMediaType,
            431 => Self::HeadersTooLarge,
            400..=499 => Self::Malformed,
            _ => Self::Internal,
        }
    }
}
