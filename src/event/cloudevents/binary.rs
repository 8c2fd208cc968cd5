//! Binary mode: attributes in `ce-` headers, the body is the data.

use bytes::Bytes;

use super::Refusal;
use super::attributes::{Attributes, Place};
use super::values::has_bad_percent;
use crate::event::Draft;

/// Reads the event; `None` when no header has the prefix `ce-`.
pub(super) fn one<'h>(
    content_type: Option<&str>,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    body: &Bytes,
) -> Option<Result<Draft, Refusal>> {
    let mut attributes = Attributes::new(Place::Headers);
    let mut is_event = false;
    for (header, value) in headers {
        let Some(name) = attribute_of(header) else { continue };
        is_event = true;
        if name == "datacontenttype" {
            attributes.refuse(&name, "stands in `Content-Type` in binary mode; leave this header out");
            continue;
        }
        match decode(value) {
            Ok(value) => attributes.set(&name, value),
            Err(detail) => attributes.refuse(&name, detail),
        }
    }
    if !is_event {
        return None;
    }
    if let Some(content_type) = content_type {
        attributes.set("datacontenttype", content_type.trim().to_owned());
    }
    Some(attributes.finish(body.clone()).map_err(Refusal::malformed))
}

/// The attribute a header bears; header names know no case.
fn attribute_of(header: &str) -> Option<String> {
    let (prefix, name) = header.split_at_checked(3)?;
    prefix.eq_ignore_ascii_case("ce-").then(|| name.to_ascii_lowercase())
}

/// Undoes the encoding of a header value: first the quotes, then one round of percent-decoding.
fn decode(value: &[u8]) -> Result<String, &'static str> {
    let unquoted = unquote(value.trim_ascii());
    if has_bad_percent(&unquoted) {
        return Err("holds a `%` that is not followed by two hex digits; write a percent sign as `%25`");
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(&unquoted).collect();
    String::from_utf8(decoded).map_err(|_| "is not UTF-8 after percent-decoding")
}

/// The inside of a quoted string. A value that is none, such as `{"a": 5}` or `"a" or "b"`, is taken as it
/// stands.
fn unquote(value: &[u8]) -> Vec<u8> {
    let inside = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inside.and_then(unescape).unwrap_or_else(|| value.to_vec())
}

/// Undoes the backslashes; `None` when a quote stands bare or the closing one was escaped.
fn unescape(inside: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => out.push(*bytes.next()?),
            byte => out.push(*byte),
        }
    }
    Some(out)
}
