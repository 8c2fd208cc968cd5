//! Answers: bodies of JSON, with one allocation for each, and headers that are the same in every answer.

use std::cell::RefCell;
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use serde::Serialize;

use super::code::Code;
use super::problem::{HttpError, whole_seconds};

/// What is kept of the room for one body until the next; a larger one is given back.
const KEPT_MAX: usize = 64 * 1024;

thread_local! {
    /// Where bodies are written before their length is known.
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// `value` as JSON.
///
/// # Errors
/// 500 when it cannot be written.
pub(super) fn json(value: &impl Serialize) -> Result<Bytes, HttpError> {
    let mut written = WRITTEN.take();
    written.clear();
    let done = serde_json::to_writer(&mut written, value);
    let body = Bytes::copy_from_slice(&written);
    if written.capacity() <= KEPT_MAX {
        WRITTEN.set(written);
    }
    match done {
        Ok(()) => Ok(body),
        Err(error) => Err(HttpError::new(Code::Internal, format!("the answer cannot be written: {error}"))),
    }
}

/// The response with a body of JSON.
pub(super) fn with_json(response: &mut HttpResponseBuilder, body: Bytes) -> HttpResponse {
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json"))).body(body)
}

/// What `Retry-After` says. The usual times need no allocation.
pub(super) fn retry_after(after: Duration) -> HeaderValue {
    match whole_seconds(after) {
        1 => HeaderValue::from_static("1"),
        2 => HeaderValue::from_static("2"),
        5 => HeaderValue::from_static("5"),
        seconds => HeaderValue::from(seconds),
    }
}
