//! Body: reads the body of a request within its limits of size and time, once and without a copy where it
//! came in one piece. What does not come in one piece is kept until the rest is there, of all connections
//! together no more than there is room for: else slow bodies could take any amount of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _};

use super::Door;
use super::code::Code;
use super::problem::HttpError;
use super::request::header_text;

/// How much of a body that is too large is read and thrown away: a client that still writes would see the
/// connection break instead of the answer.
const DISCARD_MAX: usize = 16 * 1024 * 1024;

/// What `Retry-After` says when too many bodies are being read.
const CROWDED: Duration = Duration::from_secs(1);

/// Bytes of bodies that are being read, of all connections.
#[derive(Debug, Default)]
pub(super) struct Bodies(AtomicUsize);

/// What one body takes of them, given back when it is dropped.
struct Part {
    of: Arc<Bodies>,
    bytes: usize,
}

impl Part {
    /// Takes as many more; answers whether there was room. A body that is alone may be larger.
    fn grow(&mut self, bytes: usize, limit: usize) -> bool {
        self.bytes += bytes;
        let all = self.of.0.fetch_add(bytes, Ordering::AcqRel) + bytes;
        all <= limit || all == self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Reads the whole body.
///
/// # Errors
/// 413 over `max_body`, 408 after `body_timeout`, 415 for a compressed body, 400 when it breaks off, 503 when it comes in
/// pieces and there are `bodies_max` bytes of such already.
pub(super) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    door: &Door,
) -> Result<Bytes, HttpError> {
    let settings = &door.settings;
    check_encoding(request)?;
    let announced = header_text(request, &CONTENT_LENGTH)?.and_then(|text| text.parse::<usize>().ok());
    let reading = async {
        match announced.filter(|length| *length > settings.max_body) {
            Some(length) if length > DISCARD_MAX => Err(too_large(settings.max_body)),
            Some(_) => Err(discard(payload, 0, too_large(settings.max_body)).await),
            None => collect(payload, door).await,
        }
    };
    let limit = settings.body_timeout;
    tokio::time::timeout(limit, reading).await.unwrap_or_else(|_| Err(timed_out(limit)))
}

async fn collect(mut payload: web::Payload, door: &Door) -> Result<Bytes, HttpError> {
    let (max_body, most) = (door.settings.max_body, door.settings.bodies_max);
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| broken(&error))?;
    let mut second = payload.next().now_or_never();
    // Most bodies end with their first piece, which is not copied and not counted.
    if matches!(second, Some(None)) && first.len() <= max_body {
        return Ok(first);
    }
    let mut part = Part { of: Arc::clone(&door.bodies), bytes: 0 };
    let (mut body, mut next) = (BytesMut::new(), Some(Ok(first)));
    let wrong = loop {
        let Some(piece) = next else { return Ok(body.freeze()) };
        let piece = piece.map_err(|error| broken(&error))?;
        if body.len() + piece.len() > max_body {
            break too_large(max_body);
        }
        if !part.grow(piece.len(), most) {
            break crowded(most);
        }
        body.extend_from_slice(&piece);
        next = match second.take() {
            Some(second) => second,
            None => payload.next().await,
        };
    };
    let seen = body.len();
    drop((body, part));
    Err(discard(payload, seen, wrong).await)
}

/// Throws the rest away, up to a limit, and says what was wrong with it.
async fn discard(mut payload: web::Payload, mut seen: usize, wrong: HttpError) -> HttpError {
    while seen <= DISCARD_MAX {
        match payload.next().await {
            Some(Ok(chunk)) => seen += chunk.len(),
            Some(Err(_)) | None => break,
        }
    }
    wrong
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

fn crowded(most: usize) -> HttpError {
    let detail = format!(
        "bodies that arrive in pieces take {most} bytes of memory together already; send it again later, or raise `bus.queue_bytes`"
    );
    HttpError::new(Code::Saturated, detail).with_retry_after(CROWDED).closing()
}

fn timed_out(limit: Duration) -> HttpError {
    let detail = format!("the body did not arrive within {} s; nothing was stored", limit.as_secs_f32());
    HttpError::new(Code::BodyTimeout, detail).closing()
}

fn broken(error: &actix_web::error::PayloadError) -> HttpError {
    HttpError::malformed("", format!("the body broke off ({error}); nothing was stored")).closing()
}
