//! Request: reading paths, queries and headers, and writing the canonical URL of a status.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::problem::HttpError;
use crate::event::{Draft, Timestamp};

/// All that is not unreserved in a URI.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The most bytes of an operator's name.
const OPERATOR_MAX: usize = 200;
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// A query may show its slashes and colons.
const QUERY: &AsciiSet = &SEGMENT.remove(b'/').remove(b':');

/// The segment of the path that begins after the `index`-th slash, decoded.
///
/// The path is taken as the client sent it: the router decodes it in part before it matches.
pub(super) fn segment(request: &HttpRequest, index: usize) -> Result<String, HttpError> {
    segment_text(request, index).map(Cow::into_owned)
}

/// As [`segment`], without a copy of what is not encoded.
pub(super) fn segment_text(request: &HttpRequest, index: usize) -> Result<Cow<'_, str>, HttpError> {
    decode(request.uri().path().split('/').nth(index).unwrap_or_default())
}

/// All of the path after the `index`-th slash, decoded; it may be empty.
pub(super) fn rest(request: &HttpRequest, index: usize) -> Result<String, HttpError> {
    decode(request.uri().path().splitn(index + 1, '/').nth(index).unwrap_or_default()).map(Cow::into_owned)
}

fn decode(text: &str) -> Result<Cow<'_, str>, HttpError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded),
        Err(_) => Err(HttpError::malformed("path", "is not UTF-8 after percent-decoding")),
    }
}

/// The query as `T`.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, HttpError> {
    let parsed = actix_web::web::Query::<T>::from_query(request.query_string());
    parsed
        .map(actix_web::web::Query::into_inner)
        .map_err(|error| HttpError::malformed("query", error.to_string()))
}

/// The canonical URL of an event's status.
///
/// The ids `.` and `..` go into the query: clients take them out of a path even when they are encoded.
pub(super) fn status_url(source: &str, id: &str) -> String {
    // Enough for all of it when nothing has to be encoded.
    let mut url = String::with_capacity("/v1/events?id=&source=".len() + id.len() + source.len());
    match id {
        "." | ".." => url.extend(["/v1/events?id=", id, "&source="]),
        id => {
            url.push_str("/v1/events/");
            url.extend(utf8_percent_encode(id, SEGMENT));
            url.push_str("?source=");
        }
    }
    url.extend(utf8_percent_encode(source, QUERY));
    url
}

/// The text of a header, `None` when it is not there.
///
/// # Errors
/// 400 when it is given twice or is not UTF-8.
pub(super) fn header_text<'r>(
    request: &'r HttpRequest,
    name: &HeaderName,
) -> Result<Option<&'r str>, HttpError> {
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HttpError::malformed(name.as_str(), "is given twice"));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(HttpError::malformed(name.as_str(), "is not UTF-8")),
    }
}

/// How long the client prefers to wait (`Prefer: wait=N`, RFC 7240), at most `max_wait`, in whole seconds.
pub(super) fn preferred_wait(request: &HttpRequest, max_wait: Duration) -> Option<Duration> {
    let values = request.headers().get_all(PREFER).filter_map(|value| value.to_str().ok());
    let seconds = values
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| value.trim().trim_matches('"').parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds.min(max_wait.as_secs())))
}

/// Who acts, by the header `Tidegate-Operator`; empty when it is not there.
///
/// # Errors
/// 400 when it is over 200 bytes.
pub(super) fn operator_name(request: &HttpRequest) -> Result<String, HttpError> {
    let name = HeaderName::from_static("tidegate-operator");
    let by = header_text(request, &name)?.unwrap_or_default();
    if by.len() > OPERATOR_MAX {
        return Err(HttpError::malformed(name.as_str(), format!("is over {OPERATOR_MAX} bytes")));
    }
    Ok(by.to_owned())
}

/// A time as RFC 3339.
///
/// # Errors
/// 400 when it is none.
pub(super) fn moment(pointer: &str, text: &str) -> Result<Timestamp, HttpError> {
    text.parse().map_err(|why: String| HttpError::malformed(pointer, why))
}

/// The value of `Idempotency-Key`: a quoted string of RFC 9651, or the bare text.
pub(super) fn unquote(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let inside = rest.strip_suffix('"')?;
    let mut out = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => out.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => out.push(c),
        }
    }
    Some(out)
}

/// The source that is meant when none is given.
pub(super) fn default_source() -> String {
    Draft::PLAIN_SOURCE.to_owned()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn preferences_to_wait_are_read_and_bounded() {
        for (prefer, seconds) in [
            ("wait=5", Some(5)),
            ("WAIT = 5", Some(5)),
            ("wait=\"5\"", Some(5)),
            ("respond-async, wait=5;x=y", Some(5)),
            ("handling=lenient;wait=7", None),
            ("wait=100000", Some(30)),
            ("wait=-1", None),
            ("wait=soon", None),
            ("waiting=5", None),
            ("", None),
        ] {
            let request = TestRequest::default().insert_header(("prefer", prefer)).to_http_request();
            let wait = preferred_wait(&request, Duration::from_secs(30));
            assert_eq!(wait, seconds.map(Duration::from_secs), "{prefer}");
        }
    }

    #[test]
    fn idempotency_keys_are_quoted_or_not() {
        for (text, key) in [
            ("order-1", Some("order-1")),
            ("\"order-1\"", Some("order-1")),
            (r#""a \"b\" \\""#, Some(r#"a "b" \"#)),
            ("a\"b", Some("a\"b")),
            ("\"", None),
            ("\"a", None),
            ("\"a\"b\"", None),
            (r#""a\n""#, None),
            (r#""a\""#, None),
        ] {
            assert_eq!(unquote(text).as_deref(), key, "{text}");
        }
    }
}
