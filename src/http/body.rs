//! Body: reads the body of a request within its limits of size and time, once and without a copy where it
//! came in one piece.

use std::time::Duration;

use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::Settings;
use super::code::Code;
use super::problem::HttpError;
use super::request::header_text;

/// How much of a body that is too large is read and thrown away: a client that still writes would see the
/// connection break instead of the answer.
const DISCARD_MAX: usize = 16 * 1024 * 1024;

/// Reads the whole body.
///
/// # Errors
/// 413 over `max_body`, 408 after `body_timeout`, 415 for a compressed body, 400 when it breaks off.
pub(super) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    settings: &Settings,
) -> Result<Bytes, HttpError> {
    check_encoding(request)?;
    let announced = header_text(request, &CONTENT_LENGTH)?.and_then(|text| text.parse::<usize>().ok());
    let reading = async {
        match announced.filter(|length| *length > settings.max_body) {
            Some(length) if length > DISCARD_MAX => Err(too_large(settings.max_body)),
            Some(_) => Err(discard(payload, 0, settings.max_body).await),
            None => collect(payload, settings.max_body).await,
        }
    };
    let limit = settings.body_timeout;
    tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| Err(timed_out(limit)))
}

async fn collect(mut payload: web::Payload, max_body: usize) -> Result<Bytes, HttpError> {
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| broken(&error))?;
    if first.len() > max_body {
        return Err(discard(payload, first.len(), max_body).await);
    }
    let Some(second) = payload.next().await else { return Ok(first) };
    let mut body = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        let chunk = chunk.map_err(|error| broken(&error))?;
        if body.len() + chunk.len() > max_body {
            return Err(discard(payload, body.len() + chunk.len(), max_body).await);
        }
        body.extend_from_slice(&chunk);
        next = payload.next().await;
    }
    Ok(body.freeze())
}

/// Throws the rest away, up to a limit, and says what was wrong with it.
async fn discard(mut payload: web::Payload, mut seen: usize, max_body: usize) -> HttpError {
    while seen <= DISCARD_MAX {
        match payload.next().await {
            Some(Ok(chunk)) => seen += chunk.len(),
            Some(Err(_)) | None => break,
        }
    }
    too_large(max_body)
}

fn check_encoding(request: &HttpRequest) -> Result<(), HttpError> {
    match header_text(request, &CONTENT_ENCODING)? {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            let detail = "compressed bodies are not taken; send it without `Content-Encoding`";
            Err(HttpError::new(Code::UnsupportedMediaType, detail)
                .with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                .closing())
        }
        _ => Ok(()),
    }
}

fn too_large(max_body: usize) -> HttpError {
    let detail = format!(
        "the body is over {max_body} bytes; keep large data elsewhere and publish a reference to it, or raise `http.max_body`"
    );
    HttpError::new(Code::TooLarge, detail).closing()
}

fn timed_out(limit: Duration) -> HttpError {
    let detail = format!("the body did not arrive within {} s; nothing was stored", limit.as_secs_f32());
    HttpError::new(Code::BodyTimeout, detail).closing()
}

fn broken(error: &actix_web::error::PayloadError) -> HttpError {
    HttpError::malformed("", format!("the body broke off ({error}); nothing was stored")).closing()
}
